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
            let before = before(context, pointer).await?;
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
    })
}

/// The cluster that is retired is the one that clients leave.
fn is_as_planned(pointer: &Pointer, before: &Before) -> Result<(), StepError> {
    let value: Value =
        serde_json::from_str(before.parameter.as_deref().unwrap_or_default()).unwrap_or_default();
    let (found, planned) = (
        value.get("clusterArn").and_then(Value::as_str),
        &pointer.replaced,
    );
    match planned {
        Some(planned) if found != Some(planned.arn.as_str()) => Err(StepError::new(
            &AR0047,
            format!(
                "parameter `{}` names `{}`, and named `{}` when the plan was made",
                pointer.parameter,
                found.unwrap_or("no cluster"),
                planned.arn
            ),
        )),
        _ => Ok(()),
    }
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
        let (name, id) = (&replaced.identifier, &replaced.resource_id);
        return Err(StepError::new(
            &AR0047,
            format!("cluster `{name}` ({id}) is gone"),
        ));
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

/// Moves back whatever is still as we wrote it, and takes the marks off.
///
/// # Errors
/// What AWS refuses.
pub async fn take_back(
    context: &Context,
    restore: &Restore,
    pointer: &Pointer,
    begun: &Begun,
) -> Result<Back, StepError> {
    let stands = look(context, restore, pointer, begun).await?;
    if let (Place::Ours, Some(record), Some(before)) =
        (stands.record, &pointer.record, &begun.before.record)
    {
        write_record(context, record, before).await?;
    }
    if let (Place::Ours, Some(before)) = (stands.parameter, &begun.before.parameter) {
        put_parameter(context, &pointer.parameter, before).await?;
    }
    if let (Place::Ours, Some(name), Some(before)) = (
        stands.secret,
        &pointer.secret_name,
        &begun.before.secret_version,
    ) {
        let asked = context
            .aws
            .secrets_manager()
            .update_secret_version_stage()
            .secret_id(name)
            .version_stage(Stage::Current.label())
            .move_to_version_id(before)
            .remove_from_version_id(our_version(restore)?);
        asked.send().await.map_err(|error| {
            StepError::from_sdk(format!("give secret `{name}` its version back"), error)
        })?;
    }
    if let (Some(found), Some(replaced)) = (&stands.marked, &pointer.replaced) {
        let client = context.aws.rds(&restore.plan().target.region);
        rename::unmark(&client, restore.plan(), replaced, found).await?;
    }
    Ok(match stands.theirs(pointer) {
        Some(error) => Back::Stuck(error),
        None => Back::Done,
    })
}

/// What is not as it was before the switch.
///
/// # Errors
/// What AWS refuses.
pub async fn not_back(
    context: &Context,
    restore: &Restore,
    pointer: &Pointer,
    begun: &Begun,
) -> Result<Option<Back>, StepError> {
    let stands = look(context, restore, pointer, begun).await?;
    let ours = [stands.parameter, stands.secret, stands.record].contains(&Place::Ours);
    if ours || stands.marked.is_some() {
        let what = format!(
            "what parameter `{}` and its like say is ours",
            pointer.parameter
        );
        return Ok(Some(Back::UnderWay(what)));
    }
    Ok(stands.theirs(pointer).map(Back::Stuck))
}

/// Whose a pointer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// As it was before.
    Before,
    /// As we wrote it.
    Ours,
    /// As somebody else wrote it since.
    Theirs,
}

/// How the pointers stand.
struct Stands {
    parameter: Place,
    secret: Place,
    record: Place,
    /// The replaced cluster, where it still carries our mark.
    marked: Option<Box<DbCluster>>,
}

impl Stands {
    /// What somebody else wrote meanwhile: left as it is, and named.
    fn theirs(&self, pointer: &Pointer) -> Option<StepError> {
        let parameter = format!("parameter `{}`", pointer.parameter);
        let secret = format!(
            "secret `{}`",
            pointer.secret_name.as_deref().unwrap_or_default()
        );
        let record = pointer.record.as_ref().map(|record| record.name.as_str());
        let record = format!("record `{}`", record.unwrap_or_default());
        let all = [
            (self.parameter, parameter),
            (self.secret, secret),
            (self.record, record),
        ];
        let theirs: Vec<String> = all
            .into_iter()
            .filter(|(place, _)| *place == Place::Theirs)
            .map(|(_, what)| what)
            .collect();
        (!theirs.is_empty()).then(|| {
            let what = theirs.join(", ");
            StepError::new(
                &AR0049,
                format!("{what}: written by somebody else since, and left so"),
            )
        })
    }
}

async fn look(
    context: &Context,
    restore: &Restore,
    pointer: &Pointer,
    begun: &Begun,
) -> Result<Stands, StepError> {
    let (before, plan) = (&begun.before, restore.plan());
    let name = &pointer.parameter;
    let found = read_parameter(context.aws.ssm(), name).await?;
    let points_at_ours = |value: &String| {
        let value: Value = serde_json::from_str(value).unwrap_or_default();
        value.get("clusterArn").and_then(Value::as_str) == Some(&plan.target.arn)
    };
    let parameter = match &found {
        found if *found == before.parameter => Place::Before,
        Some(value) if points_at_ours(value) => Place::Ours,
        _ => Place::Theirs,
    };
    let secret = match &pointer.secret_name {
        None => Place::Before,
        Some(name) => {
            let current = current_version(context, name).await?;
            place(
                Some(&current) == before.secret_version.as_ref(),
                current == our_version(restore)?,
            )
        }
    };
    let record = match &pointer.record {
        None => Place::Before,
        Some(record) => {
            let found = read_record(context, record).await?;
            let leads_to_ours = leads_to_ours(context, restore, &found).await?;
            place(Some(&found) == before.record.as_ref(), leads_to_ours)
        }
    };
    let marked = match pointer
        .replaced
        .as_ref()
        .filter(|replaced| replaced.retire.is_some())
    {
        None => None,
        Some(replaced) => {
            let client = context.aws.rds(&plan.target.region);
            let found = rds::find_cluster_by_id(&client, &replaced.resource_id).await?;
            found.filter(|found| tag(found.tag_list(), RETIRED_BY_TAG) == Some(&plan.restore_id))
        }
    };
    Ok(Stands {
        parameter,
        secret,
        record,
        marked: marked.map(Box::new),
    })
}

fn place(is_before: bool, is_ours: bool) -> Place {
    match (is_before, is_ours) {
        (true, _) => Place::Before,
        (false, true) => Place::Ours,
        (false, false) => Place::Theirs,
    }
}

/// Ours, as long as it can be seen: it is removed after its pointers are moved back.
async fn leads_to_ours(
    context: &Context,
    restore: &Restore,
    alias: &Alias,
) -> Result<bool, StepError> {
    let ours = restore.find_target(context).await?;
    let host = ours.as_ref().and_then(|ours| ours.endpoint());
    Ok(host.is_some_and(|host| host == alias.leads_to))
}

fn moved_by_others(what: &str) -> StepError {
    let text = format!("{what} was written by somebody else since the switch began");
    StepError::new(&AR0047, text)
}

fn missing_parameter(pointer: &Pointer) -> StepError {
    let text = format!("parameter `{}` does not exist", pointer.parameter);
    StepError::new(&AR0050, text)
}
