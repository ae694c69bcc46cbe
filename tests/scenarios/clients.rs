//! What clients notice of a switch: one that is connected throughout, pointers that move, and the way back by hand.

use std::time::Duration;

use aurora_restore::local::{FINAL_GROUP, LocalOptions};
use aurora_restore_core::StepError;
use aurora_restore_core::expiry::{self, Wanted};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::rds::{find_cluster, find_cluster_by_id};
use aurora_restore_core::secrets::Credentials;
use aurora_restore_core::sql::{Endpoint, postgresql};
use aws_sdk_route53::types::ChangeAction;
use local_cloud::route53::zone_id;
use pipeline_tests::paths::{REFUSED_BY_PLAN, SHORTEST, failing_in};
use pipeline_tests::pointers::{self, CONNECTION, PARAMETER, Pointing, RECORD};
use pipeline_tests::{DATABASE, Scene, Serving, TARGET, resource_id, step};
use serde_json::json;

/// The cluster that pointers point to.
const LIVE: &str = "live-staging";

fn id() -> RestoreId {
    RestoreId::parse("restore-1").unwrap()
}

/// Whether a client gets in by the name, and can write: the network lets through who is in the final group alone.
async fn can_write(scene: &Scene, endpoint: &Endpoint, who: &[Credentials]) -> bool {
    let rds = scene.rds();
    let Ok(Some(bearer)) = find_cluster(&rds, TARGET).await else {
        return false;
    };
    let mut groups = bearer.vpc_security_groups().iter();
    let open = groups.any(|group| {
        group.vpc_security_group_id() == Some(FINAL_GROUP) && group.status() == Some("active")
    });
    if !open {
        return false;
    }
    for credentials in who {
        let written = postgresql::session(endpoint, credentials, DATABASE, |client| {
            client.batch_execute("CREATE TABLE IF NOT EXISTS heartbeat (at timestamptz); INSERT INTO heartbeat VALUES (now())")
        });
        if written.await.is_ok() {
            return true;
        }
    }
    false
}

#[tokio::test(start_paused = true)]
async fn a_client_that_holds_on_to_the_name_cannot_connect_for_some_minutes_at_most() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    let mut request = scene.request_to_rename();
    request["credentials"] = json!({"master": "secret"});
    let execution = scene.start("restore-1", request).await;
    scene.until_state(&execution, "Switch").await;

    let (mut who, secret) = (vec![serving.master.clone()], id().master_secret());
    who.push(scene.secret(&secret).await);
    let world = scene.local.cloud.world();
    let (mut outages, mut since, mut tries) = (Vec::new(), None, 0);
    loop {
        // Asked first: the client tries once more when all is over.
        let over = execution.outcome().is_some();
        tries += 1;
        match (can_write(&scene, &serving.endpoint, &who).await, since) {
            (true, Some(began)) => {
                outages.push(world.now() - began);
                since = None;
            }
            (false, None) => since = Some(world.now()),
            _ => {}
        }
        if over {
            break;
        }
        scene.sleep(Duration::from_secs(1)).await;
    }
    let run = scene.run("restore-1", execution).await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    assert_eq!(since, None, "it is connected in the end");
    let total: time::Duration = outages.iter().copied().sum();
    println!(
        "tried {tries} times; could not connect {} times, {total} in all",
        outages.len()
    );
    assert_eq!(outages.len(), 1, "{outages:?}");
    assert!(total < time::Duration::minutes(10), "{total}");
    scene.local.shutdown().await;
}

/// Follows docs/runbooks/switching-back.md.
#[tokio::test(start_paused = true)]
async fn the_runbook_brings_the_retired_cluster_back() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    scene.restore(scene.request_to_rename()).await;
    scene.sleep(Duration::from_secs(1800)).await;
    let (rds, retired) = (scene.rds(), id().retired_cluster(TARGET));
    let old = scene.cluster(&retired).await;
    assert_eq!(old.status(), Some("stopped"));
    let mut arns = vec![old.db_cluster_arn().unwrap().to_owned()];
    for member in old.db_cluster_members() {
        let name = member.db_instance_identifier().unwrap();
        arns.push(scene.view("db", name).arn);
    }
    for arn in arns {
        rds.remove_tags_from_resource()
            .resource_name(arn)
            .tag_keys("aurora-restore:retired-by")
            .tag_keys("aurora-restore:retired-until")
            .send()
            .await
            .unwrap();
    }
    rds.start_db_cluster()
        .db_cluster_identifier(&retired)
        .send()
        .await
        .unwrap();
    scene.until_available("cluster", &retired).await;
    let aside = format!("{TARGET}-set-aside");
    for (from, to) in [(TARGET, aside.as_str()), (&retired, TARGET)] {
        let renamed = rds
            .modify_db_cluster()
            .db_cluster_identifier(from)
            .new_db_cluster_identifier(to)
            .apply_immediately(true);
        renamed.send().await.unwrap();
        while find_cluster(&rds, to).await.unwrap().is_none() {
            scene.sleep(Duration::from_secs(5)).await;
        }
    }
    scene.until_available("cluster", TARGET).await;
    assert_eq!(
        resource_id(&scene.cluster(TARGET).await),
        serving.resource_id
    );
    let rows = scene.value(
        &serving.endpoint,
        &serving.master,
        "SELECT count(*) FROM serving",
    );
    assert_eq!(rows.await, 1);
    scene.reaper_comes(false).await;
    scene.sleep(Duration::from_secs(5 * 86_400)).await;
    scene.invoke(step("reap"), json!({})).await.unwrap();
    scene.sleep(Duration::from_secs(1800)).await;
    assert_eq!(
        resource_id(&scene.cluster(TARGET).await),
        serving.resource_id,
        "it stays"
    );
    scene.local.shutdown().await;
}

/// A cluster that serves, and everything that may point to one pointing to it.
pub(crate) async fn with_pointers() -> (Scene, Serving, Pointing) {
    with_pointers_and(|_| {}).await
}

/// As above, deployed otherwise.
async fn with_pointers_and(deployed: impl FnOnce(&mut LocalOptions)) -> (Scene, Serving, Pointing) {
    let mut options = LocalOptions::in_process(pipeline_tests::seed());
    options.replaceable = LIVE.to_owned();
    options.pointers = pointers::deployed();
    deployed(&mut options);
    let mut scene = Scene::with(options).await;
    let (serving, pointing) = scene.serve_with_pointers(LIVE).await;
    (scene, serving, pointing)
}

#[tokio::test(start_paused = true)]
async fn what_points_to_a_cluster_points_to_the_target_in_the_end() {
    let (scene, serving, _) = with_pointers().await;
    let run = scene.restore(scene.request_to_point()).await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    let (ours, endpoint) = (scene.cluster(TARGET).await, scene.endpoint(TARGET).await);
    let value = scene.pointing().await.parameter;
    assert_eq!(value["clusterArn"], ours.db_cluster_arn().unwrap());
    assert_eq!(
        (&value["endpoint"], &value["team"]),
        (&json!(endpoint.host), &json!("orders"))
    );
    let connection = scene.pointing().await.connection;
    assert_eq!(
        (&connection["host"], &connection["dbname"]),
        (&json!(endpoint.host), &json!(DATABASE))
    );
    let login = pipeline_tests::credentials(
        connection["username"].as_str().unwrap(),
        connection["password"].as_str().unwrap(),
    );
    assert!(scene.accepts(&endpoint, &login).await);
    assert_eq!(scene.pointing().await.record, endpoint.host);
    assert_eq!(
        scene.leaks(&[login.password.expose()]),
        Vec::<String>::new()
    );
    scene.sleep(Duration::from_secs(1800)).await;
    assert_eq!(scene.cluster(LIVE).await.status(), Some("stopped"));
    scene.reaper_comes(false).await;
    scene.sleep(Duration::from_secs(86_400)).await;
    for _ in 0..4 {
        scene.invoke(step("reap"), json!({})).await.unwrap();
        scene.sleep(Duration::from_secs(1800)).await;
    }
    let rds = scene.rds();
    let gone = find_cluster_by_id(&rds, &serving.resource_id);
    assert!(gone.await.unwrap().is_none());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn pointers_leave_a_member_of_a_global_database_only_where_it_is_not_retired() {
    let (scene, serving, before) = with_pointers().await;
    scene.join(&serving.name).await;
    let mut request = scene.request_to_point();
    let run = scene.restore(request.clone()).await;
    run.assert_failed_clean("AR0066");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    assert!(run.failure().1.contains(&serving.name));
    assert_eq!(scene.pointing().await, before);

    request["switch"].as_object_mut().unwrap().remove("retire");
    let run = scene.restore_as("restore-2", request).await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    assert_eq!(
        scene.pointing().await.record,
        scene.endpoint(TARGET).await.host
    );
    let left = scene.cluster(&serving.name).await;
    assert_eq!(left.status(), Some("available"));
    assert!(left.tag_list().is_empty(), "{:?}", left.tag_list());
    scene.local.shutdown().await;
}

/// Denies these functions these calls about the zone's records, for good.
fn deny(scene: &Scene, calls: &[&str]) {
    let cloud = &scene.local.cloud;
    let faults = local_cloud::faults::Faults::new(cloud.world(), cloud.lambda());
    cloud.world().add_layer(faults.clone());
    for call in calls {
        let call = format!(
            "aurora-restore-{call} /2013-04-01/hostedzone/{}/rrset#1",
            zone_id(pointers::ZONE)
        );
        faults.arm(
            call.parse().unwrap(),
            local_cloud::faults::Fault::AccessDenied,
            &[],
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_clients_of_production_follow_is_moved_only_as_production_is_restored() {
    for named in ["live-*", PARAMETER, CONNECTION, RECORD] {
        let deployed = |options: &mut LocalOptions| {
            options.production_targets = vec![named.to_owned()];
        };
        let (scene, _serving, before) = with_pointers_and(deployed).await;
        let mut request = scene.request_to_point();
        request["switch"].as_object_mut().unwrap().remove("retire");
        let run = scene.restore(request).await;
        run.assert_failed_clean("AR0051");
        assert_eq!(run.path(), REFUSED_BY_PLAN, "{named}");
        assert_eq!(scene.pointing().await, before);
        scene.local.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_moved_is_found_before_anything_is_made() {
    let (scene, _serving, before) = with_pointers().await;
    for (number, (field, value, said)) in [
        (
            "secretName",
            json!("staging/no-such"),
            "secret `staging/no-such` does not exist",
        ),
        (
            "record",
            json!({"hostedZoneId": zone_id(pointers::ZONE), "name": "no.such.example.com"}),
            "no simple CNAME record `no.such.example.com`",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut request = scene.request_to_point();
        request["switch"][field] = value;
        let run = scene
            .restore_as(&format!("restore-{number}"), request)
            .await;
        run.assert_failed_clean("AR0050");
        assert_eq!(run.path(), REFUSED_BY_PLAN);
        let (_, cause) = run.failure();
        assert!(cause.contains(said), "{cause}");
        assert_eq!(scene.pointing().await, before);
    }
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_not_listed_is_not_left_by_its_clients_either() {
    let (scene, ..) = with_pointers_and(|_| {}).await;
    let other = scene.serve("other-live").await;
    let arn = scene.cluster(&other.name).await;
    let value = json!({"clusterArn": arn.db_cluster_arn().unwrap()});
    scene.put_parameter(&value).await;
    let mut request = scene.request_to_point();
    request["switch"].as_object_mut().unwrap().remove("retire");
    let run = scene.restore(request).await;
    assert_eq!(run.failure().0, "AR0046");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    assert_eq!(scene.pointing().await.parameter, value);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_to_which_clients_are_led_back_by_hand_is_neither_stopped_nor_removed() {
    for by_record in [true, false] {
        let (scene, serving, before) = with_pointers().await;
        let run = scene.restore(scene.request_to_point()).await;
        assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
        scene.sleep(Duration::from_secs(1800)).await;
        scene.reaper_comes(false).await;
        let rds = scene.rds();
        let start = rds.start_db_cluster().db_cluster_identifier(&serving.name);
        start.send().await.unwrap();
        scene.until_available("cluster", &serving.name).await;
        match by_record {
            true => scene.put_record(ChangeAction::Upsert, &before.record).await,
            false => scene.put_parameter(&before.parameter).await,
        }
        scene.sleep(Duration::from_secs(3 * 86_400)).await;
        let reaped = scene.invoke(step("reap"), json!({})).await.unwrap();
        let said = reaped["refused"].to_string();
        assert!(said.contains("has clients led to it"), "{reaped}");
        for _ in 0..3 {
            scene.sleep(Duration::from_secs(1800)).await;
            let reaped = scene.invoke(step("reap"), json!({})).await.unwrap();
            assert_eq!(reaped["refused"], json!([]));
        }
        let found = scene.cluster(&serving.name).await;
        assert_eq!(found.status(), Some("available"));
        assert_eq!(found.db_cluster_members().len(), 1);
        scene.local.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pointer_that_cannot_be_looked_at_keeps_no_other_from_moving_back() {
    let (scene, serving, before) = with_pointers().await;
    deny(&scene, &["switch route53:POST", "cleanup route53:GET"]);
    let run = scene.restore(scene.request_to_point()).await;
    run.assert_failed_clean("AR0027");
    assert_eq!(run.path(), failing_in("Switch"));
    assert_eq!(scene.pointing().await, before);
    scene.assert_serves_as_before(&serving).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn pointers_move_back_when_the_last_of_them_cannot_be_moved() {
    let (scene, serving, before) = with_pointers().await;
    deny(&scene, &["switch route53:POST"]);
    let run = scene.restore(scene.request_to_point()).await;
    run.assert_failed_clean("AR0027");
    assert_eq!(run.path(), failing_in("Switch"));
    assert_eq!(scene.pointing().await, before);
    scene.assert_serves_as_before(&serving).await;
    scene.local.shutdown().await;
}

/// Removes a cluster with its instance, as whoever it belongs to may.
async fn remove(scene: &Scene, name: &str) {
    let rds = scene.rds();
    let instance = format!("{name}-1");
    let removed = rds.delete_db_instance().db_instance_identifier(&instance);
    removed.send().await.unwrap();
    let removed = rds.delete_db_cluster().db_cluster_identifier(name);
    removed.skip_final_snapshot(true).send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pointers_leave_a_cluster_that_is_gone_by_then() {
    let (scene, serving, _) = with_pointers().await;
    let execution = scene.start("restore-1", scene.request_to_point()).await;
    scene.until_state(&execution, "WaitForInstances").await;
    remove(&scene, &serving.name).await;
    scene.sleep(Duration::from_secs(3600)).await;
    execution.finished().await;
    let run = scene.run("restore-1", execution).await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    let ours = scene.cluster(TARGET).await;
    assert_eq!(
        scene.pointing().await.parameter["clusterArn"],
        ours.db_cluster_arn().unwrap()
    );
    scene.local.shutdown().await;
}

/// A scene in which a target that would go after four hours was replaced by pointers, to be kept for a day; and where
/// they pointed before that.
async fn with_a_replaced_target() -> (Scene, Pointing) {
    let deployed = |options: &mut LocalOptions| options.replaceable = "*-staging".to_owned();
    let (scene, ..) = with_pointers_and(deployed).await;
    let mut request = scene.request_to_point();
    request["switch"].as_object_mut().unwrap().remove("retire");
    request["expiresAfterHours"] = json!(4);
    request["target"]["deletionProtection"] = json!(false);
    let run = scene.restore(request.clone()).await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    let pointing = scene.pointing().await;
    request["switch"]["retire"] = json!({"keepHours": 24});
    request["target"]["clusterIdentifier"] = json!("orders-next-staging");
    request["expiresAfterHours"] = json!(null);
    let run = scene.restore_as("restore-2", request).await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    (scene, pointing)
}

/// Wants the first restore's target to go at another time.
async fn change(scene: &Scene, wanted: Wanted) -> Result<(), StepError> {
    let changed = expiry::change(&scene.context(), &id(), wanted, "somebody").await;
    changed.map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_target_that_another_replaced_is_kept_as_long_as_was_told_whenever_it_would_have_gone() {
    let (scene, _) = with_a_replaced_target().await;
    let replaced = resource_id(&scene.cluster(TARGET).await);
    let refused = change(&scene, Wanted::Now).await.unwrap_err();
    assert_eq!(refused.code().id, "AR0055");
    assert!(refused.message().contains("retired-by"), "{refused}");

    scene.reaper_comes(true).await;
    scene.sleep(Duration::from_secs(20 * 3600)).await;
    assert_eq!(scene.cluster(TARGET).await.status(), Some("stopped"));
    scene.sleep(Duration::from_secs(8 * 3600)).await;
    let rds = scene.rds();
    let gone = find_cluster_by_id(&rds, &replaced).await.unwrap();
    assert!(gone.is_none(), "{gone:?}");
    let last = RestoreId::parse("restore-2").unwrap();
    let last = scene.view("cluster-snapshot", &last.final_snapshot(TARGET));
    assert_eq!(last.status, "available");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_replaced_target_that_was_given_more_time_is_taken_back_and_stays_for_it() {
    let (scene, before) = with_a_replaced_target().await;
    scene.reaper_comes(true).await;
    scene.sleep(Duration::from_secs(10 * 3600)).await;
    change(&scene, Wanted::Later(48)).await.unwrap();
    let rds = scene.rds();
    let arn = scene.view("cluster", TARGET).arn;
    let taken = rds.remove_tags_from_resource().resource_name(arn);
    let taken = taken.tag_keys("aurora-restore:retired-by");
    taken.send().await.unwrap();
    scene.put_parameter(&before.parameter).await;
    let started = rds.start_db_cluster().db_cluster_identifier(TARGET);
    started.send().await.unwrap();
    scene.sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!(scene.cluster(TARGET).await.status(), Some("available"));
    scene.sleep(Duration::from_secs(36 * 3600)).await;
    assert!(find_cluster(&rds, TARGET).await.unwrap().is_none());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_parameter_that_named_no_cluster_and_names_one_by_the_switch_is_left_to_who_wrote_it() {
    let (scene, _serving, before) = with_pointers().await;
    let empty = json!({"team": "orders"});
    scene.put_parameter(&empty).await;
    let execution = scene.start("restore-1", scene.request_to_point()).await;
    scene.until_state(&execution, "WaitForInstances").await;
    scene.put_parameter(&before.parameter).await;
    execution.finished().await;
    let run = scene.run("restore-1", execution).await;
    run.assert_failed_clean("AR0047");
    assert_eq!(run.path(), failing_in("Switch"));
    let (_, cause) = run.failure();
    assert!(cause.contains("named no cluster when"), "{cause}");
    assert_eq!(scene.pointing().await, before);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_pointer_that_somebody_else_moved_meanwhile_is_left_to_them_and_named() {
    let (scene, _serving, before) = with_pointers().await;
    let execution = scene.start("restore-1", scene.request_to_point()).await;
    scene.until_state(&execution, "WaitForInstances").await;
    let theirs = json!({"clusterArn": "arn:aws:rds:eu-west-1:123456789012:cluster:theirs"});
    scene.put_parameter(&theirs).await;
    execution.finished().await;
    let run = scene.run("restore-1", execution).await;
    run.assert_failed_clean("AR0047");
    assert_eq!(run.path(), failing_in("Switch"));
    let expected = Pointing {
        parameter: theirs,
        ..before
    };
    assert_eq!(scene.pointing().await, expected);
    scene.local.shutdown().await;
}
