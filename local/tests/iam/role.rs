//! A cloud, a role in it, and SDK clients that call as the role.

use std::collections::BTreeMap;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_rds::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_rds::error::{ProvideErrorMetadata, SdkError};
use local_cloud::rds::{Data, RdsSettings};
use local_cloud::{AccessKey, LocalCloud};
use serde_json::{Value, json};

pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const REGION: &str = "eu-west-1";
pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/tested";

/// A cloud whose RDS keeps no data.
pub(crate) fn cloud() -> LocalCloud {
    let cloud = LocalCloud::builder()
        .seed(7)
        .starting_at(time::macros::datetime!(2026-11-21 03:00 UTC))
        .start();
    let settings = RdsSettings {
        data: Data::Metadata,
        ..RdsSettings::default()
    };
    cloud.add_rds(settings).unwrap();
    cloud
}

/// A document with these statements.
pub(crate) fn document(statements: Value) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// Lets this service assume the role.
pub(crate) fn trust(service: &str) -> Value {
    document(json!([{
        "Effect": "Allow",
        "Principal": { "Service": service },
        "Action": "sts:AssumeRole",
    }]))
}

/// Gives the tested role these statements and nothing else.
pub(crate) fn put_role(cloud: &LocalCloud, statements: Value) {
    let policies = BTreeMap::from([("inline".to_owned(), document(statements))]);
    let arn = cloud
        .iam()
        .put_role(ACCOUNT, "tested", &trust("lambda.amazonaws.com"), &policies)
        .unwrap();
    assert_eq!(arn, ROLE);
}

/// For clients with the tested role's credentials.
pub(crate) fn as_role(cloud: &LocalCloud) -> SdkConfig {
    let session = format!("arn:aws:sts::{ACCOUNT}:assumed-role/tested/function");
    config(cloud, &cloud.world().issue_key(ACCOUNT, &session, None))
}

/// For clients of the account's root.
pub(crate) fn as_root(cloud: &LocalCloud) -> SdkConfig {
    config(cloud, &cloud.root_key(ACCOUNT))
}

pub(crate) fn config(cloud: &LocalCloud, key: &AccessKey) -> SdkConfig {
    let token = Some(key.session_token.clone());
    let credentials = Credentials::new(
        &key.access_key_id,
        &key.secret_access_key,
        token,
        None,
        "local cloud",
    );
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(cloud.http_client())
        .time_source(cloud.time_source())
        .build()
}

/// The code and the text of a refusal.
pub(crate) fn refused<T, E: ProvideErrorMetadata, R>(
    result: Result<T, SdkError<E, R>>,
) -> (String, String) {
    match result {
        Ok(_) => panic!("the call was let through"),
        Err(SdkError::ServiceError(error)) => {
            let error = error.into_err();
            (
                error.code().unwrap_or_default().to_owned(),
                error.message().unwrap_or_default().to_owned(),
            )
        }
        Err(_) => panic!("the call was not answered"),
    }
}

/// Whether IAM refused it. Whatever else the service says, IAM let it pass.
pub(crate) fn is_denied<T, E: ProvideErrorMetadata, R>(result: Result<T, SdkError<E, R>>) -> bool {
    let denials = [
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
    ];
    match result {
        Err(SdkError::ServiceError(error)) => {
            let error = error.into_err();
            let code = error.code().unwrap_or_default();
            assert_ne!(code, "NotImplemented", "{:?}", error.message());
            denials.contains(&code)
        }
        _ => false,
    }
}
