//! For every action that a role is granted, what is not ours and of the same kind.
//!
//! What the local cloud serves is called, with a signed request and the role's own
//! credentials; what AWS's own parts do in a role's name (logs, network interfaces, use
//! of keys) is put to the role's policies. An action of which nothing is known here, and
//! which is not among [`EVERYWHERE`], fails the run.

use std::collections::BTreeMap;

use http::{HeaderMap, Method};
use local_cloud::AccessKey;
use local_cloud::iam::Role;
use pipeline_tests::Scene;
use serde_json::{Value, json};

use crate::beside::{self, SHARED_CLUSTER, SOURCE_ACCOUNT, account_and_name, question};
use crate::regions;
use crate::strangers::{OTHERS_MANAGED_SECRET, OTHERS_SECRET, OURS, OWN_NAME_UNTAGGED};
use crate::trial::logical_name;

/// Actions that are granted on everything there is, so that there is no stranger to try.
pub(crate) struct Everywhere {
    /// As the policies write them.
    pub(crate) actions: &'static [&'static str],
    /// The roles of which it is said; all when there is none.
    pub(crate) roles: &'static [&'static str],
    /// Why it is granted so.
    pub(crate) reason: &'static str,
}

/// All of them.
pub(crate) const EVERYWHERE: &[Everywhere] = &[
    Everywhere {
        actions: &[
            "rds:DescribeAccountAttributes",
            "rds:DescribeDBClusterParameterGroups",
            "rds:DescribeDBClusterParameters",
            "rds:DescribeDBClusterSnapshots",
            "rds:DescribeDBClusters",
            "rds:DescribeDBInstances",
            "rds:DescribeDBParameterGroups",
            "rds:DescribeDBSubnetGroups",
            "rds:DescribeOrderableDBInstanceOptions",
        ],
        roles: &[],
        reason: "listing names no single resource, and a look changes nothing and shows no data",
    },
    Everywhere {
        actions: &["cloudformation:GetResource", "ec2:DescribeSecurityGroups"],
        roles: &["PlanRole"],
        reason: "they have no resource types; what is read is in which VPC a security group is",
    },
    Everywhere {
        actions: &["rds:CrossRegionCommunication"],
        roles: &[],
        reason: "it has no resource types; the copy that needs it must be allowed by itself",
    },
    Everywhere {
        actions: &["kms:DescribeKey"],
        roles: &["PlanRole"],
        reason: "the key is the request's, of whatever account; a description is no use of it",
    },
    Everywhere {
        actions: &[
            "secretsmanager:GetRandomPassword",
            "secretsmanager:ListSecrets",
        ],
        roles: &[],
        reason: "they have no resource types: a random text is nobody's, and a list holds names and tags, no values",
    },
    Everywhere {
        actions: &["states:SendTaskFailure", "states:SendTaskSuccess"],
        roles: &[],
        reason: "they have no resource types: the token, which only the task was told, is the authority",
    },
    Everywhere {
        actions: &[
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
            "xray:PutTelemetryRecords",
            "xray:PutTraceSegments",
        ],
        roles: &[],
        reason: "they have no resource types",
    },
    Everywhere {
        actions: &[
            "logs:CreateLogDelivery",
            "logs:DeleteLogDelivery",
            "logs:DescribeLogGroups",
            "logs:DescribeResourcePolicies",
            "logs:GetLogDelivery",
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:UpdateLogDelivery",
        ],
        roles: &[],
        reason: "they have no resource types (Step Functions guide, \"Logging using CloudWatch Logs\")",
    },
];

impl Everywhere {
    /// Whether it speaks of this action of this role.
    pub(crate) fn concerns(&self, role: &str, action: &str) -> bool {
        self.actions.contains(&action) && (self.roles.is_empty() || self.roles.contains(&role))
    }
}

/// Every action that is known here; RDS' own are tried by `strangers`.
const ACTIONS: [&str; 42] = [
    "dynamodb:ConditionCheckItem",
    "dynamodb:DeleteItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
    "events:DescribeRule",
    "events:PutRule",
    "events:PutTargets",
    "iam:PassRole",
    "iam:SimulatePrincipalPolicy",
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:GenerateDataKey",
    "lambda:InvokeFunction",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "route53:ChangeResourceRecordSets",
    "route53:ListResourceRecordSets",
    "secretsmanager:CreateSecret",
    "secretsmanager:DeleteSecret",
    "secretsmanager:DescribeSecret",
    "secretsmanager:GetSecretValue",
    "secretsmanager:PutSecretValue",
    "secretsmanager:TagResource",
    "secretsmanager:UpdateSecret",
    "secretsmanager:UpdateSecretVersionStage",
    "sqs:SendMessage",
    "ssm:GetParameter",
    "ssm:GetParametersByPath",
    "ssm:PutParameter",
    "ssm:StartAutomationExecution",
    "states:DescribeExecution",
    "states:RedriveExecution",
    "states:StopExecution",
];

/// Tries every action on every stranger with a role's credentials: what was tried, and whether it was denied.
pub(crate) async fn try_all(scene: &Scene, role: &Role) -> Vec<(String, bool)> {
    let name = logical_name(&role.arn);
    let attacker = Attacker {
        scene,
        role,
        key: beside::session_key(scene, role, "attacker"),
    };
    let mut tried = Vec::new();
    for action in ACTIONS {
        let everywhere = EVERYWHERE.iter().any(|entry| entry.concerns(&name, action));
        if !everywhere {
            tried.extend(attacker.try_action(action, &name).await);
        }
    }
    tried
}

struct Attacker<'a> {
    scene: &'a Scene,
    role: &'a Role,
    key: AccessKey,
}

impl Attacker<'_> {
    async fn try_action(&self, action: &str, role: &str) -> Vec<(String, bool)> {
        let (service, operation) = action.split_once(':').unwrap();
        match service {
            "dynamodb" => {
                let items = dynamodb(operation, role, self.scene);
                self.call_all(action, items).await
            }
            "ec2" => self.as_the_function(action, role),
            "events" => self.put_all(action, self.others_rules()),
            "iam" => self.put_all(action, self.others_roles()),
            "kms" => self.put_all(action, self.others_keys()),
            "lambda" => self.invoke_others().await,
            "logs" => self.put_all(action, self.others_logs()),
            "secretsmanager" => {
                let secrets = secrets(operation, role, self.scene);
                self.call_all(action, secrets).await
            }
            "sqs" => self.call_all(action, self.others_queues()).await,
            "ssm" if operation == "GetParameter" => {
                let names = ["/aurora-restore-other/settings", "/other/settings"];
                let all = names.map(|name| json!({"Name": name}));
                self.call_all(action, all.into()).await
            }
            "ssm" if operation == "GetParametersByPath" => {
                let paths = ["/aurora-restore-other/profiles", "/aurora-restore", "/"];
                let all = paths.map(|path| json!({"Path": path, "Recursive": true}));
                self.call_all(action, all.into()).await
            }
            "ssm" if operation == "PutParameter" => {
                let names = [
                    "/other/settings",
                    "/orders-other/endpoint",
                    "/aurora-restore/settings",
                ];
                let all = names.map(|name| json!({"Name": name, "Value": "{}", "Overwrite": true}));
                self.call_all(action, all.into()).await
            }
            "route53" => {
                let zone = "arn:aws:route53:::hostedzone/Z0OTHERS".to_owned();
                self.put_all(action, vec![(zone, Vec::new())])
            }
            "ssm" => self.put_all(action, self.others_documents()),
            _ => self.call_all(action, self.others_executions()).await,
        }
    }

    fn arn(&self, service: &str, resource: &str) -> String {
        let (account, _) = account_and_name(self.role);
        let region = &self.scene.local.stack.region;
        format!("arn:aws:{service}:{region}:{account}:{resource}")
    }

    /// Puts questions to the role's policies.
    fn put_all(
        &self,
        action: &str,
        strangers: Vec<(String, Vec<(&str, &str)>)>,
    ) -> Vec<(String, bool)> {
        let put = |(resource, keys): (String, Vec<(&str, &str)>)| {
            let named = format!("{action} on {resource} {keys:?}");
            let question = question(action, resource, &keys);
            let asked = beside::put(self.scene, &self.role.arn, "attacker", question);
            (named, asked.is_err())
        };
        strangers.into_iter().map(put).collect()
    }

    /// What Lambda does with the role for a function in the VPC, done by the function's own code.
    fn as_the_function(&self, action: &str, role: &str) -> Vec<(String, bool)> {
        let session = self.scene.local.stack.function_name(&step_of(role));
        let question = question(action, "*".to_owned(), &[]);
        let asked = beside::put(self.scene, &self.role.arn, &session, question);
        vec![(format!("{action} by the code of {session}"), asked.is_err())]
    }

    fn others_roles(&self) -> Vec<(String, Vec<(&str, &str)>)> {
        let (account, _) = account_and_name(self.role);
        let to = |service| vec![("iam:PassedToService", service)];
        let shared = beside::role(self.scene, "ShareSnapshotRole").arn.clone();
        vec![
            (
                format!("arn:aws:iam::{account}:role/admin"),
                to("ssm.amazonaws.com"),
            ),
            (shared, to("ec2.amazonaws.com")),
            (
                format!("arn:aws:iam::{account}:role/admin"),
                to("rds.amazonaws.com"),
            ),
            (
                format!("arn:aws:iam::{account}:role/aurora-restore-database-s3"),
                to("ec2.amazonaws.com"),
            ),
        ]
    }

    /// By themselves, and by way of a service that none of ours calls.
    fn others_keys(&self) -> Vec<(String, Vec<(&str, &str)>)> {
        let own = self.arn("kms", "key/0e520eaa-c3c4-4ab1-9099-9c8c6d5d4e9d");
        let foreign = own.replace(account_and_name(self.role).0, "222222222222");
        let by_s3 = || vec![("kms:ViaService", "s3.eu-west-1.amazonaws.com")];
        vec![
            (own.clone(), Vec::new()),
            (own, by_s3()),
            (foreign.clone(), Vec::new()),
            (foreign, by_s3()),
        ]
    }

    fn others_rules(&self) -> Vec<(String, Vec<(&str, &str)>)> {
        let rule = |name: &str| (self.arn("events", &format!("rule/{name}")), Vec::new());
        vec![
            rule("payroll"),
            rule("StepFunctionsGetEventsForECSTaskRule"),
        ]
    }

    fn others_logs(&self) -> Vec<(String, Vec<(&str, &str)>)> {
        let group = |name: &str| {
            let stream = format!("log-group:/aws/lambda/{name}:log-stream:x");
            (self.arn("logs", &stream), Vec::new())
        };
        vec![group("payroll"), group("aurora-restore-plan-other")]
    }

    fn others_documents(&self) -> Vec<(String, Vec<(&str, &str)>)> {
        let resource = |resource: &str| (self.arn("ssm", resource), Vec::new());
        vec![
            resource("automation-definition/AWS-DeleteSnapshot:$DEFAULT"),
            resource("document/payroll"),
        ]
    }

    fn others_queues(&self) -> Vec<Value> {
        let stack = &self.scene.local.stack;
        let url = |account: &str, name: &str| {
            let url = format!(
                "https://sqs.{}.amazonaws.com/{account}/{name}",
                stack.region
            );
            json!({"QueueUrl": url, "MessageBody": "x"})
        };
        vec![
            url(&stack.account, "payroll"),
            url(&stack.account, "aurora-restore-dead-letters-other"),
        ]
    }

    fn others_executions(&self) -> Vec<Value> {
        let own = self.scene.local.stack.execution_arn("restore-1");
        let account = &self.scene.local.stack.account;
        vec![
            json!({"executionArn": own.replace(":aurora-restore:", ":aurora-restore-other:")}),
            json!({"executionArn": own.replace(account, "222222222222")}),
        ]
    }

    /// Every function that is not the role's to invoke, the pipeline's own among them.
    async fn invoke_others(&self) -> Vec<(String, bool)> {
        let granted = serde_json::to_string(&self.role.documents).unwrap();
        let stack = &self.scene.local.stack;
        let steps = aurora_restore::deployment::STEPS.map(|step| stack.function_name(step.name));
        let others = ["payroll", "aurora-restore-other-plan"].map(str::to_owned);
        let mut tried = Vec::new();
        for function in steps.into_iter().chain(others) {
            let arn = self.arn("lambda", &format!("function:{function}"));
            if granted.contains(&format!("\"{arn}\"")) {
                continue;
            }
            let path = format!("/2015-03-31/functions/{function}/invocations");
            let denied = self.send("lambda", &path, None, json!({})).await;
            tried.push((format!("lambda:InvokeFunction on {function}"), denied));
        }
        tried
    }

    async fn call_all(&self, action: &str, bodies: Vec<Value>) -> Vec<(String, bool)> {
        let (service, operation) = action.split_once(':').unwrap();
        let operation = match operation {
            // It is no operation of its own.
            "ConditionCheckItem" => "TransactWriteItems",
            operation => operation,
        };
        let target = match service {
            "dynamodb" => "DynamoDB_20120810",
            "ssm" => "AmazonSSM",
            "states" => "AWSStepFunctions",
            "sqs" => "AmazonSQS",
            service => service,
        };
        let target = format!("{target}.{operation}");
        let mut tried = Vec::new();
        for body in bodies {
            let named = format!("{action} {body}");
            let denied = self.send(service, "/", Some(&target), body).await;
            tried.push((named, denied));
        }
        tried
    }

    /// Sends a request as a client of the role's would; whether IAM denied it.
    async fn send(&self, service: &str, path: &str, target: Option<&str>, body: Value) -> bool {
        let region = &self.scene.local.stack.region;
        let mut headers = HeaderMap::new();
        let scope = format!("{}/20261121/{region}/{service}", self.key.access_key_id);
        let signature = format!(
            "AWS4-HMAC-SHA256 Credential={scope}/aws4_request, SignedHeaders=host, Signature=00"
        );
        headers.insert(http::header::AUTHORIZATION, signature.parse().unwrap());
        let content_type = "application/x-amz-json-1.1".parse().unwrap();
        headers.insert(http::header::CONTENT_TYPE, content_type);
        if let Some(target) = target {
            headers.insert("x-amz-target", target.parse().unwrap());
        }
        let body = body.to_string().into();
        let world = self.scene.local.cloud.world();
        let answer = world.receive(Method::POST, path.parse().unwrap(), headers, body);
        let answer = answer.await.ok();
        answer.is_some_and(|answer| {
            let said = String::from_utf8_lossy(answer.body()).into_owned();
            [400, 403].contains(&answer.status().as_u16()) && said.contains("identity-based policy")
        })
    }
}

/// `reset-credentials` for `ResetCredentialsRole`.
fn step_of(role: &str) -> String {
    let mut step = String::new();
    for character in role.trim_end_matches("Role").chars() {
        if character.is_ascii_uppercase() && !step.is_empty() {
            step.push('-');
        }
        step.push(character.to_ascii_lowercase());
    }
    step
}

/// What of the role table is a role's to read or write: who restores, and which restore is whose. Nobody writes the
/// first, whose only item is [`ACTIVE`].
const OF_REGIONS: [(&str, &str, &str); 6] = [
    ("PlanRole", "GetItem", ACTIVE),
    ("PlanRole", "GetItem", CLAIM),
    ("PlanRole", "PutItem", CLAIM),
    ("StartRole", "GetItem", ACTIVE),
    ("ApiRole", "GetItem", ACTIVE),
    ("FleetRole", "GetItem", ACTIVE),
];
const ACTIVE: &str = "ROLE";
const CLAIM: &str = "CLAIM#restore-1";

/// Another table, another kind of item in ours, and what is not the role's in the table of the two regions.
fn dynamodb(operation: &str, role: &str, scene: &Scene) -> Vec<Value> {
    let own = scene.local.stack.table();
    let mut places = vec![
        ("other-state", "RESTORE#restore-1"),
        (own.as_str(), "SOMETHING#1"),
        (regions::TABLE, "SOMETHING#1"),
    ];
    for pk in [ACTIVE, CLAIM] {
        if !OF_REGIONS.contains(&(role, operation, pk)) {
            places.push((regions::TABLE, pk));
        }
    }
    let request = |(table, pk): (&str, &str)| {
        let key = json!({"pk": {"S": pk}, "sk": {"S": "x"}});
        match operation {
            "PutItem" => json!({"TableName": table, "Item": key}),
            "UpdateItem" => {
                json!({"TableName": table, "Key": key, "UpdateExpression": "SET a = pk"})
            }
            "Query" => json!({
                "TableName": table,
                "KeyConditionExpression": "pk = :pk",
                "ExpressionAttributeValues": {":pk": {"S": pk}},
            }),
            "ConditionCheckItem" => {
                let check = json!({
                    "TableName": table,
                    "Key": key,
                    "ConditionExpression": "attribute_exists(pk)",
                });
                json!({"TransactItems": [{"ConditionCheck": check}]})
            }
            _ => json!({"TableName": table, "Key": key}),
        }
    };
    let mut all: Vec<Value> = places.into_iter().map(request).collect();
    if operation == "Query" {
        all.push(json!({
            "TableName": "other-state",
            "IndexName": "by-status",
            "KeyConditionExpression": "#status = :status",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": {":status": {"S": "Running"}},
        }));
    }
    all
}

/// Somebody's secret, a managed one of production, one of another account and of another region; one that is called
/// as ours and has no tag; and the source's, but for whose it is to read.
fn secrets(operation: &str, role: &str, scene: &Scene) -> Vec<Value> {
    let stack = &scene.local.stack;
    let arn = |region: &str, account: &str| {
        format!("arn:aws:secretsmanager:{region}:{account}:secret:staging/master-AbCdEf")
    };
    let tag = json!([{"Key": OURS, "Value": "restore-1"}]);
    if operation == "CreateSecret" {
        return vec![
            json!({"Name": "payroll/new", "SecretString": "x"}),
            json!({"Name": "payroll/tagged", "SecretString": "x", "Tags": tag}),
            json!({"Name": "staging/untagged", "SecretString": "x"}),
            json!({"Name": "rds!cluster-attackers", "SecretString": "x", "Tags": tag}),
        ];
    }
    let mut ids = vec![
        OTHERS_SECRET.to_owned(),
        OTHERS_MANAGED_SECRET.to_owned(),
        arn(&stack.region, "222222222222"),
        arn("eu-central-1", &stack.account),
    ];
    // What is called as ours may be described, to see whether it is.
    if operation != "DescribeSecret" {
        ids.push(OWN_NAME_UNTAGGED.to_owned());
    }
    let reads_the_sources = match operation {
        "GetSecretValue" => role == "VerifyRole",
        "DescribeSecret" => role == "PlanRole",
        _ => false,
    };
    if !reads_the_sources {
        ids.push(scene.master_secret_arn.clone());
    }
    let members = match operation {
        "PutSecretValue" | "UpdateSecret" => json!({"SecretString": "x"}),
        "TagResource" => json!({"Tags": [{"Key": "owner", "Value": "me"}]}),
        "UpdateSecretVersionStage" => json!({"VersionStage": "AWSCURRENT"}),
        "DeleteSecret" => json!({"ForceDeleteWithoutRecovery": true}),
        _ => json!({}),
    };
    let members: BTreeMap<String, Value> = serde_json::from_value(members).unwrap();
    let request = |id: String| {
        let mut request = json!({"SecretId": id});
        for (name, value) in &members {
            request[name.as_str()] = value.clone();
        }
        request
    };
    ids.into_iter().map(request).collect()
}

/// Names of snapshots that the source account's role must leave alone.
pub(crate) fn others_shared_snapshots(region: &str) -> [String; 3] {
    let arn = |account: &str, name: &str| {
        format!("arn:aws:rds:{region}:{account}:cluster-snapshot:{name}")
    };
    [
        arn(SOURCE_ACCOUNT, "shared-payroll-20261121-000000"),
        // Called as the role's own, and nobody tagged it so.
        arn(SOURCE_ACCOUNT, &format!("shared-{SHARED_CLUSTER}-by-hand")),
        arn(SOURCE_ACCOUNT, &format!("{SHARED_CLUSTER}-by-hand")),
    ]
}
