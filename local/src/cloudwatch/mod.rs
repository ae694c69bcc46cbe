//! CloudWatch: metrics from log lines and from clients, and alarms as they were put.
//!
//! Metrics are real: what goes in can be asked for. Alarms are stored and described,
//! not evaluated; they stay in `INSUFFICIENT_DATA`.

mod metrics;

use std::collections::BTreeMap;
use std::sync::Weak;

use async_trait::async_trait;
use serde_json::Value;
use time::OffsetDateTime;

pub use metrics::{DataPoint, Metric};

use crate::fields::{Fields, page};
use crate::recorded::RecordedText;
use crate::regional::Regional;
use crate::request::{ApiError, Caller, Request, Response};
use crate::wire::{self, Datum, Names, record};
use crate::world::{Service, World};

const NAMES: Names = Names {
    namespace: "http://monitoring.amazonaws.com/doc/2010-08-01/",
    error_shape,
};

/// `ListMetrics` answers so many at a time.
const LIST_METRICS_PAGE: usize = 500;

/// Metrics and alarms of every account and region.
pub struct CloudWatch {
    world: Weak<World>,
    contents: Regional<Contents>,
}

#[derive(Default)]
struct Contents {
    metrics: BTreeMap<Metric, Vec<DataPoint>>,
    alarms: BTreeMap<String, Alarm>,
}

/// An alarm as it was put.
struct Alarm {
    settings: Value,
    updated: OffsetDateTime,
}

impl CloudWatch {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(world: Weak<World>) -> Self {
        Self {
            world,
            contents: Regional::default(),
        }
    }

    /// Takes the metrics out of a log line, if it is in Embedded Metric Format.
    pub fn read_log_line(&self, account: &str, region: &str, line: &str) {
        let found = metrics::embedded(line);
        if !found.is_empty() {
            self.contents
                .at(account, region, |contents| contents.add(found));
        }
    }

    /// Every data point of a metric name, in whatever account, region and dimensions.
    #[must_use]
    pub fn data_points(&self, namespace: &str, name: &str) -> Vec<(Metric, DataPoint)> {
        let mut found = Vec::new();
        self.contents.for_each(|_, _, contents| {
            for (metric, points) in &contents.metrics {
                if metric.namespace == namespace && metric.name == name {
                    found.extend(points.iter().map(|point| (metric.clone(), point.clone())));
                }
            }
        });
        found
    }

    fn now(&self) -> OffsetDateTime {
        self.world
            .upgrade()
            .map_or(OffsetDateTime::UNIX_EPOCH, |world| world.now())
    }

    fn answer(
        &self,
        caller: &Caller,
        operation: &str,
        input: &Value,
    ) -> Result<Option<Datum>, ApiError> {
        let fields = Fields::new(input);
        match operation {
            "PutMetricData" => self.put_metric_data(caller, fields),
            "ListMetrics" => self.list_metrics(caller, fields),
            "GetMetricStatistics" => self.get_metric_statistics(caller, fields),
            "GetMetricData" => self.get_metric_data(caller, fields),
            "PutMetricAlarm" => self.put_metric_alarm(caller, fields, input),
            "DescribeAlarms" => self.describe_alarms(caller, fields),
            "DeleteAlarms" => self.delete_alarms(caller, fields),
            other => Err(ApiError::unknown_operation("CloudWatch", other)),
        }
    }

    fn put_metric_data(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Option<Datum>, ApiError> {
        let namespace = needed(fields, "Namespace")?;
        if namespace.starts_with("AWS/") {
            return Err(invalid("Namespace must not begin with AWS/"));
        }
        let mut found = Vec::new();
        for datum in fields.list("MetricData")? {
            let datum = Fields::new(datum);
            let metric = Metric {
                namespace: namespace.to_owned(),
                name: needed(datum, "MetricName")?.to_owned(),
                dimensions: datum.tags("Dimensions", "Name", "Value")?,
            };
            found.extend(
                self.points(datum)?
                    .into_iter()
                    .map(|point| (metric.clone(), point)),
            );
        }
        self.contents.with(caller, |contents| contents.add(found));
        Ok(None)
    }

    fn points(&self, datum: Fields<'_>) -> Result<Vec<DataPoint>, ApiError> {
        let time = datum.time("Timestamp")?.unwrap_or_else(|| self.now());
        let unit = datum.text("Unit")?.unwrap_or("None");
        if let Some(value) = datum.number("Value")? {
            return Ok(vec![DataPoint::of(time, unit, value)]);
        }
        if let Some(set) = datum.value("StatisticValues") {
            let set = Fields::new(set);
            let part = |name| set.number(name)?.ok_or_else(|| missing(name));
            return Ok(vec![DataPoint {
                time,
                unit: unit.to_owned(),
                count: part("SampleCount")?,
                sum: part("Sum")?,
                minimum: part("Minimum")?,
                maximum: part("Maximum")?,
            }]);
        }
        let values = numbers(datum, "Values")?;
        let counts = numbers(datum, "Counts")?;
        if values.is_empty() || (!counts.is_empty() && counts.len() != values.len()) {
            return Err(invalid(
                "MetricData needs Value, StatisticValues, or Values with as many Counts",
            ));
        }
        let count = |index: usize| counts.get(index).copied().unwrap_or(1.0);
        let point =
            |(index, value): (usize, &f64)| DataPoint::repeated(time, unit, *value, count(index));
        Ok(values.iter().enumerate().map(point).collect())
    }

    fn list_metrics(&self, caller: &Caller, fields: Fields<'_>) -> Result<Option<Datum>, ApiError> {
        let (namespace, name) = (fields.text("Namespace")?, fields.text("MetricName")?);
        let filters = fields.list("Dimensions")?;
        let mut wanted = Vec::new();
        for filter in filters {
            let filter = Fields::new(filter);
            wanted.push((needed(filter, "Name")?, filter.text("Value")?));
        }
        let metrics: Vec<Metric> = self.contents.with(caller, |contents| {
            let fits = |metric: &&Metric| {
                namespace.is_none_or(|namespace| metric.namespace == namespace)
                    && name.is_none_or(|name| metric.name == name)
                    && wanted.iter().all(|(name, value)| {
                        metric
                            .dimensions
                            .get(*name)
                            .is_some_and(|given| value.is_none_or(|value| value == given))
                    })
            };
            contents.metrics.keys().filter(fits).cloned().collect()
        });
        let (metrics, next) = page(&metrics, fields.text("NextToken")?, LIST_METRICS_PAGE)
            .ok_or_else(|| ApiError::new(400, "InvalidParameterValue", "NextToken is invalid"))?;
        Ok(Some(record([
            (
                "Metrics",
                Datum::List(metrics.iter().map(described).collect()),
            ),
            ("NextToken", next.into()),
        ])))
    }

    fn get_metric_statistics(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Option<Datum>, ApiError> {
        let metric = Metric {
            namespace: needed(fields, "Namespace")?.to_owned(),
            name: needed(fields, "MetricName")?.to_owned(),
            dimensions: fields.tags("Dimensions", "Name", "Value")?,
        };
        let statistics = fields.texts("Statistics")?;
        if !fields.list("ExtendedStatistics")?.is_empty() {
            return Err(invalid(
                "the local cloud's CloudWatch has no ExtendedStatistics",
            ));
        }
        if statistics.is_empty() {
            return Err(missing("Statistics"));
        }
        let points = self.periods(
            caller,
            &metric,
            span(fields)?,
            period(fields)?,
            fields.text("Unit")?,
        );
        let datum = |point: &DataPoint| {
            let statistic = |name: &str| {
                let asked = statistics.iter().any(|statistic| statistic == name);
                if asked { point.statistic(name) } else { None }
            };
            record([
                ("Timestamp", point.time.into()),
                ("SampleCount", statistic("SampleCount").into()),
                ("Average", statistic("Average").into()),
                ("Sum", statistic("Sum").into()),
                ("Minimum", statistic("Minimum").into()),
                ("Maximum", statistic("Maximum").into()),
                ("Unit", point.unit.as_str().into()),
            ])
        };
        let points = Datum::List(points.iter().map(datum).collect());
        Ok(Some(record([
            ("Label", metric.name.as_str().into()),
            ("Datapoints", points),
        ])))
    }

    fn get_metric_data(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Option<Datum>, ApiError> {
        let span = span(fields)?;
        let ascending = fields.text("ScanBy")? == Some("TimestampAscending");
        let mut results = Vec::new();
        for query in fields.list("MetricDataQueries")? {
            let query = Fields::new(query);
            let Some(stat) = query.value("MetricStat") else {
                return Err(invalid(
                    "the local cloud's CloudWatch has no metric math: a query needs MetricStat",
                ));
            };
            if query.flag_if_given("ReturnData")? == Some(false) {
                continue;
            }
            results.push(self.metric_data(caller, query, Fields::new(stat), span, ascending)?);
        }
        Ok(Some(record([("MetricDataResults", Datum::List(results))])))
    }

    fn metric_data(
        &self,
        caller: &Caller,
        query: Fields<'_>,
        stat: Fields<'_>,
        span: (OffsetDateTime, OffsetDateTime),
        ascending: bool,
    ) -> Result<Datum, ApiError> {
        let described = Fields::new(
            stat.value("Metric")
                .ok_or_else(|| missing("MetricStat.Metric"))?,
        );
        let metric = Metric {
            namespace: needed(described, "Namespace")?.to_owned(),
            name: needed(described, "MetricName")?.to_owned(),
            dimensions: described.tags("Dimensions", "Name", "Value")?,
        };
        let statistic = needed(stat, "Stat")?;
        let mut points = self.periods(caller, &metric, span, period(stat)?, stat.text("Unit")?);
        if !ascending {
            points.reverse();
        }
        let values: Option<Vec<f64>> = points
            .iter()
            .map(|point| point.statistic(statistic))
            .collect();
        let values = values.ok_or_else(|| {
            invalid(&format!(
                "the local cloud's CloudWatch has no statistic {statistic}"
            ))
        })?;
        Ok(record([
            ("Id", needed(query, "Id")?.into()),
            ("Label", query.text("Label")?.unwrap_or(&metric.name).into()),
            (
                "Timestamps",
                Datum::list(points.iter().map(|point| point.time)),
            ),
            ("Values", Datum::list(values)),
            ("StatusCode", "Complete".into()),
        ]))
    }

    fn periods(
        &self,
        caller: &Caller,
        metric: &Metric,
        span: (OffsetDateTime, OffsetDateTime),
        period: i64,
        unit: Option<&str>,
    ) -> Vec<DataPoint> {
        self.contents.with(caller, |contents| {
            let points = contents
                .metrics
                .get(metric)
                .map(Vec::as_slice)
                .unwrap_or_default();
            metrics::by_period(points, span, period, unit)
        })
    }

    fn put_metric_alarm(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
        input: &Value,
    ) -> Result<Option<Datum>, ApiError> {
        let name = needed(fields, "AlarmName")?.to_owned();
        let alarm = Alarm {
            settings: input.clone(),
            updated: self.now(),
        };
        self.contents
            .with(caller, |contents| contents.alarms.insert(name, alarm));
        Ok(None)
    }

    fn describe_alarms(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Option<Datum>, ApiError> {
        let (names, prefix) = (
            fields.texts("AlarmNames")?,
            fields.text("AlarmNamePrefix")?.unwrap_or_default(),
        );
        let alarms = self.contents.with(caller, |contents| {
            let fits = |name: &str| {
                (names.is_empty() || names.iter().any(|wanted| wanted == name))
                    && name.starts_with(prefix)
            };
            let chosen = contents.alarms.iter().filter(|(name, _)| fits(name));
            chosen
                .map(|(name, alarm)| alarm.described(caller, name))
                .collect::<Result<Vec<_>, _>>()
        })?;
        Ok(Some(record([
            ("MetricAlarms", Datum::List(alarms)),
            ("CompositeAlarms", Datum::List(Vec::new())),
        ])))
    }

    fn delete_alarms(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Option<Datum>, ApiError> {
        let names = fields.texts("AlarmNames")?;
        self.contents.with(caller, |contents| {
            contents.alarms.retain(|name, _| !names.contains(name))
        });
        Ok(None)
    }
}

impl Contents {
    fn add(&mut self, points: Vec<(Metric, DataPoint)>) {
        for (metric, point) in points {
            self.metrics.entry(metric).or_default().push(point);
        }
    }
}

impl Alarm {
    fn described(&self, caller: &Caller, name: &str) -> Result<Datum, ApiError> {
        let fields = Fields::new(&self.settings);
        let dimensions = fields.tags("Dimensions", "Name", "Value")?;
        Ok(record([
            ("AlarmName", name.into()),
            (
                "AlarmArn",
                format!(
                    "arn:aws:cloudwatch:{}:{}:alarm:{name}",
                    caller.region, caller.account
                )
                .into(),
            ),
            ("AlarmDescription", fields.text("AlarmDescription")?.into()),
            ("AlarmConfigurationUpdatedTimestamp", self.updated.into()),
            (
                "ActionsEnabled",
                fields
                    .flag_if_given("ActionsEnabled")?
                    .unwrap_or(true)
                    .into(),
            ),
            ("OKActions", Datum::list(fields.texts("OKActions")?)),
            ("AlarmActions", Datum::list(fields.texts("AlarmActions")?)),
            (
                "InsufficientDataActions",
                Datum::list(fields.texts("InsufficientDataActions")?),
            ),
            ("StateValue", "INSUFFICIENT_DATA".into()),
            ("StateReason", "Unchecked: Initial alarm creation".into()),
            ("StateUpdatedTimestamp", self.updated.into()),
            ("MetricName", fields.text("MetricName")?.into()),
            ("Namespace", fields.text("Namespace")?.into()),
            ("Statistic", fields.text("Statistic")?.into()),
            ("Dimensions", dimension_list(&dimensions)),
            ("Period", fields.integer("Period")?.into()),
            (
                "EvaluationPeriods",
                fields.integer("EvaluationPeriods")?.into(),
            ),
            ("Threshold", fields.number("Threshold")?.into()),
            (
                "ComparisonOperator",
                fields.text("ComparisonOperator")?.into(),
            ),
            ("TreatMissingData", fields.text("TreatMissingData")?.into()),
        ]))
    }
}

#[async_trait]
impl Service for CloudWatch {
    async fn handle(&self, request: Request) -> Response {
        let request_id = self
            .world
            .upgrade()
            .map(|world| world.randomness().uuid())
            .unwrap_or_default();
        match wire::read(&request) {
            Ok(call) => {
                let answer = self.answer(&request.caller, &call.operation, &call.input);
                wire::write(call.protocol, &NAMES, &call.operation, &request_id, answer)
            }
            Err((protocol, error)) => wire::write(protocol, &NAMES, "", &request_id, Err(error)),
        }
    }

    fn recorded_texts(&self) -> Vec<RecordedText> {
        let mut texts = Vec::new();
        self.contents.for_each(|account, region, contents| {
            let place = format!("cloudwatch {account}/{region}");
            for metric in contents.metrics.keys() {
                let dimensions = metric
                    .dimensions
                    .iter()
                    .map(|(name, value)| format!(" {name}={value}"))
                    .collect::<String>();
                texts.push(RecordedText::new(
                    &place,
                    format!("{} {}{dimensions}", metric.namespace, metric.name),
                ));
            }
            texts.extend(
                contents
                    .alarms
                    .values()
                    .map(|alarm| RecordedText::new(&place, alarm.settings.to_string())),
            );
        });
        texts
    }
}

fn error_shape(code: &str) -> &str {
    match code {
        "InvalidParameterValue" => "InvalidParameterValueException",
        "MissingParameter" => "MissingRequiredParameterException",
        "InvalidParameterCombination" => "InvalidParameterCombinationException",
        other => other,
    }
}

fn described(metric: &Metric) -> Datum {
    record([
        ("Namespace", metric.namespace.as_str().into()),
        ("MetricName", metric.name.as_str().into()),
        ("Dimensions", dimension_list(&metric.dimensions)),
    ])
}

fn dimension_list(dimensions: &BTreeMap<String, String>) -> Datum {
    let dimension = |(name, value): (&String, &String)| {
        record([
            ("Name", name.as_str().into()),
            ("Value", value.as_str().into()),
        ])
    };
    Datum::List(dimensions.iter().map(dimension).collect())
}

fn span(fields: Fields<'_>) -> Result<(OffsetDateTime, OffsetDateTime), ApiError> {
    let start = fields
        .time("StartTime")?
        .ok_or_else(|| missing("StartTime"))?;
    let end = fields.time("EndTime")?.ok_or_else(|| missing("EndTime"))?;
    if start >= end {
        return Err(invalid(
            "The parameter StartTime must be less than the parameter EndTime.",
        ));
    }
    Ok((start, end))
}

fn period(fields: Fields<'_>) -> Result<i64, ApiError> {
    fields
        .integer("Period")?
        .filter(|period| *period > 0)
        .ok_or_else(|| missing("Period"))
}

fn needed<'a>(fields: Fields<'a>, name: &str) -> Result<&'a str, ApiError> {
    fields
        .text(name)?
        .filter(|text| !text.is_empty())
        .ok_or_else(|| missing(name))
}

fn numbers(fields: Fields<'_>, name: &str) -> Result<Vec<f64>, ApiError> {
    let number = |item: &Value| item.as_f64().or_else(|| item.as_str()?.parse().ok());
    fields
        .list(name)?
        .iter()
        .map(|item| number(item).ok_or_else(|| invalid(&format!("{name} must be numbers"))))
        .collect()
}

fn missing(name: &str) -> ApiError {
    ApiError::new(
        400,
        "MissingParameter",
        format!("The parameter {name} is required."),
    )
}

fn invalid(message: &str) -> ApiError {
    ApiError::new(400, "InvalidParameterValue", message)
}
