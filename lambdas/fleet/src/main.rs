//! The `fleet` function's bootstrap.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    aurora_restore_core::runtime::serve(fleet::STEP).await
}
