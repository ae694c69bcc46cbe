//! The pipeline in a local cloud: what rehearsals, `local up` and tests start with.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use aurora_restore_core::settings::{DatabaseTls, Flow};
use aws_config::SdkConfig;
use aws_sdk_rds::types::{ApplyMethod, Parameter};
use local_cloud::LocalCloud;
use local_cloud::rds::{Rds, RdsSettings};
use local_cloud::server::Server;
use time::OffsetDateTime;

pub use crate::deployment::QUARANTINE_GROUP;
use crate::deployment::{self, DeploymentOptions, Functions, Pointers, Schedule};
use crate::remote::Pipeline;
use crate::stack::Stack;

/// The group that may reach the target in the end.
pub const FINAL_GROUP: &str = "sg-0staging";
/// The family of Aurora MySQL's parameter groups.
const MYSQL_FAMILY: &str = "aurora-mysql8.0";
/// The group that clusters of Aurora MySQL live with in quarantine: it turns the event scheduler off, which the
/// engine's own does not.
pub const QUIET_MYSQL_GROUP: &str = "quarantine-mysql8";
/// The cloud's clock runs at most this many times as fast as tokio's: time limits of the definition pass with it,
/// and functions that are processes need real time. What is faster, RDS alone is.
const FASTEST_CLOCK: f64 = 10.0;
/// The stack's name.
pub const STACK: &str = "aurora-restore";

/// How to set up a local pipeline.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// How the functions run.
    pub functions: Functions,
    /// How many times faster than life RDS works, measured on tokio's clock.
    pub speed: f64,
    /// Fixes names, tokens, jitter and lost events.
    pub seed: u64,
    /// When the cloud's time begins; the machine's time when `None`.
    pub starting_at: Option<OffsetDateTime>,
    /// How RDS behaves; its seed and data root are set from the others.
    pub rds: RdsSettings,
    /// Serve the endpoint on this loopback port, 0 for a free one.
    pub port: Option<u16>,
    /// Which sources may flow to which targets.
    pub flows: Vec<Flow>,
    /// Which targets are production: patterns.
    pub production_targets: Vec<String>,
    /// Hours after which a target that is not production expires at the latest.
    pub longest_lifetime_hours: Option<u32>,
    /// Cluster parameter groups for the time in quarantine, by family. They are made.
    pub quarantine_parameter_groups: BTreeMap<String, String>,
    /// Which clusters restores may replace: a pattern.
    pub replaceable: String,
    /// What restores may move.
    pub pointers: Pointers,
    /// Which secrets hold sources' passwords: patterns of ARNs, separated by commas.
    pub source_secret_arns: String,
    /// What the pipeline's own secrets may be called: a pattern.
    pub own_secret_names: String,
    /// A restore by schedule.
    pub schedule: Option<Schedule>,
    /// The table that says which region is active; empty for a pipeline in one region.
    pub role_table: String,
}

impl LocalOptions {
    /// In process on the runtime's own clock, with data from everywhere permitted to flow to `*-staging`.
    pub fn in_process(seed: u64) -> Self {
        Self {
            functions: Functions::InProcess { count_work: false },
            speed: 1.0,
            seed,
            starting_at: None,
            rds: RdsSettings::default(),
            port: None,
            flows: vec![Flow {
                source: "*".to_owned(),
                source_account: None,
                target: "*-staging".to_owned(),
            }],
            production_targets: Vec::new(),
            longest_lifetime_hours: None,
            quarantine_parameter_groups: BTreeMap::from([(
                MYSQL_FAMILY.to_owned(),
                QUIET_MYSQL_GROUP.to_owned(),
            )]),
            replaceable: "*-staging".to_owned(),
            pointers: Pointers::default(),
            source_secret_arns: "arn:aws:secretsmanager:*:*:secret:rds!cluster-*,\
                                 arn:aws:secretsmanager:*:*:secret:*/*"
                .to_owned(),
            own_secret_names: "*/*".to_owned(),
            schedule: None,
            role_table: String::new(),
        }
    }
}

impl LocalOptions {
    /// What the pipeline's stack is deployed with, beside this RDS.
    pub fn deployment(&self, rds: &Rds) -> DeploymentOptions {
        DeploymentOptions {
            flows: self.flows.clone(),
            production_targets: self.production_targets.clone(),
            longest_lifetime_hours: self.longest_lifetime_hours,
            quarantine_parameter_groups: self.quarantine_parameter_groups.clone(),
            replaceable: self.replaceable.clone(),
            pointers: self.pointers.clone(),
            source_secret_arns: self.source_secret_arns.clone(),
            own_secret_names: self.own_secret_names.clone(),
            database_tls: database_tls(rds),
            schedule: self.schedule.clone(),
            role_table: self.role_table.clone(),
        }
    }
}

/// The pipeline in a local cloud.
pub struct LocalPipeline {
    /// The cloud.
    pub cloud: LocalCloud,
    /// Its RDS.
    pub rds: Rds,
    /// What the pipeline's parts are called.
    pub stack: Stack,
    /// For SDK clients of the account's root in this process.
    pub config: SdkConfig,
    /// Starts and follows restores.
    pub pipeline: Pipeline,
    /// The endpoint, when it is served.
    pub server: Option<Server>,
}

impl LocalPipeline {
    /// Starts a local cloud and deploys the pipeline into it.
    ///
    /// # Errors
    /// When no database server is installed, the port is taken, or the deployment is refused.
    pub async fn start(options: LocalOptions) -> Result<Self> {
        let clock_speed = options.speed.min(FASTEST_CLOCK);
        let rds = RdsSettings {
            seed: options.seed,
            speed: options.speed / clock_speed,
            ..options.rds.clone()
        };
        let mut cloud = LocalCloud::builder().seed(options.seed).speed(clock_speed);
        if let Some(moment) = options.starting_at {
            cloud = cloud.starting_at(moment);
        }
        let cloud = cloud.start();
        let rds = cloud.add_rds(rds)?;
        let server = match options.port {
            Some(port) => Some(cloud.serve_on(port).await.with_context(|| {
                format!("cannot serve on port {port} of 127.0.0.1; choose another with `--port`, 0 for any")
            })?),
            None => None,
        };
        let stack = Stack {
            name: STACK.to_owned(),
            account: cloud.account().to_owned(),
            region: cloud.region().to_owned(),
        };
        let config = deployment::sdk_config(&cloud, &stack.region, &cloud.root_key(&stack.account));
        make_quiet_groups(&config, &options.quarantine_parameter_groups).await?;
        let deployment = options.deployment(&rds);
        deployment::deploy(&cloud, &stack, &deployment, &options.functions).await?;
        let pipeline = Pipeline::new(&config, stack.clone());
        Ok(Self {
            cloud,
            rds,
            stack,
            config,
            pipeline,
            server,
        })
    }

    /// An RDS client of the account's root.
    pub fn rds_client(&self) -> aws_sdk_rds::Client {
        aws_sdk_rds::Client::new(&self.config)
    }

    /// Puts a profile.
    ///
    /// # Errors
    /// What Parameter Store refuses.
    pub async fn put_profile(&self, name: &str, text: &str) -> Result<()> {
        let parameter = format!("{}/{name}", self.stack.settings().profiles_path);
        deployment::put_parameter(&self.cloud, &self.stack, &parameter, text).await
    }

    /// Makes a KMS key in a region; its ARN.
    ///
    /// # Errors
    /// What KMS refuses.
    pub async fn make_key(&self, region: &str) -> Result<String> {
        let config = aws_sdk_kms::config::Builder::from(&self.config);
        let region = aws_sdk_kms::config::Region::new(region.to_owned());
        let kms = aws_sdk_kms::Client::from_conf(config.region(region).build());
        let made = kms.create_key().send().await.context("make a key")?;
        let arn = made.key_metadata.and_then(|made| made.arn);
        arn.ok_or_else(|| anyhow!("the key has no ARN"))
    }

    /// Lets this much time pass on the cloud's clock.
    pub async fn sleep(&self, duration: Duration) {
        self.cloud.world().clock().sleep(duration).await;
    }

    /// Lets time pass until `look` gives something.
    ///
    /// # Errors
    /// What `look` refuses, or when nothing came for a day of the cloud's time.
    pub async fn until<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        for _ in 0..24 * 60 * 6 {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            self.sleep(Duration::from_secs(10)).await;
        }
        Err(anyhow!("waited a day of the cloud's time for {what}"))
    }

    /// Ends everything: executions, functions, database servers and their data.
    pub async fn shutdown(self) {
        self.cloud.shutdown();
        if let Some(server) = self.server {
            server.shutdown().await;
        }
    }
}

/// The world's own certificate authority is in no trust store; without TLS on the servers, none is asked for.
fn database_tls(rds: &Rds) -> DatabaseTls {
    match rds.certificate_authority() {
        Some(authorities_pem) => DatabaseTls::VerifyFullWith {
            authorities_pem: authorities_pem.to_owned(),
        },
        None => DatabaseTls::Disable,
    }
}

/// Makes cluster parameter groups under which nothing runs by itself.
async fn make_quiet_groups(config: &SdkConfig, groups: &BTreeMap<String, String>) -> Result<()> {
    let rds = aws_sdk_rds::Client::new(config);
    for (family, name) in groups {
        let made = rds
            .create_db_cluster_parameter_group()
            .db_cluster_parameter_group_name(name)
            .db_parameter_group_family(family)
            .description("quarantine: nothing runs by itself")
            .send()
            .await;
        made.with_context(|| format!("make the parameter group {name}"))?;
        if family != MYSQL_FAMILY {
            continue;
        }
        let off = Parameter::builder()
            .parameter_name("event_scheduler")
            .parameter_value("OFF")
            .apply_method(ApplyMethod::Immediate);
        let set = rds
            .modify_db_cluster_parameter_group()
            .db_cluster_parameter_group_name(name)
            .parameters(off.build())
            .send()
            .await;
        set.with_context(|| format!("set event_scheduler of the parameter group {name}"))?;
    }
    Ok(())
}
