//! A client that knows nothing of this project drives the local cloud: boto3 and psql.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use crate::programs::{aurora_restore, python};

/// `aurora-restore local up`, ended when dropped.
struct Up {
    server: Child,
    environment: Vec<(String, String)>,
}

impl Up {
    fn start() -> Self {
        let mut server = aurora_restore()
            .args(["local", "up", "--speed", "120", "--seed", "11"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let mut environment = Vec::new();
        for line in lines.map_while(Result::ok) {
            let assignments = line.trim_start_matches("export ").split_whitespace();
            environment.extend(
                assignments
                    .filter_map(|word| word.split_once('='))
                    .map(|(k, v)| (k.to_owned(), v.to_owned())),
            );
            if line.contains("STATE_MACHINE_ARN") {
                break;
            }
        }
        Self {
            server,
            environment,
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // An interrupt, as a person would: the cloud stops its database servers before it goes.
        let interrupted = std::process::Command::new("kill")
            .args(["-INT", &self.server.id().to_string()])
            .status();
        if interrupted.is_err() {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}

#[test]
fn boto3_and_psql_drive_a_restore_against_the_served_cloud() {
    let up = Up::start();
    let programs = local_cloud::database::discovery::find_postgres()
        .unwrap()
        .programs;
    let output = python()
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/end_to_end/stock_client.py"
        ))
        .arg(programs.join("psql"))
        .envs(up.environment.iter().cloned())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        said.trim_end()
            .ends_with("restored: 3 rows, old password refused"),
        "{said}"
    );
}

#[test]
fn start_status_and_list_speak_to_any_endpoint() {
    let up = Up::start();
    let run = |arguments: &[&str]| {
        let output = aurora_restore()
            .args(arguments)
            .envs(up.environment.iter().cloned())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let arn = run(&["start", "nightly-1", "--profile", "missing"]);
    assert!(
        arn.trim_end()
            .ends_with(":execution:aurora-restore:nightly-1"),
        "{arn}"
    );
    let mut status = String::new();
    for _ in 0..200 {
        status = run(&["status", "nightly-1"]);
        if status.contains("FAILED") {
            break;
        }
        std::thread::yield_now();
    }
    assert!(
        status.contains("AR0002") && status.contains("FailedClean"),
        "{status}"
    );
    assert!(run(&["list"]).contains("nightly-1"));
    assert!(run(&["list", "--status", "restored"]).is_empty());
    assert!(run(&["list", "--json"]).contains("\"FailedClean\""));
}
