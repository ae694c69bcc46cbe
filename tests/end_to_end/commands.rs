//! The commands that people decide and look with, as programs: what they print, what they end with, what they refuse.
//!
//! The world has no data and is served on a port; restores go through it within seconds.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use asl_interpreter::Execution;
use async_trait::async_trait;
use aurora_restore::deployment;
use aurora_restore::local::LocalOptions;
use local_cloud::layer::{Answer, Layer};
use local_cloud::rds::Data;
use local_cloud::{ApiError, Request};
use pipeline_tests::{Scene, fleet, seed};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::programs::built;

/// Another region, and the one that only votes.
const ELSEWHERE: &str = "eu-central-1";
const WITNESS: &str = "eu-west-3";
const TABLE: &str = "aurora-restore-role";
/// Who asks for restores that the account's root, in whose name the program speaks, may approve.
const REQUESTER: &str = "arn:aws:sts::123456789012:assumed-role/operators/ada";

fn options() -> LocalOptions {
    let mut options = LocalOptions::in_process(seed());
    options.rds.data = Data::Metadata;
    options.port = Some(0);
    options.speed = 3_600.0;
    options
}

/// A served world, and a folder for files.
struct World {
    scene: Scene,
    folder: TempDir,
}

/// What a run of the program left.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl World {
    fn of(scene: Scene) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { scene, folder }
    }

    /// Runs the program in the region of the world.
    async fn run(&self, arguments: &[&str]) -> Said {
        self.run_in(&self.scene.local.stack.region, arguments).await
    }

    async fn run_in(&self, region: &str, arguments: &[&str]) -> Said {
        let stack = &self.scene.local.stack;
        let endpoint = self.scene.local.server.as_ref().unwrap().endpoint();
        let ran = Command::new(built("aurora-restore"))
            .args(arguments)
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_REGION", region)
            .env("AWS_ACCESS_KEY_ID", &stack.account)
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .output()
            .await
            .unwrap();
        Said {
            code: ran.status.code().unwrap(),
            out: String::from_utf8(ran.stdout).unwrap(),
            err: String::from_utf8(ran.stderr).unwrap(),
        }
    }

    /// Runs it, and expects that it is carried out.
    async fn done(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments).await;
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said
    }

    /// Runs it, and expects that it cannot be carried out; why.
    async fn refused(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments).await;
        assert_eq!(said.code, 2, "{arguments:?}: {said:?}");
        assert_eq!(said.out, "", "{arguments:?}");
        said.err
    }

    /// Runs it until it ends with something other than `Running`.
    async fn until_over(&self, arguments: &[&str]) -> Said {
        loop {
            let said = self.run(arguments).await;
            if !said.out.starts_with("Running") && !said.out.contains("execution  RUNNING") {
                return said;
            }
            self.scene.sleep(Duration::from_secs(10)).await;
        }
    }

    fn file(&self, name: &str, content: &Value) -> String {
        let path: PathBuf = self.folder.path().join(name);
        std::fs::write(&path, content.to_string()).unwrap();
        path.display().to_string()
    }
}

#[tokio::test]
async fn fleets_are_started_and_shown_and_say_why_they_are_not() {
    let world = World::of(fleet::on_paper(options()).await);
    let request = world.scene.request();
    let members = world.file("members.json", &json!([request]));
    let no_list = world.file("no-list.json", &request);
    let nobody = world.file("nobody.json", &json!([{"profile": "nobody"}]));

    let why = world
        .refused(&["fleet", "start", "--id", "a b", &members])
        .await;
    assert!(why.contains("fleet id `a b`, expected 1 to 50"), "{why}");
    for empty in [no_list, world.file("empty.json", &json!([]))] {
        let why = world
            .refused(&["fleet", "start", "--id", "weekly", &empty])
            .await;
        assert!(
            why.contains(&empty) && why.contains("expected a list of the members' requests"),
            "{why}"
        );
    }
    let why = world.refused(&["fleet", "status", "weekly"]).await;
    assert!(why.contains("there is no fleet `weekly`"), "{why}");
    let why = world
        .refused(&["fleet", "start", "--id", "weekly", "--again"])
        .await;
    assert!(why.contains("no fleet `weekly` on record"), "{why}");

    let said = world
        .done(&["fleet", "start", "--id", "weekly", "--json", &members])
        .await;
    let arn = said.json()["executionArn"].as_str().unwrap().to_owned();
    assert!(
        arn.ends_with(":execution:aurora-restore-fleet:weekly"),
        "{arn}"
    );
    let said = world.until_over(&["fleet", "status", "weekly"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(
        said.out,
        "Restored: 1 of 1 restored; 0 FailedClean, 0 FailedDirty, 0 without an end\n\
         Restored     weekly-1                 orders-staging\n"
    );
    let said = world.done(&["fleet", "status", "weekly", "--json"]).await;
    assert_eq!(said.json()["tally"]["restored"], 1);
    let why = world
        .refused(&["fleet", "start", "--id", "weekly", "--again"])
        .await;
    assert!(why.contains("nothing is left to do"), "{why}");
    let member = world.scene.local.cloud.step_functions().executions();
    let member = member.iter().find(|it| it.launch().name == "weekly-1");
    let asked_by = &member.unwrap().launch().input["requestedBy"];
    assert_eq!(*asked_by, "arn:aws:iam::123456789012:root");

    let said = world
        .done(&["fleet", "start", "--id", "wrong", &nobody])
        .await;
    assert_eq!(
        said.out,
        "arn:aws:states:eu-west-1:123456789012:execution:aurora-restore-fleet:wrong\n"
    );
    let said = world.until_over(&["fleet", "status", "wrong"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out
            .starts_with("Failed: no member was started\nAR0002"),
        "{said:?}"
    );
    let said = world.run(&["fleet", "status", "wrong", "--json"]).await;
    assert_eq!((said.code, &said.json()["outcome"]), (1, &json!("Failed")));

    // One that waits for somebody, and is stopped: it cannot record its end.
    let waits = world.scene.request_with(json!({
        "approval": {"required": true}, "target": {"clusterIdentifier": "waits-staging"},
    }));
    let waits = world.file("waits.json", &json!([waits]));
    let said = world
        .done(&["fleet", "start", "--id", "waits", &waits])
        .await;
    let machines = world.scene.local.cloud.step_functions();
    let execution = machines.execution(said.out.trim_end()).unwrap();
    world.scene.until_state(&execution, "RestoreMembers").await;
    let said = world.done(&["fleet", "status", "waits"]).await;
    assert!(said.out.starts_with("Running: 0 of 1 restored"), "{said:?}");
    let why = world
        .refused(&["fleet", "start", "--id", "waits", "--again"])
        .await;
    assert!(why.contains("is under way"), "{why}");
    world.scene.stop(&execution).await;
    let said = world.run(&["fleet", "status", "waits"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.starts_with("Failed: 0 of 1 restored")
            && said.out.ends_with("execution    ABORTED\n"),
        "{said:?}"
    );
    world.scene.local.shutdown().await;
}

#[tokio::test]
async fn a_restored_cluster_is_kept_longer_and_let_go() {
    let world = World::of(fleet::on_paper(options()).await);
    let input = json!({"expiresAfterHours": 100});
    let file = world.file("request.json", &world.scene.request_with(input));
    world
        .done(&["start", "keep-1", "--input", &file, "--json"])
        .await;
    let said = world.until_over(&["status", "keep-1"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("outcome    Restored"), "{said:?}");

    let why = world.refused(&["extend", "keep-9", "--hours", "2"]).await;
    assert!(why.contains("AR0055") && why.contains("keep-9"), "{why}");
    let why = world
        .refused(&["extend", "keep-1", "--until", "tomorrow"])
        .await;
    assert!(why.contains("2026-11-28T18:00:00Z"), "{why}");
    let said = world
        .done(&["extend", "keep-1", "--hours", "2", "--json"])
        .await;
    let until = said.json()["expiresAt"].as_str().unwrap().to_owned();
    let said = world.done(&["extend", "keep-1", "--until", &until]).await;
    assert_eq!(said.out, format!("the target of keep-1 goes at {until}\n"));

    let why = world.refused(&["expire", "keep-9"]).await;
    assert!(why.contains("AR0055"), "{why}");
    let said = world.done(&["expire", "keep-1"]).await;
    assert!(
        said.out.starts_with("the target of keep-1 goes now"),
        "{said:?}"
    );
    world.done(&["expire", "keep-1", "--json"]).await.json();
    world.scene.local.shutdown().await;
}

/// A restore that somebody asked for and that waits for an approval; its request.
async fn waiting(world: &World, id: &str) -> Value {
    let target = json!({"clusterIdentifier": format!("{id}-staging")});
    let mut request = world
        .scene
        .request_with(json!({"approval": {"required": true}, "target": target}));
    let plain = request.clone();
    request["requestedBy"] = REQUESTER.into();
    let execution: Execution = world.scene.start(id, request).await;
    world.scene.until_state(&execution, "Approve").await;
    plain
}

#[tokio::test]
async fn restores_are_approved_and_rejected() {
    let world = World::of(Scene::with(options()).await);
    let request = waiting(&world, "good").await;
    waiting(&world, "bad").await;

    // Somebody else starts the same: it is under way.
    let file = world.file("same.json", &request);
    let said = world.done(&["start", "good", "--input", &file]).await;
    assert!(
        said.out.ends_with(":execution:aurora-restore:good\n"),
        "{said:?}"
    );
    let why = world
        .refused(&["start", "bad", "--input", &file, "--json"])
        .await;
    assert!(
        why.contains("`bad` was started before with another request, and is RUNNING"),
        "{why}"
    );
    let list = world.file("list.json", &json!([request]));
    let why = world.refused(&["start", "third", "--input", &list]).await;
    assert!(
        why.contains(&format!("{list} holds a list of 1, expected a JSON object")),
        "{why}"
    );

    let why = world.refused(&["approve", "nobody"]).await;
    assert!(why.contains("AR0055"), "{why}");
    // The token may come a moment after the state.
    let approve = ["approve", "good", "--comment", "as agreed"];
    let mut said = world.run(&approve).await;
    while said.err.contains("does not wait for an approval") {
        world.scene.sleep(Duration::from_secs(10)).await;
        said = world.run(&approve).await;
    }
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out
            .starts_with("good was approved by arn:aws:iam::123456789012:root at 20")
            && said.out.ends_with(": as agreed\n"),
        "{said:?}"
    );
    let said = world.done(&["approve", "good", "--json"]).await;
    assert_eq!(said.json()["recorded"], false);

    let why = world.refused(&["reject", "bad", "--reason", "a\nb"]).await;
    assert!(
        why.contains("AR0001") && why.contains("at `--reason`"),
        "{why}"
    );
    let reject = ["reject", "bad", "--reason", "not today", "--json"];
    let mut said = world.run(&reject).await;
    while said.err.contains("does not wait for an approval") {
        world.scene.sleep(Duration::from_secs(10)).await;
        said = world.run(&reject).await;
    }
    assert_eq!(said.json()["verdict"], "rejected", "{said:?}");
    let said = world.done(&["reject", "bad", "--reason", "never"]).await;
    assert!(
        said.out
            .starts_with("bad was rejected by arn:aws:iam::123456789012:root at 20")
            && said.out.ends_with(": not today\n")
            && said.err.contains("it was decided so before"),
        "{said:?}"
    );
    let said = world.until_over(&["status", "bad"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.contains("outcome    FailedClean") && said.out.contains("not today"),
        "{said:?}"
    );
    let said = world.run(&["status", "bad", "--json"]).await;
    assert_eq!((said.code, &said.json()["error"]), (1, &json!("AR0052")));
    let why = world.refused(&["status", "nobody"]).await;
    assert!(why.contains("there is no restore `nobody`"), "{why}");
    world.scene.local.shutdown().await;
}

/// A Parameter Store that takes no `weekly` any more.
struct Full;

#[async_trait]
impl Layer for Full {
    async fn before(&self, request: &Request) -> ControlFlow<Answer> {
        let asked = String::from_utf8_lossy(&request.body);
        if request.json_operation() == Some("PutParameter") && asked.contains("/weekly") {
            let full = ApiError::new(400, "ParameterLimitExceeded", "no more parameters");
            return ControlFlow::Break(Ok(full.to_json_response()));
        }
        ControlFlow::Continue(())
    }
}

#[tokio::test]
async fn a_region_is_made_active_and_the_profiles_go_along() {
    let mut options = options();
    TABLE.clone_into(&mut options.role_table);
    let scene = Scene::with(options).await;
    let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
    let table = deployment::deploy_role_table(cloud, stack, ELSEWHERE, WITNESS);
    table.await.unwrap();
    let here = stack.region.clone();
    let world = World::of(scene);

    let why = world
        .refused(&["region", "status", "--role-table", "nobodys"])
        .await;
    assert!(why.contains("nobodys"), "{why}");
    let said = world.done(&["region", "status"]).await;
    assert_eq!(
        said.out,
        format!("active     none yet\nhere       {here}\n")
    );
    let said = world.done(&["region", "activate"]).await;
    assert_eq!(said.out, format!("{here} is active (epoch 1)\n"));
    let said = world.done(&["region", "activate", "--json"]).await;
    assert_eq!(said.json()["changed"], false);
    let said = world.done(&["region", "status", "--json"]).await;
    assert_eq!(said.json()["role"]["activeRegion"], here);

    waiting(&world, "held").await;
    let said = world.run_in(ELSEWHERE, &["region", "activate"]).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(
        said.err
            .contains(&format!("restores run in {here}, which is active: held")),
        "{said:?}"
    );
    let forced = ["region", "activate", "--force"];
    let said = world.run_in(ELSEWHERE, &forced).await;
    assert_eq!(said.out, format!("{ELSEWHERE} is active (epoch 2)\n"));
    assert!(said.err.contains("other region: held"), "{said:?}");

    let nightly = world.file("nightly.json", &world.scene.request());
    for name in ["nightly", "weekly"] {
        world.done(&["profile", "put", name, &nightly]).await;
    }
    let why = world
        .refused(&["profile", "copy", "--to-region", &here])
        .await;
    assert!(why.contains("expected another region"), "{why}");
    let copy = ["profile", "copy", "--to-region", ELSEWHERE];
    let said = world.done(&copy).await;
    assert_eq!(
        said.out,
        format!("nightly is version 1 in {ELSEWHERE}\nweekly is version 1 in {ELSEWHERE}\n")
    );
    let said = world.done(&[&copy[..], &["--json"]].concat()).await;
    assert_eq!(said.json()[1]["version"], 2);

    world.scene.local.cloud.world().add_layer(Arc::new(Full));
    let why = world.refused(&copy).await;
    assert!(
        why.contains("copied were nightly; not copied are weekly")
            && why.contains("cannot put profile `weekly`"),
        "{why}"
    );
    world.scene.local.shutdown().await;
}

#[tokio::test]
async fn the_exit_codes_of_the_help_are_those_of_the_readme() {
    let help = Command::new(built("aurora-restore")).arg("--help").output();
    let help = String::from_utf8(help.await.unwrap().stdout).unwrap();
    let readme = include_str!("../../README.md");
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let mut rows: Vec<String> = Vec::new();
    for line in codes.lines() {
        let line = line.trim();
        match line.split_once("  ") {
            Some((code, meaning)) if code.parse::<u8>().is_ok() => {
                rows.push(format!("| {code} | {meaning}"));
            }
            _ => rows.last_mut().unwrap().push_str(&format!(" {line}")),
        }
    }
    assert_eq!(rows.len(), 4, "{rows:?}");
    for row in rows {
        assert!(readme.contains(&format!("{row} |\n")), "{row}");
    }
}
