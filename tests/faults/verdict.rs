//! What a restore came to, by the cloud's own record and not by what the pipeline says of itself.

use asl_interpreter::{Execution, Outcome};
use aurora_restore::local::{FINAL_GROUP, QUARANTINE_GROUP};
use aurora_restore_core::ledger::{Ending, Evidence};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::ownership::RESTORE_ID_TAG;
use local_cloud::faults::Call;
use local_cloud::rds::{AuditRecord, ResourceView};
use pipeline_tests::{SOURCE, Scene, TARGET};
use serde_json::Value;
use time::OffsetDateTime;

use crate::decoys;
use crate::matrix::RESTORE_ID;

/// What was found wrong, and what was counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// `Restored`, `FailedClean`, `FailedDirty`, or how the execution ended without one of them.
    pub(crate) outcome: String,
    /// What a failed execution says of itself.
    pub(crate) cause: String,
    /// Every rule that did not hold; none is a pass.
    pub(crate) complaints: Vec<String>,
    /// Strangers that were changed or are gone.
    pub(crate) decoys_touched: usize,
    /// How long an instance could be reached by others before it was proved, in milliseconds.
    pub(crate) exposed_millis: i128,
    /// Places where a password was written down.
    pub(crate) canaries: usize,
}

/// What a verdict compares with.
pub(crate) struct Before {
    /// The strangers, as they were.
    pub(crate) decoys: Vec<String>,
    /// When the restore was started.
    pub(crate) at: OffsetDateTime,
    /// Calls that are not permitted.
    pub(crate) forbidden: Vec<Call>,
}

impl Before {
    /// What the reaper may not do, nobody does in its stead: it says so, and a person has to permit it.
    fn reaper_is_bound(&self) -> bool {
        self.forbidden
            .iter()
            .any(|call| call.function.ends_with("-reap"))
    }
}

/// Looks at everything once the restore is over and time has passed.
pub(crate) async fn judge(scene: &Scene, execution: &Execution, before: &Before) -> Verdict {
    let table = decoys::scan(scene).await;
    let mut verdict = Verdict {
        outcome: outcome(execution, &table),
        cause: cause(execution),
        ..Verdict::default()
    };
    let bound = before.reaper_is_bound();
    if bound {
        the_reaper_complains(scene, &mut verdict);
    }
    // A restore that nobody may end goes on being one that runs; whatever else is said has to be true.
    if !(bound && verdict.outcome == "Running") {
        is_honest(scene, &table, &mut verdict);
        lock_is_free(&table, &mut verdict);
        somebody_was_told(scene, bound, &mut verdict);
    }
    if verdict.outcome == "Restored" {
        is_usable(scene, &mut verdict).await;
    }
    strangers_are_untouched(scene, before, &mut verdict).await;
    only_ours_was_changed(scene, before.at, &mut verdict);
    nobody_could_reach_it_early(scene, &table, &mut verdict);
    no_password_was_written_down(scene, &mut verdict).await;
    verdict
}

/// What is wrong in the moment the execution ends: nothing of ours is there but what it names, and the lock is free.
pub(crate) async fn at_the_end(scene: &Scene, execution: &Execution) -> Vec<String> {
    let table = decoys::scan(scene).await;
    let mut verdict = Verdict {
        outcome: outcome(execution, &table),
        ..Verdict::default()
    };
    is_honest(scene, &table, &mut verdict);
    lock_is_free(&table, &mut verdict);
    let complaints = verdict.complaints.into_iter();
    complaints
        .map(|complaint| format!("at its end, {complaint}"))
        .collect()
}

fn outcome(execution: &Execution, table: &[Value]) -> String {
    let last = execution.history().states_entered().pop();
    match (execution.outcome(), last.as_deref()) {
        (Some(Outcome::Succeeded { .. }), Some("Restored")) => "Restored".to_owned(),
        (Some(Outcome::Failed { .. }), Some(end @ ("FailedClean" | "FailedDirty"))) => {
            end.to_owned()
        }
        // Somebody stopped it: its record alone can say more.
        (Some(Outcome::Aborted { .. }), _) => recorded_status(table).unwrap_or_default(),
        (ended, last) => format!("{ended:?} in {last:?}"),
    }
}

fn cause(execution: &Execution) -> String {
    match execution.outcome() {
        Some(Outcome::Failed { cause, .. }) => cause.unwrap_or_default(),
        _ => String::new(),
    }
}

/// The record says what the execution says, and the account agrees with both.
fn is_honest(scene: &Scene, table: &[Value], verdict: &mut Verdict) {
    let status = recorded_status(table);
    if status.as_ref() != Some(&verdict.outcome) {
        let said = format!(
            "it ended {} and its record says {status:?}",
            verdict.outcome
        );
        verdict.complaints.push(said);
    }
    let there = scene.new_resources();
    let expected: Vec<String> = match verdict.outcome.as_str() {
        "Restored" => whole(scene),
        _ => Vec::new(),
    };
    let ending: Option<Ending> =
        meta(table).and_then(|meta| serde_json::from_str(meta["ending"]["S"].as_str()?).ok());
    let named: Vec<String> = ending.map_or_else(Vec::new, |ending| {
        let leftovers = ending.leftovers.into_iter().map(|leftover| leftover.arn);
        leftovers.chain(ending.kept).collect()
    });
    for missing in expected.iter().filter(|arn| !there.contains(arn)) {
        verdict
            .complaints
            .push(format!("restored, and {missing} is not there"));
    }
    for extra in there.iter().filter(|arn| !expected.contains(arn)) {
        if verdict.outcome != "FailedDirty" || !named.contains(extra) {
            verdict
                .complaints
                .push(format!("{extra} is left behind and not named"));
        }
    }
    for lost in scene.lost_resources() {
        verdict.complaints.push(format!("{lost} is gone"));
    }
}

fn meta(table: &[Value]) -> Option<&Value> {
    item(table, &format!("RESTORE#{RESTORE_ID}"), "META")
}

fn recorded_status(table: &[Value]) -> Option<String> {
    meta(table)?["status"]["S"].as_str().map(str::to_owned)
}

/// A reaper that cannot do its work fails, or counts what it could not do.
fn the_reaper_complains(scene: &Scene, verdict: &mut Verdict) {
    let name = scene.local.stack.function_name("reap");
    let lines = scene.local.cloud.lambda().logs(&name);
    if !lines.iter().any(|line| line.text.contains("AR0027")) {
        verdict
            .complaints
            .push("the reaper did not say what it may not do".to_owned());
    }
}

/// What a restore of this matrix makes and keeps.
fn whole(scene: &Scene) -> Vec<String> {
    let stack = &scene.local.stack;
    let arn = |kind: &str, id: &str| {
        format!("arn:aws:rds:{}:{}:{kind}:{id}", stack.region, stack.account)
    };
    vec![
        arn("cluster", TARGET),
        arn("db", &format!("{TARGET}-1")),
        arn("db", &format!("{TARGET}-2")),
        RestoreId::parse(RESTORE_ID).unwrap().master_secret(),
    ]
}

/// The target serves, in its final groups, the new password only.
async fn is_usable(scene: &Scene, verdict: &mut Verdict) {
    for view in ours(scene, scene.local.rds.resources(None)) {
        if view.status != "available" {
            verdict
                .complaints
                .push(format!("{} is {}", view.arn, view.status));
        }
        if view.kind == "cluster" && view.security_groups != [FINAL_GROUP] {
            verdict
                .complaints
                .push(format!("{} is in {:?}", view.arn, view.security_groups));
        }
    }
    let secret = RestoreId::parse(RESTORE_ID).unwrap().master_secret();
    if !scene.everything().contains(&secret)
        || !scene
            .new_resources()
            .iter()
            .any(|arn| arn.ends_with(TARGET))
    {
        return; // told already
    }
    let (endpoint, new) = (scene.endpoint(TARGET).await, scene.secret(&secret).await);
    if !scene.accepts(&endpoint, &new).await {
        verdict
            .complaints
            .push("the new password is refused".to_owned());
    }
    for old in [scene.old_master(), scene.old_app()] {
        if scene.accepts(&endpoint, &old).await {
            verdict
                .complaints
                .push(format!("the old password of {} is accepted", old.username));
        }
    }
}

async fn strangers_are_untouched(scene: &Scene, before: &Before, verdict: &mut Verdict) {
    let now = decoys::describe(scene).await;
    for stranger in before
        .decoys
        .iter()
        .filter(|stranger| !now.contains(stranger))
    {
        verdict.decoys_touched += 1;
        verdict
            .complaints
            .push(format!("changed or gone: {stranger}"));
    }
}

/// No function asked, with success, for a change of anything but what this restore makes.
fn only_ours_was_changed(scene: &Scene, since: OffsetDateTime, verdict: &mut Verdict) {
    let copy = RestoreId::parse(RESTORE_ID).unwrap().snapshot_copy();
    let ours = [
        TARGET,
        &format!("{TARGET}-1"),
        &format!("{TARGET}-2"),
        &copy,
    ]
    .map(str::to_owned);
    for call in scene.local.rds.audit() {
        let changes = !["Describe", "List"]
            .iter()
            .any(|read| call.action.starts_with(read));
        let by_function = call.principal.contains("assumed-role");
        if call.at >= since
            && changes
            && by_function
            && call.error.is_none()
            && !is_about(&call, &ours)
        {
            verdict.decoys_touched += 1;
            let said = format!("{} of {}", call.action, call.resource);
            verdict
                .complaints
                .push(format!("changed what is not ours: {said}"));
        }
    }
}

/// A call names what it changes, or for a copy and a restore what it makes of what.
fn is_about(call: &AuditRecord, ours: &[String]) -> bool {
    let made_of = ["CopyDBClusterSnapshot", "RestoreDBClusterFromSnapshot"];
    made_of.contains(&call.action.as_str())
        || ours
            .iter()
            .any(|ours| call.resource == *ours || call.resource.ends_with(&format!(":{ours}")))
}

fn lock_is_free(table: &[Value], verdict: &mut Verdict) {
    let held = table.iter().find(|item| {
        let is_lock = item["sk"]["S"] == "LOCK"
            && item["pk"]["S"]
                .as_str()
                .is_some_and(|pk| pk.ends_with(&format!(":{TARGET}")));
        is_lock && item["state"]["S"] != "released"
    });
    if let Some(lock) = held {
        verdict
            .complaints
            .push(format!("the lock is {}", lock["state"]["S"]));
    }
}

/// Who may not publish cannot tell anybody; the reaper then does, unless it is what may not. What is told is true.
fn somebody_was_told(scene: &Scene, bound: bool, verdict: &mut Verdict) {
    let messages = scene.local.cloud.sns().messages();
    let about: Vec<_> = messages
        .iter()
        .filter(|message| message.message.contains(RESTORE_ID))
        .collect();
    if about.is_empty() && !bound {
        verdict.complaints.push("nobody was told".to_owned());
    }
    for message in about {
        if !message.message.starts_with(&verdict.outcome) {
            let said = message.message.lines().next().unwrap_or_default();
            verdict.complaints.push(format!("it was told `{said}`"));
        }
    }
}

/// Ours are the resources of this restore, by tag and by name; those of the past too.
fn ours(scene: &Scene, views: Vec<ResourceView>) -> Vec<ResourceView> {
    let whole = whole(scene);
    let mut views = views;
    views.retain(|view| {
        let tagged = view
            .tags
            .iter()
            .any(|tag| tag == (RESTORE_ID_TAG, RESTORE_ID));
        tagged && whole.contains(&view.arn)
    });
    views
}

/// Sums the time in which a target with an instance was in a group that lets others in, before evidence existed.
fn nobody_could_reach_it_early(scene: &Scene, table: &[Value], verdict: &mut Verdict) {
    let evidence = item(table, &format!("RESTORE#{RESTORE_ID}"), "EVIDENCE")
        .and_then(|item| serde_json::from_str(item["evidence"]["S"].as_str()?).ok())
        .filter(Evidence::holds)
        .map(|evidence| evidence.verified_at);
    let mut views = scene.local.rds.resources(None);
    views.extend(scene.local.rds.past_resources(None));
    let views = ours(scene, views);
    let first_instance = views
        .iter()
        .filter(|view| view.kind == "db")
        .filter_map(|view| view.statuses.first().map(|(at, _)| *at))
        .min();
    let Some(first_instance) = first_instance else {
        return;
    };
    let now = scene.local.cloud.world().now();
    for cluster in views.iter().filter(|view| view.kind == "cluster") {
        let history = &cluster.security_group_history;
        for (place, (since, groups)) in history.iter().enumerate() {
            if groups.iter().all(|group| group == QUARANTINE_GROUP) && !groups.is_empty() {
                continue;
            }
            let until = history.get(place + 1).map_or(now, |(next, _)| *next);
            let proved = evidence.unwrap_or(until);
            let exposed = until.min(proved) - (*since).max(first_instance);
            verdict.exposed_millis += exposed.whole_milliseconds().max(0);
        }
    }
    if verdict.exposed_millis > 0 {
        let said = format!(
            "exposed for {} ms before it was proved",
            verdict.exposed_millis
        );
        verdict.complaints.push(said);
    }
}

/// Neither the source's passwords nor the new one.
async fn no_password_was_written_down(scene: &Scene, verdict: &mut Verdict) {
    let mut passwords = vec![scene.old_password.clone(), scene.app_password.clone()];
    let secret = RestoreId::parse(RESTORE_ID).unwrap().master_secret();
    if verdict.outcome == "Restored" && scene.everything().contains(&secret) {
        passwords.push(scene.secret(&secret).await.password.expose().to_owned());
    }
    let passwords: Vec<&str> = passwords.iter().map(String::as_str).collect();
    let leaks = scene.leaks(&passwords);
    verdict.canaries = leaks.len();
    for place in leaks {
        verdict.complaints.push(format!(
            "a password of {SOURCE} or {TARGET} stands in {place}"
        ));
    }
}

fn item<'a>(table: &'a [Value], pk: &str, sk: &str) -> Option<&'a Value> {
    table
        .iter()
        .find(|item| item["pk"]["S"] == pk && item["sk"]["S"] == sk)
}
