//! The `start` function's bootstrap.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    aurora_restore_core::runtime::serve(start::STEP).await
}
