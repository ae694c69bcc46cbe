//! Cloud Control API: in which VPC a security group is.

use local_cloud::Caller;
use local_cloud::rds::Place;
use serde_json::{Value, json};

use crate::client::{ACCOUNT, Client, REGION, cloud};

fn caller() -> Caller {
    Caller {
        account: ACCOUNT.to_owned(),
        region: REGION.to_owned(),
        principal: format!("arn:aws:iam::{ACCOUNT}:root"),
    }
}

async fn read(client: &Client, kind: &str, id: &str) -> Result<Value, String> {
    let body = json!({"TypeName": kind, "Identifier": id});
    let answer = client
        .json("cloudcontrolapi", "CloudApiService.GetResource", body)
        .await;
    let answer = answer.map_err(|refused| refused.code)?;
    assert_eq!(answer["ResourceDescription"]["Identifier"], id);
    let properties = answer["ResourceDescription"]["Properties"]
        .as_str()
        .unwrap();
    Ok(serde_json::from_str(properties).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_group_is_where_it_was_put_or_else_in_the_regions_own_vpc() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let kind = "AWS::EC2::SecurityGroup";
    let place = Place {
        account: ACCOUNT.to_owned(),
        region: REGION.to_owned(),
    };
    let found = read(&client, kind, "sg-0any").await.unwrap();
    assert_eq!(found["VpcId"], place.default_vpc());
    let groups = cloud.world().security_groups();
    groups.put(&caller(), "sg-0any", "vpc-0other");
    let found = read(&client, kind, "sg-0any").await.unwrap();
    assert_eq!(
        (&found["VpcId"], &found["GroupId"]),
        (&json!("vpc-0other"), &json!("sg-0any"))
    );
    groups.remove(&caller(), "sg-0any");
    let gone = read(&client, kind, "sg-0any").await;
    assert_eq!(gone.unwrap_err(), "ResourceNotFoundException");
    let malformed = read(&client, kind, "any").await;
    assert_eq!(malformed.unwrap_err(), "InvalidRequestException");
    let other = read(&client, "AWS::EC2::VPC", "vpc-0other").await;
    assert_eq!(other.unwrap_err(), "TypeNotFoundException");
}
