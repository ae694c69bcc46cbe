//! The world: every account and region, the services in it, and its clock.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, RwLock};

use asl_interpreter::Clock;
use async_trait::async_trait;
use serde_json::Value;
use time::OffsetDateTime;

use crate::events::Event;
use crate::request::{ApiError, Caller, Request, Response};

/// One AWS service in the local cloud, for all accounts and regions.
#[async_trait]
pub trait Service: Send + Sync {
    /// Answers one request. Errors are answers too, in the service's protocol.
    async fn handle(&self, request: Request) -> Response;
}

/// Receives what services publish on the event bus.
pub trait EventSink: Send + Sync {
    /// Takes an event; delivery to its targets happens later and is best effort.
    fn publish(&self, event: Event);
}

/// Every account and region, the services in it, and its clock.
///
/// Services hold a `Weak<World>` to call each other with [`World::call`], as AWS
/// services do on a customer's behalf.
pub struct World {
    clock: Arc<dyn Clock>,
    services: RwLock<BTreeMap<String, Arc<dyn Service>>>,
    bus: OnceLock<Arc<dyn EventSink>>,
}

impl World {
    /// An empty world on this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, services: RwLock::default(), bus: OnceLock::new() })
    }

    /// The world's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The time in this world.
    pub fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// Adds a service under its signing name.
    pub fn register(&self, signing_name: &str, service: Arc<dyn Service>) {
        let mut services = self.services.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        services.insert(signing_name.to_owned(), service);
    }

    /// Sets the event bus; the first one stays.
    pub fn set_event_bus(&self, bus: Arc<dyn EventSink>) {
        let _ = self.bus.set(bus);
    }

    /// Publishes an event on the default bus of its account and region.
    pub fn publish(&self, event: Event) {
        match self.bus.get() {
            Some(bus) => bus.publish(event),
            None => tracing::debug!(source = event.source, "no event bus: event dropped"),
        }
    }

    /// Answers a request that already carries its caller and service.
    pub async fn handle(&self, request: Request) -> Response {
        let service = {
            let services = self.services.read().unwrap_or_else(|poisoned| poisoned.into_inner());
            services.get(&request.service).cloned()
        };
        match service {
            Some(service) => service.handle(request).await,
            None => ApiError::new(
                501,
                "NotImplemented",
                format!("the local cloud has no service `{}`", request.service),
            )
            .to_json_response(),
        }
    }

    /// Calls a JSON-protocol service as another service would on a customer's behalf.
    ///
    /// `target` is the whole `X-Amz-Target`, such as `secretsmanager.CreateSecret`.
    ///
    /// # Errors
    /// The service's own error, by its wire code.
    pub async fn call(&self, caller: &Caller, service: &str, target: &str, body: &Value) -> Result<Value, ApiError> {
        let mut headers = http::HeaderMap::new();
        if let Ok(target) = target.parse() {
            headers.insert("x-amz-target", target);
        }
        let response = self
            .handle(Request {
                caller: caller.clone(),
                service: service.to_owned(),
                method: http::Method::POST,
                uri: http::Uri::from_static("/"),
                headers,
                body: body.to_string().into(),
            })
            .await;
        let answer: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        if response.status().is_success() {
            return Ok(answer);
        }
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        Err(ApiError::new(response.status().as_u16(), text("__type"), text("message")))
    }
}
