//! A step behind the Lambda Runtime API, or in process.
//!
//! Both ways call [`step::execute`]. What differs is where the configuration comes
//! from and how an error travels: `lambda_runtime` would name it after a Rust type,
//! so the error type is set to the [`Kind`](crate::Kind)'s name here.

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::{Value, json};

use crate::aws::{self, Clients};
use crate::clock::Clock;
use crate::errors::StepError;
use crate::logs::{self, LogSink};
use crate::settings::Settings;
use crate::step::{self, Context, Step};

/// Serves a step over the Lambda Runtime API until the environment ends.
///
/// # Errors
/// When the environment is incomplete or the Runtime API cannot be reached.
pub async fn serve(step: Step) -> Result<(), lambda_runtime::Error> {
    let log = LogSink::stdout();
    tracing::subscriber::set_global_default(logs::subscriber(log.clone()))?;
    let aws = Clients::new(aws::configuration().await);
    // Settings that are missing are an answer with a code, not a crash at start that nobody can tell from others.
    let context = &Settings::from_environment().map(|settings| Context {
        settings,
        aws,
        clock: Clock::system(),
        log,
    });
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| async move {
        let context = context.as_ref().map_err(diagnostic)?;
        step::execute(context, &step, event.payload)
            .await
            .map_err(|error| diagnostic(&error))
    }))
    .await
}

fn diagnostic(error: &StepError) -> Diagnostic {
    Diagnostic {
        error_type: error.kind().name().to_owned(),
        error_message: error.report(),
    }
}

/// An error as Lambda hands it to Step Functions: the failure of a task, and the cause of a failed wait.
pub fn error_payload(error: &StepError) -> Value {
    json!({ "errorType": error.kind().name(), "errorMessage": error.report() })
}
