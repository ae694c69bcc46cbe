//! Secrets Manager.
//!
//! A new secret is asked about by its name: the six characters that follow it in the
//! ARN are not there yet.

use super::Call;
use super::kms::{self, Purpose};
use crate::iam::evaluate::Question;

pub(super) fn questions(call: &Call<'_>) -> Option<Vec<Question>> {
    let action = format!("secretsmanager:{}", call.operation);
    let mut asked = match call.operation.as_str() {
        "CreateSecret" => return Some(create(call, &action)),
        "ListSecrets" | "GetRandomPassword" => return Some(vec![call.ask(&action, "*")]),
        "DescribeSecret"
        | "ListSecretVersionIds"
        | "UpdateSecretVersionStage"
        | "DeleteSecret"
        | "RestoreSecret"
        | "TagResource"
        | "UntagResource"
        | "GetSecretValue"
        | "PutSecretValue"
        | "UpdateSecret" => vec![about(call, &action)],
        _ => return None,
    };
    let purpose = match call.operation.as_str() {
        "GetSecretValue" => Some(Purpose::Read),
        "PutSecretValue" | "UpdateSecret" => Some(Purpose::Write),
        _ => None,
    };
    let key = call
        .text("SecretId")
        .and_then(|secret| call.known_as("secretsmanager", secret))
        .and_then(|known| known.key);
    if let (Some(purpose), Some(key)) = (purpose, key) {
        asked.extend(kms::through(call, "secretsmanager", &key, purpose));
    }
    Some(asked)
}

fn create(call: &Call<'_>, action: &str) -> Vec<Question> {
    let name = call.text("Name").unwrap_or_default();
    let arn = call.arn("secretsmanager", &format!("secret:{name}"));
    let mut asked = vec![own_keys(call, call.ask(action, &arn)).with("secretsmanager:Name", name)];
    if !call.request_tags().is_empty() {
        asked.push(call.ask("secretsmanager:TagResource", &arn));
    }
    if let Some(key) = call.text("KmsKeyId") {
        asked.extend(kms::through(call, "secretsmanager", key, Purpose::Write));
    }
    asked
}

fn about(call: &Call<'_>, action: &str) -> Question {
    let secret = call.text("SecretId").unwrap_or_default();
    let known = call.known_as("secretsmanager", secret);
    let arn = known.as_ref().map_or_else(
        || call.arn_of("secretsmanager", "secret:", secret),
        |known| known.arn.clone(),
    );
    let mut question = own_keys(call, call.ask(action, &arn)).with("secretsmanager:SecretId", arn);
    for (key, value) in known.map(|known| known.tags).unwrap_or_default() {
        question
            .context
            .add(&format!("secretsmanager:ResourceTag/{key}"), value);
    }
    question
}

fn own_keys(call: &Call<'_>, mut question: Question) -> Question {
    for (member, key) in [
        ("KmsKeyId", "secretsmanager:KmsKeyId"),
        ("VersionId", "secretsmanager:VersionId"),
        ("VersionStage", "secretsmanager:VersionStage"),
    ] {
        if let Some(value) = call.text(member) {
            question.context.add(key, value);
        }
    }
    for (member, key) in [
        (
            "ForceDeleteWithoutRecovery",
            "secretsmanager:ForceDeleteWithoutRecovery",
        ),
        (
            "RecoveryWindowInDays",
            "secretsmanager:RecoveryWindowInDays",
        ),
    ] {
        if let Some(value) = call.input.get(member).filter(|value| !value.is_null()) {
            question.context.add(key, value.to_string());
        }
    }
    question
}
