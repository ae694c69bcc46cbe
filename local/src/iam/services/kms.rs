//! KMS: calls of its own, and what other services do with a key on the caller's behalf.
//!
//! AWS's own keys are not asked about in the second case: their policies let everybody
//! of the account use them by way of their service.

use super::Call;
use crate::iam::evaluate::Question;

/// What a service does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It takes a grant, so as to use the key later (RDS).
    Grant,
    /// It decrypts.
    Read,
    /// It makes a data key, and looks whether it can be decrypted.
    Write,
}

pub(super) fn questions(call: &Call<'_>) -> Option<Vec<Question>> {
    let action = format!("kms:{}", call.operation);
    let asked = match call.operation.as_str() {
        "DescribeKey"
        | "EnableKey"
        | "DisableKey"
        | "ScheduleKeyDeletion"
        | "CancelKeyDeletion"
        | "CreateGrant"
        | "ListGrants"
        | "RevokeGrant"
        | "GetKeyPolicy"
        | "PutKeyPolicy"
        | "TagResource"
        | "ListResourceTags" => {
            vec![about(call, &action, call.text("KeyId")?)]
        }
        "CreateKey" | "ListKeys" | "ListAliases" => vec![call.ask(&action, "*")],
        "CreateAlias" | "UpdateAlias" => vec![
            call.ask(&action, call.arn("kms", call.text("AliasName")?)),
            about(call, &action, call.text("TargetKeyId")?),
        ],
        "DeleteAlias" => vec![call.ask(&action, call.arn("kms", call.text("AliasName")?))],
        _ => return None,
    };
    Some(asked)
}

fn about(call: &Call<'_>, action: &str, key: &str) -> Question {
    let known = call.known_as("kms", key);
    let arn = known.map_or_else(|| key_arn(call, key), |known| known.arn);
    let mut question = call
        .ask(action, arn)
        .with("kms:CallerAccount", &call.caller.account);
    if key.contains("alias/") {
        let alias = key.rsplit(':').next().unwrap_or(key);
        question.context.add("kms:RequestAlias", alias);
    }
    question
}

fn key_arn(call: &Call<'_>, key: &str) -> String {
    let prefix = if key.starts_with("alias/") {
        ""
    } else {
        "key/"
    };
    call.arn_of("kms", prefix, key)
}

/// That a service looks at a key with the caller's rights, whosever it is.
pub(super) fn described_through(call: &Call<'_>, service: &str, key: &str) -> Question {
    let via = format!("{service}.{}.amazonaws.com", call.caller.region);
    let known = call.known_as("kms", key);
    // AWS's own key has no id before it is first used.
    let arn = known.map_or_else(|| call.arn("kms", "key/new"), |known| known.arn);
    call.ask("kms:DescribeKey", arn)
        .with("kms:ViaService", via)
        .with("kms:CallerAccount", &call.caller.account)
}

/// What a service asks of a key with the caller's rights.
pub(super) fn through(
    call: &Call<'_>,
    service: &str,
    key: &str,
    purpose: Purpose,
) -> Vec<Question> {
    let known = call.known_as("kms", key);
    if known.as_ref().is_some_and(|known| known.by_aws) || key.contains("alias/aws/") {
        return Vec::new();
    }
    let arn = known.map_or_else(|| key_arn(call, key), |known| known.arn);
    // The service of the key's region is who asks.
    let region = arn.split(':').nth(3).unwrap_or_default();
    let via = format!("{service}.{region}.amazonaws.com");
    let actions: &[&str] = match purpose {
        Purpose::Grant => &["kms:DescribeKey", "kms:CreateGrant"],
        Purpose::Read => &["kms:Decrypt"],
        Purpose::Write => &["kms:GenerateDataKey", "kms:Decrypt"],
    };
    let ask = |action: &&str| {
        let question = call
            .ask(action, &arn)
            .with("kms:ViaService", &via)
            .with("kms:CallerAccount", &call.caller.account);
        match *action {
            "kms:CreateGrant" => question.with("kms:GrantIsForAWSResource", "true"),
            _ => question,
        }
    };
    actions.iter().map(ask).collect()
}
