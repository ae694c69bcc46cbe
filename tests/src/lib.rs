//! What scenarios are told with: a cloud with a source in it, a restore, and what it left.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a scene that cannot be set up is a failed test, and its seed is printed"
)]

pub mod fleet;
pub mod global;
pub mod lender;
mod paper;
pub mod paths;
pub mod pointers;
mod replaced;

use std::collections::BTreeMap;
use std::time::Duration;

use asl_interpreter::{Execution, Outcome};
use aurora_restore::deployment::Functions;
use aurora_restore::local::{FINAL_GROUP, LocalOptions, LocalPipeline, QUARANTINE_GROUP};
use aurora_restore_core::ledger::Status;
use aurora_restore_core::logs::LogSink;
use aurora_restore_core::profile::overlay;
use aurora_restore_core::report::Report;
use aurora_restore_core::secrets::{self, Credentials, Stage};
use aurora_restore_core::settings::DatabaseTls;
use aurora_restore_core::sql::{Endpoint, Engine, mysql, postgresql};
use aurora_restore_core::table::Table;
use aurora_restore_core::{Clients, Clock, Context, Secret, Step};
use aws_sdk_rds::types::DbCluster;
use local_cloud::database::Image;
use local_cloud::rds::{Data, Place, ResourceView};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;

pub use replaced::{Serving, open_to, resource_id};

/// The source cluster.
pub const SOURCE: &str = "orders-prod";
/// The cluster that is restored.
pub const TARGET: &str = "orders-staging";
/// The snapshot of the source.
pub const SNAPSHOT: &str = "orders-prod-1";
/// Its database.
pub const DATABASE: &str = "orders";
/// The source's master user.
pub const MASTER: &str = "orders_admin";
/// An application's role in the source.
pub const APP_ROLE: &str = "orders_app";

/// The seed of this run: `AURORA_RESTORE_TEST_SEED`, or a new one. It is printed, so that a failure can be seen again.
pub fn seed() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the seed of a test is given from outside"
    )]
    let given = std::env::var("AURORA_RESTORE_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("see this run again with AURORA_RESTORE_TEST_SEED={seed}");
    seed
}

/// Any moment of half a day, to the millisecond. It is after every time that a test takes for past.
fn moment(seed: u64) -> OffsetDateTime {
    let half_a_day = 12 * 3_600 * 1_000;
    let since = rand::rngs::StdRng::seed_from_u64(seed).random_range(0..half_a_day);
    datetime!(2026-11-21 06:00 UTC) + Duration::from_millis(since)
}

/// A local pipeline and a source in it.
pub struct Scene {
    /// What kind of database the source is.
    pub engine: Engine,
    /// The cloud with the pipeline.
    pub local: LocalPipeline,
    /// The master's password in the source: a canary.
    pub old_password: String,
    /// The application role's password in the source: a canary.
    pub app_password: String,
    /// The secret of the source's master password.
    pub master_secret_arn: String,
    /// What exists before anything is restored.
    before: Vec<String>,
    /// Whether clusters hold data.
    real: bool,
}

/// A source's data and passwords, made once and put into many scenes.
#[derive(Clone)]
pub struct Original {
    old_password: String,
    app_password: String,
    image: Image,
}

impl Original {
    /// Makes the data, on a real server. Databases that no step looks at are left out: it is copied thousands of times.
    pub async fn make(seed: u64) -> Self {
        let scene = Scene::with(LocalOptions::in_process(seed)).await;
        let mut slimming =
            vec!["UPDATE pg_database SET datistemplate = false WHERE datistemplate".to_owned()];
        let unused = ["template0", "template1", "rdsadmin"];
        slimming.extend(unused.map(|database| format!("DROP DATABASE {database}")));
        let (rds, place) = (&scene.local.rds, scene.place());
        for statement in slimming {
            let ran = rds.run_as_superuser(&place, SOURCE, "postgres", &statement);
            ran.await.unwrap();
        }
        scene.snapshot("slim").await;
        let image = rds.image(&place, "slim").unwrap();
        let original = Self {
            old_password: scene.old_password,
            app_password: scene.app_password,
            image,
        };
        scene.local.shutdown().await;
        original
    }
}

impl Scene {
    /// A source whose snapshot holds this data. Nothing serves the source itself.
    pub async fn of(original: &Original, options: LocalOptions) -> Self {
        let (old, app) = (&original.old_password, &original.app_password);
        let mut scene = Self::empty(options, Engine::Postgresql, old, app).await;
        scene.create_source_cluster().await;
        scene.snapshot(SNAPSHOT).await;
        let (rds, image) = (&scene.local.rds, original.image.clone());
        rds.set_image(&scene.place(), SNAPSHOT, image);
        scene.before = scene.everything();
        scene
    }

    /// What exists now is from here on what existed before the first restore.
    pub fn begin(&mut self) {
        self.before = self.everything();
    }

    /// A source with a small database on a real server, and a snapshot of it.
    pub async fn real() -> Self {
        Self::with(LocalOptions::in_process(seed())).await
    }

    /// A source without data or servers: for restores that end before anyone would speak SQL.
    pub async fn metadata() -> Self {
        let mut options = LocalOptions::in_process(seed());
        options.rds.data = Data::Metadata;
        Self::with(options).await
    }

    /// The same of Aurora MySQL.
    pub async fn mysql() -> Self {
        Self::mysql_with(LocalOptions::in_process(seed())).await
    }

    /// A source of Aurora MySQL in a cloud set up like this.
    pub async fn mysql_with(options: LocalOptions) -> Self {
        Self::of_engine(options, Engine::Mysql).await
    }

    /// A source in a cloud set up like this.
    pub async fn with(options: LocalOptions) -> Self {
        Self::of_engine(options, Engine::Postgresql).await
    }

    async fn of_engine(options: LocalOptions, engine: Engine) -> Self {
        let mut scene = Self::empty(options, engine, &canary("master"), &canary("app")).await;
        scene.create_source_cluster().await;
        scene.create_source_instance().await;
        if scene.real {
            scene.load(&scene.endpoint(SOURCE).await).await;
        }
        scene.snapshot(SNAPSHOT).await;
        scene.before = scene.everything();
        scene
    }

    /// A cloud with the pipeline and a secret for a source.
    async fn empty(
        mut options: LocalOptions,
        engine: Engine,
        old_password: &str,
        app_password: &str,
    ) -> Self {
        // The SDK's retries wait by chance, drawn on the thread that waits.
        fastrand::seed(options.seed);
        // Processes read the machine's clock; everything else plays at a moment that the seed chooses.
        if options.port.is_none() && matches!(options.functions, Functions::InProcess { .. }) {
            options
                .starting_at
                .get_or_insert_with(|| moment(options.seed));
        }
        let real = options.rds.data == Data::Real;
        let local = LocalPipeline::start(options).await.unwrap();
        let value = json!({"username": MASTER, "password": old_password}).to_string();
        let secrets = aws_sdk_secretsmanager::Client::new(&local.config);
        let secret = secrets
            .create_secret()
            .name("orders-prod/master")
            .secret_string(value)
            .send()
            .await
            .unwrap();
        Self {
            engine,
            local,
            old_password: old_password.to_owned(),
            app_password: app_password.to_owned(),
            master_secret_arn: secret.arn.unwrap(),
            before: Vec::new(),
            real,
        }
    }

    /// An RDS client of the account's root.
    pub fn rds(&self) -> aws_sdk_rds::Client {
        self.local.rds_client()
    }

    /// Where the scene plays.
    pub fn place(&self) -> Place {
        Place {
            account: self.local.stack.account.clone(),
            region: self.local.stack.region.clone(),
        }
    }

    async fn create_source_cluster(&self) {
        let rds = self.rds();
        rds.create_db_cluster()
            .db_cluster_identifier(SOURCE)
            .engine(self.engine)
            .database_name(DATABASE)
            .master_username(MASTER)
            .master_user_password(&self.old_password)
            .vpc_security_group_ids("sg-0production")
            .backup_retention_period(7)
            .deletion_protection(true)
            .send()
            .await
            .unwrap();
        self.until_available("cluster", SOURCE).await;
    }

    async fn create_source_instance(&self) {
        let rds = self.rds();
        rds.create_db_instance()
            .db_instance_identifier(format!("{SOURCE}-1"))
            .db_cluster_identifier(SOURCE)
            .db_instance_class("db.r6g.large")
            .engine(self.engine)
            .send()
            .await
            .unwrap();
        self.until_available("db", &format!("{SOURCE}-1")).await;
    }

    /// Lets time pass until a cluster, an instance (`db`) or a snapshot (`cluster-snapshot`) of any account and
    /// region is available.
    pub async fn until_available(&self, kind: &str, id: &str) {
        for _ in 0..24 * 60 * 6 {
            if self.view(kind, id).status == "available" {
                return;
            }
            self.sleep(Duration::from_secs(10)).await;
        }
        panic!("{kind} {id} is not available after a day");
    }

    /// Fills a database whose master user and password are the source's.
    async fn load(&self, endpoint: &Endpoint) {
        let password = &self.app_password;
        let statements = match self.engine {
            Engine::Postgresql => format!(
                "CREATE ROLE {APP_ROLE} LOGIN PASSWORD '{password}'; \
                 CREATE TABLE orders (id int PRIMARY KEY, note text); \
                 INSERT INTO orders SELECT i, md5(i::text) FROM generate_series(1, 1000) i;"
            ),
            Engine::Mysql => format!(
                "CREATE USER {APP_ROLE} IDENTIFIED BY '{password}'; \
                 GRANT SELECT, INSERT ON {DATABASE}.* TO {APP_ROLE}; \
                 CREATE TABLE orders (id int PRIMARY KEY, note text); \
                 INSERT INTO orders WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
                 SELECT i, md5(i) FROM n"
            ),
        };
        self.sql(endpoint, &self.old_master(), &statements).await;
    }

    /// Takes a snapshot of the source and waits for it.
    pub async fn snapshot(&self, name: &str) {
        let rds = self.rds();
        let asked = rds
            .create_db_cluster_snapshot()
            .db_cluster_identifier(SOURCE)
            .db_cluster_snapshot_identifier(name);
        asked.send().await.unwrap();
        self.until_available("cluster-snapshot", name).await;
    }

    /// A cluster with the source's data under a key, and a snapshot of it: their names.
    pub async fn keyed(&self, key: &str) -> (&'static str, &'static str) {
        let (cluster, snapshot) = ("vault-prod", "vault-prod-1");
        let rds = self.rds();
        let made = rds.restore_db_cluster_from_snapshot();
        let made = made.db_cluster_identifier(cluster);
        let made = made.snapshot_identifier(SNAPSHOT).engine(self.engine);
        made.kms_key_id(key).send().await.unwrap();
        self.until_available("cluster", cluster).await;
        let taken = rds.create_db_cluster_snapshot();
        let taken = taken.db_cluster_identifier(cluster);
        let taken = taken.db_cluster_snapshot_identifier(snapshot);
        taken.send().await.unwrap();
        self.until_available("cluster-snapshot", snapshot).await;
        (cluster, snapshot)
    }

    /// Deletes the topic for outcomes.
    pub async fn forget_topic(&self) {
        let sns = aws_sdk_sns::Client::new(&self.local.config);
        sns.delete_topic()
            .topic_arn(self.local.stack.settings().topic_arn)
            .send()
            .await
            .unwrap();
    }

    /// A usable key of a region: its ARN.
    pub async fn key_in(&self, region: &str) -> String {
        let caller = self.caller(region);
        let made = self
            .local
            .cloud
            .world()
            .call(&caller, "kms", "TrentService.CreateKey", &json!({}))
            .await
            .unwrap();
        made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    }

    /// The account's root, in a region.
    pub fn caller(&self, region: &str) -> local_cloud::Caller {
        local_cloud::Caller {
            account: self.local.stack.account.clone(),
            region: region.to_owned(),
            principal: format!("arn:aws:iam::{}:root", self.local.stack.account),
        }
    }

    /// RDS in a region.
    pub fn rds_in(&self, region: &str) -> aws_sdk_rds::Client {
        let config = aws_sdk_rds::config::Builder::from(&self.local.config);
        aws_sdk_rds::Client::from_conf(
            config
                .region(aws_sdk_rds::config::Region::new(region.to_owned()))
                .build(),
        )
    }

    /// Copies the source's snapshot to another region, encrypted there if it is; gives the copy's ARN.
    pub async fn copy_to_region(&self, region: &str) -> String {
        let rds = self.rds_in(region);
        let source = format!(
            "arn:aws:rds:{}:{}:cluster-snapshot:{SNAPSHOT}",
            self.local.stack.region, self.local.stack.account
        );
        let encrypted = self
            .rds()
            .describe_db_cluster_snapshots()
            .db_cluster_snapshot_identifier(SNAPSHOT)
            .send()
            .await
            .unwrap();
        let key = match encrypted.db_cluster_snapshots()[0].kms_key_id() {
            Some(_) => Some(self.key_in(region).await),
            None => None,
        };
        let copied = rds
            .copy_db_cluster_snapshot()
            .source_db_cluster_snapshot_identifier(source)
            .target_db_cluster_snapshot_identifier(SNAPSHOT)
            .set_kms_key_id(key)
            .send()
            .await
            .unwrap();
        let ready = async || {
            let found = rds
                .describe_db_cluster_snapshots()
                .db_cluster_snapshot_identifier(SNAPSHOT)
                .send()
                .await?;
            let status = found.db_cluster_snapshots()[0].status().map(str::to_owned);
            Ok((status.as_deref() == Some("available")).then_some(()))
        };
        self.local.until("the copy", ready).await.unwrap();
        copied
            .db_cluster_snapshot
            .unwrap()
            .db_cluster_snapshot_arn
            .unwrap()
    }

    /// A request that restores the source into the target.
    pub fn request(&self) -> Value {
        json!({
            "source": {"clusterIdentifier": SOURCE, "masterSecretArn": self.master_secret_arn},
            "target": {
                "clusterIdentifier": TARGET,
                "instanceClass": "db.r6g.large",
                "securityGroupIds": [FINAL_GROUP],
            },
        })
    }

    /// The request, with these fields laid over it.
    pub fn request_with(&self, over: Value) -> Value {
        let mut request = self.request();
        overlay(&mut request, over);
        request
    }

    /// A request that uses every step: from another region, under a key of this one, with a reader, a parameter group
    /// and a secret of our own. Makes what it names.
    pub async fn request_of_every_step(&self) -> Value {
        let group = self
            .rds()
            .create_db_cluster_parameter_group()
            .db_cluster_parameter_group_name("staging-params")
            .db_parameter_group_family("aurora-postgresql15")
            .description("staging");
        group.send().await.unwrap();
        let key = self.key_in(&self.local.stack.region).await;
        let remote = self.copy_to_region("eu-central-1").await;
        self.request_with(json!({
            "source": {"region": "eu-central-1", "snapshot": remote},
            "target": {"kmsKeyId": key, "readers": 1, "clusterParameterGroup": "staging-params"},
            "credentials": {"master": "secret"},
        }))
    }

    /// Restores, and waits for the end.
    pub async fn restore(&self, input: Value) -> Run<'_> {
        self.restore_as("restore-1", input).await
    }

    /// Restores under this id, and waits for the end.
    pub async fn restore_as(&self, restore_id: &str, input: Value) -> Run<'_> {
        let execution = self.start(restore_id, input).await;
        execution.finished().await;
        self.run(restore_id, execution).await
    }

    /// Starts a restore.
    pub async fn start(&self, restore_id: &str, input: Value) -> Execution {
        let arn = self.local.pipeline.start(restore_id, &input).await.unwrap();
        self.local.cloud.step_functions().execution(&arn).unwrap()
    }

    /// Lets time pass until an execution is in this state.
    pub async fn until_state(&self, execution: &Execution, state: &str) {
        while execution
            .history()
            .states_entered()
            .last()
            .map(String::as_str)
            != Some(state)
        {
            assert!(
                execution.outcome().is_none(),
                "ended before {state}: {:?}",
                execution.outcome()
            );
            self.sleep(Duration::from_secs(5)).await;
        }
    }

    /// Runs these steps one after the other, as a person following a runbook would, letting time pass in between.
    pub async fn walk(&self, steps: &[(&str, Value)]) {
        for (name, event) in steps {
            let answer = self.invoke(step(name), event.clone()).await;
            answer.unwrap_or_else(|error| panic!("{name}: {error}"));
            self.sleep(Duration::from_secs(1800)).await;
        }
    }

    /// The event of a state of this restore, with these fields of its own.
    pub fn event(&self, restore_id: &str, state: &str, own: Value) -> Value {
        let mut event = json!({"restoreId": restore_id, "state": state});
        overlay(&mut event, own);
        event
    }

    /// The event of Plan, for an execution that started then.
    pub fn plan_event(&self, restore_id: &str, started_at: &str) -> Value {
        let arn = self.local.stack.execution_arn(restore_id);
        let own = json!({"executionArn": arn, "startedAt": started_at, "input": self.request()});
        self.event(restore_id, "Plan", own)
    }

    /// Restores of a status, as `aurora-restore list` shows them.
    pub async fn listed(&self, status: Status) -> Vec<String> {
        let listed = self.local.pipeline.list(status).await.unwrap();
        listed
            .into_iter()
            .map(|restore| restore.restore_id)
            .collect()
    }

    /// Puts other credentials into the source's secret.
    pub async fn rewrite_source_secret(&self, username: &str, password: &str) {
        let value = json!({"username": username, "password": password}).to_string();
        let secrets = aws_sdk_secretsmanager::Client::new(&self.local.config);
        let put = secrets
            .put_secret_value()
            .secret_id(&self.master_secret_arn)
            .secret_string(value);
        put.send().await.unwrap();
    }

    /// The token that an execution's last scheduled task waits with.
    pub fn task_token(&self, execution: &Execution) -> String {
        text(&sent_to_functions(execution).last().unwrap()["taskToken"])
    }

    /// When an execution started, as the state machine hands it to its functions.
    pub fn started_at(&self, execution: &Execution) -> String {
        text(&sent_to_functions(execution)[0]["startedAt"])
    }

    /// Stops an execution from outside, which no Catch can see.
    pub async fn stop(&self, execution: &Execution) {
        let sfn = aws_sdk_sfn::Client::new(&self.local.config);
        let arn = &execution.launch().execution_arn;
        let stopped = sfn.stop_execution().execution_arn(arn).cause("by hand");
        stopped.send().await.unwrap();
    }

    /// Turns on a cluster's deletion protection.
    pub async fn protect(&self, cluster: &str) {
        let call = self.rds().modify_db_cluster();
        let call = call.db_cluster_identifier(cluster).apply_immediately(true);
        call.deletion_protection(true).send().await.unwrap();
    }

    /// What the functions' own code works with, in the name of the account's root, on the cloud's clock.
    pub fn context(&self) -> Context {
        let clock = std::sync::Arc::clone(self.local.cloud.world().clock());
        Context {
            settings: self.local.stack.settings(),
            aws: Clients::new(self.local.config.clone()),
            clock: Clock::new(move || clock.now()),
            log: LogSink::new(|_| {}),
        }
    }

    /// The state table.
    pub fn table(&self) -> Table {
        let client = aws_sdk_dynamodb::Client::new(&self.local.config);
        Table::new(client, self.local.stack.table())
    }

    /// The target's lock, as DynamoDB holds it.
    pub async fn lock(&self) -> Value {
        let answer = self
            .dynamodb("GetItem", json!({"Key": self.lock_key()}))
            .await;
        answer["Item"].clone()
    }

    /// Gives a restore's lock to somebody else, as if it had been taken over.
    pub async fn take_over_lock(&self) {
        let update = json!({
            "Key": self.lock_key(),
            "UpdateExpression": "SET #owner = :owner, epoch = epoch + :one",
            "ExpressionAttributeNames": {"#owner": "owner"},
            "ExpressionAttributeValues": {":owner": {"S": "somebody-else"}, ":one": {"N": "1"}},
        });
        self.dynamodb("UpdateItem", update).await;
    }

    fn lock_key(&self) -> Value {
        let stack = &self.local.stack;
        let arn = format!(
            "arn:aws:rds:{}:{}:cluster:{TARGET}",
            stack.region, stack.account
        );
        json!({"pk": {"S": format!("TARGET#{arn}")}, "sk": {"S": "LOCK"}})
    }

    /// Calls DynamoDB about the state table.
    pub async fn dynamodb(&self, operation: &str, mut body: Value) -> Value {
        body["TableName"] = self.local.stack.table().into();
        let caller = self.caller(&self.local.stack.region);
        let target = format!("DynamoDB_20120810.{operation}");
        let world = self.local.cloud.world();
        world
            .call(&caller, "dynamodb", &target, &body)
            .await
            .unwrap()
    }

    /// Whether time and events call the reaper, as they do at first.
    pub async fn reaper_comes(&self, comes: bool) {
        for rule in ["reap", "reap-ended"] {
            self.switch_rule(rule, comes).await;
        }
    }

    /// Switches a rule of the pipeline on or off.
    pub async fn switch_rule(&self, rule: &str, on: bool) {
        let caller = self.caller(&self.local.stack.region);
        let name = json!({"Name": self.local.stack.function_name(rule)});
        let operation = if on { "EnableRule" } else { "DisableRule" };
        let target = format!("AWSEvents.{operation}");
        let world = self.local.cloud.world();
        world.call(&caller, "events", &target, &name).await.unwrap();
    }

    /// What a finished restore left.
    pub async fn run(&self, restore_id: &str, execution: Execution) -> Run<'_> {
        let report = self
            .local
            .pipeline
            .report(restore_id, self.local.cloud.world().now())
            .await
            .unwrap()
            .unwrap();
        Run {
            scene: self,
            execution,
            report,
        }
    }

    /// Everything RDS holds, by ARN, and the names of the secrets that no cluster owns.
    pub fn everything(&self) -> Vec<String> {
        let views = self.local.rds.resources(None).into_iter();
        let mut all: Vec<String> = views.map(|view| view.arn).collect();
        let secrets = self.local.cloud.secrets().names().into_iter();
        all.extend(secrets.filter(|name| !name.starts_with("rds!")));
        all.sort_unstable();
        all
    }

    /// What exists now and did not before the first restore.
    pub fn new_resources(&self) -> Vec<String> {
        self.everything()
            .into_iter()
            .filter(|arn| !self.before.contains(arn))
            .collect()
    }

    /// What existed before the first restore and is gone.
    pub fn lost_resources(&self) -> Vec<String> {
        let now = self.everything();
        self.before
            .iter()
            .filter(|arn| !now.contains(arn))
            .cloned()
            .collect()
    }

    /// One resource, now or in the past.
    pub fn view(&self, kind: &str, id: &str) -> ResourceView {
        let rds = &self.local.rds;
        let mut all = rds.resources(None);
        all.extend(rds.past_resources(None));
        all.into_iter()
            .find(|view| view.kind == kind && view.id == id)
            .unwrap_or_else(|| panic!("no {kind} {id}"))
    }

    /// A cluster as RDS describes it.
    pub async fn cluster(&self, id: &str) -> DbCluster {
        let found = self
            .rds()
            .describe_db_clusters()
            .db_cluster_identifier(id)
            .send()
            .await
            .unwrap();
        found.db_clusters()[0].clone()
    }

    /// Where a cluster listens.
    pub async fn endpoint(&self, id: &str) -> Endpoint {
        self.endpoint_of(&self.cluster(id).await)
    }

    /// Where a cluster of any account and region listens.
    pub fn endpoint_of(&self, cluster: &DbCluster) -> Endpoint {
        let pem = self.local.rds.certificate_authority();
        Endpoint {
            host: cluster.endpoint().unwrap().to_owned(),
            port: u16::try_from(cluster.port().unwrap()).unwrap(),
            tls: match pem {
                Some(pem) => DatabaseTls::VerifyFullWith {
                    authorities_pem: pem.to_owned(),
                },
                None => DatabaseTls::Disable,
            },
        }
    }

    /// The source's master user.
    pub fn old_master(&self) -> Credentials {
        credentials(MASTER, &self.old_password)
    }

    /// The source's application role.
    pub fn old_app(&self) -> Credentials {
        credentials(APP_ROLE, &self.app_password)
    }

    /// The credentials in a secret.
    pub async fn secret(&self, id: &str) -> Credentials {
        let client = aws_sdk_secretsmanager::Client::new(&self.local.config);
        secrets::read(&client, id, Stage::Current, MASTER)
            .await
            .unwrap()
            .unwrap()
    }

    /// Whether a server accepts a login.
    pub async fn accepts(&self, endpoint: &Endpoint, credentials: &Credentials) -> bool {
        self.engine.accepts(endpoint, credentials).await.unwrap()
    }

    /// Runs statements.
    pub async fn sql(&self, endpoint: &Endpoint, credentials: &Credentials, statements: &str) {
        let statements = statements.to_owned();
        let done = match self.engine {
            Engine::Postgresql => {
                postgresql::session(endpoint, credentials, DATABASE, move |client| {
                    client.batch_execute(&statements)
                })
                .await
            }
            Engine::Mysql => {
                mysql::session(endpoint, credentials, Some(DATABASE), move |session| {
                    session.batch(&statements)
                })
                .await
            }
        };
        done.unwrap_or_else(|error| panic!("{error:?}"));
    }

    /// One value.
    pub async fn value(&self, endpoint: &Endpoint, credentials: &Credentials, query: &str) -> i64 {
        let engine = self.engine;
        let found = engine
            .value_of(endpoint, credentials, DATABASE, query)
            .await;
        let found = found.unwrap_or_else(|error| panic!("{error:?}"));
        found.unwrap().parse().unwrap()
    }

    /// Runs one step by itself, as a person following a runbook would, and gives its answer or its error type.
    pub async fn invoke(&self, step: Step, event: Value) -> Result<Value, String> {
        let stack = &self.local.stack;
        let caller = self.caller(&stack.region);
        let invoked = self
            .local
            .cloud
            .lambda()
            .invoke(&caller, &stack.function_name(step.name), event)
            .await
            .unwrap();
        invoked
            .result
            .map_err(|failed| format!("{}: {}", failed["errorType"], failed["errorMessage"]))
    }

    /// Places outside Secrets Manager where one of these passwords was written down.
    pub fn leaks(&self, passwords: &[&str]) -> Vec<String> {
        let texts = self.local.cloud.recorded_texts();
        assert!(texts.len() > 20, "there is something to search");
        let leaked = texts.into_iter().filter(|text| {
            passwords
                .iter()
                .any(|password| text.text.contains(password))
        });
        leaked.map(|text| text.place).collect()
    }

    /// Lets time pass.
    pub async fn sleep(&self, duration: Duration) {
        self.local.sleep(duration).await;
    }
}

/// A restore that has ended.
pub struct Run<'a> {
    scene: &'a Scene,
    /// Its execution.
    pub execution: Execution,
    /// Its report.
    pub report: Report,
}

impl Run<'_> {
    /// The states, in the order they were entered.
    pub fn path(&self) -> Vec<String> {
        self.execution.history().states_entered()
    }

    /// The error's code and the cause of a failed execution.
    pub fn failure(&self) -> (String, String) {
        failure(&self.execution)
    }

    /// Asserts a clean failure with this code: named, told, and nothing left behind or lost.
    pub fn assert_failed_clean(&self, code: &str) {
        let (error, cause) = self.failure();
        assert_eq!(error, code, "{cause}");
        assert!(cause.starts_with(code), "{cause}");
        assert_eq!(self.path().last().map(String::as_str), Some("FailedClean"));
        assert_eq!(self.report.outcome, "FailedClean");
        assert_eq!(self.report.error.as_deref(), Some(code));
        assert_eq!(self.scene.new_resources(), Vec::<String>::new());
        assert_eq!(self.scene.lost_resources(), Vec::<String>::new());
        self.assert_told("FailedClean");
    }

    /// Asserts that exactly one notification told this outcome.
    pub fn assert_told(&self, outcome: &str) {
        let messages = self.scene.local.cloud.sns().messages();
        let told: Vec<_> = messages
            .iter()
            .filter(|message| message.message.contains(&self.report.restore_id))
            .collect();
        assert_eq!(told.len(), 1);
        assert!(told[0].message.starts_with(outcome), "{}", told[0].message);
    }

    /// When the execution started, as the state machine hands it to its functions.
    pub fn started_at(&self) -> String {
        self.scene.started_at(&self.execution)
    }

    /// The states' records, by state.
    pub fn steps(&self) -> BTreeMap<String, String> {
        self.report
            .steps
            .iter()
            .map(|step| (step.state.clone(), step.outcome.clone()))
            .collect()
    }
}

/// The error's code and the cause of a failed execution.
pub fn failure(execution: &Execution) -> (String, String) {
    match execution.outcome() {
        Some(Outcome::Failed { error, cause }) => {
            (error.unwrap_or_default(), cause.unwrap_or_default())
        }
        other => {
            let path = execution.history().states_entered();
            panic!("expected a failure, found {other:?} after {path:?}")
        }
    }
}

/// Runs on this thread, on a clock that jumps.
pub fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(work)
}

/// The deployed step of this name.
pub fn step(name: &str) -> Step {
    aurora_restore::deployment::STEPS
        .into_iter()
        .find(|step| step.name == name)
        .unwrap()
}

/// Credentials of this name and password.
pub fn credentials(username: &str, password: &str) -> Credentials {
    Credentials {
        username: username.to_owned(),
        password: Secret::new(password.to_owned()),
    }
}

/// A password that is found wherever it was written down.
fn canary(whose: &str) -> String {
    format!("canary-{whose}-{:016x}", rand::random::<u64>())
}

/// The quarantine group, as RDS lists it.
pub fn quarantine() -> Vec<String> {
    vec![QUARANTINE_GROUP.to_owned()]
}

/// What an execution sent to its functions so far, in order.
fn sent_to_functions(execution: &Execution) -> Vec<Value> {
    let events = execution.history().events();
    let events = events.iter().map(|event| event.to_json());
    let scheduled = events.filter(|event| event["type"] == "TaskScheduled");
    let parameters = scheduled.map(|event| text(&event["taskScheduledEventDetails"]["parameters"]));
    let parsed = parameters.map(|text| serde_json::from_str::<Value>(&text).unwrap());
    parsed
        .map(|parameters| parameters["Payload"].clone())
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
