//! Proves that the target is usable and safe to reach, before anyone can reach it.
//!
//! The new password is tried, the source's passwords are tried and must be refused,
//! no other role may log in, every setting is as planned, and the request's SQL
//! checks hold. The evidence is recorded either way; a finding that does not hold
//! fails the run, and Switch asks for evidence that holds.

mod settings;

use aurora_restore_core::approval::Verdict;
use aurora_restore_core::errors::{AR0021, AR0022, AR0023, AR0024, AR0043, AR0054, Code};
use aurora_restore_core::ledger::{Evidence, Finding};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::request::{Check, Expectation};
use aurora_restore_core::secrets::{self, Credentials, Stage};
use aurora_restore_core::sql::{Endpoint, Engine, SqlError};
use aurora_restore_core::step::{StepFuture, answer, read_event};
use aurora_restore_core::{Context, Plan, Restore, Step, StepError, approval};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The step.
pub const STEP: Step = Step {
    name: "verify",
    run,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    restore_id: String,
}

/// What the state machine learns.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// How many checks hold: all of them.
    pub checks: usize,
}

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        let event: Event = read_event(event)?;
        let restore = Restore::load(context, &RestoreId::parse(&event.restore_id)?).await?;
        answer(&verify(context, &restore).await?)
    })
}

/// A finding, and the error it means when it does not hold.
struct Checked(Finding, &'static Code);

fn checked(
    check: impl Into<String>,
    passed: bool,
    detail: impl Into<String>,
    code: &'static Code,
) -> Checked {
    Checked(
        Finding {
            check: check.into(),
            passed,
            detail: detail.into(),
        },
        code,
    )
}

/// Gathers and records the evidence.
///
/// # Errors
/// AR0021, AR0022, AR0023 or AR0043 for the first finding that does not hold; AR0032 while the server cannot be reached.
pub async fn verify(context: &Context, restore: &Restore) -> Result<Answer, StepError> {
    let cluster = restore.describe_target(context).await?;
    let endpoint = restore.endpoint(&cluster)?;
    let master = restore.new_master_credentials(context, &cluster).await?;

    // The new login comes first: it shows that the server answers, so that a refusal is a refusal.
    let engine = restore.plan().source.engine;
    let accepted = engine.accepts(&endpoint, &master).await?;
    let mut all = vec![checked(
        "new master password is accepted",
        accepted,
        "login tried",
        &AR0021,
    )];
    all.extend(approval(context, restore.plan()).await?);
    all.extend(old_passwords(context, restore, &endpoint).await?);
    if accepted {
        all.push(other_logins(engine, &endpoint, &master).await?);
        all.extend(quiet(engine, &endpoint, &master).await?);
        for check in &restore.plan().checks {
            all.push(sql_check(engine, &endpoint, &master, check).await?);
        }
    }
    let compared = settings::compare(context, restore.plan(), &cluster).await?;
    all.extend(settings::findings(&compared));

    let failed =
        all.iter()
            .find(|Checked(finding, _)| !finding.passed)
            .map(|Checked(finding, code)| {
                StepError::new(code, format!("`{}`: {}", finding.check, finding.detail))
            });
    let findings: Vec<Finding> = all.into_iter().map(|Checked(finding, _)| finding).collect();
    let checks = findings.len();
    restore
        .record_evidence(&Evidence {
            verified_at: context.clock.now(),
            findings,
            settings: compared,
        })
        .await?;
    failed.map_or(Ok(Answer { checks }), Err)
}

/// Who approved what must be approved.
async fn approval(context: &Context, plan: &Plan) -> Result<Option<Checked>, StepError> {
    if plan.approval.is_none() {
        return Ok(None);
    }
    let (table, id) = (context.table(), &plan.restore_id);
    let found = approval::find(&table, id, &plan.execution_started_at).await?;
    let approved = found
        .as_ref()
        .is_some_and(|decision| decision.verdict == Verdict::Approved);
    let detail = found.map_or("nobody decided".to_owned(), |decision| decision.to_string());
    Ok(Some(checked(
        "the restore is approved",
        approved,
        detail,
        &AR0054,
    )))
}

/// Tries the source's passwords: the current one, and the one before, which an older snapshot may hold.
async fn old_passwords(
    context: &Context,
    restore: &Restore,
    endpoint: &Endpoint,
) -> Result<Vec<Checked>, StepError> {
    let plan = restore.plan();
    let mut found = Vec::new();
    for stage in [Stage::Current, Stage::Previous] {
        let secret = &plan.source_master_secret_arn;
        let old = secrets::read(
            &context.aws.secrets_manager_of(secret),
            secret,
            stage,
            &plan.source.master_username,
        )
        .await?;
        let name = format!("source's master password ({}) is refused", stage.label());
        match old {
            // The password of somebody else would be refused too, and prove nothing.
            Some(old) if old.username != plan.source.master_username => {
                let detail = format!(
                    "the secret is not of the master user `{}`",
                    plan.source.master_username
                );
                found.push(checked(name, false, detail, &AR0024));
            }
            Some(old) => {
                let accepted = plan.source.engine.accepts(endpoint, &old).await?;
                found.push(checked(name, !accepted, "login tried", &AR0022));
            }
            None if stage == Stage::Current => found.push(checked(
                name,
                false,
                "the secret has no such version",
                &AR0024,
            )),
            None => {} // never rotated
        }
    }
    Ok(found)
}

async fn other_logins(
    engine: Engine,
    endpoint: &Endpoint,
    master: &Credentials,
) -> Result<Checked, StepError> {
    let roles = engine.other_logins(endpoint, master).await;
    let roles = roles.map_err(|error| error.during("list login roles"))?;
    let detail = if roles.is_empty() {
        "none".to_owned()
    } else {
        roles.join(", ")
    };
    Ok(checked(
        "no other role can log in",
        roles.is_empty(),
        detail,
        &AR0022,
    ))
}

/// Whether nothing of the restored database runs by itself, where its engine has something that could.
async fn quiet(
    engine: Engine,
    endpoint: &Endpoint,
    master: &Credentials,
) -> Result<Option<Checked>, StepError> {
    let found = engine.is_quiet(endpoint, master).await;
    let found = found.map_err(|error| error.during("ask what runs by itself"))?;
    Ok(found.map(|found| checked(found.check, found.holds, found.seen, &AR0043)))
}

async fn sql_check(
    engine: Engine,
    endpoint: &Endpoint,
    master: &Credentials,
    check: &Check,
) -> Result<Checked, StepError> {
    let (passed, detail) = match engine
        .value_of(endpoint, master, &check.database, &check.sql)
        .await
    {
        Ok(value) => judge(value.as_deref(), &check.expect),
        // A statement that fails is a finding; a server that cannot be reached is not.
        Err(error @ SqlError::Statement(_)) => {
            (false, error.during("run the check").message().to_owned())
        }
        Err(error) => return Err(error.during(&format!("run check `{}`", check.name))),
    };
    Ok(checked(&check.name, passed, detail, &AR0023))
}

/// Whether a value meets the expectation. The detail tells numbers; of text it tells only whether it fits,
/// because it could be data.
fn judge(value: Option<&str>, expect: &Expectation) -> (bool, String) {
    let number = value.and_then(|value| value.trim().parse::<f64>().ok());
    let seen = match (value, number) {
        (None, _) => "no value".to_owned(),
        (_, Some(number)) => format!("{number}"),
        (Some(_), None) => "a text".to_owned(),
    };
    let (passed, wanted) = match expect {
        Expectation::Equals(Value::Number(wanted)) => (
            number.is_some() && number == wanted.as_f64(),
            format!("expected {wanted}"),
        ),
        Expectation::Equals(wanted) => {
            let text = wanted
                .as_str()
                .map_or_else(|| wanted.to_string(), str::to_owned);
            (
                value == Some(text.as_str()),
                "compared with the expected text".to_owned(),
            )
        }
        Expectation::AtLeast(least) => (
            number.is_some_and(|number| number >= *least),
            format!("expected at least {least}"),
        ),
        Expectation::AtMost(most) => (
            number.is_some_and(|number| number <= *most),
            format!("expected at most {most}"),
        ),
    };
    (passed, format!("{seen}, {wanted}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_compared_as_numbers() {
        assert!(judge(Some("500000"), &Expectation::AtLeast(500_000.0)).0);
        assert!(!judge(Some("499999"), &Expectation::AtLeast(500_000.0)).0);
        assert!(judge(Some("3"), &Expectation::Equals(json!(3))).0);
        assert!(!judge(Some("9"), &Expectation::AtMost(3.0)).0);
    }

    #[test]
    fn a_missing_or_textual_value_meets_no_number() {
        for expect in [
            Expectation::AtLeast(0.0),
            Expectation::AtMost(9.0),
            Expectation::Equals(json!(0)),
        ] {
            assert!(!judge(None, &expect).0);
            assert!(!judge(Some("many"), &expect).0);
        }
    }

    #[test]
    fn the_detail_of_a_text_does_not_tell_the_text() {
        let (passed, detail) = judge(
            Some("alice@example.com"),
            &Expectation::Equals(json!("bob")),
        );
        assert!(!passed && !detail.contains("alice"), "{detail}");
    }
}
