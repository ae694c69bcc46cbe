//! Which of two regions restores, and how the other takes over.

use anyhow::{Context as _, Result, anyhow, bail};
use aurora_restore_core::errors::AR0033;
use aurora_restore_core::ledger::{Status, rfc3339};
use aurora_restore_core::region::{Role, RoleTable};
use aurora_restore_core::table::Written;
use aws_config::Region;
use aws_sdk_sfn::types::ExecutionStatus;
use serde::Serialize;
use time::OffsetDateTime;

use crate::remote::Pipeline;
use crate::stack::Stack;

/// How a region came to be active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Activated {
    /// The role as it is now.
    pub role: Role,
    /// Whether it is another than before.
    pub changed: bool,
    /// The restores that go on in the region that was active.
    pub still_running: Vec<String>,
    /// Why that region could not be asked.
    pub not_asked: Option<String>,
}

impl Pipeline {
    /// The pipeline of the same name in another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        let config = self.config.clone().into_builder();
        let config = config.region(Region::new(region.to_owned())).build();
        let stack = Stack {
            region: region.to_owned(),
            ..self.stack.clone()
        };
        Self::new(&config, stack)
    }

    /// Which region is active; `None` when none was made so yet.
    ///
    /// # Errors
    /// What DynamoDB refuses: among it that there is no such table.
    pub async fn role(&self, table: &str) -> Result<Option<Role>> {
        let role = self.role_table(table).role().await;
        // A table that is not there is the commonest reason, and no field of a request.
        role.map_err(|error| match *error.code() == AR0033 {
            true => anyhow!(
                "{}\nA pipeline in one region has no such table, and is always active; one in two may call it otherwise: name it with `--role-table`",
                error.message()
            ),
            false => anyhow!(error.report()),
        })
    }

    /// Makes this pipeline's region the active one.
    ///
    /// Whoever is made passive lets what it runs go on to its end, and begins nothing new. So the region that was
    /// active is asked before what runs there, and once more afterwards, for what began in between.
    ///
    /// # Errors
    /// When restores run in the region that was active or it cannot be asked, unless `force`; when somebody else
    /// changed the role meanwhile; what DynamoDB refuses.
    pub async fn activate(
        &self,
        table: &str,
        force: bool,
        now: OffsetDateTime,
    ) -> Result<Activated> {
        let here = &self.stack.region;
        let was = self.role(table).await?;
        let former = match &was {
            Some(role) if role.active_region == *here => {
                return Ok(Activated {
                    role: role.clone(),
                    changed: false,
                    still_running: Vec::new(),
                    not_asked: None,
                });
            }
            Some(role) => Some(self.in_region(&role.active_region)),
            None => None,
        };
        if let Some(former) = &former
            && !force
        {
            former.runs_nothing().await?;
        }
        let by = self.caller().await?;
        let written = self
            .role_table(table)
            .activate(was.as_ref(), here, &by, now)
            .await
            .map_err(|error| match error.kind().is_passing() {
                true => anyhow!(
                    "{}\nSee who is active with `aurora-restore region status`, and try again",
                    error.report()
                ),
                false => anyhow!(error.report()),
            })?;
        let role = self.role(table).await?;
        let role = role.context("the role that was written is not there")?;
        // The SDK tries again when an answer is lost: then its own first write stands in its way.
        let own = role.active_region == *here && role.by == by && role.since == rfc3339(now);
        if written == Written::Refused && !own {
            bail!("somebody else changed the role meanwhile: see `aurora-restore region status`");
        }
        let left = match &former {
            Some(former) => former.running().await,
            None => Ok(Vec::new()),
        };
        let not_asked = left.as_ref().err().map(|error| format!("{error:#}"));
        Ok(Activated {
            role,
            changed: true,
            still_running: left.unwrap_or_default(),
            not_asked,
        })
    }

    async fn runs_nothing(&self) -> Result<()> {
        let region = &self.stack.region;
        let running = self.running().await.with_context(|| {
            format!(
                "cannot tell what runs in {region}, which is active: nothing was changed. With --force this region \
                 becomes active all the same; what runs there may go on whenever it is back"
            )
        })?;
        if running.is_empty() {
            return Ok(());
        }
        bail!(
            "restores run in {region}, which is active: {}. Wait for them or stop them; nothing was changed. With \
             --force this region becomes active all the same, and they go on there to their end",
            running.join(", ")
        )
    }

    /// The restores that run here: those on record and those whose Plan is not through yet, by id.
    ///
    /// # Errors
    /// What DynamoDB and Step Functions refuse.
    async fn running(&self) -> Result<Vec<String>> {
        let recorded = self.list(Status::Running).await?;
        let mut running: Vec<String> = recorded
            .into_iter()
            .map(|restore| restore.restore_id)
            .collect();
        let mut executions = self
            .sfn
            .list_executions()
            .state_machine_arn(self.stack.state_machine_arn())
            .status_filter(ExecutionStatus::Running)
            .into_paginator()
            .items()
            .send();
        while let Some(execution) = executions.next().await {
            running.push(execution.context("cannot list executions")?.name);
        }
        running.sort_unstable();
        running.dedup();
        Ok(running)
    }

    fn role_table(&self, name: &str) -> RoleTable {
        RoleTable::new(self.dynamodb.clone(), name)
    }
}
