//! What is not ours: attempts at it, with each role's own credentials, all of which must be denied.
//!
//! Every role tries everything here, whatever it is granted; `attempts` adds what follows
//! from the actions themselves.
//!
//! Others' resources carry no tag of a restore, or one that only looks like it; or they
//! carry one, and their name, region or account is not a target's. What the roles can
//! not tell apart is the pipeline's own to refuse (`make faults`): a target's name with
//! the tag of another restore, or with a tag that differs in case, as condition keys
//! have none.

use std::collections::BTreeSet;
use std::time::Duration;

use aurora_restore::deployment;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_rds::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_rds::types::Tag;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use local_cloud::iam::{Evaluation, Role};
use pipeline_tests::{Original, SNAPSHOT, SOURCE, Scene};
use serde_json::json;

use crate::attempts;
use crate::beside::{SHARED_CLUSTER, session_key};
use crate::scenarios::{self, ELSEWHERE};
use crate::trial::{in_virtual_time, logical_name};

/// The tag that makes a thing a restore's.
pub(crate) const OURS: &str = "aurora-restore:restore-id";
/// A secret of other people's.
pub(crate) const OTHERS_SECRET: &str = "payroll/master";
/// A secret that RDS manages for a cluster that is no target.
pub(crate) const OTHERS_MANAGED_SECRET: &str = "rds!cluster-11111111-2222-3333-4444-555555555555";
/// A secret that is called as the pipeline calls its own, and is not its own.
pub(crate) const OWN_NAME_UNTAGGED: &str = "staging/theirs";
/// What an attempt is that is the role's own business.
const OWN_BUSINESS: [(&str, &str); 2] = [
    ("RunbookRole", "stop a restore"),
    ("FleetStateMachineRole", "stop a restore"),
];

/// Clusters of other people: name and tags.
const CLUSTERS: [(&str, &[(&str, &str)]); 6] = [
    (SOURCE, &[]),
    ("payroll-staging", &[]),
    (
        "expired-staging",
        &[("aurora-restore:expires-at", "2020-01-01T00:00:00Z")],
    ),
    (
        "similar-staging",
        &[
            ("aurora-restore:restore-i", "restore-1"),
            ("restore-id", "restore-1"),
        ],
    ),
    // It is called as the pipeline calls a cluster that is not switched yet, and carries no tag.
    ("aurora-restore-theirs", &[]),
    // It carries our tag, and is no target.
    ("forged-prod", &[(OURS, "restore-1")]),
];

/// What became of the attempts with one role's credentials.
pub(crate) struct Tried {
    /// Such as `CleanupRole`.
    pub(crate) role: String,
    /// How many there were.
    pub(crate) attempts: usize,
    /// Those that IAM let through.
    pub(crate) let_through: Vec<String>,
}

/// One call, and whether it was denied.
type Attempt<'a> = (String, LocalBoxFuture<'a, bool>);

/// What all attempts came to.
pub(crate) struct Attempts {
    /// By role.
    pub(crate) tried: Vec<Tried>,
    /// What the roles were asked.
    pub(crate) evaluations: BTreeSet<Evaluation>,
    /// What is there now and was not, or the other way round.
    pub(crate) changed: Vec<String>,
    /// Whether more was asked than could be kept.
    pub(crate) forgotten: bool,
}

/// Attempts with the credentials of every role, after `prepare` has changed what it likes.
pub(crate) fn try_all(original: &Original, seed: u64, prepare: fn(&Scene)) -> Attempts {
    in_virtual_time(async {
        let scene = scenarios::scene(original, scenarios::options(seed)).await;
        place(&scene).await;
        prepare(&scene);
        let before = BTreeSet::from_iter(scene.everything());
        let mut tried = Vec::new();
        for role in scene.local.cloud.iam().roles() {
            tried.push(try_role(&scene, &role).await);
        }
        // RDS would take its time.
        scene.sleep(Duration::from_secs(2 * 3600)).await;
        let after = BTreeSet::from_iter(scene.everything());
        let evaluations = scene.local.cloud.iam().evaluations();
        let forgotten = scene.local.cloud.iam().forgets_evaluations();
        scene.local.shutdown().await;
        Attempts {
            tried,
            evaluations,
            forgotten,
            changed: before.symmetric_difference(&after).cloned().collect(),
        }
    })
}

async fn place(scene: &Scene) {
    let rds = scene.rds();
    for (id, tags) in CLUSTERS {
        if id != SOURCE {
            create_cluster(&rds, id, tags).await;
        }
    }
    create_cluster(
        &scene.rds_in(ELSEWHERE),
        "orders-staging",
        &[(OURS, "restore-1")],
    )
    .await;
    scene.sleep(Duration::from_secs(3600)).await;
    for id in ["payroll-staging", "expired-staging"] {
        let made = rds
            .create_db_instance()
            .db_instance_identifier(format!("{id}-1"))
            .db_cluster_identifier(id)
            .db_instance_class("db.r6g.large")
            .engine("aurora-postgresql");
        scene.local.rds.script(
            local_cloud::rds::Kind::Instance,
            &format!("{id}-1"),
            local_cloud::rds::Trouble::NeverReady,
        );
        made.send().await.unwrap();
    }
    scene.snapshot("aurora-restore-forged").await;
    let secrets = aws_sdk_secretsmanager::Client::new(&scene.local.config);
    for (name, owner) in [
        (OTHERS_SECRET, None),
        (OWN_NAME_UNTAGGED, None),
        ("staging/other-restores", Some("restore-9")),
    ] {
        let owner = owner.map(|owner| vec![secret_tag(OURS, owner)]);
        let made = secrets.create_secret().name(name).secret_string("x");
        made.set_tags(owner).send().await.unwrap();
    }
    let caller = scene.caller(&scene.local.stack.region);
    let world = scene.local.cloud.world();
    // As RDS makes it.
    let source = format!(
        "arn:aws:rds:{}:{}:cluster:{SOURCE}",
        caller.region, caller.account
    );
    let managed = json!({
        "Name": OTHERS_MANAGED_SECRET,
        "SecretString": "x",
        "Tags": [{"Key": "aws:rds:primaryDBClusterArn", "Value": source}],
    });
    let target = "secretsmanager.CreateSecret";
    let made = world.call(&caller, "secretsmanager", target, &managed);
    made.await.unwrap();
    let table = json!({
        "TableName": "other-state",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        "KeySchema": [
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
    });
    world
        .call(&caller, "dynamodb", "DynamoDB_20120810.CreateTable", &table)
        .await
        .unwrap();
}

async fn create_cluster(rds: &aws_sdk_rds::Client, id: &str, tags: &[(&str, &str)]) {
    let tags = tags.iter().map(|(key, value)| tag(key, value)).collect();
    let made = rds
        .create_db_cluster()
        .db_cluster_identifier(id)
        .engine("aurora-postgresql")
        .master_username("somebody")
        .master_user_password("not-a-canary-1")
        .set_tags(Some(tags));
    made.send().await.unwrap();
}

async fn try_role(scene: &Scene, role: &Role) -> Tried {
    let stack = &scene.local.stack;
    let clients = Clients::new(scene, role);
    let mut tried = Tried {
        role: logical_name(&role.arn),
        attempts: 0,
        let_through: Vec::new(),
    };
    let key = scene.key_in(&stack.region).await;
    let all = [
        clients.on_clusters(),
        clients.on_instances(),
        clients.on_snapshots(),
        clients.on_points_in_time(),
        clients.on_shared_snapshots(scene),
        clients.on_tags(scene),
        clients.on_secrets(scene),
        clients.on_tables(scene),
        clients.on_the_rest(scene, &key),
    ];
    for (name, attempt) in all.into_iter().flatten() {
        if OWN_BUSINESS.contains(&(tried.role.as_str(), name.as_str())) {
            continue;
        }
        tried.attempts += 1;
        if !attempt.await {
            tried.let_through.push(name);
        }
    }
    for (name, denied) in attempts::try_all(scene, role).await {
        tried.attempts += 1;
        if !denied {
            tried.let_through.push(name);
        }
    }
    tried
}

fn cluster_arn(rds: &aws_sdk_rds::Client, id: &str) -> String {
    let region = rds.config().region().unwrap();
    format!("arn:aws:rds:{region}:123456789012:cluster:{id}")
}

/// SDK clients with a role's credentials.
struct Clients {
    rds: aws_sdk_rds::Client,
    rds_elsewhere: aws_sdk_rds::Client,
    secrets: aws_sdk_secretsmanager::Client,
    dynamodb: aws_sdk_dynamodb::Client,
    ssm: aws_sdk_ssm::Client,
    sns: aws_sdk_sns::Client,
    kms: aws_sdk_kms::Client,
    sfn: aws_sdk_sfn::Client,
    sts: aws_sdk_sts::Client,
}

impl Clients {
    fn new(scene: &Scene, role: &Role) -> Self {
        let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
        let key = session_key(scene, role, "attacker");
        let config = deployment::sdk_config(cloud, &stack.region, &key);
        let elsewhere = deployment::sdk_config(cloud, ELSEWHERE, &key);
        Self {
            rds: aws_sdk_rds::Client::new(&config),
            rds_elsewhere: aws_sdk_rds::Client::new(&elsewhere),
            secrets: aws_sdk_secretsmanager::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            ssm: aws_sdk_ssm::Client::new(&config),
            sns: aws_sdk_sns::Client::new(&config),
            kms: aws_sdk_kms::Client::new(&config),
            sfn: aws_sdk_sfn::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
        }
    }

    fn on_clusters(&self) -> Vec<Attempt<'_>> {
        let here = CLUSTERS.iter().map(|(id, _)| (&self.rds, *id));
        let there = [(&self.rds_elsewhere, "orders-staging")];
        let mut all = Vec::new();
        for (rds, id) in here.chain(there) {
            let named = |what: &str| format!("{what} {id}");
            all.extend([
                (
                    named("delete cluster"),
                    denied(
                        rds.delete_db_cluster()
                            .db_cluster_identifier(id)
                            .skip_final_snapshot(true)
                            .send(),
                    ),
                ),
                (
                    named("open cluster"),
                    denied(
                        rds.modify_db_cluster()
                            .db_cluster_identifier(id)
                            .vpc_security_group_ids("sg-0open")
                            .send(),
                    ),
                ),
                (
                    named("take over cluster"),
                    denied(
                        rds.modify_db_cluster()
                            .db_cluster_identifier(id)
                            .master_user_password("attackers-own-1")
                            .apply_immediately(true)
                            .send(),
                    ),
                ),
                (
                    named("rename cluster"),
                    denied(
                        rds.modify_db_cluster()
                            .db_cluster_identifier(id)
                            .new_db_cluster_identifier("stolen")
                            .apply_immediately(true)
                            .send(),
                    ),
                ),
                (
                    named("switch on the Data API of"),
                    denied(
                        rds.enable_http_endpoint()
                            .resource_arn(cluster_arn(rds, id))
                            .send(),
                    ),
                ),
                (
                    named("stop cluster"),
                    denied(rds.stop_db_cluster().db_cluster_identifier(id).send()),
                ),
                (
                    named("start cluster"),
                    denied(rds.start_db_cluster().db_cluster_identifier(id).send()),
                ),
                (
                    named("add an instance to"),
                    denied(
                        rds.create_db_instance()
                            .db_instance_identifier("attackers")
                            .db_cluster_identifier(id)
                            .db_instance_class("db.r6g.large")
                            .engine("aurora-postgresql")
                            .send(),
                    ),
                ),
                (
                    named("take a snapshot of"),
                    denied(
                        rds.create_db_cluster_snapshot()
                            .db_cluster_identifier(id)
                            .db_cluster_snapshot_identifier("attackers")
                            .send(),
                    ),
                ),
            ]);
        }
        all
    }

    fn on_instances(&self) -> Vec<Attempt<'_>> {
        let rds = &self.rds;
        let mut all = Vec::new();
        for id in ["payroll-staging-1", "expired-staging-1", "orders-prod-1"] {
            let named = |what: &str| format!("{what} {id}");
            all.extend([
                (
                    named("delete instance"),
                    denied(
                        rds.delete_db_instance()
                            .db_instance_identifier(id)
                            .skip_final_snapshot(true)
                            .send(),
                    ),
                ),
                (
                    named("modify instance"),
                    denied(
                        rds.modify_db_instance()
                            .db_instance_identifier(id)
                            .db_instance_class("db.r6g.xlarge")
                            .send(),
                    ),
                ),
                (
                    named("reboot instance"),
                    denied(rds.reboot_db_instance().db_instance_identifier(id).send()),
                ),
            ]);
        }
        all
    }

    fn on_snapshots(&self) -> Vec<Attempt<'_>> {
        let rds = &self.rds;
        let mut all = Vec::new();
        for id in [SNAPSHOT, "aurora-restore-forged"] {
            let named = |what: &str| format!("{what} {id}");
            let restore = || {
                rds.restore_db_cluster_from_snapshot()
                    .snapshot_identifier(id)
                    .engine("aurora-postgresql")
            };
            let copy = || {
                rds.copy_db_cluster_snapshot()
                    .source_db_cluster_snapshot_identifier(id)
            };
            let ours = || tag(OURS, "restore-1");
            all.extend([
                (
                    named("delete snapshot"),
                    denied(
                        rds.delete_db_cluster_snapshot()
                            .db_cluster_snapshot_identifier(id)
                            .send(),
                    ),
                ),
                (
                    named("share snapshot"),
                    denied(
                        rds.modify_db_cluster_snapshot_attribute()
                            .db_cluster_snapshot_identifier(id)
                            .attribute_name("restore")
                            .values_to_add("all")
                            .send(),
                    ),
                ),
                (
                    named("restore beside the targets"),
                    denied(
                        restore()
                            .db_cluster_identifier("attackers")
                            .tags(ours())
                            .send(),
                    ),
                ),
                (
                    named("restore over the source"),
                    denied(restore().db_cluster_identifier(SOURCE).tags(ours()).send()),
                ),
                (
                    named("restore without a tag"),
                    denied(restore().db_cluster_identifier("new-staging").send()),
                ),
                (
                    named("copy without a tag"),
                    denied(
                        copy()
                            .target_db_cluster_snapshot_identifier("aurora-restore-x")
                            .send(),
                    ),
                ),
                (
                    named("copy under a name that is not ours"),
                    denied(
                        copy()
                            .target_db_cluster_snapshot_identifier("attackers")
                            .tags(ours())
                            .send(),
                    ),
                ),
            ]);
        }
        all
    }

    /// A cluster may be gone back in, but only into a target.
    fn on_points_in_time(&self) -> Vec<Attempt<'_>> {
        let restore = |target: &str| {
            self.rds
                .restore_db_cluster_to_point_in_time()
                .source_db_cluster_identifier(SOURCE)
                .db_cluster_identifier(target)
                .use_latest_restorable_time(true)
        };
        let ours = || tag(OURS, "restore-1");
        vec![
            (
                "go back beside the targets".to_owned(),
                denied(restore("attackers").tags(ours()).send()),
            ),
            (
                "go back over the source".to_owned(),
                denied(restore(SOURCE).tags(ours()).send()),
            ),
            (
                "go back without a tag".to_owned(),
                denied(restore("new-staging").send()),
            ),
        ]
    }

    /// What the source account's role shares, less what makes it that role's.
    fn on_shared_snapshots(&self, scene: &Scene) -> Vec<Attempt<'_>> {
        let rds = &self.rds;
        let mut all = Vec::new();
        for id in attempts::others_shared_snapshots(&scene.local.stack.region) {
            let named = |what: &str| format!("{what} {id}");
            let delete = rds.delete_db_cluster_snapshot();
            let share = rds
                .modify_db_cluster_snapshot_attribute()
                .attribute_name("restore")
                .values_to_add(&scene.local.stack.account);
            all.extend([
                (
                    named("delete shared"),
                    denied(delete.db_cluster_snapshot_identifier(&id).send()),
                ),
                (
                    named("share"),
                    denied(share.db_cluster_snapshot_identifier(&id).send()),
                ),
            ]);
        }
        let shared_by = || tag("aurora-restore:shared-by", "sharing");
        for (source, target) in [
            ("rds:payroll-2026-11-21-00-00".to_owned(), "shared"),
            (format!("rds:{SHARED_CLUSTER}-2026-11-21-00-00"), "mine"),
        ] {
            let copy = rds
                .copy_db_cluster_snapshot()
                .source_db_cluster_snapshot_identifier(&source)
                .target_db_cluster_snapshot_identifier(format!("{target}-{SHARED_CLUSTER}-x"))
                .tags(shared_by());
            all.push((format!("copy {source} to {target}"), denied(copy.send())));
        }
        all
    }

    /// Nobody retags what is not theirs, nor takes tags away.
    fn on_tags(&self, scene: &Scene) -> Vec<Attempt<'_>> {
        let place = scene.place();
        let arn = |account: &str, region: &str, resource: &str| {
            format!("arn:aws:rds:{region}:{account}:{resource}")
        };
        let here = |resource: &str| arn(&place.account, &place.region, resource);
        let mut all = Vec::new();
        for resource in [
            here(&format!("cluster:{SOURCE}")),
            here("cluster:forged-prod"),
            here(&format!("cluster-snapshot:{SNAPSHOT}")),
            here("db:orders-prod-1"),
            arn("222222222222", &place.region, "cluster:orders-staging"),
            arn(&place.account, ELSEWHERE, "cluster:orders-staging"),
        ] {
            for key in [OURS, "owner", "aurora-restore:retired-by"] {
                let add = self.rds.add_tags_to_resource().resource_name(&resource);
                let remove = self
                    .rds
                    .remove_tags_from_resource()
                    .resource_name(&resource);
                all.push((
                    format!("tag {resource} with {key}"),
                    denied(add.tags(tag(key, "restore-2")).send()),
                ));
                all.push((
                    format!("take {key} from {resource}"),
                    denied(remove.tag_keys(key).send()),
                ));
            }
        }
        all
    }

    fn on_secrets(&self, scene: &Scene) -> Vec<Attempt<'_>> {
        let mut all = Vec::new();
        for id in [
            scene.master_secret_arn.as_str(),
            "staging/theirs",
            "missing",
        ] {
            let named = |what: &str| format!("{what} {id}");
            let owner = secret_tag("owner", "me");
            let secrets = &self.secrets;
            all.extend([
                (
                    named("delete secret"),
                    denied(
                        secrets
                            .delete_secret()
                            .secret_id(id)
                            .force_delete_without_recovery(true)
                            .send(),
                    ),
                ),
                (
                    named("put into secret"),
                    denied(
                        secrets
                            .put_secret_value()
                            .secret_id(id)
                            .secret_string("x")
                            .send(),
                    ),
                ),
                (
                    named("update secret"),
                    denied(
                        secrets
                            .update_secret()
                            .secret_id(id)
                            .secret_string("x")
                            .send(),
                    ),
                ),
                (
                    named("tag secret"),
                    denied(secrets.tag_resource().secret_id(id).tags(owner).send()),
                ),
                (
                    named("untag secret"),
                    denied(secrets.untag_resource().secret_id(id).tag_keys(OURS).send()),
                ),
                (
                    named("move a version of secret"),
                    denied(
                        secrets
                            .update_secret_version_stage()
                            .secret_id(id)
                            .version_stage("AWSCURRENT")
                            .send(),
                    ),
                ),
                (
                    named("bring back secret"),
                    denied(secrets.restore_secret().secret_id(id).send()),
                ),
            ]);
        }
        let retag = self
            .secrets
            .tag_resource()
            .secret_id("staging/other-restores");
        all.push((
            "take over another restore's secret".to_owned(),
            denied(retag.tags(secret_tag(OURS, "restore-1")).send()),
        ));
        all
    }

    fn on_tables(&self, scene: &Scene) -> Vec<Attempt<'_>> {
        let dynamodb = &self.dynamodb;
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let own = scene.local.stack.table();
        let mut all = vec![
            (
                "delete the state".to_owned(),
                denied(dynamodb.delete_table().table_name(&own).send()),
            ),
            (
                "read all of the state".to_owned(),
                denied(dynamodb.scan().table_name(&own).send()),
            ),
        ];
        for pk in ["RESTORE#restore-1", "TARGET#orders"] {
            let put = dynamodb.put_item().table_name("other-state");
            let update = dynamodb.update_item().table_name("other-state");
            let delete = dynamodb.delete_item().table_name("other-state");
            let named = |what: &str| format!("{what} {pk} of another table");
            all.extend([
                (
                    named("put"),
                    denied(put.item("pk", text(pk)).item("sk", text("x")).send()),
                ),
                (
                    named("update"),
                    denied(
                        update
                            .key("pk", text(pk))
                            .key("sk", text("x"))
                            .update_expression("SET a = pk")
                            .send(),
                    ),
                ),
                (
                    named("delete"),
                    denied(delete.key("pk", text(pk)).key("sk", text("x")).send()),
                ),
            ]);
        }
        let put = dynamodb.put_item().table_name(&own);
        all.push((
            "put another kind of item into the state".to_owned(),
            denied(
                put.item("pk", text("SOMETHING#1"))
                    .item("sk", text("x"))
                    .send(),
            ),
        ));
        all
    }

    fn on_the_rest(&self, scene: &Scene, key: &str) -> Vec<Attempt<'_>> {
        let (stack, kms) = (&scene.local.stack, &self.kms);
        let settings = stack.settings();
        let execution = stack.execution_arn("restore-1");
        let machine = stack.state_machine_arn();
        let put = |name: &str| {
            let kind = aws_sdk_ssm::types::ParameterType::String;
            denied(
                self.ssm
                    .put_parameter()
                    .name(name)
                    .value("{}")
                    .r#type(kind)
                    .overwrite(true)
                    .send(),
            )
        };
        let other_topic = format!("{}-other", settings.topic_arn);
        let other_machine = format!("{machine}-other");
        let role = format!("arn:aws:iam::{}:role/admin", stack.account);
        vec![
            (
                "change the settings".to_owned(),
                put(&settings.settings_parameter),
            ),
            (
                "change another parameter".to_owned(),
                put("/other/settings"),
            ),
            (
                "delete the settings".to_owned(),
                denied(
                    self.ssm
                        .delete_parameter()
                        .name(&settings.settings_parameter)
                        .send(),
                ),
            ),
            (
                "disable a key".to_owned(),
                denied(kms.disable_key().key_id(key).send()),
            ),
            (
                "delete a key".to_owned(),
                denied(kms.schedule_key_deletion().key_id(key).send()),
            ),
            (
                "open a key".to_owned(),
                denied(kms.put_key_policy().key_id(key).policy("{}").send()),
            ),
            (
                "grant a key to somebody".to_owned(),
                denied(
                    kms.create_grant()
                        .key_id(key)
                        .grantee_principal(&role)
                        .operations(aws_sdk_kms::types::GrantOperation::Decrypt)
                        .send(),
                ),
            ),
            (
                "publish elsewhere".to_owned(),
                denied(
                    self.sns
                        .publish()
                        .topic_arn(other_topic)
                        .message("x")
                        .send(),
                ),
            ),
            (
                "delete the topic".to_owned(),
                denied(
                    self.sns
                        .delete_topic()
                        .topic_arn(&settings.topic_arn)
                        .send(),
                ),
            ),
            (
                "stop a restore".to_owned(),
                denied(self.sfn.stop_execution().execution_arn(execution).send()),
            ),
            (
                "start another machine".to_owned(),
                denied(
                    self.sfn
                        .start_execution()
                        .state_machine_arn(other_machine)
                        .send(),
                ),
            ),
            (
                "delete the machine".to_owned(),
                denied(
                    self.sfn
                        .delete_state_machine()
                        .state_machine_arn(machine)
                        .send(),
                ),
            ),
            (
                "become somebody else".to_owned(),
                denied(
                    self.sts
                        .assume_role()
                        .role_arn(role)
                        .role_session_name("attacker")
                        .send(),
                ),
            ),
        ]
    }
}

fn secret_tag(key: &str, value: &str) -> aws_sdk_secretsmanager::types::Tag {
    aws_sdk_secretsmanager::types::Tag::builder()
        .key(key)
        .value(value)
        .build()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// Whether IAM denied it: not the service, which may have reasons of its own, and not a defect.
fn denied<'a, T, E, R>(
    call: impl Future<Output = Result<T, SdkError<E, R>>> + 'a,
) -> LocalBoxFuture<'a, bool>
where
    T: 'a,
    E: ProvideErrorMetadata + 'a,
    R: 'a,
{
    async {
        let Err(SdkError::ServiceError(error)) = call.await else {
            return false;
        };
        let error = error.into_err();
        let refused = [
            "AccessDenied",
            "AccessDeniedException",
            "AuthorizationError",
        ];
        refused.contains(&error.code().unwrap_or_default())
            && error
                .message()
                .is_some_and(|text| text.contains("identity-based policy"))
    }
    .boxed_local()
}
