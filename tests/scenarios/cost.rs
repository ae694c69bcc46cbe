//! What a restore uses of each service that is billed by the piece: the calculator's figures are counted here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aurora_restore::cost::measured::{Counts, IDLE_PASS, WHOLE_RESTORE};
use aurora_restore::deployment::STEPS;
use local_cloud::faults::{Faults, Recorded};
use local_cloud::lambda::LogLine;
use pipeline_tests::{Run, Scene, step};
use serde_json::{Value, json};

/// What CloudWatch Logs counts beside the bytes of each line.
const BYTES_BESIDE_A_LINE: usize = 26;

#[tokio::test(start_paused = true)]
async fn a_whole_restore_uses_what_the_calculator_says() {
    let scene = Scene::real().await;
    let request = scene.request_of_every_step().await;
    scene.reaper_comes(false).await;
    let heard = listen(&scene);
    let run = scene.restore(request).await;
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    assert_is_what_it_says(counted(&scene, &heard, Some(&run)), WHOLE_RESTORE);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_pass_of_the_reaper_uses_what_the_calculator_says() {
    let scene = Scene::metadata().await;
    scene.reaper_comes(false).await;
    let heard = listen(&scene);
    let passed = scene.invoke(step("reap"), json!({})).await.unwrap();
    assert_eq!(passed["failures"], json!([]), "{passed}");
    assert_is_what_it_says(counted(&scene, &heard, None), IDLE_PASS);
    scene.local.shutdown().await;
}

/// Writes down every call of a function from now on.
fn listen(scene: &Scene) -> Arc<Faults> {
    let cloud = &scene.local.cloud;
    let faults = Faults::new(cloud.world(), cloud.lambda());
    cloud.world().add_layer(faults.clone());
    faults
}

fn counted(scene: &Scene, heard: &Faults, run: Option<&Run<'_>>) -> Counts {
    let calls = heard.recorded();
    let of = |service: &str| {
        calls
            .iter()
            .filter(|made| made.call.service == service)
            .count()
    };
    let invocations: BTreeSet<_> = calls.iter().map(|made| &made.invocation).collect();
    // What other functions said before is not of this run.
    let lines: Vec<LogLine> = STEPS
        .iter()
        .map(|step| scene.local.stack.function_name(step.name))
        .flat_map(|function| scene.local.cloud.lambda().logs(&function))
        .filter(|line| invocations.contains(&line.request_id))
        .collect();
    let bytes = lines
        .iter()
        .map(|line| line.text.len() + BYTES_BESIDE_A_LINE)
        .sum();
    let history = run.map(|run| run.execution.history());
    Counts {
        transitions: history
            .as_ref()
            .map_or(0, |history| number(history.transitions() as usize)),
        history_events: history
            .as_ref()
            .map_or(0, |history| number(history.events().len())),
        invocations: number(invocations.len()),
        calls: number(calls.len()),
        write_units: calls.iter().map(write_units).sum(),
        read_units: calls.iter().map(read_units).sum(),
        secret_calls: number(of("secretsmanager")),
        key_calls: number(of("kms")),
        messages: number(of("sns")),
        log_bytes: number(bytes),
        metric_hours: number(metric_hours(&lines)),
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap()
}

/// Each write counts in full for the table, and for both indexes where its item is in them.
fn write_units(made: &Recorded) -> u32 {
    let Some(body) = dynamodb(made).filter(|_| made.call.is_mutating()) else {
        return 0;
    };
    match body["TransactItems"].as_array() {
        Some(items) => items.iter().map(|item| 2 * units_of(item)).sum(),
        None => units_of(&body),
    }
}

fn units_of(write: &Value) -> u32 {
    let text = write.to_string();
    let kib = number(text.len().div_ceil(1024));
    // An item with a status is in both indexes; a change of a key there deletes one entry and writes another.
    let indexes = if text.contains("\"META\"") { 4 } else { 0 };
    kib * (1 + indexes)
}

/// Two units for a consistent read of up to 8 KiB; a plan is the longest item and less than that.
fn read_units(made: &Recorded) -> u32 {
    match dynamodb(made) {
        Some(_) if !made.call.is_mutating() => 2,
        _ => 0,
    }
}

fn dynamodb(made: &Recorded) -> Option<Value> {
    (made.call.service == "dynamodb").then(|| serde_json::from_slice(&made.request.body).unwrap())
}

/// Metrics are billed by the hour in which they are sent.
fn metric_hours(lines: &[LogLine]) -> usize {
    let mut sent = BTreeSet::new();
    for line in lines {
        let Ok(metric) = serde_json::from_str::<Value>(&line.text) else {
            continue;
        };
        let Some(directives) = metric["_aws"]["CloudWatchMetrics"].as_array() else {
            continue;
        };
        let sets = directives.iter().flat_map(|directive| {
            let sets = directive["Dimensions"].as_array().unwrap().iter();
            sets.map(move |set| (set.as_array().unwrap(), &directive["Metrics"]))
        });
        for (names, metrics) in sets {
            let dimensions: BTreeMap<_, _> = names
                .iter()
                .map(|name| (name.to_string(), metric[name.as_str().unwrap()].to_string()))
                .collect();
            for name in metrics.as_array().unwrap() {
                sent.insert((
                    name["Name"].to_string(),
                    dimensions.clone(),
                    line.time.date(),
                    line.time.hour(),
                ));
            }
        }
    }
    sent.len()
}

fn assert_is_what_it_says(counted: Counts, said: Counts) {
    println!("{counted:#?}");
    let pairs = [
        ("transitions", counted.transitions, said.transitions),
        (
            "history_events",
            counted.history_events,
            said.history_events,
        ),
        ("invocations", counted.invocations, said.invocations),
        ("calls", counted.calls, said.calls),
        ("write_units", counted.write_units, said.write_units),
        ("read_units", counted.read_units, said.read_units),
        ("secret_calls", counted.secret_calls, said.secret_calls),
        ("key_calls", counted.key_calls, said.key_calls),
        ("messages", counted.messages, said.messages),
        ("log_bytes", counted.log_bytes, said.log_bytes),
        ("metric_hours", counted.metric_hours, said.metric_hours),
    ];
    for (name, counted, said) in pairs {
        assert!(
            counted <= said,
            "{name}: counted {counted}, the calculator says {said}"
        );
        assert!(
            said <= 2 * counted,
            "{name}: the calculator says {said}, counted {counted}"
        );
    }
}
