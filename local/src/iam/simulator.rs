//! The policy simulator: what a role's policies say to calls that nobody makes.
//!
//! After the API reference of `SimulatePrincipalPolicy`: one result per action, whose
//! decision is the most restrictive of all resources, and beneath it one per resource.
//! A condition key that nobody gave a value for is not there, and is named among the
//! missing ones if a policy of the role looks at it. Organizations, permission
//! boundaries and session policies are not here, and what a real call would bring by
//! itself (its region, its principal) is not either: who wants it gives it.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use serde_json::Value;

use super::context::Context;
use super::evaluate::{Decision, Ground, Question, decide};
use super::{Role, with_time};
use crate::fields::Fields;
use crate::request::{ApiError, Request, Response};
use crate::wire::{self, Datum, Names, record};
use crate::world::{Service, World};

const NAMES: Names = Names {
    namespace: "https://iam.amazonaws.com/doc/2010-05-08/",
    error_shape: |code| code,
};

/// Everything else that the operation takes would change the answer, and is refused.
const TAKEN: [&str; 6] = [
    "Action",
    "Version",
    "PolicySourceArn",
    "ActionNames",
    "ResourceArns",
    "ContextEntries",
];

/// IAM's API.
pub struct IamApi {
    world: Weak<World>,
}

/// What the policies say of one resource.
struct Simulated {
    resource: String,
    decision: Decision,
    grounds: Vec<Ground>,
}

impl IamApi {
    /// The IAM of this world.
    #[must_use]
    pub fn new(world: Weak<World>) -> Self {
        Self { world }
    }
}

#[async_trait]
impl Service for IamApi {
    async fn handle(&self, request: Request) -> Response {
        let Some(world): Option<Arc<World>> = self.world.upgrade() else {
            return ApiError::new(500, "ServiceFailure", "the world has stopped").to_xml_response();
        };
        let request_id = world.randomness().uuid();
        match wire::read(&request) {
            Ok(call) => {
                let answer = match call.operation.as_str() {
                    "SimulatePrincipalPolicy" => simulate(&world, &call.input).map(Some),
                    other => Err(ApiError::unknown_operation("IAM", other)),
                };
                wire::write(call.protocol, &NAMES, &call.operation, &request_id, answer)
            }
            Err((protocol, error)) => wire::write(protocol, &NAMES, "", &request_id, Err(error)),
        }
    }
}

fn simulate(world: &World, input: &Value) -> Result<Datum, ApiError> {
    let given = input.as_object().into_iter().flatten();
    if let Some((name, _)) = given
        .into_iter()
        .find(|(name, _)| !TAKEN.contains(&name.as_str()))
    {
        let text = format!("the local cloud's policy simulator does not take {name}");
        return Err(ApiError::new(501, "NotImplemented", text));
    }
    let fields = Fields::new(input);
    let source = fields
        .text("PolicySourceArn")?
        .ok_or_else(|| invalid("policySourceArn is required"))?;
    let role = world
        .iam()
        .role(source)
        .ok_or_else(|| no_such_role(source))?;
    let actions = texts(fields.value("ActionNames"));
    if actions.is_empty() {
        return Err(invalid("actionNames is required"));
    }
    let mut resources = texts(fields.value("ResourceArns"));
    let specific = !resources.is_empty();
    if !specific {
        resources.push("*".to_owned());
    }
    let context = context(fields.value("ContextEntries"))?;
    let missing = missing(&role, &context);
    let results = actions.iter().map(|action| {
        let simulated: Vec<Simulated> = resources
            .iter()
            .map(|resource| ask(world, &role, action, resource, &context))
            .collect();
        result(action, &simulated, &missing, specific)
    });
    Ok(record([
        ("EvaluationResults", Datum::list(results)),
        ("IsTruncated", false.into()),
    ]))
}

fn ask(world: &World, role: &Role, action: &str, resource: &str, context: &Context) -> Simulated {
    let mut question = Question::new(action, resource);
    question.context = context.clone();
    let question = with_time(world, question);
    let policies = role.policies.iter();
    let (decision, grounds) = decide(
        policies.map(|(name, policy)| (name.as_str(), policy)),
        &question,
    );
    Simulated {
        resource: resource.to_owned(),
        decision,
        grounds,
    }
}

/// One action's result: of all resources together, and of each where they were named.
fn result(action: &str, simulated: &[Simulated], missing: &[String], specific: bool) -> Datum {
    let denied = |decision: Decision| simulated.iter().any(|one| one.decision == decision);
    let decision = [Decision::ExplicitlyDenied, Decision::NotAllowed]
        .into_iter()
        .find(|decision| denied(*decision))
        .unwrap_or(Decision::Allowed);
    let behind = simulated.iter().filter(|one| one.decision == decision);
    let each = simulated.iter().map(|one| {
        record([
            ("EvalResourceName", one.resource.as_str().into()),
            ("EvalResourceDecision", word(one.decision).into()),
            ("MatchedStatements", statements(&one.grounds)),
            ("MissingContextValues", Datum::list(missing.iter().cloned())),
        ])
    });
    record([
        ("EvalActionName", action.into()),
        ("EvalResourceName", "*".into()),
        ("EvalDecision", word(decision).into()),
        (
            "MatchedStatements",
            statements(behind.flat_map(|one| &one.grounds)),
        ),
        ("MissingContextValues", Datum::list(missing.iter().cloned())),
        (
            "ResourceSpecificResults",
            if specific {
                Datum::list(each)
            } else {
                Datum::Absent
            },
        ),
    ])
}

fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allowed => "allowed",
        Decision::ExplicitlyDenied => "explicitDeny",
        Decision::NotAllowed => "implicitDeny",
    }
}

fn statements<'a>(grounds: impl IntoIterator<Item = &'a Ground>) -> Datum {
    let policies: BTreeSet<&str> = grounds
        .into_iter()
        .map(|ground| ground.policy.as_str())
        .collect();
    Datum::list(policies.into_iter().map(|policy| {
        record([
            ("SourcePolicyId", policy.into()),
            ("SourcePolicyType", "IAM Policy".into()),
        ])
    }))
}

/// The keys that the role's policies look at and that nobody gave a value for.
fn missing(role: &Role, context: &Context) -> Vec<String> {
    let statements = role.policies.values().flat_map(|policy| &policy.statements);
    let keys: BTreeSet<&str> = statements
        .flat_map(|statement| &statement.conditions)
        .map(|condition| condition.key())
        .filter(|key| context.values(key).is_none())
        .collect();
    keys.into_iter().map(str::to_owned).collect()
}

fn context(entries: Option<&Value>) -> Result<Context, ApiError> {
    let mut context = Context::default();
    for entry in entries.and_then(Value::as_array).into_iter().flatten() {
        let fields = Fields::new(entry);
        let key = fields.text("ContextKeyName")?;
        let key = key.ok_or_else(|| invalid("contextKeyName is required"))?;
        for value in texts(fields.value("ContextKeyValues")) {
            context.add(key, value);
        }
    }
    Ok(context)
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn no_such_role(arn: &str) -> ApiError {
    let name = arn.rsplit('/').next().unwrap_or_default();
    ApiError::new(
        404,
        "NoSuchEntity",
        format!("The role with name {name} cannot be found."),
    )
}

fn invalid(message: &str) -> ApiError {
    ApiError::new(400, "ValidationError", message)
}
