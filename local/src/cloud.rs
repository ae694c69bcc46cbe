//! A whole world, put together: what tests and rehearsals start with.

use std::io;
use std::sync::{Arc, OnceLock};

use asl_interpreter::{Clock, RuntimeClock};
use time::OffsetDateTime;

use crate::api_gateway::{ApiGateway, ApiGatewayApi};
use crate::clock::FastClock;
use crate::cloud_control::CloudControl;
use crate::cloudformation::CloudFormation;
use crate::cloudwatch::CloudWatch;
use crate::credentials::{AccessKey, DEFAULT_ACCOUNT};
use crate::database::DatabaseError;
use crate::dynamodb::DynamoDb;
use crate::eventbridge::{EventBridge, EventBridgeApi};
use crate::http_client::{InProcessHttpClient, WorldTime};
use crate::iam::{Iam, IamApi};
use crate::kms::Kms;
use crate::lambda::{FunctionKind, FunctionSettings, Lambda, LambdaApi};
use crate::parameter_store::ParameterStore;
use crate::randomness::unpredictable_seed;
use crate::rds::{Rds, RdsSettings};
use crate::recorded::RecordedText;
use crate::request::ApiError;
use crate::route53::Route53;
use crate::scheduler::{Scheduler, SchedulerApi};
use crate::secrets_manager::SecretsManager;
use crate::server::Server;
use crate::sns::Sns;
use crate::sqs::Sqs;
use crate::step_functions::StepFunctions;
use crate::sts::Sts;
use crate::world::World;

/// Where things happen when nothing else is said.
pub const DEFAULT_REGION: &str = "eu-west-1";

/// What a world is put together from.
pub struct LocalCloudBuilder {
    account: String,
    region: String,
    seed: u64,
    speed: f64,
    clock: Option<Arc<dyn Clock>>,
    epoch: Option<OffsetDateTime>,
}

impl LocalCloudBuilder {
    /// The account of the default credentials, and of keys nobody issued.
    #[must_use]
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.account = account.into();
        self
    }

    /// The region functions and state machines are put in.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Makes identifiers, tokens, jitter and passwords follow from this number.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Lets the world's time pass so many times as fast as tokio's.
    #[must_use]
    pub fn speed(mut self, speed: f64) -> Self {
        self.speed = speed;
        self
    }

    /// Starts the world's time at this moment instead of the machine's.
    #[must_use]
    pub fn starting_at(mut self, epoch: OffsetDateTime) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Uses this clock; speed and start are then its own affair.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Puts the world together. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(self) -> LocalCloud {
        let real = self
            .epoch
            .map_or_else(RuntimeClock::new, RuntimeClock::starting_at);
        let clock = self.clock.unwrap_or_else(|| {
            if (self.speed - 1.0).abs() < f64::EPSILON {
                Arc::new(real)
            } else {
                Arc::new(FastClock::new(real, self.speed))
            }
        });
        let world = World::with_seed(Arc::clone(&clock), &self.account, self.seed);
        let weak = || Arc::downgrade(&world);
        let cloudwatch = Arc::new(CloudWatch::new(weak()));
        let dynamodb = Arc::new(DynamoDb::new(clock));
        let lambda = Arc::new(Lambda::new(weak(), Arc::clone(&cloudwatch)));
        let step_functions = StepFunctions::new(&world, &lambda, self.seed);
        let sns = Arc::new(Sns::new(weak()));
        let events = EventBridge::new(
            weak(),
            Arc::clone(&lambda),
            Arc::clone(&step_functions),
            Arc::clone(&sns),
        );
        let sqs = Arc::new(Sqs::new(weak()));
        let cloudformation = CloudFormation::new(weak(), Arc::clone(&lambda));
        let secrets = Arc::new(SecretsManager::new(weak()));
        let scheduler = Scheduler::new(weak(), Arc::clone(&lambda));
        let api_gateway = Arc::new(ApiGateway::new(weak(), Arc::clone(&lambda)));
        world.set_event_bus(events.clone());
        world.register("monitoring", cloudwatch.clone());
        world.register("dynamodb", dynamodb.clone());
        world.register("lambda", Arc::new(LambdaApi(Arc::clone(&lambda))));
        world.register("states", step_functions.clone());
        world.register("sns", sns.clone());
        world.register("sqs", sqs.clone());
        world.register("events", Arc::new(EventBridgeApi(Arc::clone(&events))));
        world.register("secretsmanager", secrets.clone());
        world.register("ssm", Arc::new(ParameterStore::new(weak())));
        world.register("kms", Arc::new(Kms::new(weak())));
        world.register("scheduler", Arc::new(SchedulerApi(Arc::clone(&scheduler))));
        world.register("execute-api", api_gateway.clone());
        world.register(
            "apigateway",
            Arc::new(ApiGatewayApi(Arc::clone(&api_gateway))),
        );
        world.register("route53", Route53::new(weak()));
        world.register("sts", Arc::new(Sts::new(weak())));
        world.register("iam", Arc::new(IamApi::new(weak())));
        world.register("cloudcontrolapi", Arc::new(CloudControl::new(weak())));
        LocalCloud {
            account: self.account,
            region: self.region,
            world,
            cloudformation,
            api_gateway,
            cloudwatch,
            dynamodb,
            events,
            lambda,
            rds: OnceLock::new(),
            scheduler,
            secrets,
            sns,
            sqs,
            step_functions,
        }
    }
}

/// A running world and its services.
///
/// When it is dropped, and no server serves it any more, everything in it ends:
/// executions, functions and their processes, database servers.
pub struct LocalCloud {
    account: String,
    region: String,
    world: Arc<World>,
    cloudformation: CloudFormation,
    api_gateway: Arc<ApiGateway>,
    cloudwatch: Arc<CloudWatch>,
    dynamodb: Arc<DynamoDb>,
    events: Arc<EventBridge>,
    lambda: Arc<Lambda>,
    rds: OnceLock<Rds>,
    scheduler: Arc<Scheduler>,
    secrets: Arc<SecretsManager>,
    sns: Arc<Sns>,
    sqs: Arc<Sqs>,
    step_functions: Arc<StepFunctions>,
}

impl LocalCloud {
    /// The usual account and region, real time, a seed nobody chose.
    #[must_use]
    pub fn builder() -> LocalCloudBuilder {
        LocalCloudBuilder {
            account: DEFAULT_ACCOUNT.to_owned(),
            region: DEFAULT_REGION.to_owned(),
            seed: unpredictable_seed(),
            speed: 1.0,
            clock: None,
            epoch: None,
        }
    }

    /// The world behind the services, for layers, the clock and credentials.
    #[must_use]
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// The account things happen in when nothing else is said.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The region things happen in when nothing else is said.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Roles, their policies, and what has been asked of them.
    #[must_use]
    pub fn iam(&self) -> &Iam {
        self.world.iam()
    }

    /// Stacks.
    #[must_use]
    pub fn cloudformation(&self) -> &CloudFormation {
        &self.cloudformation
    }

    /// HTTP APIs.
    #[must_use]
    pub fn api_gateway(&self) -> &Arc<ApiGateway> {
        &self.api_gateway
    }

    /// Schedules, and every target they called.
    #[must_use]
    pub fn scheduler(&self) -> &Arc<Scheduler> {
        &self.scheduler
    }

    /// Metrics and alarms.
    #[must_use]
    pub fn cloudwatch(&self) -> &Arc<CloudWatch> {
        &self.cloudwatch
    }

    /// Tables.
    #[must_use]
    pub fn dynamodb(&self) -> &Arc<DynamoDb> {
        &self.dynamodb
    }

    /// The event bus: every event there has been.
    #[must_use]
    pub fn events(&self) -> &Arc<EventBridge> {
        &self.events
    }

    /// Secrets.
    #[must_use]
    pub fn secrets(&self) -> &Arc<SecretsManager> {
        &self.secrets
    }

    /// Topics, and every message published to them.
    #[must_use]
    pub fn sns(&self) -> &Arc<Sns> {
        &self.sns
    }

    /// Queues, and the messages that wait in them.
    #[must_use]
    pub fn sqs(&self) -> &Arc<Sqs> {
        &self.sqs
    }

    /// Functions and their logs.
    #[must_use]
    pub fn lambda(&self) -> &Arc<Lambda> {
        &self.lambda
    }

    /// State machines and executions.
    #[must_use]
    pub fn step_functions(&self) -> &Arc<StepFunctions> {
        &self.step_functions
    }

    /// Adds a function to the default account and region. Returns its ARN.
    ///
    /// # Errors
    /// As [`Lambda::register`].
    pub fn add_function(
        &self,
        settings: FunctionSettings,
        kind: FunctionKind,
    ) -> Result<String, ApiError> {
        self.lambda
            .register(&self.account, &self.region, settings, kind)
    }

    /// Adds a state machine to the default account and region, or changes it; then it keeps its role. Returns its ARN.
    ///
    /// # Errors
    /// `InvalidDefinition` with everything that is wrong with it.
    pub fn put_state_machine(&self, name: &str, definition: &str) -> Result<String, ApiError> {
        let role = self
            .step_functions
            .role_of(&self.account, &self.region, name)
            .unwrap_or_else(|| format!("arn:aws:iam::{}:role/{name}", self.account));
        self.step_functions
            .put_state_machine(&self.account, &self.region, name, definition, &role)
    }

    /// An HTTP client for SDK configurations in this process: no sockets.
    #[must_use]
    pub fn http_client(&self) -> InProcessHttpClient {
        InProcessHttpClient::new(&self.world)
    }

    /// The world's time for SDK configurations in this process.
    #[must_use]
    pub fn time_source(&self) -> WorldTime {
        WorldTime::new(&self.world)
    }

    /// Root credentials of an account, for SDK configurations.
    #[must_use]
    pub fn root_key(&self, account: &str) -> AccessKey {
        self.world
            .issue_key(account, &format!("arn:aws:iam::{account}:root"), None)
    }

    /// Serves the world on a free loopback port. Functions that are processes are
    /// told the endpoint when they start.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn serve(&self) -> io::Result<Server> {
        self.serve_on(0).await
    }

    /// Serves the world on this loopback port.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn serve_on(&self, port: u16) -> io::Result<Server> {
        let server = Server::start(Arc::clone(&self.world), port).await?;
        self.lambda
            .set_process_variable("AWS_ENDPOINT_URL", &server.endpoint());
        Ok(server)
    }

    /// Everything somebody could read later, except what Secrets Manager holds: to
    /// search for what must not be there.
    #[must_use]
    pub fn recorded_texts(&self) -> Vec<RecordedText> {
        self.world.recorded_texts()
    }

    /// Adds RDS.
    ///
    /// # Errors
    /// When no database server is installed or its data cannot be kept.
    pub fn add_rds(&self, settings: RdsSettings) -> Result<Rds, DatabaseError> {
        let rds = Rds::new(&self.world, settings)?;
        self.world.register("rds", Arc::new(rds.clone()));
        let _ = self.rds.set(rds.clone());
        Ok(rds)
    }

    /// RDS, if it was added.
    #[must_use]
    pub fn rds(&self) -> Option<&Rds> {
        self.rds.get()
    }

    /// Ends what is under way: executions, deliveries, functions and their processes.
    pub fn shutdown(&self) {
        self.world.stop();
        self.lambda.stop();
    }
}
