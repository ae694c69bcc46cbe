//! `aurora-restore rehearse`, in its variants.

use std::fs;
use std::process::Output;

use pipeline_tests::{DATABASE, MASTER, SOURCE, Scene};
use serde_json::Value;

use crate::programs::{aurora_restore, postgres};

fn rehearse(arguments: &[&str]) -> Output {
    aurora_restore()
        .arg("rehearse")
        .args(arguments)
        .output()
        .unwrap()
}

/// The one JSON document on standard output.
fn document(output: &Output) -> Value {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(&stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {stdout}\n{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

fn assert_restored(document: &Value) {
    assert_eq!(document["outcome"], "Restored", "{document:#}");
    assert_eq!(document["leftovers"], serde_json::json!([]));
    assert_eq!(document["data"]["equal"], true, "{}", document["data"]);
    assert!(
        document["evidence"]
            .as_array()
            .unwrap()
            .iter()
            .all(|finding| finding["passed"] == true)
    );
    for field in [
        "restoreId",
        "path",
        "transitions",
        "created",
        "removed",
        "target",
        "evidence",
    ] {
        assert!(!document[field].is_null(), "{field}");
    }
    for field in ["endpoint", "port", "secretArn"] {
        assert!(!document["target"][field].is_null(), "target.{field}");
    }
    let seconds = &document["seconds"];
    let of = |name: &str| seconds[name].as_f64().unwrap();
    assert!(
        (of("total") - of("waiting") - of("working")).abs() < 0.01,
        "{seconds}"
    );
    assert_eq!(
        document["told"]["notifications"].as_array().unwrap().len(),
        1
    );
    for metric in ["Restored", "RestoreDuration", "WaitingTime", "WorkingTime"] {
        let metrics = document["told"]["metrics"].as_array().unwrap();
        assert!(metrics.contains(&metric.into()), "{metric}");
    }
}

#[test]
fn a_rehearsal_restores_half_a_million_rows_as_they_were_while_the_source_kept_changing() {
    let output = rehearse(&["--json"]);
    let document = document(&output);
    assert!(output.status.success());
    assert_restored(&document);
    assert!(document["data"]["rows"].as_i64().unwrap() >= 500_000);
    assert!(document["data"]["tables"].as_i64().unwrap() >= 12);
    assert!(
        document["data"]["transactionsAfterSnapshot"]
            .as_i64()
            .unwrap()
            > 0,
        "{}",
        document["data"]
    );
}

#[test]
fn a_snapshot_of_another_region_is_rehearsed_with_a_copy_under_a_key_of_this_one() {
    let output = rehearse(&["cross-region", "--json"]);
    let document = document(&output);
    assert!(output.status.success());
    assert_restored(&document);
    let removed = document["removed"].as_array().unwrap();
    assert!(
        removed
            .iter()
            .any(|name| name.as_str().unwrap().starts_with("DB cluster snapshot ")),
        "{removed:?}"
    );
    let settings = document["settings"].as_array().unwrap();
    let key = settings
        .iter()
        .find(|setting| setting["setting"] == "key")
        .unwrap();
    let found = key["found"].as_str().unwrap();
    assert!(found.starts_with("arn:aws:kms:eu-west-1:"), "{key}");
}

#[test]
fn a_table_that_somebody_emptied_comes_back_as_it_was_just_before() {
    let output = rehearse(&["point-in-time", "--json"]);
    let document = document(&output);
    assert!(output.status.success());
    assert_restored(&document);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("TRUNCATE shop.order_lines"), "{told}");
    assert_eq!(document["data"]["transactionsInSnapshot"], 50);
}

#[test]
fn a_clone_holds_what_the_source_held_while_it_kept_changing() {
    let output = rehearse(&["clone", "--json"]);
    let document = document(&output);
    assert!(output.status.success());
    assert_restored(&document);
    let after = &document["data"]["transactionsAfterSnapshot"];
    assert!(after.as_i64().unwrap() > 0, "{}", document["data"]);
}

#[test]
fn a_rehearsal_of_aurora_mysql_restores_half_a_million_rows_as_they_were() {
    let output = rehearse(&["--engine", "aurora-mysql", "--json"]);
    let document = document(&output);
    assert!(output.status.success());
    assert_restored(&document);
    assert!(document["data"]["rows"].as_i64().unwrap() >= 500_000);
    assert!(document["data"]["tables"].as_i64().unwrap() >= 12);
    assert_eq!(document["target"]["port"], 3306);
    let evidence = document["evidence"].to_string();
    assert!(evidence.contains("event scheduler is off"), "{evidence}");
}

#[test]
fn an_engine_that_is_none_is_refused_with_those_that_are() {
    let output = rehearse(&["--engine", "aurora-oracle"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("aurora-oracle") && told.contains("aurora-mysql"),
        "{told}"
    );
}

#[test]
fn a_dump_of_mysqldumps_kind_is_restored() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.sql");
    let sql = "/*!40101 SET NAMES utf8mb4 */;\nCREATE TABLE `notes` (`id` int PRIMARY KEY, `body text` text);\n\
               LOCK TABLES `notes` WRITE;\nINSERT INTO `notes` VALUES (1,'one'),(2,NULL),(3,'drei: \u{fc}');\nUNLOCK TABLES;\n";
    fs::write(&file, sql).unwrap();
    let output = rehearse(&[
        "--engine",
        "aurora-mysql",
        "--json",
        "--dump",
        file.to_str().unwrap(),
    ]);
    let document = document(&output);
    assert_restored(&document);
    assert_eq!(document["data"]["rows"], 3);
}

#[test]
fn a_switch_that_is_stopped_is_taken_back_and_the_next_one_takes_over_the_name() {
    let output = rehearse(&["rename", "--json"]);
    let document = document(&output);
    assert!(output.status.success());
    assert_eq!(document["outcome"], "Restored", "{document:#}");
    assert_eq!(document["data"]["equal"], true, "{}", document["data"]);
    let switched = &document["switched"];
    assert_eq!(switched["first"]["outcome"], "FailedClean", "{switched}");
    assert_eq!(switched["first"]["leftovers"], serde_json::json!([]));
    let outages = switched["outagesSeconds"].as_array().unwrap();
    assert_eq!(outages.len(), 2, "one for each switch: {outages:?}");
    assert_eq!(document["replaced"]["was"], "orders-staging");
    assert!(
        switched["tries"].as_u64().unwrap() > 300,
        "throughout: {switched}"
    );
}

#[test]
fn a_fleet_of_five_is_rehearsed() {
    let output = rehearse(&["fleet", "--json"]);
    let document = document(&output);
    assert!(output.status.success());
    assert_eq!(document["outcome"], "Restored", "{document:#}");
    let data = document["data"].as_object().unwrap();
    assert_eq!(data.len(), 5);
    for (target, data) in data {
        assert_eq!(data["equal"], true, "{target}: {data}");
    }
}

#[test]
fn what_can_be_rehearsed_is_listed() {
    let output = rehearse(&["--list"]);
    assert!(output.status.success());
    let listed = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        names,
        [
            "snapshot",
            "cross-region",
            "point-in-time",
            "clone",
            "rename",
            "fleet"
        ]
    );
}

#[test]
fn a_rehearsal_runs_the_real_binaries_over_the_runtime_api() {
    let output = rehearse(&["--json", "--lambdas", "processes"]);
    let document = document(&output);
    assert_restored(&document);
    assert!(output.status.success());
}

#[test]
fn the_same_seed_takes_the_same_path() {
    let run = || {
        let document = document(&rehearse(&["--json", "--seed", "7"]));
        (document["restoreId"].clone(), document["path"].clone())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_dump_of_the_users_own_is_restored() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.sql");
    fs::write(
        &file,
        "CREATE TABLE public.notes (id int PRIMARY KEY, body text);\n\
         ALTER TABLE public.notes OWNER TO scribe;\n\
         INSERT INTO public.notes SELECT i, 'note ' || i FROM generate_series(1, 250) i;\n",
    )
    .unwrap();
    let output = rehearse(&["--json", "--dump", file.to_str().unwrap()]);
    let document = document(&output);
    assert_restored(&document);
    assert_eq!(document["data"]["rows"], 250);
}

#[tokio::test(start_paused = true)]
async fn an_archive_of_pg_dump_is_restored() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.dump");
    let scene = Scene::real().await;
    let endpoint = scene.endpoint(SOURCE).await;
    let dumped = postgres("pg_dump")
        .args([
            "--format=custom",
            "--username",
            MASTER,
            "--dbname",
            DATABASE,
        ])
        .args([
            "--host",
            &endpoint.host,
            "--port",
            &endpoint.port.to_string(),
        ])
        .arg("--file")
        .arg(&file)
        .env("PGPASSWORD", &scene.old_password)
        .env("PGSSLMODE", "require")
        .output()
        .unwrap();
    assert!(
        dumped.status.success(),
        "{}",
        String::from_utf8_lossy(&dumped.stderr)
    );
    scene.local.shutdown().await;
    let document = document(&rehearse(&["--json", "--dump", file.to_str().unwrap()]));
    assert_restored(&document);
    assert_eq!(document["data"]["rows"], 1000);
}

#[test]
fn a_dump_that_does_not_load_is_told_with_the_servers_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.sql");
    fs::write(&file, "INSERT INTO nowhere VALUES (1);\n").unwrap();
    let output = rehearse(&["--dump", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("nowhere") && said.contains("broken.sql"),
        "{said}"
    );
    let missing = rehearse(&["--dump", "/nowhere/at/all.sql"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nowhere/at/all.sql"));
}

#[test]
fn an_unknown_error_code_points_to_the_list() {
    let output = aurora_restore()
        .args(["explain", "AR7777"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("aurora-restore explain"));
    let known = aurora_restore()
        .args(["explain", "ar0007"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&known.stdout).starts_with("# AR0007"));
}

#[test]
fn the_programs_of_postgresql_are_found() {
    let version = postgres("postgres").arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).contains("PostgreSQL"));
}
