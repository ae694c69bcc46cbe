//! Whether the pipeline is well: its settings can be read and its state table answers.

use aurora_restore_core::ledger::Status;
use aurora_restore_core::settings::DeployedSettings;
use aurora_restore_core::table::Order;
use aurora_restore_core::{Context, StepError};
use serde_json::json;

use crate::http::Answer;
use crate::restores::Listed;

/// 200 when a restore could be started and followed, else 503 with what is in the way.
pub(crate) async fn look(context: &Context) -> Result<Answer, StepError> {
    match last_restored(context).await {
        Ok(last) => Ok(Answer::json(
            200,
            &json!({ "status": "ok", "pipeline": context.settings.pipeline, "lastRestored": last }),
        )),
        Err(error) => {
            let code = error.code().id;
            tracing::error!(code, "{error}");
            Ok(Answer::error(503, code, &error.report()))
        }
    }
}

/// The restore that was started last of those that ended well.
async fn last_restored(context: &Context) -> Result<Option<Listed>, StepError> {
    context.settings.state_machine_arn()?;
    DeployedSettings::read(context.aws.ssm(), &context.settings.settings_parameter).await?;
    let key = ("status", Status::Restored.name());
    let items = context
        .table()
        .query_index("by-status", key, Order::NewestFirst, 1)
        .await?;
    Ok(items.first().map(Listed::of))
}
