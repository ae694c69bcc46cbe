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
        let output = aurora_restore()
            .args(["status", "nightly-1"])
            .envs(up.environment.iter().cloned())
            .output()
            .unwrap();
        status = String::from_utf8(output.stdout).unwrap();
        if status.contains("FAILED") {
            assert_eq!(output.status.code(), Some(1), "{status}");
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

#[test]
fn profiles_are_put_shown_and_listed_and_only_when_they_are_profiles() {
    let up = Up::start();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, readers: u32| {
        let path = folder.path().join(name);
        let text = format!(
            r#"{{"source": {{"clusterIdentifier": "orders-prod"}}, "overrides": ["expiresAfterHours"],
                "target": {{"clusterIdentifier": "orders-staging", "instanceClass": "db.r7g.large",
                            "securityGroupIds": ["sg-1"], "readers": {readers}}}}}"#
        );
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (good, bad) = (file("good.json", 1), file("bad.json", 99));
    let run = |arguments: &[&str]| {
        let output = aurora_restore()
            .arg("profile")
            .args(arguments)
            .envs(up.environment.iter().cloned())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
        (output.status.code(), said[0].clone(), said[1].clone())
    };
    let (code, said, _) = run(&["validate", &good, &bad]);
    assert_eq!(code, Some(1));
    assert!(said.contains("good.json: a profile"), "{said}");
    assert!(
        said.contains("bad.json: at `target.readers`: `99`, expected 0 to 15"),
        "{said}"
    );
    assert_eq!(run(&["put", "nightly", &good]).1, "nightly is version 1\n");
    assert_eq!(run(&["put", "nightly", &good]).1, "nightly is version 2\n");
    let (code, _, said) = run(&["put", "nightly", &bad]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("profile `nightly`: at `target.readers`"),
        "{said}"
    );
    let (code, _, said) = run(&["put", "../settings", &good]);
    assert!(
        code == Some(2) && said.contains("`../settings` is no name of a profile"),
        "{said}"
    );
    let (_, shown, _) = run(&["show", "nightly"]);
    assert_eq!(shown.trim_end(), std::fs::read_to_string(&good).unwrap());
    let (code, _, said) = run(&["show", "weekly"]);
    assert!(
        code == Some(2) && said.contains("there is no profile `weekly`"),
        "{said}"
    );
    let (_, listed, said) = run(&["list"]);
    assert_eq!(
        listed.split_whitespace().collect::<Vec<_>>(),
        ["nightly", "2", "orders-prod", ">", "orders-staging"],
        "{said}"
    );
}
