//! Step Functions, Lambda, EventBridge Scheduler and STS.

use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::Call;
use crate::iam::evaluate::Question;

pub(super) fn states(call: &Call<'_>) -> Option<Vec<Question>> {
    let action = format!("states:{}", call.operation);
    let asked = match call.operation.as_str() {
        "CreateStateMachine" => {
            let machine = call.arn("states", &format!("stateMachine:{}", call.text("name")?));
            let mut asked = vec![call.ask(&action, machine)];
            asked.extend(passing(call, call.text("roleArn"), "states.amazonaws.com"));
            asked
        }
        "UpdateStateMachine" => {
            let mut asked = vec![call.ask(&action, call.text("stateMachineArn")?)];
            asked.extend(passing(call, call.text("roleArn"), "states.amazonaws.com"));
            asked
        }
        "DescribeStateMachine" | "DeleteStateMachine" | "StartExecution" | "ListExecutions" => {
            vec![call.ask(&action, call.text("stateMachineArn")?)]
        }
        "DescribeExecution"
        | "DescribeStateMachineForExecution"
        | "StopExecution"
        | "RedriveExecution"
        | "GetExecutionHistory"
        | "ListMapRuns" => vec![call.ask(&action, call.text("executionArn")?)],
        "DescribeMapRun" => vec![call.ask(&action, call.text("mapRunArn")?)],
        "TagResource" | "UntagResource" | "ListTagsForResource" => {
            vec![call.ask(&action, call.text("resourceArn")?)]
        }
        // A token is no resource: these have no resource types.
        "ListStateMachines"
        | "ValidateStateMachineDefinition"
        | "SendTaskSuccess"
        | "SendTaskFailure"
        | "SendTaskHeartbeat" => vec![call.ask(&action, "*")],
        _ => return None,
    };
    Some(asked)
}

/// A role is handed to a service.
fn passing(call: &Call<'_>, role: Option<&str>, service: &str) -> Option<Question> {
    Some(
        call.ask("iam:PassRole", role?)
            .with("iam:PassedToService", service),
    )
}

/// Lambda's operations are methods and paths.
pub(super) fn lambda(call: &Call<'_>) -> Option<Vec<Question>> {
    let path = call.request.uri.path();
    let parts = parts(path.strip_prefix("/2015-03-31/functions")?);
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let function = |name: &str| function_arn(call, name);
    let question = match (&call.request.method, parts.as_slice()) {
        (&Method::POST, [name, "invocations"]) => call.ask("lambda:InvokeFunction", function(name)),
        (&Method::GET, []) => call.ask("lambda:ListFunctions", "*"),
        (&Method::GET, [name]) => call.ask("lambda:GetFunction", function(name)),
        (&Method::GET, [name, "configuration"]) => {
            call.ask("lambda:GetFunctionConfiguration", function(name))
        }
        _ => return None,
    };
    Some(vec![question])
}

/// A name, a part of an ARN or a whole one. `$LATEST` is the function itself.
fn function_arn(call: &Call<'_>, name: &str) -> String {
    let name = name.strip_suffix(":$LATEST").unwrap_or(name);
    match name.split_once(":function:") {
        Some((account, rest)) if !name.starts_with("arn:") => format!(
            "arn:aws:lambda:{}:{account}:function:{rest}",
            call.caller.region
        ),
        _ => call.arn_of("lambda", "function:", name),
    }
}

/// The scheduler's, too.
pub(super) fn scheduler(call: &Call<'_>) -> Option<Vec<Question>> {
    let parts = parts(call.request.uri.path());
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let [kind, rest @ ..] = parts.as_slice() else {
        return None;
    };
    if *kind != "schedules" {
        return None;
    }
    let body: Value = serde_json::from_slice(&call.request.body).unwrap_or_default();
    let group = body
        .get("GroupName")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .or_else(|| in_query(call, "groupName"))
        .unwrap_or_else(|| "default".to_owned());
    let schedule = |name: &str| call.arn("scheduler", &format!("schedule/{group}/{name}"));
    let role = body.pointer("/Target/RoleArn").and_then(Value::as_str);
    let passing = passing(call, role, "scheduler.amazonaws.com");
    let (action, name, passing) = match (&call.request.method, rest) {
        (&Method::GET, []) => return Some(vec![call.ask("scheduler:ListSchedules", "*")]),
        (&Method::POST, [name]) => ("scheduler:CreateSchedule", name, passing),
        (&Method::GET, [name]) => ("scheduler:GetSchedule", name, None),
        (&Method::PUT, [name]) => ("scheduler:UpdateSchedule", name, passing),
        (&Method::DELETE, [name]) => ("scheduler:DeleteSchedule", name, None),
        _ => return None,
    };
    let mut asked = vec![call.ask(action, schedule(name))];
    asked.extend(passing);
    Some(asked)
}

fn in_query(call: &Call<'_>, name: &str) -> Option<String> {
    let query = call.request.uri.query()?;
    form_urlencoded::parse(query.as_bytes())
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.into_owned())
}

fn parts(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|part| !part.is_empty())
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect()
}

pub(super) fn sts(call: &Call<'_>) -> Option<Vec<Question>> {
    match call.operation.as_str() {
        // "No permissions are required to perform this operation."
        "GetCallerIdentity" => Some(Vec::new()),
        "AssumeRole" => {
            let question = call.ask("sts:AssumeRole", call.text("RoleArn")?);
            Some(vec![with_session(call, question)])
        }
        _ => None,
    }
}

fn with_session(call: &Call<'_>, mut question: Question) -> Question {
    for (member, key) in [
        ("RoleSessionName", "sts:RoleSessionName"),
        ("ExternalId", "sts:ExternalId"),
    ] {
        if let Some(value) = call.text(member) {
            question.context.add(key, value);
        }
    }
    question
}

/// IAM: the simulator, which is asked about the role that it simulates.
pub(super) fn iam(call: &Call<'_>) -> Option<Vec<Question>> {
    match call.operation.as_str() {
        "SimulatePrincipalPolicy" => {
            let action = format!("iam:{}", call.operation);
            Some(vec![
                call.ask(&action, call.text("PolicySourceArn").unwrap_or("*")),
            ])
        }
        _ => None,
    }
}

/// Cloud Control API, whose actions are CloudFormation's and know no resources. What it reads it reads with the
/// caller's rights: those that the type's schema lists for its handler.
pub(super) fn cloud_control(call: &Call<'_>) -> Option<Vec<Question>> {
    match call.operation.as_str() {
        "GetResource" => Some(vec![
            call.ask("cloudformation:GetResource", "*"),
            call.ask("ec2:DescribeSecurityGroups", "*"),
        ]),
        _ => None,
    }
}
