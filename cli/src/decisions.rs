//! What people decide about restores: whether one may go on, and when its target goes.

use anyhow::{Result, anyhow};
use aurora_restore_core::approval::{self, Decided, Verdict, Wanted};
use aurora_restore_core::expiry::{self, Changed};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::{Clock, Restore, StepError};
use time::OffsetDateTime;

use crate::remote::Pipeline;

impl Pipeline {
    /// Approves or rejects a restore that waits for it, in the name of whoever calls. `field` is what the comment is
    /// called where it was given.
    ///
    /// # Errors
    /// AR0001 for a comment that cannot be, AR0055 when the decision does not count.
    pub async fn decide(
        &self,
        restore_id: &str,
        verdict: Verdict,
        comment: Option<&str>,
        field: &str,
        now: OffsetDateTime,
    ) -> Result<Decided> {
        let by = self.caller().await?;
        self.decide_as(&by, restore_id, verdict, comment, field, now)
            .await
            .map_err(|error| anyhow!(error.report()))
    }

    /// As [`Pipeline::decide`], in the name of this ARN.
    ///
    /// # Errors
    /// As [`Pipeline::decide`].
    pub async fn decide_as(
        &self,
        by: &str,
        restore_id: &str,
        verdict: Verdict,
        comment: Option<&str>,
        field: &str,
        now: OffsetDateTime,
    ) -> Result<Decided, StepError> {
        let id = RestoreId::parse(restore_id)?;
        let wanted = Wanted::read(verdict, by, comment, field)?;
        approval::decide(&self.table(), &self.sfn, &id, &wanted, now).await
    }

    /// Changes when a restore's target goes, in the name of whoever calls.
    ///
    /// # Errors
    /// AR0001 for a time that is not permitted, AR0055 when there is nothing to change.
    pub async fn change_expiry(&self, restore_id: &str, wanted: expiry::Wanted) -> Result<Changed> {
        let by = self.caller().await?;
        let context = self.context(Clock::system());
        let changed = async {
            let id = RestoreId::parse(restore_id)?;
            expiry::change(&context, &id, wanted, &by).await
        };
        changed.await.map_err(|error| anyhow!(error.report()))
    }

    /// When a restore's target goes; `None` when it is kept, or there is no such restore.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn expires_at(&self, restore_id: &str) -> Result<Option<OffsetDateTime>> {
        let id = RestoreId::parse(restore_id).map_err(|error| anyhow!(error.report()))?;
        let context = self.context(Clock::system());
        let Some(restore) = Restore::find(&context, &id).await? else {
            return Ok(None);
        };
        Ok(expiry::stands(&context.table(), restore.plan()).await?.at)
    }
}
