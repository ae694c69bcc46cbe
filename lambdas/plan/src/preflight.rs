//! What would fail later is found now, before anything is made: all of it at once, each with its remedy.

use std::collections::BTreeSet;

use aurora_restore_core::errors::{
    AR0001, AR0006, AR0009, AR0010, AR0011, AR0013, AR0015, AR0016, AR0024, AR0043, wire_code,
};
use aurora_restore_core::plan::{CopyReason, SnapshotCopy};
use aurora_restore_core::request::MasterPassword;
use aurora_restore_core::settings::DeployedSettings;
use aurora_restore_core::switching::{Switch, pointer};
use aurora_restore_core::{Context, Plan, StepError, ledger, ownership, queue, rds, region};
use aws_sdk_kms::types::KeyState;
use aws_sdk_rds::types::Filter;

use crate::finding::Finding;
use crate::network::network;
use crate::permissions::permissions;

/// Tags that RDS takes for a resource (Aurora user guide, quotas).
const MOST_TAGS: usize = 50;
/// Tags of the pipeline's own.
const OWN_TAGS: usize = 3;
/// What a check of an instance class is called.
const CLASS_IS_OFFERED: &str = "class is offered";

/// Looks at everything that the plan rests on. Changes nothing.
pub async fn examine(context: &Context, plan: &Plan, settings: &DeployedSettings) -> Vec<Finding> {
    let client = context.aws.rds(&plan.target.region);
    let source = &plan.source;
    let flow = format!("{} > {}", source.cluster_identifier, plan.name());
    let mut found = vec![
        // A plan that they forbid, or of a snapshot that is not usable, is not made.
        Finding::of(
            "direction of data",
            flow,
            Ok("permitted by the deployed flows".to_owned()),
        ),
        Finding::of("source", source.to_string(), Ok("available".to_owned())),
    ];
    found.extend(names(&client, plan).await);
    found.extend(secrets(context, plan).await);
    found.extend(scaling(plan));
    found.extend(tags(plan));
    found.extend(network(context, &client, plan).await);
    found.extend(groups(&client, plan).await);
    found.extend(classes(&client, plan).await);
    found.extend(quotas(context, &client, plan).await);
    found.extend(keys(context, plan).await);
    found.extend(pointers(context, plan).await);
    found.extend(permissions(context, plan, settings).await);
    found
}

/// The secret and the record that Switch moves are there, and such as it can move; the parameter was read.
async fn pointers(context: &Context, plan: &Plan) -> Vec<Finding> {
    let Switch::Pointer(pointer) = &plan.switch else {
        return Vec::new();
    };
    let found = pointer::look_ahead(context, pointer).await;
    found
        .into_iter()
        .map(|(name, seen)| {
            let answer = seen.map(|()| "there; it is moved last of all".to_owned());
            Finding::of("pointer", name, answer)
        })
        .collect()
}

/// Whether this region may restore, where the pipeline is deployed in two. Nothing is claimed.
pub async fn region_is_active(context: &Context) -> Option<Finding> {
    context.settings.role_table.as_deref()?;
    let answer = match region::passive(context).await {
        Ok(None) => Ok("active".to_owned()),
        Ok(Some(refused)) | Err(refused) => Err(refused),
    };
    Some(Finding::of("region", context.aws.region(), answer))
}

/// Whether another restore holds the target's lock. The Plan step asks more: whether that restore is over.
pub async fn lock_is_free(context: &Context, plan: &Plan) -> Finding {
    let holder = ledger::lock_holder(&context.table(), plan.named_arn()).await;
    let answer = holder.and_then(|holder| match holder {
        None => Ok("free".to_owned()),
        Some(holder) => Err(StepError::new(
            &AR0013,
            format!("`{}` is locked by restore `{holder}`", plan.name()),
        )),
    });
    Finding::of("lock", plan.name(), answer)
}

/// The names of what will be made are free.
async fn names(client: &aws_sdk_rds::Client, plan: &Plan) -> Vec<Finding> {
    let name = &plan.target.cluster_identifier;
    let mut found = vec![Finding::of(
        "name is free",
        format!("cluster {name}"),
        cluster_is_free(client, plan).await,
    )];
    for name in plan.instance_identifiers() {
        let answer = instance_is_free(client, plan, &name).await;
        found.push(Finding::of(
            "name is free",
            format!("instance {name}"),
            answer,
        ));
    }
    found
}

async fn cluster_is_free(client: &aws_sdk_rds::Client, plan: &Plan) -> Result<String, StepError> {
    let name = &plan.target.cluster_identifier;
    match rds::find_cluster(client, name).await? {
        Some(found)
            if found.db_cluster_resource_id().is_some()
                && found.db_cluster_resource_id() == plan.source.cluster_resource_id.as_deref() =>
        {
            let text = format!("`{name}` is the cluster that the snapshot was taken of");
            Err(StepError::new(&AR0006, text))
        }
        Some(found) if !ownership::is_tagged(found.tag_list(), &plan.restore_id) => {
            let status = found.status().unwrap_or("?");
            let text = format!("cluster `{name}` is there already, `{status}`");
            Err(StepError::new(&AR0009, text))
        }
        _ => Ok("free".to_owned()),
    }
}

async fn instance_is_free(
    client: &aws_sdk_rds::Client,
    plan: &Plan,
    name: &str,
) -> Result<String, StepError> {
    match rds::find_instance(client, name).await? {
        Some(found) if !ownership::is_tagged(found.tag_list(), &plan.restore_id) => Err(
            StepError::new(&AR0009, format!("instance `{name}` is there already")),
        ),
        _ => Ok("free".to_owned()),
    }
}

/// The secret of the source's password is there, and none has the name of the new one.
async fn secrets(context: &Context, plan: &Plan) -> Vec<Finding> {
    let source = &plan.source_master_secret_arn;
    let answer = source_secret_exists(context, source).await;
    let mut found = vec![Finding::of("source's secret", source, answer)];
    // A secret of that name is somebody's, such as an earlier restore's.
    if plan.master_password == MasterPassword::Secret {
        let name = &plan.secret_name;
        let answer = own_secret_is_free(context, name).await;
        found.push(Finding::of(
            "name is free",
            format!("secret {name}"),
            answer,
        ));
    }
    found
}

async fn source_secret_exists(context: &Context, secret: &str) -> Result<String, StepError> {
    let client = context.aws.secrets_manager_of(secret);
    match client.describe_secret().secret_id(secret).send().await {
        Ok(_) => Ok("there; its value is read by Verify alone".to_owned()),
        Err(error) if wire_code(&error) == Some("ResourceNotFoundException") => Err(
            StepError::new(&AR0024, format!("there is no secret `{secret}`")),
        ),
        Err(error) => Err(StepError::from_sdk(
            format!("describe secret `{secret}`"),
            error,
        )),
    }
}

async fn own_secret_is_free(context: &Context, name: &str) -> Result<String, StepError> {
    let client = context.aws.secrets_manager();
    match client.describe_secret().secret_id(name).send().await {
        Ok(_) => Err(StepError::new(
            &AR0009,
            format!("secret `{name}` is there already"),
        )),
        Err(error) if wire_code(&error) == Some("ResourceNotFoundException") => {
            Ok("free".to_owned())
        }
        Err(error) => Err(StepError::from_sdk(
            format!("describe secret `{name}`"),
            error,
        )),
    }
}

fn scaling(plan: &Plan) -> Option<Finding> {
    let target = &plan.target;
    let mut instances = target.instances.iter();
    if !instances.any(|instance| instance.class == "db.serverless") {
        return None;
    }
    let answer = match &target.serverless_scaling {
        Some(scaling) => Ok(format!(
            "{} to {} ACU",
            scaling.min_capacity, scaling.max_capacity
        )),
        None => Err(StepError::new(
            &AR0001,
            "at `target.serverlessScaling`: absent, and the source has none to take; expected minCapacity and maxCapacity for db.serverless",
        )),
    };
    Some(Finding::of(
        "serverless scaling",
        &target.cluster_identifier,
        answer,
    ))
}

fn tags(plan: &Plan) -> Option<Finding> {
    let count = plan.target.tags.len() + OWN_TAGS;
    if count <= MOST_TAGS {
        return None;
    }
    let text = format!(
        "at `target.tags`: {count} with the source's and the pipeline's own, expected at most {MOST_TAGS}"
    );
    let error = StepError::new(&AR0001, text);
    Some(Finding::of(
        "tags",
        &plan.target.cluster_identifier,
        Err(error),
    ))
}

/// The parameter groups exist, are of the engine's family, and let nothing run in quarantine.
async fn groups(client: &aws_sdk_rds::Client, plan: &Plan) -> Vec<Finding> {
    let target = &plan.target;
    let mut found = Vec::new();
    let of_cluster = [
        &target.cluster_parameter_group,
        &plan.quarantine_parameter_group,
    ];
    for group in of_cluster.into_iter().collect::<BTreeSet<_>>() {
        let answer = cluster_group_fits(client, plan, group).await;
        found.push(Finding::of("cluster parameter group", group, answer));
    }
    let of_instances = target
        .instances
        .iter()
        .map(|instance| &instance.parameter_group);
    for group in of_instances.collect::<BTreeSet<_>>() {
        let answer = instance_group_fits(client, plan, group).await;
        found.push(Finding::of("parameter group", group, answer));
    }
    let group = &plan.quarantine_parameter_group;
    let answer = nothing_runs_by_itself(client, plan, group).await;
    found.push(Finding::of("quiet in quarantine", group, answer));
    found
}

/// The quarantine parameter group lets the restored server do nothing by itself. What the server says is asked by Verify.
async fn nothing_runs_by_itself(
    client: &aws_sdk_rds::Client,
    plan: &Plan,
    group: &str,
) -> Result<String, StepError> {
    let family = plan.source.engine.family(&plan.source.engine_version);
    let unattended = plan.source.engine.unattended();
    let name = unattended.parameter;
    let filter = Filter::builder().name("parameter-name").values(name);
    let described = client
        .describe_db_cluster_parameters()
        .db_cluster_parameter_group_name(group)
        .filters(filter.build())
        .send()
        .await;
    let described = described.map_err(|error| {
        StepError::from_sdk(
            format!("read `{name}` of cluster parameter group `{group}`"),
            error,
        )
    })?;
    let mut parameters = described.parameters().iter();
    let parameter = parameters.find(|parameter| parameter.parameter_name() == Some(name));
    let value = parameter.and_then(|parameter| parameter.parameter_value());
    let seen = match value {
        Some(value) => format!("has {name} `{value}`"),
        None => format!("leaves {name} to the engine"),
    };
    if (unattended.acts)(&family, value) {
        let text = format!(
            "cluster parameter group `{group}` {seen}, expected {}: {} would run in quarantine",
            unattended.expected, unattended.runs
        );
        return Err(StepError::new(&AR0043, text));
    }
    Ok(seen)
}

async fn cluster_group_fits(
    client: &aws_sdk_rds::Client,
    plan: &Plan,
    group: &str,
) -> Result<String, StepError> {
    let described = client
        .describe_db_cluster_parameter_groups()
        .db_cluster_parameter_group_name(group)
        .send()
        .await;
    let described = described.map_err(|error| {
        StepError::from_sdk(format!("describe cluster parameter group `{group}`"), error)
    })?;
    let first = described.db_cluster_parameter_groups().first();
    fits(
        plan,
        group,
        first.and_then(|found| found.db_parameter_group_family()),
    )
}

async fn instance_group_fits(
    client: &aws_sdk_rds::Client,
    plan: &Plan,
    group: &str,
) -> Result<String, StepError> {
    let described = client
        .describe_db_parameter_groups()
        .db_parameter_group_name(group)
        .send()
        .await;
    let described = described.map_err(|error| {
        StepError::from_sdk(format!("describe parameter group `{group}`"), error)
    })?;
    let first = described.db_parameter_groups().first();
    fits(
        plan,
        group,
        first.and_then(|found| found.db_parameter_group_family()),
    )
}

fn fits(plan: &Plan, group: &str, found: Option<&str>) -> Result<String, StepError> {
    let wanted = plan.source.engine.family(&plan.source.engine_version);
    match found {
        Some(found) if found != wanted => Err(StepError::new(
            &AR0015,
            format!("parameter group `{group}` is of family `{found}`, expected `{wanted}`"),
        )),
        _ => Ok(format!("exists, of family {wanted}")),
    }
}

async fn classes(client: &aws_sdk_rds::Client, plan: &Plan) -> Vec<Finding> {
    let classes = plan
        .target
        .instances
        .iter()
        .map(|instance| instance.class.as_str());
    let mut found = Vec::new();
    for class in classes.collect::<BTreeSet<_>>() {
        found.push(class_is_offered(client, plan, class).await);
    }
    found
}

async fn class_is_offered(client: &aws_sdk_rds::Client, plan: &Plan, class: &str) -> Finding {
    match storage_types_of(client, plan, class).await {
        Err(error) => Finding::of(CLASS_IS_OFFERED, class, Err(error)),
        Ok(listed) => {
            let (engine, version) = (plan.source.engine, &plan.source.engine_version);
            let offered = format!("for {engine} {version} in {}", plan.target.region);
            fits_storage(class, &offered, &plan.target.storage_type, &listed)
        }
    }
}

/// A class that is offered, with the storage types that RDS lists for it: what it does not list may all the same do.
fn fits_storage(class: &str, offered: &str, wanted: &str, listed: &[String]) -> Finding {
    if listed.iter().any(|listed| listed == wanted) {
        let text = format!("{offered}, with storage {wanted}");
        return Finding::of(CLASS_IS_OFFERED, class, Ok(text));
    }
    let text = format!(
        "{offered}, but listed with storage {} and not with {wanted}: the restore shows it",
        listed.join(" and ")
    );
    Finding::open(CLASS_IS_OFFERED, class, text)
}

/// The storage types that RDS lists this class with.
async fn storage_types_of(
    client: &aws_sdk_rds::Client,
    plan: &Plan,
    class: &str,
) -> Result<Vec<String>, StepError> {
    let (engine, version) = (plan.source.engine, &plan.source.engine_version);
    let region = &plan.target.region;
    let offered = client
        .describe_orderable_db_instance_options()
        .engine(engine)
        .engine_version(version)
        .db_instance_class(class)
        .send()
        .await
        .map_err(|error| StepError::from_sdk(format!("ask whether `{class}` is offered"), error))?;
    if offered.orderable_db_instance_options().is_empty() {
        let text = format!("`{class}` is not offered for {engine} {version} in {region}");
        return Err(StepError::new(&AR0016, text));
    }
    let options = offered.orderable_db_instance_options().iter();
    let listed = options.filter_map(|option| option.storage_type().map(str::to_owned));
    Ok(listed.collect::<BTreeSet<_>>().into_iter().collect())
}

/// What an account may have in a region is not used up.
async fn quotas(context: &Context, client: &aws_sdk_rds::Client, plan: &Plan) -> Vec<Finding> {
    let region = &plan.target.region;
    let answer = client.describe_account_attributes().send().await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let error = StepError::from_sdk("read the account's quotas", error);
            return vec![Finding::of("quota", region, Err(error))];
        }
    };
    let instances = i64::try_from(plan.target.instances.len()).unwrap_or(i64::MAX);
    let wanted = [("DBClusters", 1), ("DBInstances", instances)];
    let mut found = Vec::new();
    for quota in answer.account_quotas() {
        let name = quota.account_quota_name().unwrap_or_default();
        let (used, most) = (quota.used().unwrap_or(0), quota.max().unwrap_or(i64::MAX));
        let wanted = wanted.iter().find(|(wanted, _)| *wanted == name);
        let more = wanted.map_or(0, |(_, more)| *more);
        if more == 0 {
            continue;
        }
        let said = format!("{used} of {most} in use in {region}, {more} more needed");
        let answer = if used + more > most {
            Err(StepError::new(&AR0011, format!("{name}: {said}")))
        } else {
            Ok(said)
        };
        found.push(Finding::of("quota", name, answer));
    }
    for copy in &plan.copies {
        let answer = copy_has_room(context, copy).await;
        found.push(Finding::of(
            "quota",
            format!("copy to {}", copy.region),
            answer,
        ));
    }
    found
}

/// Copies wait for room that other restores' copies take up, and not for what nobody will ever free.
async fn copy_has_room(context: &Context, copy: &SnapshotCopy) -> Result<String, StepError> {
    match queue::no_room(context, copy).await? {
        Some(seen) => Err(StepError::new(
            &AR0011,
            format!("{seen}, and none of them is a restore's to remove"),
        )),
        None => Ok("there is room, or will be; its turn comes in CopySnapshot".to_owned()),
    }
}

/// The target's key is enabled where the target is, and so is the source's.
async fn keys(context: &Context, plan: &Plan) -> Vec<Finding> {
    let mut found = Vec::new();
    match &plan.target.kms_key_id {
        Some(key) => {
            let answer = key_is_enabled(context, &plan.target.region, key).await;
            found.push(Finding::of("key", key, answer));
        }
        None => found.extend(key_is_named(plan)),
    }
    for copy in &plan.copies {
        if let Some(key) = copy
            .kms_key_id
            .as_ref()
            .filter(|_| copy.region != plan.target.region)
        {
            let answer = key_is_enabled(context, &copy.region, key).await;
            found.push(Finding::of("key of the copy on the way", key, answer));
        }
    }
    let source = &plan.source;
    let Some(key) = &source.kms_key_id else {
        return found;
    };
    if rds::arn_field(key, 4).is_some_and(|account| account != plan.target.account) {
        let text = "another account's: its policy decides, and the copy shows it";
        found.push(Finding::open("source's key", key, text));
    } else if plan.target.kms_key_id.as_ref() != Some(key) {
        let answer = key_is_enabled(context, &source.region, key).await;
        // Whoever may not describe a key may all the same be allowed to have RDS use it.
        found.push(Finding::of("source's key", key, answer).or_open());
    }
    found
}

/// A copy of an encrypted snapshot that crosses account or region must name a key.
fn key_is_named(plan: &Plan) -> Option<Finding> {
    // A copy that stays within account, region and key keeps the snapshot's key.
    let crosses = |copy: &SnapshotCopy| {
        let mut reasons = copy.reasons.iter();
        reasons.any(|reason| *reason != CopyReason::Expiring)
    };
    if !plan.source.encrypted || !plan.copies.last().is_some_and(crosses) {
        return None;
    }
    let (source, region) = (&plan.source, &plan.target.region);
    let text =
        format!("the copy of {source} needs a key of {region}, and target.kmsKeyId is absent");
    let error = StepError::new(&AR0010, text);
    Some(Finding::of("key", source.to_string(), Err(error)))
}

async fn key_is_enabled(context: &Context, region: &str, key: &str) -> Result<String, StepError> {
    let described = context
        .aws
        .kms(region)
        .describe_key()
        .key_id(key)
        .send()
        .await;
    let described =
        described.map_err(|error| StepError::from_sdk(format!("describe key `{key}`"), error))?;
    let metadata = described.key_metadata();
    match metadata.and_then(|metadata| metadata.key_state()) {
        Some(KeyState::Enabled) => Ok("enabled; RDS asks its policy when it uses it".to_owned()),
        state => Err(StepError::new(
            &AR0010,
            format!(
                "key `{key}` is {}, expected Enabled",
                state.map_or("in an unknown state", KeyState::as_str)
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Verdict, judge};

    #[test]
    fn a_class_that_is_listed_with_other_storage_only_is_left_to_the_restore() {
        let listed = ["aurora".to_owned()];
        let fits = |wanted: &str| fits_storage("db.r5.large", "for it", wanted, &listed);
        assert_eq!(fits("aurora").verdict, Verdict::Ok);
        let open = fits("aurora-iopt1");
        assert_eq!(open.verdict, Verdict::Unknown);
        assert!(
            open.detail.contains("not with aurora-iopt1"),
            "{}",
            open.detail
        );
        assert!(judge(vec![open]).is_ok(), "it refuses no restore");
    }
}
