//! The templates name the same steps, metrics and places as the crates do.

use std::collections::BTreeSet;

use aurora_restore::deployment::{self, STEPS};
use aurora_restore::local::LocalOptions;
use aurora_restore_core::Settings;
use local_cloud::cloudformation::{Stack, StackResource, Template};
use local_cloud::rds::Data;
use pipeline_tests::Scene;
use serde_json::Value;

use super::root;

/// The pipeline as the local cloud deploys it, and the stacks of its HTTP API and of fleets.
async fn stacks() -> (Scene, [Stack; 3]) {
    let mut options = LocalOptions::in_process(pipeline_tests::seed());
    options.rds.data = Data::Metadata;
    let functions = options.functions.clone();
    let scene = Scene::with(options).await;
    let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
    deployment::deploy_api(cloud, stack, &functions)
        .await
        .unwrap();
    scene.deploy_fleet().await;
    let caller = scene.caller(&stack.region);
    let named = |name: &str| cloud.cloudformation().stack(&caller, name).unwrap();
    let stacks = [
        named(&stack.name),
        named(&format!("{}-api", stack.name)),
        named(&stack.fleet_name()),
    ];
    (scene, stacks)
}

/// `CopySnapshot` for `copy-snapshot`.
fn logical(step: &str) -> String {
    let name = deployment::placeholder(step);
    name.trim_start_matches("${")
        .trim_end_matches("FunctionArn}")
        .to_owned()
}

fn of_type<'a>(stacks: &'a [Stack], kind: &str) -> Vec<&'a StackResource> {
    let all = stacks.iter().flat_map(Stack::resources);
    all.filter(|resource| resource.type_name() == kind)
        .collect()
}

/// Every text in this value.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(members) => members.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn every_step_is_a_function_with_a_package_a_role_and_a_log_of_its_own() {
    let (scene, stacks) = stacks().await;
    let functions = of_type(&stacks, "AWS::Lambda::Function");
    let (mut roles, mut expected) = (BTreeSet::new(), BTreeSet::new());
    for step in STEPS {
        let (id, name) = (
            logical(step.name),
            scene.local.stack.function_name(step.name),
        );
        expected.insert(format!("{id}Function"));
        let stack = stacks
            .iter()
            .find(|stack| stack.resource(&format!("{id}Function")).is_some());
        let stack = stack.unwrap_or_else(|| panic!("no template has {id}Function"));
        let function = stack
            .resource(&format!("{id}Function"))
            .unwrap()
            .properties();
        assert_eq!(function["FunctionName"], name);
        assert_eq!(function["Code"], format!("../package/{}.zip", step.name));
        let role = stack.resource(&format!("{id}Role"));
        let role = role.unwrap_or_else(|| panic!("{id}Role")).physical_id();
        let arn = function["Role"].as_str().unwrap();
        assert!(arn.ends_with(&format!(":role/{role}")), "{name} has {arn}");
        assert!(roles.insert(arn.to_owned()), "{arn} is shared");
        let log = stack.resource(&format!("{id}LogGroup"));
        let log = log.unwrap_or_else(|| panic!("{id}LogGroup")).properties();
        assert_eq!(log["LogGroupName"], format!("/aws/lambda/{name}"));
        let variables = function["Environment"]["Variables"].as_object().unwrap();
        for variable in Settings::VARIABLES {
            assert!(variables.contains_key(variable), "{name} lacks {variable}");
        }
    }
    let there: BTreeSet<String> = functions
        .iter()
        .map(|function| function.logical_id().to_owned())
        .collect();
    assert_eq!(there, expected);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_dashboard_and_the_alarms_watch_what_there_is_and_every_metric_is_watched() {
    let (scene, stacks) = stacks().await;
    let text = std::fs::read_to_string(root().join("cloudformation/monitoring.yaml")).unwrap();
    let template = Template::parse(&text).unwrap();
    let topic = scene.local.stack.settings().topic_arn;
    let parameters = [("OutcomesTopicArn".to_owned(), topic)].into();
    let (caller, cloud) = (scene.caller(&scene.local.stack.region), &scene.local.cloud);
    let made = cloud.cloudformation().create_stack(
        &caller,
        "monitoring",
        &template,
        &parameters,
        &Nothing,
    );
    let monitoring = [made.await.unwrap()];
    let emitted = [
        &notify::METRICS[..],
        &reap::METRICS[..],
        &start::METRICS[..],
        &fleet::METRICS[..],
        &["StepDuration"],
    ];
    let emitted: BTreeSet<&str> = emitted.concat().into_iter().collect();

    let alarms = of_type(&monitoring, "AWS::CloudWatch::Alarm");
    assert!(alarms.len() >= 6);
    for alarm in alarms {
        for metric in metrics(&Value::Object(alarm.properties().clone())) {
            let known = metric["Namespace"] != "AuroraRestore"
                || emitted.contains(metric["MetricName"].as_str().unwrap());
            assert!(known, "{} watches {metric}", alarm.logical_id());
        }
    }
    let dashboard = of_type(&monitoring, "AWS::CloudWatch::Dashboard")[0].properties();
    let dashboard = dashboard["DashboardBody"].as_str().unwrap();
    serde_json::from_str::<Value>(dashboard).unwrap();
    for metric in &emitted {
        let watched = dashboard.contains(&format!("\"{metric}\""))
            || dashboard.contains(&format!("\\\"{metric}\\\""));
        assert!(watched, "the dashboard does not show {metric}");
    }

    let functions: BTreeSet<&str> = of_type(&stacks, "AWS::Lambda::Function")
        .iter()
        .map(|function| function.physical_id())
        .collect();
    let named = monitoring[0].resources().iter().flat_map(|resource| {
        let values = resource.properties().values();
        values
            .flat_map(texts)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    let mut logs = 0;
    for text in named {
        for (at, prefix) in text.match_indices("/aws/lambda/") {
            let name: String = text[at + prefix.len()..]
                .chars()
                .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '-')
                .collect();
            logs += 1;
            assert!(
                functions.contains(name.as_str()),
                "no function writes /aws/lambda/{name}"
            );
        }
    }
    assert!(logs > 0, "no saved query reads a function's log");
    scene.local.shutdown().await;
}

/// Everything in this value that names a metric.
fn metrics(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().flat_map(metrics).collect(),
        Value::Object(members) if members.contains_key("MetricName") => vec![value],
        Value::Object(members) => members.values().flat_map(metrics).collect(),
        _ => Vec::new(),
    }
}

/// A template without packages.
struct Nothing;

impl local_cloud::cloudformation::Artefacts for Nothing {
    fn function(
        &self,
        path: &str,
        _settings: &local_cloud::lambda::FunctionSettings,
    ) -> Result<local_cloud::lambda::FunctionKind, String> {
        Err(format!("nothing is at `{path}`"))
    }

    fn text(&self, path: &str) -> Result<String, String> {
        Err(format!("nothing is at `{path}`"))
    }
}
