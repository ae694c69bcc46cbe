//! A restore comes in the place of a cluster that serves, while a client holds on to the
//! name. The first try is stopped in the moment in which nobody bears the name: the
//! pipeline gives it back. The second takes it over.

use std::cell::RefCell;
use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use asl_interpreter::Execution;
use aurora_restore_core::rds::{find_cluster, find_instance};
use aurora_restore_core::report::Report;
use aurora_restore_core::secrets::Credentials;
use aurora_restore_core::sql::{Endpoint, postgresql};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::source::{DATABASE, random_password};
use super::{Progress, Stage, TARGET_CLUSTER, now, target_master};
use crate::local::{FINAL_GROUP, LocalPipeline};

/// The secret of the target's new master password.
const SECRET: &str = "orders-staging/master";
/// The master user of the cluster that serves before.
const MASTER: &str = "staging_admin";
/// Seconds between two tries of the client.
const EVERY: u64 = 5;

/// A switch that was taken back, and what a client noticed of it and of the one after it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Switched {
    /// How the restore ended that was stopped.
    pub first: Report,
    /// Seconds between two tries of the client: how exact the outages are.
    pub tried_every_seconds: u64,
    /// How often it tried.
    pub tries: u32,
    /// How long it could not write, in seconds of the cloud's clock, each time: the first is of the restore that was
    /// stopped.
    pub outages_seconds: Vec<f64>,
}

/// What is laid over the profile.
pub(super) fn request() -> Value {
    json!({
        "credentials": {"master": "secret", "secretName": SECRET},
        "switch": {"mode": "rename", "retire": {"keepHours": 72, "stopped": true}},
    })
}

pub(super) async fn rehearse(
    stage: &Stage<'_>,
    id: &str,
    tell: &mut impl FnMut(Progress),
) -> Result<(Report, Switched)> {
    let client = Client::of_a_new_cluster(stage).await?;
    tell(Progress::Note(format!(
        "serving    {TARGET_CLUSTER}: a client writes into it every {EVERY} seconds, by its name"
    )));
    let work = async {
        let first = stopped(stage, &format!("{id}-stopped"), tell).await?;
        let second = stage.restore(id, tell).await?;
        // Until the client has been let in again.
        stage.local.sleep(Duration::from_secs(2 * EVERY)).await;
        anyhow::Ok((first, second))
    };
    let (first, second) = tokio::select! {
        done = work => done?,
        never = client.write_on_and_on() => match never {},
    };
    let noticed = client.noticed.into_inner();
    Ok((
        second,
        Switched {
            first,
            tried_every_seconds: EVERY,
            tries: noticed.tries,
            outages_seconds: noticed.outages,
        },
    ))
}

/// A restore that somebody stops while nobody bears the name; its end.
async fn stopped(stage: &Stage<'_>, id: &str, tell: &mut impl FnMut(Progress)) -> Result<Report> {
    let execution = stage.start(id, tell).await?;
    let (stopped, ()) = tokio::join!(
        stop_between_the_names(stage.local, &execution),
        stage.follow(&execution, tell)
    );
    stopped?;
    let ended = stage
        .local
        .until("the end of the restore that was stopped", async || {
            let report = stage.report(id).await?;
            Ok((report.outcome != "Running").then_some(report))
        })
        .await?;
    tell(Progress::Note(format!(
        "stopped    between the two renamings; {TARGET_CLUSTER} was given back: {}",
        ended.outcome
    )));
    Ok(ended)
}

async fn stop_between_the_names(local: &LocalPipeline, execution: &Execution) -> Result<()> {
    let rds = local.rds_client();
    while find_cluster(&rds, TARGET_CLUSTER).await?.is_some() {
        if execution.outcome().is_some() {
            bail!("the restore ended before it could be stopped in the middle of its switch");
        }
        local.sleep(Duration::from_secs(1)).await;
    }
    let sfn = aws_sdk_sfn::Client::new(&local.config);
    let stop = sfn
        .stop_execution()
        .execution_arn(&execution.launch().execution_arn);
    stop.cause("rehearsed")
        .send()
        .await
        .context("stop the execution")?;
    Ok(())
}

/// A client that holds on to the target's name.
struct Client<'a> {
    local: &'a LocalPipeline,
    endpoint: Endpoint,
    first: Credentials,
    noticed: RefCell<Noticed>,
}

#[derive(Default)]
struct Noticed {
    tries: u32,
    since: Option<OffsetDateTime>,
    outages: Vec<f64>,
}

impl<'a> Client<'a> {
    /// Puts a cluster of the target's name into service.
    async fn of_a_new_cluster(stage: &Stage<'a>) -> Result<Self> {
        let local = stage.local;
        let first = Credentials {
            username: MASTER.to_owned(),
            password: random_password(),
        };
        let rds = local.rds_client();
        rds.create_db_cluster()
            .db_cluster_identifier(TARGET_CLUSTER)
            .engine("aurora-postgresql")
            .database_name(DATABASE)
            .master_username(&first.username)
            .master_user_password(first.password.expose())
            .vpc_security_group_ids(FINAL_GROUP)
            .send()
            .await
            .context("create the cluster that serves")?;
        let instance = format!("{TARGET_CLUSTER}-old");
        rds.create_db_instance()
            .db_instance_identifier(&instance)
            .db_cluster_identifier(TARGET_CLUSTER)
            .db_instance_class("db.r6g.large")
            .engine("aurora-postgresql")
            .send()
            .await
            .context("create its instance")?;
        let ready = async || {
            let found = find_instance(&rds, &instance).await?;
            let status = found.as_ref().and_then(|found| found.db_instance_status());
            Ok((status == Some("available")).then_some(()))
        };
        local.until("the cluster that serves", ready).await?;
        let found = find_cluster(&rds, TARGET_CLUSTER).await?;
        let found = found.ok_or_else(|| anyhow!("the cluster that serves is gone"))?;
        let endpoint = Endpoint {
            host: found.endpoint().unwrap_or_default().to_owned(),
            ..stage.source.endpoint.clone()
        };
        Ok(Self {
            local,
            endpoint,
            first,
            noticed: RefCell::default(),
        })
    }

    async fn write_on_and_on(&self) -> Infallible {
        loop {
            let writes = self.writes().await;
            self.notice(writes, now(self.local));
            self.local.sleep(Duration::from_secs(EVERY)).await;
        }
    }

    fn notice(&self, writes: bool, at: OffsetDateTime) {
        let mut noticed = self.noticed.borrow_mut();
        noticed.tries += 1;
        if !writes {
            noticed.since.get_or_insert(at);
        } else if let Some(since) = noticed.since.take() {
            noticed.outages.push((at - since).as_seconds_f64());
        }
    }

    /// Whether it gets in by the name and can write: with the password it has, or with the one that is in the secret
    /// by now. The network lets in whom the final group lets in.
    async fn writes(&self) -> bool {
        let found = find_cluster(&self.local.rds_client(), TARGET_CLUSTER).await;
        let Ok(Some(bearer)) = found else {
            return false;
        };
        let mut groups = bearer.vpc_security_groups().iter();
        let is_open = groups.any(|group| {
            group.vpc_security_group_id() == Some(FINAL_GROUP) && group.status() == Some("active")
        });
        if !is_open {
            return false;
        }
        let written = self.write(&self.first).await;
        if written {
            return true;
        }
        match target_master(self.local, SECRET).await {
            Ok(second) => self.write(&second).await,
            Err(_) => false, // there is none yet
        }
    }

    async fn write(&self, credentials: &Credentials) -> bool {
        let statements = "CREATE TABLE IF NOT EXISTS public.heartbeat (at timestamptz); \
                          INSERT INTO public.heartbeat VALUES (now())";
        let database = postgresql::MAINTENANCE_DATABASE;
        postgresql::session(&self.endpoint, credentials, database, |client| {
            client.batch_execute(statements)
        })
        .await
        .is_ok()
    }
}
