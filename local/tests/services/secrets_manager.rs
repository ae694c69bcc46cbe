//! Secrets Manager: what a crash-safe password change rests on.

use std::time::Duration;

use local_cloud::{Caller, LocalCloud};
use serde_json::{Value, json};

use crate::client::{ACCOUNT, Client, REGION, Refused, cloud};

const TOKEN: &str = "restore-1-password-0123456789abcdef";

async fn secrets(client: &Client, operation: &str, body: Value) -> Result<Value, Refused> {
    client
        .json(
            "secretsmanager",
            &format!("secretsmanager.{operation}"),
            body,
        )
        .await
}

async fn code(client: &Client, operation: &str, body: Value) -> String {
    secrets(client, operation, body).await.unwrap_err().code
}

async fn value(client: &Client, body: Value) -> Value {
    secrets(client, "GetSecretValue", body).await.unwrap()["SecretString"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_creation_can_be_repeated_with_its_token() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let request =
        json!({ "Name": "restore/orders", "SecretString": "one", "ClientRequestToken": TOKEN });
    let first = secrets(&client, "CreateSecret", request.clone())
        .await
        .unwrap();
    assert_eq!(first["VersionId"], TOKEN);
    let arn = first["ARN"].as_str().unwrap();
    assert!(
        arn.starts_with(&format!(
            "arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:restore/orders-"
        )),
        "{arn}"
    );
    assert_eq!(
        secrets(&client, "CreateSecret", request).await.unwrap(),
        first
    );
    let other =
        json!({ "Name": "restore/orders", "SecretString": "two", "ClientRequestToken": TOKEN });
    assert_eq!(
        code(&client, "CreateSecret", other).await,
        "ResourceExistsException"
    );
    let short = json!({ "Name": "x", "SecretString": "one", "ClientRequestToken": "short" });
    assert_eq!(
        code(&client, "CreateSecret", short).await,
        "InvalidParameterException"
    );
}

#[tokio::test(start_paused = true)]
async fn a_password_is_changed_so_that_every_step_can_be_repeated() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let created = secrets(
        &client,
        "CreateSecret",
        json!({ "Name": "s", "SecretString": "old" }),
    )
    .await
    .unwrap();
    let pending = json!({ "SecretId": "s", "SecretString": "new", "ClientRequestToken": TOKEN, "VersionStages": ["AWSPENDING"] });
    for _ in 0..2 {
        let put = secrets(&client, "PutSecretValue", pending.clone())
            .await
            .unwrap();
        assert_eq!(put["VersionStages"], json!(["AWSPENDING"]));
    }
    let other = json!({ "SecretId": "s", "SecretString": "newer", "ClientRequestToken": TOKEN });
    assert_eq!(
        code(&client, "PutSecretValue", other).await,
        "ResourceExistsException"
    );
    assert_eq!(value(&client, json!({ "SecretId": "s" })).await, "old");
    assert_eq!(
        value(
            &client,
            json!({ "SecretId": "s", "VersionStage": "AWSPENDING" })
        )
        .await,
        "new"
    );

    let blind = json!({ "SecretId": "s", "VersionStage": "AWSCURRENT", "MoveToVersionId": TOKEN });
    assert_eq!(
        code(&client, "UpdateSecretVersionStage", blind.clone()).await,
        "InvalidParameterException"
    );
    let mut named = blind;
    named["RemoveFromVersionId"] = created["VersionId"].clone();
    secrets(&client, "UpdateSecretVersionStage", named)
        .await
        .unwrap();
    assert_eq!(value(&client, json!({ "SecretId": "s" })).await, "new");
    assert_eq!(
        value(
            &client,
            json!({ "SecretId": "s", "VersionStage": "AWSPREVIOUS" })
        )
        .await,
        "old"
    );
    let described = secrets(&client, "DescribeSecret", json!({ "SecretId": "s" }))
        .await
        .unwrap();
    assert_eq!(
        described["VersionIdsToStages"][TOKEN],
        json!(["AWSCURRENT", "AWSPENDING"])
    );
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_found_by_name_arn_and_arn_without_its_end() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let created = secrets(
        &client,
        "CreateSecret",
        json!({ "Name": "s", "SecretString": "x" }),
    )
    .await
    .unwrap();
    let arn = created["ARN"].as_str().unwrap();
    for id in ["s", arn, &arn[..arn.len() - 7]] {
        assert_eq!(value(&client, json!({ "SecretId": id })).await, "x", "{id}");
    }
    let unknown = json!({ "SecretId": &arn[..arn.len() - 6] });
    assert_eq!(
        code(&client, "GetSecretValue", unknown).await,
        "ResourceNotFoundException"
    );
    let stranger = client.clone().with_key("210987654321");
    assert_eq!(
        code(&stranger, "GetSecretValue", json!({ "SecretId": arn })).await,
        "AccessDeniedException"
    );
    let elsewhere = client.in_region("us-east-1");
    assert_eq!(
        code(&elsewhere, "GetSecretValue", json!({ "SecretId": "s" })).await,
        "ResourceNotFoundException"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deleted_secret_can_be_restored_until_its_window_ends() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    secrets(
        &client,
        "CreateSecret",
        json!({ "Name": "s", "SecretString": "x" }),
    )
    .await
    .unwrap();
    let delete = json!({ "SecretId": "s", "RecoveryWindowInDays": 7 });
    let deleted = secrets(&client, "DeleteSecret", delete.clone())
        .await
        .unwrap();
    let due = cloud.world().now() + Duration::from_secs(7 * 86_400);
    assert_eq!(
        deleted["DeletionDate"].as_f64().unwrap() as i64,
        due.unix_timestamp()
    );
    assert_eq!(
        code(&client, "GetSecretValue", json!({ "SecretId": "s" })).await,
        "InvalidRequestException"
    );
    assert_eq!(
        code(&client, "DeleteSecret", delete.clone()).await,
        "InvalidRequestException"
    );
    assert_eq!(
        code(&client, "CreateSecret", json!({ "Name": "s" })).await,
        "InvalidRequestException"
    );
    assert!(cloud.secrets().names().is_empty());
    secrets(&client, "RestoreSecret", json!({ "SecretId": "s" }))
        .await
        .unwrap();
    assert_eq!(value(&client, json!({ "SecretId": "s" })).await, "x");
    secrets(&client, "DeleteSecret", delete).await.unwrap();
    tokio::time::sleep(Duration::from_secs(7 * 86_400 + 1)).await;
    assert_eq!(
        code(&client, "RestoreSecret", json!({ "SecretId": "s" })).await,
        "ResourceNotFoundException"
    );
}

#[tokio::test(start_paused = true)]
async fn removing_at_once_can_be_repeated() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    secrets(
        &client,
        "CreateSecret",
        json!({ "Name": "s", "SecretString": "x" }),
    )
    .await
    .unwrap();
    for _ in 0..2 {
        secrets(
            &client,
            "DeleteSecret",
            json!({ "SecretId": "s", "ForceDeleteWithoutRecovery": true }),
        )
        .await
        .unwrap();
    }
    let both =
        json!({ "SecretId": "s", "ForceDeleteWithoutRecovery": true, "RecoveryWindowInDays": 7 });
    assert_eq!(
        code(&client, "DeleteSecret", both).await,
        "InvalidParameterException"
    );
    assert_eq!(
        code(&client, "DeleteSecret", json!({ "SecretId": "s" })).await,
        "ResourceNotFoundException"
    );
    secrets(
        &client,
        "CreateSecret",
        json!({ "Name": "s", "SecretString": "y" }),
    )
    .await
    .unwrap();
}

fn rds_secret(cloud: &LocalCloud) -> (Caller, Value) {
    let caller = Caller {
        account: ACCOUNT.to_owned(),
        region: REGION.to_owned(),
        principal: format!("arn:aws:iam::{ACCOUNT}:root"),
    };
    let _ = cloud;
    (
        caller,
        json!({ "Name": "rds!cluster-1", "SecretString": "{}", "Tags": [{ "Key": "aws:rds:primaryDBClusterArn", "Value": "a" }] }),
    )
}

#[tokio::test(start_paused = true)]
async fn what_rds_manages_only_rds_changes() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let (caller, request) = rds_secret(&cloud);
    assert_eq!(
        code(&client, "CreateSecret", request.clone()).await,
        "InvalidParameterException"
    );
    let world = cloud.world();
    world
        .call(
            &caller,
            "secretsmanager",
            "secretsmanager.CreateSecret",
            &request,
        )
        .await
        .unwrap();
    let described = secrets(
        &client,
        "DescribeSecret",
        json!({ "SecretId": "rds!cluster-1" }),
    )
    .await
    .unwrap();
    assert_eq!(
        (&described["OwningService"], &described["Tags"][0]["Value"]),
        (&json!("rds"), &json!("a"))
    );
    for operation in ["PutSecretValue", "DeleteSecret"] {
        let request = json!({ "SecretId": "rds!cluster-1", "SecretString": "mine" });
        assert_eq!(
            code(&client, operation, request).await,
            "InvalidRequestException"
        );
    }
    let put = json!({ "SecretId": "rds!cluster-1", "SecretString": "{\"a\":1}" });
    world
        .call(
            &caller,
            "secretsmanager",
            "secretsmanager.PutSecretValue",
            &put,
        )
        .await
        .unwrap();
    assert_eq!(
        value(&client, json!({ "SecretId": "rds!cluster-1" })).await,
        "{\"a\":1}"
    );
}

#[tokio::test(start_paused = true)]
async fn binary_values_are_kept_and_a_value_is_one_or_the_other() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    secrets(
        &client,
        "CreateSecret",
        json!({ "Name": "b", "SecretBinary": "AAEC" }),
    )
    .await
    .unwrap();
    let read = secrets(&client, "GetSecretValue", json!({ "SecretId": "b" }))
        .await
        .unwrap();
    assert_eq!(read["SecretBinary"], "AAEC");
    let both = json!({ "SecretId": "b", "SecretBinary": "AAEC", "SecretString": "x" });
    assert_eq!(
        code(&client, "PutSecretValue", both).await,
        "InvalidParameterException"
    );
    let large = json!({ "SecretId": "b", "SecretString": "x".repeat(65_537) });
    assert_eq!(
        code(&client, "PutSecretValue", large).await,
        "InvalidParameterException"
    );
}

#[tokio::test(start_paused = true)]
async fn secrets_are_tagged_listed_by_page_and_by_filter_and_their_versions_too() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    for name in ["a/1", "a/2", "b/1"] {
        secrets(
            &client,
            "CreateSecret",
            json!({ "Name": name, "SecretString": "x" }),
        )
        .await
        .unwrap();
    }
    let tags = json!({ "SecretId": "b/1", "Tags": [{ "Key": "aurora-restore:restore-id", "Value": "r-1" }] });
    secrets(&client, "TagResource", tags).await.unwrap();
    let page = secrets(&client, "ListSecrets", json!({ "MaxResults": 2 }))
        .await
        .unwrap();
    assert_eq!(page["SecretList"].as_array().unwrap().len(), 2);
    let next = json!({ "MaxResults": 2, "NextToken": page["NextToken"] });
    assert_eq!(
        secrets(&client, "ListSecrets", next).await.unwrap()["SecretList"][0]["Name"],
        "b/1"
    );
    for filter in [
        json!({ "Key": "name", "Values": ["b/"] }),
        json!({ "Key": "tag-value", "Values": ["r-1"] }),
    ] {
        let found = secrets(&client, "ListSecrets", json!({ "Filters": [filter] }))
            .await
            .unwrap();
        let names: Vec<_> = found["SecretList"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["Name"].clone())
            .collect();
        assert_eq!(names, ["b/1"]);
    }
    secrets(
        &client,
        "UntagResource",
        json!({ "SecretId": "b/1", "TagKeys": ["aurora-restore:restore-id"] }),
    )
    .await
    .unwrap();
    for value in ["y", "z"] {
        secrets(
            &client,
            "PutSecretValue",
            json!({ "SecretId": "b/1", "SecretString": value }),
        )
        .await
        .unwrap();
    }
    let count = |answer: Value| answer["Versions"].as_array().unwrap().len();
    let listed = secrets(
        &client,
        "ListSecretVersionIds",
        json!({ "SecretId": "b/1" }),
    )
    .await
    .unwrap();
    assert_eq!(count(listed), 2);
    let all = json!({ "SecretId": "b/1", "IncludeDeprecated": true });
    assert_eq!(
        count(secrets(&client, "ListSecretVersionIds", all).await.unwrap()),
        3
    );
}

#[tokio::test(start_paused = true)]
async fn a_random_password_is_as_asked() {
    let cloud = cloud();
    let request = json!({ "PasswordLength": 40, "ExcludeCharacters": ":/@\"'\\", "RequireEachIncludedType": true });
    let answer = secrets(&Client::new(&cloud), "GetRandomPassword", request)
        .await
        .unwrap();
    assert_eq!(answer["RandomPassword"].as_str().unwrap().len(), 40);
}

#[tokio::test(start_paused = true)]
async fn secrets_are_the_one_thing_that_is_not_searched() {
    let cloud = cloud();
    secrets(
        &Client::new(&cloud),
        "CreateSecret",
        json!({ "Name": "s", "SecretString": "canary-7" }),
    )
    .await
    .unwrap();
    assert!(
        cloud
            .recorded_texts()
            .iter()
            .all(|recorded| !recorded.text.contains("canary-7"))
    );
}
