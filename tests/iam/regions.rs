//! Two regions, for what Plan and the schedules' function may do in the table that says which of them restores.

use aurora_restore::deployment;
use aurora_restore::remote::Pipeline;
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::region::{self, Claimant};
use aurora_restore_core::{Clients, Context};
use pipeline_tests::Scene;

use crate::scenarios::{ELSEWHERE, code_of, ends, expect, restored};

/// The table that says which region restores.
pub(crate) const TABLE: &str = "aurora-restore-role";
/// The region that only votes.
const WITNESS: &str = "eu-west-3";

/// Makes the role table of the two regions, and this one the active one.
pub(crate) async fn deploy(scene: &Scene) {
    let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
    deployment::deploy_role_table(cloud, stack, ELSEWHERE, WITNESS)
        .await
        .unwrap();
    activate(scene, &scene.local.pipeline).await.unwrap();
}

async fn activate(scene: &Scene, pipeline: &Pipeline) -> Result<(), String> {
    let now = scene.local.cloud.world().now();
    // Nothing is deployed in the other one that could be asked what runs there.
    let activated = pipeline.activate(TABLE, true, now).await;
    activated.map(drop).map_err(|error| format!("{error:#}"))
}

/// Refused while the other region is active, and for an id that the other region claimed; restored otherwise.
pub(crate) async fn taken_over(scene: &Scene) -> Result<(), String> {
    let here = &scene.local.pipeline;
    activate(scene, &here.in_region(ELSEWHERE)).await?;
    refused(scene, "too-early", "AR0064").await?;
    claim_elsewhere(scene, "theirs").await?;
    activate(scene, here).await?;
    refused(scene, "theirs", "AR0065").await?;
    restored(scene, scene.request()).await
}

async fn refused(scene: &Scene, id: &str, code: &str) -> Result<(), String> {
    ends(scene, id, scene.request(), "FailedClean").await?;
    expect(
        &format!("why {id} was refused"),
        &code_of(scene, id).await?,
        code,
    )
}

/// Plan of the other region takes an id.
async fn claim_elsewhere(scene: &Scene, id: &str) -> Result<(), String> {
    let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
    let key = cloud.root_key(&stack.account);
    let mut context = Context {
        aws: Clients::new(deployment::sdk_config(cloud, ELSEWHERE, &key)),
        ..scene.context()
    };
    context.settings.role_table = Some(TABLE.to_owned());
    let id = RestoreId::parse(id).map_err(|error| error.to_string())?;
    let far = scene.local.pipeline.in_region(ELSEWHERE).stack;
    let claimant = Claimant {
        id: &id,
        execution_arn: &far.execution_arn(id.as_str()),
        started_at: "2026-11-21T00:00:00Z",
    };
    let admitted = region::admit(&context, claimant).await;
    admitted.map_err(|error| error.to_string())
}
