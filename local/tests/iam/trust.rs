//! Who may act as a role: services by its trust policy, and other principals through STS.

use std::collections::BTreeMap;

use local_cloud::LocalCloud;
use local_cloud::iam::InvokePermission;
use local_cloud::lambda::{FunctionKind, FunctionSettings};
use serde_json::{Value, json};

use crate::role::{
    ACCOUNT, REGION, ROLE, as_role, as_root, cloud, config, document, is_denied, put_role, trust,
};

const FUNCTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:echo";

fn echo() -> FunctionKind {
    FunctionKind::in_process(|invocation| async move { Ok(invocation.payload) })
}

fn put(cloud: &LocalCloud, account: &str, name: &str, trust: &Value, statements: Value) -> String {
    let policies = BTreeMap::from([("inline".to_owned(), document(statements))]);
    cloud
        .iam()
        .put_role(account, name, trust, &policies)
        .unwrap()
}

fn nothing() -> Value {
    json!([{ "Effect": "Allow", "Action": "rds:DescribeEvents", "Resource": "*" }])
}

#[tokio::test(start_paused = true)]
async fn a_function_needs_a_role_that_lambda_may_assume() {
    let cloud = cloud();
    let add = |role: &str| cloud.add_function(FunctionSettings::new("echo").role(role), echo());
    let text = "The role defined for the function cannot be assumed by Lambda.";
    let missing = add(ROLE).unwrap_err();
    assert_eq!(
        (missing.code.as_str(), missing.message.as_str()),
        ("InvalidParameterValueException", text)
    );
    put(
        &cloud,
        ACCOUNT,
        "tested",
        &trust("states.amazonaws.com"),
        nothing(),
    );
    assert_eq!(add(ROLE).unwrap_err().message, text);
    put_role(&cloud, nothing());
    assert_eq!(add(ROLE).unwrap(), FUNCTION);
}

#[tokio::test(start_paused = true)]
async fn a_function_calls_as_its_role() {
    let cloud = cloud();
    put_role(
        &cloud,
        json!([
            { "Effect": "Allow", "Action": "rds:Describe*", "Resource": "*" },
            {
                "Effect": "Deny",
                "Action": "rds:DescribeDBInstances",
                "Resource": "*",
                "Condition": { "ArnEquals": { "lambda:SourceFunctionArn": FUNCTION } },
            },
        ]),
    );
    let http = cloud.http_client();
    let time = cloud.time_source();
    let kind = FunctionKind::in_process(move |invocation| {
        let (http, time) = (http.clone(), time.clone());
        async move {
            let key = invocation.credentials;
            let credentials = aws_sdk_rds::config::Credentials::new(
                key.access_key_id,
                key.secret_access_key,
                Some(key.session_token),
                None,
                "local cloud",
            );
            let config = aws_sdk_rds::Config::builder()
                .behavior_version_latest()
                .region(aws_sdk_rds::config::Region::new(REGION))
                .credentials_provider(credentials)
                .http_client(http)
                .time_source(time)
                .build();
            let rds = aws_sdk_rds::Client::from_conf(config);
            Ok(json!({
                "clusters": is_denied(rds.describe_db_clusters().send().await),
                "instances": is_denied(rds.describe_db_instances().send().await),
                "delete": is_denied(rds.delete_db_cluster().db_cluster_identifier("x").send().await),
            }))
        }
    });
    cloud
        .add_function(FunctionSettings::new("echo").role(ROLE), kind)
        .unwrap();
    let caller = local_cloud::Caller {
        account: ACCOUNT.to_owned(),
        region: REGION.to_owned(),
        principal: format!("arn:aws:iam::{ACCOUNT}:root"),
    };
    let invoked = cloud
        .lambda()
        .invoke(&caller, "echo", json!({}))
        .await
        .unwrap();
    assert_eq!(
        invoked.result.unwrap(),
        json!({ "clusters": false, "instances": true, "delete": true })
    );
    let session = cloud
        .iam()
        .evaluations()
        .into_iter()
        .next()
        .unwrap()
        .session;
    assert_eq!(session, "echo");
}

fn machine(cloud: &LocalCloud, role: &str) -> Result<String, local_cloud::ApiError> {
    let definition = json!({
        "StartAt": "Echo",
        "States": {
            "Echo": {
                "Type": "Task",
                "Resource": "arn:aws:states:::lambda:invoke",
                "Parameters": { "FunctionName": FUNCTION, "Payload.$": "$" },
                "End": true,
            },
        },
    });
    cloud.step_functions().put_state_machine(
        ACCOUNT,
        REGION,
        "restore",
        &definition.to_string(),
        role,
    )
}

#[tokio::test(start_paused = true)]
async fn a_state_machine_needs_a_role_that_step_functions_may_assume_for_it() {
    let cloud = cloud();
    let own = document(json!([{
        "Effect": "Allow",
        "Principal": { "Service": "states.amazonaws.com" },
        "Action": "sts:AssumeRole",
        "Condition": {
            "StringEquals": { "aws:SourceAccount": ACCOUNT },
            "ArnLike": { "aws:SourceArn": format!("arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:restore") },
        },
    }]));
    put_role(&cloud, nothing());
    let error = machine(&cloud, ROLE).unwrap_err();
    assert_eq!(error.code, "AccessDeniedException");
    assert!(error.message.contains("states.amazonaws.com"), "{error}");
    put(&cloud, ACCOUNT, "tested", &own, nothing());
    assert!(machine(&cloud, ROLE).is_ok());
}

#[tokio::test(start_paused = true)]
async fn step_functions_invokes_only_what_the_state_machines_role_may() {
    let cloud = cloud();
    cloud
        .add_function(FunctionSettings::new("echo"), echo())
        .unwrap();
    let states = trust("states.amazonaws.com");
    let may =
        json!([{ "Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": FUNCTION }]);
    for (run, statements, succeeds) in [("denied", nothing(), false), ("allowed", may, true)] {
        let role = put(&cloud, ACCOUNT, "machine", &states, statements);
        let arn = machine(&cloud, &role).unwrap();
        let execution = cloud.step_functions().start(&arn, run, &json!({})).unwrap();
        execution.finished().await;
        let outcome = format!("{:?}", execution.outcome());
        assert_eq!(outcome.contains("Succeeded"), succeeds, "{outcome}");
        if !succeeds {
            assert!(outcome.contains("Lambda.AWSLambdaException"), "{outcome}");
            assert!(
                outcome.contains(
                    "because no identity-based policy allows the lambda:InvokeFunction action"
                ),
                "{outcome}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_invokes_a_judged_function_only_with_its_permission() {
    let cloud = cloud();
    put_role(&cloud, nothing());
    let function = cloud
        .add_function(FunctionSettings::new("echo").role(ROLE), echo())
        .unwrap();
    let rule = format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/wake");
    let check = |source: &str| {
        cloud
            .lambda()
            .check_permission("events.amazonaws.com", &function, source)
            .is_ok()
    };
    assert!(!check(&rule));
    cloud.iam().allow_invoke(InvokePermission {
        statement_id: "WakePermission".to_owned(),
        function_arn: function.clone(),
        principal: "events.amazonaws.com".to_owned(),
        source_arn: Some(rule.clone()),
        source_account: Some(ACCOUNT.to_owned()),
    });
    assert!(check(&rule));
    assert!(!check(&format!("{rule}-other")));
    assert!(!check(&rule.replace(ACCOUNT, "210987654321")));
    cloud.iam().revoke_invoke(&function, "WakePermission");
    assert!(!check(&rule));
}

#[tokio::test(start_paused = true)]
async fn a_role_of_another_account_is_assumed_when_both_sides_allow_it() {
    const OTHER: &str = "210987654321";
    let cloud = cloud();
    let source = format!("arn:aws:iam::{OTHER}:role/source");
    let assume = async |external: Option<&str>| {
        aws_sdk_sts::Client::new(&as_role(&cloud))
            .assume_role()
            .role_arn(&source)
            .role_session_name("restore")
            .set_external_id(external.map(str::to_owned))
            .send()
            .await
    };
    let may = json!([{ "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": source }]);
    put_role(&cloud, may.clone());
    assert!(is_denied(assume(Some("x")).await), "there is no such role");
    let trusting = document(json!([{
        "Effect": "Allow",
        "Principal": { "AWS": ROLE },
        "Action": "sts:AssumeRole",
        "Condition": { "StringEquals": { "sts:ExternalId": "x" } },
    }]));
    put(
        &cloud,
        OTHER,
        "source",
        &trusting,
        json!([
            { "Effect": "Allow", "Action": "rds:DescribeDBClusters", "Resource": "*" },
        ]),
    );
    assert!(is_denied(assume(None).await), "the condition of the trust");
    let assumed = assume(Some("x")).await.unwrap().credentials.unwrap();
    put_role(&cloud, nothing());
    assert!(
        is_denied(assume(Some("x")).await),
        "the caller's own policies"
    );
    let key = local_cloud::AccessKey {
        access_key_id: assumed.access_key_id,
        secret_access_key: assumed.secret_access_key,
        session_token: assumed.session_token,
        expiration: None,
    };
    let rds = aws_sdk_rds::Client::new(&config(&cloud, &key));
    assert!(!is_denied(rds.describe_db_clusters().send().await));
    assert!(is_denied(rds.describe_db_instances().send().await));
    let root = aws_sdk_sts::Client::new(&as_root(&cloud))
        .assume_role()
        .role_arn(&source)
        .role_session_name("restore");
    assert!(
        is_denied(root.send().await),
        "another account's root is not trusted"
    );
}

#[test]
fn a_document_that_is_none_is_refused_with_its_place() {
    let iam = local_cloud::iam::Iam::default();
    let lambda = trust("lambda.amazonaws.com");
    let good = json!({ "Effect": "Allow", "Action": "rds:DeleteDBCluster", "Resource": "*" });
    let with = |name: &str, value: Value| {
        let mut statement = good.clone();
        statement[name] = value;
        document(json!([statement]))
    };
    for (document, place) in [
        (with("Conditions", json!({})), "Statement[0].Conditions"),
        (with("Effect", json!("allow")), "Statement[0].Effect"),
        (
            with("Action", json!("DeleteDBCluster")),
            "Statement[0].Action",
        ),
        (with("Resource", json!("orders")), "Statement[0].Resource"),
        (with("Resource", json!([])), "Statement[0].Resource"),
        (with("NotAction", json!("rds:*")), "Statement[0]"),
        (with("Principal", json!("*")), "Statement[0].Principal"),
        (with("Sid", json!("two words")), "Statement[0].Sid"),
        (
            with("Condition", json!({ "StringEqual": { "aws:x": "y" } })),
            "Statement[0].Condition.StringEqual",
        ),
        (
            with("Condition", json!({ "Bool": { "aws:x": "perhaps" } })),
            "Statement[0].Condition.Bool.aws:x",
        ),
        (json!({ "Statement": [good] }), "Version"),
        (
            json!({ "Version": "2012-10-17", "Statement": [] }),
            "Statement",
        ),
    ] {
        let policies = BTreeMap::from([("inline".to_owned(), document)]);
        let error = iam.put_role(ACCOUNT, "x", &lambda, &policies).unwrap_err();
        assert_eq!(error.code, "MalformedPolicyDocument");
        let expected = format!("inline of arn:aws:iam::{ACCOUNT}:role/x: {place}: ");
        assert!(error.message.starts_with(&expected), "{}", error.message);
    }
    let named = iam.put_role(ACCOUNT, &"x".repeat(65), &lambda, &BTreeMap::new());
    assert_eq!(named.unwrap_err().code, "ValidationError");
}
