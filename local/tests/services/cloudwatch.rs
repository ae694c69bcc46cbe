//! CloudWatch in the three protocols clients speak.

use http::Method;
use serde_json::json;

use crate::client::{Client, cloud, element};

#[tokio::test(start_paused = true)]
async fn what_is_put_can_be_asked_for_in_every_protocol() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let put = "Action=PutMetricData&Version=2010-08-01&Namespace=AuroraRestore&MetricData.member.1.MetricName=Outcome\
               &MetricData.member.1.Value=1&MetricData.member.1.Unit=Count&MetricData.member.1.Timestamp=2026-11-21T03%3A00%3A10Z\
               &MetricData.member.1.Dimensions.member.1.Name=Profile&MetricData.member.1.Dimensions.member.1.Value=nightly";
    assert_eq!(client.query("monitoring", put).await.status, 200);
    let put = json!({ "Namespace": "AuroraRestore", "MetricData": [{
        "MetricName": "Outcome", "Values": [2.0, 4.0], "Counts": [1.0, 3.0], "Timestamp": 1795230020,
        "Unit": "Count", "Dimensions": [{ "Name": "Profile", "Value": "nightly" }] }] });
    client
        .json(
            "monitoring",
            "GraniteServiceVersion20100801.PutMetricData",
            put,
        )
        .await
        .unwrap();

    let ask = "Action=GetMetricStatistics&Namespace=AuroraRestore&MetricName=Outcome&Period=60&StartTime=2026-11-21T03:00:00Z\
               &EndTime=2026-11-21T04:00:00Z&Statistics.member.1=Sum&Statistics.member.2=SampleCount\
               &Dimensions.member.1.Name=Profile&Dimensions.member.1.Value=nightly";
    let xml = client.query("monitoring", ask).await.text();
    assert_eq!(
        (element(&xml, "Sum"), element(&xml, "SampleCount")),
        (Some("15"), Some("5")),
        "{xml}"
    );
    assert_eq!(element(&xml, "Timestamp"), Some("2026-11-21T03:00:00Z"));

    let mut body = Vec::new();
    ciborium::into_writer(&json!({ "Namespace": "AuroraRestore" }), &mut body).unwrap();
    let headers = [
        ("smithy-protocol", "rpc-v2-cbor"),
        ("content-type", "application/cbor"),
    ];
    let path = "/service/GraniteServiceVersion20100801/operation/ListMetrics";
    let answered = client
        .send("monitoring", Method::POST, path, &headers, body)
        .await;
    assert_eq!(answered.header("smithy-protocol"), Some("rpc-v2-cbor"));
    let listed: serde_json::Value = ciborium::from_reader(answered.body.as_slice()).unwrap();
    assert_eq!(listed["Metrics"][0]["Dimensions"][0]["Value"], "nightly");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_the_protocols_code() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let xml = client
        .query("monitoring", "Action=PutMetricData&Namespace=AWS/RDS")
        .await
        .text();
    assert_eq!(element(&xml, "Code"), Some("InvalidParameterValue"));
    let put = json!({ "Namespace": "AWS/RDS" });
    let refused = client
        .json(
            "monitoring",
            "GraniteServiceVersion20100801.PutMetricData",
            put,
        )
        .await
        .unwrap_err();
    assert_eq!(refused.code, "InvalidParameterValueException");
}

#[tokio::test(start_paused = true)]
async fn alarms_are_kept_as_they_were_put() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let call = |operation: &str, body| {
        let client = client.clone();
        let target = format!("GraniteServiceVersion20100801.{operation}");
        async move { client.json("monitoring", &target, body).await.unwrap() }
    };
    call(
        "PutMetricAlarm",
        json!({ "AlarmName": "leftovers", "Threshold": 1, "MetricName": "Leftovers" }),
    )
    .await;
    let alarms = call("DescribeAlarms", json!({ "AlarmNamePrefix": "left" })).await;
    assert_eq!(alarms["MetricAlarms"][0]["StateValue"], "INSUFFICIENT_DATA");
    call("DeleteAlarms", json!({ "AlarmNames": ["leftovers"] })).await;
    assert_eq!(
        call("DescribeAlarms", json!({})).await["MetricAlarms"],
        json!([])
    );
}
