//! The templates beside the pipeline's: deployed with it, and their roles put to use.
//!
//! There is no Automation in the local cloud. What the steps of a document call is
//! called here with the document's role, step by step as the deployed document says;
//! a step or a script that does something else than is played here is an error.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aurora_restore::deployment::{self, Functions, deploy_api};
use aws_config::SdkConfig;
use aws_sdk_rds::error::{DisplayErrorContext, SdkError};
use aws_sdk_rds::types::Tag;
use local_cloud::cloudformation::{Artefacts, Stack, Template};
use local_cloud::iam::{Context, Question, Role};
use local_cloud::lambda::{FunctionKind, FunctionSettings};
use local_cloud::rds::Place;
use local_cloud::{AccessKey, Caller};
use pipeline_tests::Scene;
use serde_json::{Value, json};

use crate::scenarios::lent_cluster;
use crate::trial::logical_name;

/// An account of other people's, with a source.
pub(crate) const SOURCE_ACCOUNT: &str = "333333333333";
/// The source there.
pub(crate) const SHARED_CLUSTER: &str = "lent-prod";
const SHARING_STACK: &str = "sharing";

static RUNBOOK: OnceLock<Template> = OnceLock::new();
static SHARING: OnceLock<Template> = OnceLock::new();

/// Deploys the API, the fleets, the runbook, and the source account's part in an account of its own.
pub(crate) async fn deploy(scene: &Scene) {
    let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
    let functions = Functions::InProcess { count_work: false };
    deploy_api(cloud, stack, &functions).await.unwrap();
    scene.deploy_fleet().await;
    let root = scene.caller(&stack.region);
    let pipeline = cloud.cloudformation().stack(&root, &stack.name).unwrap();
    let output = |name: &str| pipeline.outputs()[name].clone();
    let approvers = format!("arn:aws:iam::{}:role/approvers", stack.account);
    let runbook = [
        ("PipelineName", stack.name.clone()),
        ("PipelineKeyArn", output("PipelineKeyArn")),
        ("ApproverArns", approvers),
    ];
    let text = include_str!("../../cloudformation/runbook.yaml");
    let template = RUNBOOK.get_or_init(|| Template::parse(text).unwrap());
    create(scene, &root, &runbook_stack(scene), template, &runbook).await;
    let sharing = [
        ("SourceCluster", SHARED_CLUSTER.to_owned()),
        ("PipelineAccountId", stack.account.clone()),
        ("SnapshotsKept", "1".to_owned()),
    ];
    let text = include_str!("../../cloudformation/source-account.yaml");
    let template = SHARING.get_or_init(|| Template::parse(text).unwrap());
    create(scene, &lender(scene), SHARING_STACK, template, &sharing).await;
}

pub(crate) async fn create(
    scene: &Scene,
    caller: &Caller,
    name: &str,
    template: &Template,
    parameters: &[(&str, String)],
) {
    let parameters: BTreeMap<String, String> = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    let cloudformation = scene.local.cloud.cloudformation();
    cloudformation
        .create_stack(caller, name, template, &parameters, &NoArtefacts)
        .await
        .unwrap();
}

/// These templates name no file.
struct NoArtefacts;

impl Artefacts for NoArtefacts {
    fn function(&self, path: &str, _: &FunctionSettings) -> Result<FunctionKind, String> {
        Err(format!("`{path}`: there is no such file"))
    }

    fn text(&self, path: &str) -> Result<String, String> {
        Err(format!("`{path}`: there is no such file"))
    }
}

fn runbook_stack(scene: &Scene) -> String {
    format!("{}-runbook", scene.local.stack.name)
}

/// The root of the account with the source that is shared.
fn lender(scene: &Scene) -> Caller {
    Caller {
        account: SOURCE_ACCOUNT.to_owned(),
        region: scene.local.stack.region.clone(),
        principal: format!("arn:aws:iam::{SOURCE_ACCOUNT}:root"),
    }
}

/// The role that a template calls so.
pub(crate) fn role(scene: &Scene, logical: &str) -> Arc<Role> {
    let roles = scene.local.cloud.iam().roles();
    let mut found = roles
        .into_iter()
        .filter(|role| logical_name(&role.arn) == logical);
    found.next().unwrap()
}

/// A key of a session of this role.
pub(crate) fn session_key(scene: &Scene, role: &Role, session: &str) -> AccessKey {
    let (account, name) = account_and_name(role);
    let principal = format!("arn:aws:sts::{account}:assumed-role/{name}/{session}");
    let world = scene.local.cloud.world();
    world.issue_key(account, &principal, None)
}

/// The account and the name in a role's ARN.
pub(crate) fn account_and_name(role: &Role) -> (&str, &str) {
    let account = role.arn.split(':').nth(4).unwrap();
    (account, role.arn.rsplit('/').next().unwrap())
}

fn config(scene: &Scene, key: &AccessKey) -> SdkConfig {
    deployment::sdk_config(&scene.local.cloud, &scene.local.stack.region, key)
}

/// The steps of a deployed Automation document: their names, actions and inputs.
fn steps(stack: &Stack, document: &str) -> Vec<(String, String, Value)> {
    let document = stack.resource(document).unwrap();
    let steps = document.properties()["Content"]["mainSteps"].as_array();
    let text = |step: &Value, name: &str| step[name].as_str().unwrap().to_owned();
    steps
        .unwrap()
        .iter()
        .map(|step| {
            (
                text(step, "name"),
                text(step, "action"),
                step["inputs"].clone(),
            )
        })
        .collect()
}

fn said<E>(what: &str) -> impl FnOnce(E) -> String
where
    E: std::error::Error,
{
    move |error| format!("{what}: {}", DisplayErrorContext(&error))
}

fn sdk<T, E, R>(what: &str, result: Result<T, SdkError<E, R>>) -> Result<T, String>
where
    E: std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    result.map_err(said(what))
}

/// The runbook's steps, with the runbook's role: the question, a restore to its end, and one that is cancelled.
pub(crate) async fn runbook(scene: &Scene) -> Result<(), String> {
    let root = scene.caller(&scene.local.stack.region);
    let stacks = scene.local.cloud.cloudformation();
    let stack = stacks.stack(&root, &runbook_stack(scene)).unwrap();
    let role = role(scene, "RunbookRole");
    let config = config(scene, &session_key(scene, &role, "automation"));
    for (step, action, inputs) in steps(&stack, "RestoreRunbook") {
        match action.as_str() {
            "aws:approve" => ask(&config, &inputs).await?,
            // It looks at what was asked for, and at nothing else.
            "aws:executeScript" if !inputs["Script"].as_str().unwrap().contains("boto3") => {}
            "aws:executeStateMachine" => execute(scene, &config, &inputs).await?,
            other => return Err(format!("{step}: nobody plays {other} here")),
        }
    }
    Ok(())
}

/// Systems Manager asks through the topic.
async fn ask(config: &SdkConfig, inputs: &Value) -> Result<(), String> {
    let publish = aws_sdk_sns::Client::new(config)
        .publish()
        .topic_arn(inputs["NotificationArn"].as_str().unwrap())
        .message(inputs["Message"].as_str().unwrap());
    sdk("ask for approval", publish.send().await).map(drop)
}

/// What `aws:executeStateMachine` needs: `states:StartExecution`, `DescribeExecution` and `StopExecution`.
async fn execute(scene: &Scene, config: &SdkConfig, inputs: &Value) -> Result<(), String> {
    let sfn = aws_sdk_sfn::Client::new(config);
    let start = async |name: &str| {
        let started = sfn
            .start_execution()
            .state_machine_arn(inputs["stateMachineArn"].as_str().unwrap())
            .name(name)
            // Plan refuses it: how a restore goes on is no matter of the runbook's.
            .input("{}");
        let started = sdk("start a restore", started.send().await)?;
        Ok::<_, String>(started.execution_arn)
    };
    let arn = start("by-runbook").await?;
    loop {
        let looked = sfn.describe_execution().execution_arn(&arn).send().await;
        if sdk("follow a restore", looked)?.status().as_str() != "RUNNING" {
            break;
        }
        scene.sleep(Duration::from_secs(10)).await;
    }
    let arn = start("cancelled").await?;
    let stopped = sfn.stop_execution().execution_arn(&arn).send().await;
    sdk("stop a restore", stopped).map(drop)
}

/// The steps of the source account's document, with its role: twice, so that there is a copy too many.
pub(crate) async fn share(scene: &Scene) -> Result<(), String> {
    let caller = lender(scene);
    let stacks = scene.local.cloud.cloudformation();
    let stack = stacks.stack(&caller, SHARING_STACK).unwrap();
    let root = config(scene, &scene.local.cloud.root_key(SOURCE_ACCOUNT));
    lend(scene, &root).await;
    let role = role(scene, "ShareSnapshotRole");
    let sharing = Sharing {
        scene,
        rds: aws_sdk_rds::Client::new(&config(scene, &session_key(scene, &role, "automation"))),
        stack: SHARING_STACK,
    };
    for _ in 0..2 {
        scene.sleep(Duration::from_secs(3600)).await;
        let place = Place {
            account: SOURCE_ACCOUNT.to_owned(),
            region: scene.local.stack.region.clone(),
        };
        scene
            .local
            .rds
            .take_automated_snapshot(&place, SHARED_CLUSTER)
            .await?;
        let mut copy = String::new();
        for (step, action, inputs) in steps(&stack, "ShareSnapshot") {
            let script = inputs["Script"].as_str().unwrap_or_default();
            let calls = calls_of(script);
            let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
            match (action.as_str(), inputs["Api"].as_str(), calls.as_slice()) {
                ("aws:executeScript", _, ["describe_db_cluster_snapshots"]) => {
                    copy = sharing.newest().await?;
                }
                // It looks for the copy as the next step does.
                (
                    "aws:executeScript",
                    _,
                    ["copy_db_cluster_snapshot", "describe_db_cluster_snapshots"],
                ) => {
                    let key = inputs["InputPayload"]["key"].as_str().unwrap();
                    sharing.copy(&copy, key).await?;
                }
                ("aws:waitForAwsResourceProperty", Some("DescribeDBClusterSnapshots"), _) => {
                    sharing.wait(&shared_name(&copy)).await?;
                }
                ("aws:executeAwsApi", Some("ModifyDBClusterSnapshotAttribute"), _) => {
                    let with = inputs["ValuesToAdd"][0].as_str().unwrap();
                    sharing.share(&shared_name(&copy), with).await?;
                }
                (
                    "aws:executeScript",
                    _,
                    [
                        "delete_db_cluster_snapshot",
                        "describe_db_cluster_snapshots",
                    ],
                ) => sharing.delete_older(&shared_name(&copy)).await?,
                _ => return Err(format!("{step}: nobody plays {action} of {calls:?} here")),
            }
        }
    }
    Ok(())
}

/// What a script of a document calls of boto3, in order of name.
fn calls_of(script: &str) -> Vec<String> {
    let is_name = |character: char| character.is_ascii_lowercase() || character == '_';
    let mut found = Vec::new();
    for mark in ["rds.", ".get_paginator(\""] {
        for after in script.split(mark).skip(1) {
            let name: String = after.chars().take_while(|one| is_name(*one)).collect();
            if name.contains("_db_") {
                found.push(name);
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// An encrypted cluster in the source account.
async fn lend(scene: &Scene, root: &SdkConfig) {
    let (world, caller, nothing) = (scene.local.cloud.world(), lender(scene), json!({}));
    let made = world.call(&caller, "kms", "TrentService.CreateKey", &nothing);
    let key = made.await.unwrap()["KeyMetadata"]["Arn"].clone();
    let rds = aws_sdk_rds::Client::new(root);
    lent_cluster(&rds, SHARED_CLUSTER, &key).await;
}

/// `shared-<cluster>-<time>` of `rds:<cluster>-<time>`.
fn shared_name(automated: &str) -> String {
    let name = automated.rsplit("rds:").next().unwrap_or(automated);
    format!("shared-{name}")
}

/// The calls of the document, with its role.
struct Sharing<'a> {
    scene: &'a Scene,
    rds: aws_sdk_rds::Client,
    stack: &'a str,
}

impl Sharing<'_> {
    async fn newest(&self) -> Result<String, String> {
        let found = self
            .rds
            .describe_db_cluster_snapshots()
            .db_cluster_identifier(SHARED_CLUSTER)
            .snapshot_type("automated");
        let found = sdk("find the newest snapshot", found.send().await)?;
        let newest = found
            .db_cluster_snapshots()
            .iter()
            .filter(|snapshot| snapshot.status() == Some("available"))
            .max_by_key(|snapshot| snapshot.snapshot_create_time().map(|time| time.as_nanos()));
        let arn = newest.and_then(|newest| newest.db_cluster_snapshot_arn());
        arn.map(str::to_owned)
            .ok_or_else(|| "there is no automated snapshot".to_owned())
    }

    async fn copy(&self, automated: &str, key: &str) -> Result<(), String> {
        let tag = Tag::builder()
            .key("aurora-restore:shared-by")
            .value(self.stack);
        let copied = self
            .rds
            .copy_db_cluster_snapshot()
            .source_db_cluster_snapshot_identifier(automated)
            .target_db_cluster_snapshot_identifier(shared_name(automated))
            .kms_key_id(key)
            .tags(tag.build());
        sdk("copy the snapshot", copied.send().await).map(drop)
    }

    async fn wait(&self, copy: &str) -> Result<(), String> {
        loop {
            let found = self
                .rds
                .describe_db_cluster_snapshots()
                .db_cluster_snapshot_identifier(copy);
            let found = sdk("wait for the copy", found.send().await)?;
            if found.db_cluster_snapshots()[0].status() == Some("available") {
                return Ok(());
            }
            self.scene.sleep(Duration::from_secs(60)).await;
        }
    }

    async fn share(&self, copy: &str, account: &str) -> Result<(), String> {
        let shared = self
            .rds
            .modify_db_cluster_snapshot_attribute()
            .db_cluster_snapshot_identifier(copy)
            .attribute_name("restore")
            .values_to_add(account);
        sdk("share the copy", shared.send().await).map(drop)
    }

    /// Keeps one, as the stack was told.
    async fn delete_older(&self, kept: &str) -> Result<(), String> {
        let found = self
            .rds
            .describe_db_cluster_snapshots()
            .db_cluster_identifier(SHARED_CLUSTER)
            .snapshot_type("manual");
        let found = sdk("list the copies", found.send().await)?;
        let ids = found
            .db_cluster_snapshots()
            .iter()
            .filter_map(|snapshot| snapshot.db_cluster_snapshot_identifier());
        for id in ids.filter(|id| *id != kept) {
            let deleted = self
                .rds
                .delete_db_cluster_snapshot()
                .db_cluster_snapshot_identifier(id);
            sdk("delete an older copy", deleted.send().await)?;
        }
        Ok(())
    }
}

/// What the schedule of the source account calls, put to its role: `ssm:StartAutomationExecution` as the reference of
/// permissions asks for it, and the hand-over of the document's own role.
pub(crate) async fn share_by_schedule(scene: &Scene) -> Result<(), String> {
    let caller = lender(scene);
    let stacks = scene.local.cloud.cloudformation();
    let stack = stacks.stack(&caller, SHARING_STACK).unwrap();
    let target = stack.resource("ShareSchedule").unwrap().properties()["Target"].clone();
    let operation = "arn:aws:scheduler:::aws-sdk:ssm:startAutomationExecution";
    if target["Arn"] != operation {
        return Err(format!("nobody plays {} here", target["Arn"]));
    }
    let input: Value = serde_json::from_str(target["Input"].as_str().unwrap()).unwrap();
    let document = input["DocumentName"].as_str().unwrap();
    let role_arn = target["RoleArn"].as_str().unwrap();
    let ssm = |resource: String| {
        let place = format!("arn:aws:ssm:{}:{SOURCE_ACCOUNT}", caller.region);
        question(
            "ssm:StartAutomationExecution",
            format!("{place}:{resource}"),
            &[],
        )
    };
    let assumed = stack.resource("ShareSnapshot").unwrap().properties()["Content"]["assumeRole"]
        .as_str()
        .unwrap()
        .to_owned();
    let to_automation = [("iam:PassedToService", "ssm.amazonaws.com")];
    for question in [
        ssm(format!("automation-definition/{document}:$DEFAULT")),
        ssm(format!("document/{document}")),
        ssm("automation-execution/4105a4fc-f944-11e6-9d32-0a1b2c3d495h".to_owned()),
        question("iam:PassRole", assumed, &to_automation),
    ] {
        put(scene, role_arn, "schedule", question)?;
    }
    Ok(())
}

/// A question with these condition keys.
pub(crate) fn question(action: &str, resource: String, keys: &[(&str, &str)]) -> Question {
    let context = keys
        .iter()
        .fold(Context::default(), |context, (key, value)| {
            context.with(key, *value)
        });
    Question {
        action: action.to_owned(),
        resource,
        context,
    }
}

/// Puts a question to a role as it is deployed.
pub(crate) fn put(
    scene: &Scene,
    role_arn: &str,
    session: &str,
    question: Question,
) -> Result<(), String> {
    let cloud = &scene.local.cloud;
    let caller = Caller {
        account: role_arn.split(':').nth(4).unwrap().to_owned(),
        region: scene.local.stack.region.clone(),
        principal: role_arn.to_owned(),
    };
    let asked = cloud
        .iam()
        .ask_as(cloud.world(), &caller, session, question);
    asked.map_err(|error| error.to_string())
}
