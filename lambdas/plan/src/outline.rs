//! What a plan will do, state by state: each call that changes something, and what is removed when.
//!
//! The pipeline's own records (the state table, task tokens) and what functions only look at are left out. A test
//! compares these calls with those that restores make, so that a step cannot grow a call that no plan tells of.

use aurora_restore_core::plan::Plan;
use aurora_restore_core::request::MasterPassword;
use aurora_restore_core::switching::Switch;
use serde::Serialize;

/// A call that changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// The state that makes it.
    pub state: String,
    /// Service and operation, such as `rds:CreateDBInstance`.
    pub call: &'static str,
    /// The resource that is made or changed.
    pub resource: String,
    /// What it is for, such as `replaces the master password`.
    pub purpose: String,
    /// Whose that is.
    #[serde(skip)]
    pub whose: Whose,
}

/// Whose a resource is: names change hands in Switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The restore's own, or what it was told to move.
    Ours,
    /// The cluster's that it replaces.
    Replaced,
}

/// A call, its resource, and what it is for.
type Made = (&'static str, String, Whose, String);

fn ours(call: &'static str, resource: impl Into<String>, purpose: impl Into<String>) -> Made {
    (call, resource.into(), Whose::Ours, purpose.into())
}

fn replaced(call: &'static str, resource: impl Into<String>, purpose: impl Into<String>) -> Made {
    (call, resource.into(), Whose::Replaced, purpose.into())
}

/// Something that is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// What.
    pub resource: String,
    /// When.
    pub when: String,
}

/// The steps that change something, in order.
pub(crate) const STEPS: [&str; 6] = [
    "copy-snapshot",
    "restore",
    "reset-credentials",
    "switch",
    "cleanup",
    "notify",
];

/// The step whose function a state that changes something calls.
pub(crate) fn step(state: &str) -> &'static str {
    match state {
        "CopySnapshot" => "copy-snapshot",
        "RestoreCluster" | "AddInstances" => "restore",
        "ResetCredentials" => "reset-credentials",
        "Switch" => "switch",
        "Cleanup" => "cleanup",
        _ => "notify",
    }
}

/// Every call of a restore that succeeds, in order. The Plan step has no definition to execute, and asks who may make
/// them.
pub fn all(plan: &Plan) -> Vec<Call> {
    let approve = plan.approval.iter().map(|_| ("Approve", 1));
    let copies = (1..=plan.copies.len()).map(|visit| ("CopySnapshot", visit));
    let rest = [
        ("RestoreCluster", 1),
        ("AddInstances", 1),
        ("AddInstances", 2),
        ("ResetCredentials", 1),
        ("Switch", 1),
        ("Cleanup", 1),
        ("Notify", 1),
    ];
    approve
        .chain(copies)
        .chain(rest)
        .flat_map(|(state, visit)| calls(plan, state, visit))
        .collect()
}

/// What a restore call makes.
const QUARANTINED: &str = "makes the cluster, in quarantine";
/// The resource of what is published.
const TOPIC: &str = "the topic of outcomes";

/// The calls of a state that is entered for the nth time, from 1.
pub fn calls(plan: &Plan, state: &str, visit: usize) -> Vec<Call> {
    let target = &plan.target.cluster_identifier;
    let made: Vec<Made> = match state {
        "CopySnapshot" => plan
            .copies
            .get(visit - 1)
            .map(|copy| {
                ours(
                    "rds:CopyDBClusterSnapshot",
                    &copy.identifier,
                    format!("copies the snapshot to {}", copy.region),
                )
            })
            .into_iter()
            .collect(),
        "RestoreCluster" if plan.source.snapshot_arn().is_none() => {
            vec![ours(
                "rds:RestoreDBClusterToPointInTime",
                target,
                QUARANTINED,
            )]
        }
        "RestoreCluster" => vec![ours(
            "rds:RestoreDBClusterFromSnapshot",
            target,
            QUARANTINED,
        )],
        "AddInstances" => instances(plan, visit),
        "ResetCredentials" => reset(plan),
        "Switch" => switch(plan),
        "Cleanup" => cleanup(plan),
        "Approve" => vec![ours("sns:Publish", TOPIC, "asks for the approval")],
        "Notify" => vec![ours("sns:Publish", TOPIC, "tells the outcome")],
        _ => Vec::new(),
    };
    made.into_iter()
        .map(|(call, resource, whose, purpose)| Call {
            state: state.to_owned(),
            call,
            resource,
            purpose,
            whose,
        })
        .collect()
}

/// What was temporary goes; what was replaced stops, if the request says so.
fn cleanup(plan: &Plan) -> Vec<Made> {
    let copies = plan.copies.iter().rev();
    let copies = copies.map(|copy| {
        ours(
            "rds:DeleteDBClusterSnapshot",
            &copy.identifier,
            "removes the copy",
        )
    });
    let stopped = plan.switch.replaced().filter(|replaced| {
        let retire = replaced.retire.as_ref();
        retire.is_some_and(|retire| retire.stopped)
    });
    let stopped = stopped.map(|other| {
        replaced(
            "rds:StopDBCluster",
            &other.retired_identifier,
            "stops what was replaced",
        )
    });
    copies.chain(stopped).collect()
}

/// The writer first; the readers in a second round.
fn instances(plan: &Plan, visit: usize) -> Vec<Made> {
    let names = plan.instance_identifiers();
    let wanted = if visit == 1 { 0..1 } else { 1..names.len() };
    let wanted = names.get(wanted).unwrap_or_default();
    wanted
        .iter()
        .map(|name| ours("rds:CreateDBInstance", name, "makes the instance"))
        .collect()
}

fn reset(plan: &Plan) -> Vec<Made> {
    let mut calls = Vec::new();
    if plan.master_password == MasterPassword::Secret {
        let secret = &plan.secret_name;
        calls.push(ours(
            "secretsmanager:CreateSecret",
            secret,
            "makes the secret of the new master password",
        ));
        // A secret's first version becomes AWSCURRENT by itself (Secrets Manager API reference, PutSecretValue).
        calls.push(ours(
            "secretsmanager:PutSecretValue",
            secret,
            "writes the new master password",
        ));
    }
    calls.push(ours(
        "rds:ModifyDBCluster",
        &plan.target.cluster_identifier,
        "replaces the master password",
    ));
    calls
}

fn switch(plan: &Plan) -> Vec<Made> {
    let target = &plan.target;
    let default = plan.default_parameter_group();
    let regrouped = target.cluster_parameter_group != plan.quarantine_parameter_group;
    let mut rebooted = Vec::new();
    let mut calls = Vec::new();
    for (name, instance) in plan
        .instance_identifiers()
        .into_iter()
        .zip(&target.instances)
    {
        let own = instance.parameter_group != default;
        if own {
            calls.push(ours(
                "rds:ModifyDBInstance",
                &name,
                "attaches its final parameter group",
            ));
        }
        if own || regrouped {
            rebooted.push(name);
        }
    }
    if regrouped {
        calls.push(ours(
            "rds:ModifyDBCluster",
            &target.cluster_identifier,
            "attaches the final parameter group",
        ));
    }
    rebooted.sort_unstable();
    let rebooted = rebooted.into_iter();
    calls.extend(rebooted.map(|name| {
        ours(
            "rds:RebootDBInstance",
            name,
            "puts the parameter groups into force",
        )
    }));
    calls.extend(bring_clients(plan));
    if target.data_api {
        calls.push(ours(
            "rds:EnableHttpEndpoint",
            plan.name(),
            "switches the Data API on",
        ));
    }
    calls.push(ours(
        "rds:ModifyDBCluster",
        plan.name(),
        "attaches the final security groups and what protects the target",
    ));
    calls
}

/// What leads clients to the target.
fn bring_clients(plan: &Plan) -> Vec<Made> {
    let mut calls = Vec::new();
    if let Some(other) = plan.switch.replaced() {
        let retires = other.retire.is_some();
        let instances = other.instances.iter().filter(|_| retires);
        // Whose name is taken is told by the mark; what a pointer left is not touched unless it retires.
        let renamed = matches!(plan.switch, Switch::Rename(_));
        let cluster = Some(&other.identifier).filter(|_| retires || renamed);
        let marked = cluster.into_iter().chain(instances);
        calls.extend(
            marked.map(|name| replaced("rds:AddTagsToResource", name, "marks it as replaced")),
        );
    }
    match &plan.switch {
        Switch::None => {}
        Switch::Rename(rename) => {
            if let Some(other) = &rename.replaced {
                let purpose = format!("renames it to {}", other.retired_identifier);
                calls.push(replaced("rds:ModifyDBCluster", &rename.name, purpose));
            }
            let working = &plan.target.cluster_identifier;
            let purpose = format!("renames it to {}", rename.name);
            calls.push(ours("rds:ModifyDBCluster", working, purpose));
        }
        Switch::Pointer(pointer) => {
            let secret = pointer.secret_name.iter();
            calls.extend(secret.map(|name| {
                ours(
                    "secretsmanager:PutSecretValue",
                    name,
                    "leads clients to the target",
                )
            }));
            calls.push(ours(
                "ssm:PutParameter",
                &pointer.parameter,
                "leads clients to the target",
            ));
            if pointer.record.is_some() {
                let record = "the record of the pointer";
                calls.push(ours(
                    "route53:ChangeResourceRecordSets",
                    record,
                    "leads clients to the target",
                ));
            }
        }
    }
    calls
}

/// What is removed, and when.
pub fn removed(plan: &Plan) -> Vec<Removed> {
    let copies = plan.copies.iter().map(|copy| Removed {
        resource: format!("DB cluster snapshot {} in {}", copy.identifier, copy.region),
        when: "in Cleanup, once the target is in service; after a failure in Undo".to_owned(),
    });
    let target = &plan.target.cluster_identifier;
    let expiring = plan.expires_at.map(|at| Removed {
        resource: format!("DB cluster {target} and its instances"),
        when: format!(
            "by the reaper, from {} on, without a final snapshot",
            aurora_restore_core::ledger::rfc3339(at)
        ),
    });
    let failed = Removed {
        resource: format!("DB cluster {target}, its instances and its secret"),
        when: "in Undo, if the restore fails before the target is in service".to_owned(),
    };
    let retired = plan
        .switch
        .replaced()
        .filter(|replaced| replaced.retire.is_some());
    let retired = retired.map(|replaced| Removed {
        resource: format!(
            "DB cluster {}, called {} from Switch on",
            replaced.identifier, replaced.retired_identifier
        ),
        when: "by the reaper, when the time that the request keeps it is over".to_owned(),
    });
    copies
        .chain(retired)
        .chain(expiring)
        .chain([failed])
        .collect()
}
