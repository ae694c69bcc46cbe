//! `aurora-restore explain`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use aurora_restore_core::errors::{self, Code};

use super::print;

pub(crate) fn explain(code: Option<&str>) -> Result<ExitCode> {
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
