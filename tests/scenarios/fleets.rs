//! Many restores from one request.

use std::collections::BTreeMap;
use std::time::Duration;

use asl_interpreter::{Execution, Outcome};
use aurora_restore::local::LocalOptions;
use aurora_restore_core::approval::Verdict;
use aurora_restore_core::fleet::{Fleet, FleetId, Member};
use aurora_restore_core::table::Written;
use local_cloud::faults::{Fault, Faults};
use local_cloud::rds::Data;
use pipeline_tests::fleet::drills;
use pipeline_tests::{Scene, failure, seed};
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

/// The path of a fleet whose members were restored or failed.
fn reported(end: &str) -> [&str; 5] {
    [
        "PlanFleet",
        "RestoreMembers",
        "ReportFleet",
        "IsFleetRestored",
        end,
    ]
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
        reported("FleetFailed")
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
        reported("FleetRestored")
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
    // How well places are used depends on how long RDS happens to take: the ratio is of this seed.
    let drills = drills(8, 3, 1, 1).await;
    assert_eq!(drills.peak, 3, "{drills:?}");
    assert!(drills.ratio() < 1.15, "{drills:?}");
}

#[tokio::test(start_paused = true)]
async fn drills_of_two_and_of_three_instances_take_turns_in_the_quota_of_instances() {
    for instances in [2, 3] {
        let drills = drills(3, 2, instances, seed()).await;
        assert_eq!(drills.peak, 2, "{drills:?}");
    }
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
    let before = starts(scene, "");
    let execution = scene.fleet(name, input).await;
    assert_eq!(
        execution.history().states_entered(),
        ["PlanFleet", "ReportFailure", "FleetFailed"]
    );
    assert_eq!(starts(scene, ""), before);
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
    let once_more = json!({"fleetId": "fleet", "profiles": "nightly-*"});
    let cause = refused(&scene, "once-more", once_more).await;
    assert!(
        cause.contains("and is Running; `again` takes it up"),
        "{cause}"
    );
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

/// Members that go through without data.
async fn on_paper() -> Scene {
    pipeline_tests::fleet::on_paper(LocalOptions::in_process(seed())).await
}

fn succeeded(execution: &Execution) {
    let outcome = execution.outcome();
    assert!(
        matches!(outcome, Some(Outcome::Succeeded { .. })),
        "{outcome:?}"
    );
}

/// What people were told of a fleet last.
fn told(scene: &Scene, fleet: &str) -> String {
    let messages = scene.local.cloud.sns().messages().into_iter();
    let mut of_it = messages.filter(|message| message.message.contains(&format!("fleet {fleet}")));
    of_it.next_back().unwrap().message
}

#[tokio::test(start_paused = true)]
async fn a_fleet_of_which_everything_is_restored_is_not_called_restored_once_more() {
    let scene = on_paper().await;
    let input = json!({"fleetId": "weekly", "members": [member(&scene, 1)]});
    succeeded(&scene.fleet("weekly", input.clone()).await);
    // As a schedule does that names its fleet itself.
    let cause = refused(&scene, "weekly-next", input.clone()).await;
    assert!(
        cause.starts_with("AR0063 fleet id already used: nothing of fleet `weekly` was started"),
        "{cause}"
    );
    assert!(told(&scene, "weekly").starts_with("Failed: fleet weekly"));
    let again = json!({"fleetId": "weekly", "again": true});
    let cause = refused(&scene, "weekly-again", again).await;
    assert!(
        cause.contains("all of its 1 members were restored by 20"),
        "{cause}"
    );
    let status = scene.local.pipeline.fleet("weekly").await.unwrap().unwrap();
    assert_eq!(status.outcome, "Restored", "as it was");

    // The names of executions, and so their ARNs, are free again after 90 days; the records are kept for longer.
    let arn = &status.execution_arn;
    let later = fleet::Execution {
        name: "weekly",
        arn,
        started_at: "2035-01-01T00:00:00.000Z",
        input: &input,
    };
    let context = scene.context();
    let refused = fleet::plan(&context, later).await.unwrap_err();
    assert_eq!(refused.code().id, "AR0063");
    let failure = fleet::Failure {
        error: Some("Conflict".to_owned()),
        cause: Some(refused.to_string()),
    };
    let reported = fleet::report(&context, later, Some(failure)).await.unwrap();
    assert_eq!(reported.outcome, "Failed");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_only_has_a_members_id_does_not_count_for_it() {
    let scene = on_paper().await;
    let other = |number: usize| {
        let target = json!({"clusterIdentifier": format!("other-{number}-staging")});
        scene.request_with(json!({ "target": target }))
    };
    let run = scene.restore_as("early-1", other(1)).await;
    assert_eq!(run.report.outcome, "Restored");
    let members = json!([member(&scene, 1), member(&scene, 2)]);
    let cause = refused(&scene, "early", json!({"members": members})).await;
    assert!(
        cause.contains("AR0063") && cause.contains("restore `early-1` is on record"),
        "{cause}"
    );

    let input = json!({"members": members, "maxConcurrency": 1});
    let execution = scene.start_fleet("late", input).await;
    scene.until_state(&execution, "RestoreMembers").await;
    let run = scene.restore_as("late-2", other(2)).await;
    assert_eq!(run.report.outcome, "Restored");
    execution.finished().await;
    let (_, cause) = failure(&execution);
    assert_eq!(
        cause,
        "1 of 2 restored; 0 FailedClean, 0 FailedDirty, 1 without an end"
    );
    let told = told(&scene, "late");
    let row = told.lines().nth(2).unwrap();
    assert!(
        row.starts_with("not begun: orders-2-staging (late-2, ") && row.ends_with("AR0034)"),
        "{told}"
    );
    let again = json!({"fleetId": "late", "again": true});
    succeeded(&scene.fleet("late-again", again).await);
    assert_eq!(
        starts(&scene, "late-"),
        ["late-1", "late-2", "late-2-again-2"]
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_is_under_way_is_not_taken_up() {
    let scene = on_paper().await;
    let members = json!([member(&scene, 1), member(&scene, 2)]);
    let first = scene
        .start_fleet("weekly", json!({ "members": members }))
        .await;
    scene.until_state(&first, "RestoreMembers").await;
    let again = json!({"fleetId": "weekly", "again": true});
    let execution = scene.fleet("weekly-again", again.clone()).await;
    let (_, cause) = failure(&execution);
    let arn = &first.launch().execution_arn;
    assert!(
        cause.contains("AR0063") && cause.contains(&format!("execution `{arn}` carries it out")),
        "{cause}"
    );
    first.finished().await;
    succeeded(&first);
    assert!(told(&scene, "weekly").starts_with("Restored: fleet weekly\n2 of 2 restored"));
    scene.local.shutdown().await;
}

const REQUESTER: &str = "arn:aws:sts::123456789012:assumed-role/operators/ada";
const APPROVER: &str = "arn:aws:sts::123456789012:assumed-role/approvers/grace";

#[tokio::test(start_paused = true)]
async fn a_member_that_needs_an_approval_is_approved_and_restored() {
    let scene = on_paper().await;
    let mut approved = member(&scene, 1);
    approved["approval"] = json!({"required": true});
    let members = json!([approved, member(&scene, 2)]);
    let cause = refused(&scene, "nobodys", json!({ "members": members })).await;
    assert!(
        cause.starts_with(
            "AR0001 request malformed: at `members`, number 1: at `requestedBy`: absent"
        ),
        "{cause}"
    );
    let mut own = member(&scene, 1);
    own["requestedBy"] = REQUESTER.into();
    let cause = refused(&scene, "own", json!({"members": [own]})).await;
    assert!(
        cause.contains("it is whoever starts the fleet, and stands beside `members`"),
        "{cause}"
    );

    let input = json!({"members": members, "requestedBy": REQUESTER});
    let execution = scene.start_fleet("weekly", input).await;
    let pipeline = &scene.local.pipeline;
    let asked = async || {
        let now = scene.local.cloud.world().now();
        let verdict = Verdict::Approved;
        let decided = pipeline.decide_as(REQUESTER, "weekly-1", verdict, None, "comment", now);
        decided.await.unwrap_err().message().to_owned()
    };
    while !asked().await.contains(REQUESTER) {
        scene.sleep(Duration::from_secs(30)).await;
    }
    let now = scene.local.cloud.world().now();
    let decided = pipeline.decide_as(
        APPROVER,
        "weekly-1",
        Verdict::Approved,
        None,
        "comment",
        now,
    );
    assert!(decided.await.unwrap().recorded);
    execution.finished().await;
    succeeded(&execution);
    for member in ["weekly-1", "weekly-2"] {
        let report = pipeline.report(member, now).await.unwrap().unwrap();
        assert_eq!(report.outcome, "Restored");
        let inputs = scene.local.cloud.step_functions().executions().into_iter();
        let mut inputs = inputs.filter(|execution| execution.launch().name == member);
        let input = inputs.next().unwrap().launch().input.clone();
        assert_eq!(input["requestedBy"], REQUESTER);
    }
    scene.local.shutdown().await;
}

/// Members of a fleet, as they are recorded.
fn recorded(fleet: &FleetId, targets: &[&str]) -> Vec<Member> {
    let member = |(number, target): (u32, &&str)| Member {
        number,
        attempt: 1,
        restore_id: fleet.member(number, 1).unwrap(),
        input: json!({"profile": target}),
        source: "orders-prod".to_owned(),
        target: (*target).to_owned(),
        instances: 1,
        removed_when_proved: false,
    };
    (1..).zip(targets).map(member).collect()
}

#[tokio::test(start_paused = true)]
async fn two_that_start_one_fleet_at_once_do_not_mix_their_members() {
    let scene = Scene::metadata().await;
    let (table, now) = (scene.table(), scene.local.cloud.world().now());
    let id = FleetId::parse("weekly").unwrap();
    let begun = |arn: &str, started_at: &str, targets: &[&str]| {
        Fleet::begun_by(id.clone(), arn, started_at, recorded(&id, targets))
    };
    let first = begun("arn:first", "2026-11-21T03:00:00.000Z", &["a", "b"]);
    let second = begun("arn:second", "2026-11-21T03:00:00.001Z", &["c", "d", "e"]);
    assert_eq!(first.record(&table, None, now).await.unwrap(), Written::Yes);
    assert_eq!(
        second.record(&table, None, now).await.unwrap(),
        Written::Refused
    );
    let found = Fleet::find(&table, &id).await.unwrap().unwrap();
    assert_eq!(found, first);

    // Whoever takes it up finds it as it was read, or not at all.
    let third = found.taken_up_by(
        "arn:third",
        "2026-11-22T03:00:00.000Z",
        recorded(&id, &["a"]),
    );
    let written = third.record(&table, Some(&second), now).await.unwrap();
    assert_eq!(written, Written::Refused);
    let written = third.record(&table, Some(&found), now).await.unwrap();
    assert_eq!(written, Written::Yes);
    let found = Fleet::find(&table, &id).await.unwrap().unwrap();
    assert_eq!(found, third);
    assert_eq!(found.started_at, first.started_at);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_fleet_whose_record_is_answered_for_by_nobody_goes_on() {
    for fault in [Fault::ResetAfter, Fault::KilledAfter, Fault::KilledBefore] {
        let scene = on_paper().await;
        let cloud = &scene.local.cloud;
        let faults = Faults::new(cloud.world(), cloud.lambda());
        cloud.world().add_layer(faults.clone());
        let call = "aurora-restore-fleet dynamodb:PutItem#1";
        faults.arm(call.parse().unwrap(), fault, &[]);
        let members = json!([member(&scene, 1), member(&scene, 2)]);
        let execution = scene.fleet("weekly", json!({ "members": members })).await;
        succeeded(&execution);
        assert_eq!(
            starts(&scene, "weekly-"),
            ["weekly-1", "weekly-2"],
            "{fault:?}"
        );
        scene.local.shutdown().await;
    }
}
