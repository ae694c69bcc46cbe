//! What can only be checked once a whole flow has been read: where its states
//! lead, which of them can be reached, and who may assign which variable.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::error::Problem;
use super::states::{Choice, Flow, Kind, Next, State};
use crate::query::Template;

/// Everything wrong with a machine's shape.
pub(super) fn problems(flow: &Flow) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_targets(flow, None, &mut problems);
    check_names(flow, &mut problems);
    check_variables(flow, &HashMap::new(), &mut problems);
    problems
}

fn problem(state: Option<&str>, field: &str, value: &str, remedy: String) -> Problem {
    Problem {
        state: state.map(str::to_owned),
        field: field.to_owned(),
        value: format!("\"{value}\""),
        remedy,
    }
}

fn check_targets(flow: &Flow, around: Option<&str>, problems: &mut Vec<Problem>) {
    if flow.state(&flow.start_at).is_none() {
        let remedy = "is not one of the states beside it; name one that is".to_owned();
        problems.push(problem(around, "StartAt", &flow.start_at, remedy));
    }
    for state in &flow.states {
        for (field, target) in targets(state) {
            if flow.state(target).is_none() {
                let remedy = "is not one of the states beside it; name one that is".to_owned();
                problems.push(problem(Some(&state.name), &field, target, remedy));
            }
        }
        for inner in state.kind.flows() {
            check_targets(inner, Some(&state.name), problems);
        }
    }
    let reached = reached(flow);
    for state in flow
        .states
        .iter()
        .filter(|state| !reached.contains(state.name.as_str()))
    {
        let remedy = "no state leads here; connect it or remove it".to_owned();
        problems.push(Problem {
            state: Some(state.name.clone()),
            field: String::new(),
            value: String::new(),
            remedy,
        });
    }
}

/// Where a state can lead, with the field that says so.
fn targets(state: &State) -> Vec<(String, &str)> {
    match &state.kind {
        Kind::Task(task) => after_targets(&task.after),
        Kind::Parallel(parallel) => after_targets(&parallel.after),
        Kind::Map(map) => after_targets(&map.after),
        Kind::Pass(pass) => next_target(&pass.next),
        Kind::Wait(wait) => next_target(&wait.next),
        Kind::Choice(choice) => choice_targets(choice),
        Kind::Succeed | Kind::Fail(_) => Vec::new(),
    }
}

fn next_target(next: &Next) -> Vec<(String, &str)> {
    match next {
        Next::State(name) => vec![("Next".to_owned(), name)],
        Next::End => Vec::new(),
    }
}

fn after_targets(after: &super::states::After) -> Vec<(String, &str)> {
    let catchers = after.catch.iter().enumerate();
    let caught =
        catchers.map(|(index, catcher)| (format!("Catch[{index}].Next"), catcher.next.as_str()));
    next_target(&after.next).into_iter().chain(caught).collect()
}

fn choice_targets(choice: &Choice) -> Vec<(String, &str)> {
    let rules = choice.rules.iter().enumerate();
    let chosen = rules.map(|(index, rule)| (format!("Choices[{index}].Next"), rule.next.as_str()));
    chosen
        .chain(
            choice
                .default
                .iter()
                .map(|name| ("Default".to_owned(), name.as_str())),
        )
        .collect()
}

fn reached(flow: &Flow) -> HashSet<&str> {
    let mut reached = HashSet::new();
    let mut open = vec![flow.start_at.as_str()];
    while let Some(name) = open.pop() {
        if reached.insert(name)
            && let Some(state) = flow.state(name)
        {
            open.extend(targets(state).into_iter().map(|(_, target)| target));
        }
    }
    reached
}

/// A state's name is unique in the whole machine, nested flows included.
fn check_names(flow: &Flow, problems: &mut Vec<Problem>) {
    let mut seen = HashSet::new();
    let mut repeated = BTreeSet::new();
    for_each_state(flow, &mut |state| {
        if !seen.insert(state.name.as_str()) {
            repeated.insert(state.name.as_str());
        }
    });
    for name in repeated {
        let remedy =
            "this name is used more than once in the state machine; rename all but one".to_owned();
        problems.push(Problem {
            state: Some(name.to_owned()),
            field: String::new(),
            value: String::new(),
            remedy,
        });
    }
}

pub(super) fn for_each_state<'f>(flow: &'f Flow, visit: &mut impl FnMut(&'f State)) {
    for state in &flow.states {
        visit(state);
        for inner in state.kind.flows() {
            for_each_state(inner, visit);
        }
    }
}

/// A scope may not assign what a scope around it assigns, and not the reserved `states`.
fn check_variables(flow: &Flow, outer: &HashMap<String, String>, problems: &mut Vec<Problem>) {
    let mut visible = outer.clone();
    for state in &flow.states {
        for (field, name) in assigned(state) {
            if let Some(owner) = outer.get(name) {
                let remedy = format!(
                    "`{owner}` around this state assigns the same variable; use another name here"
                );
                problems.push(problem(Some(&state.name), &field, name, remedy));
            } else if name == "states" || !is_variable_name(name) {
                let remedy = "is not a variable's name: letters, digits and `_`, not starting with a digit, at most 80, and not `states`";
                problems.push(problem(Some(&state.name), &field, name, remedy.to_owned()));
            } else {
                visible.insert(name.to_owned(), state.name.clone());
            }
        }
    }
    for state in &flow.states {
        // A child execution of a Distributed Map sees no variable of its parent's.
        let sees = if matches!(&state.kind, Kind::Map(map) if map.distributed.is_some()) {
            &HashMap::new()
        } else {
            &visible
        };
        for inner in state.kind.flows() {
            check_variables(inner, sees, problems);
        }
    }
}

fn is_variable_name(name: &str) -> bool {
    name.chars().count() <= 80
        && name.chars().all(crate::query::is_name_char)
        && name.chars().next().is_some_and(|first| !first.is_numeric())
}

/// The variables a state assigns, with the field that does.
fn assigned(state: &State) -> Vec<(String, &str)> {
    let mut assigned: Vec<(String, &Template)> = Vec::new();
    assigned.extend(
        state
            .assign
            .iter()
            .map(|assign| ("Assign".to_owned(), assign)),
    );
    let catchers = match &state.kind {
        Kind::Task(task) => &task.after.catch[..],
        Kind::Parallel(parallel) => &parallel.after.catch,
        Kind::Map(map) => &map.after.catch,
        _ => &[],
    };
    for (index, catcher) in catchers.iter().enumerate() {
        assigned.extend(
            catcher
                .assign
                .iter()
                .map(|assign| (format!("Catch[{index}].Assign"), assign)),
        );
    }
    if let Kind::Choice(choice) = &state.kind {
        for (index, rule) in choice.rules.iter().enumerate() {
            assigned.extend(
                rule.assign
                    .iter()
                    .map(|assign| (format!("Choices[{index}].Assign"), assign)),
            );
        }
    }
    assigned
        .into_iter()
        .flat_map(|(field, assign)| {
            assign
                .fields()
                .into_iter()
                .map(move |name| (field.clone(), name))
        })
        .collect()
}
