//! One pipeline in two regions, of which one restores. Follows docs/runbooks/region-failover.md.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use asl_interpreter::Execution;
use async_trait::async_trait;
use aurora_restore::deployment::{self, Functions, Schedule};
use aurora_restore::local::LocalOptions;
use aurora_restore::plan::preview;
use aurora_restore::region::Activated;
use aurora_restore::remote::Pipeline;
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::region::{self, Claimant, RoleTable};
use aurora_restore_core::table::Written;
use aurora_restore_core::{Clients, Clock, Context};
use local_cloud::faults::{Call, Fault, Faults};
use local_cloud::layer::{Answer, Layer, Severed};
use local_cloud::rds::Data;
use local_cloud::{ApiError, Request};
use pipeline_tests::paths::{REFUSED_BY_PLAN, SHORTEST};
use pipeline_tests::{SNAPSHOT, Scene, failure, seed, step};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;

/// The other region, and the one that only votes.
const SECOND: &str = "eu-central-1";
const WITNESS: &str = "eu-west-3";
/// The role table of both.
const TABLE: &str = "aurora-restore-role";

/// A pipeline in the scene's region, the same in [`SECOND`], and the table between them. Nobody is active yet.
struct Two {
    scene: Scene,
    second: Pipeline,
}

impl Two {
    async fn with(mut options: LocalOptions) -> Self {
        TABLE.clone_into(&mut options.role_table);
        let functions = options.functions.clone();
        let scene = Scene::with(options.clone()).await;
        let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
        assert_eq!(stack.role_table(), TABLE);
        deployment::deploy_role_table(cloud, stack, SECOND, WITNESS)
            .await
            .unwrap();
        let second = scene.local.pipeline.in_region(SECOND);
        let deployment = options.deployment(&scene.local.rds);
        deployment::deploy(cloud, &second.stack, &deployment, &functions)
            .await
            .unwrap();
        Self { scene, second }
    }

    /// Without data: for restores that end before anyone would speak SQL.
    async fn metadata() -> Self {
        let mut options = LocalOptions::in_process(seed());
        options.rds.data = Data::Metadata;
        Self::with(options).await
    }

    fn first(&self) -> &Pipeline {
        &self.scene.local.pipeline
    }

    async fn activate(&self, pipeline: &Pipeline, force: bool) -> Result<Activated, String> {
        let now = self.scene.local.cloud.world().now();
        let activated = pipeline.activate(TABLE, force, now).await;
        activated.map_err(|error| format!("{error:#}"))
    }

    async fn start(&self, pipeline: &Pipeline, id: &str, input: &Value) -> Execution {
        let arn = pipeline.start(id, input).await.unwrap();
        let machines = self.scene.local.cloud.step_functions();
        machines.execution(&arn).unwrap()
    }

    /// What restores the snapshot that was copied to the second region.
    fn far_request(&self) -> Value {
        self.scene
            .request_with(json!({"source": {"snapshot": SNAPSHOT}}))
    }

    /// The functions' context in a region.
    fn context(&self, region: &str) -> Context {
        let cloud = &self.scene.local.cloud;
        let key = cloud.root_key(&self.scene.local.stack.account);
        let mut context = self.scene.context();
        context.aws = Clients::new(deployment::sdk_config(cloud, region, &key));
        context.settings.role_table = Some(TABLE.to_owned());
        context
    }
}

#[tokio::test(start_paused = true)]
async fn the_passive_region_refuses_and_makes_nothing_until_it_is_activated() {
    let two = Two::with(LocalOptions::in_process(seed())).await;
    let scene = &two.scene;

    // Nobody is active: both refuse.
    let run = scene.restore_as("too-early", scene.request()).await;
    run.assert_failed_clean("AR0064");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    let (_, cause) = run.failure();
    assert!(cause.contains("no region was made active yet"), "{cause}");

    // The second is active: it restores what it has, and the first does not.
    let activated = two.activate(&two.second, false).await.unwrap();
    assert_eq!((activated.changed, activated.role.epoch), (true, 1));
    let run = scene.restore_as("refused-here", scene.request()).await;
    run.assert_failed_clean("AR0064");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    let (_, cause) = run.failure();
    assert!(
        cause.contains("eu-west-1 is passive: eu-central-1 is active"),
        "{cause}"
    );
    scene.copy_to_region(SECOND).await;
    let far = two.start(&two.second, "far", &two.far_request()).await;
    far.finished().await;
    let path = far.history().states_entered();
    assert_eq!(path, SHORTEST, "{:?}", far.outcome());
    let there = format!(":{SECOND}:");
    let clusters: Vec<String> = scene
        .new_resources()
        .into_iter()
        .filter(|arn| arn.contains(":cluster:"))
        .collect();
    assert!(clusters.iter().all(|arn| arn.contains(&there)));
    assert_eq!(clusters.len(), 1, "{clusters:?}");

    // The first takes over.
    let activated = two.activate(two.first(), false).await.unwrap();
    assert_eq!(activated.role.active_region, "eu-west-1");
    assert_eq!((activated.changed, activated.role.epoch), (true, 2));
    let again = two.activate(two.first(), false).await.unwrap();
    assert_eq!((again.changed, again.role.epoch), (false, 2));
    let run = scene.restore_as("home", scene.request()).await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    let late = two.start(&two.second, "late", &two.far_request()).await;
    late.finished().await;
    assert_eq!(failure(&late).0, "AR0064");
    assert_eq!(late.history().states_entered(), REFUSED_BY_PLAN);
}

#[tokio::test(start_paused = true)]
async fn a_preview_says_that_a_passive_region_would_refuse_and_claims_nothing() {
    let two = Two::metadata().await;
    let request = two.scene.request();
    let now = two.scene.local.cloud.world().now();
    let clock = Clock::new(move || now);
    let look = async |pipeline: &Pipeline| {
        let foretold = preview(pipeline, &clock, "restore-1", &request)
            .await
            .unwrap();
        let region = foretold.findings.first().unwrap();
        assert_eq!(region.check, "region");
        (foretold.ok, region.code, region.detail.clone())
    };
    let (ok, code, detail) = look(two.first()).await;
    assert_eq!((ok, code), (false, Some("AR0064")));
    assert_eq!(
        detail,
        "eu-west-1 is passive: no region was made active yet"
    );
    two.activate(two.first(), false).await.unwrap();
    assert_eq!(look(two.first()).await, (true, None, "active".to_owned()));
    let (ok, code, detail) = look(&two.second).await;
    assert_eq!((ok, code), (false, Some("AR0064")));
    assert!(
        detail.contains("eu-central-1 is passive: eu-west-1 is active"),
        "{detail}"
    );
    // Nobody has the id: the role is all that is in the table.
    let scanned = aws_sdk_dynamodb::Client::new(&two.scene.local.config)
        .scan()
        .table_name(TABLE)
        .send()
        .await
        .unwrap();
    assert_eq!(scanned.count, 1, "{:?}", scanned.items);
    two.scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_fires_in_both_regions_starts_one_restore() {
    let mut options = LocalOptions::in_process(seed());
    options.rds.data = Data::Metadata;
    options.starting_at = Some(datetime!(2026-11-21 02:00 UTC));
    options.schedule = Some(Schedule {
        name: "nightly".to_owned(),
        expression: "cron(0 3 * * ? *)".to_owned(),
        timezone: "UTC".to_owned(),
        request: json!({"profile": "nightly"}),
    });
    let two = Two::with(options).await;
    let scene = &two.scene;
    two.activate(two.first(), false).await.unwrap();
    let profile = scene.request().to_string();
    let put = two.first().put_profile("nightly", &profile);
    put.await.unwrap();
    let copied = two.first().copy_profiles(SECOND).await.unwrap();
    assert_eq!((copied.len(), copied[0].version), (1, 1));
    assert_eq!(two.second.profiles().await.unwrap(), copied);

    let started = || {
        let executions = scene.local.cloud.step_functions().executions().into_iter();
        executions
            .map(|execution| {
                let launch = execution.launch();
                (launch.name.clone(), launch.execution_arn.contains(SECOND))
            })
            .collect::<Vec<_>>()
    };
    scene.sleep(Duration::from_secs(65 * 60)).await;
    let first_night = ("nightly-20261121T030000Z".to_owned(), false);
    assert_eq!(scene.local.cloud.scheduler().deliveries().len(), 2);
    assert_eq!(started(), std::slice::from_ref(&first_night));
    let quiet = scene.local.cloud.cloudwatch();
    let quiet = quiet.data_points("AuroraRestore", "NotActive");
    assert_eq!(quiet.len(), 1, "{quiet:?}");

    // What was delivered before the role moved is delivered again after it: the id is the first region's.
    let deliveries = scene.local.cloud.scheduler().deliveries();
    two.activate(&two.second, true).await.unwrap();
    for delivery in &deliveries {
        scene.local.cloud.scheduler().redeliver(delivery).unwrap();
    }
    scene.sleep(Duration::from_secs(600)).await;
    assert_eq!(
        started(),
        [first_night.clone(), (first_night.0.clone(), true)]
    );
    let arn = two.second.stack.execution_arn(&first_night.0);
    let second = scene.local.cloud.step_functions().execution(&arn).unwrap();
    second.finished().await;
    assert_eq!(failure(&second).0, "AR0065");
    assert_eq!(second.history().states_entered(), REFUSED_BY_PLAN);
}

#[tokio::test(start_paused = true)]
async fn who_asks_the_passive_region_for_a_restore_or_a_fleet_is_told_which_is_active() {
    let two = Two::metadata().await;
    let scene = &two.scene;
    let functions = Functions::InProcess { count_work: false };
    let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
    deployment::deploy_api(cloud, stack, &functions)
        .await
        .unwrap();
    scene.deploy_fleet().await;
    two.activate(&two.second, false).await.unwrap();
    let asked = |name: &str| {
        json!({
            "httpMethod": "POST", "resource": "/restores", "path": "/restores",
            "body": json!({"name": name, "request": scene.request()}).to_string(),
            "requestContext": {"identity": {"userArn": "arn:aws:iam::123456789012:user/someone"}},
        })
    };
    let answer = scene.invoke(step("api"), asked("today")).await.unwrap();
    assert_eq!(answer["statusCode"], 409, "{answer}");
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    let error = &body["error"];
    assert_eq!(error["code"], "AR0064");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("eu-central-1 is active"), "{message}");

    let fleet = scene.fleet("weekly", json!({"profiles": "*"})).await;
    let (_, cause) = failure(&fleet);
    assert!(
        cause.contains("AR0064") && cause.contains("eu-central-1 is active"),
        "{cause}"
    );
    assert_eq!(
        fleet.history().states_entered(),
        ["PlanFleet", "ReportFailure", "FleetFailed"]
    );
    let event = json!({
        "schedule": "weekly", "scheduledTime": "2026-11-22T03:00:00Z", "fleet": {"profiles": "*"},
    });
    let quiet = scene.invoke(step("start"), event).await.unwrap();
    assert_eq!(
        (&quiet["fleetId"], &quiet["started"]),
        (&json!("weekly-20261122T030000Z"), &json!(false))
    );
    let executions = cloud.step_functions().executions();
    assert_eq!(executions.len(), 1, "the fleet that was asked for by hand");

    two.activate(two.first(), false).await.unwrap();
    let answer = scene.invoke(step("api"), asked("today")).await.unwrap();
    assert_eq!(answer["statusCode"], 201, "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_one_region_claimed_is_never_run_by_the_other() {
    let two = Two::metadata().await;
    let scene = &two.scene;
    two.activate(two.first(), false).await.unwrap();
    let home = two.start(two.first(), "restore-1", &scene.request()).await;
    scene.until_state(&home, "WaitForCluster").await;
    scene.copy_to_region(SECOND).await;

    let refused = two.activate(&two.second, false).await.unwrap_err();
    assert!(
        refused.contains("restores run in eu-west-1, which is active: restore-1."),
        "{refused}"
    );
    let role = two.second.role(TABLE).await.unwrap().unwrap();
    assert_eq!((role.active_region.as_str(), role.epoch), ("eu-west-1", 1));
    let forced = two.activate(&two.second, true).await.unwrap();
    assert_eq!(forced.still_running, ["restore-1"]);
    assert_eq!(forced.role.epoch, 2);

    // While the first still runs it, and after it died of it.
    let clusters = scene.new_resources();
    let far = two
        .start(&two.second, "restore-1", &two.far_request())
        .await;
    far.finished().await;
    let (error, cause) = failure(&far);
    assert_eq!(error, "AR0065", "{cause}");
    assert!(
        cause.contains("restore `restore-1` belongs to eu-west-1 since"),
        "{cause}"
    );
    assert_eq!(far.history().states_entered(), REFUSED_BY_PLAN);
    assert_eq!(scene.new_resources(), clusters);
    scene.stop(&home).await;
    home.finished().await;
    let id = RestoreId::parse("restore-1").unwrap();
    let late = Claimant {
        id: &id,
        execution_arn: &two.second.stack.execution_arn("restore-1"),
        started_at: "2027-03-01T00:00:00Z",
    };
    let refused = region::admit(&two.context(SECOND), late).await.unwrap_err();
    assert_eq!(refused.code().id, "AR0065");

    // Under another id the active region does it.
    let far = two
        .start(&two.second, "restore-2", &two.far_request())
        .await;
    scene.until_state(&far, "WaitForCluster").await;
}

#[tokio::test(start_paused = true)]
async fn an_active_region_that_cannot_be_asked_loses_the_role_by_force_only() {
    let two = Two::metadata().await;
    // A region without the pipeline answers no better than one that is down.
    let gone = two.first().in_region("eu-north-1");
    let context = two.context(SECOND);
    let table = RoleTable::of(&context).unwrap();
    let now = two.scene.local.cloud.world().now();
    table
        .activate(None, &gone.stack.region, "somebody", now)
        .await
        .unwrap();
    let refused = two.activate(two.first(), false).await.unwrap_err();
    assert!(
        refused.contains("cannot tell what runs in eu-north-1"),
        "{refused}"
    );
    let forced = two.activate(two.first(), true).await.unwrap();
    assert_eq!(
        (forced.role.active_region.as_str(), forced.role.epoch),
        ("eu-west-1", 2)
    );
    assert!(forced.not_asked.is_some());
}

/// Makes the second region active in the moment after a claim of the first was written.
struct RoleMoves {
    second: RoleTable,
    now: OffsetDateTime,
}

#[async_trait]
impl Layer for RoleMoves {
    async fn after(&self, request: &Request, answer: Answer) -> Answer {
        let asked = String::from_utf8_lossy(&request.body);
        let claims = request.json_operation() == Some("PutItem") && asked.contains("CLAIM#");
        if claims && request.caller.region != SECOND {
            let role = self.second.role().await.unwrap();
            let moved = self.second.activate(role.as_ref(), SECOND, "x", self.now);
            assert_eq!(moved.await.unwrap(), Written::Yes);
        }
        answer
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_moves_while_plan_claims_is_found_out_before_anything_is_made() {
    let two = Two::metadata().await;
    let scene = &two.scene;
    two.activate(two.first(), false).await.unwrap();
    let world = scene.local.cloud.world();
    world.add_layer(Arc::new(RoleMoves {
        second: RoleTable::of(&two.context(SECOND)).unwrap(),
        now: world.now(),
    }));
    let run = scene.restore(scene.request()).await;
    run.assert_failed_clean("AR0064");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    // The claim stays: not even now does the other run it.
    scene.copy_to_region(SECOND).await;
    let far = two
        .start(&two.second, "restore-1", &two.far_request())
        .await;
    far.finished().await;
    assert_eq!(failure(&far).0, "AR0065");
}

/// Both regions ask for one id while the role goes to and fro between them: their calls meet in every order.
#[tokio::test(start_paused = true)]
async fn of_two_regions_that_both_take_themselves_for_active_one_gets_the_restore() {
    let two = Two::metadata().await;
    let contexts = ["eu-west-1", SECOND].map(|region| two.context(region));
    two.activate(two.first(), true).await.unwrap();
    let mut tally = [0; 4];
    for number in 0..40 {
        let id = RestoreId::parse(&format!("race-{number}")).unwrap();
        let ask = async |context: &Context, yields: usize| {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            let arn = format!("{}:{}", context.aws.region(), id.as_str());
            let claimant = Claimant {
                id: &id,
                execution_arn: &arn,
                started_at: "2026-11-21T03:00:00Z",
            };
            region::admit(context, claimant).await
        };
        // The role goes to whoever does not have it.
        let role = two.first().role(TABLE).await.unwrap().unwrap();
        let next = match role.active_region == SECOND {
            true => two.first(),
            false => &two.second,
        };
        let (first, second, moved) = tokio::join!(
            ask(&contexts[0], number % 40),
            ask(&contexts[1], number * 7 % 40),
            two.activate(next, true)
        );
        moved.unwrap();
        tally[usize::from(first.is_ok()) + 2 * usize::from(second.is_ok())] += 1;
        for refused in [&first, &second]
            .into_iter()
            .filter_map(|one| one.as_ref().err())
        {
            assert!(
                ["AR0064", "AR0065"].contains(&refused.code().id),
                "{refused}"
            );
        }
        // Each region active in turn: whoever has it has it still, and the other never gets it.
        let mut ever = [first.is_ok(), second.is_ok()];
        for (context, ever) in contexts.iter().zip(&mut ever) {
            let here = two.first().in_region(context.aws.region());
            two.activate(&here, true).await.unwrap();
            let after = ask(context, 0).await.is_ok();
            assert!(after || !*ever, "race-{number}");
            *ever = after;
        }
        assert_ne!(ever[0], ever[1], "race-{number}: one and no other");
        two.activate(next, true).await.unwrap();
    }
    let said = format!("neither, first, second, both: {tally:?}");
    assert_eq!(tally[3], 0, "{said}");
    assert!(tally[1] > 0 && tally[2] > 0, "{said}");
}

#[tokio::test(start_paused = true)]
async fn plan_comes_again_when_the_other_region_writes_the_same_item_at_once() {
    let two = Two::metadata().await;
    let scene = &two.scene;
    scene.restore_on_paper();
    two.activate(two.first(), false).await.unwrap();
    let cloud = &scene.local.cloud;
    let faults = Faults::new(cloud.world(), cloud.lambda());
    cloud.world().add_layer(faults.clone());
    let claims: Call = "aurora-restore-plan dynamodb:PutItem#1".parse().unwrap();
    faults.arm(claims.clone(), Fault::WrittenElsewhere, &[]);
    let run = scene.restore(scene.request()).await;
    assert!(faults.reached(&claims, Fault::WrittenElsewhere));
    let claim = faults.recorded().into_iter();
    let claim = claim.filter(|made| made.call == claims);
    let asked = claim.map(|made| made.request.body).collect::<Vec<_>>();
    assert!(String::from_utf8_lossy(&asked.concat()).contains("CLAIM#restore-1"));
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    let plan = &run.report.steps[0];
    assert_eq!((plan.state.as_str(), plan.attempts), ("Plan", 2));
}

/// What becomes of the writes of people to the role table.
struct RoleWrites {
    /// Whether they are refused, because the other region writes; else their first answer is lost.
    refused: bool,
    lost: AtomicBool,
}

impl RoleWrites {
    fn is_one(request: &Request) -> bool {
        let asked = String::from_utf8_lossy(&request.body);
        request.json_operation() == Some("PutItem") && asked.contains(TABLE)
    }
}

#[async_trait]
impl Layer for RoleWrites {
    async fn before(&self, request: &Request) -> ControlFlow<Answer> {
        if self.refused && Self::is_one(request) {
            let text = "One or more items in this request are being modified by a request in another Region.";
            let error = ApiError::new(400, "ReplicatedWriteConflictException", text);
            return ControlFlow::Break(Ok(error.to_json_response()));
        }
        ControlFlow::Continue(())
    }

    async fn after(&self, request: &Request, answer: Answer) -> Answer {
        match Self::is_one(request) && !self.lost.swap(true, Ordering::Relaxed) {
            true => Err(Severed::Reset),
            false => answer,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_another_region_writes_at_the_same_moment_is_named_with_what_to_do() {
    let two = Two::metadata().await;
    two.activate(two.first(), false).await.unwrap();
    let refuses = RoleWrites {
        refused: true,
        lost: AtomicBool::new(true),
    };
    two.scene.local.cloud.world().add_layer(Arc::new(refuses));
    let said = two.activate(&two.second, false).await.unwrap_err();
    for word in [
        "AR0031",
        "write to table `aurora-restore-role`",
        "ReplicatedWriteConflictException",
        "aurora-restore region status",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let role = two.second.role(TABLE).await.unwrap().unwrap();
    assert_eq!((role.active_region.as_str(), role.epoch), ("eu-west-1", 1));
}

#[tokio::test(start_paused = true)]
async fn an_activation_whose_answer_is_lost_finds_that_it_was_its_own() {
    let two = Two::metadata().await;
    let loses = RoleWrites {
        refused: false,
        lost: AtomicBool::new(false),
    };
    two.scene.local.cloud.world().add_layer(Arc::new(loses));
    let activated = two.activate(two.first(), false).await.unwrap();
    assert_eq!((activated.changed, activated.role.epoch), (true, 1));
    assert_eq!(activated.role.active_region, "eu-west-1");
}

#[tokio::test(start_paused = true)]
async fn plan_asked_again_by_the_same_execution_finds_its_own_claim() {
    let two = Two::metadata().await;
    two.activate(two.first(), false).await.unwrap();
    let context = two.context("eu-west-1");
    let id = RestoreId::parse("restore-1").unwrap();
    let claimant = |started_at| Claimant {
        id: &id,
        execution_arn: "arn:of:restore-1",
        started_at,
    };
    for _ in 0..2 {
        let admitted = region::admit(&context, claimant("2026-11-21T03:00:00Z"));
        admitted.await.unwrap();
    }
    // Step Functions gives a name away again after 90 days.
    let reused = region::admit(&context, claimant("2027-11-21T03:00:00Z")).await;
    assert_eq!(reused.unwrap_err().code().id, "AR0065");
}
