//! What `aurora-restore plan` says, held against what restores then do.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aurora_restore::deployment::{put_parameter, sdk_config};
use aurora_restore::local::{FINAL_GROUP, QUARANTINE_GROUP};
use aurora_restore::plan::{Preview, preview};
use aurora_restore::remote::Pipeline;
use aurora_restore_core::approval::Verdict::Approved;
use aurora_restore_core::{Clock, rds};
use local_cloud::faults::{Faults, Recorded};
use pipeline_tests::paths::REFUSED_BY_PLAN;
use pipeline_tests::{Run, SOURCE, Scene, TARGET, step};
use plan::outline::{self, Call};
use plan::{Finding, Verdict};
use serde_json::{Value, json};

async fn look(scene: &Scene, restore_id: &str, input: &Value) -> Preview {
    look_as(&scene.local.pipeline, scene, restore_id, input).await
}

async fn look_as(pipeline: &Pipeline, scene: &Scene, restore_id: &str, input: &Value) -> Preview {
    let now = scene.local.cloud.world().now();
    let clock = Clock::new(move || now);
    preview(pipeline, &clock, restore_id, input).await.unwrap()
}

fn listen(scene: &Scene) -> Arc<Faults> {
    let cloud = &scene.local.cloud;
    let faults = Faults::new(cloud.world(), cloud.lambda());
    cloud.world().add_layer(faults.clone());
    faults
}

/// A call that a function made: what it is called, and what it was about, as the request names it.
struct Made {
    call: String,
    subject: String,
}

impl Made {
    fn of(recorded: &Recorded) -> Self {
        let (service, operation) = (&recorded.call.service, recorded.call.operation.as_str());
        // Route 53's operations are methods and paths.
        let operation = match operation {
            path if path.starts_with("POST ") && path.ends_with("/rrset") => {
                "ChangeResourceRecordSets"
            }
            operation => operation,
        };
        let body = &recorded.request.body;
        let form: HashMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let names = match operation {
            "CopyDBClusterSnapshot" => ["TargetDBClusterSnapshotIdentifier"].as_slice(),
            _ => &[
                "ResourceName",
                "ResourceArn",
                "DBInstanceIdentifier",
                "DBClusterSnapshotIdentifier",
                "DBClusterIdentifier",
                "SecretId",
                "Name",
            ],
        };
        let named = |name: &&str| {
            let text = json[*name].as_str().map(str::to_owned);
            form.get(*name).cloned().or(text)
        };
        Self {
            call: format!("{service}:{operation}"),
            subject: names.iter().find_map(named).unwrap_or_default(),
        }
    }

    /// Whether this is the call that was foretold, of the resource that was. Topics and records have names for people.
    fn is(&self, foretold: &Call) -> bool {
        let (subject, resource) = (&self.subject, &foretold.resource);
        let about = subject == resource
            || subject.ends_with(&format!(":{resource}"))
            || subject.contains(&format!(":secret:{resource}-"))
            || subject.is_empty();
        self.call == foretold.call && about
    }
}

/// The calls of functions that changed something, but for the pipeline's own records. A request that is made again, word
/// for word, counts once: RDS may refuse it for the moment.
fn changes(heard: &Faults) -> Vec<Made> {
    let calls = heard.recorded();
    let changing = calls.iter().filter(|made| {
        let bookkeeping = ["dynamodb", "states", "logs", "monitoring"];
        made.call.is_mutating() && !bookkeeping.contains(&made.call.service.as_str())
    });
    let mut seen = HashSet::new();
    changing
        .filter(|made| seen.insert((made.call.operation.clone(), made.request.body.clone())))
        .map(Made::of)
        .collect()
}

/// Previews a restore of which everything is known.
async fn foretell(scene: &Scene, restore_id: &str, input: &Value) -> Preview {
    scene.reaper_comes(false).await;
    let foretold = look(scene, restore_id, input).await;
    assert!(foretold.ok, "{:?}", foretold.findings);
    let unknown: Vec<&Finding> = foretold
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Unknown)
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    foretold
}

/// Compares what was foretold with what came: the states and the calls with what they are about, in order.
fn assert_came(foretold: &Preview, heard: &Faults, run: &Run<'_>) {
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    assert_eq!(foretold.states, run.path());
    let made = changes(heard);
    let told: Vec<String> = foretold
        .calls
        .iter()
        .map(|call| format!("{} {}", call.call, call.resource))
        .collect();
    let seen: Vec<String> = made
        .iter()
        .map(|made| format!("{} {}", made.call, made.subject))
        .collect();
    let same = made.len() == foretold.calls.len()
        && made
            .iter()
            .zip(&foretold.calls)
            .all(|(made, foretold)| made.is(foretold));
    assert!(same, "told {told:#?}\nmade {seen:#?}");
    // What the Plan step asks the roles about is the same list.
    let plan = foretold.plan.as_ref().unwrap();
    assert_eq!(outline::all(plan), foretold.calls);
}

/// Previews a restore, restores, and compares.
async fn assert_foretold<'a>(scene: &'a Scene, restore_id: &str, input: Value) -> Run<'a> {
    let foretold = foretell(scene, restore_id, &input).await;
    let heard = listen(scene);
    let run = scene.restore_as(restore_id, input).await;
    assert_came(&foretold, &heard, &run);
    run
}

#[tokio::test(start_paused = true)]
async fn a_plain_restore_does_what_its_plan_says() {
    let scene = Scene::real().await;
    assert_foretold(&scene, "plain-1", scene.request()).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_with_a_copy_a_reader_a_group_and_a_secret_does_what_its_plan_says() {
    let scene = Scene::real().await;
    let request = scene.request_of_every_step().await;
    assert_foretold(&scene, "every-1", request).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_clone_with_groups_of_its_instances_and_the_data_api_does_what_its_plan_says() {
    let scene = Scene::real().await;
    let group = scene.rds();
    let group = group
        .create_db_parameter_group()
        .db_parameter_group_name("own")
        .db_parameter_group_family("aurora-postgresql15")
        .description("own");
    group.send().await.unwrap();
    let over = json!({
        "source": {"clone": true},
        "target": {"instanceParameterGroup": "own", "dataApi": true, "readers": 1},
    });
    assert_foretold(&scene, "clone-1", scene.request_with(over)).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_point_in_time_is_gone_back_to_as_its_plan_says() {
    let scene = Scene::real().await;
    let request = scene.request_with(json!({"source": {"pointInTime": "latest"}}));
    assert_foretold(&scene, "moment-1", request).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_of_aurora_mysql_does_what_its_plan_says() {
    let scene = Scene::mysql().await;
    assert_foretold(&scene, "mysql-1", scene.request()).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_takes_over_a_name_does_what_its_plan_says() {
    let mut scene = Scene::real().await;
    scene.with_serving().await;
    let mut request = scene.request_to_rename();
    request["target"]["readers"] = json!(1);
    request["target"]["dataApi"] = json!(true);
    let run = assert_foretold(&scene, "rename-1", request).await;
    assert!(run.report.replaced.is_some());
    scene.local.shutdown().await;
}

/// Kept as it is, only its cluster is marked.
#[tokio::test(start_paused = true)]
async fn a_restore_that_takes_over_a_name_and_retires_nothing_does_what_its_plan_says() {
    let mut scene = Scene::real().await;
    scene.with_serving().await;
    let request = scene.request_with(json!({"switch": {"mode": "rename"}}));
    assert_foretold(&scene, "rename-1", request).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_takes_a_free_name_does_what_its_plan_says() {
    let scene = Scene::real().await;
    assert_foretold(&scene, "rename-1", scene.request_to_rename()).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_moves_pointers_does_what_its_plan_says() {
    let (scene, ..) = crate::clients::with_pointers().await;
    let request = scene.request_to_point();
    assert_foretold(&scene, "pointer-1", request).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_moves_pointers_and_retires_nothing_does_what_its_plan_says() {
    let (scene, ..) = crate::clients::with_pointers().await;
    let mut request = scene.request_to_point();
    request["switch"].as_object_mut().unwrap().remove("retire");
    assert_foretold(&scene, "pointer-1", request).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_somebody_approves_does_what_its_plan_says() {
    let scene = Scene::real().await;
    let approval = json!({"required": true, "expiresAfterMinutes": 60});
    let request = scene.request_with(json!({"approval": approval, "requestedBy": "somebody"}));
    let foretold = foretell(&scene, "approved-1", &request).await;
    let heard = listen(&scene);
    let execution = scene.start("approved-1", request).await;
    scene.until_state(&execution, "Approve").await;
    scene.sleep(Duration::from_secs(5)).await;
    let (pipeline, now) = (&scene.local.pipeline, scene.local.cloud.world().now());
    let decided = pipeline.decide("approved-1", Approved, Some("as agreed"), "comment", now);
    decided.await.unwrap();
    execution.finished().await;
    let run = scene.run("approved-1", execution).await;
    assert_came(&foretold, &heard, &run);
    scene.local.shutdown().await;
}

/// Takes a statement out of the policy of a step's role, as somebody with IAM's console may.
async fn take_away(scene: &Scene, step: &str, sid: &str) -> String {
    let settings = plan::settings(&scene.context()).await.unwrap();
    let arn = settings.function_roles[step].clone();
    let iam = scene.local.cloud.iam();
    let role = iam.role(&arn).unwrap();
    let mut documents = role.documents.clone();
    for document in documents.values_mut() {
        let statements = document["Statement"].as_array_mut().unwrap();
        statements.retain(|statement| statement["Sid"] != sid);
    }
    let name = rds::arn_field(&arn, 5).unwrap().replace("role/", "");
    let account = &scene.local.stack.account;
    iam.put_role(account, &name, &role.trust_document, &documents)
        .unwrap();
    arn
}

fn details(preview: &Preview, check: &str) -> Vec<String> {
    let found = preview.findings.iter();
    found
        .filter(|finding| finding.check == check)
        .map(|finding| finding.detail.clone())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_role_that_may_not_what_the_plan_needs_is_named_before_anything_is_made() {
    let scene = Scene::metadata().await;
    let role = take_away(&scene, "restore", "AddOurInstances").await;
    let foretold = look(&scene, "preview", &scene.request()).await;
    assert_eq!(failed(&foretold), [("permissions", "AR0056")]);
    let instance = format!("arn:aws:rds:eu-west-1:123456789012:db:{TARGET}-1");
    let text =
        format!("role `{role}` may not rds:CreateDBInstance on {instance} (no policy allows it)");
    let said = details(&foretold, "permissions");
    assert!(said.contains(&text), "{said:?}");

    let run = scene.restore(scene.request()).await;
    run.assert_failed_clean("AR0056");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    let (_, cause) = run.failure();
    assert!(cause.contains(&instance), "{cause}");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_role_that_the_deployment_does_not_let_pass_on_is_named_with_its_call() {
    let scene = Scene::metadata().await;
    let other = "arn:aws:iam::123456789012:role/somebody-elses";
    let over = json!({"target": {"roles": [{"roleArn": other, "feature": "s3Import"}]}});
    let foretold = look(&scene, "preview", &scene.request_with(over)).await;
    assert_eq!(failed(&foretold), [("permissions", "AR0056")]);
    let said = details(&foretold, "permissions").join(" ");
    assert!(
        said.contains(&format!("iam:PassRole on {other} (no policy allows it)")),
        "{said}"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_denial_is_told_from_a_silence_and_a_policy_on_what_nobody_knows_is_left_open() {
    let scene = Scene::metadata().await;
    let settings = plan::settings(&scene.context()).await.unwrap();
    let arn = &settings.function_roles["switch"];
    let iam = scene.local.cloud.iam();
    let role = iam.role(arn).unwrap();
    let name = arn.rsplit('/').next().unwrap();
    let put = |condition: Value| {
        let mut documents = role.documents.clone();
        let statement = json!({
            "Effect": "Deny", "Action": "rds:ModifyDBCluster", "Resource": "*", "Condition": condition,
        });
        let document = json!({"Version": "2012-10-17", "Statement": [statement]});
        documents.insert("by-hand".to_owned(), document);
        let account = &scene.local.stack.account;
        iam.put_role(account, name, &role.trust_document, &documents)
            .unwrap();
    };
    put(json!({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}));
    let foretold = look(&scene, "preview", &scene.request()).await;
    assert_eq!(failed(&foretold), [("permissions", "AR0056")]);
    let said = details(&foretold, "permissions").join(" ");
    assert!(said.contains("(a policy denies it)"), "{said}");

    put(json!({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}));
    let foretold = look(&scene, "preview", &scene.request()).await;
    assert!(foretold.ok, "{:?}", failed(&foretold));
    let said = details(&foretold, "permissions").join(" ");
    assert!(
        said.contains("policies look at aws:SourceIp, which only the call itself shows"),
        "{said}"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_gone_is_named() {
    let scene = Scene::metadata().await;
    let settings = plan::settings(&scene.context()).await.unwrap();
    let arn = &settings.function_roles["switch"];
    scene.local.cloud.iam().delete_role(arn).unwrap();
    let foretold = look(&scene, "preview", &scene.request()).await;
    assert_eq!(failed(&foretold), [("permissions", "AR0056")]);
    let said = details(&foretold, "permissions").join(" ");
    assert!(
        said.contains(&format!(
            "role `{arn}` of the deployed settings does not exist"
        )),
        "{said}"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn security_groups_that_are_gone_or_elsewhere_are_named_before_anything_is_made() {
    let scene = Scene::metadata().await;
    let groups = scene.local.cloud.world().security_groups();
    let here = scene.caller(&scene.local.stack.region);
    groups.remove(&here, FINAL_GROUP);
    groups.put(&here, QUARANTINE_GROUP, "vpc-0other");
    let foretold = look(&scene, "preview", &scene.request()).await;
    assert_eq!(
        failed(&foretold),
        [("security group", "AR0057"), ("security group", "AR0057")]
    );
    let vpc = scene.place().default_vpc();
    assert_eq!(
        details(&foretold, "security group"),
        [
            format!(
                "at `quarantineSecurityGroupIds` of the deployed settings: security group `{QUARANTINE_GROUP}` is in \
                 `vpc-0other`, expected one of `{vpc}`, the VPC of subnet group `default`"
            ),
            format!(
                "at `target.securityGroupIds`: there is no security group `{FINAL_GROUP}` in eu-west-1"
            ),
        ]
    );
    let run = scene.restore(scene.request()).await;
    run.assert_failed_clean("AR0057");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    scene.local.shutdown().await;
}

/// Whoever may ask neither IAM nor Cloud Control sees what is not known, and a run goes on.
#[tokio::test(start_paused = true)]
async fn what_nobody_may_ask_is_unknown_and_stops_nothing() {
    let scene = Scene::metadata().await;
    let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
    let account = json!({"AWS": format!("arn:aws:iam::{}:root", stack.account)});
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": account, "Action": "sts:AssumeRole"},
    ]});
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": ["iam:*", "cloudformation:*"], "Resource": "*"},
    ]});
    let policies = [("looks".to_owned(), policy)].into();
    cloud
        .iam()
        .put_role(&stack.account, "looker", &trust, &policies)
        .unwrap();
    let session = format!("arn:aws:sts::{}:assumed-role/looker/grace", stack.account);
    let key = cloud.world().issue_key(&stack.account, &session, None);
    let config = sdk_config(cloud, &stack.region, &key);
    let pipeline = Pipeline::new(&config, stack.clone());
    let foretold = look_as(&pipeline, &scene, "preview", &scene.request()).await;
    assert!(foretold.ok, "{:?}", failed(&foretold));
    let unknown: Vec<(&str, Option<&str>)> = foretold
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Unknown)
        .map(|finding| (finding.check, finding.code))
        .collect();
    let denied = Some("AR0027");
    assert_eq!(
        unknown,
        [
            ("security group", denied),
            ("security group", denied),
            ("permissions", denied)
        ]
    );

    let settings = plan::settings(&scene.context()).await.unwrap();
    assert!(!settings.function_roles.contains_key("plan"));
    for sid in ["LookAtSecurityGroups", "AskWhatOurRolesMay"] {
        take_away_from_plan(&scene, sid);
    }
    let planned = scene.plan_event("restore-1", "2026-11-21T00:00:00Z");
    scene.invoke(step("plan"), planned).await.unwrap();
    scene.local.shutdown().await;
}

fn take_away_from_plan(scene: &Scene, sid: &str) {
    let iam = scene.local.cloud.iam();
    let roles = iam.roles();
    let role = roles
        .iter()
        .find(|role| role.arn.contains("-PlanRole-"))
        .unwrap();
    let mut documents = role.documents.clone();
    for document in documents.values_mut() {
        let statements = document["Statement"].as_array_mut().unwrap();
        let before = statements.len();
        statements.retain(|statement| statement["Sid"] != sid);
        assert_eq!(statements.len(), before - 1, "{sid}");
    }
    let name = role.arn.rsplit('/').next().unwrap();
    let account = &scene.local.stack.account;
    iam.put_role(account, name, &role.trust_document, &documents)
        .unwrap();
}

/// A pipeline that was deployed before its settings named roles is as it was.
#[tokio::test(start_paused = true)]
async fn without_roles_in_the_deployed_settings_permissions_are_not_asked() {
    let scene = Scene::metadata().await;
    let mut settings = plan::settings(&scene.context()).await.unwrap();
    settings.function_roles.clear();
    let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
    let text = serde_json::to_string(&settings).unwrap();
    let name = stack.settings().settings_parameter;
    put_parameter(cloud, stack, &name, &text).await.unwrap();
    let foretold = look(&scene, "preview", &scene.request()).await;
    assert!(foretold.ok);
    let said = details(&foretold, "permissions");
    assert_eq!(
        said,
        ["not asked: the deployed settings name no `functionRoles`"]
    );
    scene.local.shutdown().await;
}

/// What PostgreSQL preloads in quarantine runs there.
#[tokio::test(start_paused = true)]
async fn a_quarantine_group_that_preloads_pg_cron_is_refused_before_anything_is_made() {
    let scene = Scene::metadata().await;
    let rds = scene.rds();
    rds.create_db_cluster_parameter_group()
        .db_cluster_parameter_group_name("busy")
        .db_parameter_group_family("aurora-postgresql15")
        .description("busy")
        .send()
        .await
        .unwrap();
    let preloaded = aws_sdk_rds::types::Parameter::builder()
        .parameter_name("shared_preload_libraries")
        .parameter_value("pg_stat_statements, pg_cron")
        .build();
    rds.modify_db_cluster_parameter_group()
        .db_cluster_parameter_group_name("busy")
        .parameters(preloaded)
        .send()
        .await
        .unwrap();
    let mut settings = plan::settings(&scene.context()).await.unwrap();
    let groups = &mut settings.quarantine_parameter_groups;
    groups.insert("aurora-postgresql15".to_owned(), "busy".to_owned());
    let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
    let text = serde_json::to_string(&settings).unwrap();
    let name = stack.settings().settings_parameter;
    put_parameter(cloud, stack, &name, &text).await.unwrap();
    let foretold = look(&scene, "preview", &scene.request()).await;
    assert_eq!(failed(&foretold), [("quiet in quarantine", "AR0043")]);
    let said = details(&foretold, "quiet in quarantine");
    assert_eq!(
        said,
        [
            "cluster parameter group `busy` has shared_preload_libraries `pg_stat_statements, pg_cron`, expected no \
             pg_cron: the source's jobs of pg_cron would run in quarantine"
        ]
    );
    let run = scene.restore(scene.request()).await;
    run.assert_failed_clean("AR0043");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_preview_changes_nothing() {
    let scene = Scene::real().await;
    let request = scene.request_of_every_step().await;
    let everything = scene.everything();
    let asked = scene.local.rds.audit().len();
    let records = scene.dynamodb("Scan", json!({})).await;
    let foretold = look(&scene, "preview", &request).await;
    assert!(foretold.ok, "{:?}", foretold.findings);

    assert_eq!(scene.everything(), everything);
    assert_eq!(scene.dynamodb("Scan", json!({})).await, records);
    assert!(scene.local.cloud.sns().messages().is_empty());
    let audit = scene.local.rds.audit();
    assert!(audit.len() > asked, "it did ask");
    let changing: Vec<&str> = audit[asked..]
        .iter()
        .map(|call| call.action.as_str())
        .filter(|action| !action.starts_with("Describe") && !action.starts_with("List"))
        .collect();
    assert!(changing.is_empty(), "{changing:?}");
    scene.local.shutdown().await;
}

fn failed(preview: &Preview) -> Vec<(&str, &str)> {
    let failed = preview.findings.iter();
    failed
        .filter(|finding| finding.verdict == Verdict::Failed)
        .map(|finding: &Finding| (finding.check, finding.code.unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn every_failed_check_is_named_at_once_with_its_remedy_before_and_in_the_run() {
    let scene = Scene::metadata().await;
    let request = scene.request_with(json!({
        "source": {"masterSecretArn": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:gone/away-abcdef"},
        "target": {"subnetGroup": "nowhere", "instanceClass": "db.z9.mega", "clusterParameterGroup": "no-such"},
    }));
    let foretold = look(&scene, "preview", &request).await;
    assert!(!foretold.ok);
    assert_eq!(
        failed(&foretold),
        [
            ("source's secret", "AR0024"),
            ("subnet group", "AR0015"),
            ("cluster parameter group", "AR0015"),
            ("class is offered", "AR0016"),
        ]
    );
    let remedies = foretold
        .findings
        .iter()
        .filter_map(|finding| finding.remedy);
    assert!(remedies.clone().count() == 4 && remedies.into_iter().all(|remedy| !remedy.is_empty()));

    let run = scene.restore(request).await;
    run.assert_failed_clean("AR0024");
    let (_, cause) = run.failure();
    for named in ["AR0015", "nowhere", "no-such", "AR0016", "db.z9.mega"] {
        assert!(cause.contains(named), "{named}: {cause}");
    }
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_resolved_is_a_failed_check_too() {
    let scene = Scene::metadata().await;
    let over = json!({"target": {"clusterIdentifier": "orders-live"}});
    let foretold = look(&scene, "preview", &scene.request_with(over)).await;
    assert_eq!(failed(&foretold), [("request", "AR0005")]);
    let over = json!({"source": {"snapshot": "never-taken"}});
    let foretold = look(&scene, "preview", &scene.request_with(over)).await;
    assert_eq!(failed(&foretold), [("request", "AR0007")]);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn earlier_restores_tell_how_long_the_next_one_takes() {
    let scene = Scene::real().await;
    let from_size = look(&scene, "preview", &scene.request())
        .await
        .expected
        .unwrap();
    assert!(
        from_size.basis.contains("assumptions"),
        "{}",
        from_size.basis
    );
    let run = scene.restore(scene.request()).await;
    let took = run.report.seconds.total;
    let foretold = look(&scene, "preview", &scene.request()).await;
    let from_record = foretold.expected.as_ref().unwrap();
    assert!(
        from_record.basis.contains("last 1 restores"),
        "{}",
        from_record.basis
    );
    assert!((from_record.seconds - took).abs() < 1.0);
    // The target of the first restore is there: a second one cannot be made beside it.
    assert!(failed(&foretold).contains(&("name is free", "AR0009")));
    assert_eq!(foretold.plan.unwrap().source.cluster_identifier, SOURCE);
    assert!(foretold.calls.iter().any(|call| call.resource == TARGET));
    scene.local.shutdown().await;
}
