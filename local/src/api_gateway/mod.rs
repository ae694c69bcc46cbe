//! API Gateway: REST APIs from OpenAPI documents, in front of Lambda functions.
//!
//! A stage is called at `/restapis/<api>/<stage>/_user_request_/<path>` of the
//! endpoint. Who calls must have signed the request for `execute-api` with a key the
//! world knows, and the signature is verified ([`World::admit`]). Then come route,
//! permission, request validation and the function, in API Gateway's order and with
//! its refusals (API Gateway Developer Guide, "Gateway response types"). There is no
//! throttling, caching or mapping, and no resource policy: an API is its account's own.

mod management;
mod openapi;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde_json::{Map, Value, json};

use crate::lambda::Lambda;
use crate::request::{ApiError, Caller, Request, Response, response};
use crate::world::{Service, World};
pub(crate) use management::ApiGatewayApi;
use openapi::Route;

/// The service that callers sign for.
pub(crate) const SIGNING_NAME: &str = "execute-api";

/// Who calls the functions.
const SERVICE: &str = "apigateway.amazonaws.com";

const PREFIX: &str = "/restapis/";
const MARK: &str = "_user_request_";

/// Every REST API, by its id.
pub struct ApiGateway {
    world: Weak<World>,
    lambda: Arc<Lambda>,
    apis: Mutex<BTreeMap<String, Api>>,
}

/// A REST API: what it is now, and what its stages were deployed with.
#[derive(Clone)]
struct Api {
    name: String,
    account: String,
    region: String,
    routes: Arc<Vec<Route>>,
    stages: BTreeMap<String, Arc<Vec<Route>>>,
}

impl Api {
    fn is_of(&self, place: &Caller) -> bool {
        self.account == place.account && self.region == place.region
    }
}

/// A call of a stage, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Invocation<'a> {
    api: &'a str,
    stage: &'a str,
    /// With its leading slash.
    path: &'a str,
}

/// Whether a request calls an HTTP API, and not API Gateway or another service.
pub(crate) fn is_invocation(uri: &Uri) -> bool {
    invocation(uri.path()).is_some()
}

fn invocation(path: &str) -> Option<Invocation<'_>> {
    let (api, rest) = path.strip_prefix(PREFIX)?.split_once('/')?;
    let (stage, rest) = rest.split_once('/')?;
    let path = rest.strip_prefix(MARK)?;
    let path = if path.is_empty() { "/" } else { path };
    path.starts_with('/')
        .then_some(Invocation { api, stage, path })
}

impl ApiGateway {
    /// No APIs yet.
    #[must_use]
    pub fn new(world: Weak<World>, lambda: Arc<Lambda>) -> Self {
        Self {
            world,
            lambda,
            apis: Mutex::default(),
        }
    }

    /// Puts a REST API described by an OpenAPI document; one of its name keeps its id and its stages. Returns the id.
    ///
    /// # Errors
    /// `BadRequestException` naming what is wrong with the document.
    pub fn put_rest_api(
        &self,
        place: &Caller,
        name: &str,
        document: &Value,
    ) -> Result<String, ApiError> {
        let routes = Arc::new(openapi::routes(document)?);
        let world = self.world()?;
        let mut apis = self.apis.lock().unwrap_or_else(PoisonError::into_inner);
        let known = apis
            .iter_mut()
            .find(|(_, api)| api.name == name && api.is_of(place));
        if let Some((id, api)) = known {
            api.routes = routes;
            return Ok(id.clone());
        }
        let id = world.randomness().base32(10).to_ascii_lowercase();
        let api = Api {
            name: name.to_owned(),
            account: place.account.clone(),
            region: place.region.clone(),
            routes,
            stages: BTreeMap::new(),
        };
        apis.insert(id.clone(), api);
        Ok(id)
    }

    /// Deploys an API as it is now to a stage.
    ///
    /// # Errors
    /// `NotFoundException`.
    pub fn put_stage(&self, id: &str, stage: &str) -> Result<(), ApiError> {
        let mut apis = self.apis.lock().unwrap_or_else(PoisonError::into_inner);
        let api = apis.get_mut(id).ok_or_else(not_found)?;
        let routes = Arc::clone(&api.routes);
        api.stages.insert(stage.to_owned(), routes);
        Ok(())
    }

    /// Deletes an API with its stages.
    ///
    /// # Errors
    /// `NotFoundException`.
    pub fn delete_rest_api(&self, id: &str) -> Result<(), ApiError> {
        let mut apis = self.apis.lock().unwrap_or_else(PoisonError::into_inner);
        apis.remove(id).map(drop).ok_or_else(not_found)
    }

    /// The APIs of an account and region, as `GetRestApis` tells them.
    fn listed(&self, place: &Caller) -> Vec<Value> {
        let apis = self.apis.lock().unwrap_or_else(PoisonError::into_inner);
        let own = apis.iter().filter(|(_, api)| api.is_of(place));
        own.map(|(id, api)| json!({ "id": id, "name": api.name }))
            .collect()
    }

    fn check_owner(&self, place: &Caller, id: &str) -> Result<(), ApiError> {
        let apis = self.apis.lock().unwrap_or_else(PoisonError::into_inner);
        let own = apis.get(id).filter(|api| api.is_of(place));
        own.map(drop).ok_or_else(not_found)
    }

    async fn answer(&self, request: &Request) -> Result<Response, ApiError> {
        let call = invocation(request.uri.path()).ok_or_else(no_route)?;
        let (api, route, parameters) = self.route(call, request.method.as_str())?;
        let resource = format!(
            "arn:aws:execute-api:{}:{}:{}/{}/{}{}",
            api.region, api.account, call.api, call.stage, request.method, call.path
        );
        self.authorize(&resource, &api, &request.caller)?;
        check_query(&route, request)?;
        check_body(&route, request)?;
        self.lambda
            .check_permission(SERVICE, &route.function_arn, &resource)
            .map_err(|error| ApiError {
                status: 500,
                ..unanswered(&error)
            })?;
        let world = self.world()?;
        let event = event(&world, &api, call, (&route, parameters), request);
        let place = Caller {
            account: api.account.clone(),
            region: api.region.clone(),
            principal: SERVICE.to_owned(),
        };
        let invoked = self
            .lambda
            .invoke(&place, &route.function_arn, event)
            .await
            .map_err(|error| unanswered(&error))?;
        let answer = invoked.result.map_err(|error| unanswered(&error))?;
        proxied(&answer).ok_or_else(|| unanswered(&"the function's answer is no proxy response"))
    }

    fn route(
        &self,
        call: Invocation<'_>,
        method: &str,
    ) -> Result<(Api, Route, Map<String, Value>), ApiError> {
        let apis = self.apis.lock().unwrap_or_else(PoisonError::into_inner);
        let api = apis.get(call.api).ok_or_else(no_route)?;
        let routes = api.stages.get(call.stage).ok_or_else(no_route)?;
        let mut fitting = routes
            .iter()
            .filter(|route| route.method == method)
            .filter_map(|route| Some((route, route.fits(call.path)?)));
        let (route, parameters) = fitting.next().ok_or_else(no_route)?;
        Ok((api.clone(), route.clone(), parameters))
    }

    /// Whether the caller may: signed for the API's region, of its account, and permitted by the policies of their role.
    fn authorize(&self, resource: &str, api: &Api, caller: &Caller) -> Result<(), ApiError> {
        if caller.region != api.region {
            let text = "Credential should be scoped to a valid region. ";
            return Err(ApiError::new(403, "InvalidSignatureException", text));
        }
        if caller.account != api.account {
            return Err(denied(caller, resource));
        }
        let Some((role_arn, session)) = role_of(&caller.principal) else {
            return Ok(());
        };
        let asking = Caller {
            principal: role_arn,
            ..caller.clone()
        };
        let world = self.world()?;
        world
            .iam()
            .may_as(&world, &asking, session, "execute-api:Invoke", resource)
            .map_err(|_| denied(caller, resource))
    }

    fn world(&self) -> Result<Arc<World>, ApiError> {
        self.world
            .upgrade()
            .ok_or_else(|| ApiError::new(500, "InternalFailureException", "the world has stopped"))
    }
}

#[async_trait]
impl Service for ApiGateway {
    async fn handle(&self, request: Request) -> Response {
        match self.answer(&request).await {
            Ok(answer) => answer,
            Err(error) => refused(&error),
        }
    }
}

/// A refusal as API Gateway writes it.
pub(crate) fn refused(error: &ApiError) -> Response {
    // IAM's own refusals are the only ones with a capital letter.
    let member = if error.code == "AccessDeniedException" {
        "Message"
    } else {
        "message"
    };
    let body = json!({ member: error.message });
    let mut answer = response(error.status, "application/json", body.to_string());
    let code = match error.code.as_str() {
        "MissingAuthenticationToken" => "MissingAuthenticationTokenException",
        code => code,
    };
    if let Ok(code) = HeaderValue::from_str(code) {
        answer.headers_mut().insert("x-amzn-errortype", code);
    }
    answer
}

/// What is not there looks as if it was not signed.
fn no_route() -> ApiError {
    ApiError::new(
        403,
        "MissingAuthenticationTokenException",
        "Missing Authentication Token",
    )
}

fn denied(caller: &Caller, resource: &str) -> ApiError {
    let masked = resource.replacen(
        &caller.account,
        &format!("********{}", caller.account.get(8..).unwrap_or_default()),
        1,
    );
    let text = format!(
        "User: {} is not authorized to perform: execute-api:Invoke on resource: {masked}",
        caller.principal
    );
    ApiError::new(403, "AccessDeniedException", text)
}

/// The role and the session's name in `arn:aws:sts::123456789012:assumed-role/role/session`; root has none.
fn role_of(principal: &str) -> Option<(String, &str)> {
    let (before, after) = principal.split_once(":assumed-role/")?;
    let (role, session) = after.split_once('/')?;
    let account = before.rsplit(':').next()?;
    Some((format!("arn:aws:iam::{account}:role/{role}"), session))
}

fn not_found() -> ApiError {
    ApiError::new(404, "NotFoundException", "Invalid API identifier specified")
}

fn bad_request(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "BadRequestException", message)
}

/// What goes wrong behind the gateway is told to the log and not to the caller.
fn unanswered(reason: &dyn std::fmt::Display) -> ApiError {
    tracing::warn!(%reason, "an integration failed");
    ApiError::new(502, "InternalServerErrorException", "Internal server error")
}

fn check_query(route: &Route, request: &Request) -> Result<(), ApiError> {
    let given = query(&request.uri);
    let missing: Vec<&str> = route
        .required_query
        .iter()
        .filter(|name| !given.contains_key(*name))
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(bad_request(format!(
        "Missing required request parameters: [{}]",
        missing.join(", ")
    )))
}

/// Only a body whose content type has a model is looked at; without a content type it is JSON.
fn check_body(route: &Route, request: &Request) -> Result<(), ApiError> {
    let Some(model) = &route.body else {
        return Ok(());
    };
    let content_type = header(&request.headers, CONTENT_TYPE.as_str());
    if content_type.is_some_and(|kind| kind.split(';').next() != Some("application/json")) {
        return Ok(());
    }
    if request.body.is_empty() && !route.is_body_required {
        return Ok(());
    }
    let body: Option<Value> = serde_json::from_slice(&request.body).ok();
    if body.is_some_and(|body| model.is_valid(&body)) {
        return Ok(());
    }
    Err(bad_request("Invalid request body"))
}

/// The event of a Lambda proxy integration, version 1.0.
fn event(
    world: &World,
    api: &Api,
    call: Invocation<'_>,
    (route, parameters): (&Route, Map<String, Value>),
    request: &Request,
) -> Value {
    let query = query(&request.uri);
    let last: Map<String, Value> = query
        .iter()
        .filter_map(|(name, values)| Some((name.clone(), values.last()?.as_str().into())))
        .collect();
    let or_null = |members: Map<String, Value>| {
        if members.is_empty() {
            Value::Null
        } else {
            members.into()
        }
    };
    let (headers, all_headers) = headers(&request.headers);
    let body = String::from_utf8_lossy(&request.body);
    let now = world.now();
    json!({
        "resource": route.resource,
        "path": call.path,
        "httpMethod": route.method,
        "headers": headers,
        "multiValueHeaders": all_headers,
        "queryStringParameters": or_null(last),
        "multiValueQueryStringParameters": if query.is_empty() { Value::Null } else { json!(query) },
        "pathParameters": or_null(parameters),
        "stageVariables": null,
        "requestContext": {
            "resourcePath": route.resource,
            "httpMethod": route.method,
            "path": format!("/{}{}", call.stage, call.path),
            "protocol": "HTTP/1.1",
            "stage": call.stage,
            "apiId": call.api,
            "accountId": api.account,
            "requestId": world.randomness().uuid(),
            "requestTimeEpoch": i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default(),
            "identity": {
                "accountId": request.caller.account,
                "caller": request.caller.account,
                "userArn": request.caller.principal,
                "sourceIp": "127.0.0.1",
                "userAgent": header(&request.headers, "user-agent"),
            },
        },
        "body": if request.body.is_empty() { Value::Null } else { body.into() },
        "isBase64Encoded": false,
    })
}

fn query(uri: &Uri) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        all.entry(name.into_owned())
            .or_default()
            .push(value.into_owned());
    }
    all
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn headers(headers: &HeaderMap) -> (Map<String, Value>, Map<String, Value>) {
    let mut last = Map::new();
    let mut all = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        last.insert(name.to_string(), values.last().copied().into());
        all.insert(name.to_string(), values.into());
    }
    (last, all)
}

/// The HTTP answer a function gives; `None` when it gives something else.
fn proxied(answer: &Value) -> Option<Response> {
    let status = u16::try_from(answer.get("statusCode")?.as_u64()?).ok()?;
    let body = answer.get("body").and_then(Value::as_str);
    let mut proxied = response(
        status,
        "application/json",
        body.unwrap_or_default().to_owned(),
    );
    let headers = answer.get("headers").and_then(Value::as_object);
    for (name, value) in headers.into_iter().flatten() {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = HeaderValue::from_str(value.as_str()?).ok()?;
        proxied.headers_mut().insert(name, value);
    }
    Some(proxied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_a_stage_is_told_by_its_path() {
        let call = |path| invocation(path).map(|call| (call.api, call.stage, call.path));
        assert_eq!(
            call("/restapis/a1/live/_user_request_/restores/x"),
            Some(("a1", "live", "/restores/x"))
        );
        assert_eq!(
            call("/restapis/a1/live/_user_request_"),
            Some(("a1", "live", "/"))
        );
        for other in [
            "/",
            "/restapis/a1/deployments",
            "/restapis/a1/live/_user_request_x",
            "/schedules/restapis",
        ] {
            assert_eq!(call(other), None, "{other}");
        }
    }
}
