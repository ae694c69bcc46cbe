//! `make iam`: what the roles of the template are worth.
//!
//! - **Sufficient.** Every scenario is played with the roles as they are deployed, and
//!   nothing is denied.
//! - **Necessary.** Every action of every statement is taken away in turn, and a scenario
//!   that used it is denied something, and ends otherwise; every resource that a statement
//!   names is used by a scenario. What ends well all the same, and what no scenario uses,
//!   must be on lists with reasons, and nothing else may be there.
//! - **Negative.** With each role's credentials everything is tried against what is not
//!   ours, and all of it is denied: of every action that a role is granted, too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a trial that cannot be set up is a failure, and the table is the result"
)]

mod attempts;
mod beside;
mod fleets;
mod http_api;
mod people;
mod regions;
mod scenarios;
mod strangers;
mod survived;
mod switching;
mod trial;
mod unexercised;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::Parser;
use local_cloud::iam::{Decision, Evaluation};
use pipeline_tests::Original;

use scenarios::Scenario;
use strangers::Attempts;
use trial::{
    Permission, Played, Reach, in_virtual_time, logical_name, permissions, play, reaches,
    side_by_side,
};

/// At least so many attempts on others' resources for each role.
const ATTEMPTS_MIN: usize = 60;

/// Proves the roles of the template sufficient, necessary and of no use against others' resources.
#[derive(Parser)]
struct Arguments {
    /// Fixes names, tokens and jitter.
    #[arg(long)]
    seed: Option<u64>,
    /// Plays so many scenarios at a time.
    #[arg(long)]
    threads: Option<usize>,
    /// Plays only scenarios whose name contains this, with the roles as deployed, and proves nothing else.
    #[arg(long)]
    scenario: Option<String>,
    /// Takes away only actions whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Takes away only actions of roles whose name contains this.
    #[arg(long)]
    role: Option<String>,
}

impl Arguments {
    /// Whether this is to be taken away.
    fn choose(&self, permission: &Permission) -> bool {
        let fits = |wanted: &Option<String>, found: &str| {
            wanted
                .as_ref()
                .is_none_or(|wanted| found.contains(wanted.as_str()))
        };
        fits(&self.only, &permission.action) && fits(&self.role, &permission.role)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let threads = arguments
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from));
    println!("see this run again with ARGS=\"--seed {seed}\"\n");
    let original = in_virtual_time(Original::make(seed));
    if let Some(name) = &arguments.scenario {
        return play_named(name, &original, seed, threads);
    }
    let Deployed {
        granted,
        denying,
        reaches,
    } = in_virtual_time(deployed(&original, seed));

    let all: Vec<&Scenario> = scenarios::ALL.iter().collect();
    let played = play_all(&all, &original, seed, threads);
    let mut complaints = sufficient(&all, &played);
    let attempts = strangers::try_all(&original, seed, |_| {});
    complaints.extend(negative(&attempts));
    complaints.extend(untried(&granted, &attempts.evaluations));
    complaints.extend(unused_denials(&denying, &played, &attempts.evaluations));
    let uses = Uses::of(&granted, &played);
    complaints.extend(uses.complaints());
    complaints.extend(unreached(&reaches, &played));
    // What comes takes much longer.
    tell(&complaints);
    let chosen: Vec<(&Permission, usize)> = uses.necessary_in(&arguments);
    let taken = side_by_side(&chosen, threads, |(permission, place)| {
        play(&scenarios::ALL[*place], &original, seed, Some(permission))
    });
    let (survived, mut missed) = necessary(&chosen, &taken);
    missed.extend(unexplained_survivals(&survived));
    if arguments.only.is_none() && arguments.role.is_none() {
        missed.extend(explained_in_vain(&survived));
    }
    tell(&missed);
    print_table(&granted, &uses, &attempts.tried, &chosen, &survived);
    let failed = complaints.len() + missed.len();
    if failed == 0 {
        println!("\nAll of it holds.");
        return ExitCode::SUCCESS;
    }
    eprintln!("\n{failed} complaints, above.");
    ExitCode::FAILURE
}

/// Plays the scenarios of this name only.
fn play_named(name: &str, original: &Original, seed: u64, threads: usize) -> ExitCode {
    let named = scenarios::ALL.iter();
    let named: Vec<&Scenario> = named
        .filter(|scenario| scenario.name.contains(name))
        .collect();
    if named.is_empty() {
        let names: Vec<&str> = scenarios::ALL.iter().map(|found| found.name).collect();
        eprintln!(
            "--scenario: no name contains `{name}`, expected a part of one of:\n  {}",
            names.join("\n  ")
        );
        return ExitCode::FAILURE;
    }
    let complaints = sufficient(&named, &play_all(&named, original, seed, threads));
    tell(&complaints);
    match complaints.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Plays these with the roles as deployed, and says how long each took.
fn play_all(
    scenarios: &[&Scenario],
    original: &Original,
    seed: u64,
    threads: usize,
) -> Vec<Played> {
    let played = side_by_side(scenarios, threads, |scenario| {
        play(scenario, original, seed, None)
    });
    for (scenario, played) in scenarios.iter().zip(&played) {
        println!("{:>6.1} s  {}", played.took.as_secs_f64(), scenario.name);
    }
    println!();
    played
}

fn tell(complaints: &[String]) {
    for complaint in complaints {
        eprintln!("FAILED {complaint}");
    }
}

/// What the deployed roles say.
struct Deployed {
    granted: Vec<Permission>,
    denying: Vec<Permission>,
    reaches: Vec<Reach>,
}

async fn deployed(original: &Original, seed: u64) -> Deployed {
    let scene = scenarios::scene(original, scenarios::options(seed)).await;
    let roles = scene.local.cloud.iam().roles();
    let found = Deployed {
        granted: permissions(&roles, "Allow"),
        denying: permissions(&roles, "Deny"),
        reaches: reaches(&roles),
    };
    scene.local.shutdown().await;
    found
}

/// What of a statement that is used reaches further than any scenario, and is not explained; and explanations of what
/// is reached or not there.
fn unreached(reaches: &[Reach], played: &[Played]) -> Vec<String> {
    let all = played.iter().flat_map(|played| &played.evaluations);
    let allowed: BTreeSet<&Evaluation> = all
        .filter(|evaluation| evaluation.decision == Decision::Allowed)
        .collect();
    let is_unreached = |reach: &&Reach| {
        let mut of_statement = allowed
            .iter()
            .filter(|evaluation| reach.is_of_statement_of(evaluation))
            .peekable();
        // What is not used at all is told elsewhere.
        of_statement.peek().is_some() && !of_statement.any(|evaluation| reach.covers(evaluation))
    };
    let unreached: Vec<&Reach> = reaches.iter().filter(is_unreached).collect();
    let entries = unexercised::UNREACHED;
    let unexplained = unreached
        .iter()
        .filter(|reach| !entries.iter().any(|entry| entry.concerns(reach)));
    let mut complaints: Vec<String> = unexplained
        .map(|reach| {
            format!(
                "necessary: {} {}: no scenario uses it on {}",
                reach.role, reach.sid, reach.resource
            )
        })
        .collect();
    for entry in entries {
        let met = unreached.iter().filter(|reach| entry.concerns(reach));
        if met.count() != entry.types.len() {
            complaints.push(format!(
                "necessary: {} {} is listed as not used on {}, and is or does not name them",
                entry.role,
                entry.sid,
                entry.types.join(" and ")
            ));
        }
    }
    complaints
}

fn sufficient(scenarios: &[&Scenario], played: &[Played]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (scenario, played) in scenarios.iter().zip(played) {
        let name = scenario.name;
        if let Err(reason) = &played.verdict {
            complaints.push(format!("sufficient: `{name}`: {reason}"));
        }
        for denial in played.denials() {
            complaints.push(format!("sufficient: `{name}`: denied {denial}"));
        }
    }
    complaints
}

fn negative(attempts: &Attempts) -> Vec<String> {
    let mut complaints: Vec<String> = attempts
        .changed
        .iter()
        .map(|arn| format!("negative: {arn} was made or removed"))
        .collect();
    if attempts.forgotten {
        complaints.push("negative: more was asked of the roles than could be kept".to_owned());
    }
    for tried in &attempts.tried {
        if tried.attempts < ATTEMPTS_MIN {
            complaints.push(format!(
                "negative: {} has {} attempts, fewer than {ATTEMPTS_MIN}",
                tried.role, tried.attempts
            ));
        }
        for name in &tried.let_through {
            complaints.push(format!("negative: {} was let through: {name}", tried.role));
        }
    }
    complaints
}

/// What is granted, and was not once refused for what is not ours; and what is said to be granted everywhere, and was.
fn untried(granted: &[Permission], asked: &BTreeSet<Evaluation>) -> Vec<String> {
    let refused: BTreeSet<(String, &str)> = asked
        .iter()
        .filter(|evaluation| evaluation.decision != Decision::Allowed)
        .map(|evaluation| (logical_name(&evaluation.role), evaluation.action.as_str()))
        .collect();
    let actions: BTreeSet<(String, &str)> = granted
        .iter()
        .map(|permission| (permission.role.clone(), permission.action.as_str()))
        .collect();
    let mut complaints = Vec::new();
    for entry in attempts::EVERYWHERE {
        for action in entry.actions {
            let is_it =
                |(role, found): &&(String, &str)| found == action && entry.concerns(role, action);
            if !actions.iter().any(|granted| is_it(&granted)) {
                complaints.push(format!(
                    "negative: {action} is listed as granted everywhere, and no role grants it"
                ));
            }
        }
    }
    for (role, action) in &actions {
        let everywhere = attempts::EVERYWHERE
            .iter()
            .any(|entry| entry.concerns(role, action));
        if !everywhere && !refused.contains(&(role.clone(), *action)) {
            complaints.push(format!(
                "negative: no attempt for {action} of {role}: add one to tests/iam/attempts.rs"
            ));
        }
    }
    complaints
}

/// A deny that nothing meets protects nothing.
fn unused_denials(
    denying: &[Permission],
    played: &[Played],
    asked: &BTreeSet<Evaluation>,
) -> Vec<String> {
    let evaluations: Vec<&Evaluation> = played
        .iter()
        .flat_map(|played| &played.evaluations)
        .chain(asked)
        .filter(|evaluation| evaluation.decision == Decision::ExplicitlyDenied)
        .collect();
    let met = |permission: &&Permission| {
        evaluations.iter().any(|evaluation| {
            evaluation
                .grounds
                .iter()
                .any(|ground| permission.is(evaluation, ground))
        })
    };
    denying
        .iter()
        .filter(|permission| !met(permission))
        .map(|permission| {
            format!(
                "necessary: {} {}: nothing meets this denial of {}",
                permission.role, permission.sid, permission.action
            )
        })
        .collect()
}

/// What of the granted was used, and where it was the only reason.
struct Uses<'a> {
    /// A scenario in which nothing else allowed something.
    alone: BTreeMap<&'a Permission, usize>,
    /// Used, but something else allowed it, too.
    redundant: Vec<&'a Permission>,
    unused: Vec<&'a Permission>,
}

impl<'a> Uses<'a> {
    fn of(granted: &'a [Permission], played: &[Played]) -> Self {
        let mut uses = Self {
            alone: BTreeMap::new(),
            redundant: Vec::new(),
            unused: Vec::new(),
        };
        for permission in granted {
            let mut used = false;
            for (place, played) in played.iter().enumerate() {
                for evaluation in &played.evaluations {
                    let allowed = evaluation.decision == Decision::Allowed;
                    let grounds = &evaluation.grounds;
                    let is_ground = |ground| permission.is(evaluation, ground);
                    if allowed && grounds.iter().any(is_ground) {
                        used = true;
                        if grounds.len() == 1 {
                            let alone = uses.alone.entry(permission).or_insert(place);
                            let matters =
                                |place: usize| scenarios::ALL[place].matters_to(&permission.role);
                            if matters(place) && !matters(*alone) {
                                *alone = place;
                            }
                        }
                    }
                }
            }
            if !used {
                uses.unused.push(permission);
            } else if !uses.alone.contains_key(permission) {
                uses.redundant.push(permission);
            }
        }
        uses
    }

    /// What is used for nothing, and is not explained; and explanations of what is used or not there.
    fn complaints(&self) -> Vec<String> {
        let entries = unexercised::ALL;
        let mut complaints: Vec<String> = self
            .redundant
            .iter()
            .map(|permission| {
                format!(
                    "necessary: {}: another statement allows the same",
                    told(permission)
                )
            })
            .collect();
        let unexplained = self
            .unused
            .iter()
            .filter(|permission| !entries.iter().any(|entry| entry.concerns(permission)));
        complaints.extend(
            unexplained
                .map(|permission| format!("necessary: {}: no scenario uses it", told(permission))),
        );
        for action in entries.iter().flat_map(|entry| entry.actions) {
            let is_it = |permission: &&&Permission| permission.action == *action;
            if let Some(used) = self.alone.keys().find(is_it) {
                complaints.push(format!(
                    "necessary: {action} is listed as unexercised, and is used by {}",
                    used.role
                ));
            }
            if !self.unused.iter().any(|permission| is_it(&permission)) {
                complaints.push(format!(
                    "necessary: {action} is listed as unexercised, and no role grants it"
                ));
            }
        }
        complaints
    }

    fn necessary_in(&self, arguments: &Arguments) -> Vec<(&'a Permission, usize)> {
        let chosen = self.alone.iter();
        let chosen = chosen.filter(|(permission, _)| arguments.choose(permission));
        chosen
            .map(|(permission, place)| (*permission, *place))
            .collect()
    }
}

/// Those whose absence a restore survived although it was denied something, and those whose absence nobody noticed.
fn necessary<'a>(
    chosen: &[(&'a Permission, usize)],
    taken: &[Played],
) -> (BTreeSet<&'a Permission>, Vec<String>) {
    let (mut survived, mut missed) = (BTreeSet::new(), Vec::new());
    for ((permission, place), played) in chosen.iter().zip(taken) {
        if played.denials().is_empty() {
            missed.push(format!(
                "necessary: without {} of {} in {} nothing was denied in `{}`",
                permission.action,
                permission.sid,
                permission.role,
                scenarios::ALL[*place].name
            ));
        } else if played.verdict.is_ok() {
            survived.insert(*permission);
        }
    }
    (survived, missed)
}

fn told(permission: &Permission) -> String {
    format!(
        "{} {}: {}",
        permission.role, permission.sid, permission.action
    )
}

/// A restore that ends well without something it was denied needs a reason to.
fn unexplained_survivals(survived: &BTreeSet<&Permission>) -> Vec<String> {
    let explained = |permission: &Permission| {
        let mut entries = survived::ALL.iter();
        entries.any(|entry| entry.concerns(permission))
    };
    let unexplained = survived
        .iter()
        .filter(|permission| !explained(permission))
        .map(|permission| {
            format!(
                "necessary: {}: its scenario ends well without it, and tests/iam/survived.rs does not say why",
                told(permission)
            )
        });
    unexplained.collect()
}

/// What is said to be done without, and is not: each role, statement and action of an entry must be met.
fn explained_in_vain(survived: &BTreeSet<&Permission>) -> Vec<String> {
    let mut complaints = Vec::new();
    for entry in survived::ALL.iter().filter(|entry| !entry.by_chance) {
        let met: Vec<&&Permission> = survived
            .iter()
            .filter(|permission| entry.concerns(permission))
            .collect();
        for name in [entry.roles, entry.sids, entry.actions].concat() {
            let names = |permission: &&&Permission| {
                [&permission.role, &permission.sid, &permission.action]
                    .iter()
                    .any(|found| *found == name)
            };
            if !met.iter().any(names) {
                complaints.push(format!(
                    "necessary: tests/iam/survived.rs says what is done without {name}, and it is not"
                ));
            }
        }
    }
    complaints
}

fn print_table(
    granted: &[Permission],
    uses: &Uses<'_>,
    strangers: &[strangers::Tried],
    chosen: &[(&Permission, usize)],
    survived: &BTreeSet<&Permission>,
) {
    let roles: BTreeSet<&str> = granted
        .iter()
        .map(|permission| permission.role.as_str())
        .collect();
    println!(
        "{:<22} {:>8} {:>9} {:>8} {:>9} {:>11} {:>9} {:>11}",
        "role",
        "granted",
        "necessary",
        "fails",
        "survives",
        "unexercised",
        "attempts",
        "let through"
    );
    for role in roles {
        let of = |permission: &&&Permission| permission.role == role;
        let is_chosen = |permission: &&(&Permission, usize)| permission.0.role == role;
        let taken = chosen.iter().filter(is_chosen).count();
        let survivors = survived.iter().filter(of).count();
        let attempts = strangers.iter().find(|tried| tried.role == role);
        println!(
            "{role:<22} {:>8} {:>9} {:>8} {:>9} {:>11} {:>9} {:>11}",
            granted
                .iter()
                .filter(|permission| permission.role == role)
                .count(),
            uses.alone.keys().filter(of).count(),
            taken - survivors,
            survivors,
            uses.unused.iter().filter(of).count(),
            attempts.map_or(0, |tried| tried.attempts),
            attempts.map_or(0, |tried| tried.let_through.len()),
        );
    }
    println!(
        "\n{} scenarios. `fails`: a scenario ends otherwise without it. `survives`: denied, and survived:",
        scenarios::ALL.len()
    );
    for entry in survived::ALL {
        let these: Vec<String> = survived
            .iter()
            .filter(|permission| entry.concerns(permission))
            .map(|permission| told(permission))
            .collect();
        println!("  {}: {}", these.join(", "), entry.reason);
    }
    println!("`unexercised`: nothing here can use it:");
    for entry in unexercised::ALL {
        println!("  {}: {}", entry.actions.join(", "), entry.reason);
    }
    for entry in unexercised::UNREACHED {
        println!(
            "  {} {} on {}: {}",
            entry.role,
            entry.sid,
            entry.types.join(", "),
            entry.reason
        );
    }
    println!("`attempts`: on what is not ours. Granted everywhere, so that nothing is not ours:");
    for entry in attempts::EVERYWHERE {
        println!("  {}: {}", entry.actions.join(", "), entry.reason);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use local_cloud::iam::Ground;
    use pipeline_tests::Scene;
    use serde_json::json;

    use super::*;

    const SEED: u64 = 7;

    fn original() -> Original {
        in_virtual_time(Original::make(SEED))
    }

    fn permission(role: &str, sid: &str, granted: &[Permission]) -> Permission {
        let found = granted
            .iter()
            .find(|permission| permission.role == role && permission.sid == sid);
        found.unwrap().clone()
    }

    #[test]
    fn a_permission_that_is_missing_is_denied_and_fails_the_restore() {
        let original = original();
        let granted = in_virtual_time(deployed(&original, SEED)).granted;
        let restore = permission("RestoreRole", "RestoreTheTarget", &granted);
        let plain = &scenarios::ALL[0];
        let whole = play(plain, &original, SEED, None);
        assert_eq!((whole.denials(), whole.verdict), (Vec::new(), Ok(())));
        let without = play(plain, &original, SEED, Some(&restore));
        assert!(without.verdict.is_err());
        let denials = without.denials();
        assert!(
            denials
                .iter()
                .any(|denial| denial.contains("rds:RestoreDBClusterFromSnapshot on")),
            "{denials:?}"
        );
    }

    #[test]
    fn a_permission_that_no_scenario_uses_is_told() {
        let unused = Permission {
            role: "CleanupRole".to_owned(),
            policy: "cleanup".to_owned(),
            statement: 0,
            sid: "TooMuch".to_owned(),
            action: "rds:DeleteGlobalCluster".to_owned(),
        };
        let granted = [unused];
        let uses = Uses::of(&granted, &[]);
        let complaints = uses.complaints();
        assert!(
            complaints.iter().any(|complaint| complaint
                .contains("TooMuch: rds:DeleteGlobalCluster: no scenario uses it")),
            "{complaints:?}"
        );
    }

    fn granted(role: &str, action: &str) -> Permission {
        Permission {
            role: role.to_owned(),
            policy: "cleanup".to_owned(),
            statement: 0,
            sid: "New".to_owned(),
            action: action.to_owned(),
        }
    }

    #[test]
    fn a_resource_that_a_statement_names_and_no_scenario_uses_is_told() {
        let reach = |resource: &str| Reach {
            role: "CleanupRole".to_owned(),
            policy: "cleanup".to_owned(),
            statement: 0,
            sid: "DeleteOurCluster".to_owned(),
            resource: format!("arn:aws:rds:eu-west-1:123456789012:cluster:{resource}"),
        };
        let used = Evaluation {
            role: "arn:aws:iam::123456789012:role/x-CleanupRole-y".to_owned(),
            session: "x-cleanup".to_owned(),
            action: "rds:DeleteDBCluster".to_owned(),
            resource: reach("orders-staging").resource,
            decision: Decision::Allowed,
            grounds: vec![Ground {
                policy: "cleanup".to_owned(),
                statement: 0,
                action: "rds:DeleteDBCluster".to_owned(),
            }],
        };
        let played = [Played {
            verdict: Ok(()),
            evaluations: BTreeSet::from([used]),
            took: Duration::ZERO,
        }];
        let complaints = unreached(&[reach("*-staging"), reach("too-much-*")], &played);
        let about = |text: &str| complaints.iter().any(|complaint| complaint.contains(text));
        assert!(
            about("CleanupRole DeleteOurCluster: no scenario uses it on"),
            "{complaints:?}"
        );
        assert!(about("cluster:too-much-*"), "{complaints:?}");
        assert!(!about("-staging"), "{complaints:?}");
        // What is listed as not used must be there.
        assert!(
            about("RestoreRole AddInstancesWithGroups is listed"),
            "{complaints:?}"
        );
    }

    #[test]
    fn an_action_that_nobody_knows_how_to_try_is_told() {
        let complaints = untried(
            &[granted("CleanupRole", "s3:DeleteObject")],
            &BTreeSet::new(),
        );
        let about = "negative: no attempt for s3:DeleteObject of CleanupRole";
        assert!(
            complaints
                .iter()
                .any(|complaint| complaint.starts_with(about)),
            "{complaints:?}"
        );
    }

    #[test]
    fn what_is_survived_without_a_reason_is_told_and_so_is_a_reason_without_a_survival() {
        let new = granted("CleanupRole", "rds:DeleteDBCluster");
        let unexplained = unexplained_survivals(&BTreeSet::from([&new]));
        assert_eq!(unexplained.len(), 1, "{unexplained:?}");
        assert!(unexplained[0].contains("CleanupRole New: rds:DeleteDBCluster"));
        let in_vain = explained_in_vain(&BTreeSet::new());
        assert!(
            in_vain
                .iter()
                .any(|complaint| complaint.contains("RecordStep")),
            "{in_vain:?}"
        );
    }

    #[test]
    fn a_role_that_may_do_too_much_is_let_through_and_named() {
        let widen = |scene: &Scene| {
            let iam = scene.local.cloud.iam();
            let roles = iam.roles();
            let wait = roles
                .iter()
                .find(|role| logical_name(&role.arn) == "WaitRole")
                .unwrap();
            let policies = BTreeMap::from([(
                "wide".to_owned(),
                json!({
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Action": "rds:Delete*", "Resource": "*"}],
                }),
            )]);
            let name = wait.arn.rsplit('/').next().unwrap();
            iam.put_role(
                scene.local.stack.account.as_str(),
                name,
                &wait.trust_document,
                &policies,
            )
            .unwrap();
        };
        let complaints = negative(&strangers::try_all(&original(), SEED, widen));
        let about = |text: &str| complaints.iter().any(|complaint| complaint.contains(text));
        assert!(
            about("WaitRole was let through: delete instance payroll-staging-1"),
            "{complaints:?}"
        );
        assert!(about("was made or removed"), "{complaints:?}");
        assert!(!about("CleanupRole"), "{complaints:?}");
    }
}
