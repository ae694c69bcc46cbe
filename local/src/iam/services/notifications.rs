//! SNS, SQS, CloudWatch and EventBridge.

use serde_json::Value;

use super::Call;
use super::kms::{self, Purpose};
use crate::iam::evaluate::Question;

pub(super) fn sns(call: &Call<'_>) -> Option<Vec<Question>> {
    let action = format!("sns:{}", call.operation);
    let asked = match call.operation.as_str() {
        "Publish" => publish(call, &action)?,
        "DeleteTopic"
        | "GetTopicAttributes"
        | "SetTopicAttributes"
        | "Subscribe"
        | "ListSubscriptionsByTopic" => {
            vec![call.ask(&action, call.text("TopicArn")?)]
        }
        "CreateTopic" => create_topic(call, &action)?,
        // No resource types, or none that the request names.
        "ListTopics" | "ListSubscriptions" | "Unsubscribe" => vec![call.ask(&action, "*")],
        "ListTagsForResource" => vec![call.ask(&action, call.text("ResourceArn")?)],
        _ => return None,
    };
    Some(asked)
}

/// An encrypted topic takes a data key with the rights of whoever publishes.
fn publish(call: &Call<'_>, action: &str) -> Option<Vec<Question>> {
    let topic = call.text("TopicArn").or_else(|| call.text("TargetArn"))?;
    let mut asked = vec![call.ask(action, topic)];
    if let Some(key) = call.known_as("sns", topic).and_then(|known| known.key) {
        asked.extend(kms::through(call, "sns", &key, Purpose::Write));
    }
    Some(asked)
}

fn create_topic(call: &Call<'_>, action: &str) -> Option<Vec<Question>> {
    let topic = call.arn("sns", call.text("Name")?);
    let mut asked = vec![call.ask(action, &topic)];
    if !call.request_tags().is_empty() {
        asked.push(call.ask("sns:TagResource", topic));
    }
    Some(asked)
}

/// A queue is named by its URL.
pub(super) fn sqs(call: &Call<'_>) -> Option<Vec<Question>> {
    let action = format!("sqs:{}", call.operation);
    let name = match call.operation.as_str() {
        "CreateQueue" | "GetQueueUrl" => call.text("QueueName")?,
        "ListQueues" => "*",
        "DeleteQueue" | "GetQueueAttributes" | "SetQueueAttributes" | "SendMessage"
        | "ReceiveMessage" | "DeleteMessage" | "PurgeQueue" => {
            call.text("QueueUrl")?.rsplit('/').next()?
        }
        _ => return None,
    };
    Some(vec![call.ask(&action, call.arn("sqs", name))])
}

pub(super) fn cloudwatch(call: &Call<'_>) -> Option<Vec<Question>> {
    let action = format!("cloudwatch:{}", call.operation);
    let alarm = |name: &str| call.ask(&action, call.arn("cloudwatch", &format!("alarm:{name}")));
    let asked = match call.operation.as_str() {
        "PutMetricData" => {
            let namespace = call.text("Namespace").unwrap_or_default();
            vec![
                call.ask(&action, "*")
                    .with("cloudwatch:namespace", namespace),
            ]
        }
        "ListMetrics" | "GetMetricStatistics" | "GetMetricData" => vec![call.ask(&action, "*")],
        "PutMetricAlarm" => vec![alarm(call.text("AlarmName")?)],
        "DescribeAlarms" | "DeleteAlarms" => {
            let names = call.input.get("AlarmNames").and_then(Value::as_array);
            let names: Vec<&str> = names
                .map(|names| names.iter().filter_map(Value::as_str).collect())
                .unwrap_or_default();
            if names.is_empty() {
                vec![alarm("*")]
            } else {
                names.into_iter().map(alarm).collect()
            }
        }
        _ => return None,
    };
    Some(asked)
}

pub(super) fn events(call: &Call<'_>) -> Option<Vec<Question>> {
    let action = format!("events:{}", call.operation);
    let rule = |name: &str| call.ask(&action, call.arn("events", &format!("rule/{name}")));
    let asked = match call.operation.as_str() {
        "PutRule" | "DescribeRule" | "EnableRule" | "DisableRule" | "DeleteRule" => {
            vec![rule(call.text("Name")?)]
        }
        "PutTargets" | "ListTargetsByRule" | "RemoveTargets" => vec![rule(call.text("Rule")?)],
        "ListRules" => vec![rule("*")],
        "PutEvents" => put_events(call, &action)?,
        "TestEventPattern" => vec![call.ask(&action, "*")],
        _ => return None,
    };
    Some(asked)
}

fn put_events(call: &Call<'_>, action: &str) -> Option<Vec<Question>> {
    let entries = call.input.get("Entries")?.as_array()?;
    let question = |entry: &Value| {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let bus = match text("EventBusName") {
            "" => "default",
            bus => bus,
        };
        call.ask(action, call.arn_of("events", "event-bus/", bus))
            .with("events:source", text("Source"))
            .with("events:detail-type", text("DetailType"))
    };
    Some(entries.iter().map(question).collect())
}
