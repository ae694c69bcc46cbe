//! One path through the machine: state after state.
//!
//! A strand knows the event it is at and the variables it sees, and keeps its
//! [`Position`] up to date. The machine has one; each branch and each iteration
//! gets its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::context::{StateContext, context};
use super::position::{Here, Position};
use super::run::Run;
use super::variables::Variables;
use crate::definition::states::{
    Choice, Fail, FailText, Flow, InputOutputPath, Kind, Next, Pass, ResultPath, State, Until, Wait,
};
use crate::history::{EventDetails, EventType};
use crate::query::{NoValue, Scope, Template, explain};
use crate::retry::{Failure, NO_CHOICE_MATCHED, Nature, RESULT_PATH_MATCH_FAILURE};
use crate::timestamp;
use crate::tokens::PAYLOAD_BYTES_MAX;

/// The longest wait AWS accepts: what fits a signed 32-bit number of seconds (recorded).
const WAIT_SECONDS_MAX: i64 = 2_147_483_647;

/// A boxed future: flows nest, so their futures must.
type Walk<'s> = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send + 's>>;

pub(super) struct Strand<'r> {
    pub(super) run: &'r Run,
    /// The last event on this path.
    pub(super) last: u64,
    pub(super) variables: Variables,
    pub(super) position: Arc<Position>,
}

/// One stay in a state, from its entry to its exit.
pub(super) struct Visit<'d> {
    pub(super) state: &'d State,
    /// The event that says it was entered.
    pub(super) entered_id: u64,
    pub(super) entered_at: OffsetDateTime,
    /// The input as it came.
    pub(super) raw: Value,
    pub(super) retry_count: u64,
}

impl Visit<'_> {
    /// A failure of the machine in this state, in the words AWS wraps it in.
    pub(super) fn runtime_failure(&self, sentence: impl std::fmt::Display) -> Failure {
        Failure::runtime(format!(
            "An error occurred while executing the state '{}' (entered at the event id #{}). {sentence}",
            self.state.name, self.entered_id
        ))
    }
}

impl<'r> Strand<'r> {
    /// The strand that goes on from a position.
    pub(super) fn at(run: &'r Run, position: Arc<Position>) -> Self {
        let here = position.here();
        Self {
            run,
            last: here.event,
            variables: here.variables,
            position,
        }
    }

    /// Adds an event and moves to it.
    pub(super) fn record(&mut self, event_type: EventType, details: EventDetails) -> u64 {
        self.last = self.note(event_type, details);
        self.last
    }

    /// Adds an event without moving to it: what follows will name the one before.
    pub(super) fn note(&self, event_type: EventType, details: EventDetails) -> u64 {
        self.run
            .history
            .add(self.run.clock.now(), self.last, event_type, details)
    }

    /// Goes through a flow to an end, from its start or from the state it stands in.
    ///
    /// Such a state is not entered again: recorded on AWS, what a redrive does follows
    /// the state's first entry, whose time `$$.State.EnteredTime` keeps.
    pub(super) fn run_flow<'s>(&'s mut self, flow: &'s Flow) -> Walk<'s> {
        Box::pin(async move {
            let here = self.position.here();
            let (mut next, mut output) = match here.state {
                None => (Some(flow.start_at.as_str()), here.input),
                Some((name, entered_at)) => {
                    let visit = Visit {
                        state: state_of(flow, &name)?,
                        entered_id: here.event,
                        entered_at,
                        raw: here.input,
                        retry_count: 0,
                    };
                    self.stay(visit).await?
                }
            };
            while let Some(name) = next {
                let visit = self.enter(state_of(flow, name)?, output);
                (next, output) = self.stay(visit).await?;
            }
            Ok(output)
        })
    }

    /// Stays in one state; answers with where it leads (`None` is the end) and its output.
    async fn stay<'d>(&mut self, visit: Visit<'d>) -> Result<(Option<&'d str>, Value), Failure> {
        let left = match &visit.state.kind {
            Kind::Task(task) => self.work(visit, &task.after).await,
            Kind::Parallel(parallel) => self.work(visit, &parallel.after).await,
            Kind::Map(map) => self.work(visit, &map.after).await,
            Kind::Pass(pass) => self.pass(&visit, pass).await,
            Kind::Choice(choice) => self.choose(&visit, choice).await,
            Kind::Wait(wait) => self.wait(&visit, wait).await,
            Kind::Succeed => self.succeed(&visit).await,
            Kind::Fail(fail) => Err(self.fail(&visit, fail)),
        };
        if matches!(&left, Err(failure) if failure.is_data_limit()) {
            // A redrive runs all branches of such a state, the successful ones too
            // (Step Functions Developer Guide, "Redriving executions").
            self.position.forget_attempt();
        }
        left
    }

    fn enter<'d>(&mut self, state: &'d State, raw: Value) -> Visit<'d> {
        let entered_at = self.run.clock.now();
        let details = EventDetails::StateEntered {
            name: state.name.clone(),
            input: raw.to_string(),
        };
        let entered_id = self.record(state.kind.entered(), details);
        self.run.history.count_transition();
        let here = Here {
            state: Some((state.name.clone(), entered_at)),
            event: entered_id,
            input: raw.clone(),
            variables: self.variables.clone(),
        };
        self.position.enter(state, here);
        Visit {
            state,
            entered_id,
            entered_at,
            raw,
            retry_count: 0,
        }
    }

    /// Leaves a state with an output that fits.
    pub(super) fn exit(
        &mut self,
        visit: &Visit<'_>,
        output: &Value,
        assigned: &Map<String, Value>,
    ) -> Result<(), Failure> {
        let text = output.to_string();
        if text.len() > PAYLOAD_BYTES_MAX {
            return Err(Failure::too_large(&visit.state.name, Nature::Ordinary));
        }
        let assigned_variables = assigned
            .iter()
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect();
        let details = EventDetails::StateExited {
            name: visit.state.name.clone(),
            output: text,
            assigned_variables,
        };
        if let Some(event_type) = visit.state.kind.exited() {
            self.record(event_type, details);
        }
        Ok(())
    }

    /// The context object as this visit sees it.
    pub(super) fn context(&self, visit: &Visit<'_>, task_token: Option<&str>) -> Value {
        self.context_for(visit, task_token, self.position.map_item())
    }

    /// The context object as an iteration of this visit sees it.
    pub(super) fn context_for(
        &self,
        visit: &Visit<'_>,
        task_token: Option<&str>,
        map_item: Option<&Value>,
    ) -> Value {
        let retried = matches!(
            visit.state.kind,
            Kind::Task(_) | Kind::Parallel(_) | Kind::Map(_)
        );
        let state = StateContext {
            name: &visit.state.name,
            entered_at: visit.entered_at,
            retry_count: retried.then_some(visit.retry_count),
            task_token,
            map_item,
        };
        context(self.run, &state)
    }

    pub(super) fn scope<'s>(&'s self, input: &'s Value, context: &'s Value) -> Scope<'s> {
        Scope {
            input,
            context,
            variables: &self.variables,
            chance: &self.run.chance,
        }
    }

    /// The input after `InputPath`.
    pub(super) fn effective_input(
        &self,
        visit: &Visit<'_>,
        context: &Value,
    ) -> Result<Value, Failure> {
        self.follow(&visit.state.input_path, visit, &visit.raw, context)
    }

    /// The output after `OutputPath`.
    pub(super) fn output(
        &self,
        visit: &Visit<'_>,
        value: &Value,
        context: &Value,
    ) -> Result<Value, Failure> {
        self.follow(&visit.state.output_path, visit, value, context)
    }

    fn follow(
        &self,
        path: &InputOutputPath,
        visit: &Visit<'_>,
        value: &Value,
        context: &Value,
    ) -> Result<Value, Failure> {
        match path {
            InputOutputPath::Nothing => Ok(Value::Object(Map::new())),
            InputOutputPath::Path(path) => {
                path.evaluate(self.scope(value, context))
                    .map_err(|missing| {
                        visit.runtime_failure(format_args!(
                            "Invalid path '{}' : {}",
                            path.text,
                            missing.into_text()
                        ))
                    })
            }
        }
    }

    /// A payload template filled in, or the input itself where there is none.
    pub(super) fn fill(
        &self,
        template: Option<&Template>,
        visit: &Visit<'_>,
        input: &Value,
        context: &Value,
    ) -> Result<Value, Failure> {
        match template {
            None => Ok(input.clone()),
            Some(template) => template
                .fill(self.scope(input, context))
                .map_err(|sentence| visit.runtime_failure(sentence)),
        }
    }

    /// Sets variables; every value is computed before the first is set.
    pub(super) fn assign(
        &mut self,
        assign: Option<&Template>,
        visit: &Visit<'_>,
        input: &Value,
        context: &Value,
    ) -> Result<Map<String, Value>, Failure> {
        let Some(assign) = assign else {
            return Ok(Map::new());
        };
        let Value::Object(assigned) = self.fill(Some(assign), visit, input, context)? else {
            return Ok(Map::new());
        };
        if assigned
            .values()
            .any(|value| value.to_string().len() > PAYLOAD_BYTES_MAX)
        {
            return Err(Failure::too_large(&visit.state.name, Nature::Ordinary));
        }
        self.variables.assign(assigned.clone());
        Ok(assigned)
    }

    async fn pass<'d>(
        &mut self,
        visit: &Visit<'d>,
        pass: &'d Pass,
    ) -> Result<(Option<&'d str>, Value), Failure> {
        tokio::task::yield_now().await;
        let context = self.context(visit, None);
        let input = self.effective_input(visit, &context)?;
        let result = match &pass.result {
            Some(result) => result.clone(),
            None => self.fill(pass.parameters.as_ref(), visit, &input, &context)?,
        };
        let assigned = self.assign(visit.state.assign.as_ref(), visit, &result, &context)?;
        let combined = combine(&pass.result_path, &visit.raw, result)?;
        let output = self.output(visit, &combined, &context)?;
        self.exit(visit, &output, &assigned)?;
        Ok((follow_next(&pass.next), output))
    }

    async fn choose<'d>(
        &mut self,
        visit: &Visit<'d>,
        choice: &'d Choice,
    ) -> Result<(Option<&'d str>, Value), Failure> {
        tokio::task::yield_now().await;
        let context = self.context(visit, None);
        let input = self.effective_input(visit, &context)?;
        let mut chosen = None;
        for rule in &choice.rules {
            let holds = rule.condition.holds(self.scope(&input, &context));
            if holds.map_err(|sentence| visit.runtime_failure(sentence))? {
                chosen = Some((rule.next.as_str(), rule.assign.as_ref()));
                break;
            }
        }
        let fallback = choice
            .default
            .as_deref()
            .map(|default| (default, visit.state.assign.as_ref()));
        let Some((next, assign)) = chosen.or(fallback) else {
            let name = &visit.state.name;
            let cause = format!(
                "Failed to transition out of the state '{name}'. The state does not point to a next state."
            );
            return Err(Failure::new(NO_CHOICE_MATCHED, cause));
        };
        let assigned = self.assign(assign, visit, &input, &context)?;
        let output = self.output(visit, &input, &context)?;
        self.exit(visit, &output, &assigned)?;
        Ok((Some(next), output))
    }

    async fn wait<'d>(
        &mut self,
        visit: &Visit<'d>,
        wait: &'d Wait,
    ) -> Result<(Option<&'d str>, Value), Failure> {
        tokio::task::yield_now().await;
        let context = self.context(visit, None);
        let input = self.effective_input(visit, &context)?;
        let duration = self.wait_duration(&wait.until, self.scope(&input, &context));
        let duration = duration.map_err(|sentence| visit.runtime_failure(sentence))?;
        self.run.clock.sleep(duration).await;
        let assigned = self.assign(visit.state.assign.as_ref(), visit, &input, &context)?;
        let output = self.output(visit, &input, &context)?;
        self.exit(visit, &output, &assigned)?;
        Ok((follow_next(&wait.next), output))
    }

    /// How long to wait. The sentences are AWS's, as recorded.
    fn wait_duration(&self, until: &Until, scope: Scope<'_>) -> Result<Duration, String> {
        let moment = match until {
            Until::Seconds(duration) => return Ok(*duration),
            Until::SecondsPath(path) => {
                let value = path.evaluate(scope).map_err(|_| {
                    format!(
                        "The SecondsPath parameter does not reference an input value: {}",
                        path.text
                    )
                })?;
                let shown = plain(&value);
                let seconds = value.as_i64().ok_or_else(|| {
                    format!(
                        "The SecondsPath parameter cannot be parsed as a long value: {} == {shown}",
                        path.text
                    )
                })?;
                if seconds < 0 {
                    return Err(format!(
                        "The SecondsPath parameter references a negative value: {} == {shown}",
                        path.text
                    ));
                }
                return bounded_wait(seconds)
                    .map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
            }
            Until::Timestamp(moment) => *moment,
            Until::TimestampPath(path) => {
                let value = path.evaluate(scope).map_err(|_| {
                    format!(
                        "The TimestampPath parameter does not reference an input value: {}",
                        path.text
                    )
                })?;
                value.as_str().and_then(timestamp::parse).ok_or_else(|| {
                    format!(
                        "The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time \
                         format string: {} == {}",
                        path.text,
                        plain(&value)
                    )
                })?
            }
        };
        let wait = moment - self.run.clock.now();
        bounded_wait(wait.whole_seconds())?;
        Ok(Duration::try_from(wait).unwrap_or(Duration::ZERO)) // a moment gone by is no wait
    }

    async fn succeed<'d>(
        &mut self,
        visit: &Visit<'d>,
    ) -> Result<(Option<&'d str>, Value), Failure> {
        tokio::task::yield_now().await;
        let context = self.context(visit, None);
        let input = self.effective_input(visit, &context)?;
        let output = self.output(visit, &input, &context)?;
        self.exit(visit, &output, &Map::new())?;
        Ok((None, output))
    }

    /// The failure a Fail state is.
    fn fail(&self, visit: &Visit<'_>, fail: &Fail) -> Failure {
        let error = self.fail_text(visit, fail.error.as_ref(), "ErrorPath");
        let cause = self.fail_text(visit, fail.cause.as_ref(), "CausePath");
        match (error, cause) {
            (Ok(error), Ok(cause)) => Failure {
                error,
                cause,
                nature: Nature::Ordinary,
            },
            (Err(failure), _) | (_, Err(failure)) => failure,
        }
    }

    fn fail_text(
        &self,
        visit: &Visit<'_>,
        text: Option<&FailText>,
        field: &str,
    ) -> Result<Option<String>, Failure> {
        let expression = match text {
            None => return Ok(None),
            Some(FailText::Literal(text)) => return Ok(Some(text.clone())),
            Some(FailText::Computed(expression)) => expression,
        };
        let context = self.context(visit, None);
        let explained = |fault: NoValue| {
            visit.runtime_failure(explain(fault, &expression.text, field, &visit.raw))
        };
        match expression.evaluate(self.scope(&visit.raw, &context)).map_err(explained)? {
            Value::String(text) => Ok(Some(text)),
            other => Err(visit.runtime_failure(format_args!(
                "The JSONPath '{}' specified for the field '{field}' must reference a string but was: {other}",
                expression.text
            ))),
        }
    }
}

fn state_of<'d>(flow: &'d Flow, name: &str) -> Result<&'d State, Failure> {
    flow.state(name)
        .ok_or_else(|| Failure::runtime(format!("there is no state '{name}'")))
}

pub(super) fn follow_next(next: &Next) -> Option<&str> {
    match next {
        Next::State(name) => Some(name),
        Next::End => None,
    }
}

/// The state's input with its result where `ResultPath` says.
pub(super) fn combine(
    result_path: &ResultPath,
    raw: &Value,
    result: Value,
) -> Result<Value, Failure> {
    match result_path {
        ResultPath::Discard => Ok(raw.clone()),
        ResultPath::Place { path, .. } if path.is_root() => Ok(result),
        ResultPath::Place { path, text } => {
            let mut combined = raw.clone();
            if path.place(&mut combined, result) {
                return Ok(combined);
            }
            let cause = format!("Unable to apply ReferencePath {text} to input {raw}");
            Err(Failure::new(RESULT_PATH_MATCH_FAILURE, cause))
        }
    }
}

/// A value as AWS repeats it in a sentence: texts without quotes.
pub(super) fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn bounded_wait(seconds: i64) -> Result<i64, String> {
    if seconds > WAIT_SECONDS_MAX {
        return Err("Wait state delay is too long.".to_owned());
    }
    Ok(seconds)
}
