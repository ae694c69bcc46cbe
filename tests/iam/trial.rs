//! Plays a scenario in a world of its own, with the roles as deployed or less one permission.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aurora_restore_core::settings::matches_pattern;
use local_cloud::iam::{Decision, Evaluation, Ground, Role};
use pipeline_tests::{Original, Scene};
use serde_json::{Map, Value};

use crate::beside::{self, account_and_name};
use crate::scenarios::Scenario;

/// What Plan asks the policy simulator with.
const SIMULATE: &str = "iam:SimulatePrincipalPolicy";

/// One action of one statement of one role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Permission {
    /// Such as `CleanupRole`.
    pub(crate) role: String,
    /// The policy's name.
    pub(crate) policy: String,
    /// The statement's place in it.
    pub(crate) statement: usize,
    /// The statement's `Sid`, for people.
    pub(crate) sid: String,
    /// The action as it is written there.
    pub(crate) action: String,
}

/// One resource of one statement that allows something.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// Such as `CleanupRole`.
    pub(crate) role: String,
    /// The policy's name.
    pub(crate) policy: String,
    /// The statement's place in it.
    pub(crate) statement: usize,
    /// The statement's `Sid`, for people.
    pub(crate) sid: String,
    /// The resource as it is written there, a pattern.
    pub(crate) resource: String,
}

impl Reach {
    /// Whether its statement decided.
    pub(crate) fn is_of_statement_of(&self, evaluation: &Evaluation) -> bool {
        let is_ground =
            |ground: &Ground| ground.policy == self.policy && ground.statement == self.statement;
        evaluation.grounds.iter().any(is_ground) && logical_name(&evaluation.role) == self.role
    }

    /// Whether what was asked is among what it names.
    pub(crate) fn covers(&self, evaluation: &Evaluation) -> bool {
        // `?` stands for one character, which `*` covers, too.
        matches_pattern(&self.resource.replace('?', "*"), &evaluation.resource)
    }
}

/// What came of a scenario.
pub(crate) struct Played {
    /// Whether things went as they should.
    pub(crate) verdict: Result<(), String>,
    /// Everything that roles were asked.
    pub(crate) evaluations: BTreeSet<Evaluation>,
    /// How long it took this machine.
    pub(crate) took: Duration,
}

impl Played {
    /// What was denied, in words.
    pub(crate) fn denials(&self) -> Vec<String> {
        self.evaluations
            .iter()
            .filter(|evaluation| evaluation.decision != Decision::Allowed)
            .map(|evaluation| {
                let Evaluation {
                    session,
                    action,
                    resource,
                    ..
                } = evaluation;
                format!("{session} {action} on {resource}")
            })
            .collect()
    }
}

/// A role as the template calls it: what of its name CloudFormation put a stack's name before and chance behind.
pub(crate) fn logical_name(role_arn: &str) -> String {
    let name = role_arn.rsplit('/').next().unwrap_or(role_arn);
    let mut parts = name.split('-');
    let logical = parts.find(|part| part.ends_with("Role"));
    logical.unwrap_or(name).to_owned()
}

/// Every action of every statement with this effect.
pub(crate) fn permissions(roles: &[Arc<Role>], effect: &str) -> Vec<Permission> {
    let mut found = Vec::new();
    for (role, policy, statement, content) in all_statements(roles, effect) {
        for action in named(&content, "Action") {
            found.push(Permission {
                role: logical_name(&role.arn),
                policy: policy.clone(),
                statement,
                sid: content["Sid"].as_str().unwrap_or_default().to_owned(),
                action,
            });
        }
    }
    found
}

/// Every resource of every statement that allows something.
pub(crate) fn reaches(roles: &[Arc<Role>]) -> Vec<Reach> {
    let mut found = Vec::new();
    for (role, policy, statement, content) in all_statements(roles, "Allow") {
        for resource in named(&content, "Resource") {
            found.push(Reach {
                role: logical_name(&role.arn),
                policy: policy.clone(),
                statement,
                sid: content["Sid"].as_str().unwrap_or_default().to_owned(),
                resource,
            });
        }
    }
    found
}

/// Role, policy, place and content of every statement with this effect.
fn all_statements<'a>(
    roles: &'a [Arc<Role>],
    effect: &str,
) -> Vec<(&'a Role, &'a String, usize, Value)> {
    let mut found = Vec::new();
    for role in roles {
        for (policy, document) in &role.documents {
            let all = statements(document).into_iter().enumerate();
            let of_effect = all.filter(|(_, content)| content["Effect"] == effect);
            found.extend(of_effect.map(|(place, content)| (&**role, policy, place, content)));
        }
    }
    found
}

fn statements(document: &Value) -> Vec<Value> {
    match &document["Statement"] {
        Value::Array(statements) => statements.clone(),
        single => vec![single.clone()],
    }
}

/// What a statement names as its `Action` or `Resource`, one or several; a name that nothing fits where it says what it
/// does not mean.
fn named(statement: &Value, member: &str) -> Vec<String> {
    let named = &statement[member];
    let all = named.as_array().into_iter().flatten().chain([named]);
    let all: Vec<String> = all.filter_map(Value::as_str).map(str::to_owned).collect();
    if all.is_empty() {
        return vec![format!("Not{member}")];
    }
    all
}

impl Permission {
    /// Whether this is what decided.
    pub(crate) fn is(&self, evaluation: &Evaluation, ground: &Ground) -> bool {
        logical_name(&evaluation.role) == self.role
            && ground.policy == self.policy
            && ground.statement == self.statement
            && ground.action == self.action
    }

    /// Takes it from the role in this world.
    fn remove(&self, scene: &Scene) {
        let role = beside::role(scene, &self.role);
        let mut documents = role.documents.clone();
        let mut kept = statements(&documents[&self.policy]);
        let left: Vec<String> = named(&kept[self.statement], "Action")
            .into_iter()
            .filter(|action| *action != self.action)
            .collect();
        if left.is_empty() {
            kept.remove(self.statement);
        } else {
            kept[self.statement]["Action"] = left.into();
        }
        if kept.is_empty() {
            documents.remove(&self.policy);
        } else {
            let document = Map::from_iter([
                ("Version".to_owned(), "2012-10-17".into()),
                ("Statement".to_owned(), kept.into()),
            ]);
            documents.insert(self.policy.clone(), document.into());
        }
        let (account, name) = account_and_name(&role);
        let iam = scene.local.cloud.iam();
        iam.put_role(account, name, &role.trust_document, &documents)
            .unwrap();
    }
}

/// Plays a scenario to its end.
pub(crate) fn play(
    scenario: &Scenario,
    original: &Original,
    seed: u64,
    without: Option<&Permission>,
) -> Played {
    let began = Instant::now();
    let played = catch_unwind(AssertUnwindSafe(|| {
        in_virtual_time(async {
            let scene = scenario.scene(original, seed).await;
            if let Some(permission) = without {
                permission.remove(&scene);
                if permission.action != SIMULATE {
                    unforeseen(&scene).await;
                }
            }
            let mut verdict = catch(scenario.play(&scene)).await;
            let evaluations = scene.local.cloud.iam().evaluations();
            if scene.local.cloud.iam().forgets_evaluations() {
                verdict = Err("more was asked of the roles than could be kept".to_owned());
            }
            scene.local.shutdown().await;
            Played {
                verdict,
                evaluations,
                took: began.elapsed(),
            }
        })
    }));
    played.unwrap_or_else(|_| Played {
        verdict: Err("the trial panicked; what it said is above".to_owned()),
        evaluations: BTreeSet::new(),
        took: began.elapsed(),
    })
}

/// Lets Plan not ask what the roles may: it would refuse a restore before the call that is to be denied.
async fn unforeseen(scene: &Scene) {
    let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
    let mut settings = plan::settings(&scene.context()).await.unwrap();
    settings.function_roles.clear();
    let text = serde_json::to_string(&settings).unwrap();
    let name = stack.settings().settings_parameter;
    let put = aurora_restore::deployment::put_parameter(cloud, stack, &name, &text);
    put.await.unwrap();
}

/// A panic on the way is a verdict, too: what was asked until then still counts.
async fn catch(play: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    use futures::FutureExt as _;
    let outcome = AssertUnwindSafe(play).catch_unwind().await;
    outcome.unwrap_or_else(|_| Err("panicked; what it said is above".to_owned()))
}

/// On a clock that jumps to the next timer.
pub(crate) fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(work)
}

/// Does this with each, several at a time; gives the results in order.
pub(crate) fn side_by_side<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(place) else { break };
                    let result = work(item);
                    let mut done = done.lock().unwrap();
                    done.push((place, result));
                    if done.len().is_multiple_of(20) {
                        eprintln!("{} of {}", done.len(), items.len());
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}
