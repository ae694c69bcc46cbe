//! The routes of an OpenAPI 3 document, as API Gateway imports it.

use std::sync::Arc;

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use crate::request::ApiError;

/// Models stand here in the document, and there in a schema by itself.
const MODELS: &str = "#/components/schemas/";
const DEFINITIONS: &str = "#/definitions/";

/// The methods a path may have; the other members of a path are not methods.
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

/// One method of one path.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) method: String,
    /// Such as `/restores/{id}`.
    pub(super) resource: String,
    /// The function it is answered by.
    pub(super) function_arn: String,
    /// What the body must be, when it is JSON; looked at only where a validator says so.
    pub(super) body: Option<Arc<Validator>>,
    pub(super) is_body_required: bool,
    /// Query parameters that must be there.
    pub(super) required_query: Vec<String>,
}

impl Route {
    /// The path parameters, when this route is the one of this path.
    pub(super) fn fits(&self, path: &str) -> Option<Map<String, Value>> {
        let (mut wanted, mut given) = (segments(&self.resource), segments(path));
        let mut parameters = Map::new();
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return Some(parameters),
                (Some(wanted), Some(given)) => match parameter(wanted) {
                    Some(name) => {
                        parameters.insert(name.to_owned(), decoded(given).into());
                    }
                    None if wanted == given => {}
                    None => return None,
                },
                _ => return None,
            }
        }
    }
}

/// `//restores` and `/restores/` are no `/restores`: who may call is asked of the path as it was sent.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn decoded(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment)
        .decode_utf8_lossy()
        .into_owned()
}

/// Every route of a document.
///
/// # Errors
/// `BadRequestException` for what API Gateway would not import, and for what the local cloud does not do: methods
/// without IAM authorisation, and integrations other than Lambda proxies.
pub(super) fn routes(document: &Value) -> Result<Vec<Route>, ApiError> {
    let version = document["openapi"].as_str().unwrap_or_default();
    if !version.starts_with("3.0") {
        return Err(refused(format!("openapi is `{version}`, expected 3.0.x")));
    }
    let paths = document["paths"]
        .as_object()
        .ok_or_else(|| refused("the document has no paths"))?;
    let mut routes = Vec::new();
    for (resource, path) in paths {
        check_resource(resource)?;
        for method in METHODS {
            if let Some(operation) = path.get(method) {
                routes.push(route(document, resource, method, operation)?);
            }
        }
    }
    // What is spelled out goes before what a parameter catches.
    routes.sort_by_key(|route| route.resource.matches('{').count());
    Ok(routes)
}

/// API Gateway takes letters, digits, hyphens, dots, commas, underscores, and parameters that are whole segments.
fn check_resource(resource: &str) -> Result<(), ApiError> {
    let plain = |text: &str| {
        text.chars()
            .all(|character| character.is_ascii_alphanumeric() || "-._,:".contains(character))
    };
    let mut parts = segments(resource);
    if resource.starts_with('/') && parts.all(|part| plain(parameter(part).unwrap_or(part))) {
        Ok(())
    } else {
        Err(refused(format!(
            "Resource's path part only allow a-zA-Z0-9._-: or a valid greedy path variable and curly braces at the \
             beginning and the end: {resource}"
        )))
    }
}

fn route(
    document: &Value,
    resource: &str,
    method: &str,
    operation: &Value,
) -> Result<Route, ApiError> {
    let place = format!("{} {resource}", method.to_ascii_uppercase());
    if !asks_iam(document, operation) {
        return Err(refused(format!(
            "{place} does not ask for AWS_IAM authorisation, which the local cloud does not serve"
        )));
    }
    let validator = validator(document, operation);
    let body = operation.pointer("/requestBody/content/application~1json/schema");
    let body = body.filter(|_| validator["validateRequestBody"] == json!(true));
    Ok(Route {
        method: method.to_ascii_uppercase(),
        resource: resource.to_owned(),
        function_arn: function(operation, &place)?,
        body: body
            .map(|schema| model(document, schema, &place))
            .transpose()?,
        is_body_required: operation["requestBody"]["required"] == json!(true),
        required_query: match validator["validateRequestParameters"] {
            Value::Bool(true) => required_query(operation),
            _ => Vec::new(),
        },
    })
}

/// By the method's own extension, or by a security scheme of the type `awsSigv4`.
fn asks_iam(document: &Value, operation: &Value) -> bool {
    let by_extension = &operation["x-amazon-apigateway-auth"]["type"];
    let security = operation.get("security").unwrap_or(&document["security"]);
    let schemes = security.as_array().into_iter().flatten();
    let mut names = schemes.filter_map(Value::as_object).flat_map(Map::keys);
    by_extension == "AWS_IAM"
        || names.any(|name| {
            let scheme = &document["components"]["securitySchemes"][name];
            scheme["x-amazon-apigateway-authtype"] == "awsSigv4"
        })
}

/// The validator the method names, or the whole document's.
fn validator<'a>(document: &'a Value, operation: &Value) -> &'a Value {
    let name = operation
        .get("x-amazon-apigateway-request-validator")
        .or_else(|| document.get("x-amazon-apigateway-request-validator"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    &document["x-amazon-apigateway-request-validators"][name]
}

/// The function in `arn:aws:apigateway:<region>:lambda:path/2015-03-31/functions/<arn>/invocations`.
fn function(operation: &Value, place: &str) -> Result<String, ApiError> {
    let integration = &operation["x-amazon-apigateway-integration"];
    let kind = integration["type"].as_str().unwrap_or_default();
    if !kind.eq_ignore_ascii_case("aws_proxy") || integration["httpMethod"] != "POST" {
        return Err(refused(format!(
            "{place} is not integrated by POST with a Lambda function (AWS_PROXY)"
        )));
    }
    let uri = integration["uri"].as_str().unwrap_or_default();
    let arn = uri
        .split_once("/functions/")
        .and_then(|(_, rest)| rest.strip_suffix("/invocations"));
    arn.map(str::to_owned)
        .ok_or_else(|| refused(format!("Invalid function ARN or invalid uri of {place}")))
}

fn required_query(operation: &Value) -> Vec<String> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    parameters
        .filter(|parameter| parameter["in"] == "query" && parameter["required"] == json!(true))
        .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned))
        .collect()
}

/// A model as API Gateway reads it: JSON Schema draft 4, whatever OpenAPI says.
fn model(document: &Value, schema: &Value, place: &str) -> Result<Arc<Validator>, ApiError> {
    let mut whole = schema.clone();
    whole["definitions"] = document["components"]["schemas"].clone();
    // Draft 4 ignores what stands beside a reference.
    if let Some(reference) = schema.get("$ref") {
        whole["allOf"] = json!([{ "$ref": reference }]);
        whole.as_object_mut().map(|whole| whole.remove("$ref"));
    }
    point_to_definitions(&mut whole);
    jsonschema::options()
        .with_draft(Draft::Draft4)
        .build(&whole)
        .map(Arc::new)
        .map_err(|error| refused(format!("Invalid model of {place}: {error}")))
}

fn point_to_definitions(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "$ref" => {
                        *text = text.replace(MODELS, DEFINITIONS);
                    }
                    other => point_to_definitions(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(point_to_definitions),
        _ => {}
    }
}

fn refused(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "BadRequestException", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(operation: Value) -> Value {
        json!({
            "openapi": "3.0.1",
            "paths": { "/restores/{id}": { "get": operation } },
            "components": { "securitySchemes": { "sigv4": {
                "type": "apiKey", "name": "Authorization", "in": "header", "x-amazon-apigateway-authtype": "awsSigv4" } } },
        })
    }

    fn operation() -> Value {
        json!({
            "security": [{ "sigv4": [] }],
            "x-amazon-apigateway-integration": { "type": "aws_proxy", "httpMethod": "POST",
                "uri": "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:123456789012:function:api/invocations" },
        })
    }

    #[test]
    fn a_path_gives_its_parameters() {
        let routes = routes(&document(operation())).unwrap();
        let fits = |path: &str| routes[0].fits(path).map(Value::Object);
        assert_eq!(
            routes[0].function_arn,
            "arn:aws:lambda:eu-west-1:123456789012:function:api"
        );
        assert_eq!(
            fits("/restores/orders%20x"),
            Some(json!({ "id": "orders x" }))
        );
        for other in ["/restores", "/restores/a/b", "/else/a", "/"] {
            assert_eq!(fits(other), None, "{other}");
        }
    }

    #[test]
    fn what_would_be_open_to_everybody_is_not_imported() {
        let mut open = operation();
        open["security"] = json!([]);
        let error = routes(&document(open.clone())).err().unwrap();
        assert!(error.message.contains("GET /restores/{id}"), "{error}");
        open["x-amazon-apigateway-auth"] = json!({ "type": "AWS_IAM" });
        assert!(routes(&document(open)).is_ok());
    }

    #[test]
    fn what_api_gateway_would_not_import_is_refused() {
        let mut elsewhere = operation();
        elsewhere["x-amazon-apigateway-integration"]["type"] = json!("http_proxy");
        assert!(routes(&document(elsewhere)).is_err());
        assert!(routes(&json!({ "openapi": "2.0" })).is_err());
        let mut odd = document(operation());
        odd["paths"] = json!({ "/restores/x{id}": { "get": operation() } });
        assert!(routes(&odd).is_err());
    }
}
