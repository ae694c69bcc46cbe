//! What is on record of a switch: that it began, what stood before, and the name that the target gets.

use aws_sdk_rds::types::DbCluster;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    Evidence, Finding, Resource, ResourceKind, Restore, STARTED_AT, ToDo, json_attribute, lock_key,
    resource_item, to_json,
};
use crate::errors::{AR0012, StepError};
use crate::rds;
use crate::step::Context;
use crate::switching::pointer::Before;
use crate::table::{Condition, Item, Written};

/// A name that a restore gives its cluster in Switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenName {
    /// Its ARN under that name.
    pub arn: String,
    /// The name.
    pub identifier: String,
}

/// A switch that has begun, recorded before its first change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Begun {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Until when the replaced cluster is kept, where it is to be removed then.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub kept_until: Option<OffsetDateTime>,
    /// What pointed elsewhere before.
    #[serde(default)]
    pub before: Before,
}

/// Where the record of a switch stands in its restore.
const SWITCH: &str = "SWITCH";

impl Restore {
    /// Records that the switch begins. What was recorded earlier stands.
    ///
    /// # Errors
    /// AR0014 when the lock was lost.
    pub async fn begin_switch(
        &self,
        at: OffsetDateTime,
        before: Before,
    ) -> Result<Begun, StepError> {
        let retire = self
            .plan
            .switch
            .replaced()
            .and_then(|replaced| replaced.retire.as_ref());
        let begun = Begun {
            at,
            kept_until: retire.map(|retire| at + time::Duration::hours(retire.keep_hours.into())),
            before,
        };
        let item = Item::key(&self.pk(), SWITCH)
            .with("switch", to_json(&begun)?)
            .with(STARTED_AT, &self.plan.execution_started_at);
        let lock = Item::key(&lock_key(self.plan.named_arn()), "LOCK");
        let ours = (lock, self.lock_is(super::HELD));
        let not_begun =
            Condition::new("attribute_not_exists(pk) OR #executionStartedAt <> :started")
                .name(STARTED_AT)
                .value("started", &self.plan.execution_started_at);
        let first = vec![(item, Some(not_begun))];
        if self.table.write(first, Some(ours)).await? == Written::Yes {
            return Ok(begun);
        }
        self.hold().await?;
        self.switch_begun().await?.ok_or_else(|| self.lock_lost())
    }

    /// The switch, if it has begun.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn switch_begun(&self) -> Result<Option<Begun>, StepError> {
        let item = self.table.get(&self.pk(), SWITCH).await?;
        item.filter(|item| self.is_own(item))
            .map(|item| json_attribute(&item, "switch"))
            .transpose()
    }

    /// Names in the ledger, before the call, what the target is going to be called.
    ///
    /// # Errors
    /// AR0014 when the lock was lost, AR0012 when the target is not in the ledger.
    pub async fn give_name(&self, name: GivenName) -> Result<(), StepError> {
        let mut resource = self.target_resource().await?;
        if resource.given_name.as_ref() == Some(&name) {
            return self.hold().await;
        }
        resource.given_name = Some(name);
        self.write(resource_item(&self.pk(), &resource)?).await
    }

    /// The target in the ledger.
    ///
    /// # Errors
    /// AR0012 when it is not there.
    pub async fn target_resource(&self) -> Result<Resource, StepError> {
        let target = &self.plan.target;
        self.resource(&target.arn).await?.ok_or_else(|| {
            StepError::new(
                &AR0012,
                format!(
                    "cluster `{}` is not in the ledger",
                    target.cluster_identifier
                ),
            )
        })
    }

    /// The target, under its own name or under the one that this restore gives it.
    ///
    /// # Errors
    /// What RDS or DynamoDB refuses.
    pub async fn find_target(&self, context: &Context) -> Result<Option<DbCluster>, StepError> {
        let target = &self.plan.target;
        let recorded = self.resource(&target.arn).await?;
        let unrecorded = || {
            Resource::new(
                ResourceKind::Cluster,
                &target.arn,
                &target.cluster_identifier,
            )
        };
        let resource = recorded.unwrap_or_else(unrecorded);
        rds::find_our_cluster(&context.aws.rds(&target.region), &resource).await
    }

    /// Adds to the evidence what Switch found, once.
    ///
    /// # Errors
    /// AR0014 when the lock was lost.
    pub async fn add_evidence(
        &self,
        evidence: Evidence,
        finding: Finding,
    ) -> Result<(), StepError> {
        let mut evidence = evidence;
        if evidence
            .findings
            .iter()
            .any(|known| known.check == finding.check)
        {
            return Ok(());
        }
        evidence.findings.push(finding);
        self.record_evidence(&evidence).await
    }

    /// What is to be done about the replaced cluster once the restore is called restored.
    pub(super) fn retirement(&self, at: OffsetDateTime) -> Option<Item> {
        let replaced = self.plan.switch.replaced()?;
        replaced.retire.as_ref()?;
        Some(super::to_do(ToDo::Retire, &self.plan.restore_id, at))
    }
}
