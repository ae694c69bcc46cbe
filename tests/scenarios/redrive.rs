//! Executions that ended badly and are redriven.

use std::collections::BTreeMap;
use std::time::Duration;

use asl_interpreter::Status;
use pipeline_tests::{Scene, TARGET};

#[tokio::test(start_paused = true)]
async fn an_aborted_restore_that_is_redriven_goes_on_where_it_stopped() {
    let scene = Scene::real().await;
    // It would undo what was stopped.
    scene.reaper_comes(false).await;
    let called_before = scene.local.rds.audit().len();
    let running = scene.start("restore-1", scene.request()).await;
    while running
        .history()
        .states_entered()
        .last()
        .map(String::as_str)
        != Some("WaitForCluster")
    {
        scene.sleep(Duration::from_secs(5)).await;
    }
    let sfn = aws_sdk_sfn::Client::new(&scene.local.config);
    let arn = scene.local.stack.execution_arn("restore-1");
    scene.stop(&running).await;
    assert_eq!(running.status(), Status::Aborted);
    let redrive = sfn.redrive_execution().execution_arn(&arn);
    redrive.send().await.unwrap();
    running.finished().await;

    let run = scene.run("restore-1", running).await;
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    assert_eq!(run.execution.redrive_count(), 1);
    assert_eq!(scene.cluster(TARGET).await.status(), Some("available"));
    assert!(!run.report.evidence.is_empty());
    assert!(
        run.report.evidence.iter().all(|finding| finding.passed),
        "{:?}",
        run.report.evidence
    );
    let mut entered = BTreeMap::new();
    for state in run.path() {
        *entered.entry(state).or_insert(0) += 1;
    }
    assert!(entered.values().all(|times| *times == 1), "{entered:?}");
    let calls = scene.local.rds.audit();
    let effects: Vec<&str> = calls[called_before..]
        .iter()
        .map(|call| call.action.as_str())
        .filter(|action| !action.starts_with("Describe") && !action.starts_with("List"))
        .collect();
    assert_eq!(
        effects,
        [
            "RestoreDBClusterFromSnapshot",
            "CreateDBInstance",
            "ModifyDBCluster", // the new password
            "ModifyDBCluster", // the final security groups
        ]
    );
    run.assert_told("Restored");
    scene.local.shutdown().await;
}
