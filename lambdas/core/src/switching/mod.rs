//! How clients come to the target: what the plan says of it, and how a switch that fails is taken back.
//!
//! The cluster that is made stands beside the one it replaces until it is proved. The
//! replaced cluster is known by its resource id, recorded once by the Plan step: a
//! name, and so an ARN, can mean another cluster by the time that Switch acts.

pub mod pointer;
pub mod rename;

use aws_sdk_rds::types::DbCluster;
use serde::{Deserialize, Serialize};

use crate::errors::StepError;
use crate::ledger::{Leftover, Restore};
use crate::request::{DnsRecord, Retire};
use crate::step::Context;

/// How clients come to the target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "mode")]
pub enum Switch {
    /// By its own name, which is new.
    #[default]
    None,
    /// By a name that it gets in Switch.
    Rename(Rename),
    /// By what points to it.
    Pointer(Pointer),
}

/// The name that the target gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rename {
    /// The name, lowercase.
    pub name: String,
    /// The ARN of whoever bears it: the lock's key.
    pub arn: String,
    /// Who bears it until Switch; nobody, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replaced>,
}

/// What is moved to the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pointer {
    /// The parameter that says where the cluster is.
    pub parameter: String,
    /// The secret with which clients connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// The record of DNS that leads to the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<DnsRecord>,
    /// The ARN that the parameter named when the plan was made; none where it named no cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_arn: Option<String>,
    /// The cluster of that ARN, if it can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replaced>,
}

/// The cluster in whose place the target comes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replaced {
    /// Its name when the plan was made.
    pub identifier: String,
    /// Its ARN under that name.
    pub arn: String,
    /// What tells it from another of this name, and stays through a change of name.
    pub resource_id: String,
    /// What it is called once it is retired; its own name where nobody takes that.
    pub retired_identifier: String,
    /// Where clients reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Its instances.
    pub instances: Vec<String>,
    /// Whether it is protected against deletion, which is not ours to switch off.
    pub protected: bool,
    /// What becomes of it; it is kept as it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire: Option<Retire>,
}

impl Replaced {
    /// What the plan needs to know of a cluster that RDS describes; `None` where RDS leaves out what tells it apart.
    pub fn of(
        found: &DbCluster,
        retired_identifier: String,
        retire: Option<Retire>,
    ) -> Option<Self> {
        let members = found.db_cluster_members().iter();
        Some(Self {
            identifier: found.db_cluster_identifier()?.to_owned(),
            arn: found.db_cluster_arn()?.to_owned(),
            resource_id: found.db_cluster_resource_id()?.to_owned(),
            retired_identifier,
            endpoint: found.endpoint().map(str::to_owned),
            instances: members
                .filter_map(|member| member.db_instance_identifier())
                .map(str::to_owned)
                .collect(),
            protected: found.deletion_protection().unwrap_or(false),
            retire,
        })
    }
}

impl Switch {
    /// The cluster in whose place the target comes.
    pub fn replaced(&self) -> Option<&Replaced> {
        match self {
            Self::None => None,
            Self::Rename(rename) => rename.replaced.as_ref(),
            Self::Pointer(pointer) => pointer.replaced.as_ref(),
        }
    }

    /// The names by which clients come to this target: its own, that of the cluster it replaces, and what points to it.
    pub fn names<'a>(&'a self, target: &'a str) -> Vec<&'a str> {
        let replaced = self.replaced().map(|replaced| replaced.identifier.as_str());
        let pointers = match self {
            Self::None | Self::Rename(_) => [None, None, None],
            Self::Pointer(pointer) => [
                Some(pointer.parameter.as_str()),
                pointer.secret_name.as_deref(),
                pointer.record.as_ref().map(|record| record.name.as_str()),
            ],
        };
        let all = [Some(target), replaced].into_iter().chain(pointers);
        all.flatten().collect()
    }
}

/// How far a switch that failed is taken back.
#[derive(Debug)]
pub enum Back {
    /// All is as it was before.
    Done,
    /// A step was taken, or is being taken; a word for the log.
    UnderWay(String),
    /// Nothing that the pipeline may do puts it right.
    Stuck(StepError),
}

/// Takes the next step back from a switch that has begun.
///
/// # Errors
/// What AWS refuses.
pub async fn take_back(context: &Context, restore: &Restore) -> Result<Back, StepError> {
    let Some(begun) = restore.switch_begun().await? else {
        return Ok(Back::Done);
    };
    match &restore.plan().switch {
        Switch::None => Ok(Back::Done),
        Switch::Rename(rename) => rename::take_back(context, restore, rename).await,
        Switch::Pointer(pointer) => pointer::take_back(context, restore, pointer, &begun).await,
    }
}

/// What of a switch that began is not taken back yet; `None` when all is as it was before.
///
/// # Errors
/// What AWS refuses.
pub async fn not_back(context: &Context, restore: &Restore) -> Result<Option<Back>, StepError> {
    let Some(begun) = restore.switch_begun().await? else {
        return Ok(None);
    };
    match &restore.plan().switch {
        Switch::None => Ok(None),
        Switch::Rename(rename) => rename::not_back(context, restore, rename).await,
        Switch::Pointer(pointer) => pointer::not_back(context, restore, pointer, &begun).await,
    }
}

/// Whether clients are led to the replaced cluster again: then somebody has taken it back.
///
/// # Errors
/// What AWS refuses.
pub async fn leads_back(context: &Context, restore: &Restore) -> Result<bool, StepError> {
    match &restore.plan().switch {
        Switch::Pointer(pointer) => pointer::leads_back(context, restore, pointer).await,
        Switch::None | Switch::Rename(_) => Ok(false), // by its name, which is looked at
    }
}

/// Attaches the final groups, and the protection that is asked for, to the target, proved before: from here on others
/// may reach it. Whether anything was to be done.
///
/// # Errors
/// What RDS refuses.
pub async fn let_in(
    context: &Context,
    restore: &Restore,
    cluster: &DbCluster,
) -> Result<bool, StepError> {
    let target = &restore.plan().target;
    let attached: Vec<&str> = cluster
        .vpc_security_groups()
        .iter()
        .filter_map(|group| group.vpc_security_group_id())
        .collect();
    let all_attached = target.security_group_ids.len() == attached.len()
        && target
            .security_group_ids
            .iter()
            .all(|group| attached.contains(&group.as_str()));
    let protected = cluster.deletion_protection().unwrap_or(false);
    let copies_tags = cluster.copy_tags_to_snapshot().unwrap_or(false);
    let flags_set =
        protected == target.deletion_protection && copies_tags == target.copy_tags_to_snapshot;
    if all_attached && flags_set {
        return Ok(false); // a repeated step: asked for before
    }
    let name = cluster.db_cluster_identifier();
    let name = name.unwrap_or(&target.cluster_identifier);
    let asked = context
        .aws
        .rds(&target.region)
        .modify_db_cluster()
        .db_cluster_identifier(name)
        .set_vpc_security_group_ids(Some(target.security_group_ids.clone()))
        .deletion_protection(target.deletion_protection)
        .copy_tags_to_snapshot(target.copy_tags_to_snapshot)
        .apply_immediately(true)
        .send()
        .await;
    asked
        .map(|_| true)
        .map_err(|error| StepError::from_sdk(format!("attach security groups to `{name}`"), error))
}

/// What names the replaced cluster, and the command that puts it right, where the pipeline cannot.
pub fn leftover(restore: &Restore) -> Option<Leftover> {
    let plan = restore.plan();
    let region = &plan.target.region;
    if let Switch::Pointer(Pointer { parameter, .. }) = &plan.switch {
        return Some(Leftover {
            arn: parameter.clone(),
            remove_with: format!(
                "aws ssm get-parameter-history --region {region} --name {parameter}"
            ),
        });
    }
    let Switch::Rename(Rename {
        name,
        replaced: Some(replaced),
        ..
    }) = &plan.switch
    else {
        return None;
    };
    let retired = &replaced.retired_identifier;
    Some(Leftover {
        arn: plan.arn("cluster", retired),
        remove_with: format!(
            "aws rds modify-db-cluster --region {region} --db-cluster-identifier {retired} \
             --new-db-cluster-identifier {name} --apply-immediately"
        ),
    })
}
