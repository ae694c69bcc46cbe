//! Reads a definition's states into the parts a run needs.

use std::time::Duration;

use serde_json::Value;

use super::StateMachine;
use super::choice::read_rules;
use super::section::{Problems, Section};
use super::states::{
    After, Choice, Distributed, Fail, FailText, Flow, Kind, Map, Next, Parallel, Pass, Percentage,
    State, Task, Until, Wait,
};
use crate::retry::{ALL, Catcher, Jitter, Retrier};
use crate::task::{IntegrationPattern, is_function_arn, is_lambda_invoke};
use crate::timestamp;

/// The most seconds a timeout, heartbeat or wait may have (API reference).
pub(super) const SECONDS_MAX: u64 = 99_999_999;

/// The most characters of a state's name (Step Functions quotas).
const NAME_CHARS_MAX: usize = 80;

/// The most seconds `MaxDelaySeconds` may have, exclusive (guide: "Retry").
const DELAY_SECONDS_MAX: u64 = 31_622_399;

/// Fields every state may have.
const COMMON: &[&str] = &["Type", "Comment", "QueryLanguage"];
const PATHS: &[&str] = &["InputPath", "OutputPath"];
const NEXT: &[&str] = &["Next", "End"];
const AFTER: &[&str] = &["ResultSelector", "ResultPath", "Retry", "Catch", "Assign"];

/// Fields of a Map state in distributed mode only.
const DISTRIBUTED: &[&str] = &[
    "Label",
    "ToleratedFailureCount",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentage",
    "ToleratedFailurePercentagePath",
];

/// The most characters of a Map state's `Label`, and what may not be among them (guide: "Distributed Map state fields").
const LABEL_CHARS_MAX: usize = 40;
const NOT_IN_LABELS: [char; 21] = [
    '?', '*', '<', '>', '{', '}', '[', ']', ':', ';', ',', '\\', '|', '^', '~', '$', '#', '%', '&',
    '`', '"',
];

/// Reads a whole definition, telling problems as it goes.
pub(super) struct Reader<'s> {
    pub(super) problems: Problems,
    /// Whether the runner can serve a resource that is not Lambda's.
    pub(super) supports: &'s dyn Fn(&str) -> bool,
}

impl Reader<'_> {
    /// Reads `StartAt` and `States`.
    pub(super) fn flow(&mut self, section: &Section<'_>) -> Option<Flow> {
        let start_at = section.required_text(&mut self.problems, "StartAt");
        let states = match section.get("States") {
            Some(Value::Object(states)) if !states.is_empty() => states,
            _ => {
                self.problems.add(
                    section,
                    "States",
                    "must be an object with at least one state",
                );
                return None;
            }
        };
        let mut read = Vec::new();
        for (name, state) in states {
            match state.as_object() {
                Some(fields) => read.extend(self.state(&Section::of_state(name, fields), name)),
                None => self.problems.add(
                    section,
                    "States",
                    &format!("the state `{name}` must be an object"),
                ),
            }
        }
        Some(Flow {
            start_at: start_at?.to_owned(),
            states: read,
        })
    }

    fn state(&mut self, section: &Section<'_>, name: &str) -> Option<State> {
        if name.chars().count() > NAME_CHARS_MAX || name.is_empty() {
            self.problems.add(
                section,
                "",
                &format!("a state's name has 1 to {NAME_CHARS_MAX} characters; shorten it"),
            );
        }
        self.query_language(section);
        let kind = match section.required_text(&mut self.problems, "Type")? {
            "Task" => self.task(section).map(Box::new).map(Kind::Task),
            "Pass" => self.pass(section).map(Kind::Pass),
            "Choice" => Some(Kind::Choice(self.choice(section))),
            "Wait" => self.wait(section).map(Kind::Wait),
            "Succeed" => {
                section.allow(&mut self.problems, &[COMMON, PATHS]);
                Some(Kind::Succeed)
            }
            "Fail" => Some(Kind::Fail(self.fail(section))),
            "Parallel" => self.parallel(section).map(Kind::Parallel),
            "Map" => self.map(section).map(Box::new).map(Kind::Map),
            _ => {
                let remedy = "must be Task, Pass, Choice, Wait, Succeed, Fail, Parallel or Map";
                self.problems.add(section, "Type", remedy);
                None
            }
        };
        let input_path = section.input_output_path(&mut self.problems, "InputPath");
        let output_path = section.input_output_path(&mut self.problems, "OutputPath");
        let assign = section.object_template(&mut self.problems, "Assign");
        Some(State {
            name: name.to_owned(),
            input_path,
            output_path,
            assign,
            kind: kind?,
        })
    }

    /// `QueryLanguage`, on the machine or a state.
    pub(super) fn query_language(&mut self, section: &Section<'_>) {
        match section.text(&mut self.problems, "QueryLanguage") {
            None | Some("JSONPath") => {}
            Some("JSONata") => {
                let remedy =
                    "is not implemented; write the expressions as JSONPath and intrinsic functions";
                self.problems.add(section, "QueryLanguage", remedy);
            }
            Some(_) => self
                .problems
                .add(section, "QueryLanguage", "must be JSONPath"),
        }
    }

    fn task(&mut self, section: &Section<'_>) -> Option<Task> {
        let own = [
            "Resource",
            "Parameters",
            "TimeoutSeconds",
            "TimeoutSecondsPath",
            "HeartbeatSeconds",
            "HeartbeatSecondsPath",
        ];
        section.allow(&mut self.problems, &[COMMON, PATHS, NEXT, AFTER, &own]);
        let problems = &mut self.problems;
        let parameters = section.template(problems, "Parameters");
        let timeout = section.amount(problems, "TimeoutSeconds", 1, SECONDS_MAX);
        let heartbeat = section.amount(problems, "HeartbeatSeconds", 1, SECONDS_MAX);
        if let (Some(heartbeat), Some(timeout)) = (
            number(section, "HeartbeatSeconds"),
            number(section, "TimeoutSeconds"),
        ) && heartbeat >= timeout
        {
            problems.add(
                section,
                "HeartbeatSeconds",
                &format!("must be less than TimeoutSeconds ({timeout})"),
            );
        }
        let resource = section.required_text(problems, "Resource");
        if let Some(resource) = resource {
            self.resource(section, resource);
            if is_lambda_invoke(resource) {
                let fields = parameters
                    .as_ref()
                    .map(|parameters| parameters.fields())
                    .unwrap_or_default();
                self.lambda_parameters(section, &fields);
            }
        }
        let after = self.after(section);
        let resource = resource?.to_owned();
        let pattern = IntegrationPattern::of(&resource);
        Some(Task {
            resource,
            pattern,
            parameters,
            timeout,
            heartbeat,
            after: after?,
        })
    }

    fn resource(&mut self, section: &Section<'_>, resource: &str) {
        if is_lambda_invoke(resource) || is_function_arn(resource) || (self.supports)(resource) {
            return;
        }
        let remedy = "is not a resource this task runner can serve; use arn:aws:states:::lambda:invoke, \
                      arn:aws:states:::lambda:invoke.waitForTaskToken or a Lambda function's ARN";
        self.problems.add(section, "Resource", remedy);
    }

    fn lambda_parameters(&mut self, section: &Section<'_>, given: &[&str]) {
        const KNOWN: [&str; 6] = [
            "FunctionName",
            "Payload",
            "InvocationType",
            "ClientContext",
            "LogType",
            "Qualifier",
        ];
        if !given.contains(&"FunctionName") {
            self.problems.add(
                section,
                "Parameters",
                "must name the function in `FunctionName` or `FunctionName.$`",
            );
        }
        for name in given.iter().filter(|name| !KNOWN.contains(name)) {
            let remedy = format!(
                "`{name}` is not a parameter of lambda:invoke; put what the function reads into `Payload`"
            );
            self.problems.add(section, "Parameters", &remedy);
        }
    }

    fn pass(&mut self, section: &Section<'_>) -> Option<Pass> {
        let own = ["Result", "Parameters", "ResultPath", "Assign"];
        section.allow(&mut self.problems, &[COMMON, PATHS, NEXT, &own]);
        let parameters = section.template(&mut self.problems, "Parameters");
        let result_path = section.result_path(&mut self.problems);
        let next = self.next(section);
        Some(Pass {
            result: section.get("Result").cloned(),
            parameters,
            result_path,
            next: next?,
        })
    }

    fn choice(&mut self, section: &Section<'_>) -> Choice {
        section.allow(
            &mut self.problems,
            &[COMMON, PATHS, &["Choices", "Default", "Assign"]],
        );
        let rules = read_rules(section, &mut self.problems);
        Choice {
            rules,
            default: section
                .text(&mut self.problems, "Default")
                .map(str::to_owned),
        }
    }

    fn wait(&mut self, section: &Section<'_>) -> Option<Wait> {
        let own = ["Seconds", "SecondsPath", "Timestamp", "TimestampPath"];
        section.allow(
            &mut self.problems,
            &[COMMON, PATHS, NEXT, &own, &["Assign"]],
        );
        section.at_most_one(&mut self.problems, &own);
        if !own.iter().any(|name| section.has(name)) {
            self.problems.add(
                section,
                "",
                "give one of Seconds, SecondsPath, Timestamp, TimestampPath",
            );
        }
        let problems = &mut self.problems;
        let until = if section.has("Seconds") {
            section
                .integer(problems, "Seconds", 0, SECONDS_MAX)
                .map(Duration::from_secs)
                .map(Until::Seconds)
        } else if section.has("SecondsPath") {
            section
                .reference(problems, "SecondsPath")
                .map(Until::SecondsPath)
        } else if section.has("TimestampPath") {
            section
                .reference(problems, "TimestampPath")
                .map(Until::TimestampPath)
        } else {
            section.text(problems, "Timestamp").and_then(|text| {
                let moment = timestamp::parse(text);
                if moment.is_none() {
                    let remedy = "must be an RFC 3339 timestamp with `T` and an offset, such as 2026-01-31T12:00:00Z";
                    problems.add(section, "Timestamp", remedy);
                }
                moment.map(Until::Timestamp)
            })
        };
        let next = self.next(section);
        Some(Wait {
            until: until?,
            next: next?,
        })
    }

    fn fail(&mut self, section: &Section<'_>) -> Fail {
        section.allow(
            &mut self.problems,
            &[COMMON, &["Error", "ErrorPath", "Cause", "CausePath"]],
        );
        Fail {
            error: self.fail_text(section, "Error"),
            cause: self.fail_text(section, "Cause"),
        }
    }

    fn fail_text(&mut self, section: &Section<'_>, name: &str) -> Option<FailText> {
        let path = format!("{name}Path");
        section.at_most_one(&mut self.problems, &[name, &path]);
        if section.has(name) {
            return section
                .text(&mut self.problems, name)
                .map(|text| FailText::Literal(text.to_owned()));
        }
        section
            .expression(&mut self.problems, &path)
            .map(FailText::Computed)
    }

    fn parallel(&mut self, section: &Section<'_>) -> Option<Parallel> {
        section.allow(
            &mut self.problems,
            &[COMMON, PATHS, NEXT, AFTER, &["Branches", "Parameters"]],
        );
        let parameters = section.template(&mut self.problems, "Parameters");
        let branches = section.sections(&mut self.problems, "Branches");
        if branches.is_empty() {
            self.problems
                .add(section, "Branches", "give at least one branch");
        }
        let mut flows = Vec::new();
        for branch in &branches {
            branch.allow(&mut self.problems, &[&["StartAt", "States", "Comment"]]);
            flows.extend(self.flow(branch));
        }
        let after = self.after(section);
        Some(Parallel {
            branches: flows,
            parameters,
            after: after?,
        })
    }

    fn map(&mut self, section: &Section<'_>) -> Option<Map> {
        let own = [
            "ItemProcessor",
            "Iterator",
            "ItemsPath",
            "ItemSelector",
            "Parameters",
            "MaxConcurrency",
            "MaxConcurrencyPath",
        ];
        let only_distributed = if is_distributed(section) {
            DISTRIBUTED
        } else {
            &[]
        };
        section.allow(
            &mut self.problems,
            &[COMMON, PATHS, NEXT, AFTER, &own, only_distributed],
        );
        section.at_most_one(&mut self.problems, &["ItemProcessor", "Iterator"]);
        section.at_most_one(&mut self.problems, &["ItemSelector", "Parameters"]);
        let selector = if section.has("ItemSelector") {
            "ItemSelector"
        } else {
            "Parameters"
        };
        let selector = section.template(&mut self.problems, selector);
        let items = section.path(&mut self.problems, "ItemsPath");
        let max_concurrency =
            section.amount(&mut self.problems, "MaxConcurrency", 0, u64::from(u32::MAX));
        let processor = self.processor(section);
        let distributed = is_distributed(section).then(|| self.distributed(section));
        let after = self.after(section);
        Some(Map {
            processor: StateMachine::processor(processor?),
            distributed,
            items,
            selector,
            max_concurrency,
            after: after?,
        })
    }

    fn processor(&mut self, section: &Section<'_>) -> Option<Flow> {
        let name = processor_field(section);
        if !section.has(name) {
            self.problems.add(
                section,
                name,
                "is required: the states each item goes through",
            );
        }
        let processor = section.section(&mut self.problems, name)?;
        processor.allow(
            &mut self.problems,
            &[&["StartAt", "States", "Comment", "ProcessorConfig"]],
        );
        if let Some(config) = processor.section(&mut self.problems, "ProcessorConfig") {
            match config.text(&mut self.problems, "Mode") {
                None | Some("INLINE") => config.allow(&mut self.problems, &[&["Mode"]]),
                Some("DISTRIBUTED") => self.execution_type(&config),
                Some(_) => {
                    let remedy = "must be INLINE or DISTRIBUTED";
                    self.problems.add(&config, "Mode", remedy);
                }
            }
        }
        self.flow(&processor)
    }

    /// What a Distributed Map's children are: Standard workflows, as their parent.
    fn execution_type(&mut self, config: &Section<'_>) {
        config.allow(&mut self.problems, &[&["Mode", "ExecutionType"]]);
        match config.required_text(&mut self.problems, "ExecutionType") {
            None | Some("STANDARD") => {}
            Some(_) => {
                let remedy = "must be STANDARD: Express workflows are not implemented";
                self.problems.add(config, "ExecutionType", remedy);
            }
        }
    }

    fn distributed(&mut self, section: &Section<'_>) -> Distributed {
        let problems = &mut self.problems;
        let label = section.text(problems, "Label");
        if label.is_some_and(|label| {
            label.is_empty()
                || label.chars().count() > LABEL_CHARS_MAX
                || label.contains(|c: char| c.is_whitespace() || c.is_control())
                || label.contains(NOT_IN_LABELS)
        }) {
            let remedy = format!(
                "must have 1 to {LABEL_CHARS_MAX} characters, none of them white space or one of ?*<>{{}}[]:;,\\|^~$#%&`\""
            );
            problems.add(section, "Label", &remedy);
        }
        Distributed {
            label: label.map(str::to_owned),
            tolerated_count: section.amount(
                problems,
                "ToleratedFailureCount",
                0,
                u64::from(u32::MAX),
            ),
            tolerated_percentage: self.percentage(section, "ToleratedFailurePercentage"),
        }
    }

    fn percentage(&mut self, section: &Section<'_>, name: &str) -> Option<Percentage> {
        let path = format!("{name}Path");
        section.at_most_one(&mut self.problems, &[name, &path]);
        let Some(given) = section.get(name) else {
            return section
                .reference(&mut self.problems, &path)
                .map(Percentage::Path);
        };
        let percentage = given.as_f64().filter(|given| (0.0..=100.0).contains(given));
        if percentage.is_none() {
            self.problems
                .add(section, name, "must be a number from 0 to 100");
        }
        percentage.map(Percentage::Fixed)
    }

    fn next(&mut self, section: &Section<'_>) -> Option<Next> {
        let end = section.boolean(&mut self.problems, "End");
        if end == Some(false) {
            self.problems.add(
                section,
                "End",
                "can only be true; remove it and give `Next`",
            );
            return None;
        }
        match (section.text(&mut self.problems, "Next"), end) {
            (Some(_), Some(true)) => {
                self.problems.add(
                    section,
                    "End",
                    "cannot stand beside `Next`; keep one of the two",
                );
                None
            }
            (Some(next), _) => Some(Next::State(next.to_owned())),
            (None, Some(true)) => Some(Next::End),
            (None, _) => {
                self.problems.add(
                    section,
                    "Next",
                    "is required, unless the state has `\"End\": true`",
                );
                None
            }
        }
    }

    fn after(&mut self, section: &Section<'_>) -> Option<After> {
        let result_selector = section.object_template(&mut self.problems, "ResultSelector");
        let result_path = section.result_path(&mut self.problems);
        let retriers = section.sections(&mut self.problems, "Retry");
        let retry = retriers
            .iter()
            .enumerate()
            .filter_map(|(index, retrier)| self.retrier(retrier, index + 1 == retriers.len()))
            .collect();
        let catchers = section.sections(&mut self.problems, "Catch");
        let catch = catchers
            .iter()
            .enumerate()
            .filter_map(|(index, catcher)| self.catcher(catcher, index + 1 == catchers.len()))
            .collect();
        let next = self.next(section);
        Some(After {
            result_selector,
            result_path,
            retry,
            catch,
            next: next?,
        })
    }

    fn retrier(&mut self, section: &Section<'_>, last: bool) -> Option<Retrier> {
        let own = [
            "ErrorEquals",
            "IntervalSeconds",
            "MaxAttempts",
            "BackoffRate",
            "MaxDelaySeconds",
            "JitterStrategy",
            "Comment",
        ];
        section.allow(&mut self.problems, &[&own]);
        let errors = self.error_names(section, last);
        let problems = &mut self.problems;
        let interval_seconds = section
            .integer(problems, "IntervalSeconds", 1, SECONDS_MAX)
            .unwrap_or(1);
        let attempts_max = section
            .integer(problems, "MaxAttempts", 0, SECONDS_MAX)
            .unwrap_or(3);
        let delay_seconds_max = section.integer(problems, "MaxDelaySeconds", 1, DELAY_SECONDS_MAX);
        if delay_seconds_max.is_some_and(|longest| longest <= interval_seconds) {
            problems.add(
                section,
                "MaxDelaySeconds",
                &format!("must be more than IntervalSeconds ({interval_seconds})"),
            );
        }
        let backoff_rate = match section.get("BackoffRate") {
            None => 2.0,
            Some(rate) => rate
                .as_f64()
                .filter(|rate| *rate >= 1.0)
                .unwrap_or_else(|| {
                    problems.add(section, "BackoffRate", "must be a number of at least 1.0");
                    2.0
                }),
        };
        let jitter = match section.text(problems, "JitterStrategy") {
            Some("FULL") => Jitter::Full,
            None | Some("NONE") => Jitter::None,
            Some(_) => {
                problems.add(section, "JitterStrategy", "must be FULL or NONE");
                Jitter::None
            }
        };
        Some(Retrier {
            errors: errors?,
            interval_seconds,
            attempts_max,
            backoff_rate,
            delay_seconds_max,
            jitter,
        })
    }

    fn catcher(&mut self, section: &Section<'_>, last: bool) -> Option<Catcher> {
        section.allow(
            &mut self.problems,
            &[&["ErrorEquals", "Next", "ResultPath", "Assign", "Comment"]],
        );
        let errors = self.error_names(section, last);
        let next = section.required_text(&mut self.problems, "Next");
        let result_path = section.result_path(&mut self.problems);
        let assign = section.object_template(&mut self.problems, "Assign");
        Some(Catcher {
            errors: errors?,
            next: next?.to_owned(),
            result_path,
            assign,
        })
    }

    fn error_names(&mut self, section: &Section<'_>, last: bool) -> Option<Vec<String>> {
        let names: Option<Vec<String>> = section
            .get("ErrorEquals")
            .and_then(Value::as_array)
            .and_then(|names| {
                names
                    .iter()
                    .map(|name| name.as_str().map(str::to_owned))
                    .collect()
            });
        let Some(names) = names.filter(|names| !names.is_empty()) else {
            self.problems.add(
                section,
                "ErrorEquals",
                "must be a list of at least one error name",
            );
            return None;
        };
        if names.iter().any(|name| name == ALL) && (names.len() > 1 || !last) {
            self.problems.add(
                section,
                "ErrorEquals",
                "`States.ALL` must stand alone, and in the last entry",
            );
        }
        Some(names)
    }
}

/// The field that holds what a Map state does with each item: `Iterator` is its name of old.
fn processor_field(section: &Section<'_>) -> &'static str {
    if section.has("Iterator") {
        "Iterator"
    } else {
        "ItemProcessor"
    }
}

fn is_distributed(section: &Section<'_>) -> bool {
    let processor = section.get(processor_field(section));
    processor.and_then(|processor| processor.pointer("/ProcessorConfig/Mode"))
        == Some(&Value::from("DISTRIBUTED"))
}

fn number(section: &Section<'_>, name: &str) -> Option<u64> {
    section.get(name)?.as_u64()
}
