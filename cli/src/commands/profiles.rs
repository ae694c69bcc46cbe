//! `aurora-restore profile`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use aurora_restore::profiles::Kept;
use aurora_restore::remote::Pipeline;
use aurora_restore_core::profile::{self, Profile};
use clap::Subcommand;
use serde_json::json;

use super::{Deployed, print, print_json, read_text, tell};

#[derive(Subcommand)]
pub(crate) enum ProfileCommand {
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

pub(crate) async fn profile(command: ProfileCommand) -> Result<ExitCode> {
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
