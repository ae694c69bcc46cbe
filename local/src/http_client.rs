//! The SDK's HTTP client without a network: requests go straight into the world.
//!
//! Everything above the socket is real: serialisation, signing, retries, timeouts,
//! parsing of answers and error codes.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use asl_interpreter::Clock;
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;

use crate::layer::Severed;
use crate::request::Response;
use crate::world::World;

/// An HTTP client for AWS SDK configurations whose only server is a [`World`].
///
/// It does not keep the world alive: functions hold clients, and the world functions.
#[derive(Clone)]
pub struct InProcessHttpClient {
    world: Weak<World>,
}

impl InProcessHttpClient {
    /// A client of this world.
    #[must_use]
    pub fn new(world: &Arc<World>) -> Self {
        Self {
            world: Arc::downgrade(world),
        }
    }
}

impl fmt::Debug for InProcessHttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcessHttpClient")
    }
}

impl HttpClient for InProcessHttpClient {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        // Connect and read timeouts mean nothing without a connection; operation
        // and attempt timeouts are kept by the SDK around the connector.
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for InProcessHttpClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let world = self.world.clone();
        HttpConnectorFuture::new(async move {
            match world.upgrade() {
                Some(world) => exchange(&world, request).await,
                None => Err(ConnectorError::io("the local cloud has ended".into())),
            }
        })
    }
}

async fn exchange(world: &World, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(error);
    let request = request
        .try_into_http1x()
        .map_err(|error| broken(error.into()))?;
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(broken)?.to_bytes();
    let answer = world
        .receive(parts.method, parts.uri, parts.headers, body)
        .await;
    let response = answer.map_err(|severed| match severed {
        Severed::Refused | Severed::Reset => ConnectorError::io(severed.into()),
        Severed::TimedOut => ConnectorError::timeout(severed.into()),
    })?;
    HttpResponse::try_from(response_with_body(response)).map_err(|error| broken(error.into()))
}

/// A body shorter than its headers promise ends in an error, as it does on a connection that breaks.
fn response_with_body(response: Response) -> http::Response<SdkBody> {
    let promised = response.headers().get(http::header::CONTENT_LENGTH);
    let promised: Option<usize> = promised
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse().ok());
    response.map(|body| {
        if promised.is_none_or(|promised| promised <= body.len()) {
            return SdkBody::from(body);
        }
        let broken = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let frames = [Ok(Frame::data(body)), Err(broken)];
        SdkBody::from_body_1_x(StreamBody::new(futures::stream::iter(frames)))
    })
}

/// The world's time for SDK configurations: credentials then expire when the world
/// says so, and not when the machine does.
#[derive(Clone)]
pub struct WorldTime {
    clock: Arc<dyn Clock>,
}

impl WorldTime {
    /// The time of this world.
    #[must_use]
    pub fn new(world: &World) -> Self {
        Self {
            clock: Arc::clone(world.clock()),
        }
    }
}

impl fmt::Debug for WorldTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorldTime")
    }
}

impl TimeSource for WorldTime {
    fn now(&self) -> SystemTime {
        self.clock.now().into()
    }
}
