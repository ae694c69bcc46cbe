//! What `aurora-restore plan` says, held against what restores then do.

use std::collections::HashSet;
use std::sync::Arc;

use aurora_restore::plan::{Preview, preview};
use aurora_restore_core::Clock;
use local_cloud::faults::Faults;
use pipeline_tests::{Run, SOURCE, Scene, TARGET};
use plan::{Finding, Verdict};
use serde_json::{Value, json};

async fn look(scene: &Scene, restore_id: &str, input: &Value) -> Preview {
    let world = scene.local.cloud.world();
    let now = world.now();
    let clock = Clock::new(move || now);
    preview(&scene.local.pipeline, &clock, restore_id, input)
        .await
        .unwrap()
}

fn listen(scene: &Scene) -> Arc<Faults> {
    let cloud = &scene.local.cloud;
    let faults = Faults::new(cloud.world(), cloud.lambda());
    cloud.world().add_layer(faults.clone());
    faults
}

/// The calls of functions that changed something, but for the pipeline's own records. A request that is made again, word
/// for word, counts once: RDS may refuse it for the moment.
fn changes(heard: &Faults) -> Vec<String> {
    let calls = heard.recorded();
    let changing = calls.iter().filter(|made| {
        let bookkeeping = ["dynamodb", "states", "logs", "monitoring"];
        made.call.is_mutating() && !bookkeeping.contains(&made.call.service.as_str())
    });
    let mut seen = HashSet::new();
    changing
        .filter(|made| seen.insert((made.call.operation.clone(), made.request.body.clone())))
        .map(|made| format!("{}:{}", made.call.service, made.call.operation))
        .collect()
}

/// Previews a restore, restores, and compares: the states and the calls, in order.
async fn assert_foretold<'a>(scene: &'a Scene, restore_id: &str, input: Value) -> Run<'a> {
    scene.reaper_comes(false).await;
    let foretold = look(scene, restore_id, &input).await;
    assert!(foretold.ok, "{:?}", foretold.findings);
    let heard = listen(scene);
    let run = scene.restore_as(restore_id, input).await;
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    assert_eq!(foretold.states, run.path());
    let calls: Vec<&str> = foretold.calls.iter().map(|call| call.call).collect();
    assert_eq!(calls, changes(&heard));
    // RDS tells what each call was about, too.
    let audit = scene.local.rds.audit();
    for call in foretold
        .calls
        .iter()
        .filter(|call| call.call.starts_with("rds:"))
    {
        let operation = call.call.trim_start_matches("rds:");
        let made = audit.iter().any(|made| {
            made.action == operation && (made.resource == call.resource || made.resource.is_empty())
        });
        assert!(made, "{call:?}");
    }
    run
}

#[tokio::test(start_paused = true)]
async fn a_plain_restore_does_what_its_plan_says() {
    let scene = Scene::real().await;
    assert_foretold(&scene, "plain-1", scene.request()).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_with_a_copy_a_reader_a_group_and_a_secret_does_what_its_plan_says() {
    let scene = Scene::real().await;
    let request = scene.request_of_every_step().await;
    assert_foretold(&scene, "every-1", request).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_clone_with_groups_of_its_instances_and_the_data_api_does_what_its_plan_says() {
    let scene = Scene::real().await;
    let group = scene.rds();
    let group = group
        .create_db_parameter_group()
        .db_parameter_group_name("own")
        .db_parameter_group_family("aurora-postgresql15")
        .description("own");
    group.send().await.unwrap();
    let over = json!({
        "source": {"clone": true},
        "target": {"instanceParameterGroup": "own", "dataApi": true, "readers": 1},
    });
    assert_foretold(&scene, "clone-1", scene.request_with(over)).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_preview_changes_nothing() {
    let scene = Scene::real().await;
    let request = scene.request_of_every_step().await;
    let everything = scene.everything();
    let asked = scene.local.rds.audit().len();
    let records = scene.dynamodb("Scan", json!({})).await;
    let foretold = look(&scene, "preview", &request).await;
    assert!(foretold.ok, "{:?}", foretold.findings);

    assert_eq!(scene.everything(), everything);
    assert_eq!(scene.dynamodb("Scan", json!({})).await, records);
    assert!(scene.local.cloud.sns().messages().is_empty());
    let audit = scene.local.rds.audit();
    assert!(audit.len() > asked, "it did ask");
    let changing: Vec<&str> = audit[asked..]
        .iter()
        .map(|call| call.action.as_str())
        .filter(|action| !action.starts_with("Describe") && !action.starts_with("List"))
        .collect();
    assert!(changing.is_empty(), "{changing:?}");
    scene.local.shutdown().await;
}

fn failed(preview: &Preview) -> Vec<(&str, &str)> {
    let failed = preview.findings.iter();
    failed
        .filter(|finding| finding.verdict == Verdict::Failed)
        .map(|finding: &Finding| (finding.check, finding.code.unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn every_failed_check_is_named_at_once_with_its_remedy_before_and_in_the_run() {
    let scene = Scene::metadata().await;
    let request = scene.request_with(json!({
        "source": {"masterSecretArn": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:gone/away-abcdef"},
        "target": {"subnetGroup": "nowhere", "instanceClass": "db.z9.mega", "clusterParameterGroup": "no-such"},
    }));
    let foretold = look(&scene, "preview", &request).await;
    assert!(!foretold.ok);
    assert_eq!(
        failed(&foretold),
        [
            ("source's secret", "AR0024"),
            ("subnet group", "AR0015"),
            ("cluster parameter group", "AR0015"),
            ("class is offered", "AR0016"),
        ]
    );
    let remedies = foretold
        .findings
        .iter()
        .filter_map(|finding| finding.remedy);
    assert!(remedies.clone().count() == 4 && remedies.into_iter().all(|remedy| !remedy.is_empty()));

    let run = scene.restore(request).await;
    run.assert_failed_clean("AR0024");
    let (_, cause) = run.failure();
    for named in ["AR0015", "nowhere", "no-such", "AR0016", "db.z9.mega"] {
        assert!(cause.contains(named), "{named}: {cause}");
    }
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_resolved_is_a_failed_check_too() {
    let scene = Scene::metadata().await;
    let over = json!({"target": {"clusterIdentifier": "orders-live"}});
    let foretold = look(&scene, "preview", &scene.request_with(over)).await;
    assert_eq!(failed(&foretold), [("request", "AR0005")]);
    let over = json!({"source": {"snapshot": "never-taken"}});
    let foretold = look(&scene, "preview", &scene.request_with(over)).await;
    assert_eq!(failed(&foretold), [("request", "AR0007")]);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn earlier_restores_tell_how_long_the_next_one_takes() {
    let scene = Scene::real().await;
    let from_size = look(&scene, "preview", &scene.request())
        .await
        .expected
        .unwrap();
    assert!(
        from_size.basis.contains("assumptions"),
        "{}",
        from_size.basis
    );
    let run = scene.restore(scene.request()).await;
    let took = run.report.seconds.total;
    let foretold = look(&scene, "preview", &scene.request()).await;
    let from_record = foretold.expected.as_ref().unwrap();
    assert!(
        from_record.basis.contains("last 1 restores"),
        "{}",
        from_record.basis
    );
    assert!((from_record.seconds - took).abs() < 1.0);
    // The target of the first restore is there: a second one cannot be made beside it.
    assert!(failed(&foretold).contains(&("name is free", "AR0009")));
    assert_eq!(foretold.plan.unwrap().source.cluster_identifier, SOURCE);
    assert!(foretold.calls.iter().any(|call| call.resource == TARGET));
    scene.local.shutdown().await;
}
