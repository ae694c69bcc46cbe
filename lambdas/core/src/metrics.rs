//! CloudWatch metrics in the Embedded Metric Format: one JSON line in the log, which
//! CloudWatch turns into metrics. Dimensions have few values only: a restore's id is
//! never one.

use serde_json::{Map, Value, json};

use crate::step::Context;

/// The namespace of every metric.
pub const NAMESPACE: &str = "AuroraRestore";

/// The unit of a metric, as CloudWatch names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// A number of things.
    Count,
    /// Gibibytes, which CloudWatch calls `Gigabytes`.
    Gigabytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "Milliseconds",
            Self::Seconds => "Seconds",
            Self::Count => "Count",
            Self::Gigabytes => "Gigabytes",
        }
    }
}

/// Emits metrics for the pipeline as a whole, and by these dimensions of it: alarms read the one, people the other.
pub fn emit(context: &Context, dimensions: &[(&str, &str)], values: &[(&str, Unit, f64)]) {
    let millis =
        i64::try_from(context.clock.now().unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    context.log.line(&line(
        &context.settings.pipeline,
        millis,
        dimensions,
        values,
    ));
}

fn line(
    pipeline: &str,
    millis: i64,
    dimensions: &[(&str, &str)],
    values: &[(&str, Unit, f64)],
) -> String {
    let mut sets = vec![vec!["Pipeline"]];
    if !dimensions.is_empty() {
        let names = dimensions.iter().map(|(name, _)| *name);
        sets.push(std::iter::once("Pipeline").chain(names).collect());
    }
    let metrics: Vec<Value> = values
        .iter()
        .map(|(name, unit, _)| json!({"Name": name, "Unit": unit.name()}))
        .collect();
    let mut line = Map::new();
    let directive = json!([{"Namespace": NAMESPACE, "Dimensions": sets, "Metrics": metrics}]);
    line.insert(
        "_aws".into(),
        json!({"Timestamp": millis, "CloudWatchMetrics": directive}),
    );
    line.insert("Pipeline".into(), pipeline.into());
    line.extend(
        dimensions
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into())),
    );
    line.extend(
        values
            .iter()
            .map(|(name, _, value)| ((*name).to_owned(), (*value).into())),
    );
    Value::Object(line).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_carries_its_directive_dimensions_and_values() {
        let line = line(
            "pipe",
            1_700_000_000_000,
            &[("Step", "wait")],
            &[("StepDuration", Unit::Milliseconds, 12.0)],
        );
        let value: Value = serde_json::from_str(&line).unwrap();
        assert!(line.starts_with('{'));
        let directive = &value["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(
            directive["Dimensions"],
            json!([["Pipeline"], ["Pipeline", "Step"]])
        );
        assert_eq!(
            directive["Metrics"][0],
            json!({"Name": "StepDuration", "Unit": "Milliseconds"})
        );
        assert_eq!(
            (&value["Step"], &value["StepDuration"]),
            (&json!("wait"), &json!(12.0))
        );
    }
}
