//! Moves what points to a cluster, and moves it back.
//!
//! What stood before is recorded before the first change. Each pointer is moved only from
//! that, and taken back only from what we wrote: a value that somebody else wrote meanwhile
//! is never overwritten. Of the secret the version is recorded and not the value. Ours is in
//! quarantine until all is moved: who follows a pointer too early cannot write into it.

use aws_sdk_rds::types::DbCluster;
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Back, Pointer, rename};
use crate::errors::{AR0047, AR0049, AR0050, StepError, wire_code};
use crate::ledger::{Begun, Restore};
use crate::names::RestoreId;
use crate::ownership::{RETIRED_BY_TAG, tag};
use crate::request::DnsRecord;
use crate::secrets::{self, Secret, Stage};
use crate::settings::read_parameter;
use crate::step::Context;
use crate::{rds, sql};

/// What pointed elsewhere before a switch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Before {
    /// The parameter's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// The version of the secret that was current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_version: Option<String>,
    /// Where the record led.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Alias>,
    /// The host that a record is moved to: ours, which may be gone by the time that it is moved back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<String>,
}

/// A CNAME record as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    /// Where it leads.
    pub leads_to: String,
    /// How long resolvers keep it.
    pub ttl_seconds: i64,
}

/// Moves every pointer that is not moved yet.
///
/// # Errors
/// AR0047 when somebody else moved one, AR0050 when one is missing, AR0028 where RDS does not tell enough yet.
pub async fn point(
    context: &Context,
    restore: &Restore,
    pointer: &Pointer,
    ours: &DbCluster,
) -> Result<(), StepError> {
    let endpoint = restore.endpoint(ours)?;
    let begun = match restore.switch_begun().await? {
        Some(begun) => begun,
        None => {
            let mut before = before(context, pointer).await?;
            before.moved_to = Some(endpoint.host.clone());
            is_as_planned(pointer, &before)?;
            restore.begin_switch(context.clock.now(), before).await?
        }
    };
    mark_replaced(context, restore, pointer, &begun).await?;
    restore.hold().await?;
    if let Some(name) = &pointer.secret_name {
        move_secret(context, restore, name, ours, &endpoint, &begun).await?;
    }
    move_parameter(context, restore, pointer, ours, &begun).await?;
    if let Some(record) = &pointer.record {
        move_record(context, record, &alias(record, &endpoint), &begun).await?;
    }
    Ok(())
}

/// Whether the secret and the record are such as can be moved, by what each is called.
pub async fn look_ahead(
    context: &Context,
    pointer: &Pointer,
) -> Vec<(String, Result<(), StepError>)> {
    let mut found = Vec::new();
    if let Some(name) = &pointer.secret_name {
        let seen = current_version(context, name).await;
        found.push((Which::Secret.of(pointer), seen.map(drop)));
    }
    if let Some(record) = &pointer.record {
        let seen = read_record(context, record).await;
        found.push((Which::Record.of(pointer), seen.map(drop)));
    }
    found
}

/// What stands now.
async fn before(context: &Context, pointer: &Pointer) -> Result<Before, StepError> {
    let parameter = read_parameter(context.aws.ssm(), &pointer.parameter).await?;
    let secret_version = match &pointer.secret_name {
        Some(name) => Some(current_version(context, name).await?),
        None => None,
    };
    let record = match &pointer.record {
        Some(record) => Some(read_record(context, record).await?),
        None => None,
    };
    Ok(Before {
        parameter: Some(parameter.ok_or_else(|| missing_parameter(pointer))?),
        secret_version,
        record,
        moved_to: None,
    })
}

/// The cluster that is retired is the one that clients leave.
fn is_as_planned(pointer: &Pointer, before: &Before) -> Result<(), StepError> {
    let found = before.parameter.as_deref().and_then(cluster_named);
    let replaced = pointer.replaced.as_ref().map(|replaced| &replaced.arn);
    // Plans of versions that did not record it name the replaced cluster alone.
    let planned = pointer.cluster_arn.as_ref().or(replaced);
    if found.as_ref() == planned {
        return Ok(());
    }
    let said = |arn: Option<&String>| match arn {
        Some(arn) => format!("`{arn}`"),
        None => "no cluster".to_owned(),
    };
    Err(StepError::new(
        &AR0047,
        format!(
            "parameter `{}` names {}, and named {} when the plan was made",
            pointer.parameter,
            said(found.as_ref()),
            said(planned)
        ),
    ))
}

async fn mark_replaced(
    context: &Context,
    restore: &Restore,
    pointer: &Pointer,
    begun: &Begun,
) -> Result<(), StepError> {
    let Some(replaced) = pointer
        .replaced
        .as_ref()
        .filter(|replaced| replaced.retire.is_some())
    else {
        return Ok(());
    };
    let client = context.aws.rds(&restore.plan().target.region);
    let Some(found) = rds::find_cluster_by_id(&client, &replaced.resource_id).await? else {
        return Ok(()); // it expired, or somebody removed it: nobody is left to be retired
    };
    rds::refuse_member(&found)?;
    rename::mark(&client, restore.plan(), replaced, &found, begun).await
}

/// What the parameter says from now on. Keys of somebody else's in it stay.
async fn value_of(
    context: &Context,
    restore: &Restore,
    pointer: &Pointer,
    ours: &DbCluster,
    before: &Before,
) -> Result<String, StepError> {
    let endpoint = restore.endpoint(ours)?;
    let secret = match &pointer.secret_name {
        Some(name) => name.clone(),
        None => restore.master_secret_id(ours)?,
    };
    let secret_arn = secrets::arn_of(context.aws.secrets_manager(), &secret).await?;
    let old = before.parameter.as_deref().unwrap_or_default();
    let mut value: Map<String, Value> = serde_json::from_str(old).unwrap_or_default();
    let reader = ours.reader_endpoint().unwrap_or(&endpoint.host);
    value.insert("endpoint".to_owned(), json!(endpoint.host));
    value.insert("readerEndpoint".to_owned(), json!(reader));
    value.insert("port".to_owned(), json!(endpoint.port));
    value.insert("secretArn".to_owned(), json!(secret_arn));
    value.insert("clusterArn".to_owned(), json!(restore.plan().target.arn));
    Ok(Value::Object(value).to_string())
}

async fn move_parameter(
    context: &Context,
    restore: &Restore,
    pointer: &Pointer,
    ours: &DbCluster,
    begun: &Begun,
) -> Result<(), StepError> {
    let wanted = value_of(context, restore, pointer, ours, &begun.before).await?;
    let name = &pointer.parameter;
    let found = read_parameter(context.aws.ssm(), name).await?;
    match found {
        Some(found) if found == wanted => Ok(()),
        found if found == begun.before.parameter => put_parameter(context, name, &wanted).await,
        _ => Err(moved_by_others(&format!("parameter `{name}`"))),
    }
}

async fn put_parameter(context: &Context, name: &str, value: &str) -> Result<(), StepError> {
    let put = context
        .aws
        .ssm()
        .put_parameter()
        .name(name)
        .value(value)
        .overwrite(true);
    let put = put.send().await;
    put.map(|_| ())
        .map_err(|error| StepError::from_sdk(format!("write parameter `{name}`"), error))
}

/// The version of the secret that this restore writes.
fn our_version(restore: &Restore) -> Result<String, StepError> {
    Ok(RestoreId::parse(&restore.plan().restore_id)?.request_token("connection-secret"))
}

async fn move_secret(
    context: &Context,
    restore: &Restore,
    name: &str,
    ours: &DbCluster,
    endpoint: &sql::Endpoint,
    begun: &Begun,
) -> Result<(), StepError> {
    let version = our_version(restore)?;
    let current = current_version(context, name).await?;
    if current == version {
        return Ok(());
    }
    if Some(&current) != begun.before.secret_version.as_ref() {
        return Err(moved_by_others(&format!("secret `{name}`")));
    }
    let client = context.aws.secrets_manager();
    let old = secrets::read_fields(client, name).await?;
    let new = restore.new_master_credentials(context, ours).await?;
    let mut fields = old;
    fields.remove("masterarn"); // it names the secret of the cluster before
    fields.extend([
        (
            "engine".to_owned(),
            json!(restore.plan().source.engine.secret_name()),
        ),
        ("host".to_owned(), json!(endpoint.host)),
        ("port".to_owned(), json!(endpoint.port)),
        ("username".to_owned(), json!(new.username)),
        ("password".to_owned(), json!(new.password.expose())),
        (
            "dbClusterIdentifier".to_owned(),
            json!(restore.plan().name()),
        ),
    ]);
    let value = Secret::new(Value::Object(fields).to_string());
    let put = client
        .put_secret_value()
        .secret_id(name)
        .client_request_token(&version)
        .secret_string(value.expose())
        .send()
        .await;
    put.map(|_| ())
        .map_err(|error| StepError::from_sdk(format!("write secret `{name}`"), error))
}

/// The version of a secret that is current.
async fn current_version(context: &Context, name: &str) -> Result<String, StepError> {
    let client = context.aws.secrets_manager();
    let described = client.describe_secret().secret_id(name).send().await;
    let described = described.map_err(|error| {
        let is_missing = wire_code(&error) == Some("ResourceNotFoundException");
        let error = StepError::from_sdk(format!("describe secret `{name}`"), error);
        match is_missing {
            true => {
                StepError::new(&AR0050, format!("secret `{name}` does not exist")).caused_by(error)
            }
            false => error,
        }
    })?;
    let current = |stages: &Vec<String>| stages.iter().any(|stage| stage == Stage::Current.label());
    let versions = described.version_ids_to_stages().into_iter().flatten();
    versions
        .filter(|(_, stages)| current(stages))
        .map(|(version, _)| version.clone())
        .next()
        .ok_or_else(|| StepError::new(&AR0050, format!("secret `{name}` has no current version")))
}

/// Where the record leads from now on.
fn alias(record: &DnsRecord, endpoint: &sql::Endpoint) -> Alias {
    Alias {
        leads_to: endpoint.host.clone(),
        ttl_seconds: record.ttl_seconds.into(),
    }
}

async fn move_record(
    context: &Context,
    record: &DnsRecord,
    wanted: &Alias,
    begun: &Begun,
) -> Result<(), StepError> {
    let found = read_record(context, record).await?;
    if found == *wanted {
        return Ok(());
    }
    if Some(&found) != begun.before.record.as_ref() {
        return Err(moved_by_others(&format!("record `{}`", record.name)));
    }
    write_record(context, record, wanted).await
}

/// The record as Route 53 has it.
async fn read_record(context: &Context, record: &DnsRecord) -> Result<Alias, StepError> {
    let DnsRecord {
        hosted_zone_id: zone,
        name,
        ..
    } = record;
    let listed = context
        .aws
        .route53()
        .list_resource_record_sets()
        .hosted_zone_id(zone)
        .start_record_name(name)
        .start_record_type(RrType::Cname)
        .max_items(1)
        .send()
        .await
        .map_err(|error| StepError::from_sdk(format!("look at record `{name}`"), error))?;
    let is_it = |found: &&ResourceRecordSet| {
        let same = found
            .name()
            .trim_end_matches('.')
            .eq_ignore_ascii_case(name.trim_end_matches('.'));
        same && found.r#type() == &RrType::Cname && found.set_identifier().is_none()
    };
    let found = listed.resource_record_sets().iter().find(is_it);
    found
        .and_then(|found| {
            let [leads_to] = found.resource_records() else {
                return None;
            };
            Some(Alias {
                leads_to: leads_to.value().to_owned(),
                ttl_seconds: found.ttl()?,
            })
        })
        .ok_or_else(|| {
            StepError::new(
                &AR0050,
                format!("hosted zone {zone} has no simple CNAME record `{name}` with one value"),
            )
        })
}

/// Writes the record, in place of the one that is there.
async fn write_record(
    context: &Context,
    record: &DnsRecord,
    alias: &Alias,
) -> Result<(), StepError> {
    let name = &record.name;
    let incomplete = |error| StepError::defect("a record of DNS is incomplete").caused_by(error);
    let value = ResourceRecord::builder().value(&alias.leads_to).build();
    let set = ResourceRecordSet::builder()
        .name(name)
        .r#type(RrType::Cname)
        .ttl(alias.ttl_seconds)
        .resource_records(value.map_err(incomplete)?)
        .build()
        .map_err(incomplete)?;
    let change = Change::builder()
        .action(ChangeAction::Upsert)
        .resource_record_set(set);
    let batch = ChangeBatch::builder()
        .changes(change.build().map_err(incomplete)?)
        .build()
        .map_err(incomplete)?;
    let asked = context
        .aws
        .route53()
        .change_resource_record_sets()
        .hosted_zone_id(&record.hosted_zone_id)
        .change_batch(batch);
    let asked = asked.send().await;
    asked
        .map(|_| ())
        .map_err(|error| StepError::from_sdk(format!("write record `{name}`"), error))
}

/// Moves back whatever is still as we wrote it, and takes the marks off. Each by itself: one that cannot be moved back
/// keeps none of the others.
///
/// # Errors
/// What may pass.
pub async fn take_back(
    context: &Context,
    restore: &Restore,
    pointer: &Pointer,
    begun: &Begun,
) -> Result<Back, StepError> {
    let (mut passing, mut stuck) = (None, Vec::new());
    let mut sort = |error: StepError, what: String| match error.kind().is_passing() {
        true => passing = Some(error),
        false => stuck.push(format!("{what} cannot be moved back: {error}")),
    };
    let mut theirs = Vec::new();
    for which in Which::ALL {
        let what = which.of(pointer);
        match give_back(context, restore, pointer, begun, which).await {
            Ok(Place::Theirs) => theirs.push(written_by_others(&what)),
            Ok(_) => {}
            Err(error) => sort(error, what),
        }
    }
    if let Err(error) = unmark(context, restore, pointer).await {
        sort(error, "the mark of the replaced cluster".to_owned());
    }
    stuck.extend(theirs);
    match passing {
        Some(error) => Err(error),
        None => Ok(stuck_with(&stuck).unwrap_or(Back::Done)),
    }
}

/// What is not as it was before the switch.
///
/// # Errors
/// What may pass.
pub async fn not_back(
    context: &Context,
    restore: &Restore,
    pointer: &Pointer,
    begun: &Begun,
) -> Result<Option<Back>, StepError> {
    let (mut ours, mut stuck) = (Vec::new(), Vec::new());
    for which in Which::ALL {
        let what = which.of(pointer);
        match stands(context, restore, pointer, begun, which).await {
            Ok(Place::Before) => {}
            Ok(Place::Ours) => ours.push(what),
            Ok(Place::Theirs) => stuck.push(written_by_others(&what)),
            Err(error) if error.kind().is_passing() => return Err(error),
            Err(error) => stuck.push(format!("{what} cannot be looked at: {error}")),
        }
    }
    if marked(context, restore, pointer).await?.is_some() {
        ours.push("the mark of the replaced cluster".to_owned());
    }
    Ok(match ours.is_empty() {
        true => stuck_with(&stuck),
        false => Some(Back::UnderWay(format!("{}: still ours", ours.join(", ")))),
    })
}

/// Whether clients are led to the replaced cluster: by one of what points to a cluster, as it was before.
///
/// # Errors
/// What AWS refuses.
pub async fn leads_back(
    context: &Context,
    restore: &Restore,
    pointer: &Pointer,
) -> Result<bool, StepError> {
    let (Some(replaced), Some(begun)) = (&pointer.replaced, restore.switch_begun().await?) else {
        return Ok(false);
    };
    let value = read_parameter(context.aws.ssm(), &pointer.parameter).await?;
    let named = value.as_deref().and_then(cluster_named);
    if named.is_some_and(|arn| arn.eq_ignore_ascii_case(&replaced.arn)) {
        return Ok(true);
    }
    for which in Which::ALL {
        let place = stands(context, restore, pointer, &begun, which).await?;
        if which.is_asked_for(pointer) && place == Place::Before {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What points to a cluster, in the order in which it is moved back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Record,
    Parameter,
    Secret,
}

impl Which {
    const ALL: [Self; 3] = [Self::Record, Self::Parameter, Self::Secret];

    /// What it is called in messages.
    fn of(self, pointer: &Pointer) -> String {
        let record = pointer.record.as_ref().map(|record| record.name.as_str());
        let (kind, name) = match self {
            Self::Record => ("record", record),
            Self::Parameter => ("parameter", Some(pointer.parameter.as_str())),
            Self::Secret => ("secret", pointer.secret_name.as_deref()),
        };
        format!("{kind} `{}`", name.unwrap_or_default())
    }

    fn is_asked_for(self, pointer: &Pointer) -> bool {
        match self {
            Self::Record => pointer.record.is_some(),
            Self::Parameter => true,
            Self::Secret => pointer.secret_name.is_some(),
        }
    }
}

/// Whose a pointer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// As it was before.
    Before,
    /// As we wrote it.
    Ours,
    /// As somebody else wrote it since, or removed.
    Theirs,
}

/// How a pointer stands; one that is not asked for stands as it did.
async fn stands(
    context: &Context,
    restore: &Restore,
    pointer: &Pointer,
    begun: &Begun,
    which: Which,
) -> Result<Place, StepError> {
    let (before, plan) = (&begun.before, restore.plan());
    let stands = match which {
        Which::Parameter => {
            let found = read_parameter(context.aws.ssm(), &pointer.parameter).await?;
            let named = found.as_deref().and_then(cluster_named);
            let ours = named.as_deref() == Some(plan.target.arn.as_str());
            Ok(place(found == before.parameter, ours))
        }
        Which::Secret => {
            let Some(name) = &pointer.secret_name else {
                return Ok(Place::Before);
            };
            let ours = our_version(restore)?;
            let current = current_version(context, name).await;
            current.map(|current| {
                let is_before = Some(&current) == before.secret_version.as_ref();
                place(is_before, current == ours)
            })
        }
        Which::Record => {
            let Some(record) = &pointer.record else {
                return Ok(Place::Before);
            };
            let found = read_record(context, record).await;
            found.map(|found| {
                let ours = before.moved_to.as_ref() == Some(&found.leads_to);
                place(Some(&found) == before.record.as_ref(), ours)
            })
        }
    };
    match stands {
        Err(missing) if *missing.code() == AR0050 => Ok(Place::Theirs),
        stands => stands,
    }
}

/// Moves a pointer back if it is as we wrote it; how it stood.
async fn give_back(
    context: &Context,
    restore: &Restore,
    pointer: &Pointer,
    begun: &Begun,
    which: Which,
) -> Result<Place, StepError> {
    let place = stands(context, restore, pointer, begun, which).await?;
    if place != Place::Ours {
        return Ok(place);
    }
    let before = &begun.before;
    match which {
        Which::Record => {
            if let (Some(record), Some(before)) = (&pointer.record, &before.record) {
                write_record(context, record, before).await?;
            }
        }
        Which::Parameter => {
            if let Some(before) = &before.parameter {
                put_parameter(context, &pointer.parameter, before).await?;
            }
        }
        Which::Secret => {
            if let (Some(name), Some(before)) = (&pointer.secret_name, &before.secret_version) {
                give_version_back(context, restore, name, before).await?;
            }
        }
    }
    Ok(place)
}

async fn give_version_back(
    context: &Context,
    restore: &Restore,
    name: &str,
    before: &str,
) -> Result<(), StepError> {
    let asked = context
        .aws
        .secrets_manager()
        .update_secret_version_stage()
        .secret_id(name)
        .version_stage(Stage::Current.label())
        .move_to_version_id(before)
        .remove_from_version_id(our_version(restore)?);
    asked.send().await.map(drop).map_err(|error| {
        StepError::from_sdk(format!("give secret `{name}` its version back"), error)
    })
}

/// The replaced cluster, where it still carries our mark.
async fn marked(
    context: &Context,
    restore: &Restore,
    pointer: &Pointer,
) -> Result<Option<DbCluster>, StepError> {
    let replaced = pointer.replaced.as_ref();
    let Some(replaced) = replaced.filter(|replaced| replaced.retire.is_some()) else {
        return Ok(None);
    };
    let plan = restore.plan();
    let client = context.aws.rds(&plan.target.region);
    let found = rds::find_cluster_by_id(&client, &replaced.resource_id).await?;
    Ok(found.filter(|found| tag(found.tag_list(), RETIRED_BY_TAG) == Some(&plan.restore_id)))
}

async fn unmark(context: &Context, restore: &Restore, pointer: &Pointer) -> Result<(), StepError> {
    let found = marked(context, restore, pointer).await?;
    if let (Some(found), Some(replaced)) = (&found, &pointer.replaced) {
        let client = context.aws.rds(&restore.plan().target.region);
        rename::unmark(&client, restore.plan(), replaced, found).await?;
    }
    Ok(())
}

/// The ARN of the cluster that a parameter's value names.
pub fn cluster_named(value: &str) -> Option<String> {
    let value: Value = serde_json::from_str(value).ok()?;
    value.get("clusterArn")?.as_str().map(str::to_owned)
}

fn written_by_others(what: &str) -> String {
    format!("{what}: written by somebody else since, and left so")
}

/// Left as it is, and named.
fn stuck_with(stuck: &[String]) -> Option<Back> {
    let text = (!stuck.is_empty()).then(|| stuck.join("; "))?;
    Some(Back::Stuck(StepError::new(&AR0049, text)))
}

fn place(is_before: bool, is_ours: bool) -> Place {
    match (is_before, is_ours) {
        (true, _) => Place::Before,
        (false, true) => Place::Ours,
        (false, false) => Place::Theirs,
    }
}

fn moved_by_others(what: &str) -> StepError {
    let text = format!("{what} was written by somebody else since the switch began");
    StepError::new(&AR0047, text)
}

fn missing_parameter(pointer: &Pointer) -> StepError {
    let text = format!("parameter `{}` does not exist", pointer.parameter);
    StepError::new(&AR0050, text)
}
