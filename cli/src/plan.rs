//! `aurora-restore plan`: what a restore would do, and whether it could, without changing anything.
//!
//! The plan and its findings come from the Plan step's own code, with the caller's credentials. The states are those
//! that the committed definition enters: it is executed, with answers that the plan gives instead of the functions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use ::plan::outline::{self, Call, Removed};
use ::plan::{Answer, Execution, Finding, Verdict};
use anyhow::{Context as _, Result, anyhow};
use asl_interpreter::{
    IntegrationPattern, Interpreter, Launch, RuntimeClock, TaskFailure, TaskRequest, TaskTokens,
};
use aurora_restore_core::logs::LogSink;
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::{Clients, Clock, Context, Plan, StepError};
use estimate::duration::{self, Expected};
use serde::Serialize;
use serde_json::{Value, json};

use crate::deployment::DEFINITION;
use crate::remote::Pipeline;

/// What a restore would do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// Whether no check failed.
    pub ok: bool,
    /// The restore's id that names are derived from.
    pub restore_id: String,
    /// The plan, as it would be recorded; absent when the request could not be resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// The states that run, in order, when nothing fails.
    pub states: Vec<String>,
    /// Each call that changes something, in order.
    pub calls: Vec<Call>,
    /// What is removed, and when.
    pub removed: Vec<Removed>,
    /// What was checked.
    pub findings: Vec<Finding>,
    /// How long it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// What it costs, as `aurora-restore cost --json` says it, or why that cannot be told.
    pub cost: Value,
}

/// Looks at what a restore of this input would do. Changes nothing.
///
/// # Errors
/// When the id is none, or a service that is not asked by a check does not answer.
pub async fn preview(
    pipeline: &Pipeline,
    clock: &Clock,
    restore_id: &str,
    input: &Value,
) -> Result<Preview> {
    let id = RestoreId::parse(restore_id).map_err(|error| anyhow!(error.report()))?;
    let mut context = Context {
        settings: pipeline.stack.settings(),
        aws: Clients::new(pipeline.config.clone()),
        clock: clock.clone(),
        log: LogSink::new(|_| {}),
    };
    let arn = pipeline.stack.execution_arn(restore_id);
    let execution = Execution {
        id: &id,
        arn: &arn,
        started_at: "",
    };
    let settings = match ::plan::settings(&context).await {
        Ok(settings) => settings,
        Err(error) => return Ok(unresolved(restore_id, Vec::new(), error)),
    };
    // A function is told by its environment, people by the deployed settings.
    context.settings.role_table =
        Some(settings.role_table.clone()).filter(|table| !table.is_empty());
    let mut findings: Vec<Finding> = ::plan::region_is_active(&context)
        .await
        .into_iter()
        .collect();
    let plan = match ::plan::make(&context, &settings, execution, input).await {
        Ok(plan) => plan,
        Err(error) => return Ok(unresolved(restore_id, findings, error)),
    };
    findings.push(::plan::lock_is_free(&context, &plan).await);
    findings.extend(::plan::examine(&context, &plan, &settings).await);
    let states = states(&plan).await?;
    Ok(Preview {
        ok: findings
            .iter()
            .all(|finding| finding.verdict != Verdict::Failed),
        restore_id: restore_id.to_owned(),
        calls: calls(&plan, &states),
        removed: outline::removed(&plan),
        expected: Some(duration::expected(&context.table(), &plan).await?),
        cost: cost_of(&plan),
        states,
        findings,
        plan: Some(plan),
    })
}

fn unresolved(restore_id: &str, mut findings: Vec<Finding>, error: StepError) -> Preview {
    findings.push(Finding::of("request", "the plan", Err(error)));
    Preview {
        ok: false,
        restore_id: restore_id.to_owned(),
        plan: None,
        states: Vec::new(),
        calls: Vec::new(),
        removed: Vec::new(),
        findings,
        expected: None,
        cost: Value::Null,
    }
}

/// The states that the committed definition enters when every task succeeds.
async fn states(plan: &Plan) -> Result<Vec<String>> {
    let tokens: Arc<OnceLock<TaskTokens>> = Arc::default();
    let waiting = Arc::clone(&tokens);
    let answer = serde_json::to_value(Answer::of(plan))?;
    let (instances, copies) = (plan.target.instances.len(), plan.copies.len());
    let asked = Arc::new(std::sync::Mutex::new(BTreeMap::<String, usize>::new()));
    let answering = move |request: TaskRequest| {
        let visit = {
            let mut asked = asked
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let visit = asked.entry(request.state_name.clone()).or_insert(0);
            *visit += 1;
            *visit
        };
        let answer = match request.state_name.as_str() {
            "Plan" => answer.clone(),
            "CopySnapshot" => json!({"heartbeatSeconds": 60}),
            "AddInstances" => json!({"more": visit == 1 && instances > 1}),
            _ => json!({}),
        };
        if request.pattern == IntegrationPattern::WaitForTaskToken
            && let (Some(tokens), Some(token)) = (waiting.get(), &request.task_token)
        {
            // Approve learns that no approval is needed any more. It is a token of this very task.
            let output = match request.state_name.as_str() {
                "Approve" => json!(false),
                "WaitForCopy" => json!({"more": visit < copies}),
                _ => json!({}),
            };
            let _ = tokens.send_success(token, &output.to_string());
        }
        async move { Ok::<_, TaskFailure>(answer) }
    };
    let interpreter = Interpreter::new(answering, RuntimeClock::new());
    let _ = tokens.set(interpreter.tokens().clone()); // set once, here
    let machine = interpreter
        .load(DEFINITION)
        .map_err(|error| anyhow!("the definition: {error}"))?;
    let (execution, run) =
        interpreter.start(&machine, Launch::new(plan.restore_id.clone(), json!({})));
    run.await;
    let states = execution.history().states_entered();
    if states.last().map(String::as_str) != Some("Restored") {
        return Err(anyhow!(
            "the definition does not lead to `Restored` with the plan's answers: {}",
            states.join(" > ")
        ));
    }
    Ok(states)
}

fn calls(plan: &Plan, states: &[String]) -> Vec<Call> {
    let mut visits = BTreeMap::<&str, usize>::new();
    let mut calls = Vec::new();
    for state in states {
        let visit = visits.entry(state).or_insert(0);
        *visit += 1;
        calls.extend(outline::calls(plan, state, *visit));
    }
    calls
}

/// The bill as JSON, or why it cannot be told.
fn cost_of(plan: &Plan) -> Value {
    match estimate::planned::cost(plan) {
        Ok(estimate) => estimate::render::json(&estimate),
        Err(error) => json!({"unknown": format!("{error:#}")}),
    }
}

/// The preview for people.
pub fn render(preview: &Preview) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<10} {value}"); // writing to a string cannot fail
    };
    if let Some(plan) = &preview.plan {
        let source = &plan.source;
        let key = source
            .kms_key_id
            .as_deref()
            .unwrap_or("no key of one's own");
        line(
            "source",
            &format!(
                "{source} of {}, {} {}, {} GiB, {key}",
                source.cluster_identifier,
                source.engine,
                source.engine_version,
                source.allocated_storage_gib
            ),
        );
        let classes: Vec<&str> = plan
            .target
            .instances
            .iter()
            .map(|instance| instance.class.as_str())
            .collect();
        line(
            "target",
            &format!(
                "{} in {}: {}",
                plan.target.arn,
                plan.target.subnet_group,
                classes.join(", ")
            ),
        );
        line("states", &preview.states.join(" > "));
    }
    for call in &preview.calls {
        line(
            "calls",
            &format!(
                "{:<17} {} {}: {}",
                call.state, call.call, call.resource, call.purpose
            ),
        );
    }
    for removed in &preview.removed {
        line(
            "removes",
            &format!("{}: {}", removed.resource, removed.when),
        );
    }
    for finding in &preview.findings {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Failed => "FAILED",
            Verdict::Unknown => "unknown",
        };
        let code = finding
            .code
            .map_or_else(String::new, |code| format!("{code} "));
        line(
            "check",
            &format!(
                "{verdict:<7} {}: {}: {code}{}",
                finding.check, finding.subject, finding.detail
            ),
        );
        if let Some(remedy) = finding.remedy {
            line("", &format!("        {remedy}"));
        }
    }
    line("run", &verdict(preview));
    if let Some(expected) = &preview.expected {
        line("takes", &expected.in_words());
    }
    if let Some(plan) = &preview.plan {
        line("costs", &estimate::planned::cost_in_words(plan));
    }
    text
}

/// What a run at this moment would come to.
fn verdict(preview: &Preview) -> String {
    let codes = |wanted: Verdict| {
        let found = preview.findings.iter();
        let found = found.filter(move |finding| finding.verdict == wanted);
        found.map(|finding| finding.code.unwrap_or(finding.check))
    };
    let failed: BTreeSet<&str> = codes(Verdict::Failed).collect();
    if !failed.is_empty() {
        let failed: Vec<&str> = failed.into_iter().collect();
        return format!("would be refused by Plan: {}", failed.join(", "));
    }
    match codes(Verdict::Unknown).count() {
        0 => "would begin".to_owned(),
        1 => "would begin, unless what is unknown above stops it".to_owned(),
        many => format!("would begin, unless one of the {many} that are unknown above stops it"),
    }
}

/// The input of a restore by this profile: its fields, and the profile's name.
///
/// # Errors
/// When the input is no JSON object.
pub fn input(profile: Option<&str>, mut input: Value) -> Result<Value> {
    let fields = input
        .as_object_mut()
        .context("the input is not a JSON object")?;
    if let Some(profile) = profile {
        fields.insert("profile".to_owned(), json!(profile));
    }
    Ok(input)
}

#[cfg(test)]
mod tests {
    use estimate::duration::ASSUMED;
    use local_cloud::rds::Durations;

    #[test]
    fn a_restore_is_expected_to_take_what_the_local_cloud_takes() {
        let (assumed, taken) = (ASSUMED, Durations::default());
        for (assumed, taken) in [
            (assumed.restore_cluster, taken.restore_cluster),
            (assumed.restore_per_gib, taken.restore_per_gib),
            (assumed.clone_cluster, taken.clone_cluster),
            (assumed.copy_snapshot, taken.copy_snapshot),
            (assumed.copy_per_gib, taken.copy_per_gib),
            (
                assumed.copy_queue_across_regions,
                taken.copy_queue_across_regions,
            ),
            (assumed.create_instance, taken.create_instance),
            (assumed.reset_credentials, taken.reset_credentials),
            (assumed.modify_lag, taken.modify_lag),
            (assumed.modify, taken.modify),
            (assumed.reboot, taken.reboot),
        ] {
            assert_eq!(assumed, taken);
        }
    }
}
