//! What people decide about restores: whether one may go on.

use anyhow::{Result, anyhow};
use aurora_restore_core::StepError;
use aurora_restore_core::approval::{self, Decided, Verdict, Wanted};
use aurora_restore_core::names::RestoreId;
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
}
