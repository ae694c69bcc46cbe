//! Runs a function that is part of this process.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use serde_json::Value;
use time::OffsetDateTime;

use super::function::{FunctionError, Handler, Invocation};
use super::logs::LogSink;
use super::{Function, Job};

pub(super) async fn run(
    function: &Arc<Function>,
    handler: &Arc<Handler>,
    job: Job,
    now: OffsetDateTime,
) -> Result<Value, Value> {
    let timeout = function.settings.timeout;
    let invocation = Invocation {
        payload: job.payload,
        request_id: job.request_id.clone(),
        deadline: now
            .saturating_add(time::Duration::try_from(timeout).unwrap_or(time::Duration::MAX)),
        function_name: function.settings.name.clone(),
        function_arn: function.arn.clone(),
        credentials: function.credentials.clone(),
        region: function.region.clone(),
        environment: function.settings.environment.clone(),
        log: LogSink::new(Arc::clone(&function.log), &job.request_id),
    };
    let running = AssertUnwindSafe(async { handler(invocation).await }).catch_unwind();
    match tokio::time::timeout(timeout, running).await {
        Ok(Ok(result)) => result.map_err(|error| error.to_payload()),
        Ok(Err(panic)) => {
            let said = said_by(&*panic);
            function
                .log
                .line(Some(&job.request_id), &format!("panicked: {said}"));
            Err(aborted(&job.request_id))
        }
        Err(_) => Err(timed_out(&job.request_id, timeout)),
    }
}

/// What a panic says goes to the log. The caller learns only that the process
/// ended: the deployed binaries abort on panic.
fn said_by(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

fn aborted(request_id: &str) -> Value {
    exited(request_id, "signal: aborted")
}

pub(super) fn exited(request_id: &str, how: &str) -> Value {
    let text = format!("RequestId: {request_id} Error: Runtime exited with error: {how}");
    FunctionError::new("Runtime.ExitError", text).to_payload()
}

pub(super) fn timed_out(request_id: &str, timeout: std::time::Duration) -> Value {
    let text = format!(
        "RequestId: {request_id} Error: Task timed out after {:.2} seconds",
        timeout.as_secs_f64()
    );
    FunctionError::new("Sandbox.Timedout", text).to_payload()
}
