//! The command line of the pipeline.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use aurora_restore::cost;
use aurora_restore::deployment::{self, Functions};
use aurora_restore::local::{LocalOptions, LocalPipeline, STACK};
use aurora_restore::plan;
use aurora_restore::profiles::Kept;
use aurora_restore::rehearsal::variant::Variant;
use aurora_restore::rehearsal::{self, Options};
use aurora_restore::remote::Pipeline;
use aurora_restore_core::Clock;
use aurora_restore_core::approval::{REQUESTED_BY, Verdict};
use aurora_restore_core::errors::{self, Code};
use aurora_restore_core::expiry::Wanted;
use aurora_restore_core::fidelity;
use aurora_restore_core::ledger::{Status, rfc3339};
use aurora_restore_core::profile::{self, Profile};
use aurora_restore_core::report::Report;
use aurora_restore_core::sql::Engine;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::signal::unix::{SignalKind, signal};

/// Brings an Amazon Aurora cluster back from a snapshot: start, follow and rehearse restores.
///
/// Exit codes: 0 done, 1 the restore failed or does not hold what it should, 2 the command could not be carried out.
#[derive(Parser)]
#[command(name = "aurora-restore", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole job on this machine, against a local cloud with real database servers.
    Rehearse(Rehearse),
    /// The local cloud as a server.
    Local {
        #[command(subcommand)]
        command: Local,
    },
    /// Start a restore.
    Start(Start),
    /// Show what a restore would do, and whether it could, without changing anything: exit code 1 when a check fails.
    Plan(PlanOf),
    /// Show how a restore stands.
    Status(StatusOf),
    /// List restores, newest first.
    List(List),
    /// Fleets: many restores from one request.
    Fleet {
        #[command(subcommand)]
        command: FleetCommand,
    },
    /// Approve a restore that waits for it.
    Approve(Approve),
    /// Reject a restore that waits for an approval: it ends, and nothing is made.
    Reject(Reject),
    /// Keep a restored cluster longer than it would be.
    Extend(Extend),
    /// Let a restored cluster go now: the reaper removes it within minutes, without a last snapshot.
    Expire(StatusOf),
    /// Profiles: restores with a name, kept in Parameter Store.
    Profile {
        #[command(subcommand)]
        command: ProfileCommand,
    },
    /// Regions: which of two that the pipeline is deployed in may restore.
    Region {
        #[command(subcommand)]
        command: RegionCommand,
    },
    /// Reckon what restores cost: AWS's own part, and what the pipeline adds.
    Cost(Box<Cost>),
    /// Show the page of an error code, such as AR0007.
    Explain {
        /// The code; all codes when absent.
        code: Option<String>,
    },
}

#[derive(Args)]
struct Rehearse {
    /// What to rehearse.
    #[arg(value_enum, default_value_t = Variant::Snapshot, hide_possible_values = true)]
    variant: Variant,
    /// Say what there is to rehearse, and rehearse nothing.
    #[arg(long, exclusive = true)]
    list: bool,
    /// Print one JSON document on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Load the source from this file: SQL of pg_dump, mysqldump or your own, or a custom or tar archive of pg_dump.
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// What kind of database the source is: `aurora-postgresql`, or `aurora-mysql` on a server of MariaDB.
    #[arg(long, value_parser = engine, default_value = "aurora-postgresql")]
    engine: Engine,
    /// How the functions run: in this process, or as the real binaries over the Lambda Runtime API.
    #[arg(long, value_enum, default_value_t = Lambdas::InProcess)]
    lambdas: Lambdas,
    /// Fixes names, tokens and jitter.
    #[arg(long)]
    seed: Option<u64>,
    /// Keep the restored cluster running afterwards, until interrupted.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lambdas {
    InProcess,
    Processes,
}

#[derive(Subcommand)]
enum Local {
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

/// Where the pipeline is deployed.
#[derive(Args)]
struct Deployed {
    /// The stack's name. Account, region and endpoint come from the AWS environment.
    #[arg(long, default_value = STACK)]
    stack: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Start {
    /// The profile to run.
    #[arg(long, required_unless_present = "input")]
    profile: Option<String>,
    /// The whole request, or fields to lay over the profile's: a JSON file, or - for standard input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The restore's id: 1 to 80 characters without white space. Starting it again with the same input while it
    /// runs starts nothing; any other second start is refused.
    restore_id: String,
    #[command(flatten)]
    deployed: Deployed,
}

#[derive(Args)]
struct PlanOf {
    /// The profile to look at.
    #[arg(required_unless_present = "input")]
    profile: Option<String>,
    /// The whole request, or fields to lay over the profile's: a JSON file, or - for standard input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The restore's id, from which names are derived.
    #[arg(long, default_value = "preview")]
    restore_id: String,
    #[command(flatten)]
    deployed: Deployed,
}

#[derive(Args)]
struct StatusOf {
    /// The restore's id.
    restore_id: String,
    #[command(flatten)]
    deployed: Deployed,
}

#[derive(Args)]
struct Approve {
    /// The restore's id.
    restore_id: String,
    /// For the evidence: one line.
    #[arg(long)]
    comment: Option<String>,
    #[command(flatten)]
    deployed: Deployed,
}

#[derive(Args)]
struct Reject {
    /// The restore's id.
    restore_id: String,
    /// Why, for who asked for it: one line.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    deployed: Deployed,
}

#[derive(Args)]
struct Extend {
    /// The restore's id.
    restore_id: String,
    /// So many hours later than it would go, or than now when that is past.
    #[arg(long, required_unless_present = "until")]
    hours: Option<u32>,
    /// Until this time, such as 2026-11-28T18:00:00Z. A cluster that is kept for good is given an end by it.
    #[arg(long, conflicts_with = "hours", value_parser = moment)]
    until: Option<OffsetDateTime>,
    #[command(flatten)]
    deployed: Deployed,
}

fn moment(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "expected a time such as 2026-11-28T18:00:00Z".to_owned())
}

#[derive(Args)]
struct List {
    /// Only restores of this status.
    #[arg(long, value_enum)]
    status: Option<Listed>,
    #[command(flatten)]
    deployed: Deployed,
}

#[derive(Subcommand)]
enum FleetCommand {
    /// Start a fleet, or take one up again.
    Start {
        /// The members' requests: a JSON file with a list of them, or - for standard input.
        #[arg(value_name = "FILE", required_unless_present_any = ["profiles", "again"], conflicts_with_all = ["profiles", "again"])]
        file: Option<PathBuf>,
        /// Every profile whose name fits, * standing for any characters.
        #[arg(long, value_name = "PATTERN", conflicts_with = "again")]
        profiles: Option<String>,
        /// Take the fleet of this id up again: what is restored stays, what failed clean is tried once more.
        #[arg(long)]
        again: bool,
        /// At most so many at once, whatever the quotas leave.
        #[arg(long, value_name = "NUMBER")]
        at_once: Option<u32>,
        /// The fleet's id: 1 to 50 letters, digits, hyphens or underscores. Its members are <id>-1, <id>-2 …
        #[arg(long)]
        id: String,
        #[command(flatten)]
        deployed: Deployed,
    },
    /// Show how a fleet and its members stand.
    Status {
        /// The fleet's id.
        fleet_id: String,
        #[command(flatten)]
        deployed: Deployed,
    },
}

#[derive(Subcommand)]
enum ProfileCommand {
    /// Check files without looking at AWS: exit code 1 when one is no profile.
    Validate {
        /// JSON files, or - for standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Put a profile, in place of one of its name. What is no profile is not put.
    Put {
        /// 1 to 64 letters, digits, hyphens, dots or underscores.
        name: String,
        /// A JSON file, or - for standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        deployed: Deployed,
    },
    /// Show a profile as it is kept.
    Show {
        /// Its name.
        name: String,
        #[command(flatten)]
        deployed: Deployed,
    },
    /// List all profiles by name, with what each restores.
    List {
        #[command(flatten)]
        deployed: Deployed,
    },
    /// Put all profiles of this region into another, in place of those of their names.
    Copy {
        /// Such as eu-central-1.
        #[arg(long, value_name = "REGION")]
        to_region: String,
        #[command(flatten)]
        deployed: Deployed,
    },
    /// Print the JSON Schema of profiles.
    Schema,
}

#[derive(Subcommand)]
enum RegionCommand {
    /// Show which region is active.
    Status {
        #[command(flatten)]
        roles: Roles,
    },
    /// Make this region the active one: refused while restores run in the other, or when it cannot be asked.
    Activate {
        /// Do it all the same. What runs in the other region goes on there, now or when it is back.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        roles: Roles,
    },
}

#[derive(Args)]
struct Roles {
    /// The table that both regions see; the stack's name and `-role` when absent.
    #[arg(long, value_name = "NAME")]
    role_table: Option<String>,
    #[command(flatten)]
    deployed: Deployed,
}

#[derive(Args)]
struct Cost {
    #[command(flatten)]
    needs: Option<cost::Needs>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Show the table of prices, with their sources, and reckon nothing.
    #[arg(long, exclusive = true)]
    list_prices: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Listed {
    Running,
    Restored,
    FailedClean,
    FailedDirty,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    // A rehearsal in process pauses this runtime's clock, which only a runtime of one thread can.
    let paused =
        matches!(&command, Command::Rehearse(rehearse) if rehearse.lambdas == Lambdas::InProcess);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(paused)
        .build()?;
    runtime.block_on(async {
        match command {
            Command::Rehearse(arguments) => rehearse(arguments).await,
            Command::Local {
                command:
                    Local::Up {
                        port,
                        speed,
                        lambdas,
                        seed,
                    },
            } => local_up(port, speed, lambdas, seed).await,
            Command::Start(arguments) => start(arguments).await,
            Command::Plan(arguments) => preview(arguments).await,
            Command::Status(arguments) => status(arguments).await,
            Command::List(arguments) => list(arguments).await,
            Command::Approve(Approve {
                restore_id,
                comment,
                deployed,
            }) => {
                let comment = comment.as_deref().map(|text| (text, "--comment"));
                decide(&restore_id, Verdict::Approved, comment, &deployed).await
            }
            Command::Reject(Reject {
                restore_id,
                reason,
                deployed,
            }) => {
                let reason = Some((reason.as_str(), "--reason"));
                decide(&restore_id, Verdict::Rejected, reason, &deployed).await
            }
            Command::Extend(Extend {
                restore_id,
                hours,
                until,
                deployed,
            }) => {
                let by_hours = hours.map(Wanted::Later);
                let wanted = by_hours.or(until.map(Wanted::At));
                change_expiry(&restore_id, wanted.unwrap_or(Wanted::Later(0)), &deployed).await
            }
            Command::Expire(StatusOf {
                restore_id,
                deployed,
            }) => change_expiry(&restore_id, Wanted::Now, &deployed).await,
            Command::Fleet { command } => fleet(command).await,
            Command::Profile { command } => profile(command).await,
            Command::Region { command } => region(command).await,
            Command::Cost(arguments) => reckon(&arguments),
            Command::Explain { code } => explain(code.as_deref()),
        }
    })
}

fn engine(name: &str) -> Result<Engine, String> {
    Engine::named(name).ok_or_else(|| {
        let known = Engine::ALL.map(Engine::name).join("` or `");
        format!("expected `{known}`")
    })
}

async fn fleet(command: FleetCommand) -> Result<ExitCode> {
    match command {
        FleetCommand::Start {
            file,
            profiles,
            again,
            at_once,
            id,
            deployed,
        } => {
            let pipeline = Pipeline::connect(&deployed.stack).await?;
            let mut input = json!({"fleetId": id});
            if let Some(file) = file {
                input["members"] = read_json(&file)?;
            }
            if let Some(profiles) = profiles {
                input["profiles"] = profiles.into();
            }
            if let Some(at_once) = at_once {
                input["maxConcurrency"] = at_once.into();
            }
            let mut name = id;
            if again {
                input["again"] = true.into();
                // An execution's name is taken for good; the fleet's id stays.
                let now = Clock::system().now();
                name = format!("{name}-again-{}", now.unix_timestamp());
            }
            let arn = pipeline.start_fleet(&name, &input).await?;
            print(&arn)?;
            Ok(ExitCode::SUCCESS)
        }
        FleetCommand::Status { fleet_id, deployed } => {
            let pipeline = Pipeline::connect(&deployed.stack).await?;
            let found = pipeline.fleet(&fleet_id).await?;
            let Some(fleet) = found else {
                bail!("there is no fleet `{fleet_id}` on record");
            };
            if deployed.json {
                print(&serde_json::to_string_pretty(&fleet)?)?;
            } else {
                print(&format!("{}: {}", fleet.outcome, fleet.tally.in_words()))?;
                for member in &fleet.members {
                    let error = member.error.as_deref().unwrap_or_default();
                    let line = format!(
                        "{:<11}  {:<24} {}  {error}",
                        member.status, member.restore_id, member.target
                    );
                    print(line.trim_end())?;
                }
            }
            let failed = fleet.outcome == "Failed";
            Ok(if failed {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            })
        }
    }
}

async fn rehearse(arguments: Rehearse) -> Result<ExitCode> {
    if arguments.list {
        for (name, shows) in Variant::list() {
            print(&format!("{name:<16}{shows}"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(file) = &arguments.dump {
        // Found out before anything is started.
        std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    let options = Options {
        variant: arguments.variant,
        engine: arguments.engine,
        processes: arguments.lambdas == Lambdas::Processes,
        dump: arguments.dump,
        seed: arguments.seed.unwrap_or_else(rand::random),
    };
    let local = rehearsal::set_up(&options).await?;
    let mut told = |progress: rehearsal::Progress| tell(&rehearsal::render::progress(&progress));
    let rehearsed = tokio::select! {
        rehearsed = rehearsal::rehearse(&local, &options, &mut told) => rehearsed,
        interrupted = interrupted() => {
            local.shutdown().await;
            interrupted?;
            tell("interrupted");
            return Ok(ExitCode::from(130));
        }
    };
    let rehearsed = match rehearsed {
        Ok(rehearsed) => rehearsed,
        Err(error) => {
            local.shutdown().await;
            return Err(error.context(format!(
                "the rehearsal could not be carried out (see it again with --seed {})",
                options.seed
            )));
        }
    };
    if arguments.json {
        print(&serde_json::to_string_pretty(&rehearsed)?)?;
    } else {
        tell("");
        print(rehearsal::render::render(&rehearsed).trim_end())?;
    }
    if arguments.keep {
        tell("kept running until interrupted (Ctrl-C)");
        interrupted().await?;
    }
    local.shutdown().await;
    Ok(if rehearsed.succeeded() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn local_up(port: u16, speed: f64, lambdas: Lambdas, seed: Option<u64>) -> Result<ExitCode> {
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

async fn start(arguments: Start) -> Result<ExitCode> {
    let mut input = match &arguments.input {
        Some(file) => read_json(file)?,
        None => json!({}),
    };
    if let Some(profile) = &arguments.profile {
        let Some(fields) = input.as_object_mut() else {
            bail!("the input is not a JSON object")
        };
        fields.insert("profile".to_owned(), json!(profile));
    }
    let pipeline = Pipeline::connect(&arguments.deployed.stack).await?;
    if let Some(fields) = input.as_object_mut() {
        fields.insert(REQUESTED_BY.to_owned(), json!(pipeline.caller().await?));
    }
    let arn = pipeline.start(&arguments.restore_id, &input).await?;
    if arguments.deployed.json {
        print_json(&json!({"restoreId": arguments.restore_id, "executionArn": arn}))?;
    } else {
        print(&arn)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn preview(arguments: PlanOf) -> Result<ExitCode> {
    let input = match &arguments.input {
        Some(file) => read_json(file)?,
        None => json!({}),
    };
    let input = plan::input(arguments.profile.as_deref(), input)?;
    let pipeline = Pipeline::connect(&arguments.deployed.stack).await?;
    let clock = aurora_restore_core::Clock::system();
    let preview = plan::preview(&pipeline, &clock, &arguments.restore_id, &input).await?;
    if arguments.deployed.json {
        print_json(&preview)?;
    } else {
        print(plan::render(&preview).trim_end())?;
    }
    Ok(if preview.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn read_json(file: &Path) -> Result<Value> {
    serde_json::from_str(&read_text(file)?)
        .with_context(|| format!("{} is not JSON", file.display()))
}

fn read_text(file: &Path) -> Result<String> {
    if file.as_os_str() == "-" {
        return std::io::read_to_string(std::io::stdin()).context("cannot read standard input");
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

async fn status(arguments: StatusOf) -> Result<ExitCode> {
    let pipeline = Pipeline::connect(&arguments.deployed.stack).await?;
    let (status, error, cause) = pipeline.execution(&arguments.restore_id).await?;
    let path = pipeline.path(&arguments.restore_id).await?;
    let report = pipeline
        .report(
            &arguments.restore_id,
            aurora_restore_core::Clock::system().now(),
        )
        .await?;
    if arguments.deployed.json {
        print_json(
            &json!({"execution": status.as_str(), "error": error, "cause": cause, "path": path.path, "transitions": path.transitions, "report": report}),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = vec![
        format!("execution  {}", status.as_str()),
        format!("path       {}", path.path.join(" > ")),
    ];
    if let Some(at) = pipeline.expires_at(&arguments.restore_id).await?
        && report
            .as_ref()
            .is_some_and(|report| report.outcome == Status::Restored.name())
    {
        lines.push(format!("expires    {}", rfc3339(at)));
    }
    let mut settings = Vec::new();
    if let Some(report) = report {
        settings = unlike_the_source(&report);
        lines.push(format!("outcome    {}", report.outcome));
        lines.extend(report.approval.map(|approval| match approval.decision {
            Some(decision) => format!("approval   {decision}"),
            None => format!("approval   {} until {}", approval.state, approval.until),
        }));
        lines.extend(report.steps.iter().map(|step| {
            format!(
                "  {}  {:<20} {} ({} calls, {} ms)",
                step.started_at, step.state, step.outcome, step.attempts, step.worked_millis
            )
        }));
    }
    lines.extend(settings);
    lines.extend(error.map(|error| format!("error      {error}")));
    lines.extend(cause.map(|cause| format!("cause      {cause}")));
    print(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

async fn decide(
    restore_id: &str,
    verdict: Verdict,
    comment: Option<(&str, &str)>,
    deployed: &Deployed,
) -> Result<ExitCode> {
    let pipeline = Pipeline::connect(&deployed.stack).await?;
    let (comment, field) = comment.map_or((None, "--comment"), |(text, field)| (Some(text), field));
    let now = aurora_restore_core::Clock::system().now();
    let decided = pipeline
        .decide(restore_id, verdict, comment, field, now)
        .await?;
    if deployed.json {
        print_json(&decided)?;
    } else {
        print(&format!("{restore_id} was {}", decided.decision))?;
        if !decided.recorded {
            tell("it was decided so before");
        }
        if !decided.heard {
            tell(&format!(
                "the restore did not hear of it now; if it still waits, it looks by itself within {} seconds",
                decided.found_within_seconds
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings of the target that are not as at the source, or not as planned.
fn unlike_the_source(report: &Report) -> Vec<String> {
    let unlike = report.settings.iter().filter(|row| {
        matches!(
            row.verdict,
            fidelity::Verdict::Intended | fidelity::Verdict::Differs
        )
    });
    unlike
        .map(|row| format!("setting    {}: {}", row.subject(), row.detail()))
        .collect()
}

async fn change_expiry(restore_id: &str, wanted: Wanted, deployed: &Deployed) -> Result<ExitCode> {
    let pipeline = Pipeline::connect(&deployed.stack).await?;
    let changed = pipeline.change_expiry(restore_id, wanted).await?;
    if deployed.json {
        print_json(&changed)?;
    } else if wanted == Wanted::Now {
        print(&format!(
            "the target of {restore_id} goes now: the reaper comes every five minutes"
        ))?;
    } else {
        let at = rfc3339(changed.expires_at);
        print(&format!("the target of {restore_id} goes at {at}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(arguments: List) -> Result<ExitCode> {
    let pipeline = Pipeline::connect(&arguments.deployed.stack).await?;
    let statuses = match arguments.status {
        Some(Listed::Running) => vec![Status::Running],
        Some(Listed::Restored) => vec![Status::Restored],
        Some(Listed::FailedClean) => vec![Status::FailedClean],
        Some(Listed::FailedDirty) => vec![Status::FailedDirty],
        None => vec![
            Status::Running,
            Status::FailedDirty,
            Status::FailedClean,
            Status::Restored,
        ],
    };
    let mut restores = Vec::new();
    for status in statuses {
        restores.extend(pipeline.list(status).await?);
    }
    restores.sort_by(|a, b| b.started_at.cmp(&a.started_at));
    if arguments.deployed.json {
        print_json(&restores)?;
        return Ok(ExitCode::SUCCESS);
    }
    for restore in &restores {
        let target = restore.target.rsplit(':').next().unwrap_or_default();
        print(&format!(
            "{}  {:<12} {:<24} {}",
            restore.started_at, restore.status, target, restore.restore_id
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn profile(command: ProfileCommand) -> Result<ExitCode> {
    match command {
        ProfileCommand::Validate { files } => return validate(&files),
        ProfileCommand::Schema => print_json(&profile::schema())?,
        ProfileCommand::Put {
            name,
            file,
            deployed,
        } => {
            let text = read_text(&file)?;
            let pipeline = Pipeline::connect(&deployed.stack).await?;
            let version = pipeline.put_profile(&name, &text).await?;
            if deployed.json {
                print_json(&json!({"name": name, "version": version}))?;
            } else {
                print(&format!("{name} is version {version}"))?;
            }
        }
        ProfileCommand::Copy {
            to_region,
            deployed,
        } => {
            let pipeline = Pipeline::connect(&deployed.stack).await?;
            let copied = pipeline.copy_profiles(&to_region).await?;
            if deployed.json {
                print_json(&copied)?;
            } else {
                for kept in &copied {
                    print(&format!(
                        "{} is version {} in {to_region}",
                        kept.name, kept.version
                    ))?;
                }
            }
        }
        ProfileCommand::Show { name, deployed } => {
            let pipeline = Pipeline::connect(&deployed.stack).await?;
            let kept = pipeline.profile(&name).await?;
            if deployed.json {
                print_json(&kept)?;
            } else {
                print(kept.text.trim_end())?;
            }
            tell_problem(&kept);
        }
        ProfileCommand::List { deployed } => {
            let pipeline = Pipeline::connect(&deployed.stack).await?;
            let profiles = pipeline.profiles().await?;
            if deployed.json {
                print_json(&profiles)?;
            } else {
                for kept in &profiles {
                    print(&line(kept))?;
                }
            }
            profiles.iter().for_each(tell_problem);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn region(command: RegionCommand) -> Result<ExitCode> {
    let (
        Roles {
            role_table,
            deployed,
        },
        activate,
    ) = match command {
        RegionCommand::Status { roles } => (roles, None),
        RegionCommand::Activate { force, roles } => (roles, Some(force)),
    };
    let pipeline = Pipeline::connect(&deployed.stack).await?;
    let table = role_table.unwrap_or_else(|| pipeline.stack.role_table());
    let here = &pipeline.stack.region;
    let Some(force) = activate else {
        let role = pipeline.role(&table).await?;
        if deployed.json {
            print_json(&json!({"region": here, "role": role}))?;
            return Ok(ExitCode::SUCCESS);
        }
        print(&match role {
            Some(role) => format!(
                "active     {}\nepoch      {}\nsince      {}\nby         {}\nhere       {here}",
                role.active_region, role.epoch, role.since, role.by
            ),
            None => format!("active     none yet\nhere       {here}"),
        })?;
        return Ok(ExitCode::SUCCESS);
    };
    let now = Clock::system().now();
    let activated = pipeline.activate(&table, force, now).await?;
    if deployed.json {
        print_json(&activated)?;
        return Ok(ExitCode::SUCCESS);
    }
    let epoch = activated.role.epoch;
    print(&if activated.changed {
        format!("{here} is active (epoch {epoch})")
    } else {
        format!("{here} was active before (epoch {epoch})")
    })?;
    if !activated.still_running.is_empty() {
        let running = activated.still_running.join(", ");
        tell(&format!("still running in the other region: {running}"));
    }
    if let Some(reason) = activated.not_asked {
        tell(&format!("the other region could not be asked: {reason}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn validate(files: &[PathBuf]) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for file in files {
        match Profile::read(&read_text(file)?) {
            Ok(_) => print(&format!("{}: a profile", file.display()))?,
            Err(problem) => {
                print(&format!("{}: {problem}", file.display()))?;
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Name, version, and what it restores into what.
fn line(kept: &Kept) -> String {
    let flow = match Profile::read(&kept.text) {
        Ok(profile) => format!(
            "{} > {}",
            profile.request.source.cluster_identifier, profile.request.target.cluster_identifier
        ),
        Err(_) => "malformed".to_owned(),
    };
    format!("{:<24} {:>4}  {flow}", kept.name, kept.version)
}

fn tell_problem(kept: &Kept) {
    if let Err(problem) = Profile::read(&kept.text) {
        tell(&format!(
            "profile `{}` is malformed and restores nothing: {problem}",
            kept.name
        ));
    }
}

fn reckon(arguments: &Cost) -> Result<ExitCode> {
    let Some(needs) = &arguments.needs else {
        for region in cost::prices::regions()? {
            let prices = cost::prices::Prices::of(&region)?;
            print(&format!("{}\n", cost::render::prices(&prices)))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let estimate = cost::estimate(needs)?;
    if arguments.json {
        print_json(&cost::render::json(&estimate))?;
    } else {
        print(&cost::render::table(&estimate))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(code: Option<&str>) -> Result<ExitCode> {
    match code {
        None => {
            for code in errors::ALL {
                print(&format!(
                    "{}  {:<9}  {}",
                    code.id,
                    code.kind.name(),
                    code.title
                ))?;
            }
        }
        Some(asked) => {
            let found = Code::find(asked);
            let Some(found) = found else {
                bail!("there is no error code `{asked}`: `aurora-restore explain` lists all")
            };
            print(found.page.trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes to standard output. A reader that went away changes nothing else.
fn print(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// Tells a person something beside the result. That nobody listens changes nothing.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Waits until a person or the system asks the program to end.
async fn interrupted() -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done?,
        _ = terminated.recv() => {}
    }
    Ok(())
}

fn print_json<T: Serialize>(value: &T) -> Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}
