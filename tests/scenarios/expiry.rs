//! Targets that live for hours: warned of, extended, let go, and removed.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aurora_restore::local::LocalOptions;
use aurora_restore_core::expiry::{self, Changed, Expiry, Wanted};
use aurora_restore_core::ledger::ToDo;
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::{Restore, StepError};
use local_cloud::Request;
use local_cloud::layer::{Answer, Layer, Severed};
use local_cloud::rds::Data;
use pipeline_tests::paths::{REFUSED_BY_PLAN, SHORTEST, failing_in};
use pipeline_tests::{Scene, TARGET, seed, step};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::Notify;

const KEEPER: &str = "arn:aws:sts::123456789012:assumed-role/keepers/one";
const HOUR: Duration = Duration::from_secs(3_600);

fn id() -> RestoreId {
    RestoreId::parse("restore-1").unwrap()
}

/// A target in service that lives so many hours.
async fn living(scene: &Scene, hours: Option<u32>) {
    let mut own = json!({"target": {"deletionProtection": false}});
    if let Some(hours) = hours {
        own["expiresAfterHours"] = hours.into();
    }
    let run = scene.restore(scene.request_with(own)).await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
}

async fn change(scene: &Scene, wanted: Wanted) -> Result<Changed, StepError> {
    expiry::change(&scene.context(), &id(), wanted, KEEPER).await
}

/// What was said, and the code.
fn refused(changed: Result<Changed, StepError>) -> (&'static str, String) {
    let error = changed.unwrap_err();
    (error.code().id, error.message().to_owned())
}

async fn restore(scene: &Scene) -> Restore {
    Restore::load(&scene.context(), &id()).await.unwrap()
}

async fn stands(scene: &Scene) -> Expiry {
    let restore = restore(scene).await;
    expiry::stands(&scene.table(), restore.plan())
        .await
        .unwrap()
}

fn now(scene: &Scene) -> OffsetDateTime {
    scene.local.cloud.world().now()
}

/// Lets time pass until then.
async fn until(scene: &Scene, at: OffsetDateTime) {
    let left = at - now(scene);
    assert!(left.is_positive(), "{at} is past");
    scene.sleep(left.unsigned_abs()).await;
}

/// What the topic was told of the target's end.
fn warnings(scene: &Scene) -> Vec<String> {
    let messages = scene.local.cloud.sns().messages().into_iter();
    messages
        .map(|message| message.message)
        .filter(|text| text.starts_with("Expires soon"))
        .collect()
}

/// The tag that says when each of the target's resources goes.
async fn tags(scene: &Scene) -> Vec<Option<String>> {
    let cluster = scene.cluster(TARGET).await;
    let tag = |tags: &[aws_sdk_rds::types::Tag]| {
        let found = tags
            .iter()
            .find(|tag| tag.key() == Some("aurora-restore:expires-at"));
        found.and_then(|tag| tag.value().map(str::to_owned))
    };
    let mut all = vec![tag(cluster.tag_list())];
    let instances = scene.rds().describe_db_instances().send().await.unwrap();
    let members = instances.db_instances().iter();
    let members = members.filter(|found| found.db_cluster_identifier() == Some(TARGET));
    all.extend(members.map(|found| tag(found.tag_list())));
    all
}

async fn reap(scene: &Scene) -> Value {
    scene.invoke(step("reap"), json!({})).await.unwrap()
}

fn assert_gone(scene: &Scene) {
    assert_eq!(scene.new_resources(), Vec::<String>::new());
    assert_eq!(scene.lost_resources(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_target_lives_six_hours_is_warned_of_extended_warned_of_again_and_removed() {
    let scene = Scene::real().await;
    living(&scene, Some(6)).await;
    let first = stands(&scene).await.at.unwrap();
    let (quarter, pass) = (HOUR * 3 / 2, Duration::from_secs(360));
    until(&scene, first - quarter - Duration::from_secs(60)).await;
    assert_eq!(warnings(&scene), Vec::<String>::new());
    scene.sleep(pass + Duration::from_secs(60)).await;
    let told = warnings(&scene);
    assert_eq!(told.len(), 1, "{told:?}");
    for said in [
        "aurora-restore extend restore-1 --hours",
        "aurora-restore expire restore-1",
        "without a last snapshot",
        TARGET,
    ] {
        assert!(told[0].contains(said), "{said}: {}", told[0]);
    }
    scene.sleep(HOUR).await;
    assert_eq!(warnings(&scene).len(), 1, "told once");

    let changed = change(&scene, Wanted::Later(6)).await.unwrap();
    assert_eq!(changed.expires_at, first + 6 * HOUR);
    assert_eq!(changed.expired_at, Some(first));
    assert_eq!(changed.tagged.len(), 2, "{:?}", changed.tagged);
    let said = aurora_restore_core::ledger::rfc3339(changed.expires_at);
    assert_eq!(tags(&scene).await, vec![Some(said); 2]);
    until(&scene, first + HOUR).await;
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    assert_eq!(warnings(&scene).len(), 1);
    // A quarter of twelve hours.
    until(&scene, changed.expires_at - 3 * HOUR + pass).await;
    assert_eq!(warnings(&scene).len(), 2);
    until(&scene, changed.expires_at + HOUR / 2).await;
    assert_gone(&scene);
    assert_eq!(warnings(&scene).len(), 2);
    let cloudwatch = scene.local.cloud.cloudwatch();
    let points = cloudwatch.data_points("AuroraRestore", "ExpiryWarnings");
    let counted: f64 = points.into_iter().map(|(_, point)| point.maximum).sum();
    assert!(counted >= 2.0, "{counted}");
    let (code, said) = refused(change(&scene, Wanted::Later(6)).await);
    assert_eq!(code, "AR0055", "{said}");
    scene.local.shutdown().await;
}

/// So many attempts to tag anything find nobody.
struct NoTags(AtomicUsize);

#[async_trait]
impl Layer for NoTags {
    async fn before(&self, request: &Request) -> ControlFlow<Answer> {
        let asked = String::from_utf8_lossy(&request.body);
        let fewer = |left: usize| left.checked_sub(1);
        let (relaxed, tags) = (
            Ordering::Relaxed,
            asked.contains("Action=AddTagsToResource"),
        );
        match tags && self.0.fetch_update(relaxed, relaxed, fewer).is_ok() {
            true => ControlFlow::Break(Err(Severed::Refused)),
            false => ControlFlow::Continue(()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hours_that_did_not_reach_the_tags_are_asked_for_again_and_count_once() {
    let scene = Scene::real().await;
    living(&scene, Some(6)).await;
    let (first, before) = (stands(&scene).await.at.unwrap(), tags(&scene).await);
    scene
        .local
        .cloud
        .world()
        .add_layer(Arc::new(NoTags(AtomicUsize::new(3))));
    change(&scene, Wanted::Later(6)).await.unwrap_err();
    assert_eq!(stands(&scene).await.at, Some(first + 6 * HOUR));
    assert_eq!(tags(&scene).await, before);
    let changed = change(&scene, Wanted::Later(6)).await.unwrap();
    assert_eq!(changed.expires_at, first + 6 * HOUR);
    let changed = change(&scene, Wanted::Later(6)).await.unwrap();
    assert_eq!(changed.expires_at, first + 12 * HOUR);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_kept_is_given_an_end_or_let_go_by_hand() {
    let scene = Scene::real().await;
    living(&scene, None).await;
    assert_eq!(
        (stands(&scene).await.at, tags(&scene).await),
        (None, vec![None; 2])
    );
    let (code, said) = refused(change(&scene, Wanted::Later(1)).await);
    assert_eq!(code, "AR0001");
    assert!(said.contains("the target is kept"), "{said}");
    let at = now(&scene) + 48 * HOUR;
    let changed = change(&scene, Wanted::At(at)).await.unwrap();
    assert_eq!((changed.expires_at, changed.expired_at), (at, None));
    scene.sleep(HOUR).await;
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    let changed = change(&scene, Wanted::Now).await.unwrap();
    assert_eq!(changed.expires_at, now(&scene));
    scene.sleep(HOUR / 2).await;
    assert_gone(&scene);
    assert_eq!(scene.lock().await["state"]["S"], "released");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_extended_as_the_reaper_begins_is_kept_whole_or_goes() {
    let scene = Scene::real().await;
    living(&scene, Some(1)).await;
    scene.reaper_comes(false).await;
    scene.sleep(2 * HOUR).await;
    // The reaper has looked, and somebody extends before it takes the lock.
    let (restore, looked_at) = (restore(&scene).await, stands(&scene).await);
    change(&scene, Wanted::Later(1)).await.unwrap();
    let begun = restore
        .begin_removal(ToDo::Expire, Some(&looked_at), now(&scene))
        .await
        .unwrap();
    assert!(!begun, "the time that was looked at does not stand");
    assert_eq!(scene.lock().await["state"]["S"], "released");
    reap(&scene).await;
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    // The reaper took the lock, and somebody extends after.
    scene.sleep(2 * HOUR).await;
    let looked_at = stands(&scene).await;
    assert!(
        restore
            .begin_removal(ToDo::Expire, Some(&looked_at), now(&scene))
            .await
            .unwrap()
    );
    let before = tags(&scene).await;
    let (code, said) = refused(change(&scene, Wanted::Later(1)).await);
    assert_eq!(code, "AR0055");
    assert!(said.contains("being removed"), "{said}");
    assert_eq!(
        (stands(&scene).await, tags(&scene).await),
        (looked_at, before)
    );
    scene.reaper_comes(true).await;
    scene.sleep(HOUR).await;
    assert_gone(&scene);
    scene.local.shutdown().await;
}

/// Lets one of two that come at once write first: the reaper takes the lock to remove the target, a person writes another
/// time while nobody holds it.
struct OneFirst {
    extension_first: bool,
    /// Whoever is to be second has come to its write.
    came: AtomicBool,
    coming: Notify,
    /// Somebody's write is answered.
    written: Notify,
    seen: Mutex<Vec<&'static str>>,
}

impl OneFirst {
    /// Which of the two writes this is, if it is one.
    fn write(request: &Request) -> Option<&'static str> {
        let asked = String::from_utf8_lossy(&request.body);
        let writes = request.json_operation() == Some("TransactWriteItems");
        match writes {
            true if asked.contains("EXPIRE#restore-1") => Some("pass"),
            true if asked.contains("EXPIRY#restore-1") => Some("extension"),
            _ => None,
        }
    }

    fn seen(&self) -> Vec<&'static str> {
        self.seen.lock().unwrap().clone()
    }

    fn first(&self) -> &'static str {
        match self.extension_first {
            true => "extension",
            false => "pass",
        }
    }
}

#[async_trait]
impl Layer for OneFirst {
    async fn before(&self, request: &Request) -> ControlFlow<Answer> {
        match Self::write(request) {
            Some(write) if write == self.first() => {
                while !self.came.load(Ordering::Relaxed) {
                    self.coming.notified().await;
                }
            }
            Some(_) => {
                self.came.store(true, Ordering::Relaxed);
                self.coming.notify_one();
                while self.seen().is_empty() {
                    self.written.notified().await;
                }
            }
            None => {}
        }
        ControlFlow::Continue(())
    }

    async fn after(&self, request: &Request, answer: Answer) -> Answer {
        if let Some(write) = Self::write(request) {
            self.seen.lock().unwrap().push(write);
            self.written.notify_one();
        }
        answer
    }
}

#[tokio::test(start_paused = true)]
async fn an_extension_and_a_pass_at_once_agree_on_what_happened_whoever_writes_first() {
    for extension_first in [true, false] {
        let scene = Scene::real().await;
        living(&scene, Some(1)).await;
        scene.reaper_comes(false).await;
        scene.sleep(2 * HOUR).await;
        let order = Arc::new(OneFirst {
            extension_first,
            came: AtomicBool::new(false),
            coming: Notify::new(),
            written: Notify::new(),
            seen: Mutex::default(),
        });
        scene.local.cloud.world().add_layer(order.clone());
        // Both have looked before either has written.
        let (changed, _) = tokio::join!(change(&scene, Wanted::Later(24)), reap(&scene));
        assert_eq!(order.seen()[0], order.first());
        scene.reaper_comes(true).await;
        scene.sleep(HOUR).await;
        if extension_first {
            assert!(changed.unwrap().expires_at > now(&scene));
            assert_eq!(scene.view("cluster", TARGET).status, "available");
            assert_eq!(scene.new_resources().len(), 2, "with its instance");
            assert_eq!(scene.lock().await["state"]["S"], "released");
        } else {
            let (code, said) = refused(changed);
            assert_eq!(code, "AR0055", "{said}");
            assert_gone(&scene);
        }
        scene.local.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_is_never_longer_than_is_deployed() {
    let mut options = LocalOptions::in_process(seed());
    options.longest_lifetime_hours = Some(48);
    let scene = Scene::with(options).await;
    for (number, own) in [json!({}), json!({"expiresAfterHours": 49})]
        .into_iter()
        .enumerate()
    {
        let run = scene
            .restore_as(&format!("too-long-{number}"), scene.request_with(own))
            .await;
        run.assert_failed_clean("AR0001");
        assert_eq!(run.path(), REFUSED_BY_PLAN);
        assert!(run.failure().1.contains("`longestLifetimeHours`"));
    }
    living(&scene, Some(24)).await;
    let first = stands(&scene).await.at.unwrap();
    for (wanted, said) in [
        (Wanted::Later(25), "as deployed"),
        (Wanted::Later(0), "expected 1 to 8760"),
        (Wanted::At(first + 25 * HOUR), "as deployed"),
        (Wanted::At(first - HOUR), "when it goes anyhow"),
        (Wanted::At(now(&scene)), "a time to come"),
    ] {
        let (code, message) = refused(change(&scene, wanted).await);
        assert!(
            code == "AR0001" && message.contains(said),
            "{wanted:?}: {message}"
        );
    }
    let changed = change(&scene, Wanted::Later(24)).await.unwrap();
    assert_eq!(changed.expires_at, first + 24 * HOUR);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn only_the_target_of_a_restored_restore_is_changed_and_nothing_of_others() {
    let scene = Scene::real().await;
    let (code, said) = refused(change(&scene, Wanted::Now).await);
    assert!(code == "AR0055" && said.contains("not on record"), "{said}");
    let own = json!({"target": {"deletionProtection": false}});
    let running = scene.start("restore-1", scene.request_with(own)).await;
    scene.until_state(&running, "WaitForCluster").await;
    let (code, said) = refused(change(&scene, Wanted::Now).await);
    assert!(code == "AR0055" && said.contains("still at work"), "{said}");
    running.finished().await;
    assert_eq!(running.history().states_entered(), SHORTEST);
    // Somebody else's instance, with the restore's tag on it.
    let tag = aws_sdk_rds::types::Tag::builder()
        .key("aurora-restore:restore-id")
        .value("restore-1")
        .build();
    let foreign = scene.rds().create_db_instance();
    foreign
        .db_instance_identifier("orders-report")
        .db_cluster_identifier(TARGET)
        .db_instance_class("db.r6g.large")
        .engine("aurora-postgresql")
        .tags(tag)
        .send()
        .await
        .unwrap();
    scene.sleep(HOUR).await;
    let changed = change(&scene, Wanted::At(now(&scene) + HOUR))
        .await
        .unwrap();
    assert_eq!(changed.tagged.len(), 2, "{:?}", changed.tagged);
    assert!(
        !changed
            .tagged
            .iter()
            .any(|arn| arn.contains("orders-report"))
    );
    // Another restore has the lock.
    let held = json!({
        "Key": {"pk": scene.lock().await["pk"], "sk": {"S": "LOCK"}},
        "UpdateExpression": "SET #state = :held",
        "ExpressionAttributeNames": {"#state": "state"},
        "ExpressionAttributeValues": {":held": {"S": "held"}},
    });
    scene.dynamodb("UpdateItem", held).await;
    let (code, said) = refused(change(&scene, Wanted::Now).await);
    assert!(code == "AR0055" && said.contains("replaced"), "{said}");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_somebody_protected_is_neither_let_go_nor_warned_of() {
    let scene = Scene::real().await;
    living(&scene, Some(2)).await;
    scene.protect(TARGET).await;
    scene.sleep(HOUR / 4).await;
    let (code, said) = refused(change(&scene, Wanted::Now).await);
    assert!(code == "AR0055" && said.contains("protected"), "{said}");
    scene.sleep(3 * HOUR).await;
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    assert_eq!(warnings(&scene), Vec::<String>::new());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_restore_ended_otherwise_has_no_time_to_change() {
    let mut options = LocalOptions::in_process(seed());
    options.rds.data = Data::Metadata;
    let scene = Scene::with(options).await;
    scene.local.rds.fail_next_restore("incompatible-restore");
    let run = scene.restore(scene.request()).await;
    run.assert_failed_clean("AR0018");
    assert_eq!(run.path(), failing_in("WaitForCluster"));
    let (code, said) = refused(change(&scene, Wanted::Later(1)).await);
    assert!(
        code == "AR0055" && said.contains("ended FailedClean"),
        "{said}"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_lives_longer_than_records_are_kept_is_still_known() {
    let scene = Scene::real().await;
    living(&scene, Some(8_760)).await;
    scene.reaper_comes(false).await;
    scene.sleep(300 * 24 * HOUR).await;
    let later = now(&scene) + 360 * 24 * HOUR;
    change(&scene, Wanted::At(later)).await.unwrap();
    scene.sleep(200 * 24 * HOUR).await;
    scene.local.cloud.dynamodb().expire_items().unwrap();
    change(&scene, Wanted::Later(24)).await.unwrap();
    scene.sleep(300 * 24 * HOUR).await;
    for _ in 0..3 {
        scene.invoke(step("reap"), json!({})).await.unwrap();
        scene.sleep(HOUR).await;
    }
    assert_eq!(scene.new_resources(), Vec::<String>::new());
    // What is gone is on record for 400 days more.
    scene.sleep(390 * 24 * HOUR).await;
    scene.local.cloud.dynamodb().expire_items().unwrap();
    let found = Restore::find(&scene.context(), &id()).await.unwrap();
    assert!(found.is_some());
    scene.sleep(20 * 24 * HOUR).await;
    scene.local.cloud.dynamodb().expire_items().unwrap();
    let found = Restore::find(&scene.context(), &id()).await.unwrap();
    assert!(found.is_none());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_the_service_of_an_earlier_restore_of_this_name_says_nothing_of_this_one() {
    let scene = Scene::real().await;
    living(&scene, Some(2)).await;
    let restore = restore(&scene).await;
    assert!(restore.is_in_service().await.unwrap());
    let mut key = json!({"Key": {"pk": {"S": "RESTORE#restore-1"}, "sk": {"S": "IN_SERVICE"}}});
    let stood = scene.dynamodb("GetItem", key.clone()).await;
    assert_eq!(stood["Item"]["state"]["S"], "in-service");
    key["Item"] = stood["Item"].clone();
    key.as_object_mut().unwrap().remove("Key");
    key["Item"]["executionStartedAt"] = json!({"S": "2026-01-01T00:00:00.000Z"});
    scene.dynamodb("PutItem", key).await;
    assert!(!restore.is_in_service().await.unwrap());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn production_that_was_not_made_to_go_is_nobodys_to_let_go() {
    let scene = Scene::real().await;
    living(&scene, None).await;
    let name = &scene.local.stack.settings().settings_parameter;
    let ssm = aws_sdk_ssm::Client::new(&scene.local.config);
    let found = ssm.get_parameter().name(name).send().await.unwrap();
    let mut settings: Value =
        serde_json::from_str(found.parameter.unwrap().value().unwrap()).unwrap();
    settings["productionTargets"] = json!([TARGET]);
    let put = ssm.put_parameter().name(name).value(settings.to_string());
    put.overwrite(true).send().await.unwrap();
    for wanted in [Wanted::Now, Wanted::At(now(&scene) + HOUR)] {
        let (code, said) = refused(change(&scene, wanted).await);
        assert!(code == "AR0055" && said.contains("production"), "{said}");
    }
    scene.sleep(24 * HOUR).await;
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    scene.local.shutdown().await;
}
