//! The loopback endpoint: every service of the world behind one address.
//!
//! `AWS_ENDPOINT_URL=http://127.0.0.1:PORT` is all a client needs. There is no TLS,
//! and signatures are verified at HTTP APIs only, so it binds to the loopback
//! interface and nothing else.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::layer::Severed;
use crate::request::response;
use crate::world::World;

/// The path that answers without a signature, for scripts that wait for the endpoint.
pub const HEALTH_PATH: &str = "/_local/health";

/// How long requests under way may take to end at shutdown.
const GRACE: Duration = Duration::from_secs(5);

/// A running endpoint. Dropping it leaves it running; [`Server::shutdown`] ends it.
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Serves the world on 127.0.0.1; port 0 is any free port.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn start(world: Arc<World>, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, world, stopped));
        Ok(Self {
            address,
            stop,
            accepting,
        })
    }

    /// What to set `AWS_ENDPOINT_URL` to.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port in use.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Takes no more connections and waits for the requests under way.
    pub async fn shutdown(self) {
        let _ = self.stop.send(true);
        let _ = self.accepting.await;
    }
}

async fn accept(listener: TcpListener, world: Arc<World>, mut stopped: watch::Receiver<bool>) {
    let connections = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => serve(stream, Arc::clone(&world), &connections),
                Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
            },
            _ = stopped.changed() => break,
        }
    }
    // A request held back by a fault never ends by itself.
    if tokio::time::timeout(GRACE, connections.shutdown())
        .await
        .is_err()
    {
        tracing::debug!("connections were cut off at shutdown");
    }
}

fn serve(stream: TcpStream, world: Arc<World>, connections: &GracefulShutdown) {
    let exchange = service_fn(move |request| {
        let world = Arc::clone(&world);
        async move { exchange(&world, request).await }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), exchange);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

/// Ends the connection: what a client sees when no answer arrives.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error(transparent)]
    Severed(#[from] Severed),
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
}

async fn exchange(
    world: &World,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Unanswered> {
    let (parts, body) = request.into_parts();
    if parts.uri.path() == HEALTH_PATH {
        return Ok(response(200, "application/json", r#"{"status":"ok"}"#).map(Full::new));
    }
    let body = body.collect().await?.to_bytes();
    let answer = world
        .receive(parts.method, parts.uri, parts.headers, body)
        .await;
    match answer {
        Ok(response) => Ok(response.map(Full::new)),
        // The client's own timeout ends this, or its patience.
        Err(Severed::TimedOut) => std::future::pending().await,
        Err(severed) => Err(severed.into()),
    }
}
