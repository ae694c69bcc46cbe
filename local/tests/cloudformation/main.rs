//! Templates and stacks: what is refused before anything is made, what is made, what is left.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test that is how a surprise is reported"
)]

mod committed;
mod refusals;
mod stacks;
mod values;

use std::collections::BTreeMap;

use local_cloud::cloudformation::{Artefacts, Stack, StackError, Template};
use local_cloud::lambda::{FunctionKind, FunctionSettings};
use local_cloud::{Caller, LocalCloud};
use serde_json::{Value, json};

/// A cloud whose identifiers are the same in every run.
fn cloud() -> LocalCloud {
    LocalCloud::builder()
        .seed(7)
        .starting_at(time::macros::datetime!(2026-11-21 03:00 UTC))
        .start()
}

/// The account's root, where the cloud is.
fn root() -> Caller {
    Caller {
        account: "123456789012".to_owned(),
        region: "eu-west-1".to_owned(),
        principal: "arn:aws:iam::123456789012:root".to_owned(),
    }
}

/// Functions that answer with their own name, and a definition with one placeholder.
struct Files;

impl Artefacts for Files {
    fn function(&self, path: &str, settings: &FunctionSettings) -> Result<FunctionKind, String> {
        if path.contains("missing") {
            return Err(format!("`{path}` is not there"));
        }
        let name = settings.name.clone();
        Ok(FunctionKind::in_process(move |_| {
            let answer = json!({ "name": name });
            async move { Ok(answer) }
        }))
    }

    fn text(&self, path: &str) -> Result<String, String> {
        match path {
            "../statemachine/restore.asl.json" => {
                Ok(include_str!("../../../statemachine/restore.asl.json").to_owned())
            }
            "one.json" => Ok(
                r#"{"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "${StepArn}", "End": true}}}"#
                    .to_owned(),
            ),
            other => Err(format!("`{other}` is not there")),
        }
    }
}

/// Makes the stack `orders` of a template with these parameters.
async fn create(
    cloud: &LocalCloud,
    template: &str,
    parameters: &[(&str, &str)],
) -> Result<Stack, StackError> {
    let template = Template::parse(template)?;
    let parameters: BTreeMap<String, String> = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    cloud
        .cloudformation()
        .create_stack(&root(), "orders", &template, &parameters, &Files)
        .await
}

/// Asks a service as the account's root.
async fn ask(cloud: &LocalCloud, service: &str, target: &str, body: Value) -> Value {
    cloud
        .world()
        .call(&root(), service, target, &body)
        .await
        .unwrap()
}

/// The value of a parameter in Parameter Store.
async fn parameter(cloud: &LocalCloud, name: &str) -> String {
    let answer = ask(
        cloud,
        "ssm",
        "AmazonSSM.GetParameter",
        json!({ "Name": name }),
    )
    .await;
    answer["Parameter"]["Value"].as_str().unwrap().to_owned()
}
