//! STS: who am I, and becoming a role of another account.

use std::time::Duration;

use crate::client::{ACCOUNT, Client, cloud, element};

const IDENTITY: &str = "Action=GetCallerIdentity&Version=2011-06-15";

#[tokio::test(start_paused = true)]
async fn a_key_of_twelve_digits_is_that_account() {
    let cloud = cloud();
    for (key, account) in [("test", ACCOUNT), ("210987654321", "210987654321")] {
        let xml = Client::new(&cloud)
            .with_key(key)
            .query("sts", IDENTITY)
            .await
            .text();
        assert_eq!(element(&xml, "Account"), Some(account));
        assert_eq!(
            element(&xml, "Arn"),
            Some(format!("arn:aws:iam::{account}:root").as_str())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_is_assumed_for_its_time_and_no_longer() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let form = "Action=AssumeRole&RoleArn=arn:aws:iam::210987654321:role/path/source&RoleSessionName=r-1&DurationSeconds=900";
    let xml = client.query("sts", form).await.text();
    assert_eq!(element(&xml, "Expiration"), Some("2026-11-21T03:15:00Z"));
    let role = client
        .clone()
        .with_key(element(&xml, "AccessKeyId").unwrap());
    let xml = role.query("sts", IDENTITY).await.text();
    assert_eq!(element(&xml, "Account"), Some("210987654321"));
    assert_eq!(
        element(&xml, "Arn"),
        Some("arn:aws:sts::210987654321:assumed-role/source/r-1")
    );
    tokio::time::sleep(Duration::from_secs(900)).await;
    let answered = role.query("sts", IDENTITY).await;
    assert_eq!(
        (answered.status, element(&answered.text(), "Code")),
        (403, Some("ExpiredTokenException"))
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_no_role_is_refused() {
    let cloud = cloud();
    for form in [
        "Action=AssumeRole&RoleArn=source&RoleSessionName=r-1",
        "Action=AssumeRole&RoleArn=arn:aws:iam::210987654321:role/source&RoleSessionName=x",
        "Action=AssumeRole&RoleArn=arn:aws:iam::210987654321:role/source&RoleSessionName=r-1&DurationSeconds=60",
    ] {
        let answered = Client::new(&cloud).query("sts", form).await;
        assert_eq!(
            (answered.status, element(&answered.text(), "Code")),
            (400, Some("ValidationError")),
            "{form}"
        );
    }
}
