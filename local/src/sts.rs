//! STS: who am I, and becoming a role.
//!
//! A role that IAM knows can be assumed by whom its trust policy names; one that nobody
//! described, by the root of any account. The key that is issued names the role, so
//! whatever it asks for is asked by it.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use serde_json::Value;
use time::Duration;

use crate::fields::Fields;
use crate::request::{ApiError, Caller, Request, Response};
use crate::wire::{self, Datum, Names, record};
use crate::world::{Service, World};

const NAMES: Names = Names {
    namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
    error_shape: |code| code,
};

const DURATION_SECONDS_DEFAULT: i64 = 3_600;

/// A role's session may last this long; one assumed by another role, an hour at most.
const DURATION_SECONDS: std::ops::RangeInclusive<i64> = 900..=43_200;

/// Issues keys.
pub struct Sts {
    world: Weak<World>,
}

impl Sts {
    /// The STS of this world.
    #[must_use]
    pub fn new(world: Weak<World>) -> Self {
        Self { world }
    }

    fn answer(
        &self,
        world: &World,
        caller: &Caller,
        operation: &str,
        input: &Value,
    ) -> Result<Option<Datum>, ApiError> {
        match operation {
            "GetCallerIdentity" => Ok(Some(identity(caller))),
            "AssumeRole" => assume_role(world, caller, Fields::new(input)),
            other => Err(ApiError::unknown_operation("STS", other)),
        }
    }
}

#[async_trait]
impl Service for Sts {
    async fn handle(&self, request: Request) -> Response {
        let Some(world): Option<Arc<World>> = self.world.upgrade() else {
            return ApiError::new(500, "InternalFailure", "the world has stopped")
                .to_xml_response();
        };
        let request_id = world.randomness().uuid();
        match wire::read(&request) {
            Ok(call) => {
                let answer = self.answer(&world, &request.caller, &call.operation, &call.input);
                wire::write(call.protocol, &NAMES, &call.operation, &request_id, answer)
            }
            Err((protocol, error)) => wire::write(protocol, &NAMES, "", &request_id, Err(error)),
        }
    }
}

fn identity(caller: &Caller) -> Datum {
    let session = caller.principal.rsplit('/').next().unwrap_or_default();
    let user_id = if caller.principal.contains(":assumed-role/") {
        format!("AROALOCAL:{session}")
    } else {
        caller.account.clone()
    };
    record([
        ("UserId", user_id.into()),
        ("Account", caller.account.as_str().into()),
        ("Arn", caller.principal.as_str().into()),
    ])
}

fn assume_role(
    world: &World,
    caller: &Caller,
    fields: Fields<'_>,
) -> Result<Option<Datum>, ApiError> {
    let (role_arn, session) = (
        needed(fields, "RoleArn")?,
        needed(fields, "RoleSessionName")?,
    );
    let allowed =
        |character: char| character.is_ascii_alphanumeric() || "_+=,.@-".contains(character);
    if !(2..=64).contains(&session.len()) || !session.chars().all(allowed) {
        return Err(invalid(&format!(
            "Value '{session}' at 'roleSessionName' failed to satisfy constraint"
        )));
    }
    let (account, role) =
        account_and_role(role_arn).ok_or_else(|| invalid(&format!("{role_arn} is invalid")))?;
    world
        .iam()
        .may_assume(world, caller, role_arn, session, fields.text("ExternalId")?)?;
    let seconds = fields
        .integer("DurationSeconds")?
        .unwrap_or(DURATION_SECONDS_DEFAULT);
    if !DURATION_SECONDS.contains(&seconds) {
        return Err(invalid("DurationSeconds must be between 900 and 43200"));
    }
    if caller.principal.contains(":assumed-role/") && seconds > DURATION_SECONDS_DEFAULT {
        return Err(invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        ));
    }
    let arn = format!("arn:aws:sts::{account}:assumed-role/{role}/{session}");
    let expiration = world.now() + Duration::seconds(seconds);
    let key = world.issue_key(account, &arn, Some(expiration));
    let credentials = record([
        ("AccessKeyId", key.access_key_id.into()),
        ("SecretAccessKey", key.secret_access_key.into()),
        ("SessionToken", key.session_token.into()),
        ("Expiration", expiration.into()),
    ]);
    let user = record([
        ("AssumedRoleId", format!("AROALOCAL:{session}").into()),
        ("Arn", arn.into()),
    ]);
    Ok(Some(record([
        ("Credentials", credentials),
        ("AssumedRoleUser", user),
    ])))
}

/// The account and name in `arn:aws:iam::123456789012:role/path/name`.
fn account_and_role(arn: &str) -> Option<(&str, &str)> {
    match arn.splitn(6, ':').collect::<Vec<_>>().as_slice() {
        ["arn", _, "iam", "", account, resource] if account.len() == 12 => {
            let name = resource.strip_prefix("role/")?.rsplit('/').next()?;
            (!name.is_empty()).then_some((account, name))
        }
        _ => None,
    }
}

fn needed<'a>(fields: Fields<'a>, name: &str) -> Result<&'a str, ApiError> {
    fields
        .text(name)?
        .filter(|text| !text.is_empty())
        .ok_or_else(|| invalid(&format!("{name} is required")))
}

fn invalid(message: &str) -> ApiError {
    ApiError::new(400, "ValidationError", message)
}
