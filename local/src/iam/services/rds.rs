//! RDS: one call asks about several resources, and for the keys that RDS uses.
//!
//! A call that names no parameter, option or subnet group is asked about the default
//! ones, which AWS does as well: a policy with clusters and snapshots alone fails. A
//! deletion is asked about a last snapshot, also when it names none: the reference has
//! it among the required resources.

use super::Call;
use super::kms::{self, Purpose};
use crate::iam::CALLED_VIA;
use crate::iam::evaluate::Question;

/// What RDS is called where it asks others.
const SERVICE: &str = "rds.amazonaws.com";

/// A resource that an operation is asked about.
enum Subject {
    /// The one of this kind that this parameter names, or any of the kind.
    Named(&'static str, &'static str),
    /// Likewise, if the parameter is given.
    Given(&'static str, &'static str),
    /// The group of this kind that this parameter names, or the default one.
    Group(&'static str, &'static str),
    /// Whatever this parameter names, by ARN.
    Arn(&'static str),
    /// No resource.
    Nothing,
}

use Subject::{Arn, Given, Group, Named, Nothing};

const CLUSTER: Subject = Named("cluster", "DBClusterIdentifier");
const INSTANCE: Subject = Named("db", "DBInstanceIdentifier");
const SNAPSHOT: Subject = Named("cluster-snapshot", "DBClusterSnapshotIdentifier");
const CLUSTER_GROUP: Subject = Group("cluster-pg", "DBClusterParameterGroupName");
const OPTION_GROUP: Subject = Group("og", "OptionGroupName");
const SUBNET_GROUP: Subject = Group("subgrp", "DBSubnetGroupName");
const GLOBAL_CLUSTER: Subject = Named("global-cluster", "GlobalClusterIdentifier");
const TAGGED: Subject = Arn("ResourceName");

fn subjects(operation: &str) -> Option<&'static [Subject]> {
    Some(match operation {
        "AddRoleToDBCluster"
        | "RemoveRoleFromDBCluster"
        | "DescribeDBClusters"
        | "FailoverDBCluster"
        | "StartDBCluster"
        | "StopDBCluster" => &[CLUSTER],
        "EnableHttpEndpoint" | "DisableHttpEndpoint" => &[Arn("ResourceArn")],
        "AddTagsToResource" | "RemoveTagsFromResource" | "ListTagsForResource" => &[TAGGED],
        "CopyDBClusterSnapshot" => &[
            Named("cluster-snapshot", "SourceDBClusterSnapshotIdentifier"),
            Named("cluster-snapshot", "TargetDBClusterSnapshotIdentifier"),
        ],
        "CreateDBCluster" => &[
            CLUSTER,
            CLUSTER_GROUP,
            OPTION_GROUP,
            SUBNET_GROUP,
            Given("global-cluster", "GlobalClusterIdentifier"),
        ],
        "CreateGlobalCluster" => &[
            Given("cluster", "SourceDBClusterIdentifier"),
            GLOBAL_CLUSTER,
        ],
        "DeleteGlobalCluster" | "DescribeGlobalClusters" => &[GLOBAL_CLUSTER],
        "RemoveFromGlobalCluster" => &[Named("cluster", "DbClusterIdentifier"), GLOBAL_CLUSTER],
        "RestoreDBClusterFromSnapshot" => &[
            CLUSTER,
            Named("cluster-snapshot", "SnapshotIdentifier"),
            CLUSTER_GROUP,
            OPTION_GROUP,
            SUBNET_GROUP,
        ],
        "RestoreDBClusterToPointInTime" => &[
            CLUSTER,
            Named("cluster", "SourceDBClusterIdentifier"),
            CLUSTER_GROUP,
            OPTION_GROUP,
            SUBNET_GROUP,
        ],
        "CreateDBClusterSnapshot" => &[CLUSTER, SNAPSHOT],
        "CreateDBInstance" => &[
            INSTANCE,
            Given("cluster", "DBClusterIdentifier"),
            Given("pg", "DBParameterGroupName"),
            Given("og", "OptionGroupName"),
            Given("subgrp", "DBSubnetGroupName"),
        ],
        "ModifyDBInstance" => &[
            INSTANCE,
            Given("pg", "DBParameterGroupName"),
            Given("og", "OptionGroupName"),
            Given("subgrp", "DBSubnetGroupName"),
        ],
        "ModifyDBCluster" => &[
            CLUSTER,
            Given("cluster-pg", "DBClusterParameterGroupName"),
            Given("og", "OptionGroupName"),
        ],
        "CreateDBClusterParameterGroup"
        | "DescribeDBClusterParameterGroups"
        | "DescribeDBClusterParameters"
        | "ModifyDBClusterParameterGroup" => &[Named("cluster-pg", "DBClusterParameterGroupName")],
        "CreateDBParameterGroup" | "DescribeDBParameterGroups" | "DescribeDBParameters" => {
            &[Named("pg", "DBParameterGroupName")]
        }
        "CreateDBSubnetGroup" | "DescribeDBSubnetGroups" => &[Named("subgrp", "DBSubnetGroupName")],
        "DeleteDBCluster" => &[
            CLUSTER,
            Named("cluster-snapshot", "FinalDBSnapshotIdentifier"),
        ],
        "DeleteDBInstance" | "DescribeDBInstances" | "RebootDBInstance" => &[INSTANCE],
        "DeleteDBClusterSnapshot"
        | "DescribeDBClusterSnapshotAttributes"
        | "ModifyDBClusterSnapshotAttribute" => &[SNAPSHOT],
        "DescribeDBClusterSnapshots" => &[SNAPSHOT, Given("cluster", "DBClusterIdentifier")],
        "DescribeAccountAttributes"
        | "DescribeDBEngineVersions"
        | "DescribeEvents"
        | "DescribeOrderableDBInstanceOptions" => &[Nothing],
        _ => return None,
    })
}

pub(super) fn questions(call: &Call<'_>) -> Option<Vec<Question>> {
    let action = format!("rds:{}", call.operation);
    let mut asked: Vec<Question> = subjects(&call.operation)?
        .iter()
        .filter_map(|subject| subject.arn(call))
        .map(|arn| question(call, &action, &arn))
        .collect();
    asked.extend(tagging(call));
    asked.extend(crossing_regions(call));
    asked.extend(keys(call));
    asked.extend(managed_secret(call));
    asked.extend(passed_roles(call));
    Some(asked)
}

impl Subject {
    fn arn(&self, call: &Call<'_>) -> Option<String> {
        let named = |kind: &str, name: &str| {
            if name.starts_with("arn:") {
                return name.to_owned();
            }
            if kind == "global-cluster" {
                // It belongs to no region.
                let account = &call.caller.account;
                return format!("arn:aws:rds::{account}:{kind}:{}", name.to_lowercase());
            }
            call.arn("rds", &format!("{kind}:{}", name.to_lowercase()))
        };
        match self {
            Named(kind, parameter) => Some(named(kind, call.text(parameter).unwrap_or("*"))),
            Given(kind, parameter) => call.text(parameter).map(|name| named(kind, name)),
            Group(kind, parameter) => Some(match call.text(parameter) {
                Some(name) => named(kind, name),
                None => named(kind, &default_group(call, kind)),
            }),
            Arn(parameter) => call.text(parameter).map(str::to_owned),
            Nothing => Some("*".to_owned()),
        }
    }
}

/// What RDS takes when the call names no group.
fn default_group(call: &Call<'_>, kind: &str) -> String {
    let engine = call.text("Engine").unwrap_or("aurora-postgresql");
    let version = call.text("EngineVersion").unwrap_or_default();
    let major = version.split('.').next().unwrap_or_default();
    match kind {
        "cluster-pg" => format!("default.{engine}{major}"),
        "og" => format!("default:{engine}-{major}"),
        _ => "default".to_owned(),
    }
}

/// A question with RDS' own condition keys.
fn question(call: &Call<'_>, action: &str, arn: &str) -> Question {
    let mut question = call.ask(action, arn);
    for (parameter, key) in [
        ("DBInstanceClass", "rds:DatabaseClass"),
        ("Engine", "rds:DatabaseEngine"),
        ("DatabaseName", "rds:DatabaseName"),
        ("ManageMasterUserPassword", "rds:ManageMasterUserPassword"),
        ("PubliclyAccessible", "rds:PubliclyAccessible"),
        ("StorageEncrypted", "rds:StorageEncrypted"),
    ] {
        if let Some(value) = call.text(parameter) {
            question.context.add(key, value);
        }
    }
    for (key, value) in call.request_tags() {
        question.context.add(&format!("rds:req-tag/{key}"), value);
    }
    let kind = arn.split(':').nth(5).unwrap_or_default();
    let tags = call.known_as("rds", arn).map(|known| known.tags);
    for (key, value) in tags.unwrap_or_default() {
        question
            .context
            .add(&format!("rds:{kind}-tag/{key}"), value);
    }
    question
}

/// Tags on what a call makes need the right to tag it.
fn tagging(call: &Call<'_>) -> Option<Question> {
    let (kind, parameter) = match call.operation.as_str() {
        "CreateDBCluster" | "RestoreDBClusterFromSnapshot" | "RestoreDBClusterToPointInTime" => {
            ("cluster", "DBClusterIdentifier")
        }
        "CopyDBClusterSnapshot" => ("cluster-snapshot", "TargetDBClusterSnapshotIdentifier"),
        "CreateDBClusterSnapshot" => ("cluster-snapshot", "DBClusterSnapshotIdentifier"),
        "CreateDBInstance" => ("db", "DBInstanceIdentifier"),
        "CreateDBClusterParameterGroup" => ("cluster-pg", "DBClusterParameterGroupName"),
        "CreateDBParameterGroup" => ("pg", "DBParameterGroupName"),
        "CreateDBSubnetGroup" => ("subgrp", "DBSubnetGroupName"),
        _ => return None,
    };
    if call.request_tags().is_empty() {
        return None;
    }
    let arn = Named(kind, parameter).arn(call)?;
    Some(question(call, "rds:AddTagsToResource", &arn))
}

/// A copy from another region is made by both regions' RDS.
fn crossing_regions(call: &Call<'_>) -> Option<Question> {
    let source = call.text("SourceDBClusterSnapshotIdentifier")?;
    let region = source
        .starts_with("arn:")
        .then(|| source.split(':').nth(3))??;
    (region != call.caller.region).then(|| call.ask("rds:CrossRegionCommunication", "*"))
}

/// The keys that RDS will use: those of what is read and of what is made.
fn keys(call: &Call<'_>) -> Vec<Question> {
    let source = match call.operation.as_str() {
        "CopyDBClusterSnapshot" => {
            Named("cluster-snapshot", "SourceDBClusterSnapshotIdentifier").arn(call)
        }
        "RestoreDBClusterFromSnapshot" => Named("cluster-snapshot", "SnapshotIdentifier").arn(call),
        "RestoreDBClusterToPointInTime" => Named("cluster", "SourceDBClusterIdentifier").arn(call),
        "CreateDBCluster" => None,
        _ => return Vec::new(),
    };
    let source_key = source
        .and_then(|arn| call.known_as("rds", &arn))
        .and_then(|known| known.key);
    let mut asked = Vec::new();
    for key in [source_key.as_deref(), call.text("KmsKeyId")]
        .into_iter()
        .flatten()
    {
        asked.extend(kms::through(call, "rds", key, Purpose::Grant));
        // Another account's key is opened with the caller's rights ("Sharing encrypted snapshots").
        let account = key.split(':').nth(4);
        if account.is_some_and(|account| account != call.caller.account) {
            asked.extend(kms::through(call, "rds", key, Purpose::Read));
        }
    }
    asked
}

/// Roles that the caller hands to the database, and to what watches it ("Actions, resources, and condition keys for
/// Amazon RDS": dependent actions).
fn passed_roles(call: &Call<'_>) -> Vec<Question> {
    let mut roles = Vec::new();
    if call.operation.contains("RoleToDBCluster") {
        roles.extend(call.text("RoleArn").map(|role| (role.to_owned(), SERVICE)));
    }
    for role in call.texts_below("AssociatedRoles", "RoleArn") {
        roles.push((role, SERVICE));
    }
    let watching = call.text("MonitoringRoleArn");
    roles.extend(watching.map(|role| (role.to_owned(), "monitoring.rds.amazonaws.com")));
    roles
        .into_iter()
        .map(|(role, service)| {
            call.ask("iam:PassRole", role)
                .with("iam:PassedToService", service)
        })
        .collect()
}

/// A secret that RDS manages is made, and rotated, with the caller's rights: Aurora supports forward access sessions
/// ("How Amazon Aurora works with IAM").
fn managed_secret(call: &Call<'_>) -> Vec<Question> {
    let mut asked = Vec::new();
    if call.text("ManageMasterUserPassword") == Some("true") {
        // Its name holds an id that RDS makes up.
        let secret = call.arn(
            "secretsmanager",
            "secret:rds!cluster-00000000-0000-0000-0000-000000000000",
        );
        for action in ["secretsmanager:CreateSecret", "secretsmanager:TagResource"] {
            asked.push(Question::new(action, &secret).with(CALLED_VIA, SERVICE));
        }
        match call.text("MasterUserSecretKmsKeyId") {
            Some(key) => {
                asked.extend(kms::through(call, "secretsmanager", key, Purpose::Grant));
                asked.extend(kms::through(call, "secretsmanager", key, Purpose::Write));
            }
            // "Permissions required for Secrets Manager integration" names kms:DescribeKey for every key.
            None => asked.push(kms::described_through(
                call,
                "rds",
                "alias/aws/secretsmanager",
            )),
        }
    }
    if call.text("RotateMasterUserPassword") == Some("true") {
        let secret = call.arn("secretsmanager", "secret:rds!cluster-*");
        asked.push(Question::new("secretsmanager:RotateSecret", secret).with(CALLED_VIA, SERVICE));
    }
    asked
}
