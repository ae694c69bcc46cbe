//! Aurora MySQL on real servers of MariaDB.

use mysql_wire::{Error, Limits, Login, Session};
use std::time::Duration;

use crate::cloud::{Cloud, MASTER, PASSWORD, wait_minutes};

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(30),
};

/// The first value of each row of a statement, over TCP; the error's number where it is refused.
async fn sql(
    cloud: &Cloud,
    cluster: &str,
    password: &str,
    statement: &str,
) -> Result<Vec<String>, String> {
    let described = cloud.cluster(cluster).await;
    let host = described.text("Endpoint").unwrap();
    let port = described.text("Port").unwrap().parse().unwrap();
    let (password, statement) = (password.to_owned(), statement.to_owned());
    let work = move || -> Result<Vec<String>, Error> {
        let login = Login {
            user: MASTER,
            password: &password,
            database: Some("shop"),
        };
        let mut session = Session::over_tcp(&host, port, None, &login, LIMITS)?;
        let rows = session.query(&statement)?.into_iter();
        Ok(rows.filter_map(|row| row.into_iter().next()?).collect())
    };
    let done = tokio::task::spawn_blocking(work).await.unwrap();
    done.map_err(|error| match error {
        Error::Refused(refusal) => refusal.number.to_string(),
        other => other.to_string(),
    })
}

/// The cluster `copy`, with an instance, from a snapshot.
async fn restore(cloud: &Cloud, snapshot: &str) {
    let snapshot = format!("SnapshotIdentifier={snapshot}");
    let (cluster, engine) = ("DBClusterIdentifier=copy", "Engine=aurora-mysql");
    let restored = [cluster, &snapshot, engine];
    cloud.call("RestoreDBClusterFromSnapshot", &restored).await;
    cloud.wait_for("cluster", "copy", &["available"]).await;
    let (member, class) = (
        "DBInstanceIdentifier=copy-1",
        "DBInstanceClass=db.r6g.large",
    );
    let made = [member, cluster, engine, class];
    cloud.call("CreateDBInstance", &made).await;
    cloud.wait_for("instance", "copy-1", &["available"]).await;
}

/// A cluster with an instance.
async fn source(cloud: &Cloud, id: &str) {
    let named = |name: &str| format!("{name}={id}");
    let (cluster, member) = (
        named("DBClusterIdentifier"),
        format!("DBInstanceIdentifier={id}-1"),
    );
    let master = format!("MasterUsername={MASTER}");
    let password = format!("MasterUserPassword={PASSWORD}");
    let engine = "Engine=aurora-mysql";
    let made = [&cluster, engine, &master, &password, "DatabaseName=shop"];
    cloud.call("CreateDBCluster", &made).await;
    let made = [&member, &cluster, engine, "DBInstanceClass=db.r6g.large"];
    cloud.call("CreateDBInstance", &made).await;
    let member = format!("{id}-1");
    cloud.wait_for("instance", &member, &["available"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_keeps_what_was_committed_and_a_restore_serves_it_under_a_password_of_its_own() {
    let cloud = Cloud::new();
    source(&cloud, "orders").await;
    let described = cloud.cluster("orders").await;
    assert_eq!(described.text("Port").unwrap(), "3306");
    assert_eq!(
        described.text("DBClusterParameterGroup").unwrap(),
        "default.aurora-mysql8.0"
    );
    let on = async |cluster: &str, password: &str, statement: &str| {
        sql(&cloud, cluster, password, statement).await
    };
    on("orders", PASSWORD, "CREATE TABLE item (id int PRIMARY KEY)")
        .await
        .unwrap();
    let fill = "INSERT INTO item WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT i FROM n";
    on("orders", PASSWORD, fill).await.unwrap();
    cloud.take_snapshot("nightly", "orders").await;
    on("orders", PASSWORD, "DELETE FROM item").await.unwrap();

    restore(&cloud, "nightly").await;
    let count = "SELECT count(*) FROM item";
    assert_eq!(on("copy", PASSWORD, count).await.unwrap(), ["100"]);

    let change = [
        "DBClusterIdentifier=copy",
        "MasterUserPassword=another-password",
    ];
    cloud.call("ModifyDBCluster", &change).await;
    cloud
        .wait_for("cluster", "copy", &["resetting-master-credentials"])
        .await;
    cloud.wait_for("cluster", "copy", &["available"]).await;
    assert_eq!(on("copy", PASSWORD, count).await.unwrap_err(), "1045");
    assert_eq!(
        on("copy", "another-password", count).await.unwrap(),
        ["100"]
    );
    assert_eq!(on("orders", PASSWORD, count).await.unwrap(), ["0"]);

    cloud.call("StopDBCluster", &[change[0]]).await;
    wait_minutes(20).await;
    cloud.call("StartDBCluster", &[change[0]]).await;
    wait_minutes(20).await;
    assert_eq!(
        on("copy", "another-password", count).await.unwrap(),
        ["100"],
        "data outlives a stop"
    );
}

#[tokio::test(start_paused = true)]
async fn a_master_user_is_no_superuser_and_the_superuser_is_not_on_the_network() {
    let cloud = Cloud::new();
    source(&cloud, "orders").await;
    let accounts = "SELECT concat(user, '@', host) FROM mysql.user ORDER BY 1";
    assert_eq!(
        sql(&cloud, "orders", PASSWORD, accounts).await.unwrap(),
        [
            "mariadb.sys@localhost",
            "orders_admin@%",
            "rdsadmin@localhost"
        ]
    );
    let superuser = sql(
        &cloud,
        "orders",
        PASSWORD,
        "SET GLOBAL event_scheduler = ON",
    )
    .await;
    assert_eq!(superuser.unwrap_err(), "1227");
    let place = cloud.place().clone();
    let set = "SET GLOBAL event_scheduler = ON";
    cloud
        .rds
        .run_as_superuser(&place, "orders", "", set)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_under_writes_holds_whole_transactions_only() {
    let cloud = Cloud::new();
    source(&cloud, "orders").await;
    let tables = "CREATE TABLE pair (id int AUTO_INCREMENT PRIMARY KEY, half int)";
    sql(&cloud, "orders", PASSWORD, tables).await.unwrap();
    let described = cloud.cluster("orders").await;
    let host = described.text("Endpoint").unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let (first, came) = tokio::sync::oneshot::channel();
    let writer = std::thread::spawn(move || {
        let login = Login {
            user: MASTER,
            password: PASSWORD,
            database: Some("shop"),
        };
        let mut session = Session::over_tcp(&host, 3306, None, &login, LIMITS).unwrap();
        let (mut written, mut first) = (0, Some(first));
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let pair = format!(
                "START TRANSACTION; INSERT INTO pair (half) VALUES ({written}); INSERT INTO pair (half) VALUES ({written}); COMMIT"
            );
            session.batch(&pair).unwrap();
            written += 1;
            if let Some(first) = first.take() {
                first.send(()).unwrap();
            }
        }
        written
    });
    came.await.unwrap();
    cloud.take_snapshot("nightly", "orders").await;
    let half = "SELECT count(DISTINCT half) FROM pair";
    let after = sql(&cloud, "orders", PASSWORD, half).await.unwrap();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let written: usize = writer.join().unwrap();
    restore(&cloud, "nightly").await;
    let halves =
        "SELECT count(*) FROM (SELECT half FROM pair GROUP BY half HAVING count(*) <> 2) AS broken";
    assert_eq!(sql(&cloud, "copy", PASSWORD, halves).await.unwrap(), ["0"]);
    let held = sql(&cloud, "copy", PASSWORD, half).await.unwrap();
    let (held, after): (usize, usize) = (held[0].parse().unwrap(), after[0].parse().unwrap());
    // The writer goes on while the snapshot is taken; that it wrote in between is up to the machine.
    assert!(
        0 < held && held <= after && after <= written,
        "{held} held of {after}, then {written}"
    );
}
