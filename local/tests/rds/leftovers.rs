//! Writers go on while a snapshot is taken; and at the end nothing is left.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cloud::{Cloud, MASTER, PASSWORD};
use local_cloud::rds::RdsSettings;
use postgres::{Client, NoTls};

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_a_busy_cluster_is_consistent() {
    let cloud = Cloud::new();
    cloud.source("orders").await;
    let setup = "CREATE TABLE item (id serial, body text); CREATE TABLE total (items int); INSERT INTO total VALUES (0)";
    cloud.sql("orders", MASTER, PASSWORD, setup).await.unwrap();
    let address = cloud.cluster("orders").await.text("Endpoint").unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let (busy, is_busy) = std::sync::mpsc::channel();
    let writer = std::thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let mut client = Client::configure()
                .host(&address)
                .port(5432)
                .user(MASTER)
                .password(PASSWORD)
                .dbname("orders")
                .connect(NoTls)
                .unwrap();
            let mut written = 0;
            while !done.load(Ordering::Relaxed) {
                client
                    .batch_execute("BEGIN; INSERT INTO item (body) VALUES (repeat('x', 500)); UPDATE total SET items = items + 1; COMMIT")
                    .unwrap();
                written += 1;
                let _ = busy.send(());
            }
            written
        }
    });
    is_busy.recv().expect("the writer commits at least once");
    cloud.take_snapshot("busy", "orders").await;
    done.store(true, Ordering::Relaxed);
    let written: u32 = writer.join().unwrap();
    cloud.restore("copy", "busy", &[]).await;
    cloud.create_instance("copy-1", "copy").await;
    cloud.wait_for("instance", "copy-1", &["available"]).await;
    let counts = cloud
        .sql(
            "copy",
            MASTER,
            PASSWORD,
            "SELECT count(*) || ' ' || (SELECT items FROM total) FROM item",
        )
        .await
        .unwrap();
    let counts: Vec<u32> = counts[0]
        .split(' ')
        .map(|count| count.parse().unwrap())
        .collect();
    assert_eq!(
        counts[0], counts[1],
        "every transaction is there whole or not at all"
    );
    assert!(
        counts[0] > 0 && counts[0] <= written,
        "{counts:?} of {written}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_world_that_ends_leaves_no_process_and_no_directory() {
    let cloud = Cloud::new();
    cloud.source("orders").await;
    cloud.take_snapshot("nightly", "orders").await;
    cloud.restore("copy", "nightly", &[]).await;
    cloud.create_instance("copy-1", "copy").await;
    cloud.wait_for("instance", "copy-1", &["available"]).await;
    let world = cloud.rds.data_directory().unwrap();
    assert_eq!(servers_in(&world), 2);
    assert!(
        cloud
            .rds
            .certificate_authority()
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    drop(cloud);
    assert_eq!(servers_in(&world), 0);
    assert!(!world.exists());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_cluster_and_its_snapshot_leave_no_files() {
    let cloud = Cloud::new();
    cloud.source("orders").await;
    cloud.take_snapshot("nightly", "orders").await;
    let world = cloud.rds.data_directory().unwrap();
    cloud
        .call("DeleteDBInstance", &["DBInstanceIdentifier=orders-1"])
        .await;
    cloud
        .call(
            "DeleteDBCluster",
            &["DBClusterIdentifier=orders", "SkipFinalSnapshot=true"],
        )
        .await;
    cloud
        .call(
            "DeleteDBClusterSnapshot",
            &["DBClusterSnapshotIdentifier=nightly"],
        )
        .await;
    crate::cloud::wait_minutes(20).await;
    assert!(cloud.rds.resources(None).is_empty());
    assert_eq!(servers_in(&world), 0);
    assert_eq!(
        std::fs::read_dir(&world).unwrap().count(),
        0,
        "{:?}",
        std::fs::read_dir(&world).unwrap().collect::<Vec<_>>()
    );
}

/// Run by the test below, in a process of its own, and killed there.
#[tokio::test]
#[ignore = "lives until it is killed"]
async fn a_world_that_waits_to_be_killed() {
    let fast = RdsSettings {
        speed: 10_000.0,
        ..RdsSettings::default()
    };
    let cloud = Cloud::with(fast);
    cloud.create_cluster("orders", &[]).await;
    cloud.create_instance("orders-1", "orders").await;
    while cloud
        .instance("orders-1")
        .await
        .text("DBInstanceStatus")
        .unwrap()
        != "available"
    {
        crate::cloud::wait(Duration::from_millis(20)).await;
    }
    println!("world={}", cloud.rds.data_directory().unwrap().display());
    std::future::pending::<()>().await;
}

#[test]
fn a_killed_process_takes_its_servers_with_it() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "leftovers::a_world_that_waits_to_be_killed",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let world = lines
        .find_map(|line| line.strip_prefix("world=").map(PathBuf::from))
        .unwrap();
    assert_eq!(servers_in(&world), 1);
    victim.kill().unwrap();
    victim.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while (servers_in(&world) > 0 || has_files(&world)) && Instant::now() < deadline {}
    assert_eq!(servers_in(&world), 0);
    assert!(!has_files(&world), "its data is gone too");
}

fn has_files(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

/// Server processes that run on data below this directory.
fn servers_in(world: &Path) -> usize {
    let world = world.to_str().unwrap().to_owned();
    let processes = Command::new("ps").args(["-eo", "args"]).output().unwrap();
    String::from_utf8_lossy(&processes.stdout)
        .lines()
        .filter(|line| line.contains(&world) && line.contains("/postgres -D"))
        .filter(|line| !line.starts_with("sh "))
        .count()
}
