//! The parts of the pipeline agree with each other: definition, functions, records, docs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what cannot be is a failed test"
)]

mod templates;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use aurora_restore::deployment::{DEFINITION, STEPS, placeholder};
use aurora_restore_core::aws::SDK_ATTEMPTS;
use aurora_restore_core::errors::{ALL, Kind};
use aurora_restore_core::step::STATES;
use serde_json::{Value, json};

fn definition() -> Value {
    serde_json::from_str(DEFINITION).unwrap()
}

fn states() -> BTreeMap<String, Value> {
    definition()["States"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, state)| (name.clone(), state.clone()))
        .collect()
}

fn tasks() -> BTreeMap<String, Value> {
    states()
        .into_iter()
        .filter(|(_, state)| state["Type"] == "Task")
        .collect()
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Where a state can lead to.
fn successors(state: &Value) -> Vec<String> {
    let choices = state["Choices"].as_array().cloned().unwrap_or_default();
    let catches = state["Catch"].as_array().cloned().unwrap_or_default();
    [&state["Next"], &state["Default"]]
        .into_iter()
        .chain(choices.iter().map(|rule| &rule["Next"]))
        .chain(catches.iter().map(|rule| &rule["Next"]))
        .filter_map(|next| next.as_str().map(str::to_owned))
        .collect()
}

/// Every state that can be reached from the start without passing through `without`.
fn reachable_without(without: &str) -> BTreeSet<String> {
    let states = states();
    let mut reached = BTreeSet::new();
    let mut open = vec![definition()["StartAt"].as_str().unwrap().to_owned()];
    while let Some(name) = open.pop() {
        if name != without && reached.insert(name.clone()) {
            open.extend(successors(&states[&name]));
        }
    }
    reached
}

#[test]
fn the_committed_definition_is_accepted_by_the_interpreter() {
    let interpreter = asl_interpreter::Interpreter::new(
        |_: asl_interpreter::TaskRequest| async { Ok(json!(null)) },
        asl_interpreter::RuntimeClock::new(),
    );
    let mut text = DEFINITION.to_owned();
    for step in STEPS {
        let arn = format!(
            "arn:aws:lambda:eu-west-1:123456789012:function:{}",
            step.name
        );
        text = text.replace(&placeholder(step.name), &arn);
    }
    interpreter.load(&text).unwrap();
    assert!(!text.contains("${"), "a placeholder names no step");
}

#[test]
fn every_step_but_those_of_events_and_requests_is_called_by_some_state_and_every_state_calls_a_step()
 {
    let called: BTreeSet<String> = tasks()
        .values()
        .map(|task| {
            task["Parameters"]["FunctionName"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let deployed: BTreeSet<String> = STEPS
        .iter()
        .filter(|step| !["wake", "reap", "start", "api", "fleet"].contains(&step.name))
        .map(|step| placeholder(step.name))
        .collect();
    assert_eq!(called, deployed);
}

#[test]
fn the_states_that_call_functions_are_numbered_in_the_order_of_the_flow() {
    let order: Vec<String> = definition()["States"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, state)| state["Type"] == "Task")
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(order, STATES);
}

#[test]
fn every_task_hands_over_the_restores_id_and_its_own_name_and_no_input_but_plans() {
    for (name, task) in tasks() {
        let payload = &task["Parameters"]["Payload"];
        assert_eq!(payload["restoreId.$"], "$$.Execution.Name", "{name}");
        assert_eq!(payload["state.$"], "$$.State.Name", "{name}");
        let passes_input = payload.to_string().contains("$$.Execution.Input");
        assert_eq!(passes_input, name == "Plan", "{name}");
    }
}

#[test]
fn a_failure_before_the_end_leads_to_undo_and_one_after_it_changes_nothing() {
    for (name, task) in tasks() {
        let catch = &task["Catch"][0];
        assert_eq!(catch["ErrorEquals"], json!(["States.ALL"]), "{name}");
        let expected = match name.as_str() {
            "Notify" => "Restored",
            "Undo" => "WaitForUndo",
            "WaitForUndo" => "UndoUnfinished",
            "NotifyFailure" => "HowDidItEnd",
            _ => "Undo",
        };
        assert_eq!(catch["Next"], expected, "{name}");
    }
}

/// Whether a state waits for somebody else, which its heartbeat looks at.
fn is_wait(name: &str) -> bool {
    name.starts_with("WaitFor") || name == "Approve"
}

#[test]
fn retries_name_only_transient_errors_and_those_of_lambda_itself() {
    let kinds: BTreeSet<&str> = ALL.iter().map(|code| code.kind.name()).collect();
    for (name, task) in tasks() {
        for retry in task["Retry"].as_array().unwrap() {
            for error in retry["ErrorEquals"].as_array().unwrap() {
                let error = error.as_str().unwrap();
                let of_lambda = ["Lambda.", "Sandbox.", "Runtime."]
                    .iter()
                    .any(|prefix| error.starts_with(prefix));
                let of_wait = ["States.Timeout", "States.HeartbeatTimeout"].contains(&error)
                    && is_wait(&name);
                let of_switch =
                    error == Kind::Switching.name() && ["Switch", "Undo"].contains(&name.as_str());
                assert!(
                    error == Kind::Transient.name() || of_lambda || of_wait || of_switch,
                    "{name} retries {error}"
                );
                assert!(
                    of_lambda || of_wait || kinds.contains(error),
                    "{error} is no kind of ours"
                );
            }
        }
    }
}

/// Once a switch has begun, whatever may pass is raised under `Switching`. Until the next of its calls is through nobody
/// is reached under the name, so it is tried every few seconds, and not once a minute; a renaming takes minutes, so it
/// is tried for a quarter of an hour; and then the switch is taken back, so it is not tried for longer.
#[test]
fn a_switch_under_way_is_tried_every_few_seconds_for_a_quarter_of_an_hour() {
    let mut tried = Vec::new();
    for (name, task) in tasks() {
        for retry in task["Retry"].as_array().unwrap() {
            if retry["ErrorEquals"] != json!([Kind::Switching.name()]) {
                continue;
            }
            assert_eq!(retry["BackoffRate"], 1.0, "{name}");
            let number = |field: &str| retry[field].as_u64().unwrap();
            let (every, times) = (number("IntervalSeconds"), number("MaxAttempts"));
            assert_eq!((every, every * times), (5, 900), "{name}");
            let calls = u64::from(SDK_ATTEMPTS) * (1 + times);
            assert!(
                calls <= 550,
                "{name} makes up to {calls} attempts of one call"
            );
            tried.push(name.clone());
        }
    }
    tried.sort_unstable();
    assert_eq!(tried, ["Switch", "Undo"]);
}

/// What the SDK and the state machine together make of one call that AWS refuses again and again.
#[test]
fn retries_of_the_sdk_and_the_state_machine_multiply_within_bounds() {
    for (name, task) in tasks() {
        let (mut attempts, mut in_an_hour) = (1, 1);
        for retry in task["Retry"].as_array().unwrap() {
            // A missed heartbeat is the next look, not a call that failed; a switch under way has the bound above.
            let looks = ["States.HeartbeatTimeout", Kind::Switching.name()];
            if retry["ErrorEquals"][0]
                .as_str()
                .is_some_and(|error| looks.contains(&error))
            {
                continue;
            }
            attempts += retry["MaxAttempts"].as_u64().unwrap();
            in_an_hour += retries_within(retry, 3600.0);
        }
        let sdk = u64::from(SDK_ATTEMPTS);
        // A copy waits here for one of five places; a look changes nothing, and its wait has a deadline of its own.
        let most = match name.as_str() {
            "CopySnapshot" => 1_000,
            wait if wait.starts_with("WaitFor") => 3_100,
            _ => 250,
        };
        let (all, hourly) = (sdk * attempts, sdk * in_an_hour);
        println!("| {name} | {all} | {hourly} |");
        assert!(all <= most, "{name} makes up to {all} attempts");
        assert!(hourly <= 270, "{name} makes {hourly} attempts in an hour");
    }
}

/// How many retries fit into this time, on average: full jitter halves the pauses.
fn retries_within(retry: &Value, seconds: f64) -> u64 {
    let number = |name: &str| retry[name].as_f64();
    let share = if retry["JitterStrategy"] == "FULL" {
        0.5
    } else {
        1.0
    };
    let longest = number("MaxDelaySeconds").unwrap_or(f64::INFINITY);
    let (mut pause, mut passed, mut retries) = (number("IntervalSeconds").unwrap(), 0.0, 0);
    while retries < retry["MaxAttempts"].as_u64().unwrap() {
        passed += share * pause.min(longest);
        if passed > seconds {
            break;
        }
        retries += 1;
        pause *= number("BackoffRate").unwrap();
    }
    retries
}

#[test]
fn waits_have_a_heartbeat_and_no_timeout_and_other_tasks_a_timeout_within_lambdas() {
    for (name, task) in tasks() {
        let waits = task["Resource"]
            .as_str()
            .unwrap()
            .ends_with(".waitForTaskToken");
        assert_eq!(waits, is_wait(&name), "{name}");
        let heartbeat = task
            .get("HeartbeatSeconds")
            .or(task.get("HeartbeatSecondsPath"));
        assert_eq!(heartbeat.is_some(), waits, "{name}");
        match task.get("TimeoutSeconds") {
            Some(seconds) => assert!(!waits && seconds.as_u64().unwrap() <= 900, "{name}"),
            None => assert!(waits, "{name}"),
        }
    }
}

#[test]
fn an_execution_may_run_as_long_as_the_reaper_thinks() {
    let seconds = definition()["TimeoutSeconds"].as_i64().unwrap();
    assert_eq!(
        seconds,
        aurora_restore_core::execution::LONGEST.whole_seconds()
    );
}

#[test]
fn no_path_to_restored_avoids_what_makes_a_restore_safe() {
    for state in [
        "Plan",
        "RestoreCluster",
        "ResetCredentials",
        "LockLoginRoles",
        "Verify",
        "Switch",
        "Cleanup",
    ] {
        assert!(
            !reachable_without(state).contains("Restored"),
            "Restored can be reached without {state}"
        );
    }
}

#[test]
fn every_state_can_be_reached_and_every_choice_has_a_default() {
    let states = states();
    assert_eq!(reachable_without(""), states.keys().cloned().collect());
    for (name, state) in &states {
        assert_eq!(
            state["Type"] == "Choice",
            state.get("Default").is_some(),
            "{name}"
        );
    }
}

#[test]
fn there_are_three_ends_and_only_one_is_a_success() {
    let ends: BTreeMap<String, String> = states()
        .into_iter()
        .filter(|(_, state)| ["Succeed", "Fail"].contains(&state["Type"].as_str().unwrap()))
        .map(|(name, state)| (name, state["Type"].as_str().unwrap().to_owned()))
        .collect();
    let expected = [
        ("FailedClean", "Fail"),
        ("FailedDirty", "Fail"),
        ("Restored", "Succeed"),
    ];
    assert_eq!(
        ends,
        expected
            .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
            .into()
    );
}

#[test]
fn every_step_has_a_folder_a_page_and_its_name_in_its_manifest() {
    for step in STEPS {
        let manifest =
            fs::read_to_string(root().join("lambdas").join(step.name).join("Cargo.toml")).unwrap();
        assert!(
            manifest.contains(&format!("name = \"{}\"", step.name)),
            "{}",
            step.name
        );
        let page = fs::read_to_string(root().join("docs/steps").join(format!("{}.md", step.name)));
        assert!(
            page.is_ok_and(|page| page.starts_with('#')),
            "docs/steps/{}.md",
            step.name
        );
    }
}

#[test]
fn the_error_index_and_the_pages_are_the_codes() {
    let pages: BTreeSet<String> = fs::read_dir(root().join("docs/errors"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| {
            name.strip_suffix(".md")
                .filter(|id| id.starts_with("AR"))
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(pages, ALL.iter().map(|code| code.id.to_owned()).collect());
    let index = fs::read_to_string(root().join("docs/errors/README.md")).unwrap();
    for code in ALL {
        let row = index
            .lines()
            .find(|line| line.contains(code.id))
            .unwrap_or_else(|| panic!("{} is not in the index", code.id));
        assert!(
            row.contains(code.kind.name()) && row.contains(code.title),
            "{row}"
        );
    }
}

#[test]
fn every_code_is_raised_somewhere() {
    let mut sources = String::new();
    let mut open = vec![root().join("lambdas")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                // The list itself is no use of its entries.
                sources.extend(text.lines().filter(|line| {
                    !line.trim_start().starts_with("AR")
                        || line.contains("=>")
                        || line.contains(',')
                }));
            }
        }
    }
    for code in ALL {
        assert!(
            sources.contains(&format!("&{}", code.id))
                || code.id == "AR0026" && sources.contains("AR0026.id"),
            "{} is never raised",
            code.id
        );
    }
}

#[test]
fn the_published_schema_of_profiles_is_that_of_the_types() {
    let published = fs::read_to_string(root().join("docs/profile.schema.json")).unwrap();
    let published: Value = serde_json::from_str(&published).unwrap();
    assert_eq!(
        published,
        aurora_restore_core::profile::schema(),
        "write it again: aurora-restore profile schema > docs/profile.schema.json"
    );
}
