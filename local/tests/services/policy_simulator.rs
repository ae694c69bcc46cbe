//! IAM's policy simulator: what a role's policies say to calls that nobody makes.

use serde_json::json;

use crate::client::{ACCOUNT, Client, cloud, element};

const ROLE: &str = "arn:aws:iam::123456789012:role/tested";

/// A cloud with a role that may reboot what is tagged `team`, and delete nothing.
fn with_role() -> local_cloud::LocalCloud {
    let cloud = cloud();
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ]});
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {
            "Effect": "Allow", "Action": "rds:RebootDBInstance",
            "Resource": "arn:aws:rds:*:*:db:orders-*",
            "Condition": {"StringEquals": {"aws:ResourceTag/team": "orders"}},
        },
        {"Effect": "Deny", "Action": "rds:DeleteDBInstance", "Resource": "*"},
    ]});
    let policies = [("own".to_owned(), policy)].into();
    cloud
        .iam()
        .put_role(ACCOUNT, "tested", &trust, &policies)
        .unwrap();
    cloud
}

/// The form of a call about these actions and resources, with the tag `team` where there is one.
fn form(actions: &[&str], resources: &[&str], team: Option<&str>) -> String {
    let numbered = |list: &'static str, items: &[&str]| -> String {
        let items = items.iter().enumerate();
        items
            .map(|(number, item)| format!("&{list}.member.{}={item}", number + 1))
            .collect()
    };
    let mut form = format!(
        "Action=SimulatePrincipalPolicy&Version=2010-05-08&PolicySourceArn={ROLE}{}{}",
        numbered("ActionNames", actions),
        numbered("ResourceArns", resources)
    );
    if let Some(team) = team {
        form.push_str(&format!(
            "&ContextEntries.member.1.ContextKeyName=aws:ResourceTag/team\
             &ContextEntries.member.1.ContextKeyValues.member.1={team}\
             &ContextEntries.member.1.ContextKeyType=string"
        ));
    }
    form
}

/// Every text of this element.
fn all<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let parts = xml.split(open.as_str()).skip(1);
    parts
        .filter_map(|part| part.split(close.as_str()).next())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn each_action_has_a_result_as_strict_as_its_strictest_resource() {
    let cloud = with_role();
    let client = Client::new(&cloud);
    let own = "arn:aws:rds:eu-west-1:123456789012:db:orders-1";
    let other = "arn:aws:rds:eu-west-1:123456789012:db:payroll-1";
    let asked = form(
        &["rds:RebootDBInstance", "rds:DeleteDBInstance"],
        &[own, other],
        Some("orders"),
    );
    let xml = client.query("iam", &asked).await.text();
    assert_eq!(all(&xml, "EvalDecision"), ["implicitDeny", "explicitDeny"]);
    assert_eq!(
        all(&xml, "EvalResourceDecision"),
        ["allowed", "implicitDeny", "explicitDeny", "explicitDeny"]
    );
    assert_eq!(
        all(&xml, "EvalResourceName"),
        ["*", own, other, "*", own, other]
    );
    assert_eq!(element(&xml, "IsTruncated"), Some("false"));
    assert!(
        all(&xml, "SourcePolicyId")
            .iter()
            .all(|policy| *policy == "own")
    );
    // Nobody called anything.
    assert!(cloud.iam().evaluations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_nobody_gave_is_named_and_is_not_there() {
    let cloud = with_role();
    let client = Client::new(&cloud);
    let own = "arn:aws:rds:eu-west-1:123456789012:db:orders-1";
    let xml = client
        .query("iam", &form(&["rds:RebootDBInstance"], &[own], None))
        .await
        .text();
    assert_eq!(all(&xml, "EvalResourceDecision"), ["implicitDeny"]);
    let missing = all(&xml, "MissingContextValues");
    assert_eq!(missing, ["<member>aws:ResourceTag/team</member>"; 2]);
    // Without resources all of them are meant, and there is nothing about single ones.
    let xml = client
        .query("iam", &form(&["rds:DeleteDBInstance"], &[], Some("orders")))
        .await
        .text();
    assert_eq!(all(&xml, "EvalDecision"), ["explicitDeny"]);
    assert!(!xml.contains("ResourceSpecificResults"));
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_not_there_and_what_is_not_simulated_are_refused() {
    let cloud = with_role();
    let client = Client::new(&cloud);
    let asked = form(&["rds:RebootDBInstance"], &[], None);
    let refused = async |form: String| {
        let answered = client.query("iam", &form).await;
        let code = element(&answered.text(), "Code").map(str::to_owned);
        (answered.status, code.unwrap_or_default())
    };
    let gone = asked.replace("role/tested", "role/gone");
    assert_eq!(refused(gone).await, (404, "NoSuchEntity".to_owned()));
    let more = format!("{asked}&CallerArn={ROLE}");
    assert_eq!(refused(more).await, (501, "NotImplemented".to_owned()));
    let nothing = form(&[], &[], None);
    assert_eq!(refused(nothing).await, (400, "ValidationError".to_owned()));
}
