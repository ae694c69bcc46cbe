//! Parameter Store: profiles under a path.

use serde_json::{Value, json};

use crate::client::{ACCOUNT, Client, REGION, Refused, cloud};

async fn ssm(client: &Client, operation: &str, body: Value) -> Result<Value, Refused> {
    client
        .json("ssm", &format!("AmazonSSM.{operation}"), body)
        .await
}

async fn put(client: &Client, name: &str, value: &str) -> Result<Value, Refused> {
    ssm(
        client,
        "PutParameter",
        json!({ "Name": name, "Value": value, "Type": "String" }),
    )
    .await
}

#[tokio::test(start_paused = true)]
async fn a_parameter_has_versions_and_is_overwritten_only_on_purpose() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    assert_eq!(
        put(&client, "/restore/nightly", "one").await.unwrap(),
        json!({ "Version": 1, "Tier": "Standard" })
    );
    assert_eq!(
        put(&client, "/restore/nightly", "two")
            .await
            .unwrap_err()
            .code,
        "ParameterAlreadyExists"
    );
    let request = json!({ "Name": "/restore/nightly", "Value": "two", "Overwrite": true });
    assert_eq!(
        ssm(&client, "PutParameter", request).await.unwrap()["Version"],
        2
    );
    let arn = format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/restore/nightly");
    for (name, value) in [
        ("/restore/nightly", "two"),
        ("/restore/nightly:1", "one"),
        (arn.as_str(), "two"),
    ] {
        let read = ssm(&client, "GetParameter", json!({ "Name": name }))
            .await
            .unwrap();
        assert_eq!(
            (&read["Parameter"]["Value"], &read["Parameter"]["ARN"]),
            (&json!(value), &json!(arn)),
            "{name}"
        );
    }
    let missing = json!({ "Name": "/restore/nightly:9" });
    assert_eq!(
        ssm(&client, "GetParameter", missing)
            .await
            .unwrap_err()
            .code,
        "ParameterVersionNotFound"
    );
    let history = ssm(
        &client,
        "GetParameterHistory",
        json!({ "Name": "/restore/nightly" }),
    )
    .await
    .unwrap();
    assert_eq!(history["Parameters"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_path_is_read_ten_at_a_time() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    for number in 0..12 {
        put(&client, &format!("/restore/profiles/p{number:02}"), "{}")
            .await
            .unwrap();
    }
    put(&client, "/restore/profiles/deep/er", "{}")
        .await
        .unwrap();
    let ask = |more: Value| {
        let mut request = json!({ "Path": "/restore/profiles" });
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        ssm(&client, "GetParametersByPath", request)
    };
    let page = ask(json!({})).await.unwrap();
    assert_eq!(page["Parameters"].as_array().unwrap().len(), 10);
    let page = ask(json!({ "NextToken": page["NextToken"] }))
        .await
        .unwrap();
    assert_eq!(
        (
            page["Parameters"].as_array().unwrap().len(),
            page.get("NextToken")
        ),
        (2, None)
    );
    let recursive = ask(json!({ "Recursive": true, "MaxResults": 1 }))
        .await
        .unwrap();
    assert_eq!(
        recursive["Parameters"][0]["Name"],
        "/restore/profiles/deep/er"
    );
    assert_eq!(
        ask(json!({ "MaxResults": 11 })).await.unwrap_err().code,
        "ValidationException"
    );
}

#[tokio::test(start_paused = true)]
async fn several_are_read_at_once_and_what_is_missing_is_named() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    put(&client, "plain", "v").await.unwrap();
    let read = ssm(
        &client,
        "GetParameters",
        json!({ "Names": ["plain", "/nobody"] }),
    )
    .await
    .unwrap();
    assert_eq!(
        (&read["Parameters"][0]["Value"], &read["InvalidParameters"]),
        (&json!("v"), &json!(["/nobody"]))
    );
    let arn = format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/plain");
    assert_eq!(
        ssm(&client, "GetParameter", json!({ "Name": arn }))
            .await
            .unwrap()["Parameter"]["Name"],
        "plain"
    );
    let deleted = ssm(
        &client,
        "DeleteParameters",
        json!({ "Names": ["plain", "/nobody"] }),
    )
    .await
    .unwrap();
    assert_eq!(
        deleted,
        json!({ "DeletedParameters": ["plain"], "InvalidParameters": ["/nobody"] })
    );
    let gone = ssm(&client, "DeleteParameter", json!({ "Name": "plain" }))
        .await
        .unwrap_err();
    assert_eq!(gone.code, "ParameterNotFound");
}

#[tokio::test(start_paused = true)]
async fn a_secure_value_is_shown_only_when_decrypted() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let request = json!({ "Name": "/s", "Value": "canary-7", "Type": "SecureString" });
    ssm(&client, "PutParameter", request).await.unwrap();
    let read = |decrypt: bool| {
        ssm(
            &client,
            "GetParameter",
            json!({ "Name": "/s", "WithDecryption": decrypt }),
        )
    };
    assert_ne!(read(false).await.unwrap()["Parameter"]["Value"], "canary-7");
    assert_eq!(read(true).await.unwrap()["Parameter"]["Value"], "canary-7");
    assert!(
        cloud
            .recorded_texts()
            .iter()
            .all(|recorded| !recorded.text.contains("canary-7"))
    );
}

#[tokio::test(start_paused = true)]
async fn sizes_and_names_have_limits() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    put(&client, "/fits", &"x".repeat(4_096)).await.unwrap();
    assert_eq!(
        put(&client, "/large", &"x".repeat(4_097))
            .await
            .unwrap_err()
            .code,
        "ValidationException"
    );
    let advanced = json!({ "Name": "/large", "Value": "x".repeat(8_192), "Type": "String", "Tier": "Advanced" });
    assert_eq!(
        ssm(&client, "PutParameter", advanced).await.unwrap()["Tier"],
        "Advanced"
    );
    for name in ["a/b", "/a b", "/a/", "aws-x", "/ssm/x"] {
        assert_eq!(
            put(&client, name, "v").await.unwrap_err().code,
            "ValidationException",
            "{name}"
        );
    }
    let deep = "/a".repeat(16);
    assert_eq!(
        put(&client, &deep, "v").await.unwrap_err().code,
        "HierarchyLevelLimitExceededException"
    );
}

#[tokio::test(start_paused = true)]
async fn parameters_are_described_and_tagged() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    put(&client, "/a/1", "v").await.unwrap();
    put(&client, "/b/1", "v").await.unwrap();
    let filter = json!({ "ParameterFilters": [{ "Key": "Name", "Option": "BeginsWith", "Values": ["/b"] }] });
    let described = ssm(&client, "DescribeParameters", filter).await.unwrap();
    assert_eq!(described["Parameters"][0]["Name"], "/b/1");
    let tags = json!({ "ResourceType": "Parameter", "ResourceId": "/a/1", "Tags": [{ "Key": "k", "Value": "v" }] });
    ssm(&client, "AddTagsToResource", tags).await.unwrap();
    let request = json!({ "ResourceType": "Parameter", "ResourceId": "/a/1" });
    let listed = ssm(&client, "ListTagsForResource", request).await.unwrap();
    assert_eq!(listed, json!({ "TagList": [{ "Key": "k", "Value": "v" }] }));
}
