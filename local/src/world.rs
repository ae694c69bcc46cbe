//! The world: every account and region, the services in it, and its clock.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use asl_interpreter::Clock;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::task::AbortHandle;

use crate::api_gateway;
use crate::credentials::{AccessKey, Credentials, DEFAULT_ACCOUNT};
use crate::events::Event;
use crate::iam::Iam;
use crate::layer::{Answer, Layer};
use crate::randomness::{Randomness, unpredictable_seed};
use crate::recorded::RecordedText;
use crate::request::{ApiError, Caller, Request, Response};
use crate::security_groups::SecurityGroups;
use crate::signature::Wire;

/// The header that carries a request's id.
const REQUEST_ID: &str = "x-amzn-requestid";

/// One AWS service in the local cloud, for all accounts and regions.
#[async_trait]
pub trait Service: Send + Sync {
    /// Answers one request. Errors are answers too, in the service's protocol.
    async fn handle(&self, request: Request) -> Response;

    /// What it has written down where somebody could read it, for searches. Not what
    /// it keeps secret by trade.
    fn recorded_texts(&self) -> Vec<RecordedText> {
        Vec::new()
    }

    /// What there is under this name or ARN, as far as a policy can look at it. Nothing
    /// for what does not exist and for services whose resources have no tags here.
    fn look_up(&self, caller: &Caller, name: &str) -> Option<Known> {
        let _ = (caller, name);
        None
    }
}

/// A resource as policies see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its ARN.
    pub arn: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The key it is encrypted with, unless it is one of AWS's own.
    pub key: Option<String>,
    /// Of a key: whether it is one of AWS's own.
    pub by_aws: bool,
    /// Of a table or an index: the attribute that its items are parted by.
    pub partition_key: Option<String>,
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
    credentials: Credentials,
    iam: Iam,
    security_groups: SecurityGroups,
    randomness: Randomness,
    services: RwLock<BTreeMap<String, Arc<dyn Service>>>,
    layers: RwLock<Vec<Arc<dyn Layer>>>,
    bus: OnceLock<Arc<dyn EventSink>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl World {
    /// An empty world on this clock, with the usual default account and a seed nobody chose.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::with_seed(clock, DEFAULT_ACCOUNT, unpredictable_seed())
    }

    /// An empty world whose identifiers follow from `seed`; keys nobody issued
    /// belong to `default_account`.
    pub fn with_seed(clock: Arc<dyn Clock>, default_account: &str, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            clock,
            credentials: Credentials::new(default_account),
            iam: Iam::default(),
            security_groups: SecurityGroups::default(),
            randomness: Randomness::seeded(seed),
            services: RwLock::default(),
            layers: RwLock::default(),
            bus: OnceLock::new(),
            tasks: Mutex::default(),
        })
    }

    /// The world's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The time in this world.
    pub fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// The world's source of chance.
    pub fn randomness(&self) -> &Randomness {
        &self.randomness
    }

    /// The keys the world has issued.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Roles and their policies.
    pub fn iam(&self) -> &Iam {
        &self.iam
    }

    /// Security groups, and in which VPC each is.
    pub fn security_groups(&self) -> &SecurityGroups {
        &self.security_groups
    }

    /// Issues a key for a principal of an account, such as a function's role.
    pub fn issue_key(
        &self,
        account: &str,
        principal: &str,
        expiration: Option<OffsetDateTime>,
    ) -> AccessKey {
        self.credentials
            .issue(account, principal, expiration, &self.randomness)
    }

    /// Adds a service under its signing name.
    pub fn register(&self, signing_name: &str, service: Arc<dyn Service>) {
        let mut services = self
            .services
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        services.insert(signing_name.to_owned(), service);
    }

    /// Adds a layer outside those already there: it sees requests first and answers last.
    pub fn add_layer(&self, layer: Arc<dyn Layer>) {
        self.layers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(layer);
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

    /// Runs work of the world's own that nobody waits for; [`World::stop`] ends it.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let handle = tokio::spawn(work).abort_handle();
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(handle);
    }

    /// Ends all work started with [`World::spawn`].
    pub fn stop(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.drain(..).for_each(|task| task.abort());
    }

    /// What a service knows of a resource.
    pub(crate) fn look_up(&self, service: &str, caller: &Caller, name: &str) -> Option<Known> {
        self.service(service)?.look_up(caller, name)
    }

    fn service(&self, signing_name: &str) -> Option<Arc<dyn Service>> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        services.get(signing_name).cloned()
    }

    /// What every service has written down where somebody could read it.
    pub fn recorded_texts(&self) -> Vec<RecordedText> {
        let services = self
            .services
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        services
            .values()
            .flat_map(|service| service.recorded_texts())
            .collect()
    }

    /// Turns what came over the wire into a request that carries its caller and service.
    ///
    /// # Errors
    /// What [`Credentials::read`] refuses; where an HTTP API is called, a signature that is not right.
    pub fn admit(
        &self,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request, ApiError> {
        let signature = if api_gateway::is_invocation(&uri) {
            let wire = Wire {
                method: &method,
                uri: &uri,
                headers: &headers,
                body: &body,
            };
            let now = self.now();
            self.credentials
                .authenticate(wire, api_gateway::SIGNING_NAME, now)?
        } else {
            self.credentials.read(&headers, self.now())?
        };
        Ok(Request {
            caller: signature.caller,
            service: signature.service,
            method,
            uri,
            headers,
            body,
        })
    }

    /// Answers a client, through the layers.
    ///
    /// # Errors
    /// [`crate::layer::Severed`] when a layer lets no answer through.
    pub async fn receive(
        &self,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Answer {
        let wants_xml = crate::request::speaks_query(&headers);
        let is_invocation = api_gateway::is_invocation(&uri);
        let request = match self.admit(method, uri, headers, body) {
            Ok(request) => request,
            Err(error) if is_invocation => return Ok(api_gateway::refused(&error)),
            Err(error) if wants_xml => return Ok(error.to_xml_response()),
            Err(error) => return Ok(error.to_json_response()),
        };
        let answer = self.through_layers(&request).await;
        answer.map(|response| self.with_request_id(response))
    }

    async fn through_layers(&self, request: &Request) -> Answer {
        let layers = self
            .layers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut passed = Vec::new();
        let mut instead = None;
        for layer in layers.iter().rev() {
            if let ControlFlow::Break(answer) = layer.before(request).await {
                instead = Some(answer);
                break;
            }
            passed.push(layer);
        }
        let mut answer = match instead {
            Some(answer) => answer,
            None => Ok(self.handle(request.clone()).await),
        };
        for layer in passed.into_iter().rev() {
            answer = layer.after(request, answer).await;
        }
        answer
    }

    /// Every answer has an id that support would ask for.
    fn with_request_id(&self, mut response: Response) -> Response {
        if !response.headers().contains_key(REQUEST_ID)
            && let Ok(id) = self.randomness.uuid().parse()
        {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }

    /// Answers a request that already carries its caller and service, if its caller may make it.
    pub async fn handle(&self, request: Request) -> Response {
        let service = self.service(&request.service);
        if service.is_some()
            && !request.is_from_service()
            && let Err(refusal) = self.iam.authorize(self, &request)
        {
            return *refusal;
        }
        match service {
            Some(service) => service.handle(request).await,
            None => {
                let error = ApiError::new(
                    501,
                    "NotImplemented",
                    format!("the local cloud has no service `{}`", request.service),
                );
                let wants_xml = crate::request::speaks_query(&request.headers);
                if wants_xml {
                    error.to_xml_response()
                } else {
                    error.to_json_response()
                }
            }
        }
    }

    /// Calls a JSON-protocol service as another service would on a customer's behalf.
    ///
    /// `target` is the whole `X-Amz-Target`, such as `secretsmanager.CreateSecret`.
    ///
    /// # Errors
    /// The service's own error, by its wire code.
    pub async fn call(
        &self,
        caller: &Caller,
        service: &str,
        target: &str,
        body: &Value,
    ) -> Result<Value, ApiError> {
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
        Err(ApiError::new(
            response.status().as_u16(),
            text("__type"),
            text("message"),
        ))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}
