//! `aurora-restore local`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use aurora_restore::deployment::{self, Functions};
use aurora_restore::local::{LocalOptions, LocalPipeline};
use clap::Subcommand;

use super::{Lambdas, interrupted, print, tell};

#[derive(Subcommand)]
pub(crate) enum Local {
    /// Serve a local cloud with the pipeline deployed, until interrupted.
    Up {
        /// Port on the loopback interface; a free one when 0.
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// How many times faster than life RDS works. The cloud's clock runs at most ten times as fast as the wall's.
        #[arg(long, default_value_t = 60.0)]
        speed: f64,
        /// How the functions run.
        #[arg(long, value_enum, default_value_t = Lambdas::InProcess)]
        lambdas: Lambdas,
        /// Fixes names, tokens and jitter.
        #[arg(long)]
        seed: Option<u64>,
    },
}

pub(crate) async fn local(command: Local) -> Result<ExitCode> {
    let Local::Up {
        port,
        speed,
        lambdas,
        seed,
    } = command;
    if !(speed.is_finite() && speed > 0.0) {
        bail!("--speed is {speed}, expected a number above 0");
    }
    let mut options = LocalOptions::in_process(seed.unwrap_or_else(rand::random));
    options.speed = speed;
    options.port = Some(port);
    if lambdas == Lambdas::Processes {
        options.functions = Functions::processes()?;
    }
    let functions = options.functions.clone();
    let local = LocalPipeline::start(options).await?;
    let api = deployment::deploy_api(&local.cloud, &local.stack, &functions).await?;
    deployment::deploy_fleet(&local.cloud, &local.stack, &functions, None).await?;
    let endpoint = local
        .server
        .as_ref()
        .map(local_cloud::server::Server::endpoint)
        .unwrap_or_default();
    print(&format!(
        "export AWS_ENDPOINT_URL={endpoint}\nexport AWS_REGION={region} AWS_DEFAULT_REGION={region}\n\
         export AWS_ACCESS_KEY_ID={account} AWS_SECRET_ACCESS_KEY=local\n\
         export API_URL={endpoint}{api}\nexport STATE_MACHINE_ARN={machine}\nexport SCHEDULER_ROLE_ARN={scheduler}",
        region = local.stack.region,
        account = local.stack.account,
        machine = local.stack.state_machine_arn(),
        scheduler = deployment::output(&local.cloud, &local.stack, "SchedulerRoleArn")?,
    ))?;
    tell(&format!(
        "RDS works {speed} times as fast as in life; until interrupted (Ctrl-C)"
    ));
    interrupted().await?;
    local.shutdown().await;
    Ok(ExitCode::SUCCESS)
}
