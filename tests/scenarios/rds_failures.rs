//! What RDS does wrong, and what other people do to it, while a restore is under way.
//!
//! Other people act by real calls of the account's root, at the moment a state is
//! entered; only what nobody can ask RDS for is scripted. However a restore ends, the
//! same things are looked at: [`Stage::judge`].

use std::collections::BTreeMap;
use std::time::Duration;

use asl_interpreter::Execution;
use aurora_restore::local::LocalOptions;
use aurora_restore_core::ownership::RESTORE_ID_TAG;
use local_cloud::ApiError;
use local_cloud::rds::{Data, Kind, ResourceView, Trouble};
use pipeline_tests::lender::{LENDER, Lender};
use pipeline_tests::{SNAPSHOT, SOURCE, Scene, TARGET, seed};
use serde_json::{Value, json};

/// A region the pipeline is not in: what is restored from there is copied first.
const ELSEWHERE: &str = "eu-central-1";
/// The writer.
const WRITER: &str = "orders-staging-1";
/// Somebody else's cluster.
const BYSTANDER: &str = "billing";

/// How a restore is to end.
struct End {
    outcome: &'static str,
    code: Option<&'static str>,
    /// From plan to end, in minutes.
    within: f64,
}

fn clean(code: &'static str, within: f64) -> End {
    End {
        outcome: "FailedClean",
        code: Some(code),
        within,
    }
}

fn dirty(code: &'static str, within: f64) -> End {
    End {
        outcome: "FailedDirty",
        code: Some(code),
        within,
    }
}

fn restored(within: f64) -> End {
    End {
        outcome: "Restored",
        code: None,
        within,
    }
}

/// A scene with a bystander in it, and what belongs to others as it was.
struct Stage {
    scene: Scene,
    request: Value,
    strangers: BTreeMap<String, String>,
}

impl Stage {
    /// A restore of the source's snapshot where it is. It ends without data, at the latest when a login is tried.
    async fn here() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with data, so that it can succeed.
    async fn real() -> Self {
        let stage = Self::with(|options| options.rds.data = Data::Real).await;
        stage.over(json!({"waits": {"changeDeadlineMinutes": 60}}))
    }

    async fn with(change: impl FnOnce(&mut LocalOptions)) -> Self {
        let mut options = LocalOptions::in_process(seed());
        options.rds.data = Data::Metadata;
        change(&mut options);
        let scene = Scene::with(options).await;
        let made = scene.rds().create_db_cluster();
        let made = made.db_cluster_identifier(BYSTANDER);
        let made = made.engine("aurora-postgresql").master_username("billing");
        made.master_user_password("billing-password")
            .send()
            .await
            .unwrap();
        scene.sleep(Duration::from_secs(600)).await;
        // Undo asks again once a minute, so its deadline is what a test takes its time for.
        let waits = json!({"waits": {"changeDeadlineMinutes": 20}});
        let request = scene.request_with(waits);
        Self {
            scene,
            request,
            strangers: BTreeMap::new(),
        }
        .begin()
    }

    /// A restore of a snapshot in another region, which is copied first.
    async fn from_elsewhere() -> Self {
        Self::from_elsewhere_with(|_| {}).await
    }

    async fn from_elsewhere_with(change: impl FnOnce(&mut LocalOptions)) -> Self {
        let stage = Self::with(change).await;
        let remote = stage.scene.copy_to_region(ELSEWHERE).await;
        stage.over(json!({"source": {"region": ELSEWHERE, "snapshot": remote}}))
    }

    /// With this laid over the request. What exists now is what existed before.
    fn over(mut self, over: Value) -> Self {
        let own = std::mem::take(&mut self.request);
        let mut request = self.scene.request_with(own);
        for (part, fields) in over.as_object().unwrap() {
            for (field, value) in fields.as_object().unwrap() {
                request[part][field] = value.clone();
            }
        }
        self.request = request;
        self.begin()
    }

    fn begin(mut self) -> Self {
        self.scene.begin();
        self.strangers = looks(&self.scene);
        self
    }

    /// A key of this region for the target: its ARN.
    async fn with_key(self) -> (Self, String) {
        let key = self.scene.key_in(&self.scene.local.stack.region).await;
        let stage = self.over(json!({"target": {"kmsKeyId": key}}));
        (stage, key)
    }

    /// An encrypted source in another region, and a key of this one for copy and target.
    async fn of_an_encrypted_source_elsewhere() -> (Self, String) {
        let stage = Self::here().await;
        let scene = &stage.scene;
        let here = scene.key_in(&scene.local.stack.region).await;
        let there = scene.key_in(ELSEWHERE).await;
        let (cluster, snapshot) = scene.keyed(&here).await;
        let source = scene.view("cluster-snapshot", snapshot).arn;
        let copied = scene.rds_in(ELSEWHERE).copy_db_cluster_snapshot();
        let copied = copied.source_db_cluster_snapshot_identifier(source);
        let copied = copied.target_db_cluster_snapshot_identifier("vault-far");
        copied.kms_key_id(there).send().await.unwrap();
        scene.until_available("cluster-snapshot", "vault-far").await;
        let own = scene.key_in(&scene.local.stack.region).await;
        let stage = stage.over(json!({
            "source": {"clusterIdentifier": cluster, "region": ELSEWHERE, "snapshot": "vault-far"},
            "target": {"kmsKeyId": own},
        }));
        (stage, own)
    }

    /// Lets time pass until something in RDS looks like this.
    async fn until(&self, looks: impl Fn(&ResourceView) -> bool) {
        for _ in 0..100_000 {
            if self.scene.local.rds.resources(None).iter().any(&looks) {
                return;
            }
            self.scene.sleep(Duration::from_secs(1)).await;
        }
        panic!("it never came to that");
    }

    /// Lets time pass until nothing in RDS has this ARN.
    async fn until_gone(&self, arn: &str) {
        for _ in 0..100_000 {
            let all = self.scene.local.rds.resources(None);
            if all.iter().all(|view| view.arn != arn) {
                return;
            }
            self.scene.sleep(Duration::from_secs(1)).await;
        }
        panic!("{arn} never went");
    }

    fn script(&self, kind: Kind, pattern: &str, trouble: Trouble) {
        self.scene.local.rds.script(kind, pattern, trouble);
    }

    /// RDS refuses the next calls of a kind, so that its state is retried for a while.
    fn refuse(&self, kind: Kind, times: usize, status: u16, code: &str, message: &str) {
        for _ in 0..times {
            let error = ApiError::new(status, code, message);
            self.script(kind, "*", Trouble::Refused(error));
        }
    }

    /// The state that makes this kind is tried for some minutes before it may succeed.
    fn hold_up(&self, kind: Kind) {
        match kind {
            Kind::SnapshotCopy => {
                let message = "Cannot copy more than 5 snapshots across regions";
                self.refuse(kind, 8, 400, "SnapshotQuotaExceeded", message);
            }
            Kind::Instance => self.refuse(kind, 8, 400, "InsufficientDBInstanceCapacity", "full"),
            _ => self.refuse(kind, 8, 403, "InsufficientDBClusterCapacityFault", "full"),
        }
    }

    /// Starts the restore and lets time pass until it enters this state.
    async fn start_until(&self, state: &str) -> Execution {
        let execution = self.scene.start("restore-1", self.request.clone()).await;
        self.go_on_until(&execution, state).await;
        execution
    }

    async fn go_on_until(&self, execution: &Execution, state: &str) {
        for _ in 0..1_000_000 {
            let entered = execution.history().states_entered();
            if entered.last().is_some_and(|last| last == state) {
                return;
            }
            assert!(execution.outcome().is_none(), "it ended after {entered:?}");
            self.scene.sleep(Duration::from_millis(200)).await;
        }
        panic!("it never came to {state}");
    }

    async fn run(self, end: End) {
        let execution = self.scene.start("restore-1", self.request.clone()).await;
        self.ends(execution, end, &[]).await;
    }

    /// Waits for the end and judges it; the bystander has touched what has these words in its ARN.
    async fn ends(self, execution: Execution, end: End, touched: &[&str]) {
        self.judge(execution, end, touched).await;
        self.scene.local.shutdown().await;
    }

    /// The outcome is the expected one, told and recorded; the lock is free; what is others' is as it was; what is
    /// left is named; and the command beside it removes it.
    async fn judge(&self, execution: Execution, end: End, touched: &[&str]) {
        execution.finished().await;
        let scene = &self.scene;
        let run = scene.run("restore-1", execution).await;
        let (report, path) = (&run.report, run.path());
        let story = format!("{path:?}: {:?}", report.cause);
        assert_eq!(report.outcome, end.outcome, "{story}");
        assert_eq!(path.last().map(String::as_str), Some(end.outcome));
        assert_eq!(report.error.as_deref(), end.code, "{story}");
        if let Some(code) = end.code {
            let (error, cause) = run.failure();
            assert_eq!(error, code, "{story}");
            assert!(cause.starts_with(code), "{cause}");
        }
        let minutes = report.seconds.total / 60.0;
        assert!(minutes <= end.within, "{minutes:.1} minutes: {story}");
        run.assert_told(end.outcome);
        let lock = scene.lock().await;
        assert_eq!(lock["state"]["S"], "released", "{story}");
        self.strangers_are_as_they_were(touched);

        let is_touched = |arn: &String| touched.iter().any(|word| arn.contains(word));
        let mut there = scene.new_resources();
        there.retain(|arn| !is_touched(arn));
        let mut named: Vec<String> = report
            .leftovers
            .iter()
            .map(|left| left.arn.clone())
            .chain(report.kept.clone())
            .collect();
        named.sort_unstable();
        match end.outcome {
            "Restored" => assert!(!there.is_empty() && named.is_empty(), "{named:?}"),
            _ => assert_eq!(there, named, "{story}"),
        }
        for left in &report.leftovers {
            self.give(&left.remove_with).await;
        }
        for left in &report.leftovers {
            self.until_gone(&left.arn).await;
        }
        self.strangers_are_as_they_were(touched);
    }

    fn strangers_are_as_they_were(&self, touched: &[&str]) {
        let now = looks(&self.scene);
        for (arn, look) in &self.strangers {
            if !touched.iter().any(|word| arn.contains(word)) {
                assert_eq!(now.get(arn), Some(look), "{arn}");
            }
        }
    }

    /// Gives a command of the AWS CLI as a person would; `&&` waits for what goes before.
    async fn give(&self, command: &str) {
        for part in command.split(" && ") {
            let words: Vec<&str> = part.split(' ').collect();
            let option = |name: &str| {
                let position = words.iter().position(|word| *word == name)?;
                words.get(position + 1).map(|value| (*value).to_owned())
            };
            let rds = self.scene.rds_in(&option("--region").unwrap());
            let cluster = option("--db-cluster-identifier");
            let instance = option("--db-instance-identifier");
            let snapshot = option("--db-cluster-snapshot-identifier");
            let has = |flag: &str| words.contains(&flag);
            match words[1..3] {
                ["rds", "delete-db-instance"] => {
                    let call = rds
                        .delete_db_instance()
                        .set_db_instance_identifier(instance);
                    call.skip_final_snapshot(has("--skip-final-snapshot"))
                        .send()
                        .await
                        .unwrap();
                }
                ["rds", "delete-db-cluster"] => {
                    let call = rds.delete_db_cluster().set_db_cluster_identifier(cluster);
                    call.skip_final_snapshot(has("--skip-final-snapshot"))
                        .send()
                        .await
                        .unwrap();
                }
                ["rds", "delete-db-cluster-snapshot"] => {
                    let call = rds.delete_db_cluster_snapshot();
                    call.set_db_cluster_snapshot_identifier(snapshot)
                        .send()
                        .await
                        .unwrap();
                }
                ["rds", "modify-db-cluster"] => {
                    let call = rds.modify_db_cluster().set_db_cluster_identifier(cluster);
                    call.deletion_protection(!has("--no-deletion-protection"))
                        .apply_immediately(has("--apply-immediately"))
                        .send()
                        .await
                        .unwrap();
                }
                ["rds", "wait"] => {
                    let name = cluster.or(instance).or(snapshot).unwrap();
                    if words[3].ends_with("-deleted") {
                        let all = self.scene.local.rds.resources(None);
                        let found = all.into_iter().find(|view| view.id == name);
                        if let Some(view) = found {
                            self.until_gone(&view.arn).await;
                        }
                    } else {
                        self.until(|view| is(view, &name, "available")).await;
                    }
                }
                _ => panic!("no command: {part}"),
            }
        }
    }

    /// The name of the snapshot copy of the restore under way.
    fn copy(&self) -> String {
        let all = self.scene.local.rds.resources(None).into_iter();
        let mut copies = all.filter(|view| view.id.starts_with("aurora-restore-"));
        copies.next().unwrap().id
    }

    async fn delete_snapshot(&self, region: &str, name: &str) {
        let rds = self.scene.rds_in(region);
        rds.delete_db_cluster_snapshot()
            .db_cluster_snapshot_identifier(name)
            .send()
            .await
            .unwrap();
    }

    async fn delete_cluster(&self, name: &str) {
        let call = self.scene.rds().delete_db_cluster();
        let call = call.db_cluster_identifier(name).skip_final_snapshot(true);
        call.send().await.unwrap();
    }

    async fn delete_instance(&self, name: &str) {
        let call = self.scene.rds().delete_db_instance();
        call.db_instance_identifier(name).send().await.unwrap();
    }

    async fn protect(&self, name: &str, protected: bool) {
        let call = self.scene.rds().modify_db_cluster();
        let call = call.db_cluster_identifier(name);
        call.deletion_protection(protected).send().await.unwrap();
    }

    async fn rename_target(&self, new_name: &str) {
        let call = self.scene.rds().modify_db_cluster();
        let call = call
            .db_cluster_identifier(TARGET)
            .new_db_cluster_identifier(new_name);
        call.apply_immediately(true).send().await.unwrap();
    }

    async fn untag(&self, kind: &str, name: &str) {
        let arn = self.scene.view(kind, name).arn;
        let call = self.scene.rds().remove_tags_from_resource();
        let call = call.resource_name(arn).tag_keys(RESTORE_ID_TAG);
        call.send().await.unwrap();
    }

    async fn kms(&self, operation: &str, body: Value) {
        let caller = self.scene.caller(&self.scene.local.stack.region);
        let target = format!("TrentService.{operation}");
        let world = self.scene.local.cloud.world();
        world.call(&caller, "kms", &target, &body).await.unwrap();
    }

    async fn disable(&self, key: &str) {
        self.kms("DisableKey", json!({ "KeyId": key })).await;
    }

    /// Deletes the source cluster, as its owner may at any time.
    async fn delete_source(&self) {
        self.protect(SOURCE, false).await;
        self.delete_instance(&format!("{SOURCE}-1")).await;
        self.delete_cluster(SOURCE).await;
    }

    fn calls(&self, action: &str, resource: &str) -> usize {
        let audit = self.scene.local.rds.audit().into_iter();
        audit
            .filter(|call| {
                call.action == action && call.resource == resource && call.error.is_none()
            })
            .count()
    }
}

fn is(view: &ResourceView, id: &str, status: &str) -> bool {
    view.id == id && view.status == status
}

/// Everything in RDS, by ARN, with all that a restore could change of it.
fn looks(scene: &Scene) -> BTreeMap<String, String> {
    let all = scene.local.rds.resources(None).into_iter();
    all.map(|view| {
        let look = format!(
            "{} {} {:?} {:?}",
            view.resource_id, view.status, view.tags, view.security_groups
        );
        (view.arn, look)
    })
    .collect()
}

fn ends_in(status: &str) -> Trouble {
    Trouble::EndsIn(status.to_owned())
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn leaves(status: &str, after: Duration, lasts: Option<Duration>) -> Trouble {
    Trouble::Leaves {
        status: status.to_owned(),
        after,
        lasts,
    }
}

fn stays_in(status: &str, lasts: Option<Duration>) -> Trouble {
    Trouble::StaysIn {
        status: status.to_owned(),
        lasts,
    }
}

mod copies {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_ends_badly_is_removed() {
        for trouble in [
            Trouble::FailsAt(40),
            ends_in("failed"),
            ends_in("incompatible-restore"),
        ] {
            let stage = Stage::from_elsewhere().await;
            stage.script(Kind::SnapshotCopy, "aurora-restore-*", trouble);
            stage.run(clean("AR0017", 25.0)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_never_ends_meets_its_deadline_and_is_cancelled() {
        let stage = Stage::from_elsewhere().await;
        stage.script(Kind::SnapshotCopy, "aurora-restore-*", Trouble::NeverReady);
        let stage = stage.over(json!({"waits": {"copyDeadlineMinutes": 60}}));
        stage.run(clean("AR0020", 80.0)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_somebody_deletes_is_not_waited_for() {
        let stage = Stage::from_elsewhere().await;
        let execution = stage.start_until("WaitForCopy").await;
        stage
            .delete_snapshot(&stage.scene.local.stack.region, &stage.copy())
            .await;
        stage.ends(execution, clean("AR0037", 20.0), &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_is_deleted_before_it_is_restored_is_named() {
        let stage = Stage::from_elsewhere().await;
        stage.hold_up(Kind::RestoredCluster);
        let execution = stage.start_until("RestoreCluster").await;
        stage
            .delete_snapshot(&stage.scene.local.stack.region, &stage.copy())
            .await;
        stage.ends(execution, clean("AR0037", 90.0), &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_whose_tag_somebody_takes_is_left_alone_and_named() {
        let stage = Stage::from_elsewhere().await;
        let execution = stage.start_until("WaitForCopy").await;
        stage.untag("cluster-snapshot", &stage.copy()).await;
        stage.ends(execution, dirty("AR0012", 40.0), &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_snapshot_that_is_deleted_while_it_is_copied_fails_the_copy() {
        let stage = Stage::from_elsewhere().await;
        let execution = stage.start_until("WaitForCopy").await;
        stage.delete_snapshot(ELSEWHERE, SNAPSHOT).await;
        let touched = [&format!("{ELSEWHERE}:")[..]];
        stage.ends(execution, clean("AR0017", 20.0), &touched).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_snapshot_that_is_deleted_between_plan_and_copy_is_not_found() {
        let stage = Stage::from_elsewhere().await;
        stage.hold_up(Kind::SnapshotCopy);
        let execution = stage.start_until("CopySnapshot").await;
        stage.delete_snapshot(ELSEWHERE, SNAPSHOT).await;
        let touched = [&format!("{ELSEWHERE}:")[..]];
        stage.ends(execution, clean("AR0007", 60.0), &touched).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_cluster_that_is_deleted_while_its_snapshot_is_copied_is_not_missed() {
        let stage = Stage::from_elsewhere().await;
        let execution = stage.start_until("WaitForCopy").await;
        stage.delete_source().await;
        stage.go_on_until(&execution, "LockLoginRoles").await;
        // Without data there is nobody to log in to.
        let touched = [&format!(":{SOURCE}")[..]];
        stage
            .ends(execution, clean("AR0032", 120.0), &touched)
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_lost_while_copying_fails_the_copy() {
        for operation in ["DisableKey", "ScheduleKeyDeletion"] {
            let (stage, key) = Stage::of_an_encrypted_source_elsewhere().await;
            let execution = stage.start_until("WaitForCopy").await;
            stage.kms(operation, json!({ "KeyId": key })).await;
            stage.ends(execution, clean("AR0017", 20.0), &[]).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_lost_between_plan_and_copy_is_named() {
        let (stage, key) = Stage::of_an_encrypted_source_elsewhere().await;
        stage.hold_up(Kind::SnapshotCopy);
        let execution = stage.start_until("CopySnapshot").await;
        stage.disable(&key).await;
        stage.ends(execution, clean("AR0010", 60.0), &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_quota_of_snapshots_that_others_use_up_is_named() {
        let stage = Stage::from_elsewhere_with(|options| {
            options.rds.quotas.manual_snapshots = 3;
        })
        .await;
        stage.hold_up(Kind::SnapshotCopy);
        let execution = stage.start_until("CopySnapshot").await;
        for name in ["others-1", "others-2"] {
            let call = stage.scene.rds().create_db_cluster_snapshot();
            let call = call.db_cluster_identifier(BYSTANDER);
            let call = call.db_cluster_snapshot_identifier(name);
            call.send().await.unwrap();
        }
        stage
            .ends(execution, clean("AR0011", 60.0), &["others-"])
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_that_is_no_longer_shared_is_not_found() {
        let (stage, lender) = lent().await;
        stage.hold_up(Kind::SnapshotCopy);
        let execution = stage.start_until("CopySnapshot").await;
        let borrower = &stage.scene.local.stack.account;
        lender.share(None, Some(borrower)).await;
        stage.ends(execution, clean("AR0007", 60.0), &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_foreign_key_that_is_withdrawn_while_copying_fails_the_copy() {
        let (stage, lender) = lent().await;
        let execution = stage.start_until("WaitForCopy").await;
        lender.let_use_key(&stage.scene, &[]).await;
        stage.ends(execution, clean("AR0017", 20.0), &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_foreign_key_that_is_withdrawn_between_plan_and_copy_is_named() {
        let (stage, lender) = lent().await;
        stage.hold_up(Kind::SnapshotCopy);
        let execution = stage.start_until("CopySnapshot").await;
        lender.let_use_key(&stage.scene, &[]).await;
        stage.ends(execution, clean("AR0010", 60.0), &[]).await;
    }

    /// A restore of a snapshot that another account lends, under its own key.
    async fn lent() -> (Stage, Lender) {
        let stage = Stage::with(|options| {
            options.flows[0].source_account = Some(LENDER.to_owned());
        })
        .await;
        let region = &stage.scene.local.stack.region;
        let own = stage.scene.key_in(region).await;
        let lender = Lender::of(&stage.scene, region).await;
        let over = json!({"source": lender.source(), "target": {"kmsKeyId": own}});
        (stage.over(over), lender)
    }
}

mod clusters {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_ends_badly_is_removed() {
        for status in [
            "incompatible-restore",
            "incompatible-parameters",
            "incompatible-network",
            "inaccessible-encryption-credentials",
            "migration-failed",
            "storage-full",
            "failed",
        ] {
            let stage = Stage::here().await;
            stage.script(Kind::RestoredCluster, TARGET, ends_in(status));
            stage.run(clean("AR0018", 40.0)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn capacity_that_never_comes_back_is_given_up() {
        for (kind, code) in [
            (Kind::RestoredCluster, "InsufficientDBClusterCapacityFault"),
            (Kind::RestoredCluster, "InsufficientStorageClusterCapacity"),
            (Kind::Instance, "InsufficientDBInstanceCapacity"),
        ] {
            let stage = Stage::here().await;
            stage.refuse(kind, 100, 400, code, "no capacity");
            stage.run(clean("AR0030", 180.0)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_outlasts_every_deadline_is_named_with_what_removes_it_later() {
        let stage = Stage::here().await;
        stage.script(Kind::RestoredCluster, TARGET, Trouble::Slow(60.0));
        let waits = json!({"waits": {"clusterDeadlineMinutes": 30, "changeDeadlineMinutes": 30}});
        stage.over(waits).run(dirty("AR0020", 75.0)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_never_comes_is_removed_where_rds_lets_go_of_it() {
        let stage = Stage::with(|options| options.rds.refuse_delete_while_creating = false).await;
        stage.script(Kind::RestoredCluster, TARGET, Trouble::NeverReady);
        let waits = json!({"waits": {"clusterDeadlineMinutes": 30}});
        stage.over(waits).run(clean("AR0020", 50.0)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_lost_while_restoring_is_told_by_the_cluster() {
        for operation in ["DisableKey", "ScheduleKeyDeletion"] {
            let (stage, key) = Stage::here().await.with_key().await;
            let execution = stage.start_until("WaitForCluster").await;
            stage.kms(operation, json!({ "KeyId": key })).await;
            stage.ends(execution, clean("AR0018", 40.0), &[]).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_lost_between_plan_and_restore_is_named() {
        let (stage, key) = Stage::here().await.with_key().await;
        stage.hold_up(Kind::RestoredCluster);
        let execution = stage.start_until("RestoreCluster").await;
        stage.disable(&key).await;
        stage.ends(execution, clean("AR0010", 90.0), &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_lost_when_all_is_available_is_told_by_the_cluster() {
        for state in ["WaitForInstances", "WaitForCredentials"] {
            let (stage, key) = Stage::here().await.with_key().await;
            stage.script(
                Kind::Cluster,
                TARGET,
                stays_in("resetting-master-credentials", None),
            );
            let execution = stage.start_until(state).await;
            stage.disable(&key).await;
            stage.ends(execution, clean("AR0018", 90.0), &[]).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_somebody_deletes_is_not_filled() {
        let stage = Stage::here().await;
        stage.hold_up(Kind::Instance);
        let execution = stage.start_until("AddInstances").await;
        stage.delete_cluster(TARGET).await;
        stage.ends(execution, clean("AR0037", 60.0), &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_somebody_deletes_with_its_instances_is_not_waited_for() {
        let stage = Stage::here().await;
        let execution = stage.start_until("WaitForCredentials").await;
        stage.delete_instance(WRITER).await;
        stage.delete_cluster(TARGET).await;
        stage.ends(execution, clean("AR0037", 60.0), &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_is_gone_between_two_looks_is_not_waited_for() {
        let stage = Stage::with(|options| options.rds.event_loss = 1.0).await;
        let stage = stage.over(json!({"waits": {"heartbeatSeconds": 3600}}));
        let execution = stage.start_until("WaitForCluster").await;
        stage.until(|view| is(view, TARGET, "available")).await;
        let arn = stage.scene.view("cluster", TARGET).arn;
        stage.delete_cluster(TARGET).await;
        stage.until_gone(&arn).await;
        stage.ends(execution, clean("AR0037", 130.0), &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_took_the_targets_place_is_left_alone() {
        let stage = Stage::with(|options| options.rds.event_loss = 1.0).await;
        let mut stage = stage.over(json!({"waits": {"heartbeatSeconds": 3600}}));
        let execution = stage.start_until("WaitForCluster").await;
        stage.until(|view| is(view, TARGET, "available")).await;
        let arn = stage.scene.view("cluster", TARGET).arn;
        stage.delete_cluster(TARGET).await;
        stage.until_gone(&arn).await;
        let made = stage.scene.rds().create_db_cluster();
        let made = made.db_cluster_identifier(TARGET);
        let made = made.engine("aurora-postgresql").master_username("somebody");
        made.master_user_password("somebody-password")
            .send()
            .await
            .unwrap();
        stage.until(|view| is(view, TARGET, "available")).await;
        stage.scene.begin();
        stage.strangers = looks(&stage.scene);
        stage.judge(execution, clean("AR0012", 130.0), &[]).await;
        assert!(
            stage
                .scene
                .cluster(TARGET)
                .await
                .db_cluster_members()
                .is_empty()
        );
        stage.scene.local.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_somebody_renames_is_named_by_its_new_name() {
        let stage = Stage::here().await;
        stage.hold_up(Kind::Instance);
        let execution = stage.start_until("AddInstances").await;
        stage.rename_target("orders-mine-now").await;
        stage.ends(execution, dirty("AR0037", 180.0), &[]).await;

        let stage = Stage::here().await;
        let execution = stage.start_until("WaitForCredentials").await;
        stage.rename_target("orders-mine-now").await;
        stage.ends(execution, dirty("AR0037", 180.0), &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_whose_tag_somebody_takes_is_left_alone_and_named() {
        for (state, within) in [
            ("WaitForCluster", 40.0),
            ("WaitForInstances", 60.0),
            ("WaitForCredentials", 60.0),
        ] {
            let stage = Stage::here().await;
            let execution = stage.start_until(state).await;
            stage.untag("cluster", TARGET).await;
            stage.judge(execution, dirty("AR0012", within), &[]).await;
            let deletions = stage.calls("DeleteDBCluster", TARGET);
            assert_eq!(deletions, 1, "the person's own, with the command");
            stage.scene.local.shutdown().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_somebody_renames_and_takes_the_tag_from_is_left_alone_and_named() {
        let stage = Stage::here().await;
        let execution = stage.start_until("WaitForInstances").await;
        stage.untag("cluster", TARGET).await;
        stage.rename_target("orders-mine-now").await;
        stage.judge(execution, dirty("AR0037", 180.0), &[]).await;
        let deletions = stage.calls("DeleteDBCluster", "orders-mine-now");
        assert_eq!(deletions, 1, "the person's own, with the command");
        stage.scene.local.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_somebody_protects_is_named_with_what_takes_the_protection_back() {
        let stage = Stage::here().await;
        stage.script(Kind::Instance, WRITER, ends_in("failed"));
        let execution = stage.start_until("WaitForInstances").await;
        stage.protect(TARGET, true).await;
        stage.ends(execution, dirty("AR0019", 60.0), &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_quota_of_clusters_that_others_use_up_is_named() {
        let stage = Stage::with(|options| options.rds.quotas.clusters = 3).await;
        stage.hold_up(Kind::RestoredCluster);
        let execution = stage.start_until("RestoreCluster").await;
        let made = stage.scene.rds().create_db_cluster();
        let made = made.db_cluster_identifier("others");
        let made = made.engine("aurora-postgresql").master_username("somebody");
        made.master_user_password("somebody-password")
            .send()
            .await
            .unwrap();
        stage
            .ends(execution, clean("AR0011", 90.0), &[":others"])
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_snapshot_that_is_deleted_between_plan_and_restore_is_not_found() {
        let stage = Stage::here().await;
        stage.hold_up(Kind::RestoredCluster);
        let execution = stage.start_until("RestoreCluster").await;
        let region = stage.scene.local.stack.region.clone();
        stage.delete_snapshot(&region, SNAPSHOT).await;
        stage
            .ends(execution, clean("AR0007", 90.0), &[SNAPSHOT])
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_password_reset_that_never_ends_meets_its_deadline() {
        let stage = Stage::here().await;
        let resetting = stays_in("resetting-master-credentials", Some(minutes(300)));
        stage.script(Kind::Cluster, TARGET, resetting);
        stage.run(dirty("AR0020", 150.0)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_deletion_that_outlasts_undo_is_named_with_what_waits_for_it() {
        for (kind, name) in [(Kind::Cluster, TARGET), (Kind::Instance, WRITER)] {
            let stage = Stage::here().await;
            stage.script(Kind::Instance, WRITER, ends_in("failed"));
            stage.script(kind, name, stays_in("deleting", Some(minutes(300))));
            stage.run(dirty("AR0019", 100.0)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upgrade_that_begins_before_undo_is_waited_for() {
        let stage = Stage::here().await;
        stage.script(Kind::Instance, WRITER, ends_in("failed"));
        let upgrade = leaves("upgrading", minutes(6), Some(minutes(20)));
        stage.script(Kind::RestoredCluster, TARGET, upgrade);
        let stage = stage.over(json!({"waits": {"changeDeadlineMinutes": 60}}));
        stage.run(clean("AR0019", 80.0)).await;
    }
}

mod instances {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_ends_badly_is_removed_with_its_cluster() {
        for status in [
            "insufficient-capacity",
            "storage-full",
            "failed",
            "restore-error",
            "incompatible-parameters",
            "incompatible-network",
        ] {
            let stage = Stage::here().await;
            stage.script(Kind::Instance, WRITER, ends_in(status));
            stage.run(clean("AR0019", 60.0)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_outlasts_every_deadline_is_named_with_what_removes_it_later() {
        let stage = Stage::here().await;
        stage.script(Kind::Instance, WRITER, Trouble::Slow(60.0));
        let waits = json!({"waits": {"instancesDeadlineMinutes": 30, "changeDeadlineMinutes": 30}});
        stage.over(waits).run(dirty("AR0020", 100.0)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_fills_up_is_told_in_the_next_wait() {
        let stage = Stage::here().await;
        stage.script(
            Kind::Cluster,
            TARGET,
            stays_in("resetting-master-credentials", Some(minutes(20))),
        );
        stage.script(
            Kind::Instance,
            WRITER,
            leaves("storage-full", minutes(1), None),
        );
        stage.run(clean("AR0019", 90.0)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_somebody_deletes_is_neither_waited_for_nor_made_again() {
        let stage = Stage::here().await;
        let execution = stage.start_until("WaitForCredentials").await;
        stage.delete_instance(WRITER).await;
        stage.ends(execution, clean("AR0037", 60.0), &[]).await;

        // The writer goes while the readers are asked for.
        let stage = Stage::here().await.over(json!({"target": {"readers": 2}}));
        stage.script(Kind::Instance, "*-2", Trouble::Slow(2.0));
        let execution = stage.start_until("WaitForInstances").await;
        stage
            .until(|view| is(view, "orders-staging-2", "creating"))
            .await;
        stage.delete_instance(WRITER).await;
        stage.judge(execution, clean("AR0037", 120.0), &[]).await;
        assert_eq!(stage.calls("CreateDBInstance", WRITER), 1);
        stage.scene.local.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_somebody_renames_is_named_by_its_new_name() {
        let stage = Stage::here().await;
        let execution = stage.start_until("WaitForCredentials").await;
        let call = stage.scene.rds().modify_db_instance();
        let call = call.db_instance_identifier(WRITER);
        let call = call.new_db_instance_identifier("orders-mine-now-1");
        call.apply_immediately(true).send().await.unwrap();
        stage.ends(execution, dirty("AR0037", 150.0), &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_whose_tag_somebody_takes_is_left_alone_and_named_before_its_cluster() {
        let stage = Stage::here().await;
        let execution = stage.start_until("WaitForInstances").await;
        stage.untag("db", WRITER).await;
        stage.ends(execution, dirty("AR0012", 150.0), &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_quota_of_instances_that_others_use_up_is_named() {
        let stage = Stage::with(|options| options.rds.quotas.instances = 2).await;
        let execution = stage.start_until("WaitForCluster").await;
        let made = stage.scene.rds().create_db_instance();
        let made = made.db_instance_identifier("billing-1");
        let made = made.db_cluster_identifier(BYSTANDER);
        let made = made.db_instance_class("db.r6g.large");
        made.engine("aurora-postgresql").send().await.unwrap();
        stage
            .ends(execution, clean("AR0011", 60.0), &["billing-1"])
            .await;
    }
}

mod to_the_end {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn backups_maintenance_and_configuration_are_waited_for_wherever_they_come() {
        let stage = Stage::real().await;
        let lasts = Some(minutes(15));
        for trouble in [
            leaves("backing-up", Duration::ZERO, lasts),
            leaves("upgrading", minutes(22), lasts),
            leaves("configuring-iam-database-auth", minutes(40), lasts),
            leaves("maintenance", minutes(60), lasts),
            leaves("storage-optimization", minutes(80), lasts),
        ] {
            stage.script(Kind::RestoredCluster, TARGET, trouble);
        }
        for trouble in [
            leaves("configuring-log-exports", Duration::from_secs(5), lasts),
            leaves("backing-up", minutes(20), lasts),
        ] {
            stage.script(Kind::Instance, WRITER, trouble);
        }
        stage.run(restored(240.0)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_is_deleted_with_its_snapshot_while_it_is_restored_is_not_missed() {
        let stage = Stage::real().await;
        let execution = stage.start_until("WaitForCluster").await;
        let region = stage.scene.local.stack.region.clone();
        stage.delete_snapshot(&region, SNAPSHOT).await;
        stage.delete_source().await;
        let touched = [&format!(":{SOURCE}")[..]];
        stage.ends(execution, restored(90.0), &touched).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_somebody_protects_on_the_way_to_success_is_restored() {
        let stage = Stage::real().await;
        let execution = stage.start_until("WaitForInstances").await;
        stage.protect(TARGET, true).await;
        stage.ends(execution, restored(90.0), &[]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_is_deleted_when_the_target_is_in_service_leaves_the_target_named_as_kept()
     {
        let stage = Stage::real().await;
        let execution = stage.start_until("WaitForSwitch").await;
        stage.delete_instance(WRITER).await;
        stage.ends(execution, dirty("AR0037", 120.0), &[]).await;
    }
}
