//! Metrics and their data points.

use std::collections::BTreeMap;

use serde_json::Value;
use time::{Duration, OffsetDateTime};

/// A metric is its namespace, its name and all of its dimensions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metric {
    /// Such as `AuroraRestore`.
    pub namespace: String,
    /// Such as `Duration`.
    pub name: String,
    /// Names and values.
    pub dimensions: BTreeMap<String, String>,
}

/// One or more values that arrived together.
#[derive(Clone, Debug, PartialEq)]
pub struct DataPoint {
    /// When they were measured.
    pub time: OffsetDateTime,
    /// Such as `Seconds`; `None` when none was given.
    pub unit: String,
    /// How many values.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The smallest.
    pub minimum: f64,
    /// The largest.
    pub maximum: f64,
}

impl DataPoint {
    /// A single value.
    pub(crate) fn of(time: OffsetDateTime, unit: &str, value: f64) -> Self {
        Self {
            time,
            unit: unit.to_owned(),
            count: 1.0,
            sum: value,
            minimum: value,
            maximum: value,
        }
    }

    /// The same value several times.
    pub(crate) fn repeated(time: OffsetDateTime, unit: &str, value: f64, count: f64) -> Self {
        Self {
            count,
            sum: value * count,
            ..Self::of(time, unit, value)
        }
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.minimum = self.minimum.min(other.minimum);
        self.maximum = self.maximum.max(other.maximum);
    }

    /// One of CloudWatch's simple statistics.
    pub(crate) fn statistic(&self, name: &str) -> Option<f64> {
        match name {
            "SampleCount" => Some(self.count),
            "Sum" => Some(self.sum),
            "Average" => Some(self.sum / self.count),
            "Minimum" => Some(self.minimum),
            "Maximum" => Some(self.maximum),
            _ => None,
        }
    }
}

/// Adds up points by period, oldest first. Periods begin at whole multiples of
/// their length, as CloudWatch's do.
pub(crate) fn by_period(
    points: &[DataPoint],
    (start, end): (OffsetDateTime, OffsetDateTime),
    period_seconds: i64,
    unit: Option<&str>,
) -> Vec<DataPoint> {
    let mut periods: BTreeMap<OffsetDateTime, DataPoint> = BTreeMap::new();
    let wanted = |point: &&DataPoint| {
        point.time >= start && point.time < end && unit.is_none_or(|unit| unit == point.unit)
    };
    for point in points.iter().filter(wanted) {
        let into_period = point
            .time
            .unix_timestamp()
            .rem_euclid(period_seconds.max(1));
        let nanoseconds = Duration::nanoseconds(i64::from(point.time.nanosecond()));
        let begin = point.time - Duration::seconds(into_period) - nanoseconds;
        periods
            .entry(begin)
            .and_modify(|sum| sum.add(point))
            .or_insert_with(|| DataPoint {
                time: begin,
                ..point.clone()
            });
    }
    periods.into_values().collect()
}

/// Reads a log line in Embedded Metric Format. A line that is not exactly one JSON
/// object with an `_aws` member is not one, as for CloudWatch.
pub(crate) fn embedded(line: &str) -> Vec<(Metric, DataPoint)> {
    let Ok(root) = serde_json::from_str::<Value>(line.trim()) else {
        return Vec::new();
    };
    let Some(metadata) = root.get("_aws") else {
        return Vec::new();
    };
    let time = metadata
        .get("Timestamp")
        .and_then(Value::as_i64)
        .and_then(from_epoch_milliseconds);
    let directives = metadata.get("CloudWatchMetrics").and_then(Value::as_array);
    let (Some(time), Some(directives)) = (time, directives) else {
        return Vec::new();
    };
    directives
        .iter()
        .flat_map(|directive| directed(&root, directive, time))
        .collect()
}

fn from_epoch_milliseconds(milliseconds: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok()
}

fn directed(root: &Value, directive: &Value, time: OffsetDateTime) -> Vec<(Metric, DataPoint)> {
    let namespace = directive
        .get("Namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let metrics = directive
        .get("Metrics")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut found = Vec::new();
    for dimensions in dimension_sets(root, directive) {
        for definition in metrics {
            let name = definition
                .get("Name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let unit = definition
                .get("Unit")
                .and_then(Value::as_str)
                .unwrap_or("None");
            for value in numbers(root.get(name)) {
                let metric = Metric {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    dimensions: dimensions.clone(),
                };
                found.push((metric, DataPoint::of(time, unit, value)));
            }
        }
    }
    found
}

/// Each set names members of the root, whose values are the dimensions' values. A
/// set that names a member that is not there is dropped.
fn dimension_sets(root: &Value, directive: &Value) -> Vec<BTreeMap<String, String>> {
    let Some(sets) = directive.get("Dimensions").and_then(Value::as_array) else {
        return vec![BTreeMap::new()];
    };
    let dimension = |name: &Value| {
        let name = name.as_str()?;
        Some((name.to_owned(), root.get(name)?.as_str()?.to_owned()))
    };
    sets.iter()
        .filter_map(|set| set.as_array()?.iter().map(dimension).collect())
        .collect()
}

fn numbers(value: Option<&Value>) -> Vec<f64> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_f64).collect(),
        Some(value) => value.as_f64().into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"_aws":{"Timestamp":1795230000000,"CloudWatchMetrics":[{"Namespace":"AuroraRestore",
        "Dimensions":[["Pipeline","Step"],["Pipeline"]],"Metrics":[{"Name":"Duration","Unit":"Seconds"}]}]},
        "Pipeline":"nightly","Step":"Plan","Duration":[1.5,2.5],"restoreId":"r-1"}"#;

    #[test]
    fn a_line_counts_once_for_every_set_of_dimensions() {
        let found = embedded(LINE);
        assert_eq!(found.len(), 4);
        assert_eq!(found[0].0.dimensions.len(), 2);
        assert_eq!(found[2].0.dimensions.len(), 1);
        assert_eq!(found[0].1.unit, "Seconds");
    }

    #[test]
    fn text_before_the_brace_makes_it_an_ordinary_line() {
        assert!(embedded(&format!("INFO {LINE}")).is_empty());
    }

    #[test]
    fn points_of_one_period_are_added_up() {
        let at = |seconds| OffsetDateTime::UNIX_EPOCH + Duration::seconds(seconds);
        let points = [3, 59, 60].map(|seconds| DataPoint::of(at(seconds), "Count", seconds as f64));
        let periods = by_period(&points, (at(0), at(120)), 60, None);
        assert_eq!(periods.len(), 2);
        assert_eq!(
            (periods[0].count, periods[0].maximum, periods[0].time),
            (2.0, 59.0, at(0))
        );
    }
}
