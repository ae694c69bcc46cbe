//! Puts the pipeline into a local cloud: a stack of the committed template, with the
//! committed definition and the steps' own code where `aws cloudformation package`
//! would upload files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use aurora_restore_core::aws::{self, Clients};
use aurora_restore_core::logs::{self, LogSink};
use aurora_restore_core::settings::{DatabaseTls, Flow};
use aurora_restore_core::{Clock, Context, Settings, Step, StepError, runtime, step};
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sns::config::Credentials;
use local_cloud::cloudformation::{Artefacts, Template, ValidationError};
use local_cloud::lambda::{FunctionError, FunctionKind, FunctionSettings, Invocation};
use local_cloud::rds::Place;
use local_cloud::{AccessKey, Caller, LocalCloud};
use serde_json::{Value, json};
use tracing::instrument::WithSubscriber;

use crate::stack::Stack;

/// The committed definition, with placeholders for the functions' ARNs.
pub const DEFINITION: &str = include_str!("../../statemachine/restore.asl.json");

/// The committed template of the pipeline.
pub const TEMPLATE: &str = include_str!("../../cloudformation/pipeline.yaml");

/// The committed template of the HTTP API.
pub const API_TEMPLATE: &str = include_str!("../../cloudformation/api.yaml");

/// The committed definition of fleets.
pub const FLEET_DEFINITION: &str = include_str!("../../statemachine/fleet.asl.json");

/// The committed template of fleets.
pub const FLEET_TEMPLATE: &str = include_str!("../../cloudformation/fleet.yaml");

/// The committed template of the table that two regions share.
pub const REGIONS_TEMPLATE: &str = include_str!("../../cloudformation/regions.yaml");

/// Where the templates say that the definitions are.
const DEFINITIONS: [(&str, &str); 2] = [
    ("../statemachine/restore.asl.json", DEFINITION),
    ("../statemachine/fleet.asl.json", FLEET_DEFINITION),
];

/// The group without ingress that restored clusters live in until they are proved safe: the local cloud derives
/// the id from the template's `QuarantineSecurityGroup`.
pub const QUARANTINE_GROUP: &str = "sg-0quarantine";

/// Every step, as it is deployed.
pub const STEPS: [Step; 14] = [
    plan::STEP,
    copy_snapshot::STEP,
    restore::STEP,
    wait::STEP,
    wake::STEP,
    reset_credentials::STEP,
    verify::STEP,
    switch::STEP,
    cleanup::STEP,
    notify::STEP,
    reap::STEP,
    start::STEP,
    api::STEP,
    fleet::STEP,
];

/// How the functions run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Functions {
    /// In this process.
    InProcess {
        /// Whether the paused clock moves on by the time a function really worked.
        count_work: bool,
    },
    /// As the real binaries, over the Lambda Runtime API.
    Processes {
        /// The folder the binaries are in.
        directory: PathBuf,
    },
}

impl Functions {
    /// The real binaries, beside this program's own.
    ///
    /// # Errors
    /// When one is missing: says how to build them.
    pub fn processes() -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own folder")?;
        let beside = program
            .ancestors()
            .skip(1)
            .take(2)
            .find(|folder| folder.join("plan").is_file());
        match beside {
            Some(directory) => Ok(Self::Processes {
                directory: directory.to_owned(),
            }),
            None => bail!(
                "the functions' binaries are not beside {}: build them with `cargo build --workspace --bins`",
                program.display()
            ),
        }
    }
}

/// What the deployed settings of a local cloud are made of, and what its functions may reach.
#[derive(Clone, Debug)]
pub struct DeploymentOptions {
    /// Which sources may flow to which targets.
    pub flows: Vec<Flow>,
    /// Which targets are production: patterns.
    pub production_targets: Vec<String>,
    /// Hours after which a target that is not production expires at the latest.
    pub longest_lifetime_hours: Option<u32>,
    /// Cluster parameter groups for the time in quarantine, by family.
    pub quarantine_parameter_groups: BTreeMap<String, String>,
    /// The template's `ReplaceableClusterNames`.
    pub replaceable: String,
    /// What restores may move.
    pub pointers: Pointers,
    /// The template's `SourceSecretArns`.
    pub source_secret_arns: String,
    /// The template's `OwnSecretNames`.
    pub own_secret_names: String,
    /// How the functions that speak SQL check the server they reach.
    pub database_tls: DatabaseTls,
    /// The schedule of the template, if there shall be one.
    pub schedule: Option<Schedule>,
    /// The template's `RoleTableName`: empty for a pipeline in one region.
    pub role_table: String,
}

/// The template's parameters of what points to clusters; each empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointers {
    /// `PointerParameterNames`.
    pub parameters: String,
    /// `PointerSecretNames`.
    pub secrets: String,
    /// `PointerHostedZoneId`.
    pub hosted_zone: String,
}

/// A template's parameters of a restore, or of a fleet, by schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// `ScheduleName`.
    pub name: String,
    /// `ScheduleExpression`, such as `cron(0 3 * * ? *)`.
    pub expression: String,
    /// `ScheduleTimezone`, such as `Europe/Berlin`.
    pub timezone: String,
    /// `ScheduledRequest`, or `ScheduledFleet`.
    pub request: Value,
}

impl Schedule {
    /// Its parameters, where the request's is called this.
    fn parameters(&self, request: &'static str) -> [(&'static str, String); 4] {
        [
            ("ScheduleName", self.name.clone()),
            ("ScheduleExpression", self.expression.clone()),
            ("ScheduleTimezone", self.timezone.clone()),
            (request, self.request.to_string()),
        ]
    }
}

/// Deploys the pipeline: makes a stack of the committed template.
///
/// # Errors
/// What the local cloud refuses.
pub async fn deploy(
    cloud: &LocalCloud,
    stack: &Stack,
    options: &DeploymentOptions,
    functions: &Functions,
) -> Result<()> {
    let artefacts = Committed {
        cloud,
        stack,
        functions,
    };
    let place = Place {
        account: stack.account.clone(),
        region: stack.region.clone(),
    };
    let parameters = parameters(options, &place.default_vpc())?;
    cloud
        .cloudformation()
        .create_stack(
            &root(stack),
            &stack.name,
            template()?,
            &parameters,
            &artefacts,
        )
        .await
        .map(drop)
        .context("deploy cloudformation/pipeline.yaml")
}

/// Deploys the HTTP API of a deployed pipeline: makes a stack of its template. Gives the path where the endpoint
/// serves it.
///
/// # Errors
/// What the local cloud refuses.
pub async fn deploy_api(
    cloud: &LocalCloud,
    stack: &Stack,
    functions: &Functions,
) -> Result<String> {
    let template = Template::parse(API_TEMPLATE);
    let template = template.map_err(|error| anyhow!("cloudformation/api.yaml: {error}"))?;
    let artefacts = Committed {
        cloud,
        stack,
        functions,
    };
    let key = output(cloud, stack, "PipelineKeyArn")?;
    let parameters = [
        ("PipelineName", stack.name.clone()),
        ("PipelineKeyArn", key),
        (
            "TargetClusterNames",
            output(cloud, stack, "TargetClusterNames")?,
        ),
        ("RoleTableName", role_table(cloud, stack)),
    ];
    let parameters = parameters
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    let name = format!("{}-api", stack.name);
    let made = cloud
        .cloudformation()
        .create_stack(&root(stack), &name, &template, &parameters, &artefacts)
        .await
        .context("deploy cloudformation/api.yaml")?;
    let id = made.outputs().get("RestApiId").cloned();
    let id = id.ok_or_else(|| anyhow!("cloudformation/api.yaml has no output RestApiId"))?;
    Ok(format!("/restapis/{id}/live/_user_request_"))
}

/// Deploys the fleets of a deployed pipeline, and the schedule of one: makes a stack of their template.
///
/// # Errors
/// What the local cloud refuses.
pub async fn deploy_fleet(
    cloud: &LocalCloud,
    stack: &Stack,
    functions: &Functions,
    schedule: Option<&Schedule>,
) -> Result<()> {
    let template = Template::parse(FLEET_TEMPLATE);
    let template = template.map_err(|error| anyhow!("cloudformation/fleet.yaml: {error}"))?;
    let artefacts = Committed {
        cloud,
        stack,
        functions,
    };
    let mut parameters = vec![
        ("PipelineName", stack.name.clone()),
        ("PipelineKeyArn", output(cloud, stack, "PipelineKeyArn")?),
        (
            "SchedulerRoleArn",
            output(cloud, stack, "SchedulerRoleArn")?,
        ),
        ("RoleTableName", role_table(cloud, stack)),
    ];
    if let Some(schedule) = schedule {
        parameters.extend(schedule.parameters("ScheduledFleet"));
    }
    let parameters = parameters
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    cloud
        .cloudformation()
        .create_stack(
            &root(stack),
            &stack.fleet_name(),
            &template,
            &parameters,
            &artefacts,
        )
        .await
        .map(drop)
        .context("deploy cloudformation/fleet.yaml")
}

/// Makes the table that two regions share: a stack of its template, in the stack's own region, with a replica in
/// `other` and a witness in `witness`.
///
/// # Errors
/// What the local cloud refuses.
pub async fn deploy_role_table(
    cloud: &LocalCloud,
    stack: &Stack,
    other: &str,
    witness: &str,
) -> Result<()> {
    let template = Template::parse(REGIONS_TEMPLATE);
    let template = template.map_err(|error| anyhow!("cloudformation/regions.yaml: {error}"))?;
    let artefacts = Committed {
        cloud,
        stack,
        functions: &Functions::InProcess { count_work: false },
    };
    let parameters = [
        ("RoleTableName", stack.role_table()),
        ("OtherRegion", other.to_owned()),
        ("WitnessRegion", witness.to_owned()),
    ];
    let parameters = parameters
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    let name = format!("{}-regions", stack.name);
    cloud
        .cloudformation()
        .create_stack(&root(stack), &name, &template, &parameters, &artefacts)
        .await
        .map(drop)
        .context("deploy cloudformation/regions.yaml")
}

/// The role table of a deployed pipeline; empty for one region, whose stack has no such output.
fn role_table(cloud: &LocalCloud, stack: &Stack) -> String {
    output(cloud, stack, "RoleTableName").unwrap_or_default()
}

/// An output of a deployed pipeline's stack.
///
/// # Errors
/// When there is none of this name.
pub fn output(cloud: &LocalCloud, stack: &Stack, name: &str) -> Result<String> {
    let pipeline = cloud.cloudformation().stack(&root(stack), &stack.name);
    let value = pipeline.and_then(|pipeline| pipeline.outputs().get(name).cloned());
    value.ok_or_else(|| anyhow!("the stack `{}` has no output {name}", stack.name))
}

/// The committed template, read once: a process may deploy it hundreds of times.
///
/// # Errors
/// Everything that is wrong with it.
pub fn template() -> Result<&'static Template> {
    static TEMPLATE_READ: OnceLock<Result<Template, ValidationError>> = OnceLock::new();
    TEMPLATE_READ
        .get_or_init(|| Template::parse(TEMPLATE))
        .as_ref()
        .map_err(|error| anyhow!("cloudformation/pipeline.yaml: {error}"))
}

/// The template's parameters, as for an account with one VPC and any source.
fn parameters(options: &DeploymentOptions, vpc: &str) -> Result<BTreeMap<String, String>> {
    let targets: BTreeSet<&str> = options
        .flows
        .iter()
        .map(|flow| flow.target.as_str())
        .collect();
    let targets: Vec<&str> = targets.into_iter().collect();
    let target_names = match targets.as_slice() {
        [one] if *one != "*" => one,
        // The template refuses a bare `*`.
        _ => "*-*",
    };
    let mut parameters = vec![
        ("TargetClusterNames", target_names.to_owned()),
        ("ReplaceableClusterNames", options.replaceable.clone()),
        ("PointerParameterNames", options.pointers.parameters.clone()),
        ("PointerSecretNames", options.pointers.secrets.clone()),
        ("PointerHostedZoneId", options.pointers.hosted_zone.clone()),
        ("SourceSecretArns", options.source_secret_arns.clone()),
        ("Flows", serde_json::to_string(&options.flows)?),
        (
            "ProductionTargets",
            serde_json::to_string(&options.production_targets)?,
        ),
        (
            "LongestLifetimeHours",
            serde_json::to_string(&options.longest_lifetime_hours)?,
        ),
        (
            "QuarantineParameterGroups",
            serde_json::to_string(&options.quarantine_parameter_groups)?,
        ),
        ("DatabaseTls", serde_json::to_string(&options.database_tls)?),
        ("OwnSecretNames", options.own_secret_names.clone()),
        ("RoleTableName", options.role_table.clone()),
        ("VpcId", vpc.to_owned()),
        ("SubnetIds", "subnet-0local1,subnet-0local2".to_owned()),
    ];
    if let Some(schedule) = &options.schedule {
        parameters.extend(schedule.parameters("ScheduledRequest"));
    }
    let named = parameters.into_iter();
    Ok(named
        .map(|(name, value)| (name.to_owned(), value))
        .collect())
}

/// What the template's paths lead to: the committed definition, and the steps as they are built.
struct Committed<'a> {
    cloud: &'a LocalCloud,
    stack: &'a Stack,
    functions: &'a Functions,
}

impl Artefacts for Committed<'_> {
    fn function(&self, path: &str, _settings: &FunctionSettings) -> Result<FunctionKind, String> {
        let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str());
        let step = STEPS.into_iter().find(|step| Some(step.name) == stem);
        let step = step.ok_or_else(|| format!("`{path}` is the package of no step"))?;
        function_kind(self.cloud, self.stack, step, self.functions)
            .map_err(|error| error.to_string())
    }

    fn text(&self, path: &str) -> Result<String, String> {
        let found = DEFINITIONS.iter().find(|(known, _)| *known == path);
        let found = found.map(|(_, definition)| (*definition).to_owned());
        found.ok_or_else(|| format!("`{path}` is no definition of ours"))
    }
}

/// `${CopySnapshotFunctionArn}` for `copy-snapshot`.
pub fn placeholder(step: &str) -> String {
    let name: String = step
        .split('-')
        .map(|word| {
            word.chars()
                .next()
                .map(|c| c.to_ascii_uppercase())
                .into_iter()
                .chain(word.chars().skip(1))
                .collect::<String>()
        })
        .collect();
    format!("${{{name}FunctionArn}}")
}

/// The stack's account as a caller.
fn root(stack: &Stack) -> Caller {
    Caller {
        account: stack.account.clone(),
        region: stack.region.clone(),
        principal: format!("arn:aws:iam::{}:root", stack.account),
    }
}

async fn call(
    cloud: &LocalCloud,
    caller: &Caller,
    service: &str,
    target: &str,
    body: Value,
) -> Result<Value> {
    cloud
        .world()
        .call(caller, service, target, &body)
        .await
        .map_err(|error| anyhow!("{target}: {error}"))
}

/// Puts a parameter, or replaces it.
///
/// # Errors
/// What Parameter Store refuses.
pub async fn put_parameter(
    cloud: &LocalCloud,
    stack: &Stack,
    name: &str,
    value: &str,
) -> Result<()> {
    // A certificate authority makes the settings longer than the standard tier's 4 KB.
    let tier = if value.len() > 4096 {
        "Advanced"
    } else {
        "Standard"
    };
    let body =
        json!({"Name": name, "Value": value, "Type": "String", "Tier": tier, "Overwrite": true});
    call(cloud, &root(stack), "ssm", "AmazonSSM.PutParameter", body)
        .await
        .map(|_| ())
}

/// Gives the function of a step other code; it keeps its role, environment and timeout. Gives the function's ARN.
///
/// # Errors
/// When there is no such function, or the step's binary is missing.
pub fn replace_function(
    cloud: &LocalCloud,
    stack: &Stack,
    step: Step,
    functions: &Functions,
) -> Result<String> {
    let name = stack.function_name(step.name);
    let settings = cloud
        .lambda()
        .settings(&root(stack), &name)
        .map_err(|error| anyhow!("{error}"))?;
    cloud
        .add_function(settings, function_kind(cloud, stack, step, functions)?)
        .map_err(|error| anyhow!("{error}"))
}

fn function_kind(
    cloud: &LocalCloud,
    stack: &Stack,
    step: Step,
    functions: &Functions,
) -> Result<FunctionKind> {
    match functions {
        Functions::InProcess { count_work } => Ok(in_process(cloud, stack, step, *count_work)),
        Functions::Processes { directory } => Ok(FunctionKind::process(binary(directory, step)?)),
    }
}

fn binary(directory: &Path, step: Step) -> Result<PathBuf> {
    let path = directory.join(step.name);
    if path.is_file() {
        Ok(path)
    } else {
        bail!(
            "{} is missing: build it with `cargo build --workspace --bins`",
            path.display()
        )
    }
}

/// The step as the deployed binary runs it, less the Runtime API.
fn in_process(cloud: &LocalCloud, stack: &Stack, step: Step, count_work: bool) -> FunctionKind {
    let clients: Arc<OnceLock<Clients>> = Arc::default();
    let configuration = Configuration::of(cloud, &stack.region);
    let world_clock = Arc::clone(cloud.world().clock());
    let clock = Clock::new(move || world_clock.now());
    FunctionKind::in_process(move |invocation: Invocation| {
        let aws = clients
            .get_or_init(|| Clients::new(configuration.with(&invocation.credentials)))
            .clone();
        let sink = invocation.log.clone();
        let log = LogSink::new(move |line| sink.line(line));
        let clock = clock.clone();
        async move {
            let environment = &invocation.environment;
            let settings = Settings::read(|name| environment.get(name).cloned());
            let context = Context {
                settings: settings.map_err(|error| refused(&error))?,
                aws,
                clock,
                log: log.clone(),
            };
            let began = std::time::Instant::now();
            let outcome = step::execute(&context, &step, invocation.payload)
                .with_subscriber(logs::subscriber(log))
                .await;
            if count_work {
                tokio::time::advance(began.elapsed()).await;
            }
            outcome.map_err(|error| refused(&error))
        }
    })
}

/// What Step Functions sees of an error.
fn refused(error: &StepError) -> FunctionError {
    let payload = runtime::error_payload(error);
    let text = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
    FunctionError::new(text("errorType"), text("errorMessage"))
}

/// What SDK configurations for a cloud have in common.
#[derive(Clone)]
struct Configuration {
    http_client: local_cloud::http_client::InProcessHttpClient,
    time_source: local_cloud::http_client::WorldTime,
    region: String,
}

impl Configuration {
    fn of(cloud: &LocalCloud, region: &str) -> Self {
        Self {
            http_client: cloud.http_client(),
            time_source: cloud.time_source(),
            region: region.to_owned(),
        }
    }

    fn with(&self, key: &AccessKey) -> SdkConfig {
        let token = Some(key.session_token.clone()).filter(|token| !token.is_empty());
        let credentials = Credentials::new(
            &key.access_key_id,
            &key.secret_access_key,
            token,
            None,
            "local cloud",
        );
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .credentials_provider(aws_sdk_sns::config::SharedCredentialsProvider::new(
                credentials,
            ))
            .http_client(self.http_client.clone())
            .time_source(self.time_source.clone())
            .sleep_impl(aws_sdk_sns::config::SharedAsyncSleep::new(TokioSleep))
            .timeout_config(aws::timeouts())
            .retry_config(RetryConfig::standard().with_max_attempts(aws::SDK_ATTEMPTS))
            .build()
    }
}

/// An SDK configuration whose requests go straight into the cloud.
pub fn sdk_config(cloud: &LocalCloud, region: &str, key: &AccessKey) -> SdkConfig {
    Configuration::of(cloud, region).with(key)
}

/// The SDK's pauses, on tokio's clock.
#[derive(Clone, Copy, Debug)]
struct TokioSleep;

impl aws_sdk_sns::config::AsyncSleep for TokioSleep {
    fn sleep(&self, duration: Duration) -> aws_sdk_sns::config::Sleep {
        aws_sdk_sns::config::Sleep::new(tokio::time::sleep(duration))
    }
}
