//! Calls with a role's credentials: allowed, denied, and said so as AWS says it.

use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Put, TransactWriteItem};
use aws_sdk_rds::types::Tag;
use local_cloud::iam::Decision;
use local_cloud::{Caller, LocalCloud};
use serde_json::{Value, json};

use crate::role::{
    ACCOUNT, REGION, ROLE, as_role, as_root, cloud, config, is_denied, put_role, refused,
};

fn allow(action: &str, resource: &str) -> Value {
    json!({ "Effect": "Allow", "Action": action, "Resource": resource })
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

fn root() -> Caller {
    Caller {
        account: ACCOUNT.to_owned(),
        region: REGION.to_owned(),
        principal: format!("arn:aws:iam::{ACCOUNT}:root"),
    }
}

async fn call(cloud: &LocalCloud, service: &str, target: &str, body: Value) -> Value {
    cloud
        .world()
        .call(&root(), service, target, &body)
        .await
        .unwrap()
}

async fn make_cluster(cloud: &LocalCloud, id: &str, tags: Vec<Tag>) {
    aws_sdk_rds::Client::new(&as_root(cloud))
        .create_db_cluster()
        .db_cluster_identifier(id)
        .engine("aurora-postgresql")
        .master_username("somebody")
        .master_user_password("not-a-secret-1")
        .set_tags(Some(tags))
        .send()
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_no_statement_allows_is_denied_in_the_services_own_words() {
    let cloud = cloud();
    put_role(&cloud, json!([allow("rds:DescribeDBClusters", "*")]));
    let config = as_role(&cloud);
    let rds = aws_sdk_rds::Client::new(&config);
    assert!(rds.describe_db_clusters().send().await.is_ok());
    let delete = rds.delete_db_cluster().db_cluster_identifier("orders");
    let user = format!("User: arn:aws:sts::{ACCOUNT}:assumed-role/tested/function");
    let text = format!(
        "{user} is not authorized to perform: rds:DeleteDBCluster on resource: arn:aws:rds:{REGION}:{ACCOUNT}:cluster:orders \
         because no identity-based policy allows the rds:DeleteDBCluster action"
    );
    assert_eq!(
        refused(delete.send().await),
        ("AccessDenied".to_owned(), text)
    );
    let codes = [
        refused(
            aws_sdk_sns::Client::new(&config)
                .publish()
                .topic_arn(format!("arn:aws:sns:{REGION}:{ACCOUNT}:outcomes"))
                .message("x")
                .send()
                .await,
        ),
        refused(
            aws_sdk_secretsmanager::Client::new(&config)
                .get_secret_value()
                .secret_id("orders")
                .send()
                .await,
        ),
        refused(
            aws_sdk_dynamodb::Client::new(&config)
                .scan()
                .table_name("state")
                .send()
                .await,
        ),
        refused(
            aws_sdk_sfn::Client::new(&config)
                .send_task_success()
                .task_token("x")
                .output("{}")
                .send()
                .await,
        ),
        refused(
            aws_sdk_ssm::Client::new(&config)
                .get_parameter()
                .name("/settings")
                .send()
                .await,
        ),
        refused(
            aws_sdk_kms::Client::new(&config)
                .describe_key()
                .key_id("alias/x")
                .send()
                .await,
        ),
        refused(
            aws_sdk_sts::Client::new(&config)
                .assume_role()
                .role_arn("arn:aws:iam::210987654321:role/source")
                .role_session_name("restore")
                .send()
                .await,
        ),
    ];
    for (code, text) in &codes {
        assert!(text.starts_with(&user), "{text}");
        assert!(
            [
                "AuthorizationError",
                "AccessDenied",
                "AccessDeniedException"
            ]
            .contains(&code.as_str()),
            "{code}"
        );
    }
    assert_eq!(codes[0].0, "AuthorizationError");
    assert_eq!(codes[1].0, "AccessDeniedException");
    assert_eq!(codes[6].0, "AccessDenied");
}

#[tokio::test(start_paused = true)]
async fn an_explicit_deny_wins_and_says_so() {
    let cloud = cloud();
    put_role(
        &cloud,
        json!([
            allow("rds:*", "*"),
            { "Effect": "Deny", "Action": "rds:Delete*", "Resource": "arn:aws:rds:*:*:cluster:*-prod" },
        ]),
    );
    let rds = aws_sdk_rds::Client::new(&as_role(&cloud));
    let delete = |id: &str| {
        rds.delete_db_cluster()
            .db_cluster_identifier(id)
            .skip_final_snapshot(true)
            .send()
    };
    let (code, text) = refused(delete("orders-prod").await);
    assert_eq!(code, "AccessDenied");
    assert!(
        text.ends_with("with an explicit deny in an identity-based policy"),
        "{text}"
    );
    assert_eq!(refused(delete("orders").await).0, "DBClusterNotFoundFault");
}

#[tokio::test(start_paused = true)]
async fn in_an_account_without_roles_nobody_is_judged() {
    let cloud = cloud();
    let rds = aws_sdk_rds::Client::new(&as_root(&cloud));
    assert!(rds.describe_db_clusters().send().await.is_ok());
    let rds = aws_sdk_rds::Client::new(&as_role(&cloud));
    assert!(rds.describe_db_clusters().send().await.is_ok());
    assert!(cloud.iam().evaluations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn in_an_account_with_roles_only_its_root_may_what_no_role_says() {
    let cloud = cloud();
    put_role(&cloud, json!([allow("*", "*")]));
    let client = |principal: &str| {
        let key = cloud.world().issue_key(ACCOUNT, principal, None);
        aws_sdk_rds::Client::new(&config(&cloud, &key))
    };
    let root = aws_sdk_rds::Client::new(&as_root(&cloud));
    assert!(root.describe_db_clusters().send().await.is_ok());
    for stranger in [
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/nobody/x"),
        format!("arn:aws:iam::{ACCOUNT}:user/somebody"),
        "arn:aws:iam::210987654321:root".to_owned(),
    ] {
        let asked = client(&stranger).describe_db_clusters().send().await;
        let (code, text) = refused(asked);
        assert_eq!(code, "AccessDenied", "{stranger}");
        assert!(
            text.starts_with(&format!("User: {stranger} is not")),
            "{text}"
        );
    }
    let sts = aws_sdk_sts::Client::new(&as_root(&cloud));
    let assumed = sts
        .assume_role()
        .role_arn(format!("arn:aws:iam::{ACCOUNT}:role/nobody"))
        .role_session_name("x-y");
    assert!(is_denied(assumed.send().await), "there is no such role");
}

#[tokio::test(start_paused = true)]
async fn what_rds_asks_with_the_callers_rights_is_asked_by_a_service() {
    let cloud = cloud();
    let via = json!({ "Bool": { "aws:ViaAWSService": "true" } });
    put_role(
        &cloud,
        json!([
            allow("rds:*", "*"),
            allow("kms:DescribeKey", "*"),
            {
                "Effect": "Allow",
                "Action": ["secretsmanager:CreateSecret", "secretsmanager:TagResource"],
                "Resource": "*",
                "Condition": via,
            },
        ]),
    );
    let secrets = aws_sdk_secretsmanager::Client::new(&as_role(&cloud));
    let own = secrets.create_secret().name("rds!cluster-x");
    assert!(is_denied(own.secret_string("x").send().await));
    let rds = aws_sdk_rds::Client::new(&as_role(&cloud));
    let made = rds
        .create_db_cluster()
        .db_cluster_identifier("orders")
        .engine("aurora-postgresql")
        .master_username("orders_admin")
        .manage_master_user_password(true);
    assert!(made.send().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_role_that_was_deleted_may_do_nothing() {
    let cloud = cloud();
    put_role(&cloud, json!([allow("*", "*")]));
    let rds = aws_sdk_rds::Client::new(&as_role(&cloud));
    assert!(rds.describe_db_clusters().send().await.is_ok());
    cloud.iam().delete_role(ROLE).unwrap();
    assert!(is_denied(rds.describe_db_clusters().send().await));
    assert_eq!(
        cloud.iam().delete_role(ROLE).unwrap_err().code,
        "NoSuchEntity"
    );
}

#[tokio::test(start_paused = true)]
async fn what_carries_our_tag_may_be_deleted_and_nothing_else() {
    let cloud = cloud();
    make_cluster(&cloud, "ours", vec![tag("restore-id", "r-1")]).await;
    make_cluster(&cloud, "other", vec![tag("restore-id", "r-2")]).await;
    make_cluster(&cloud, "plain", Vec::new()).await;
    put_role(
        &cloud,
        json!([
            {
            "Effect": "Allow",
            "Action": "rds:DeleteDBCluster",
            "Resource": "arn:aws:rds:eu-west-1:123456789012:cluster:*",
            "Condition": { "StringEquals": { "aws:ResourceTag/restore-id": "r-1" } },
            },
            allow("rds:DeleteDBCluster", "arn:aws:rds:*:*:cluster-snapshot:rest-*"),
        ]),
    );
    let rds = aws_sdk_rds::Client::new(&as_role(&cloud));
    for (id, denied) in [
        ("ours", false),
        ("other", true),
        ("plain", true),
        ("missing", true),
    ] {
        let delete = rds
            .delete_db_cluster()
            .db_cluster_identifier(id)
            .final_db_snapshot_identifier("rest-1");
        assert_eq!(is_denied(delete.send().await), denied, "{id}");
    }
    let without_snapshot = rds
        .delete_db_cluster()
        .db_cluster_identifier("ours")
        .skip_final_snapshot(true);
    assert!(
        is_denied(without_snapshot.send().await),
        "a last snapshot is asked about, too, whichever it would be"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restore_asks_about_the_cluster_the_snapshot_the_groups_and_the_tags() {
    let cloud = cloud();
    let here = |resource: &str| format!("arn:aws:rds:{REGION}:{ACCOUNT}:{resource}");
    let all = [
        ("rds:RestoreDBClusterFromSnapshot", here("cluster:target")),
        (
            "rds:RestoreDBClusterFromSnapshot",
            here("cluster-snapshot:last"),
        ),
        (
            "rds:RestoreDBClusterFromSnapshot",
            here("cluster-pg:default.aurora-postgresql16"),
        ),
        (
            "rds:RestoreDBClusterFromSnapshot",
            here("og:default:aurora-postgresql-16"),
        ),
        ("rds:RestoreDBClusterFromSnapshot", here("subgrp:private")),
        ("rds:AddTagsToResource", here("cluster:target")),
    ];
    let restore = async || {
        aws_sdk_rds::Client::new(&as_role(&cloud))
            .restore_db_cluster_from_snapshot()
            .db_cluster_identifier("target")
            .snapshot_identifier("last")
            .engine("aurora-postgresql")
            .engine_version("16.4")
            .db_subnet_group_name("private")
            .tags(tag("restore-id", "r-1"))
            .send()
            .await
    };
    for missing in 0..=all.len() {
        let statements: Vec<Value> = all
            .iter()
            .enumerate()
            .filter(|(number, _)| *number != missing)
            .map(|(_, (action, resource))| allow(action, resource))
            .collect();
        put_role(&cloud, json!(statements));
        let denied = is_denied(restore().await);
        assert_eq!(
            denied,
            missing < all.len(),
            "without {:?}",
            all.get(missing)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_of_the_request_can_be_required_and_a_tag_of_the_resource_protected() {
    let cloud = cloud();
    make_cluster(&cloud, "other", vec![tag("restore-id", "r-2")]).await;
    make_cluster(&cloud, "plain", Vec::new()).await;
    put_role(
        &cloud,
        json!([
            {
                "Effect": "Allow",
                "Action": "rds:AddTagsToResource",
                "Resource": "*",
                "Condition": { "Null": { "aws:RequestTag/restore-id": "false" } },
            },
            {
                "Effect": "Deny",
                "Action": "rds:AddTagsToResource",
                "Resource": "*",
                "Condition": {
                    "Null": { "aws:ResourceTag/restore-id": "false" },
                    "StringNotEquals": { "aws:ResourceTag/restore-id": "${aws:RequestTag/restore-id}" },
                },
            },
        ]),
    );
    let rds = aws_sdk_rds::Client::new(&as_role(&cloud));
    for (id, key, denied) in [
        ("plain", "owner", true),
        ("plain", "restore-id", false),
        ("other", "restore-id", true),
    ] {
        let add = rds
            .add_tags_to_resource()
            .resource_name(format!("arn:aws:rds:{REGION}:{ACCOUNT}:cluster:{id}"))
            .tags(tag(key, "r-1"));
        assert_eq!(is_denied(add.send().await), denied, "{key} on {id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_used_through_rds_with_the_callers_rights() {
    let cloud = cloud();
    let made = call(&cloud, "kms", "TrentService.CreateKey", json!({})).await;
    let key = made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    let through = |actions: Value, service: &str| {
        json!({
            "Effect": "Allow",
            "Action": actions,
            "Resource": "arn:aws:kms:*:*:key/*",
            "Condition": {
                "StringEquals": { "kms:ViaService": format!("{service}.{REGION}.amazonaws.com") },
            },
        })
    };
    let create = async || {
        aws_sdk_rds::Client::new(&as_role(&cloud))
            .create_db_cluster()
            .db_cluster_identifier("encrypted")
            .engine("aurora-postgresql")
            .master_username("somebody")
            .master_user_password("not-a-secret-1")
            .storage_encrypted(true)
            .kms_key_id(&key)
            .send()
            .await
    };
    let both = json!(["kms:DescribeKey", "kms:CreateGrant"]);
    for (statement, denied) in [
        (through(json!("kms:DescribeKey"), "rds"), true),
        (through(both.clone(), "secretsmanager"), true),
        (through(both, "rds"), false),
    ] {
        put_role(&cloud, json!([allow("rds:*", "*"), statement]));
        assert_eq!(is_denied(create().await), denied);
    }
    let kms = aws_sdk_kms::Client::new(&as_role(&cloud));
    let directly = kms.describe_key().key_id(&key).send().await;
    assert!(is_denied(directly), "not by way of RDS");
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_known_by_its_tags_and_a_new_one_by_its_name() {
    let cloud = cloud();
    let root = aws_sdk_secretsmanager::Client::new(&as_root(&cloud));
    for (name, owner) in [("ours", "r-1"), ("theirs", "r-2")] {
        let owned = aws_sdk_secretsmanager::types::Tag::builder()
            .key("restore-id")
            .value(owner)
            .build();
        let create = root
            .create_secret()
            .name(name)
            .secret_string("x")
            .tags(owned);
        create.send().await.unwrap();
    }
    put_role(
        &cloud,
        json!([
            {
                "Effect": "Allow",
                "Action": ["secretsmanager:GetSecretValue", "secretsmanager:DeleteSecret"],
                "Resource": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:*",
                "Condition": { "StringEquals": { "secretsmanager:ResourceTag/restore-id": "r-1" } },
            },
            allow("secretsmanager:CreateSecret", "arn:aws:secretsmanager:*:*:secret:restore/*"),
        ]),
    );
    let secrets = aws_sdk_secretsmanager::Client::new(&as_role(&cloud));
    for (name, denied) in [("ours", false), ("theirs", true), ("missing", true)] {
        let get = secrets.get_secret_value().secret_id(name);
        assert_eq!(is_denied(get.send().await), denied, "{name}");
        let delete = secrets.delete_secret().secret_id(name);
        assert_eq!(is_denied(delete.send().await), denied, "{name}");
    }
    for (name, denied) in [("restore/a", false), ("other/a", true)] {
        let create = secrets.create_secret().name(name).secret_string("x");
        assert_eq!(is_denied(create.send().await), denied, "{name}");
    }
    let owned = aws_sdk_secretsmanager::types::Tag::builder()
        .key("a")
        .value("b")
        .build();
    let tagged = secrets
        .create_secret()
        .name("restore/b")
        .secret_string("x")
        .tags(owned);
    assert!(is_denied(tagged.send().await), "tags need TagResource");
}

async fn make_table(cloud: &LocalCloud) {
    let body = json!({
        "TableName": "state",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            { "AttributeName": "pk", "AttributeType": "S" },
            { "AttributeName": "status", "AttributeType": "S" },
        ],
        "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }],
        "GlobalSecondaryIndexes": [{
            "IndexName": "by-status",
            "KeySchema": [{ "AttributeName": "status", "KeyType": "HASH" }],
            "Projection": { "ProjectionType": "ALL" },
        }],
    });
    call(cloud, "dynamodb", "DynamoDB_20120810.CreateTable", body).await;
}

#[tokio::test(start_paused = true)]
async fn items_are_judged_by_their_partition_key_one_by_one_in_a_transaction_too() {
    let cloud = cloud();
    make_table(&cloud).await;
    let only = |action: &str, keys: &str| {
        json!({
            "Effect": "Allow",
            "Action": action,
            "Resource": "arn:aws:dynamodb:eu-west-1:123456789012:table/state",
            "Condition": { "ForAllValues:StringLike": { "dynamodb:LeadingKeys": keys } },
        })
    };
    put_role(
        &cloud,
        json!([
            only("dynamodb:PutItem", "RESTORE#*"),
            only("dynamodb:Query", "RESTORE#*"),
            only("dynamodb:ConditionCheckItem", "TARGET#*"),
        ]),
    );
    let table = aws_sdk_dynamodb::Client::new(&as_role(&cloud));
    let key = |value: &str| AttributeValue::S(value.to_owned());
    for (value, denied) in [("RESTORE#1", false), ("TARGET#1", true)] {
        let put = table.put_item().table_name("state").item("pk", key(value));
        assert_eq!(is_denied(put.send().await), denied, "{value}");
        let query = table
            .query()
            .table_name("state")
            .key_condition_expression("#pk = :pk")
            .expression_attribute_names("#pk", "pk")
            .expression_attribute_values(":pk", key(value));
        assert_eq!(is_denied(query.send().await), denied, "{value}");
    }
    for (put, check, denied) in [
        ("RESTORE#1", "TARGET#1", false),
        ("TARGET#2", "TARGET#1", true),
        ("RESTORE#1", "RESTORE#2", true),
    ] {
        let put = Put::builder().table_name("state").item("pk", key(put));
        let check = ConditionCheck::builder()
            .table_name("state")
            .key("pk", key(check))
            .condition_expression("attribute_not_exists(pk)");
        let write = table
            .transact_write_items()
            .transact_items(
                TransactWriteItem::builder()
                    .put(put.build().unwrap())
                    .build(),
            )
            .transact_items(
                TransactWriteItem::builder()
                    .condition_check(check.build().unwrap())
                    .build(),
            );
        assert_eq!(is_denied(write.send().await), denied);
    }
    let by_index = table
        .query()
        .table_name("state")
        .index_name("by-status")
        .key_condition_expression("#status=:status")
        .expression_attribute_names("#status", "status")
        .expression_attribute_values(":status", key("RESTORE#1"));
    assert!(
        is_denied(by_index.send().await),
        "an index is a resource of its own"
    );
}

#[tokio::test(start_paused = true)]
async fn what_decided_is_written_down_once() {
    let cloud = cloud();
    put_role(
        &cloud,
        json!([
            allow("rds:ListTagsForResource", "*"),
            { "Effect": "Allow", "Action": ["rds:CreateDBCluster", "rds:describe*"], "Resource": "*" },
        ]),
    );
    let rds = aws_sdk_rds::Client::new(&as_role(&cloud));
    for _ in 0..3 {
        rds.describe_db_clusters().send().await.unwrap();
    }
    let evaluations: Vec<_> = cloud.iam().evaluations().into_iter().collect();
    let [evaluation] = evaluations.as_slice() else {
        panic!("one, and not {evaluations:?}");
    };
    assert_eq!(evaluation.role, ROLE);
    assert_eq!(evaluation.action, "rds:DescribeDBClusters");
    assert_eq!(
        evaluation.resource,
        "arn:aws:rds:eu-west-1:123456789012:cluster:*"
    );
    assert_eq!(evaluation.decision, Decision::Allowed);
    let ground = &evaluation.grounds[0];
    assert_eq!(
        (
            ground.policy.as_str(),
            ground.statement,
            ground.action.as_str()
        ),
        ("inline", 1, "rds:describe*")
    );
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_the_tables_do_not_know_is_refused_loudly() {
    let cloud = cloud();
    put_role(&cloud, json!([allow("*", "*")]));
    let table = aws_sdk_dynamodb::Client::new(&as_role(&cloud));
    let statement = table.execute_statement().statement("SELECT * FROM state");
    let (code, text) = refused(statement.send().await);
    assert_eq!(code, "NotImplemented");
    assert!(text.contains("dynamodb:ExecuteStatement"), "{text}");
}
