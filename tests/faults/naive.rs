//! Two steps as they are often written, to show that the matrix finds what is wrong with them.
//!
//! Undisturbed, a restore with either of them ends well.

use aurora_restore::deployment::{self, Functions};
use aurora_restore_core::ledger::{Resource, ResourceKind};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::step::StepFuture;
use aurora_restore_core::{Context, Restore, Step, StepError, ownership, rds};
use pipeline_tests::Scene;
use serde_json::{Value, json};

/// Asks for the cluster first and writes it down afterwards; that it exists already is an error.
const EFFECT_BEFORE_INTENT: Step = Step {
    name: "restore",
    run: |context, event| Box::pin(restore(context, event)),
};

/// Undoes by tag alone: whatever carries the restore's id is deleted.
const UNDO_BY_TAG: Step = Step {
    name: "cleanup",
    run: |context, event| Box::pin(cleanup(context, event)),
};

/// Deploys the first in place of the real one.
pub(crate) fn deploy_effect_before_intent(scene: &Scene) {
    deploy(scene, EFFECT_BEFORE_INTENT);
}

/// Deploys the second in place of the real one.
pub(crate) fn deploy_undo_by_tag(scene: &Scene) {
    deploy(scene, UNDO_BY_TAG);
}

fn deploy(scene: &Scene, step: Step) {
    let functions = Functions::InProcess { count_work: false };
    let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
    deployment::replace_function(cloud, stack, step, &functions).unwrap();
}

fn real<'a>(step: &'static str, context: &'a Context, event: Value) -> StepFuture<'a> {
    (pipeline_tests::step(step).run)(context, event)
}

async fn restore(context: &Context, event: Value) -> Result<Value, StepError> {
    if event["action"] != "restore-cluster" {
        return real("restore", context, event).await;
    }
    let restore = load(context, &event).await?;
    let (plan, target) = (restore.plan(), &restore.plan().target);
    let asked = context
        .aws
        .rds(&target.region)
        .restore_db_cluster_from_snapshot()
        .db_cluster_identifier(&target.cluster_identifier)
        .set_snapshot_identifier(plan.snapshot_to_restore().map(str::to_owned))
        .engine(plan.source.engine)
        .engine_version(&plan.source.engine_version)
        .port(i32::from(target.port))
        .db_subnet_group_name(&target.subnet_group)
        .set_vpc_security_group_ids(Some(plan.quarantine_security_group_ids.clone()))
        .db_cluster_parameter_group_name(&plan.quarantine_parameter_group)
        .set_kms_key_id(target.kms_key_id.clone())
        .storage_type(&target.storage_type)
        .backup_retention_period(i32::from(target.backup_retention_days))
        .enable_iam_database_authentication(target.iam_authentication)
        .set_preferred_backup_window(target.backup_window.clone())
        .publicly_accessible(target.publicly_accessible)
        .set_enable_cloudwatch_logs_exports(Some(target.log_exports.clone()))
        .set_network_type(target.network_type.clone())
        .engine_lifecycle_support("open-source-rds-extended-support-disabled")
        .set_tags(Some(ownership::tags(plan, plan.expires_at)));
    let made = asked
        .send()
        .await
        .map_err(|error| StepError::from_sdk("restore the cluster", error))?
        .db_cluster
        .unwrap();
    let name = &target.cluster_identifier;
    let resource = restore
        .intend(Resource::new(ResourceKind::Cluster, &target.arn, name))
        .await?;
    restore
        .created(resource, made.db_cluster_resource_id())
        .await?;
    Ok(json!({ "clusterIdentifier": name }))
}

async fn cleanup(context: &Context, event: Value) -> Result<Value, StepError> {
    if event["action"] != "undo" {
        return real("cleanup", context, event).await;
    }
    let restore = load(context, &event).await?;
    let client = context.aws.rds(&restore.plan().target.region);
    for found in rds::find_tagged(&client, &restore.plan().restore_id).await? {
        let name = &found.identifier;
        // It is undone as well as it can be: what is refused is refused.
        let _ = match found.kind {
            ResourceKind::Instance => client
                .delete_db_instance()
                .db_instance_identifier(name)
                .send()
                .await
                .is_ok(),
            ResourceKind::Cluster => client
                .delete_db_cluster()
                .db_cluster_identifier(name)
                .skip_final_snapshot(true)
                .send()
                .await
                .is_ok(),
            _ => true, // below, whatever their names are
        };
    }
    let snapshots = client.describe_db_cluster_snapshots().send().await;
    for snapshot in snapshots.unwrap().db_cluster_snapshots() {
        if ownership::is_tagged(snapshot.tag_list(), &restore.plan().restore_id) {
            let _ = client
                .delete_db_cluster_snapshot()
                .set_db_cluster_snapshot_identifier(snapshot.db_cluster_snapshot_identifier.clone())
                .send()
                .await
                .is_ok();
        }
    }
    Ok(json!({ "deleting": [], "refused": [] }))
}

async fn load(context: &Context, event: &Value) -> Result<Restore, StepError> {
    let id = event["restoreId"].as_str().unwrap_or_default();
    Restore::load(context, &RestoreId::parse(id)?).await
}
