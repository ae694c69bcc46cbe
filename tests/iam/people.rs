//! People with the pipeline's managed policies: who may approve, and who may keep targets longer.

use std::sync::OnceLock;
use std::time::Duration;

use asl_interpreter::Execution;
use aurora_restore::deployment::sdk_config;
use aurora_restore::remote::Pipeline;
use aurora_restore_core::approval::{self, Decided, Decision, Verdict};
use aurora_restore_core::expiry::{self, Wanted};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::{Clients, Context};
use aws_config::SdkConfig;
use http::Method;
use local_cloud::cloudformation::Template;
use pipeline_tests::{Scene, TARGET};
use serde_json::{Value, json};

use crate::beside::{self, create};
use crate::http_api::Api;
use crate::scenarios::{code_of, ends, in_state, told_once};

/// People's roles, and the parameter with the policy that is attached to each.
const ROLES: [(&str, &str); 2] = [
    ("ApproverRole", "ApproverPolicyArn"),
    ("KeeperRole", "ExpiryPolicyArn"),
];

/// Somebody's own template: a role for each policy, attached as an owner of an account attaches them.
fn template() -> Template {
    let mut text = "AWSTemplateFormatVersion: \"2010-09-09\"\nParameters:\n".to_owned();
    for (_, policy) in ROLES {
        text += &format!("  {policy}: {{Type: String}}\n");
    }
    text += "Resources:\n";
    for (role, policy) in ROLES {
        text += &format!(
            r#"  {role}:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement:
          - Effect: Allow
            Principal: {{AWS: !Sub "arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:root"}}
            Action: sts:AssumeRole
      ManagedPolicyArns: [!Ref {policy}]
"#
        );
    }
    Template::parse(&text).unwrap()
}

static TEMPLATE: OnceLock<Template> = OnceLock::new();

/// Attaches the pipeline's managed policies to roles of people.
pub(crate) async fn deploy(scene: &Scene) {
    let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
    let root = scene.caller(&stack.region);
    let pipeline = cloud.cloudformation().stack(&root, &stack.name).unwrap();
    let output = |name: &str| pipeline.outputs()[name].clone();
    let parameters = ROLES.map(|(_, name)| (name, output(name)));
    let template = TEMPLATE.get_or_init(template);
    create(scene, &root, "people", template, &parameters).await;
}

/// In the name of somebody with this role.
fn config(scene: &Scene, role: &str) -> SdkConfig {
    let role = beside::role(scene, role);
    let key = beside::session_key(scene, &role, "keeper");
    sdk_config(&scene.local.cloud, &scene.local.stack.region, &key)
}

/// A restore that waits for an approval.
async fn asking(scene: &Scene, id: &str, minutes: u32) -> Result<Execution, String> {
    let request = scene.request_with(json!({
        "approval": {"required": true, "expiresAfterMinutes": minutes},
        "requestedBy": "somebody",
    }));
    let execution = scene.start(id, request).await;
    in_state(scene, &execution, "Approve").await?;
    scene.sleep(Duration::from_secs(5)).await;
    Ok(execution)
}

fn expect(what: &str, holds: bool) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// The code that a restore ends with.
async fn ended(scene: &Scene, id: &str, execution: &Execution) -> Result<String, String> {
    execution.finished().await;
    code_of(scene, id).await
}

async fn decide(scene: &Scene, id: &str, verdict: Verdict) -> Result<Decided, String> {
    let pipeline = Pipeline::new(&config(scene, "ApproverRole"), scene.local.stack.clone());
    let now = scene.local.cloud.world().now();
    let decided = pipeline.decide(id, verdict, Some("as agreed"), "comment", now);
    decided.await.map_err(|error| format!("{error:#}"))
}

/// One is rejected, another approved and restored; each is heard at once, and its end is told.
pub(crate) async fn approvers(scene: &Scene) -> Result<(), String> {
    let execution = asking(scene, "rejected", 60).await?;
    let messages = scene.local.cloud.sns().messages();
    let unknown = |text: &str| text.contains("takes: unknown");
    let told = messages.iter().any(|message| unknown(&message.message));
    expect("nobody knows how long it takes", !told)?;
    let decided = decide(scene, "rejected", Verdict::Rejected).await?;
    expect("a rejection was not heard", decided.heard)?;
    expect(
        "AR0052",
        ended(scene, "rejected", &execution).await? == "AR0052",
    )?;
    let execution = asking(scene, "restore-1", 60).await?;
    let decided = decide(scene, "restore-1", Verdict::Approved).await?;
    expect("an approval was not heard", decided.heard)?;
    let found = ended(scene, "restore-1", &execution).await?;
    expect(&format!("restored: {found}"), found.is_empty())?;
    told_once(scene, "FailedClean: restore rejected\n")?;
    told_once(scene, "Restored: restore restore-1\n")
}

/// What nobody heard of is found by the next look, and what nobody decides expires.
pub(crate) async fn unheard(scene: &Scene) -> Result<(), String> {
    let execution = asking(scene, "expires", 5).await?;
    expect(
        "AR0053",
        ended(scene, "expires", &execution).await? == "AR0053",
    )?;
    let execution = asking(scene, "restore-1", 60).await?;
    let started = scene.started_at(&execution);
    let decision = Decision {
        verdict: Verdict::Approved,
        by: Some("somebody".to_owned()),
        at: scene.local.cloud.world().now(),
        comment: None,
    };
    let table = scene.table();
    let recorded = approval::record(&table, "restore-1", &started, &decision);
    recorded.await.map_err(|error| error.to_string())?;
    let found = ended(scene, "restore-1", &execution).await?;
    expect(&format!("restored: {found}"), found.is_empty())
}

/// The API's route: one is rejected, another approved.
pub(crate) async fn by_the_api(scene: &Scene) -> Result<(), String> {
    let api = Api::of(scene);
    let decided = |answer: &Value| expect(&format!("{answer}"), answer["heard"] == true);
    let execution = asking(scene, "rejected", 60).await?;
    let (post, path) = (|| Method::POST, "/restores/rejected/approval");
    let body = json!({"decision": "reject", "comment": "not today"});
    decided(&api.call(post(), path, &body, 200).await?)?;
    expect(
        "AR0052",
        ended(scene, "rejected", &execution).await? == "AR0052",
    )?;
    let body = json!({"decision": "approve"});
    api.call(post(), path, &body, 409).await?;
    let execution = asking(scene, "restore-1", 60).await?;
    let path = "/restores/restore-1/approval";
    decided(&api.call(post(), path, &body, 200).await?)?;
    in_state(scene, &execution, "WaitForCluster").await?;
    let shown = api.get("/restores/restore-1").await?;
    let state = &shown["report"]["approval"]["state"];
    expect(&format!("{shown}"), state == "approved")
}

/// Restores whose targets can be kept longer: one by its own name, and one that took a name and has instances that are
/// called otherwise.
fn kept(scene: &Scene, hours: Option<u32>) -> [(&'static str, Value); 2] {
    let request = |switch: Value, target: &str| {
        let target = json!({"clusterIdentifier": target, "deletionProtection": false});
        let own = json!({"target": target, "switch": switch, "expiresAfterHours": hours});
        scene.request_with(own)
    };
    [
        ("restore-1", request(json!({"mode": "none"}), TARGET)),
        (
            "restore-2",
            request(json!({"mode": "rename"}), "next-staging"),
        ),
    ]
}

/// The same by the API's routes.
pub(crate) async fn keepers_by_the_api(scene: &Scene) -> Result<(), String> {
    let api = Api::of(scene);
    for (id, request) in kept(scene, Some(6)) {
        ends(scene, id, request, "Restored").await?;
        for (route, body) in [("extension", json!({"hours": 1})), ("expiry", Value::Null)] {
            let path = format!("/restores/{id}/{route}");
            let changed = api.call(Method::POST, &path, &body, 200).await?;
            let tagged = changed["tagged"].as_array().map(Vec::len);
            expect("cluster and instance", tagged == Some(2))?;
        }
    }
    scene.sleep(Duration::from_secs(3_600)).await;
    expect("they are gone", scene.new_resources().is_empty())
}

/// Targets that are kept are given an end, put off and let go.
pub(crate) async fn keepers(scene: &Scene) -> Result<(), String> {
    let context = Context {
        aws: Clients::new(config(scene, "KeeperRole")),
        ..scene.context()
    };
    for (id, request) in kept(scene, None) {
        ends(scene, id, request, "Restored").await?;
        let id = RestoreId::parse(id).map_err(|error| error.to_string())?;
        let later = scene.local.cloud.world().now() + Duration::from_secs(7_200);
        for wanted in [Wanted::At(later), Wanted::Later(1), Wanted::Now] {
            let changed = expiry::change(&context, &id, wanted, "keeper").await;
            let changed = changed.map_err(|error| format!("{wanted:?}: {error}"))?;
            expect("cluster and instance", changed.tagged.len() == 2)?;
        }
    }
    scene.sleep(Duration::from_secs(3_600)).await;
    expect("they are gone", scene.new_resources().is_empty())
}
