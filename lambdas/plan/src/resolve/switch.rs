//! How clients come to the target, and which cluster it replaces.

use aurora_restore_core::errors::{AR0046, AR0050};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::plan::{Source, rds_arn};
use aurora_restore_core::request::{Request, SwitchMode};
use aurora_restore_core::settings::{DeployedSettings, read_parameter};
use aurora_restore_core::status::{self, Meaning};
use aurora_restore_core::switching::pointer::cluster_named;
use aurora_restore_core::switching::{Pointer, Rename, Replaced, Switch};
use aurora_restore_core::{Context, StepError, rds};
use aws_sdk_rds::types::DbCluster;
use serde_json::{Map, Value};

/// Where the target is made, and by whose leave.
pub(super) struct Place<'a> {
    pub(super) settings: &'a DeployedSettings,
    pub(super) id: &'a RestoreId,
    pub(super) account: &'a str,
    pub(super) region: &'a str,
}

/// What Switch will do.
pub(super) async fn switch(
    context: &Context,
    request: &Request,
    source: &Source,
    place: &Place<'_>,
) -> Result<Switch, StepError> {
    match request.switch.mode {
        SwitchMode::None => Ok(Switch::None),
        SwitchMode::Rename => rename(context, request, source, place)
            .await
            .map(Switch::Rename),
        SwitchMode::Pointer => pointer(context, request, source, place)
            .await
            .map(Switch::Pointer),
    }
}

async fn rename(
    context: &Context,
    request: &Request,
    source: &Source,
    place: &Place<'_>,
) -> Result<Rename, StepError> {
    let name = request.target.cluster_identifier.to_ascii_lowercase();
    let found = rds::find_cluster(&context.aws.rds(place.region), &name).await?;
    let replaced = match found {
        None => None,
        Some(found) => {
            place.settings.permit_replacing(&name)?;
            can_be_replaced(&found, &name, source)?;
            let retired = place.id.retired_cluster(&name);
            Replaced::of(&found, retired, request.switch.retire.clone())
        }
    };
    Ok(Rename {
        arn: rds_arn(place.region, place.account, "cluster", &name),
        name,
        replaced,
    })
}

/// Clients go on with the same engine, and what is not at rest cannot be renamed.
fn can_be_replaced(found: &DbCluster, name: &str, source: &Source) -> Result<(), StepError> {
    let refuse = |why: String| Err(StepError::new(&AR0046, format!("cluster `{name}` {why}")));
    rds::refuse_member(found)?;
    let (status, engine) = (
        found.status().unwrap_or_default(),
        found.engine().unwrap_or_default(),
    );
    if status::of_cluster(status) == Meaning::Stuck
        || status::of_cluster(status) == Meaning::Leaving
    {
        return refuse(format!("is `{status}`, expected `available`"));
    }
    if engine != source.engine.name() {
        return refuse(format!(
            "is of `{engine}`, the snapshot of `{}`",
            source.engine
        ));
    }
    Ok(())
}

async fn pointer(
    context: &Context,
    request: &Request,
    source: &Source,
    place: &Place<'_>,
) -> Result<Pointer, StepError> {
    let asked = &request.switch;
    let parameter = asked.parameter.clone().unwrap_or_default();
    let value = read_parameter(context.aws.ssm(), &parameter).await?;
    let value = value.ok_or_else(|| {
        StepError::new(
            &AR0050,
            format!("parameter `{parameter}` does not exist; it may be `{{}}` to begin with"),
        )
    })?;
    let is_object = serde_json::from_str::<Map<String, Value>>(&value).is_ok();
    if !is_object {
        return Err(StepError::new(
            &AR0050,
            format!("parameter `{parameter}` is not a JSON object; it may be `{{}}` to begin with"),
        ));
    }
    let cluster_arn = cluster_named(&value);
    let replaced = match &cluster_arn {
        Some(arn) => pointed_at(context, request, source, place, arn).await?,
        None => None,
    };
    Ok(Pointer {
        parameter,
        cluster_arn,
        secret_name: asked.secret_name.clone(),
        record: asked.record.clone(),
        replaced,
    })
}

/// The cluster of this ARN, where it is the pipeline's to see.
async fn pointed_at(
    context: &Context,
    request: &Request,
    source: &Source,
    place: &Place<'_>,
    arn: &str,
) -> Result<Option<Replaced>, StepError> {
    let Some(name) = arn.strip_prefix(&rds_arn(place.region, place.account, "cluster", "")) else {
        return Ok(None);
    };
    let Some(found) = rds::find_cluster(&context.aws.rds(place.region), name).await? else {
        return Ok(None);
    };
    place.settings.permit_replacing(name)?;
    let retire = request.switch.retire.clone();
    if retire.is_some() {
        can_be_replaced(&found, name, source)?;
    }
    Ok(Replaced::of(&found, name.to_owned(), retire))
}
