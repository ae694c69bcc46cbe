//! Runs a function that is part of this process.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};

use super::function::{FunctionError, Handler, Invocation};
use super::logs::LogSink;
use super::{Function, Job};

tokio::task_local! {
    static RUNNING: Arc<Running>;
}

/// An invocation under way in this process, as what it calls can find out: for faults that concern the whole of it.
#[derive(Debug)]
pub struct Running {
    /// The function's name.
    pub function: String,
    /// The request id, as in the logs.
    pub request_id: String,
    /// The event it was invoked with.
    pub payload: Value,
    killed: Notify,
    ended: watch::Sender<bool>,
}

impl Running {
    /// The invocation that this task is part of.
    #[must_use]
    pub fn current() -> Option<Arc<Self>> {
        RUNNING.try_with(Arc::clone).ok()
    }

    /// Kills it where it stands, as Lambda kills a process: what it asked for stays asked for.
    pub fn kill(&self) {
        self.killed.notify_one();
    }

    /// Waits until it has ended, however.
    pub async fn ended(&self) {
        // The sender lives in here, so the channel cannot close.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

/// Says at the end of its life that an invocation has ended.
struct Ended(Arc<Running>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended.send_replace(true);
    }
}

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
    let running = Arc::new(Running {
        function: function.settings.name.clone(),
        request_id: job.request_id.clone(),
        payload: invocation.payload.clone(),
        killed: Notify::new(),
        ended: watch::Sender::new(false),
    });
    let _ended = Ended(Arc::clone(&running));
    let work = AssertUnwindSafe(async { handler(invocation).await }).catch_unwind();
    let work = RUNNING.scope(Arc::clone(&running), work);
    let outcome = tokio::select! {
        biased;
        () = running.killed.notified() => {
            function.log.line(Some(&job.request_id), "killed");
            return Err(exited(&job.request_id, "signal: killed"));
        }
        outcome = tokio::time::timeout(timeout, work) => outcome,
    };
    match outcome {
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
