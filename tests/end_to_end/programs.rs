//! Finds the programs under test.

use std::path::PathBuf;
use std::process::Command;

/// A program built beside the tests.
pub(crate) fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "{} is not built: run `cargo build --workspace --bins`",
        program.display()
    );
    program
}

/// The command line, ready for arguments.
pub(crate) fn aurora_restore() -> Command {
    Command::new(built("aurora-restore"))
}

/// PostgreSQL's own program of this name.
pub(crate) fn postgres(name: &str) -> Command {
    Command::new(
        local_cloud::database::discovery::find_postgres()
            .unwrap()
            .programs
            .join(name),
    )
}

/// A Python with boto3: the one that `scripts/setup` makes, or the system's.
pub(crate) fn python() -> Command {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.venv/bin/python"));
    for candidate in [own, PathBuf::from("python3")] {
        let found = Command::new(&candidate)
            .args(["-c", "import boto3"])
            .output();
        if found.is_ok_and(|found| found.status.success()) {
            return Command::new(candidate);
        }
    }
    panic!("no Python with boto3: run `scripts/setup`");
}
