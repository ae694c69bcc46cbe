//! Strangers: resources that look as if they were this restore's, and are not.
//!
//! Same names but for a letter, the same tags under another id, forged tags, another
//! restore's resources, the same name in another region or account. Whatever a restore
//! or its undo does, they stay as they are.

use std::collections::BTreeMap;

use aurora_restore::deployment;
use aurora_restore::local::{FINAL_GROUP, QUARANTINE_GROUP};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::ownership::{EXPIRES_AT_TAG, RESTORE_ID_TAG, SOURCE_SNAPSHOT_TAG};
use aws_sdk_rds::types::Tag;
use local_cloud::rds::{Kind, Trouble};
use pipeline_tests::{SOURCE, Scene, TARGET};
use serde_json::{Value, json};

use crate::matrix::RESTORE_ID;

/// The region that holds what the restore does not even look at.
const ELSEWHERE: &str = "us-east-1";
/// An account of other people's.
const STRANGER: &str = "222222222222";
const LONG_AGO: &str = "2020-01-01T00:00:00Z";

/// Tags, by key and value.
type Tags<'a> = &'a [(&'a str, &'a str)];

/// Puts them in place, and waits until they have settled. How many there are.
pub(crate) async fn place(scene: &Scene) -> usize {
    let mut placed = 0;
    placed += clusters(scene).await;
    placed += instances(scene).await;
    placed += snapshots(scene).await;
    placed += secrets(scene).await;
    placed += records(scene).await;
    scene.sleep(std::time::Duration::from_secs(1800)).await;
    placed
}

async fn clusters(scene: &Scene) -> usize {
    let forged: Tags<'_> = &[
        (RESTORE_ID_TAG, RESTORE_ID),
        (
            SOURCE_SNAPSHOT_TAG,
            "arn:aws:rds:eu-west-1:123456789012:cluster-snapshot:x",
        ),
    ];
    let expired = [(RESTORE_ID_TAG, RESTORE_ID), (EXPIRES_AT_TAG, LONG_AGO)];
    let others = [(RESTORE_ID_TAG, "restore-10"), (EXPIRES_AT_TAG, LONG_AGO)];
    let home = scene.rds();
    let here: [(&str, Tags<'_>, &str); 11] = [
        ("orders-staging-3", &[], FINAL_GROUP),
        ("orders-stagin", &[], FINAL_GROUP),
        ("orders-staging-copy", &[], QUARANTINE_GROUP),
        ("orders-production", &[], "sg-0production"),
        ("restore-1", &[], FINAL_GROUP),
        ("aurora-restore-restore-1", &[], QUARANTINE_GROUP),
        ("forged", forged, QUARANTINE_GROUP),
        ("forged-and-expired", &expired, FINAL_GROUP),
        ("another-restores", &others, QUARANTINE_GROUP),
        (
            "wrong-case",
            &[("Aurora-Restore:Restore-Id", RESTORE_ID)],
            FINAL_GROUP,
        ),
        (
            "expired-without-id",
            &[(EXPIRES_AT_TAG, LONG_AGO)],
            FINAL_GROUP,
        ),
    ];
    for (id, tags, group) in here {
        create_cluster(&home, id, tags, group).await;
    }
    let config = deployment::sdk_config(
        &scene.local.cloud,
        &scene.local.stack.region,
        &scene.local.cloud.root_key(STRANGER),
    );
    create_cluster(&scene.rds_in(ELSEWHERE), TARGET, forged, FINAL_GROUP).await;
    create_cluster(
        &aws_sdk_rds::Client::new(&config),
        TARGET,
        forged,
        FINAL_GROUP,
    )
    .await;
    here.len() + 2
}

async fn create_cluster(rds: &aws_sdk_rds::Client, id: &str, tags: Tags<'_>, group: &str) {
    let asked = rds
        .create_db_cluster()
        .db_cluster_identifier(id)
        .engine("aurora-postgresql")
        .master_username("somebody")
        .master_user_password("not-a-canary-1")
        .vpc_security_group_ids(group)
        .set_tags(Some(tag_list(tags)));
    asked.send().await.unwrap();
}

async fn instances(scene: &Scene) -> usize {
    let rds = scene.rds();
    let forged: Tags<'_> = &[(RESTORE_ID_TAG, RESTORE_ID)];
    let all: [(&str, &str, Tags<'_>); 4] = [
        ("orders-staging-11", "orders-staging-3", &[]),
        ("orders-staging-3-1", "orders-staging-3", forged),
        ("forged-1", "forged", forged),
        ("orders-prod-2", SOURCE, forged),
    ];
    for (id, cluster, tags) in all {
        // Without a server of its own: nobody asks it anything.
        let rds_of_scene = &scene.local.rds;
        rds_of_scene.script(Kind::Instance, id, Trouble::NeverReady);
        let asked = rds
            .create_db_instance()
            .db_instance_identifier(id)
            .db_cluster_identifier(cluster)
            .db_instance_class("db.r6g.large")
            .engine("aurora-postgresql")
            .set_tags(Some(tag_list(tags)));
        asked.send().await.unwrap();
    }
    all.len()
}

async fn snapshots(scene: &Scene) -> usize {
    let rds = scene.rds();
    let copy = RestoreId::parse(RESTORE_ID).unwrap().snapshot_copy();
    let forged: Tags<'_> = &[(RESTORE_ID_TAG, RESTORE_ID)];
    let others: Tags<'_> = &[(RESTORE_ID_TAG, "restore-10")];
    let (longer, shorter) = (format!("{copy}0"), copy[..copy.len() - 1].to_owned());
    let all: [(&str, &str, Tags<'_>); 7] = [
        (&longer, SOURCE, &[]),
        (&shorter, SOURCE, forged),
        ("forged-copy", SOURCE, forged),
        ("another-restores-copy", SOURCE, others),
        ("orders-staging-final", "orders-staging-3", forged),
        ("orders-staging", "orders-production", &[]),
        ("expired-snapshot", SOURCE, &[(EXPIRES_AT_TAG, LONG_AGO)]),
    ];
    for (id, cluster, tags) in all {
        let asked = rds
            .create_db_cluster_snapshot()
            .db_cluster_identifier(cluster)
            .db_cluster_snapshot_identifier(id)
            .set_tags(Some(tag_list(tags)));
        // A cluster must be there before a snapshot can be taken of it.
        scene
            .local
            .until("a snapshot's cluster", async || {
                Ok(asked.clone().send().await.is_ok().then_some(()))
            })
            .await
            .unwrap();
    }
    all.len()
}

async fn secrets(scene: &Scene) -> usize {
    let secrets = aws_sdk_secretsmanager::Client::new(&scene.local.config);
    let tag = |value: &str| {
        aws_sdk_secretsmanager::types::Tag::builder()
            .key(RESTORE_ID_TAG)
            .value(value)
            .build()
    };
    let all = [
        ("aurora-restore/restore-10/master", Some("restore-10")),
        ("aurora-restore/restore-1/master-2", Some(RESTORE_ID)),
        ("aurora-restore/restore-1", None),
        ("orders-staging/master", Some(RESTORE_ID)),
    ];
    for (name, id) in all {
        let asked = secrets
            .create_secret()
            .name(name)
            .secret_string(
                json!({"username": "somebody", "password": "not-a-canary-2"}).to_string(),
            )
            .set_tags(id.map(|id| vec![tag(id)]));
        asked.send().await.unwrap();
    }
    all.len()
}

/// Another restore's record and another target's lock in the state table.
async fn records(scene: &Scene) -> usize {
    let text = |value: &str| json!({ "S": value });
    let arn = "arn:aws:rds:eu-west-1:123456789012:cluster:another-restores";
    let items = [
        json!({"pk": text("RESTORE#restore-10"), "sk": text("META"), "restoreId": text("restore-10"),
               "status": text("Restored"), "startedAt": text(LONG_AGO)}),
        json!({"pk": text(&format!("TARGET#{arn}")), "sk": text("LOCK"), "owner": text("restore-10"),
               "epoch": {"N": "7"}, "state": text("released")}),
    ];
    let count = items.len();
    for item in items {
        let body = json!({"TableName": scene.local.stack.table(), "Item": item});
        dynamodb(scene, "PutItem", &body).await;
    }
    count
}

/// Asks DynamoDB as the account's root.
pub(crate) async fn dynamodb(scene: &Scene, operation: &str, body: &Value) -> Value {
    let caller = scene.caller(&scene.local.stack.region);
    let target = format!("DynamoDB_20120810.{operation}");
    let world = scene.local.cloud.world();
    world
        .call(&caller, "dynamodb", &target, body)
        .await
        .unwrap()
}

fn tag_list(tags: Tags<'_>) -> Vec<Tag> {
    let tag = |(key, value): &(&str, &str)| Tag::builder().key(*key).value(*value).build();
    tags.iter().map(tag).collect()
}

/// Everything that is to stay as it is, described as closely as the cloud can.
pub(crate) async fn describe(scene: &Scene) -> Vec<String> {
    let copy = RestoreId::parse(RESTORE_ID).unwrap().snapshot_copy();
    let mut all: Vec<String> = scene
        .local
        .rds
        .resources(None)
        .into_iter()
        .filter(|view| {
            let here = view.place.account == scene.local.stack.account
                && view.place.region == scene.local.stack.region;
            !(here && is_ours(view.kind, &view.id, &copy))
        })
        .map(|view| {
            format!(
                "{} {} {} {} {:?} {:?}",
                view.arn,
                view.resource_id,
                view.status,
                view.statuses.len(),
                view.tags.iter().collect::<Vec<_>>(),
                view.security_group_history,
            )
        })
        .collect();
    all.extend(records_of_others(scene).await);
    let secrets = aws_sdk_secretsmanager::Client::new(&scene.local.config);
    for name in scene.local.cloud.secrets().names() {
        if name == RestoreId::parse(RESTORE_ID).unwrap().master_secret() || name.starts_with("rds!")
        {
            continue;
        }
        let described = secrets
            .describe_secret()
            .secret_id(&name)
            .send()
            .await
            .unwrap();
        all.push(format!(
            "{name} {:?} {:?}",
            described.tags(),
            described.version_ids_to_stages()
        ));
    }
    all.sort_unstable();
    all
}

fn is_ours(kind: &str, id: &str, copy: &str) -> bool {
    match kind {
        "cluster" => id == TARGET,
        "db" => id == format!("{TARGET}-1") || id == format!("{TARGET}-2"),
        _ => id == copy,
    }
}

async fn records_of_others(scene: &Scene) -> Vec<String> {
    let items = scan(scene).await;
    items
        .iter()
        .filter(|item| {
            item["pk"]["S"]
                .as_str()
                .is_some_and(|pk| pk.contains("another") || pk.contains("restore-10"))
        })
        .map(sorted)
        .collect()
}

/// An item's attributes come in any order.
fn sorted(item: &Value) -> String {
    let attributes: BTreeMap<_, _> = item.as_object().into_iter().flatten().collect();
    format!("{attributes:?}")
}

/// The whole state table.
pub(crate) async fn scan(scene: &Scene) -> Vec<Value> {
    let body = json!({"TableName": scene.local.stack.table()});
    let answer = dynamodb(scene, "Scan", &body).await;
    answer["Items"].as_array().cloned().unwrap_or_default()
}
