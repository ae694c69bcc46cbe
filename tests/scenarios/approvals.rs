//! Restores that a person must agree to, and the direction of data into production.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use asl_interpreter::Execution;
use async_trait::async_trait;
use aurora_restore::local::LocalOptions;
use aurora_restore_core::StepError;
use aurora_restore_core::approval::{Decided, Verdict};
use aurora_restore_core::settings::Flow;
use local_cloud::Request;
use local_cloud::layer::{Answer, Layer, Severed};
use local_cloud::rds::Data;
use pipeline_tests::paths::{APPROVED, NOT_APPROVED, REFUSED_BY_PLAN};
use pipeline_tests::{Run, SOURCE, Scene, TARGET, seed, step};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const REQUESTER: &str = "arn:aws:sts::123456789012:assumed-role/operators/requester";
const APPROVER: &str = "arn:aws:sts::123456789012:assumed-role/approvers/one";
const ANOTHER: &str = "arn:aws:sts::123456789012:assumed-role/approvers/another";
const PRODUCTION: &str = "orders-live";

fn request(scene: &Scene, minutes: u32) -> Value {
    scene.request_with(json!({
        "approval": {"required": true, "expiresAfterMinutes": minutes},
        "requestedBy": REQUESTER,
    }))
}

/// A restore that waits for an approval.
async fn waiting(scene: &Scene, minutes: u32) -> Execution {
    let execution = scene.start("restore-1", request(scene, minutes)).await;
    scene.until_state(&execution, "Approve").await;
    scene.sleep(Duration::from_secs(5)).await;
    execution
}

async fn decide(scene: &Scene, by: &str, verdict: Verdict) -> Result<Decided, StepError> {
    let now = scene.local.cloud.world().now();
    let comment = Some("as agreed");
    let pipeline = &scene.local.pipeline;
    let decided = pipeline.decide_as(by, "restore-1", verdict, comment, "comment", now);
    decided.await
}

fn refused(decided: Result<Decided, StepError>) -> String {
    let error = decided.unwrap_err();
    assert_eq!(error.code().id, "AR0055");
    error.message().to_owned()
}

async fn finished(scene: &Scene, execution: Execution) -> Run<'_> {
    execution.finished().await;
    scene.run("restore-1", execution).await
}

/// The questions that the topic was asked.
fn questions(scene: &Scene) -> Vec<String> {
    let messages = scene.local.cloud.sns().messages().into_iter();
    messages
        .map(|message| message.message)
        .filter(|text| text.starts_with("Approval"))
        .collect()
}

fn assert_refused(scene: &Scene, run: &Run<'_>, code: &str) {
    assert_eq!(run.path(), NOT_APPROVED, "{:?}", run.report.cause);
    assert_eq!(run.failure().0, code);
    assert_eq!(run.report.outcome, "FailedClean");
    assert_eq!(scene.new_resources(), Vec::<String>::new());
    let made = scene.local.rds.audit().into_iter();
    let made: Vec<_> = made
        .filter(|call| call.action.starts_with("RestoreDBCluster"))
        .collect();
    assert!(made.is_empty(), "{made:?}");
}

/// A scene where data may flow into production.
async fn production_scene(data: Data) -> Scene {
    let mut options = LocalOptions::in_process(seed());
    options.rds.data = data;
    options.flows = [TARGET, PRODUCTION]
        .map(|target| Flow {
            source: "*".to_owned(),
            source_account: None,
            target: target.to_owned(),
        })
        .into();
    options.production_targets = vec!["*-live".to_owned()];
    Scene::with(options).await
}

async fn put_profile(scene: &Scene, own: Value) {
    let target = json!({"target": {"clusterIdentifier": PRODUCTION}});
    let mut profile = scene.request_with(target);
    aurora_restore_core::profile::overlay(&mut profile, own);
    let text = profile.to_string();
    scene.local.put_profile("live", &text).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restore_goes_on_once_somebody_approved_and_the_evidence_says_who() {
    let scene = Scene::real().await;
    let execution = waiting(&scene, 60).await;
    assert_eq!(scene.new_resources(), Vec::<String>::new());
    let asked = questions(&scene);
    assert_eq!(asked.len(), 1, "{asked:?}");
    for said in [
        "restore-1",
        REQUESTER,
        "destroyed: nothing",
        "GiB and the durations of the local cloud, which are assumptions",
        "costs: unknown: the table has no prices of eu-west-1",
        "aurora-restore approve restore-1 --comment",
        "aurora-restore reject restore-1 --reason",
        "POST /restores/restore-1/approval",
    ] {
        assert!(asked[0].contains(said), "{said}: {}", asked[0]);
    }
    let token = scene.task_token(&execution);
    let decided = decide(&scene, APPROVER, Verdict::Approved).await.unwrap();
    assert!(decided.recorded && decided.heard);
    let run = finished(&scene, execution).await;
    assert_eq!(run.path(), APPROVED, "{:?}", run.report.cause);
    let evidence = run.report.evidence.iter();
    let finding = evidence
        .clone()
        .find(|finding| finding.check == "the restore is approved")
        .unwrap();
    assert!(
        finding.passed && finding.detail.contains(APPROVER),
        "{finding:?}"
    );
    assert!(finding.detail.ends_with("as agreed"), "{finding:?}");
    let decision = run.report.approval.clone().unwrap().decision.unwrap();
    assert_eq!(decision.by.as_deref(), Some(APPROVER));
    let messages = scene.local.cloud.sns().messages();
    let told = &messages.last().unwrap().message;
    assert!(
        told.contains(&format!("approval: approved by {APPROVER}")),
        "{told}"
    );
    // The token is in the state table and where Step Functions itself keeps it, and nowhere else.
    let texts = scene.local.cloud.recorded_texts().into_iter();
    let places: BTreeSet<String> = texts
        .filter(|text| text.text.contains(&token))
        .map(|text| text.place)
        .collect();
    let stack = &scene.local.stack;
    let expected = [
        format!("dynamodb {} {}", scene.place(), stack.table()),
        format!("history {}", stack.execution_arn("restore-1")),
    ];
    assert_eq!(places, BTreeSet::from(expected));
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_somebody_rejected_ends_with_nothing_made() {
    let scene = Scene::metadata().await;
    let execution = waiting(&scene, 60).await;
    decide(&scene, APPROVER, Verdict::Rejected).await.unwrap();
    let run = finished(&scene, execution).await;
    assert_refused(&scene, &run, "AR0052");
    let cause = run.failure().1;
    assert!(
        cause.contains(APPROVER) && cause.contains("as agreed"),
        "{cause}"
    );
    assert_eq!(scene.lock().await["state"]["S"], "released");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_nobody_decided_about_ends_with_a_code_of_its_own_and_two_questions_asked() {
    for minutes in [5, 60] {
        let scene = Scene::metadata().await;
        let execution = waiting(&scene, minutes).await;
        let began = scene.local.cloud.world().now();
        let run = finished(&scene, execution).await;
        assert_refused(&scene, &run, "AR0053");
        let lasted = scene.local.cloud.world().now() - began;
        let most = Duration::from_secs(u64::from(minutes) * 60 + 900);
        assert!(lasted < most, "{minutes} minutes lasted {lasted}");
        let asked = questions(&scene);
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert!(
            asked[1].starts_with("Approval still needed"),
            "{}",
            asked[1]
        );
        let late = refused(decide(&scene, APPROVER, Verdict::Approved).await);
        assert!(late.contains("expired"), "{late}");
        scene.local.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_who_decide_at_once_one_counts_and_the_other_is_told() {
    for (one, other) in [
        (Verdict::Approved, Verdict::Rejected),
        (Verdict::Rejected, Verdict::Approved),
    ] {
        let scene = Scene::metadata().await;
        let execution = waiting(&scene, 60).await;
        let (first, second) = tokio::join!(
            decide(&scene, APPROVER, one),
            decide(&scene, ANOTHER, other)
        );
        let stands = match (first, second) {
            (Ok(decided), Err(refused)) | (Err(refused), Ok(decided)) => {
                assert_eq!(refused.code().id, "AR0055");
                assert!(refused.message().contains("and that stands"), "{refused}");
                decided.decision.verdict
            }
            both => panic!("{both:?}"),
        };
        // The same once more is fine, by whomever.
        let again = decide(&scene, ANOTHER, stands).await.unwrap();
        assert!(!again.recorded);
        match stands {
            Verdict::Approved => scene.until_state(&execution, "WaitForCluster").await,
            _ => assert_refused(&scene, &finished(&scene, execution).await, "AR0052"),
        }
        scene.local.shutdown().await;
    }
}

/// How many decisions about the restore are on record.
async fn decisions(scene: &Scene) -> usize {
    let found = scene
        .dynamodb(
            "Query",
            json!({
                "KeyConditionExpression": "pk = :pk",
                "ExpressionAttributeValues": {":pk": {"S": "DECISION#restore-1"}},
                "ConsistentRead": true,
            }),
        )
        .await;
    found["Items"].as_array().unwrap().len()
}

/// How often the topic was told how the restore ended.
fn ends(scene: &Scene) -> usize {
    let messages = scene.local.cloud.sns().messages().into_iter();
    let ends = messages.filter(|message| !message.message.starts_with("Approval"));
    ends.count()
}

#[tokio::test(start_paused = true)]
async fn an_approval_counts_until_the_moment_it_expires_and_is_refused_from_then_on() {
    for (millis, counts) in [(-1, true), (0, false), (1, false)] {
        let scene = Scene::metadata().await;
        scene.restore_on_paper();
        let execution = waiting(&scene, 5).await;
        let now = || scene.local.cloud.world().now();
        let report = scene.local.pipeline.report("restore-1", now()).await;
        let until = report.unwrap().unwrap().approval.unwrap().until;
        let until = OffsetDateTime::parse(&until, &Rfc3339).unwrap();
        let at = until + time::Duration::milliseconds(millis);
        scene.sleep((at - now()).unsigned_abs()).await;
        let decided = decide(&scene, APPROVER, Verdict::Approved).await;
        if counts {
            let decided = decided.unwrap();
            assert!(decided.recorded && decided.heard, "{millis} ms");
            let run = finished(&scene, execution).await;
            assert_eq!(run.path(), APPROVED, "{millis} ms: {:?}", run.report.cause);
        } else {
            let said = refused(decided);
            assert!(
                said.contains("could be decided about until"),
                "{millis} ms: {said}"
            );
            let run = finished(&scene, execution).await;
            assert_refused(&scene, &run, "AR0053");
        }
        assert_eq!(
            (decisions(&scene).await, ends(&scene)),
            (1, 1),
            "{millis} ms"
        );
        scene.local.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_is_recorded_first_stands_against_an_approval() {
    let scene = Scene::metadata().await;
    let execution = waiting(&scene, 60).await;
    let now = scene.local.cloud.world().now();
    let started = scene.started_at(&execution);
    let expired = aurora_restore_core::approval::Decision::expired(now);
    let (table, id) = (scene.table(), "restore-1");
    let recorded = aurora_restore_core::approval::record(&table, id, &started, &expired);
    assert!(recorded.await.unwrap().1);
    let late = refused(decide(&scene, APPROVER, Verdict::Approved).await);
    assert!(late.contains("was expired"), "{late}");
    assert_refused(&scene, &finished(&scene, execution).await, "AR0053");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_approval_after_the_restore_was_stopped_makes_nothing() {
    let scene = Scene::metadata().await;
    let execution = waiting(&scene, 60).await;
    scene.reaper_comes(false).await;
    scene.stop(&execution).await;
    // Before the reaper came: it is written down, and nobody hears of it.
    let decided = decide(&scene, APPROVER, Verdict::Approved).await.unwrap();
    assert!(decided.recorded && !decided.heard);
    scene.reaper_comes(true).await;
    scene.sleep(Duration::from_secs(3_600)).await;
    let now = scene.local.cloud.world().now();
    let report = scene
        .local
        .pipeline
        .report("restore-1", now)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report.outcome, "FailedClean");
    let event = scene.event(
        "restore-1",
        "RestoreCluster",
        json!({"action": "restore-cluster"}),
    );
    let refused = scene.invoke(step("restore"), event).await.unwrap_err();
    assert!(refused.contains("AR0014"), "{refused}");
    assert_eq!(scene.new_resources(), Vec::<String>::new());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_decides_about_a_restore_that_ended_or_does_not_ask() {
    let scene = Scene::metadata().await;
    let missing = refused(decide(&scene, APPROVER, Verdict::Approved).await);
    assert!(missing.contains("does not wait"), "{missing}");
    let execution = waiting(&scene, 60).await;
    scene.stop(&execution).await;
    scene.sleep(Duration::from_secs(3_600)).await;
    let ended = refused(decide(&scene, APPROVER, Verdict::Approved).await);
    assert!(ended.contains("has ended, FailedClean"), "{ended}");
    scene.local.shutdown().await;
}

/// No person reaches Step Functions.
struct DeafStepFunctions;

#[async_trait]
impl Layer for DeafStepFunctions {
    async fn before(&self, request: &Request) -> ControlFlow<Answer> {
        if request.service == "states" && request.caller.principal.ends_with(":root") {
            return ControlFlow::Break(Err(Severed::Reset));
        }
        ControlFlow::Continue(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_the_state_machine_did_not_hear_is_found_by_the_next_look() {
    let scene = Scene::metadata().await;
    let execution = waiting(&scene, 60).await;
    scene
        .local
        .cloud
        .world()
        .add_layer(Arc::new(DeafStepFunctions));
    let decided = decide(&scene, APPROVER, Verdict::Approved).await.unwrap();
    assert!(decided.recorded && !decided.heard, "{decided:?}");
    assert_eq!(
        execution.history().states_entered().last().unwrap(),
        "Approve"
    );
    scene
        .sleep(Duration::from_secs(
            u64::from(decided.found_within_seconds) + 30,
        ))
        .await;
    scene.until_state(&execution, "WaitForCluster").await;
    assert_eq!(questions(&scene).len(), 1);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_answers_the_token_has_not_approved() {
    let scene = Scene::metadata().await;
    let execution = waiting(&scene, 60).await;
    let event = scene.event(
        "restore-1",
        "RestoreCluster",
        json!({"action": "restore-cluster"}),
    );
    let refused = scene.invoke(step("restore"), event).await.unwrap_err();
    assert!(refused.contains("AR0054"), "{refused}");
    let sfn = aws_sdk_sfn::Client::new(&scene.local.config);
    let answered = sfn
        .send_task_success()
        .task_token(scene.task_token(&execution));
    answered.output("false").send().await.unwrap();
    let run = finished(&scene, execution).await;
    assert_eq!(run.failure().0, "AR0054");
    assert_eq!(
        run.path()[3..7],
        ["Approve", "IsCopyNeeded", "RestoreCluster", "Undo"]
    );
    assert_eq!(scene.new_resources(), Vec::<String>::new());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_not_made_either_before_somebody_approved() {
    let scene = Scene::metadata().await;
    let key = scene.key_in(&scene.local.stack.region).await;
    let remote = scene.copy_to_region("eu-central-1").await;
    let before = scene.everything();
    let mut asked = request(&scene, 60);
    let over = json!({"source": {"region": "eu-central-1", "snapshot": remote}, "target": {"kmsKeyId": key}});
    aurora_restore_core::profile::overlay(&mut asked, over);
    let execution = scene.start("restore-1", asked).await;
    scene.until_state(&execution, "Approve").await;
    scene.sleep(Duration::from_secs(5)).await;
    let event = scene.event("restore-1", "CopySnapshot", json!({}));
    let refused = scene
        .invoke(step("copy-snapshot"), event)
        .await
        .unwrap_err();
    assert!(refused.contains("AR0054"), "{refused}");
    assert_eq!(scene.everything(), before);
    decide(&scene, APPROVER, Verdict::Approved).await.unwrap();
    scene.until_state(&execution, "WaitForCopy").await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_drill_that_was_approved_is_over_when_it_is_proved() {
    let scene = Scene::real().await;
    let mut asked = request(&scene, 60);
    asked["expiresAfterHours"] = json!(0);
    asked["target"]["deletionProtection"] = json!(false);
    let execution = scene.start("restore-1", asked).await;
    scene.until_state(&execution, "Approve").await;
    decide(&scene, APPROVER, Verdict::Approved).await.unwrap();
    execution.finished().await;
    let event = json!({"removeExpired": "restore-1"});
    let going = scene.invoke(step("reap"), event).await.unwrap_err();
    assert!(going.contains("AR0036"), "{going}");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_asked_for_a_restore_rejects_it_but_does_not_approve_it() {
    let scene = Scene::metadata().await;
    let execution = waiting(&scene, 60).await;
    let own = refused(decide(&scene, REQUESTER, Verdict::Approved).await);
    assert!(own.contains("nobody approves their own here"), "{own}");
    decide(&scene, REQUESTER, Verdict::Rejected).await.unwrap();
    assert_refused(&scene, &finished(&scene, execution).await, "AR0052");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_needs_an_approval_says_who_asks_for_it() {
    let scene = Scene::metadata().await;
    let mut asked = request(&scene, 60);
    asked.as_object_mut().unwrap().remove("requestedBy");
    let run = scene.restore(asked).await;
    run.assert_failed_clean("AR0001");
    assert!(run.failure().1.contains("at `requestedBy`: absent"));
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn data_flows_into_production_only_with_a_flow_a_profiles_consent_and_an_approval() {
    let scene = production_scene(Data::Metadata).await;
    let whole = scene.request_with(
        json!({"target": {"clusterIdentifier": PRODUCTION}, "requestedBy": REQUESTER}),
    );
    let by_profile = json!({"profile": "live", "requestedBy": REQUESTER});
    // No flow leads there.
    let mut elsewhere = whole.clone();
    elsewhere["target"]["clusterIdentifier"] = json!("ledger-live");
    let run = scene.restore_as("no-flow", elsewhere).await;
    run.assert_failed_clean("AR0005");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    // Nobody consented: no profile, and one that does not say so.
    let run = scene.restore_as("no-profile", whole).await;
    run.assert_failed_clean("AR0051");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    put_profile(&scene, json!({"overrides": ["target", "approval"]})).await;
    let run = scene.restore_as("no-consent", by_profile.clone()).await;
    run.assert_failed_clean("AR0051");
    // Neither an input nor an override consents in the profile's stead.
    let mut said = by_profile.clone();
    said["production"] = json!(true);
    let run = scene.restore_as("said-by-input", said).await;
    run.assert_failed_clean("AR0001");
    // With consent an approval is forced, also where the input says that none is needed.
    put_profile(
        &scene,
        json!({"overrides": ["target", "approval"], "production": true}),
    )
    .await;
    let mut waived = by_profile.clone();
    waived["approval"] = json!({"required": false, "expiresAfterMinutes": 60});
    let execution = scene.start("restore-1", waived).await;
    scene.until_state(&execution, "Approve").await;
    scene.sleep(Duration::from_secs(5)).await;
    let asked = questions(&scene);
    assert!(
        asked[0].contains("the target is production, as deployed"),
        "{}",
        asked[0]
    );
    // All present.
    decide(&scene, APPROVER, Verdict::Approved).await.unwrap();
    scene.until_state(&execution, "WaitForCluster").await;
    assert_eq!(scene.view("cluster", PRODUCTION).status, "creating");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_profile_of_production_overrides_nothing_into_the_source_itself() {
    let mut options = LocalOptions::in_process(seed());
    options.rds.data = Data::Metadata;
    options.flows[0].target = "*".to_owned();
    options.production_targets = vec![SOURCE.to_owned()];
    let scene = Scene::with(options).await;
    put_profile(
        &scene,
        json!({"target": {"clusterIdentifier": SOURCE}, "production": true}),
    )
    .await;
    let run = scene
        .restore(json!({"profile": "live", "requestedBy": REQUESTER}))
        .await;
    run.assert_failed_clean("AR0006");
    scene.local.shutdown().await;
}
