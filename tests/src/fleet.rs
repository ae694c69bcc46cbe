//! Fleets in a cloud: started like people start them, and drills measured against what the quotas allow.

use std::time::Duration;

use asl_interpreter::{Execution, Outcome};
use aurora_restore::deployment::{self, Functions, Schedule};
use aurora_restore::local::LocalOptions;
use local_cloud::rds::{Data, ResourceView};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::Scene;

impl Scene {
    /// Makes the stack of fleets.
    pub async fn deploy_fleet(&self) {
        self.deploy_fleet_by(None).await;
    }

    /// Makes the stack of fleets, with the schedule of one.
    pub async fn deploy_fleet_by(&self, schedule: Option<&Schedule>) {
        let functions = Functions::InProcess { count_work: false };
        let (cloud, stack) = (&self.local.cloud, &self.local.stack);
        deployment::deploy_fleet(cloud, stack, &functions, schedule)
            .await
            .unwrap();
    }

    /// Starts a fleet.
    pub async fn start_fleet(&self, name: &str, input: Value) -> Execution {
        let arn = self.local.pipeline.start_fleet(name, &input).await.unwrap();
        self.local.cloud.step_functions().execution(&arn).unwrap()
    }

    /// Starts a fleet, and waits for its end.
    pub async fn fleet(&self, name: &str, input: Value) -> Execution {
        let execution = self.start_fleet(name, input).await;
        execution.finished().await;
        execution
    }

    /// Asserts that of what restores made nothing is there: no cluster, instance or snapshot, no secret, not even one
    /// that RDS kept for a cluster; and that nobody holds a lock or a place in a queue.
    async fn assert_nothing_is_left(&self) {
        assert_eq!(self.new_resources(), Vec::<String>::new());
        assert_eq!(self.lost_resources(), Vec::<String>::new());
        let secrets = self.local.cloud.secrets().names().into_iter();
        let of_clusters: Vec<String> = secrets.filter(|name| name.starts_with("rds!")).collect();
        assert_eq!(of_clusters, Vec::<String>::new());
        let (mut held, mut start) = (Vec::new(), Value::Null);
        loop {
            let mut scan = json!({"ConsistentRead": true});
            if !start.is_null() {
                scan["ExclusiveStartKey"] = start;
            }
            let mut page = self.dynamodb("Scan", scan).await;
            let items = page["Items"].as_array().unwrap().iter();
            held.extend(items.filter(|item| is_held(item)).cloned());
            start = page["LastEvaluatedKey"].take();
            if start.is_null() {
                break;
            }
        }
        assert_eq!(held, Vec::<Value>::new());
    }
}

/// Whether an item of the state table keeps others waiting, or is something that is still to be done.
fn is_held(item: &Value) -> bool {
    let (pk, sk) = (item["pk"]["S"].as_str(), item["sk"]["S"].as_str());
    let (pk, sk) = (pk.unwrap_or_default(), sk.unwrap_or_default());
    match sk {
        "LOCK" => item["state"]["S"] != "released",
        _ => pk == "TODO" || pk.starts_with("COPIES#"),
    }
}

/// A fleet of drills, measured.
#[derive(Debug)]
pub struct Drills {
    /// How many members it had.
    pub members: usize,
    /// Places for clusters and instances that the quotas left.
    pub places: usize,
    /// From the fleet's start to its end.
    pub makespan: Duration,
    /// What the cloud itself needs for one member: the least, and the mean.
    pub own_least: Duration,
    /// See [`Drills::own_least`].
    pub own_mean: Duration,
    /// State transitions of the fleet and of the children of its Map Run.
    pub transitions: u64,
    /// Members under way at the fullest moment.
    pub peak: usize,
}

impl Drills {
    /// The least time in which the quotas let so many members through: every member holds a place as long as the
    /// cloud itself needs, so all of them need `members × mean ÷ places`; and some place serves
    /// `⌈members ÷ places⌉` of them, one after the other.
    pub fn bound(&self) -> Duration {
        let work = self.own_mean.as_secs_f64() * self.members as f64 / self.places as f64;
        let in_a_row = self.own_least.as_secs_f64() * self.members.div_ceil(self.places) as f64;
        Duration::from_secs_f64(work.max(in_a_row))
    }

    /// Makespan over bound.
    pub fn ratio(&self) -> f64 {
        self.makespan.as_secs_f64() / self.bound().as_secs_f64()
    }
}

/// A world without data in which restores go through all the same, and the stack of fleets.
pub async fn on_paper(mut options: LocalOptions) -> Scene {
    options.rds.data = Data::Metadata;
    let scene = Scene::with(options).await;
    scene.restore_on_paper();
    scene.deploy_fleet().await;
    scene
}

/// Restores so many clusters of so many instances as drills, in an account whose quota of instances leaves so many
/// places for them: with the quotas that AWS gives, 40 clusters and 40 instances, of which the source has one each,
/// these are 39 for clusters of one. No data, so no SQL: statuses, waits, quotas, deletions, the state machines and
/// every other step are as always.
pub async fn drills(members: usize, places: usize, instances: usize, seed: u64) -> Drills {
    let mut options = LocalOptions::in_process(seed);
    let quotas = &mut options.rds.quotas;
    quotas.instances = places * instances + 1;
    quotas.clusters = quotas.instances;
    let lag = options.rds.durations.modify_lag;
    let scene = on_paper(options).await;
    let mut profile = scene.request_with(json!({
        "expiresAfterHours": 0, "overrides": ["target.clusterIdentifier"],
    }));
    if instances > 1 {
        let target = profile["target"].as_object_mut().unwrap();
        let class = json!({"class": target.remove("instanceClass")});
        target.insert("instances".to_owned(), vec![class; instances].into());
    }
    scene
        .local
        .put_profile("drill", &profile.to_string())
        .await
        .unwrap();
    let inputs: Vec<Value> = (1..=members)
        .map(|number| {
            let target = json!({"clusterIdentifier": format!("drill-{number}-staging")});
            json!({"profile": "drill", "target": target})
        })
        .collect();
    let execution = scene.fleet("drills", json!({"members": inputs})).await;
    let ended = execution.outcome().unwrap();
    assert!(matches!(ended, Outcome::Succeeded { .. }), "{ended:?}");
    let past = scene.local.rds.past_resources(None);
    let of = |kind: &str| -> Vec<&ResourceView> {
        let drills = past.iter().filter(|view| view.id.starts_with("drill-"));
        drills.filter(|view| view.kind == kind).collect()
    };
    let (clusters, instances) = (of("cluster"), of("db"));
    assert_eq!(clusters.len(), members, "every drill's cluster is gone");
    let own: Vec<f64> = clusters
        .iter()
        .map(|cluster| {
            let own = format!("{}-", cluster.id);
            let instances = instances
                .iter()
                .filter(|instance| instance.id.starts_with(&own));
            let all: Vec<&ResourceView> = instances.copied().chain([*cluster]).collect();
            // Twice RDS has taken a change on and still says available.
            busy(&all) + 2.0 * lag.as_secs_f64()
        })
        .collect();
    let mean = own.iter().sum::<f64>() / own.len() as f64;
    let least = own.iter().copied().fold(f64::INFINITY, f64::min);
    let makespan = execution.stopped_at().unwrap() - execution.started_at();
    scene.assert_nothing_is_left().await;
    let children = execution.map_runs().into_iter();
    let children = children.flat_map(|map_run| map_run.children());
    let of_children: u64 = children.map(|child| child.history().transitions()).sum();
    let measured = Drills {
        members,
        places,
        makespan: makespan.unsigned_abs(),
        own_least: Duration::from_secs_f64(least),
        own_mean: Duration::from_secs_f64(mean),
        transitions: execution.history().transitions() + of_children,
        peak: peak(&clusters),
    };
    scene.local.shutdown().await;
    measured
}

/// Seconds in which RDS works at one of these resources: their statuses are not `available`.
fn busy(resources: &[&ResourceView]) -> f64 {
    let mut spans: Vec<(OffsetDateTime, OffsetDateTime)> = Vec::new();
    for resource in resources {
        let until = resource.statuses.iter().skip(1).map(|(at, _)| *at);
        let ends = until.chain(resource.removed_at);
        let busy = resource.statuses.iter().zip(ends);
        let busy = busy.filter(|((_, status), _)| status != "available");
        spans.extend(busy.map(|((from, _), to)| (*from, to)));
    }
    spans.sort_unstable();
    let (mut seconds, mut until) = (0.0, OffsetDateTime::UNIX_EPOCH);
    for (from, to) in spans {
        let from = from.max(until);
        if to > from {
            seconds += (to - from).as_seconds_f64();
            until = to;
        }
    }
    seconds
}

/// How many clusters there were at once.
fn peak(clusters: &[&ResourceView]) -> usize {
    let mut changes: Vec<(OffsetDateTime, i64)> = Vec::new();
    for cluster in clusters {
        let moments = || cluster.statuses.iter().map(|(at, _)| *at);
        changes.extend(moments().min().map(|at| (at, 1)));
        changes.extend(cluster.removed_at.map(|at| (at, -1)));
    }
    changes.sort_unstable();
    let (mut now, mut most) = (0_i64, 0_i64);
    for (_, change) in changes {
        now += change;
        most = most.max(now);
    }
    usize::try_from(most).unwrap_or(0)
}
