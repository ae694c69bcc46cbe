//! API Gateway's own REST API: import a document, deploy it, list what there is, delete it.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};

use super::ApiGateway;
use crate::fields::Fields;
use crate::request::{ApiError, Request, Response, response};
use crate::world::Service;

/// The service that whoever manages APIs signs for.
pub(crate) struct ApiGatewayApi(pub(crate) Arc<ApiGateway>);

#[async_trait]
impl Service for ApiGatewayApi {
    async fn handle(&self, request: Request) -> Response {
        match self.answer(&request) {
            Ok((status, answer)) => response(status, "application/json", answer.to_string()),
            Err(error) => error.to_json_response(),
        }
    }
}

impl ApiGatewayApi {
    fn answer(&self, request: &Request) -> Result<(u16, Value), ApiError> {
        let (gateway, place) = (&self.0, &request.caller);
        let path = request.uri.path().trim_matches('/');
        let parts: Vec<&str> = path.split('/').collect();
        let imports = request.uri.query() == Some("mode=import");
        match (&request.method, parts.as_slice()) {
            (&Method::GET, ["restapis"]) => Ok((200, json!({ "item": gateway.listed(place) }))),
            (&Method::POST, ["restapis"]) if imports => {
                let document = request.json_body()?;
                let name = Fields::new(&document["info"]).required("title")?.to_owned();
                let id = gateway.put_rest_api(place, &name, &document)?;
                Ok((201, json!({ "id": id, "name": name })))
            }
            (&Method::DELETE, ["restapis", id]) => {
                gateway.check_owner(place, id)?;
                gateway.delete_rest_api(id).map(|()| (202, json!({})))
            }
            (&Method::POST, ["restapis", id, "deployments"]) => {
                gateway.check_owner(place, id)?;
                let body = request.json_body()?;
                gateway.put_stage(id, Fields::new(&body).required("stageName")?)?;
                Ok((201, json!({ "id": "deployment" })))
            }
            (method, _) => Err(ApiError::unknown_operation(
                "API Gateway",
                &format!("{method} /{path}"),
            )),
        }
    }
}
