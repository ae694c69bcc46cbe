//! Which of two regions may restore, and which of them runs which restore.
//!
//! A pipeline that is deployed in two regions shares one small table with the other: a DynamoDB global table with
//! multi-Region strong consistency. A strongly consistent read sees the last write of any region, and a conditional
//! write is decided against it, so that of two that are made at once one is refused ("How DynamoDB global tables
//! work", consistency modes). It has neither transactions nor TTL, which is why the state table is not one.
//!
//! Only people write the role; only Plan writes claims, and nothing takes one back.

use time::OffsetDateTime;

use crate::errors::{AR0064, AR0065, StepError};
use crate::ledger::rfc3339;
use crate::names::RestoreId;
use crate::step::Context;
use crate::table::{Condition, Item, Table, Written};

/// The key of the role, both halves.
const ROLE: &str = "ROLE";
/// The sort key of a claim.
const CLAIM: &str = "CLAIM";

/// The table that both regions see.
#[derive(Debug)]
pub struct RoleTable(Table);

/// Which region is active.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    /// Such as `eu-west-1`.
    pub active_region: String,
    /// One more with each change, from 1.
    pub epoch: i64,
    /// When it became active (RFC 3339).
    pub since: String,
    /// Who said so: an ARN.
    pub by: String,
}

/// The execution that a restore's id belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    /// The restore.
    pub id: &'a RestoreId,
    /// Its execution's ARN.
    pub execution_arn: &'a str,
    /// When the execution started, as Step Functions tells it.
    pub started_at: &'a str,
}

impl RoleTable {
    /// The table of this name, as a region's replica has it.
    pub fn new(client: aws_sdk_dynamodb::Client, name: impl Into<String>) -> Self {
        Self(Table::new(client, name))
    }

    /// The table of this pipeline; `None` when it is deployed in one region only.
    pub fn of(context: &Context) -> Option<Self> {
        let name = context.settings.role_table.as_deref()?;
        Some(Self::new(context.aws.dynamodb().clone(), name))
    }

    /// The role, read consistently; `None` when nobody has made a region active yet.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn role(&self) -> Result<Option<Role>, StepError> {
        let found = self.0.get(ROLE, ROLE).await?;
        Ok(found.map(|item| {
            let text = |name: &str| item.text(name).unwrap_or_default().to_owned();
            Role {
                active_region: text("activeRegion"),
                epoch: item.number("epoch").unwrap_or_default(),
                since: text("since"),
                by: text("by"),
            }
        }))
    }

    /// Makes a region the active one, if the role is still as it was read. `Refused` when somebody was faster.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn activate(
        &self,
        was: Option<&Role>,
        region: &str,
        by: &str,
        now: OffsetDateTime,
    ) -> Result<Written, StepError> {
        let epoch = was.map_or(0, |role| role.epoch);
        let item = Item::key(ROLE, ROLE)
            .with("activeRegion", region)
            .with_number("epoch", epoch + 1)
            .with("since", rfc3339(now))
            .with("by", by);
        let condition = match was {
            None => Condition::absent(),
            Some(_) => Condition::new("#epoch = :epoch")
                .name("epoch")
                .number("epoch", epoch),
        };
        self.0.put(item, Some(condition)).await
    }

    /// Takes a restore's id for this region's execution: once, and for good.
    ///
    /// # Errors
    /// AR0065 when it was taken by another execution, of this region or the other.
    async fn claim(
        &self,
        region: &str,
        claimant: Claimant<'_>,
        now: OffsetDateTime,
    ) -> Result<(), StepError> {
        let key = format!("CLAIM#{}", claimant.id.as_str());
        let item = Item::key(&key, CLAIM)
            .with("region", region)
            .with("startedAt", claimant.started_at)
            .with("executionArn", claimant.execution_arn)
            .with("claimedAt", rfc3339(now));
        if self.0.put(item, Some(Condition::absent())).await? == Written::Yes {
            return Ok(());
        }
        let found = self.0.get(&key, CLAIM).await?;
        let found = found.ok_or_else(|| {
            StepError::defect(format!("the claim of `{}` went away", claimant.id.as_str()))
        })?;
        let text = |name: &str| found.text(name).unwrap_or_default();
        // Plan is run again after a lost answer: the claim is its own.
        let own = text("executionArn") == claimant.execution_arn
            && text("startedAt") == claimant.started_at;
        if own {
            return Ok(());
        }
        Err(StepError::new(
            &AR0065,
            format!(
                "restore `{}` belongs to {} since {}: execution `{}`, started {}",
                claimant.id.as_str(),
                text("region"),
                text("claimedAt"),
                text("executionArn"),
                text("startedAt"),
            ),
        ))
    }
}

/// Who may restore instead, when this region may not: `None` when it may, or when the pipeline has one region only.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn passive(context: &Context) -> Result<Option<StepError>, StepError> {
    let Some(table) = RoleTable::of(context) else {
        return Ok(None);
    };
    let here = context.aws.region();
    let message = match table.role().await? {
        Some(role) if role.active_region == here => return Ok(None),
        Some(role) => format!(
            "{here} is passive: {} is active since {} (epoch {})",
            role.active_region, role.since, role.epoch
        ),
        None => format!("{here} is passive: no region was made active yet"),
    };
    Ok(Some(StepError::new(&AR0064, message)))
}

/// Lets an execution go on only where its region is active and the restore's id is its own.
///
/// The role is read again after the claim: whoever makes the other region active in between is found out before
/// anything is made. The claim stays.
///
/// # Errors
/// AR0064 when this region is not active; AR0065 when another execution has the id.
pub async fn admit(context: &Context, claimant: Claimant<'_>) -> Result<(), StepError> {
    let Some(table) = RoleTable::of(context) else {
        return Ok(());
    };
    if let Some(refused) = passive(context).await? {
        return Err(refused);
    }
    let here = context.aws.region();
    table.claim(here, claimant, context.clock.now()).await?;
    match passive(context).await? {
        Some(refused) => Err(refused),
        None => Ok(()),
    }
}
