//! Redriving executions, and who can be redriven.

use std::collections::VecDeque;

use asl_interpreter::{Execution, Interpreter};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::names::no_execution;
use super::{Run, StepFunctions};
use crate::fields::{Fields, epoch_seconds};
use crate::request::{ApiError, Caller};

/// How many client tokens of an execution are remembered, and for how long (API reference).
const TOKENS_MAX: usize = 10;
const TOKEN_LIFE: Duration = Duration::minutes(15);

/// The most characters a client token may have (API reference).
const TOKEN_CHARACTERS_MAX: usize = 64;

/// What is said of an execution whose state machine has been deleted.
const DELETING: &str = "State machine is in DELETING status";

/// The client tokens that redrove an execution, and when.
#[derive(Clone, Default)]
pub(super) struct Redrives(VecDeque<(String, OffsetDateTime)>);

impl Redrives {
    fn date_of(&self, token: &str, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let mut known = self.0.iter().rev();
        let (_, date) = known.find(|(known, date)| known == token && now - *date <= TOKEN_LIFE)?;
        Some(*date)
    }

    fn remember(&mut self, token: &str, date: OffsetDateTime) {
        self.0.push_back((token.to_owned(), date));
        if self.0.len() > TOKENS_MAX {
            self.0.pop_front();
        }
    }
}

impl StepFunctions {
    pub(super) async fn redrive_execution(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let arn = fields.required("executionArn")?;
        let token = client_token(fields)?;
        let run = self.run(caller, arn)?;
        let world = self.world()?;
        end_published(&run).await;
        let now = self.now();
        let key = (
            run.machine.name.clone(),
            run.execution.launch().name.clone(),
        );
        let (date, work) = self.places.with(caller, |place| {
            let deleted = !place.machines.contains_key(&run.machine.name);
            let run = place.runs.get_mut(&key).ok_or_else(|| no_execution(arn))?;
            // Recorded on AWS: a repeated request is answered whatever has become of the execution.
            if let Some(date) = token.and_then(|token| run.redrives.date_of(token, now)) {
                return Ok((date, None));
            }
            if deleted {
                return Err(not_redrivable(arn, DELETING));
            }
            let work = self
                .interpreter
                .redrive(&run.execution)
                .map_err(|reason| not_redrivable(arn, &reason.to_string()))?;
            let date = run.execution.redriven_at().unwrap_or(now);
            if let Some(token) = token {
                run.redrives.remember(token, date);
            }
            Ok((date, Some(work)))
        })?;
        if let Some(work) = work {
            self.follow(&world, caller, &run, work);
        }
        Ok(json!({ "redriveDate": epoch_seconds(date) }))
    }

    /// `redriveStatus`, and the reason when it is `NOT_REDRIVABLE`.
    pub(super) fn redrive_status(
        &self,
        caller: &Caller,
        run: &Run,
    ) -> (&'static str, Option<String>) {
        let name = &run.machine.name;
        let exists = |place: &mut super::Place| place.machines.contains_key(name);
        match redrive_status(&self.interpreter, &run.execution) {
            (status, None) if self.places.with(caller, exists) => (status, None),
            (_, None) => ("NOT_REDRIVABLE", Some(DELETING.to_owned())),
            refused => refused,
        }
    }
}

/// `redriveStatus` and its reason by the execution alone.
pub(super) fn redrive_status(
    interpreter: &Interpreter,
    execution: &Execution,
) -> (&'static str, Option<String>) {
    match interpreter.redrivable(execution) {
        Ok(()) => ("REDRIVABLE", None),
        Err(reason) => ("NOT_REDRIVABLE", Some(reason.to_string())),
    }
}

/// Waits until what ended the execution is published: the redrive's event must come after it.
async fn end_published(run: &Run) {
    let ends = run.execution.redrive_count() + 1;
    if run.execution.outcome().is_some() {
        let mut published = run.ends_published.subscribe();
        drop(published.wait_for(|published| *published >= ends).await);
    }
}

fn client_token<'a>(fields: Fields<'a>) -> Result<Option<&'a str>, ApiError> {
    let token = fields.text("clientToken")?;
    let sound = token.is_none_or(|token| {
        (1..=TOKEN_CHARACTERS_MAX).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_graphic())
    });
    if sound {
        return Ok(token);
    }
    let text =
        format!("clientToken must be 1 to {TOKEN_CHARACTERS_MAX} ASCII characters without spaces");
    Err(ApiError::new(400, "ValidationException", text))
}

fn not_redrivable(arn: &str, reason: &str) -> ApiError {
    let text = format!("Execution {arn} invalid for redrive as: {reason}");
    ApiError::new(400, "ExecutionNotRedrivable", text)
}
