//! Many restores from one request.

use std::collections::BTreeMap;

use asl_interpreter::{Execution, Outcome};
use aurora_restore::local::LocalOptions;
use local_cloud::rds::Data;
use pipeline_tests::fleet::drills;
use pipeline_tests::{Scene, seed};
use serde_json::{Value, json};

/// A member that restores the source into a cluster of its own.
fn member(scene: &Scene, number: usize) -> Value {
    let target = json!({"clusterIdentifier": format!("orders-{number}-staging")});
    scene.request_with(json!({"target": target}))
}

/// The path of every child of the fleet's Map Run, by its member.
fn paths(execution: &Execution) -> BTreeMap<String, Vec<String>> {
    let children = execution.map_runs()[0].children().into_iter();
    children
        .map(|child| {
            let id = child.launch().input["restoreId"]
                .as_str()
                .unwrap()
                .to_owned();
            (id, child.history().states_entered())
        })
        .collect()
}

fn failure(execution: &Execution) -> (String, String) {
    match execution.outcome() {
        Some(Outcome::Failed { error, cause }) => (error.unwrap(), cause.unwrap()),
        other => panic!("expected a failure, found {other:?}"),
    }
}

/// How often a restore of this id was started.
fn starts(scene: &Scene, prefix: &str) -> Vec<String> {
    let machine = scene.local.stack.state_machine_arn();
    let executions = scene.local.cloud.step_functions().executions().into_iter();
    let mut names: Vec<String> = executions
        .filter(|execution| execution.launch().state_machine_arn == machine)
        .map(|execution| execution.launch().name.clone())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test(start_paused = true)]
async fn one_member_that_fails_stops_nobody_and_is_all_that_is_tried_again() {
    let scene = Scene::real().await;
    scene.deploy_fleet().await;
    let mut inputs: Vec<Value> = (1..=5).map(|number| member(&scene, number)).collect();
    let check = |rows: u32| {
        json!({"checks": [{"name": "orders are there", "database": "orders",
            "sql": "SELECT count(*) FROM orders", "expect": {"equals": rows}}]})
    };
    let third = |rows: u32| {
        let target = json!({"target": {"clusterIdentifier": "orders-3-staging"}});
        let mut request = scene.request_with(target);
        aurora_restore_core::profile::overlay(&mut request, check(rows));
        request.to_string()
    };
    scene.local.put_profile("third", &third(7)).await.unwrap();
    inputs[2] = json!({"profile": "third"});

    let execution = scene.fleet("five", json!({"members": inputs})).await;
    let (error, cause) = failure(&execution);
    assert_eq!(error, "FleetFailed");
    assert_eq!(
        cause,
        "4 of 5 restored; 1 FailedClean, 0 FailedDirty, 0 without an end"
    );
    assert_eq!(
        execution.history().states_entered(),
        [
            "PlanFleet",
            "RestoreMembers",
            "ReportFleet",
            "IsFleetRestored",
            "FleetFailed"
        ]
    );
    let paths = paths(&execution);
    for number in [1, 2, 4, 5] {
        let path = &paths[&format!("five-{number}")];
        assert_eq!(*path, ["RestoreMember", "IsTargetRemoved", "MemberEnded"]);
    }
    assert_eq!(paths["five-3"], ["RestoreMember", "MemberEnded"]);
    let messages = scene.local.cloud.sns().messages();
    let told: Vec<_> = messages
        .iter()
        .filter(|message| message.message.starts_with("Failed: fleet five"))
        .collect();
    assert_eq!(told.len(), 1);
    let rows: Vec<&str> = told[0].message.lines().skip(2).collect();
    assert_eq!(rows.len(), 5, "{}", told[0].message);
    assert!(
        rows[0].starts_with("FailedClean: orders-3-staging (five-3,"),
        "{}",
        rows[0]
    );
    assert!(rows[0].ends_with("AR0023)"), "{}", rows[0]);
    assert!(
        rows[1].starts_with("Restored: orders-1-staging (five-1,"),
        "{}",
        rows[1]
    );

    // What was wrong is put right, and the fleet taken up again.
    scene
        .local
        .put_profile("third", &third(1_000))
        .await
        .unwrap();
    let again = json!({"fleetId": "five", "again": true});
    let execution = scene.fleet("five-once-more", again).await;
    assert!(
        matches!(execution.outcome(), Some(Outcome::Succeeded { .. })),
        "{:?}",
        execution.outcome()
    );
    assert_eq!(
        execution.history().states_entered(),
        [
            "PlanFleet",
            "RestoreMembers",
            "ReportFleet",
            "IsFleetRestored",
            "FleetRestored"
        ]
    );
    assert_eq!(
        starts(&scene, "five-"),
        [
            "five-1",
            "five-2",
            "five-3",
            "five-3-again-2",
            "five-4",
            "five-5"
        ],
        "those that were restored are not restored again"
    );
    let status = scene.local.pipeline.fleet("five").await.unwrap().unwrap();
    assert_eq!(
        (status.outcome.as_str(), status.tally.restored),
        ("Restored", 5)
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn eight_drills_go_through_the_three_places_of_an_account_and_leave_nothing() {
    let drills = drills(8, 3, seed()).await;
    assert_eq!(drills.peak, 3, "{drills:?}");
    assert!(drills.ratio() < 1.15, "{drills:?}");
}

/// A world without data and the stack of fleets.
async fn paper() -> Scene {
    let mut options = LocalOptions::in_process(seed());
    options.rds.data = Data::Metadata;
    let scene = Scene::with(options).await;
    scene.deploy_fleet().await;
    scene
}

/// A fleet that is refused before any member is started; its error and cause.
async fn refused(scene: &Scene, name: &str, input: Value) -> String {
    let execution = scene.fleet(name, input).await;
    assert_eq!(
        execution.history().states_entered(),
        ["PlanFleet", "ReportFailure", "FleetFailed"]
    );
    assert_eq!(starts(scene, name), Vec::<String>::new());
    let (error, cause) = failure(&execution);
    assert_eq!(error, "FleetFailed");
    cause
}

#[tokio::test(start_paused = true)]
async fn a_fleet_whose_request_is_wrong_starts_nobody_and_says_which_member() {
    let scene = paper().await;
    let wrong = json!({"members": [member(&scene, 1), {"profile": "nobody"}]});
    let cause = refused(&scene, "wrong", wrong).await;
    let expected = "AR0002 profile not found: at `members`, number 2: there is no profile `nobody`";
    assert!(cause.starts_with(expected), "{cause}");

    let cause = refused(&scene, "neither", json!({})).await;
    assert!(
        cause.starts_with("AR0001 request malformed: the input has both or neither"),
        "{cause}"
    );

    let many: Vec<Value> = (1..=60).map(|number| member(&scene, number)).collect();
    let cause = refused(&scene, "many", json!({"members": many})).await;
    let expected =
        "60 clusters with 60 instances is needed at once, and the account's quotas leave 39 and 39";
    assert!(
        cause.contains("AR0060") && cause.contains(expected),
        "{cause}"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn members_that_make_one_cluster_are_refused() {
    let scene = paper().await;
    let mut second = member(&scene, 1);
    second["target"]["clusterIdentifier"] = "Orders-1-Staging".into();
    let input = json!({"members": [member(&scene, 1), second]});
    let cause = refused(&scene, "twice", input).await;
    let expected = "AR0062 members of a fleet share a target: members 1 and 2 both make cluster `Orders-1-Staging`";
    assert!(cause.starts_with(expected), "{cause}");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_fleet_whose_requests_are_too_large_is_refused() {
    let scene = paper().await;
    let padded = |number| {
        let mut request = member(&scene, number);
        request["target"]["tags"] = json!({"note": "x".repeat(250)});
        request
    };
    let inputs: Vec<Value> = (1..=450).map(padded).collect();
    let cause = refused(&scene, "large", json!({"members": inputs})).await;
    assert!(
        cause.starts_with("AR0061 fleet too large: 450 members have"),
        "{cause}"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_fleet_id_is_not_taken_by_another_request() {
    let scene = paper().await;
    for name in ["nightly-a", "nightly-b", "weekly"] {
        let target = format!("{name}-staging");
        let request = scene.request_with(json!({"target": {"clusterIdentifier": target}}));
        scene
            .local
            .put_profile(name, &request.to_string())
            .await
            .unwrap();
    }
    let first = scene
        .start_fleet("fleet", json!({"profiles": "nightly-*"}))
        .await;
    scene.until_state(&first, "RestoreMembers").await;
    let other = json!({"fleetId": "fleet", "profiles": "weekly"});
    let execution = scene.fleet("another", other).await;
    let (_, cause) = failure(&execution);
    assert!(cause.starts_with("AR0063 fleet id already used"), "{cause}");
    let status = scene.local.pipeline.fleet("fleet").await.unwrap().unwrap();
    let targets: Vec<&str> = status
        .members
        .iter()
        .map(|member| member.target.as_str())
        .collect();
    assert_eq!(targets, ["nightly-a-staging", "nightly-b-staging"]);
    assert_eq!(status.outcome, "Running");
    scene.local.shutdown().await;
}
