//! The HTTP API: the committed document and the function behind it, called as any client would.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use aurora_restore::deployment::{API_TEMPLATE, Functions, deploy_api};
use aurora_restore::local::LocalOptions;
use aurora_restore_core::request;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use local_cloud::AccessKey;
use local_cloud::rds::Data;
use pipeline_tests::{Scene, TARGET, seed};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A pipeline with its API, served on a port of this machine.
struct Api {
    scene: Scene,
    key: AccessKey,
    base: String,
}

/// A status, headers and a body.
struct Answered {
    status: u16,
    headers: http::HeaderMap,
    body: Value,
}

impl Api {
    async fn new() -> Self {
        let mut options = LocalOptions::in_process(seed());
        options.rds.data = Data::Metadata;
        // Time is the machine's here, and a source takes RDS minutes.
        options.speed = 2_000.0;
        // No restore ends while it is looked at.
        options.rds.durations.restore_cluster = Duration::from_secs(100 * 86_400);
        Self::with(options).await
    }

    async fn with(mut options: LocalOptions) -> Self {
        options.port = Some(0);
        let scene = Scene::with(options).await;
        let (local, functions) = (&scene.local, Functions::InProcess { count_work: false });
        let path = deploy_api(&local.cloud, &local.stack, &functions)
            .await
            .unwrap();
        let endpoint = local.server.as_ref().unwrap().endpoint();
        Self {
            key: local.cloud.root_key(&local.stack.account),
            base: format!("{endpoint}{path}"),
            scene,
        }
    }

    async fn get(&self, path: &str) -> Answered {
        self.call("GET", path, String::new()).await
    }

    async fn post(&self, body: Value) -> Answered {
        self.call("POST", "/restores", body.to_string()).await
    }

    async fn call(&self, method: &str, path: &str, body: String) -> Answered {
        self.call_signed_for("eu-west-1", method, path, body).await
    }

    async fn call_signed_for(
        &self,
        region: &str,
        method: &str,
        path: &str,
        body: String,
    ) -> Answered {
        let uri: http::Uri = format!("{}{path}", self.base).parse().unwrap();
        let host = uri.authority().unwrap().to_string();
        let mut request = http::Request::builder()
            .method(method)
            .uri(uri.clone())
            .header("host", &host)
            .header("content-type", "application/json")
            .body(Full::new(bytes::Bytes::from(body.clone())))
            .unwrap();
        let identity = aws_credential_types::Credentials::new(
            &self.key.access_key_id,
            &self.key.secret_access_key,
            Some(self.key.session_token.clone()),
            None,
            "test",
        )
        .into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("execute-api")
            .time(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let headers = [
            ("host", host.as_str()),
            ("content-type", "application/json"),
        ];
        let body = SignableBody::Bytes(body.as_bytes());
        let signable =
            SignableRequest::new(method, uri.to_string(), headers.into_iter(), body).unwrap();
        let (instructions, _) = sign(signable, &parameters).unwrap().into_parts();
        instructions.apply_to_request_http1x(&mut request);

        let stream = tokio::net::TcpStream::connect(&host).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answered {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        }
    }

    /// Waits until the restore of this id has this outcome.
    async fn until_outcome(&self, id: &str, outcome: &str) -> Value {
        for _ in 0..5_000 {
            let answered = self.get(&format!("/restores/{id}")).await;
            if answered.body["outcome"] == outcome && answered.body["report"].is_object() {
                return answered.body;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("`{id}` did not become {outcome}");
    }
}

impl Answered {
    fn assert_refused(&self, status: u16, code: &str, named: &str) {
        let error = &self.body["error"];
        assert_eq!(
            (self.status, &error["code"]),
            (status, &json!(code)),
            "{}",
            self.body
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(named), "{named}: {message}");
    }
}

fn ids(answered: &Answered) -> Vec<&str> {
    let restores = answered.body["restores"].as_array().unwrap();
    restores
        .iter()
        .map(|restore| restore["restoreId"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_restore_is_started_once_shown_and_listed() {
    let api = Api::new().await;
    let request = api.scene.request();
    let body = json!({"name": "today", "request": request});
    let started = api.post(body.clone()).await;
    assert_eq!(started.status, 201, "{}", started.body);
    assert_eq!(
        started.body,
        json!({
            "restoreId": "today",
            "executionArn": api.scene.local.stack.execution_arn("today"),
            "started": true,
        })
    );
    assert_eq!(started.headers["location"], "restores/today");
    tokio::time::sleep(Duration::from_millis(5)).await;
    let again = api.post(body).await;
    assert_eq!((again.status, &again.body["started"]), (200, &json!(false)));
    let other = api.scene.request_with(json!({"expiresAfterHours": 1}));
    let taken = api.post(json!({"name": "today", "request": other})).await;
    taken.assert_refused(409, "AR0034", "`today`");

    let shown = api.until_outcome("today", "Running").await;
    assert_eq!(shown["report"]["targetCluster"], TARGET);
    assert!(shown["state"].is_string(), "{shown}");
    assert_eq!(ids(&api.get("/restores?outcome=Running").await), ["today"]);
    for target in [
        TARGET.to_owned(),
        format!("arn:aws:rds:eu-west-1:123456789012:cluster:{TARGET}"),
    ] {
        let listed = api.get(&format!("/restores?target={target}")).await;
        assert_eq!(ids(&listed), ["today"], "{target}");
        assert_eq!(listed.body["restores"][0]["outcome"], "Running");
    }
}

#[tokio::test]
async fn a_target_is_kept_longer_and_let_go_by_the_rules_of_the_command_line() {
    let mut options = LocalOptions::in_process(seed());
    options.speed = 500.0;
    let api = Api::with(options).await;
    let own = json!({"expiresAfterHours": 100, "target": {"deletionProtection": false}});
    let request = api.scene.request_with(own);
    let early = api
        .call("POST", "/restores/today/expiry", String::new())
        .await;
    early.assert_refused(409, "AR0055", "`today` is not on record");
    let started = api.post(json!({"name": "today", "request": request})).await;
    assert_eq!(started.status, 201, "{}", started.body);
    api.until_outcome("today", "Restored").await;

    let path = "/restores/today/extension";
    let extend = async |body: Value| api.call("POST", path, body.to_string()).await;
    let longer = extend(json!({"hours": 6})).await;
    assert_eq!(longer.status, 200, "{}", longer.body);
    let time = |name: &str| {
        let text = longer.body[name].as_str().unwrap();
        OffsetDateTime::parse(text, &Rfc3339).unwrap()
    };
    let more = time("expiresAt") - time("expiredAt");
    assert_eq!(more, Duration::from_secs(6 * 3_600));
    assert_eq!(longer.body["tagged"].as_array().unwrap().len(), 2);
    let later = time("expiresAt") + Duration::from_secs(3_600);
    let until = extend(json!({"until": later.format(&Rfc3339).unwrap()})).await;
    assert_eq!(until.status, 200, "{}", until.body);
    for (body, named) in [
        (json!({}), "exactly one of `hours` and `until`"),
        (json!({"until": "tomorrow"}), "at `until`: `tomorrow`"),
        (json!({"until": "2026-01-01T00:00:00Z"}), "a time to come"),
        (
            json!({"hours": 1, "until": "2027-01-01T00:00:00Z"}),
            "exactly one of `hours` and `until`",
        ),
    ] {
        extend(body).await.assert_refused(400, "AR0001", named);
    }
    let outside_the_model = extend(json!({"hours": 0})).await;
    assert_eq!(outside_the_model.status, 400);
    assert_eq!(outside_the_model.body["message"], "Invalid request body");

    let gone = api
        .call("POST", "/restores/today/expiry", String::new())
        .await;
    assert_eq!(gone.status, 200, "{}", gone.body);
    let target = format!(":cluster:{TARGET}");
    for _ in 0..3_000 {
        let there = api.scene.new_resources();
        if !there.iter().any(|arn| arn.ends_with(&target)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the target was not removed");
}

#[tokio::test]
async fn a_list_comes_in_pages_newest_first() {
    let api = Api::new().await;
    // Plan refuses them one after the other, and an end is recorded.
    let wrong = json!({"source": {"clusterIdentifier": "9"}});
    for name in ["one", "two", "three"] {
        api.post(json!({"name": name, "request": wrong})).await;
        api.until_outcome(name, "FailedClean").await;
    }
    let mut found = Vec::new();
    let mut path = "/restores?outcome=FailedClean&limit=2".to_owned();
    let mut pages = 0;
    loop {
        let page = api.get(&path).await;
        assert_eq!(page.status, 200, "{}", page.body);
        found.extend(ids(&page).into_iter().map(str::to_owned));
        pages += 1;
        let Some(token) = page.body["nextToken"].as_str() else {
            break;
        };
        path = format!("/restores?outcome=FailedClean&limit=2&nextToken={token}");
    }
    assert_eq!(found, ["three", "two", "one"]);
    assert_eq!(pages, 2);
}

#[tokio::test]
async fn there_is_no_way_around_the_direction_of_data() {
    let api = Api::new().await;
    let away = api
        .scene
        .request_with(json!({"target": {"clusterIdentifier": "orders-elsewhere"}}));
    let started = api.post(json!({"name": "away", "request": away})).await;
    assert_eq!(started.status, 201);
    let shown = api.until_outcome("away", "FailedClean").await;
    assert_eq!(shown["report"]["error"], "AR0005");
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_a_code() {
    let api = Api::new().await;
    let gateway = api.post(json!({"name": "a b", "request": {}})).await;
    assert_eq!(
        (gateway.status, gateway.body),
        (400, json!({"message": "Invalid request body"}))
    );
    let unknown = json!({"name": "x", "request": {}, "force": true});
    api.post(unknown)
        .await
        .assert_refused(400, "AR0001", "force");
    api.get("/restores/nobody")
        .await
        .assert_refused(404, "NotFound", "`nobody`");
    for (query, named) in [
        ("", "exactly one of the two"),
        ("?outcome=Restored&target=x", "exactly one of the two"),
        ("?outcome=Done", "Restored, FailedClean"),
        ("?target=a%20cluster", "a cluster's identifier or ARN"),
        (&format!("?target={}", "x".repeat(64)), "identifier or ARN"),
        ("?outcome=Restored&limit=101", "1 to 100"),
        ("?outcome=Restored&nextToken=e30", "nextToken"),
        ("?outcome=Restored&nextToken=%2F", "nextToken"),
    ] {
        let refused = api.get(&format!("/restores{query}")).await;
        refused.assert_refused(400, "AR0001", named);
    }
}

#[tokio::test]
async fn a_call_that_is_not_quite_the_apis_is_refused() {
    let api = Api::new().await;
    for path in ["//health", "/health/", "/%68ealth"] {
        let answered = api.get(path).await;
        assert_eq!(answered.status, 403, "{path}: {}", answered.body);
        assert_eq!(answered.body["message"], "Missing Authentication Token");
    }
    let answered = api
        .call_signed_for("eu-central-1", "GET", "/health", String::new())
        .await;
    assert_eq!(answered.status, 403);
    assert_eq!(
        answered.headers["x-amzn-errortype"],
        "InvalidSignatureException"
    );
}

#[tokio::test]
async fn health_says_whether_a_restore_could_be_started() {
    let api = Api::new().await;
    let well = api.get("/health").await;
    assert_eq!(well.status, 200, "{}", well.body);
    assert_eq!(
        well.body,
        json!({"status": "ok", "pipeline": "aurora-restore", "lastRestored": null})
    );
    let stack = &api.scene.local.stack;
    let world = api.scene.local.cloud.world();
    let name = json!({"Name": stack.settings().settings_parameter});
    world
        .call(
            &api.scene.caller(&stack.region),
            "ssm",
            "AmazonSSM.DeleteParameter",
            &name,
        )
        .await
        .unwrap();
    let ill = api.get("/health").await;
    ill.assert_refused(503, "AR0004", "settings");
}

#[test]
fn the_model_of_a_request_has_the_fields_of_a_request() {
    let minimal = json!({
        "source": {"clusterIdentifier": "orders-prod"},
        "target": {"clusterIdentifier": "orders-staging", "instanceClass": "db.r7g.large", "securityGroupIds": ["sg-1"]},
        "expiresAfterHours": 1,
        "approval": {},
    });
    let whole = serde_json::to_value(request::read(minimal).unwrap()).unwrap();
    let mut fields: BTreeSet<&str> = whole
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    fields.insert("profile");
    let (_, model) = API_TEMPLATE.split_once("title: RestoreRequest\n").unwrap();
    let (model, _) = model.split_once("\n\n").unwrap();
    let properties = model
        .lines()
        .filter_map(|line| line.strip_prefix("                "));
    let modelled: BTreeSet<&str> = properties
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(modelled, fields);
}
