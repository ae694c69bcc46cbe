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

/// The calls of a state that is entered for the nth time, from 1.
pub fn calls(plan: &Plan, state: &str, visit: usize) -> Vec<Call> {
    let target = &plan.target.cluster_identifier;
    let made: Vec<(&'static str, String)> = match state {
        "CopySnapshot" => plan
            .copies
            .get(visit - 1)
            .map(|copy| ("rds:CopyDBClusterSnapshot", copy.identifier.clone()))
            .into_iter()
            .collect(),
        "RestoreCluster" if plan.source.snapshot_arn().is_none() => {
            vec![("rds:RestoreDBClusterToPointInTime", target.clone())]
        }
        "RestoreCluster" => vec![("rds:RestoreDBClusterFromSnapshot", target.clone())],
        "AddInstances" => instances(plan, visit),
        "ResetCredentials" => reset(plan),
        "Switch" => switch(plan),
        "Cleanup" => cleanup(plan),
        "Approve" | "Notify" => vec![("sns:Publish", "the topic of outcomes".to_owned())],
        _ => Vec::new(),
    };
    made.into_iter()
        .map(|(call, resource)| Call {
            state: state.to_owned(),
            call,
            resource,
        })
        .collect()
}

/// What was temporary goes; what was replaced stops, if the request says so.
fn cleanup(plan: &Plan) -> Vec<(&'static str, String)> {
    let copies = plan.copies.iter().rev();
    let copies = copies.map(|copy| ("rds:DeleteDBClusterSnapshot", copy.identifier.clone()));
    let replaced = plan.switch.replaced().filter(|replaced| {
        let retire = replaced.retire.as_ref();
        retire.is_some_and(|retire| retire.stopped)
    });
    let stopped =
        replaced.map(|replaced| ("rds:StopDBCluster", replaced.retired_identifier.clone()));
    copies.chain(stopped).collect()
}

/// The writer first; the readers in a second round.
fn instances(plan: &Plan, visit: usize) -> Vec<(&'static str, String)> {
    let names = plan.instance_identifiers();
    let wanted = if visit == 1 { 0..1 } else { 1..names.len() };
    let wanted = names.get(wanted).unwrap_or_default();
    wanted
        .iter()
        .map(|name| ("rds:CreateDBInstance", name.clone()))
        .collect()
}

fn reset(plan: &Plan) -> Vec<(&'static str, String)> {
    let mut calls = Vec::new();
    if plan.master_password == MasterPassword::Secret {
        let secret = &plan.secret_name;
        calls.push(("secretsmanager:CreateSecret", secret.clone()));
        // A secret's first version becomes AWSCURRENT by itself (Secrets Manager API reference, PutSecretValue).
        calls.push(("secretsmanager:PutSecretValue", secret.clone()));
    }
    calls.push((
        "rds:ModifyDBCluster",
        plan.target.cluster_identifier.clone(),
    ));
    calls
}

fn switch(plan: &Plan) -> Vec<(&'static str, String)> {
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
            calls.push(("rds:ModifyDBInstance", name.clone()));
        }
        if own || regrouped {
            rebooted.push(name);
        }
    }
    if regrouped {
        calls.push(("rds:ModifyDBCluster", target.cluster_identifier.clone()));
    }
    rebooted.sort_unstable();
    calls.extend(
        rebooted
            .into_iter()
            .map(|name| ("rds:RebootDBInstance", name)),
    );
    calls.extend(bring_clients(plan));
    if target.data_api {
        calls.push(("rds:EnableHttpEndpoint", plan.name().to_owned()));
    }
    calls.push(("rds:ModifyDBCluster", plan.name().to_owned()));
    calls
}

/// What leads clients to the target.
fn bring_clients(plan: &Plan) -> Vec<(&'static str, String)> {
    let mut calls = Vec::new();
    if let Some(replaced) = plan.switch.replaced() {
        let instances = replaced
            .instances
            .iter()
            .filter(|_| replaced.retire.is_some());
        let marked = instances.chain([&replaced.identifier]);
        calls.extend(marked.map(|name| ("rds:AddTagsToResource", name.clone())));
    }
    match &plan.switch {
        Switch::None => {}
        Switch::Rename(rename) => {
            if rename.replaced.is_some() {
                calls.push(("rds:ModifyDBCluster", rename.name.clone()));
            }
            let working = plan.target.cluster_identifier.clone();
            calls.push(("rds:ModifyDBCluster", working));
        }
        Switch::Pointer(pointer) => {
            let secret = pointer.secret_name.iter();
            calls.extend(secret.map(|name| ("secretsmanager:PutSecretValue", name.clone())));
            calls.push(("ssm:PutParameter", pointer.parameter.clone()));
            if pointer.record.is_some() {
                calls.push((
                    "route53:ChangeResourceRecordSets",
                    "the record of the pointer".to_owned(),
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
