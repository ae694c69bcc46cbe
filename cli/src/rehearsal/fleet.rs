//! A fleet: one snapshot, restored into five clusters by one request.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use super::{Progress, Rehearsed, RehearsedFleet, Stage, compare, told};
use crate::deployment::{self, Functions};

/// Its members.
const MEMBERS: usize = 5;

pub(super) async fn rehearse(
    stage: Stage<'_>,
    request: &Value,
    tell: &mut impl FnMut(Progress),
) -> Result<Rehearsed> {
    let (local, id) = (stage.local, stage.id());
    let functions = match stage.options.processes {
        true => Functions::processes()?,
        false => Functions::InProcess { count_work: true },
    };
    deployment::deploy_fleet(&local.cloud, &local.stack, &functions, None).await?;
    let member = |number: usize| {
        let mut member = request.clone();
        member["target"]["clusterIdentifier"] = json!(format!("orders-{number}-staging"));
        member
    };
    let members: Vec<Value> = (1..=MEMBERS).map(member).collect();
    let input = json!({ "members": members });
    let arn = local.pipeline.start_fleet(&id, &input).await?;
    tell(Progress::Note(format!(
        "fleet      {id} of {MEMBERS} restores"
    )));
    let execution = stage.execution(&arn)?;
    stage.follow(&execution, tell).await;

    let fleet = local.pipeline.fleet(&id).await?;
    let fleet = fleet.ok_or_else(|| anyhow!("fleet `{id}` left no record"))?;
    let mut targets = Vec::new();
    for member in &fleet.members {
        let report = stage.report(&member.restore_id).await?;
        targets.extend(
            report
                .target
                .map(|address| (member.target.clone(), address)),
        );
    }
    let (source, options) = (stage.source, stage.options);
    let written = stage.writes.end().await?;
    let mut data = BTreeMap::new();
    for (target, address) in targets {
        let compared = compare(local, source, &address, &written, options).await?;
        data.insert(target, compared);
    }
    Ok(Rehearsed::Fleet(Box::new(RehearsedFleet {
        fleet,
        path: execution.history().states_entered(),
        data,
        told: told(local),
        seed: options.seed,
    })))
}
