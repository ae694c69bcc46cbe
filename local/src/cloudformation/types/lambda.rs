//! Lambda: functions, who may invoke them, and what becomes of events they fail on.

use std::time::Duration;

use serde_json::Value;

use super::{Made, Making, ResourceType, refused};
use crate::cloudformation::Artefacts;
use crate::cloudformation::shape::{Property, Shape, TAGS, TEXTS, optional, required};
use crate::iam::InvokePermission;
use crate::lambda::{EventInvocation, FunctionSettings};
use crate::request::ApiError;

const FUNCTION: &[Property] = &[
    optional("Architectures", TEXTS),
    required("Code", Shape::LocalPath),
    optional(
        "DeadLetterConfig",
        Shape::Record(&[optional("TargetArn", Shape::Text)]),
    ),
    optional("Description", Shape::Text),
    optional(
        "Environment",
        Shape::Record(&[optional("Variables", Shape::Map(&Shape::Text))]),
    ),
    optional(
        "EphemeralStorage",
        Shape::Record(&[required("Size", Shape::Integer)]),
    ),
    optional("FunctionName", Shape::Text),
    optional("Handler", Shape::Text),
    optional("KmsKeyArn", Shape::Text),
    optional(
        "LoggingConfig",
        Shape::Record(&[
            optional("ApplicationLogLevel", Shape::Text),
            optional("LogFormat", Shape::Text),
            optional("LogGroup", Shape::Text),
            optional("SystemLogLevel", Shape::Text),
        ]),
    ),
    optional("MemorySize", Shape::Integer),
    optional("PackageType", Shape::Text),
    optional("ReservedConcurrentExecutions", Shape::Integer),
    required("Role", Shape::Text),
    optional("Runtime", Shape::Text),
    optional("Tags", TAGS),
    optional("Timeout", Shape::Integer),
    optional(
        "TracingConfig",
        Shape::Record(&[required("Mode", Shape::Text)]),
    ),
    optional(
        "VpcConfig",
        Shape::Record(&[
            optional("Ipv6AllowedForDualStack", Shape::Flag),
            optional("SecurityGroupIds", TEXTS),
            optional("SubnetIds", TEXTS),
        ]),
    ),
];

const PERMISSION: &[Property] = &[
    required("Action", Shape::Text),
    required("FunctionName", Shape::Text),
    required("Principal", Shape::Text),
    optional("SourceAccount", Shape::Text),
    optional("SourceArn", Shape::Text),
];

const DESTINATION: Shape = Shape::Record(&[required("Destination", Shape::Text)]);

const EVENT_INVOKE_CONFIG: &[Property] = &[
    optional(
        "DestinationConfig",
        Shape::Record(&[optional("OnFailure", DESTINATION)]),
    ),
    required("FunctionName", Shape::Text),
    optional("MaximumEventAgeInSeconds", Shape::Integer),
    optional("MaximumRetryAttempts", Shape::Integer),
    required("Qualifier", Shape::Text),
];

pub(super) const TYPES: &[ResourceType] = &[
    ResourceType {
        name: "AWS::Lambda::Function",
        properties: FUNCTION,
        attributes: &["Arn"],
        create: |making, artefacts| Box::pin(async move { create_function(making, artefacts) }),
        delete: |making, function| Box::pin(async move { delete_function(making, function) }),
    },
    ResourceType {
        name: "AWS::Lambda::Permission",
        properties: PERMISSION,
        attributes: &["Id"],
        create: |making, _| Box::pin(async move { create_permission(making) }),
        delete: |making, statement| Box::pin(async move { delete_permission(making, statement) }),
    },
    ResourceType {
        name: "AWS::Lambda::EventInvokeConfig",
        properties: EVENT_INVOKE_CONFIG,
        attributes: &[],
        create: |making, _| Box::pin(async move { create_event_invoke_config(making) }),
        delete: |making, _| Box::pin(async move { delete_event_invoke_config(making) }),
    },
];

fn create_function(making: &Making<'_>, artefacts: &dyn Artefacts) -> Result<Made, ApiError> {
    let integer = |name: &str| making.value(name).and_then(Value::as_u64);
    let mut settings =
        FunctionSettings::new(making.name("FunctionName", 64)).role(making.required("Role"));
    if let Some(seconds) = integer("Timeout") {
        settings = settings.timeout(Duration::from_secs(seconds));
    }
    if let Some(megabytes) = integer("MemorySize") {
        settings.memory_megabytes =
            u32::try_from(megabytes).map_err(|error| refused(error.to_string()))?;
    }
    if let Some(places) = integer("ReservedConcurrentExecutions") {
        settings.concurrency =
            Some(usize::try_from(places).map_err(|error| refused(error.to_string()))?);
    }
    let variables = making
        .value("Environment")
        .and_then(|environment| environment["Variables"].as_object());
    for (name, value) in variables.into_iter().flatten() {
        settings = settings.variable(name, value.as_str().unwrap_or_default());
    }
    let kind = artefacts
        .function(making.required("Code"), &settings)
        .map_err(refused)?;
    let name = settings.name.clone();
    let arn = making.lambda.register(
        &making.caller.account,
        &making.caller.region,
        settings,
        kind,
    )?;
    Ok(Made::new(name).with("Arn", arn))
}

fn delete_function(making: &Making<'_>, function: &str) -> Result<(), ApiError> {
    making.lambda.remove(making.caller, function);
    Ok(())
}

fn function_arn(making: &Making<'_>) -> String {
    match making.required("FunctionName") {
        arn if arn.starts_with("arn:") => arn.to_owned(),
        name => making.arn("lambda", &format!("function:{name}")),
    }
}

fn create_permission(making: &Making<'_>) -> Result<Made, ApiError> {
    let action = making.required("Action");
    if action != "lambda:InvokeFunction" {
        return Err(refused(format!(
            "Action `{action}`: the local cloud knows lambda:InvokeFunction only"
        )));
    }
    let statement_id = making.name("", 100);
    making.world.iam().allow_invoke(InvokePermission {
        statement_id: statement_id.clone(),
        function_arn: function_arn(making),
        principal: making.required("Principal").to_owned(),
        source_arn: making.text("SourceArn").map(str::to_owned),
        source_account: making.text("SourceAccount").map(str::to_owned),
    });
    Ok(Made::new(&statement_id).with("Id", &statement_id))
}

fn delete_permission(making: &Making<'_>, statement: &str) -> Result<(), ApiError> {
    making
        .world
        .iam()
        .revoke_invoke(&function_arn(making), statement);
    Ok(())
}

fn create_event_invoke_config(making: &Making<'_>) -> Result<Made, ApiError> {
    let function = making.required("FunctionName");
    if making.required("Qualifier") != "$LATEST" {
        return Err(refused("Qualifier: the local cloud has $LATEST only"));
    }
    let attempts = making
        .value("MaximumRetryAttempts")
        .and_then(Value::as_u64)
        .unwrap_or(2);
    if attempts > 2 {
        return Err(refused(format!(
            "MaximumRetryAttempts: expected 0 to 2, got {attempts}"
        )));
    }
    let on_failure = making
        .value("DestinationConfig")
        .and_then(|config| config["OnFailure"]["Destination"].as_str());
    let invocation = EventInvocation {
        retries: usize::try_from(attempts).unwrap_or_default(),
        on_failure: on_failure.map(str::to_owned),
    };
    making
        .lambda
        .configure_events(making.caller, function, Some(invocation))?;
    Ok(Made::new(format!("{function}|$LATEST")))
}

fn delete_event_invoke_config(making: &Making<'_>) -> Result<(), ApiError> {
    match making
        .lambda
        .configure_events(making.caller, making.required("FunctionName"), None)
    {
        Err(error) if error.code != "ResourceNotFoundException" => Err(error),
        _ => Ok(()),
    }
}
