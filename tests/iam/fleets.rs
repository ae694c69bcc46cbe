//! Fleets, for the roles of their function and of their state machine.

use std::time::Duration;

use asl_interpreter::Outcome;
use pipeline_tests::Scene;
use serde_json::{Value, json};

use crate::beside;
use crate::scenarios::{expect, in_state, nothing_left, outcome_of, stop};

/// A profile with a target of its own.
async fn put_profile(scene: &Scene, name: &str, more: Value) -> Result<(), String> {
    let target = json!({"clusterIdentifier": format!("{name}-staging")});
    let mut request = scene.request_with(json!({ "target": target }));
    aurora_restore_core::profile::overlay(&mut request, more);
    let put = scene.local.put_profile(name, &request.to_string()).await;
    put.map_err(|error| error.to_string())
}

/// Drills by the pattern of their profiles' names, after a deployment: proved, removed, and told.
pub(crate) async fn drills(scene: &Scene) -> Result<(), String> {
    scene.reaper_comes(false).await;
    redeploy(scene).await?;
    put_profile(scene, "drill-1", json!({"expiresAfterHours": 0})).await?;
    let execution = scene.fleet("weekly", json!({"profiles": "drill-*"})).await;
    match execution.outcome() {
        Some(Outcome::Succeeded { .. }) => {}
        other => return Err(format!("the fleet: {other:?}")),
    }
    let messages = scene.local.cloud.sns().messages().into_iter();
    let told = messages.filter(|message| message.message.starts_with("Restored: fleet weekly"));
    expect("messages", &told.count().to_string(), "1")?;
    nothing_left(scene)
}

/// What a schedule of a fleet calls, put to the function twice: the second time it looks who took the name.
pub(crate) async fn scheduled(scene: &Scene) -> Result<(), String> {
    put_profile(scene, "week-1", json!({})).await?;
    let stack = &scene.local.stack;
    let (caller, start) = (scene.caller(&stack.region), stack.function_name("start"));
    let event = json!({
        "schedule": "weekly",
        "scheduledTime": "2026-11-22T03:00:00Z",
        "fleet": {"profiles": "week-*"},
    });
    for _ in 0..2 {
        let sent = scene
            .local
            .cloud
            .lambda()
            .invoke_event(&caller, &start, event.clone());
        sent.map_err(|error| error.to_string())?;
        scene.sleep(Duration::from_secs(4 * 3600)).await;
    }
    let member = "weekly-20261122T030000Z-1";
    expect("the member", &outcome_of(scene, member).await, "Restored")
}

/// A deployment that changes the state machine asks again for what its role must be allowed.
async fn redeploy(scene: &Scene) -> Result<(), String> {
    let sfn = aws_sdk_sfn::Client::new(&scene.local.config);
    let updated = sfn
        .update_state_machine()
        .state_machine_arn(scene.local.stack.fleet_machine_arn())
        .role_arn(&beside::role(scene, "FleetStateMachineRole").arn)
        .send()
        .await;
    updated.map(drop).map_err(|error| format!("{error:?}"))
}

/// Stopped in its first member, and redriven: the second is restored then.
pub(crate) async fn redriven(scene: &Scene) -> Result<(), String> {
    put_profile(scene, "first", json!({})).await?;
    put_profile(scene, "second", json!({})).await?;
    let members = json!([{"profile": "first"}, {"profile": "second"}]);
    let input = json!({"members": members, "maxConcurrency": 1});
    let fleet = scene.start_fleet("weekly", input).await;
    in_state(scene, &fleet, "RestoreMembers").await?;
    scene.sleep(Duration::from_secs(120)).await;
    let arn = fleet.launch().execution_arn.clone();
    stop(scene, &arn).await?;
    scene.sleep(Duration::from_secs(2 * 3600)).await;
    expect(
        "the first",
        &outcome_of(scene, "weekly-1").await,
        "FailedClean",
    )?;
    let sfn = aws_sdk_sfn::Client::new(&scene.local.config);
    let redriven = sfn.redrive_execution().execution_arn(&arn).send().await;
    redriven.map_err(|error| format!("{error:?}"))?;
    fleet.finished().await;
    expect(
        "the second",
        &outcome_of(scene, "weekly-2").await,
        "Restored",
    )?;
    // Taken up again, the first is restored, too.
    let again = json!({"fleetId": "weekly", "again": true});
    let execution = scene.fleet("weekly-again", again).await;
    match execution.outcome() {
        Some(Outcome::Succeeded { .. }) => Ok(()),
        other => Err(format!("the fleet, again: {other:?}")),
    }
}
