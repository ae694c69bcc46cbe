//! Puts the pipeline into a local cloud: table, topic, parameters, functions, the
//! state machine from the committed definition, and the rules that wake waits and
//! send the reaper on its way.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use aurora_restore_core::aws::{self, Clients};
use aurora_restore_core::logs::{self, LogSink};
use aurora_restore_core::settings::DeployedSettings;
use aurora_restore_core::{Clock, Context, Step, runtime, step};
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sns::config::Credentials;
use local_cloud::lambda::{FunctionError, FunctionKind, FunctionSettings, Invocation};
use local_cloud::{AccessKey, Caller, LocalCloud};
use serde_json::{Value, json};
use tracing::instrument::WithSubscriber;

use crate::stack::Stack;

/// The committed definition, with placeholders for the functions' ARNs.
pub const DEFINITION: &str = include_str!("../../statemachine/restore.asl.json");

/// Every step, as it is deployed.
pub const STEPS: [Step; 11] = [
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
];

/// How often the reaper comes by itself: what takes RDS minutes to remove takes a pass or two.
pub const REAP_EVERY: &str = "rate(5 minutes)";

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

/// Deploys the pipeline.
///
/// # Errors
/// What the local cloud refuses.
pub async fn deploy(
    cloud: &LocalCloud,
    stack: &Stack,
    settings: &DeployedSettings,
    functions: &Functions,
) -> Result<()> {
    let caller = root(stack);
    create_table(cloud, &caller, stack).await?;
    put_parameter(
        cloud,
        stack,
        &stack.settings().settings_parameter,
        &serde_json::to_string(settings)?,
    )
    .await?;
    let config = sdk_config(cloud, &stack.region, &cloud.root_key(&stack.account));
    aws_sdk_sns::Client::new(&config)
        .create_topic()
        .name(stack.topic_name())
        .send()
        .await
        .context("create the topic")?;
    let mut definition = DEFINITION.to_owned();
    for step in STEPS {
        let arn = add_function(cloud, stack, step, functions)?;
        definition = definition.replace(&placeholder(step.name), &arn);
    }
    cloud
        .put_state_machine(&stack.name, &definition)
        .map_err(|error| anyhow!("{error}"))?;
    let on_rds = json!({"source": ["aws.rds"], "detail-type": ["RDS DB Cluster Event", "RDS DB Instance Event"]});
    put_rule(
        cloud,
        &caller,
        stack,
        "wake",
        json!({"Name": stack.function_name("wake"), "EventPattern": on_rds.to_string()}),
    )
    .await?;
    put_rule(
        cloud,
        &caller,
        stack,
        "reap",
        json!({"Name": stack.function_name("reap"), "ScheduleExpression": REAP_EVERY}),
    )
    .await?;
    let on_end = json!({
        "source": ["aws.states"],
        "detail-type": ["Step Functions Execution Status Change"],
        "detail": {
            "status": ["FAILED", "TIMED_OUT", "ABORTED"],
            "stateMachineArn": [stack.state_machine_arn()],
        },
    });
    put_rule(
        cloud,
        &caller,
        stack,
        "reap",
        json!({"Name": stack.function_name("reap-ended"), "EventPattern": on_end.to_string()}),
    )
    .await
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

async fn create_table(cloud: &LocalCloud, caller: &Caller, stack: &Stack) -> Result<()> {
    let index = |name: &str, key: &str| {
        json!({
            "IndexName": name,
            "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}, {"AttributeName": "startedAt", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "ALL"}
        })
    };
    let text = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
    let body = json!({
        "TableName": stack.table(),
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [text("pk"), text("sk"), text("status"), text("target"), text("startedAt")],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "GlobalSecondaryIndexes": [index("by-status", "status"), index("by-target", "target")]
    });
    call(
        cloud,
        caller,
        "dynamodb",
        "DynamoDB_20120810.CreateTable",
        body,
    )
    .await
    .map(|_| ())
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

/// Puts a rule whose target is the function of a step.
async fn put_rule(
    cloud: &LocalCloud,
    caller: &Caller,
    stack: &Stack,
    step: &str,
    rule: Value,
) -> Result<()> {
    let function = format!(
        "arn:aws:lambda:{}:{}:function:{}",
        stack.region,
        stack.account,
        stack.function_name(step)
    );
    let targets = json!({"Rule": rule["Name"], "Targets": [{"Id": step, "Arn": function}]});
    call(cloud, caller, "events", "AWSEvents.PutRule", rule).await?;
    call(cloud, caller, "events", "AWSEvents.PutTargets", targets)
        .await
        .map(|_| ())
}

/// Deploys a step as a function, or replaces the one of its name; gives the function's ARN.
///
/// # Errors
/// What Lambda refuses, or when the step's binary is missing.
pub fn add_function(
    cloud: &LocalCloud,
    stack: &Stack,
    step: Step,
    functions: &Functions,
) -> Result<String> {
    let mut settings = FunctionSettings::new(stack.function_name(step.name))
        .timeout(Duration::from_secs(timeout_seconds(step)));
    for (name, value) in stack.settings().to_environment() {
        settings = settings.variable(name, value);
    }
    let kind = match functions {
        Functions::InProcess { count_work } => in_process(cloud, stack, step, *count_work),
        Functions::Processes { directory } => FunctionKind::process(binary(directory, step)?),
    };
    cloud
        .add_function(settings, kind)
        .map_err(|error| anyhow!("{error}"))
}

/// As long as the state that calls it waits: checks of the request's own take time.
fn timeout_seconds(step: Step) -> u64 {
    if step.name == verify::STEP.name {
        900
    } else {
        300
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
    let settings = stack.settings();
    let configuration = Configuration::of(cloud, &stack.region);
    let world_clock = Arc::clone(cloud.world().clock());
    let clock = Clock::new(move || world_clock.now());
    FunctionKind::in_process(move |invocation: Invocation| {
        let aws = clients
            .get_or_init(|| Clients::new(configuration.with(&invocation.credentials)))
            .clone();
        let sink = invocation.log.clone();
        let log = LogSink::new(move |line| sink.line(line));
        let context = Context {
            settings: settings.clone(),
            aws,
            clock: clock.clone(),
            log: log.clone(),
        };
        async move {
            let began = std::time::Instant::now();
            let outcome = step::execute(&context, &step, invocation.payload)
                .with_subscriber(logs::subscriber(log))
                .await;
            if count_work {
                tokio::time::advance(began.elapsed()).await;
            }
            outcome.map_err(|error| {
                let payload = runtime::error_payload(&error);
                let text = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
                FunctionError::new(text("errorType"), text("errorMessage"))
            })
        }
    })
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
