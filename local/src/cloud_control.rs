//! Cloud Control API: how something is, whichever service it is of.
//!
//! Of all types it reads security groups alone, so that nobody needs EC2's API to ask
//! in which VPC a group is.

use std::sync::Weak;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::fields::Fields;
use crate::request::{ApiError, Request, Response, json_response};
use crate::world::{Service, World};

/// The one type that is read.
const SECURITY_GROUP: &str = "AWS::EC2::SecurityGroup";

/// Reads resources.
pub struct CloudControl {
    world: Weak<World>,
}

impl CloudControl {
    /// The Cloud Control API of this world.
    #[must_use]
    pub fn new(world: Weak<World>) -> Self {
        Self { world }
    }

    fn answer(&self, request: &Request) -> Result<Value, ApiError> {
        let world = self.world.upgrade().ok_or_else(|| {
            ApiError::new(
                500,
                "ServiceInternalErrorException",
                "the world has stopped",
            )
        })?;
        let body = request.json_body()?;
        match request.json_operation().unwrap_or_default() {
            "GetResource" => get_resource(&world, request, Fields::new(&body)),
            other => Err(ApiError::unknown_operation("Cloud Control API", other)),
        }
    }
}

#[async_trait]
impl Service for CloudControl {
    async fn handle(&self, request: Request) -> Response {
        match self.answer(&request) {
            Ok(answer) => json_response(200, &answer),
            Err(error) => error.to_json_response(),
        }
    }
}

fn get_resource(world: &World, request: &Request, fields: Fields<'_>) -> Result<Value, ApiError> {
    let kind = fields.required("TypeName")?;
    let id = fields.required("Identifier")?;
    if kind != SECURITY_GROUP {
        return Err(ApiError::new(
            400,
            "TypeNotFoundException",
            format!("the local cloud reads {SECURITY_GROUP} alone, and not {kind}"),
        ));
    }
    if !id.starts_with("sg-") {
        let text = format!("Invalid id: \"{id}\" (expecting \"sg-...\")");
        return Err(ApiError::new(400, "InvalidRequestException", text));
    }
    let vpc = world.security_groups().vpc_of(&request.caller, id);
    let vpc = vpc.ok_or_else(|| {
        ApiError::new(
            400,
            "ResourceNotFoundException",
            format!("Resource of type '{kind}' with identifier '{id}' was not found."),
        )
    })?;
    // What is read is a document in itself, as text (API reference, ResourceDescription).
    let properties = json!({
        "Id": id,
        "GroupId": id,
        "GroupName": id,
        "GroupDescription": id,
        "VpcId": vpc,
        "SecurityGroupIngress": [],
        "SecurityGroupEgress": [],
    });
    Ok(json!({
        "TypeName": kind,
        "ResourceDescription": {"Identifier": id, "Properties": properties.to_string()},
    }))
}
