//! The Lambda Runtime API, as one process sees it: next, response, error, init error.
//!
//! Each process has an address of its own, so there is never a question of whose
//! request it is.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::{convert::Infallible, io};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::AbortHandle;

const PREFIX: &str = "/2018-06-01/runtime/";

/// One invocation on its way to a process.
pub(super) struct Work {
    pub(super) request_id: String,
    pub(super) deadline_epoch_milliseconds: i128,
    pub(super) function_arn: String,
    pub(super) payload: Value,
    pub(super) reply: oneshot::Sender<Result<Value, Value>>,
}

/// The host's end of one process's Runtime API.
pub(super) struct RuntimeApi {
    pub(super) address: SocketAddr,
    work: mpsc::Sender<Work>,
    init_error: Arc<Mutex<Option<Value>>>,
    serving: AbortHandle,
}

struct Desk {
    waiting: Mutex<mpsc::Receiver<Work>>,
    /// Work the process has taken and not answered.
    taken: Mutex<Option<Work>>,
    init_error: Arc<Mutex<Option<Value>>>,
}

impl RuntimeApi {
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (work, waiting) = mpsc::channel(1);
        let init_error = Arc::new(Mutex::new(None));
        let desk = Arc::new(Desk {
            waiting: Mutex::new(waiting),
            taken: Mutex::default(),
            init_error: Arc::clone(&init_error),
        });
        let serving = tokio::spawn(serve(listener, desk)).abort_handle();
        Ok(Self {
            address,
            work,
            init_error,
            serving,
        })
    }

    /// Hands work to the process; it stays on the desk until the process asks.
    pub(super) async fn hand(&self, work: Work) {
        // The receiver lives as long as the serving task, which ends with this value.
        let _ = self.work.send(work).await;
    }

    /// What the process said about why it could not start.
    pub(super) async fn init_error(&self) -> Option<Value> {
        self.init_error.lock().await.take()
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    // Connections end with this task: a process never outlives its Runtime API.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let desk = Arc::clone(&desk);
        connections.spawn(async move {
            let answer = service_fn(move |request| {
                let desk = Arc::clone(&desk);
                async move { Ok::<_, Infallible>(answer(&desk, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a function closed its Runtime API connection early");
            }
        });
    }
}

async fn answer(desk: &Desk, request: hyper::Request<Incoming>) -> hyper::Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let path = parts
        .uri
        .path()
        .strip_prefix(PREFIX)
        .unwrap_or_default()
        .to_owned();
    if parts.method == Method::GET && path == "invocation/next" {
        return next(desk).await;
    }
    let Ok(body) = body.collect().await else {
        return plain(StatusCode::BAD_REQUEST, "the body did not arrive");
    };
    let body = body.to_bytes();
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["init", "error"] => {
            *desk.init_error.lock().await = Some(payload(&body));
            accepted()
        }
        ["invocation", request_id, "response"] => {
            finish(desk, request_id, Ok(payload(&body))).await
        }
        ["invocation", request_id, "error"] => finish(desk, request_id, Err(payload(&body))).await,
        _ => plain(StatusCode::NOT_FOUND, "no such path in the Runtime API"),
    }
}

async fn next(desk: &Desk) -> hyper::Response<Full<Bytes>> {
    let Some(work) = desk.waiting.lock().await.recv().await else {
        return plain(StatusCode::GONE, "the sandbox is closed");
    };
    let response = hyper::Response::builder()
        .header("content-type", "application/json")
        .header("lambda-runtime-aws-request-id", &work.request_id)
        .header(
            "lambda-runtime-deadline-ms",
            work.deadline_epoch_milliseconds.to_string(),
        )
        .header("lambda-runtime-invoked-function-arn", &work.function_arn)
        .header("lambda-runtime-trace-id", trace_id(&work))
        .body(Full::new(Bytes::from(work.payload.to_string())));
    *desk.taken.lock().await = Some(work);
    response.unwrap_or_else(|_| {
        plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the invocation has no valid headers",
        )
    })
}

/// X-Ray's form, from the request id and the deadline: there is nothing behind it.
fn trace_id(work: &Work) -> String {
    let digits: String = work
        .request_id
        .chars()
        .filter(char::is_ascii_hexdigit)
        .collect();
    let digits = format!("{digits:0<24}");
    let seconds = work.deadline_epoch_milliseconds / 1_000;
    format!(
        "Root=1-{seconds:08x}-{};Sampled=0",
        digits.get(..24).unwrap_or_default()
    )
}

async fn finish(
    desk: &Desk,
    request_id: &str,
    result: Result<Value, Value>,
) -> hyper::Response<Full<Bytes>> {
    let mut taken = desk.taken.lock().await;
    match taken.take_if(|work| work.request_id == request_id) {
        Some(work) => {
            // Nobody listens when the invocation has timed out meanwhile.
            let _ = work.reply.send(result);
            accepted()
        }
        None => plain(StatusCode::BAD_REQUEST, "that invocation is not under way"),
    }
}

/// An answer that is not JSON is passed on as text.
fn payload(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

fn accepted() -> hyper::Response<Full<Bytes>> {
    plain(StatusCode::ACCEPTED, r#"{"status":"OK"}"#)
}

fn plain(status: StatusCode, text: &'static str) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}
