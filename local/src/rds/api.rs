//! The operations, and how a request finds its own.
//!
//! Each names the parameters it takes. A parameter that is not in the list is
//! refused instead of ignored: a rehearsal in which a setting silently does
//! nothing would prove less than it seems to.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::audit::AuditRecord;
use super::encryption::Encryption;
use super::form::Form;
use super::names::{Arn, Place};
use super::state::Book;
use super::xml::{Xml, error_response};
use super::{
    Inner, Rds, catalog, cluster, copy, deletion, errors, events, global, instance, modification,
    parameter_groups, quotas, restore, roles, sharing, snapshot, stopping, subnet_groups, tags,
};
use crate::recorded::RecordedText;
use crate::request::{ApiError, Caller, Request, Response};
use crate::world::{Known, Service};

/// One request, taken apart.
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) place: Place,
    pub(super) form: Form,
    pub(super) now: OffsetDateTime,
}

/// What stands inside an action's result element.
pub(super) type Answer = Result<Xml, ApiError>;

type Later<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// How an operation is run.
#[derive(Clone, Copy)]
enum Run {
    /// It only reads or changes the book.
    AtOnce(fn(&Inner, &Call) -> Answer),
    /// It starts a flow.
    WithFlow(fn(&Arc<Inner>, &Call) -> Answer),
    /// It asks another service first.
    Asking(for<'a> fn(&'a Arc<Inner>, &'a Call) -> Later<'a>),
}

struct Operation {
    action: &'static str,
    run: Run,
    parameters: &'static [&'static [&'static str]],
}

macro_rules! asking {
    ($function:path) => {
        Run::Asking(|rds, call| Box::pin($function(rds, call)))
    };
}

const PAGES: &[&str] = &["Filters", "MaxRecords", "Marker"];

/// What every call that makes a cluster may set.
const CLUSTER_SETTINGS: &[&str] = &[
    "DBSubnetGroupName",
    "VpcSecurityGroupIds",
    "DBClusterParameterGroupName",
    "Port",
    "EnableIAMDatabaseAuthentication",
    "EnableCloudwatchLogsExports",
    "DeletionProtection",
    "CopyTagsToSnapshot",
    "BackupRetentionPeriod",
    "PreferredBackupWindow",
    "StorageType",
    "ServerlessV2ScalingConfiguration",
    "EngineLifecycleSupport",
    "KmsKeyId",
    "Tags",
];

/// Settings that are kept and shown and change nothing here.
const SHOWN_ONLY: &[&str] = &[
    "EnablePerformanceInsights",
    "PerformanceInsightsKMSKeyId",
    "PerformanceInsightsRetentionPeriod",
    "MonitoringInterval",
    "MonitoringRoleArn",
    "NetworkType",
];

/// Parameters with which callers say what is so anyway.
const SELF_EVIDENT: &[&str] = &[
    "EngineMode",
    "AvailabilityZones",
    "OptionGroupName",
    "PubliclyAccessible",
];

/// Every operation there is.
const OPERATIONS: &[Operation] = &[
    Operation {
        action: "AddRoleToDBCluster",
        run: Run::WithFlow(roles::add),
        parameters: &[&["DBClusterIdentifier", "RoleArn", "FeatureName"]],
    },
    Operation {
        action: "AddTagsToResource",
        run: Run::AtOnce(tags::add),
        parameters: &[&["ResourceName", "Tags"]],
    },
    Operation {
        action: "CopyDBClusterSnapshot",
        run: asking!(copy::copy),
        parameters: &[&[
            "SourceDBClusterSnapshotIdentifier",
            "TargetDBClusterSnapshotIdentifier",
            "KmsKeyId",
            "PreSignedUrl",
            "CopyTags",
            "Tags",
        ]],
    },
    Operation {
        action: "CreateDBCluster",
        run: asking!(cluster::create),
        parameters: &[
            &[
                "DBClusterIdentifier",
                "Engine",
                "EngineVersion",
                "MasterUsername",
                "MasterUserPassword",
                "ManageMasterUserPassword",
                "MasterUserSecretKmsKeyId",
                "DatabaseName",
                "StorageEncrypted",
                "PreferredMaintenanceWindow",
                "EnableHttpEndpoint",
                "DatabaseInsightsMode",
                "AutoMinorVersionUpgrade",
                "GlobalClusterIdentifier",
            ],
            CLUSTER_SETTINGS,
            SHOWN_ONLY,
            SELF_EVIDENT,
        ],
    },
    Operation {
        action: "CreateDBClusterParameterGroup",
        run: Run::AtOnce(parameter_groups::create_of_cluster),
        parameters: &[&[
            "DBClusterParameterGroupName",
            "DBParameterGroupFamily",
            "Description",
            "Tags",
        ]],
    },
    Operation {
        action: "CreateDBClusterSnapshot",
        run: Run::WithFlow(snapshot::create),
        parameters: &[&["DBClusterSnapshotIdentifier", "DBClusterIdentifier", "Tags"]],
    },
    Operation {
        action: "CreateDBInstance",
        run: Run::WithFlow(instance::create),
        parameters: &[
            &[
                "DBInstanceIdentifier",
                "DBInstanceClass",
                "Engine",
                "EngineVersion",
                "DBClusterIdentifier",
                "DBParameterGroupName",
                "AvailabilityZone",
                "PromotionTier",
                "PreferredMaintenanceWindow",
                "AutoMinorVersionUpgrade",
                "PubliclyAccessible",
                "CACertificateIdentifier",
                "DBSubnetGroupName",
                "DatabaseInsightsMode",
                "Tags",
            ],
            SHOWN_ONLY,
        ],
    },
    Operation {
        action: "CreateDBParameterGroup",
        run: Run::AtOnce(parameter_groups::create_of_instance),
        parameters: &[&[
            "DBParameterGroupName",
            "DBParameterGroupFamily",
            "Description",
            "Tags",
        ]],
    },
    Operation {
        action: "CreateDBSubnetGroup",
        run: Run::AtOnce(subnet_groups::create),
        parameters: &[&[
            "DBSubnetGroupName",
            "DBSubnetGroupDescription",
            "SubnetIds",
            "Tags",
        ]],
    },
    Operation {
        action: "CreateGlobalCluster",
        run: Run::AtOnce(global::create),
        parameters: &[&["GlobalClusterIdentifier", "SourceDBClusterIdentifier"]],
    },
    Operation {
        action: "DeleteDBCluster",
        run: Run::WithFlow(deletion::delete_cluster),
        parameters: &[&[
            "DBClusterIdentifier",
            "SkipFinalSnapshot",
            "FinalDBSnapshotIdentifier",
            "DeleteAutomatedBackups",
        ]],
    },
    Operation {
        action: "DeleteDBClusterSnapshot",
        run: Run::WithFlow(deletion::delete_snapshot),
        parameters: &[&["DBClusterSnapshotIdentifier"]],
    },
    Operation {
        action: "DeleteDBInstance",
        run: Run::WithFlow(deletion::delete_instance),
        parameters: &[&[
            "DBInstanceIdentifier",
            "SkipFinalSnapshot",
            "FinalDBSnapshotIdentifier",
            "DeleteAutomatedBackups",
        ]],
    },
    Operation {
        action: "DeleteGlobalCluster",
        run: Run::AtOnce(global::delete),
        parameters: &[&["GlobalClusterIdentifier"]],
    },
    Operation {
        action: "DescribeAccountAttributes",
        run: Run::AtOnce(quotas::describe),
        parameters: &[],
    },
    Operation {
        action: "DescribeDBClusterParameterGroups",
        run: Run::AtOnce(parameter_groups::describe_of_clusters),
        parameters: &[&["DBClusterParameterGroupName"], PAGES],
    },
    Operation {
        action: "DescribeDBClusterParameters",
        run: Run::AtOnce(parameter_groups::describe_parameters),
        parameters: &[&["DBClusterParameterGroupName", "Source"], PAGES],
    },
    Operation {
        action: "DescribeDBClusterSnapshotAttributes",
        run: Run::AtOnce(sharing::describe),
        parameters: &[&["DBClusterSnapshotIdentifier"]],
    },
    Operation {
        action: "DescribeDBClusterSnapshots",
        run: Run::AtOnce(snapshot::describe),
        parameters: &[
            &[
                "DBClusterIdentifier",
                "DBClusterSnapshotIdentifier",
                "SnapshotType",
                "IncludeShared",
                "IncludePublic",
                "DbClusterResourceId",
            ],
            PAGES,
        ],
    },
    Operation {
        action: "DescribeDBClusters",
        run: Run::AtOnce(cluster::describe),
        parameters: &[&["DBClusterIdentifier", "IncludeShared"], PAGES],
    },
    Operation {
        action: "DescribeDBEngineVersions",
        run: Run::AtOnce(catalog::describe_versions),
        parameters: &[
            &[
                "Engine",
                "EngineVersion",
                "DBParameterGroupFamily",
                "DefaultOnly",
                "ListSupportedCharacterSets",
                "ListSupportedTimezones",
                "IncludeAll",
            ],
            PAGES,
        ],
    },
    Operation {
        action: "DescribeDBInstances",
        run: Run::AtOnce(instance::describe),
        parameters: &[&["DBInstanceIdentifier"], PAGES],
    },
    Operation {
        action: "DescribeDBParameterGroups",
        run: Run::AtOnce(parameter_groups::describe_of_instances),
        parameters: &[&["DBParameterGroupName"], PAGES],
    },
    Operation {
        action: "DescribeDBSubnetGroups",
        run: Run::AtOnce(subnet_groups::describe),
        parameters: &[&["DBSubnetGroupName"], PAGES],
    },
    Operation {
        action: "DescribeEvents",
        run: Run::AtOnce(events::describe),
        parameters: &[
            &[
                "SourceIdentifier",
                "SourceType",
                "StartTime",
                "EndTime",
                "Duration",
                "EventCategories",
            ],
            PAGES,
        ],
    },
    Operation {
        action: "DescribeGlobalClusters",
        run: Run::AtOnce(global::describe),
        parameters: &[&["GlobalClusterIdentifier"], PAGES],
    },
    Operation {
        action: "DescribeOrderableDBInstanceOptions",
        run: Run::AtOnce(catalog::describe_orderable),
        parameters: &[
            &[
                "Engine",
                "EngineVersion",
                "DBInstanceClass",
                "LicenseModel",
                "Vpc",
            ],
            PAGES,
        ],
    },
    Operation {
        action: "DisableHttpEndpoint",
        run: Run::AtOnce(cluster::disable_http_endpoint),
        parameters: &[&["ResourceArn"]],
    },
    Operation {
        action: "EnableHttpEndpoint",
        run: Run::AtOnce(cluster::enable_http_endpoint),
        parameters: &[&["ResourceArn"]],
    },
    Operation {
        action: "FailoverDBCluster",
        run: Run::WithFlow(stopping::fail_over),
        parameters: &[&["DBClusterIdentifier", "TargetDBInstanceIdentifier"]],
    },
    Operation {
        action: "ListTagsForResource",
        run: Run::AtOnce(tags::list),
        parameters: &[&["ResourceName", "Filters"]],
    },
    Operation {
        action: "ModifyDBCluster",
        run: asking!(modification::modify_cluster),
        parameters: &[
            &[
                "DBClusterIdentifier",
                "NewDBClusterIdentifier",
                "ApplyImmediately",
                "MasterUserPassword",
                "ManageMasterUserPassword",
                "MasterUserSecretKmsKeyId",
                "RotateMasterUserPassword",
                "VpcSecurityGroupIds",
                "DBClusterParameterGroupName",
                "EnableIAMDatabaseAuthentication",
                "CloudwatchLogsExportConfiguration",
                "DeletionProtection",
                "CopyTagsToSnapshot",
                "BackupRetentionPeriod",
                "PreferredBackupWindow",
                "PreferredMaintenanceWindow",
                "StorageType",
                "ServerlessV2ScalingConfiguration",
                "EngineVersion",
                "AllowMajorVersionUpgrade",
                "DatabaseInsightsMode",
                "AutoMinorVersionUpgrade",
                "EngineLifecycleSupport",
            ],
            SHOWN_ONLY,
        ],
    },
    Operation {
        action: "ModifyDBClusterParameterGroup",
        run: Run::AtOnce(parameter_groups::modify_of_cluster),
        parameters: &[&["DBClusterParameterGroupName", "Parameters"]],
    },
    Operation {
        action: "ModifyDBClusterSnapshotAttribute",
        run: Run::AtOnce(sharing::modify),
        parameters: &[&[
            "DBClusterSnapshotIdentifier",
            "AttributeName",
            "ValuesToAdd",
            "ValuesToRemove",
        ]],
    },
    Operation {
        action: "ModifyDBInstance",
        run: Run::WithFlow(instance::modify),
        parameters: &[
            &[
                "DBInstanceIdentifier",
                "DBInstanceClass",
                "DBParameterGroupName",
                "PromotionTier",
                "NewDBInstanceIdentifier",
                "ApplyImmediately",
                "PreferredMaintenanceWindow",
                "AutoMinorVersionUpgrade",
                "CACertificateIdentifier",
                "DatabaseInsightsMode",
                "PubliclyAccessible",
            ],
            SHOWN_ONLY,
        ],
    },
    Operation {
        action: "RebootDBInstance",
        run: Run::WithFlow(stopping::reboot),
        parameters: &[&["DBInstanceIdentifier", "ForceFailover"]],
    },
    Operation {
        action: "RemoveFromGlobalCluster",
        run: Run::AtOnce(global::remove),
        parameters: &[&["GlobalClusterIdentifier", "DbClusterIdentifier"]],
    },
    Operation {
        action: "RemoveRoleFromDBCluster",
        run: Run::AtOnce(roles::remove),
        parameters: &[&["DBClusterIdentifier", "RoleArn", "FeatureName"]],
    },
    Operation {
        action: "RemoveTagsFromResource",
        run: Run::AtOnce(tags::remove),
        parameters: &[&["ResourceName", "TagKeys"]],
    },
    Operation {
        action: "RestoreDBClusterFromSnapshot",
        run: asking!(restore::from_snapshot),
        parameters: &[
            &[
                "DBClusterIdentifier",
                "SnapshotIdentifier",
                "Engine",
                "EngineVersion",
                "DatabaseName",
                "AssociatedRoles",
            ],
            CLUSTER_SETTINGS,
            SHOWN_ONLY,
            SELF_EVIDENT,
        ],
    },
    Operation {
        action: "RestoreDBClusterToPointInTime",
        run: asking!(restore::to_point_in_time),
        parameters: &[
            &[
                "DBClusterIdentifier",
                "SourceDBClusterIdentifier",
                "SourceDbClusterResourceId",
                "RestoreType",
                "RestoreToTime",
                "UseLatestRestorableTime",
                "AssociatedRoles",
            ],
            CLUSTER_SETTINGS,
            SHOWN_ONLY,
            SELF_EVIDENT,
        ],
    },
    Operation {
        action: "StartDBCluster",
        run: asking!(stopping::start),
        parameters: &[&["DBClusterIdentifier"]],
    },
    Operation {
        action: "StopDBCluster",
        run: Run::WithFlow(stopping::stop),
        parameters: &[&["DBClusterIdentifier"]],
    },
];

/// Parameters that name what a call is about, in the order they are looked for.
const SUBJECTS: [&str; 9] = [
    "DBInstanceIdentifier",
    "DBClusterSnapshotIdentifier",
    "TargetDBClusterSnapshotIdentifier",
    "DBClusterIdentifier",
    "ResourceName",
    "DBClusterParameterGroupName",
    "DBParameterGroupName",
    "DBSubnetGroupName",
    "GlobalClusterIdentifier",
];

#[async_trait]
impl Service for Rds {
    fn recorded_texts(&self) -> Vec<RecordedText> {
        let views = self
            .resources(None)
            .into_iter()
            .chain(self.past_resources(None));
        let described =
            views.map(|view| RecordedText::new(format!("rds {}", view.arn), format!("{view:?}")));
        let asked = self
            .audit()
            .into_iter()
            .map(|call| RecordedText::new(format!("rds {}", call.action), format!("{call:?}")));
        described.chain(asked).collect()
    }

    fn look_up(&self, _: &Caller, name: &str) -> Option<Known> {
        let arn = Arn::read(name)?;
        // Looking changes nothing, so that no flow need wake for it.
        let book = &mut *self.inner.lock();
        let tags = tags::of(book, &arn).ok()?.clone();
        let encryption = match arn.kind.as_str() {
            "cluster" => Some(&book.cluster(&arn.place, &arn.id).ok()?.encryption),
            "cluster-snapshot" => Some(&book.snapshot(&arn.place, &arn.id).ok()?.encryption),
            _ => None,
        };
        let key = encryption
            .and_then(Encryption::key)
            .filter(|key| !key.aws_managed);
        Some(Known {
            arn: name.to_owned(),
            tags: tags
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            key: key.map(|key| key.arn.clone()),
            ..Known::default()
        })
    }

    async fn handle(&self, request: Request) -> Response {
        let rds = &self.inner;
        let form = if request.body.is_empty() {
            Form::decode(request.uri.query().unwrap_or_default().as_bytes())
        } else {
            Form::decode(&request.body)
        };
        let action = form.text("Action").unwrap_or_default().to_owned();
        let call = Call {
            place: Place::of(&request.caller),
            caller: request.caller,
            form,
            now: rds.now(),
        };
        let request_id = rds.edit(Book::new_request_id);
        let answer = perform(rds, &action, &call).await;
        record(rds, &action, &call, answer.as_ref().err());
        match answer {
            Ok(xml) => xml.into_response(&action, &request_id),
            Err(error) => error_response(&error, &request_id),
        }
    }
}

async fn perform(rds: &Arc<Inner>, action: &str, call: &Call) -> Answer {
    let operation = OPERATIONS
        .iter()
        .find(|operation| operation.action == action)
        .ok_or_else(|| {
            ApiError::new(
                400,
                "InvalidAction",
                format!("Could not find operation {action} for version 2014-10-31"),
            )
        })?;
    check_parameters(operation, call)?;
    match operation.run {
        Run::AtOnce(run) => run(rds, call),
        Run::WithFlow(run) => run(rds, call),
        Run::Asking(run) => run(rds, call).await,
    }
}

fn check_parameters(operation: &Operation, call: &Call) -> Result<(), ApiError> {
    let known = |name: &&str| {
        ["Action", "Version"].contains(name)
            || operation
                .parameters
                .iter()
                .any(|parameters| parameters.contains(name))
    };
    match call.form.members().find(|name| !known(name)) {
        Some(unknown) => Err(errors::not_implemented(&format!(
            "{unknown} in {}",
            operation.action
        ))),
        None => Ok(()),
    }
}

fn record(rds: &Inner, action: &str, call: &Call, error: Option<&ApiError>) {
    let resource = SUBJECTS
        .iter()
        .find_map(|name| call.form.text(name))
        .unwrap_or_default();
    rds.edit(|book| {
        book.audit.push(AuditRecord {
            at: call.now,
            place: call.place.clone(),
            principal: call.caller.principal.clone(),
            action: action.to_owned(),
            resource: resource.to_owned(),
            error: error.map(|error| error.code.clone()),
        });
    });
}
