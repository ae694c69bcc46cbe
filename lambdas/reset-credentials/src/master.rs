//! The new master password.
//!
//! RDS-managed: one call, idempotent by looking first. Our own: stored as AWSPENDING
//! before the database is told, so that a repeated step hands out the same password
//! again; it becomes AWSCURRENT only once a login with it has worked.

use aurora_restore_core::errors::{AR0027, AR0028, StepError, wire_code};
use aurora_restore_core::ledger::{Resource, ResourceKind};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::plan::TargetCluster;
use aurora_restore_core::request::MasterPassword;
use aurora_restore_core::secrets::{self, Credentials, Secret, Stage};
use aurora_restore_core::{Context, Restore, ownership};
use aws_sdk_rds::operation::modify_db_cluster::builders::ModifyDBClusterFluentBuilder;
use aws_sdk_rds::types::DatabaseInsightsMode;
use aws_sdk_secretsmanager::types::Tag;
use serde::Serialize;
use serde_json::json;

/// Characters that RDS refuses in a master password, and those that shells and URLs trip over.
const EXCLUDED_CHARACTERS: &str = "/@\"'`\\ :;%?&#$!*(){}[]|<>^~";
/// Accepted by every engine: RDS takes 8 to 41 characters for MySQL, up to 99 for PostgreSQL.
const LENGTH: i64 = 40;

/// What the state machine learns.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    master_password: MasterPassword,
}

/// Asks RDS to replace the master password.
pub(crate) async fn reset(context: &Context, restore: &Restore) -> Result<Answer, StepError> {
    let plan = restore.plan();
    let cluster = restore.describe_target(context).await?;
    restore.prove_target(&cluster).await?;
    restore.hold().await?;
    let client = context.aws.rds(&plan.target.region);
    let change = client
        .modify_db_cluster()
        .db_cluster_identifier(&plan.target.cluster_identifier)
        .apply_immediately(true);
    let change = with_settings(change, &plan.target);
    let change = match plan.master_password {
        MasterPassword::RdsManaged if cluster.master_user_secret().is_some() => {
            return Ok(Answer {
                master_password: plan.master_password,
            });
        }
        MasterPassword::RdsManaged => change.manage_master_user_password(true),
        MasterPassword::Secret => {
            let pending = pending_password(context, restore).await?;
            change.master_user_password(pending.password.expose())
        }
    };
    change.send().await.map_err(|error| {
        StepError::from_sdk(
            format!(
                "replace the master password of `{}`",
                plan.target.cluster_identifier
            ),
            error,
        )
    })?;
    Ok(Answer {
        master_password: plan.master_password,
    })
}

/// What a restore call does not take is set with the same call, so that the cluster is changed once.
fn with_settings(
    change: ModifyDBClusterFluentBuilder,
    target: &TargetCluster,
) -> ModifyDBClusterFluentBuilder {
    let change = change.set_preferred_maintenance_window(target.maintenance_window.clone());
    let Some(mode) = target.database_insights_mode.as_deref() else {
        return change;
    };
    // Database Insights stands on Performance Insights: RDS wants both in one call.
    let insights = target.performance_insights.as_ref();
    change
        .database_insights_mode(DatabaseInsightsMode::from(mode))
        .set_enable_performance_insights(insights.map(|insights| insights.enabled))
        .set_performance_insights_retention_period(
            insights
                .and_then(|insights| insights.retention_days)
                .map(i32::from),
        )
}

/// The password that waits to be set: the one made earlier, or a new one, stored before it is used.
async fn pending_password(context: &Context, restore: &Restore) -> Result<Credentials, StepError> {
    let plan = restore.plan();
    let secrets = context.aws.secrets_manager();
    let id = RestoreId::parse(&plan.restore_id)?;
    let resource = Resource::new(ResourceKind::Secret, &plan.secret_name, &plan.secret_name);
    let resource = restore.intend(resource).await?;
    create_secret(context, restore, &id).await?;
    let token = id.request_token("master-password");
    if read_pending(context, restore).await?.is_none() {
        let made = secrets
            .get_random_password()
            .password_length(LENGTH)
            .exclude_characters(EXCLUDED_CHARACTERS)
            .require_each_included_type(true)
            .send()
            .await
            .map_err(|error| StepError::from_sdk("make a password", error))?;
        let password = Secret::new(made.random_password.unwrap_or_default());
        let value = Secret::new(
            json!({
                "engine": plan.source.engine.secret_name(),
                "username": plan.source.master_username,
                "password": password.expose(),
                "dbClusterIdentifier": plan.name(),
                "port": plan.target.port,
            })
            .to_string(),
        );
        let put = secrets
            .put_secret_value()
            .secret_id(&plan.secret_name)
            .client_request_token(&token)
            .version_stages(Stage::Pending.label())
            .secret_string(value.expose())
            .send()
            .await;
        match put {
            Ok(_) => {}
            // Another invocation of this step stored its password first: that one counts.
            Err(error) if wire_code(&error) == Some("ResourceExistsException") => {}
            Err(error) => {
                let action = format!("store secret `{}`", plan.secret_name);
                return Err(not_known_yet(StepError::from_sdk(action, error)));
            }
        }
    }
    let pending = read_pending(context, restore).await?;
    // What was just stored may not be seen yet: the next attempt finds it.
    let pending = pending.ok_or_else(|| {
        StepError::new(
            &AR0028,
            format!(
                "secret `{}` does not show its pending version yet",
                plan.secret_name
            ),
        )
    })?;
    restore.created(resource, None).await?;
    Ok(pending)
}

/// What waits to be set, if anything does.
async fn read_pending(
    context: &Context,
    restore: &Restore,
) -> Result<Option<Credentials>, StepError> {
    let plan = restore.plan();
    let (secrets, username) = (context.aws.secrets_manager(), &plan.source.master_username);
    secrets::read(secrets, &plan.secret_name, Stage::Pending, username)
        .await
        .map_err(not_known_yet)
}

/// IAM allows the use of a secret by its tag. One that was made a moment ago may not be known with it everywhere, and
/// is then denied instead of not found: the next attempt tells.
fn not_known_yet(error: StepError) -> StepError {
    if *error.code() == AR0027 {
        return StepError::new(&AR0028, format!("the secret may not be known yet: {error}"));
    }
    error
}

/// Makes the secret, without a value yet, or finds the one that was made before and proves it ours.
async fn create_secret(
    context: &Context,
    restore: &Restore,
    id: &RestoreId,
) -> Result<(), StepError> {
    let plan = restore.plan();
    if is_there(context, restore).await? {
        return Ok(());
    }
    let mut request = context
        .aws
        .secrets_manager()
        .create_secret()
        .name(&plan.secret_name)
        .client_request_token(id.request_token("master-secret"))
        .description(format!("master user of {}", plan.name()));
    for tag in ownership::tags(plan, plan.expires_at) {
        request = request.tags(Tag::builder().set_key(tag.key).set_value(tag.value).build());
    }
    match request.send().await {
        Ok(_) => Ok(()),
        // The token tells versions apart, not secrets: an attempt whose answer was lost made it.
        Err(error) if wire_code(&error) == Some("ResourceExistsException") => {
            if is_there(context, restore).await? {
                return Ok(());
            }
            Err(StepError::new(
                &AR0028,
                format!(
                    "secret `{}` exists but cannot be seen yet",
                    plan.secret_name
                ),
            ))
        }
        Err(error) => Err(StepError::from_sdk(
            format!("create secret `{}`", plan.secret_name),
            error,
        )),
    }
}

/// Whether the secret exists.
///
/// # Errors
/// AR0012 when it is a stranger's.
async fn is_there(context: &Context, restore: &Restore) -> Result<bool, StepError> {
    let plan = restore.plan();
    let secrets = context.aws.secrets_manager();
    let described = secrets.describe_secret().secret_id(&plan.secret_name);
    match described.send().await {
        Ok(found) => {
            let tags: Vec<_> = found
                .tags()
                .iter()
                .map(|tag| rds_tag(tag.key(), tag.value()))
                .collect();
            ownership::prove(&plan.secret_name, &tags, &plan.restore_id, None, None)?;
            Ok(true)
        }
        Err(error) if wire_code(&error) == Some("ResourceNotFoundException") => Ok(false),
        Err(error) => Err(StepError::from_sdk(
            format!("describe secret `{}`", plan.secret_name),
            error,
        )),
    }
}

fn rds_tag(key: Option<&str>, value: Option<&str>) -> aws_sdk_rds::types::Tag {
    aws_sdk_rds::types::Tag::builder()
        .set_key(key.map(str::to_owned))
        .set_value(value.map(str::to_owned))
        .build()
}

/// Makes a password that has worked the current one.
pub(crate) async fn promote(context: &Context, restore: &Restore) -> Result<(), StepError> {
    let plan = restore.plan();
    if plan.master_password != MasterPassword::Secret {
        return Ok(());
    }
    let secrets = context.aws.secrets_manager();
    let described = secrets
        .describe_secret()
        .secret_id(&plan.secret_name)
        .send()
        .await;
    let described = described.map_err(|error| {
        StepError::from_sdk(format!("describe secret `{}`", plan.secret_name), error)
    })?;
    let stages = described
        .version_ids_to_stages()
        .cloned()
        .unwrap_or_default();
    let version_at = |label: &str| {
        stages
            .iter()
            .find(|(_, labels)| labels.iter().any(|found| found == label))
            .map(|(version, _)| version.clone())
    };
    let (current, pending) = (
        version_at(Stage::Current.label()),
        version_at(Stage::Pending.label()),
    );
    let Some(pending) = pending.filter(|pending| Some(pending) != current.as_ref()) else {
        return Ok(());
    };
    secrets
        .update_secret_version_stage()
        .secret_id(&plan.secret_name)
        .version_stage(Stage::Current.label())
        .move_to_version_id(pending)
        .set_remove_from_version_id(current)
        .send()
        .await
        .map(|_| ())
        .map_err(|error| {
            StepError::from_sdk(
                format!("make the new version of `{}` current", plan.secret_name),
                error,
            )
        })
}
