//! DynamoDB and Parameter Store.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Call;
use crate::iam::evaluate::Question;

/// Items are asked about one by one, with the partition key's values as `dynamodb:LeadingKeys`. A transaction and
/// a batch are their parts ("Using IAM with transactions"): `TransactWriteItems` itself is no action.
pub(super) fn dynamodb(call: &Call<'_>) -> Option<Vec<Question>> {
    let action = format!("dynamodb:{}", call.operation);
    let asked = match call.operation.as_str() {
        "ListTables" => vec![call.ask(&action, "*")],
        "TagResource" | "UntagResource" | "ListTagsOfResource" => {
            vec![call.ask(&action, call.text("ResourceArn")?)]
        }
        "CreateTable" | "DeleteTable" | "DescribeTable" | "UpdateTable" | "UpdateTimeToLive"
        | "DescribeTimeToLive" => vec![call.ask(&action, table(call, call.text("TableName")?))],
        "GetItem" | "DeleteItem" | "UpdateItem" | "PutItem" => {
            vec![item(call, &action, &call.input, None)?]
        }
        "Query" | "Scan" => vec![rows(call, &action)?],
        "TransactWriteItems" | "TransactGetItems" => transaction(call)?,
        "BatchGetItem" | "BatchWriteItem" => batch(call, &action)?,
        // PartiQL would have to be read to know what it touches: nobody here speaks it.
        _ => return None,
    };
    Some(asked)
}

fn table(call: &Call<'_>, name: &str) -> String {
    call.arn_of("dynamodb", "table/", name)
}

/// One item of a request: its key is in `Key` or `Item`.
fn item(
    call: &Call<'_>,
    action: &str,
    operation: &Value,
    enclosing: Option<&str>,
) -> Option<Question> {
    let name = operation.get("TableName")?.as_str()?;
    let mut question = call.ask(action, table(call, name));
    let item = operation.get("Key").or_else(|| operation.get("Item"));
    if let Some(leading) = item.and_then(|item| leading_key(call, name, item)) {
        question.context.add("dynamodb:LeadingKeys", leading);
    }
    if let Some(enclosing) = enclosing {
        question
            .context
            .add("dynamodb:EnclosingOperation", enclosing);
    }
    if let Some(value) = operation.get("ReturnValues").and_then(Value::as_str) {
        question.context.add("dynamodb:ReturnValues", value);
    }
    Some(question)
}

/// The text of the partition key's value. Which attribute that is, the table says.
fn leading_key(call: &Call<'_>, table_name: &str, item: &Value) -> Option<String> {
    let partition = call
        .known_as("dynamodb", &table(call, table_name))?
        .partition_key?;
    scalar(item.get(&partition)?)
}

/// `{"S": "RESTORE#1"}` as its text.
fn scalar(value: &Value) -> Option<String> {
    let (_, value) = value.as_object()?.iter().next()?;
    value.as_str().map(str::to_owned)
}

/// A query reads one partition: the value that its condition gives the partition key. Of an index it is the
/// index's key that leads.
fn rows(call: &Call<'_>, action: &str) -> Option<Question> {
    let name = call.text("TableName")?;
    let index = call.text("IndexName");
    let base = table(call, name);
    let resource = match index {
        Some(index) => format!("{base}/index/{index}"),
        None => base,
    };
    let mut question = call.ask(action, &resource);
    if call.operation == "Query" {
        let partition = call
            .known_as("dynamodb", &resource)
            .and_then(|known| known.partition_key);
        let leading = partition.and_then(|partition| compared_with(&call.input, &partition));
        if let Some(leading) = leading {
            question.context.add("dynamodb:LeadingKeys", leading);
        }
    }
    if let Some(select) = call.text("Select") {
        question.context.add("dynamodb:Select", select);
    }
    Some(question)
}

/// The value that `KeyConditionExpression` sets equal to this attribute.
fn compared_with(input: &Value, attribute: &str) -> Option<String> {
    let expression = input.get("KeyConditionExpression")?.as_str()?;
    let names = input.get("ExpressionAttributeNames");
    let named = |token: &str| match token.strip_prefix('#') {
        Some(_) => names.and_then(|names| names.get(token)?.as_str()),
        None => None,
    };
    let words = expression.replace('=', " = ");
    let words: Vec<&str> = words
        .split(|character: char| character.is_whitespace() || "()".contains(character))
        .filter(|word| !word.is_empty())
        .collect();
    let value = words.windows(3).find_map(|window| match window {
        [name, "=", value] if *name == attribute || named(name) == Some(attribute) => Some(*value),
        _ => None,
    })?;
    scalar(input.get("ExpressionAttributeValues")?.get(value)?)
}

fn transaction(call: &Call<'_>) -> Option<Vec<Question>> {
    let parts = call.input.get("TransactItems")?.as_array()?;
    let enclosing = call.operation.as_str();
    parts
        .iter()
        .map(|part| {
            let (kind, operation) = part
                .as_object()?
                .iter()
                .find(|(_, operation)| operation.is_object())?;
            let action = match kind.as_str() {
                "Put" => "dynamodb:PutItem",
                "Update" => "dynamodb:UpdateItem",
                "Delete" => "dynamodb:DeleteItem",
                "Get" => "dynamodb:GetItem",
                "ConditionCheck" => "dynamodb:ConditionCheckItem",
                _ => return None,
            };
            item(call, action, operation, Some(enclosing))
        })
        .collect()
}

/// A batch is one question per table, with every key that it touches.
fn batch(call: &Call<'_>, action: &str) -> Option<Vec<Question>> {
    let tables = call.input.get("RequestItems")?.as_object()?;
    let question = |(name, requests): (&String, &Value)| {
        let mut question = call.ask(action, table(call, name));
        let leading: BTreeSet<String> = items_of(requests)
            .into_iter()
            .filter_map(|item| leading_key(call, name, item))
            .collect();
        for leading in leading {
            question.context.add("dynamodb:LeadingKeys", leading);
        }
        question
    };
    Some(tables.iter().map(question).collect())
}

fn items_of(requests: &Value) -> Vec<&Value> {
    if let Some(keys) = requests.get("Keys").and_then(Value::as_array) {
        return keys.iter().collect();
    }
    requests
        .as_array()
        .map(|requests| requests.iter().filter_map(written_item).collect())
        .unwrap_or_default()
}

fn written_item(request: &Value) -> Option<&Value> {
    request
        .pointer("/PutRequest/Item")
        .or_else(|| request.pointer("/DeleteRequest/Key"))
}

/// A parameter's ARN holds its name without the first slash.
pub(super) fn ssm(call: &Call<'_>) -> Option<Vec<Question>> {
    let action = format!("ssm:{}", call.operation);
    let parameter = |name: &str| {
        let name = name.split(':').next().unwrap_or(name);
        let arn = if name.is_empty() { "*" } else { name };
        call.arn("ssm", &format!("parameter/{}", arn.trim_start_matches('/')))
    };
    let whole = |name: &str| {
        if name.starts_with("arn:") {
            name.to_owned()
        } else {
            parameter(name)
        }
    };
    let asked = match call.operation.as_str() {
        "PutParameter" | "GetParameter" | "GetParameterHistory" | "DeleteParameter" => {
            vec![call.ask(&action, whole(call.text("Name")?))]
        }
        "GetParameters" | "DeleteParameters" => call
            .input
            .get("Names")?
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .map(|name| call.ask(&action, whole(name)))
            .collect(),
        "GetParametersByPath" => vec![call.ask(&action, whole(call.text("Path")?))],
        "DescribeParameters" => vec![call.ask(&action, "*")],
        "AddTagsToResource" | "ListTagsForResource" => {
            vec![call.ask(&action, whole(call.text("ResourceId")?))]
        }
        _ => return None,
    };
    Some(asked)
}
