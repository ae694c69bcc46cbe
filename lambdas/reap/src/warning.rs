//! Says that a target goes soon, and how to keep it.

use std::fmt::Write;

use aurora_restore_core::expiry;
use aurora_restore_core::ledger::rfc3339;
use aurora_restore_core::once::Once;
use aurora_restore_core::{Context, Plan, StepError};
use time::OffsetDateTime;

/// Publishes that the target goes at this time, if nobody has; whether this call did. Another time is told again.
///
/// # Errors
/// What SNS or DynamoDB refuses.
pub(crate) async fn tell(
    context: &Context,
    plan: &Plan,
    at: OffsetDateTime,
) -> Result<bool, StepError> {
    let once = Once::new(expiry::expiry_key(&plan.restore_id), &rfc3339(at));
    let (table, now) = (context.table(), context.clock.now());
    if !once.claim(&table, now).await? {
        return Ok(false);
    }
    let subject = format!("Expires soon: {}", plan.name());
    let message = message(plan, at, &context.settings.pipeline);
    let attributes = [
        ("outcome", "ExpiresSoon"),
        ("restoreId", plan.restore_id.as_str()),
    ];
    if let Err(error) = notify::publish(context, &subject, &message, &attributes).await {
        once.untold(&table).await?;
        return Err(error);
    }
    // Told is told: that it could not be noted costs a second message at most.
    if let Err(error) = once.told(&table, now).await {
        tracing::warn!("{error}");
    }
    Ok(true)
}

fn message(plan: &Plan, at: OffsetDateTime, pipeline: &str) -> String {
    let (id, target) = (&plan.restore_id, &plan.target);
    let stack = match pipeline {
        "aurora-restore" => String::new(),
        other => format!(" --stack {other}"),
    };
    let mut text = format!("Expires soon: the target of restore {id}\n");
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name}: {value}"); // writing to a string cannot fail
    };
    line("target", plan.named_arn());
    line(
        "removed",
        &format!("{}, without a last snapshot", rfc3339(at)),
    );
    line(
        "keep it longer with",
        &format!("aurora-restore extend{stack} {id} --hours 24"),
    );
    line(
        "remove it now with",
        &format!("aurora-restore expire{stack} {id}"),
    );
    line(
        "keep it for good",
        &format!(
            "aws rds modify-db-cluster --region {} --db-cluster-identifier {} --deletion-protection --apply-immediately",
            target.region,
            plan.name()
        ),
    );
    text
}
