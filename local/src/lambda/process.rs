//! Runs the deployed binaries: one process per concurrent invocation, kept warm.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::function::FunctionError;
use super::in_process::{exited, timed_out};
use super::logs::LogGroup;
use super::runtime_api::{RuntimeApi, Work};
use super::{Function, Job};

/// The processes of one function that wait for work.
#[derive(Default)]
pub(super) struct Sandboxes(Mutex<Vec<Sandbox>>);

impl Sandboxes {
    pub(super) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn take(&self) -> Option<Sandbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, sandbox: Sandbox) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sandbox);
    }
}

/// A running process and its Runtime API. Dropping it kills the process.
struct Sandbox {
    child: Child,
    api: RuntimeApi,
}

pub(super) async fn run(
    function: &Arc<Function>,
    bootstrap: &Path,
    job: Job,
    environment: BTreeMap<String, String>,
) -> Result<Value, Value> {
    let mut sandbox = match warm(function) {
        Some(sandbox) => sandbox,
        None => start(function, bootstrap, environment)
            .await
            .map_err(|error| {
                let text = format!(
                    "RequestId: {} Error: cannot start {}: {error}",
                    job.request_id,
                    bootstrap.display()
                );
                FunctionError::new("Runtime.InvalidEntrypoint", text).to_payload()
            })?,
    };
    let timeout = function.settings.timeout;
    let (reply, answer) = oneshot::channel();
    let work = Work {
        request_id: job.request_id.clone(),
        deadline_epoch_milliseconds: deadline_epoch_milliseconds(timeout),
        function_arn: function.arn.clone(),
        payload: job.payload,
        reply,
    };
    sandbox.api.hand(work).await;
    tokio::select! {
        // An answer counts even when the process ends in the same moment.
        biased;
        Ok(result) = answer => {
            function.sandboxes.keep(sandbox);
            result
        }
        status = sandbox.child.wait() => Err(ended(&sandbox.api, &job.request_id, status).await),
        () = tokio::time::sleep(timeout) => Err(timed_out(&job.request_id, timeout)),
    }
}

/// A process that waits and still runs.
fn warm(function: &Function) -> Option<Sandbox> {
    loop {
        let mut sandbox = function.sandboxes.take()?;
        if matches!(sandbox.child.try_wait(), Ok(None)) {
            return Some(sandbox);
        }
    }
}

async fn start(
    function: &Function,
    bootstrap: &Path,
    environment: BTreeMap<String, String>,
) -> io::Result<Sandbox> {
    let api = RuntimeApi::start().await?;
    let mut child = Command::new(bootstrap)
        .env_clear()
        .envs(lambda_variables(function, bootstrap, &api))
        .envs(environment)
        .envs(&function.settings.environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(copy_lines(stdout, Arc::clone(&function.log)));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(copy_lines(stderr, Arc::clone(&function.log)));
    }
    Ok(Sandbox { child, api })
}

/// The environment variables Lambda defines.
fn lambda_variables(
    function: &Function,
    bootstrap: &Path,
    api: &RuntimeApi,
) -> Vec<(&'static str, String)> {
    let settings = &function.settings;
    let directory = bootstrap
        .parent()
        .unwrap_or(Path::new("/"))
        .display()
        .to_string();
    vec![
        ("AWS_LAMBDA_RUNTIME_API", api.address.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", settings.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        (
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            settings.memory_megabytes.to_string(),
        ),
        (
            "AWS_LAMBDA_LOG_GROUP_NAME",
            format!("/aws/lambda/{}", settings.name),
        ),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "local".to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023".to_owned()),
        ("AWS_REGION", function.region.clone()),
        ("AWS_DEFAULT_REGION", function.region.clone()),
        (
            "AWS_ACCESS_KEY_ID",
            function.credentials.access_key_id.clone(),
        ),
        (
            "AWS_SECRET_ACCESS_KEY",
            function.credentials.secret_access_key.clone(),
        ),
        (
            "AWS_SESSION_TOKEN",
            function.credentials.session_token.clone(),
        ),
        ("_HANDLER", "bootstrap".to_owned()),
        ("LAMBDA_TASK_ROOT", directory),
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("TZ", ":UTC".to_owned()),
    ]
}

/// The machine's time: it is what the process compares the deadline with.
#[expect(
    clippy::disallowed_methods,
    reason = "a process outside the world lives on the machine's time"
)]
fn deadline_epoch_milliseconds(timeout: Duration) -> i128 {
    (time::OffsetDateTime::now_utc() + timeout).unix_timestamp_nanos() / 1_000_000
}

async fn copy_lines(output: impl AsyncRead + Unpin, log: Arc<LogGroup>) {
    let mut lines = BufReader::new(output).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        log.line(None, &String::from_utf8_lossy(&line));
    }
}

/// What the caller learns of a process that ended without an answer.
async fn ended(api: &RuntimeApi, request_id: &str, status: io::Result<ExitStatus>) -> Value {
    if let Some(error) = api.init_error().await {
        return error;
    }
    let how = match status {
        // Lambda's words, where `ExitStatus` would say "exit status: 1".
        Ok(status) => match status.code() {
            Some(code) => format!("exit status {code}"),
            None => status.to_string(),
        },
        Err(error) => error.to_string(),
    };
    exited(request_id, &how)
}
