//! A world with nothing but RDS in it, and the words tests speak to it in.

use std::sync::Arc;
use std::time::Duration;

use asl_interpreter::RuntimeClock;
use http::{HeaderMap, Method, Uri};
use local_cloud::rds::{Data, Place, Rds, RdsSettings};
use local_cloud::{Caller, Request, World};
use postgres::{Client, NoTls};
use time::macros::datetime;

/// Where most tests happen.
pub(crate) const ACCOUNT: &str = "111122223333";
/// Another account.
pub(crate) const OTHER_ACCOUNT: &str = "444455556666";
/// Where most tests happen.
pub(crate) const REGION: &str = "eu-west-1";
/// Another region.
pub(crate) const OTHER_REGION: &str = "eu-central-1";
/// The master of every cluster made here.
pub(crate) const MASTER: &str = "orders_admin";
/// Its password.
pub(crate) const PASSWORD: &str = "source-password-1";

/// A world with RDS in it.
pub(crate) struct Cloud {
    pub(crate) world: Arc<World>,
    pub(crate) rds: Rds,
    place: Place,
}

/// An error answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
}

/// A good answer.
#[derive(Debug)]
pub(crate) struct Answer(String);

impl Cloud {
    pub(crate) fn new() -> Self {
        Self::with(RdsSettings::default())
    }

    pub(crate) fn without_data() -> Self {
        Self::with(RdsSettings {
            data: Data::Metadata,
            ..RdsSettings::default()
        })
    }

    pub(crate) fn with(settings: RdsSettings) -> Self {
        let clock = RuntimeClock::starting_at(datetime!(2026-04-01 10:00 UTC));
        Self::in_world(World::new(Arc::new(clock)), settings)
    }

    /// RDS beside whatever a world has already.
    pub(crate) fn in_world(world: Arc<World>, settings: RdsSettings) -> Self {
        // What a server said when it did not start is in the log.
        let _ = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_test_writer()
            .try_init();
        let rds = Rds::new(&world, settings).unwrap();
        world.register("rds", Arc::new(rds.clone()));
        Self {
            world,
            rds,
            place: place(ACCOUNT, REGION),
        }
    }

    /// The same world, seen from another account or region.
    pub(crate) fn at(&self, account: &str, region: &str) -> Self {
        Self {
            world: Arc::clone(&self.world),
            rds: self.rds.clone(),
            place: place(account, region),
        }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn arn(&self, kind: &str, id: &str) -> String {
        format!(
            "arn:aws:rds:{}:{}:{kind}:{id}",
            self.place.region, self.place.account
        )
    }

    /// Calls an action; parameters are `Name=value`.
    pub(crate) async fn ask(&self, action: &str, parameters: &[&str]) -> Result<Answer, Refusal> {
        let mut body =
            form_urlencoded::Serializer::new(format!("Action={action}&Version=2014-10-31"));
        for parameter in parameters {
            let (name, value) = parameter.split_once('=').unwrap();
            body.append_pair(name, value);
        }
        let response = self
            .world
            .handle(Request {
                caller: Caller {
                    account: self.place.account.clone(),
                    region: self.place.region.clone(),
                    principal: format!("arn:aws:iam::{}:root", self.place.account),
                },
                service: "rds".to_owned(),
                method: Method::POST,
                uri: Uri::from_static("/"),
                headers: HeaderMap::new(),
                body: body.finish().into(),
            })
            .await;
        let answer = Answer(String::from_utf8(response.body().to_vec()).unwrap());
        if response.status() == 200 {
            return Ok(answer);
        }
        let part = |name| answer.text(&format!("Error/{name}")).unwrap();
        Err(Refusal {
            status: response.status().as_u16(),
            code: part("Code"),
            message: part("Message"),
        })
    }

    /// Calls an action that must succeed.
    pub(crate) async fn call(&self, action: &str, parameters: &[&str]) -> Answer {
        self.ask(action, parameters)
            .await
            .unwrap_or_else(|refusal| panic!("{action} {parameters:?}: {refusal:?}"))
    }

    /// Calls an action that must be refused; gives the code.
    pub(crate) async fn code(&self, action: &str, parameters: &[&str]) -> String {
        match self.ask(action, parameters).await {
            Ok(answer) => panic!("{action} {parameters:?} was not refused: {answer:?}"),
            Err(refusal) => refusal.code,
        }
    }

    pub(crate) async fn cluster(&self, id: &str) -> Answer {
        self.call(
            "DescribeDBClusters",
            &[&format!("DBClusterIdentifier={id}")],
        )
        .await
        .within("DBClusters/DBCluster")
    }

    pub(crate) async fn instance(&self, id: &str) -> Answer {
        self.call(
            "DescribeDBInstances",
            &[&format!("DBInstanceIdentifier={id}")],
        )
        .await
        .within("DBInstances/DBInstance")
    }

    pub(crate) async fn snapshot(&self, id: &str) -> Answer {
        self.call(
            "DescribeDBClusterSnapshots",
            &[&format!("DBClusterSnapshotIdentifier={id}")],
        )
        .await
        .within("DBClusterSnapshots/DBClusterSnapshot")
    }

    /// Polls as a waiter does, until the status is one of these; gives it.
    pub(crate) async fn wait_for(&self, kind: &str, id: &str, statuses: &[&str]) -> String {
        for _ in 0..2_000 {
            let status = match kind {
                "cluster" => self.cluster(id).await.text("Status"),
                "instance" => self.instance(id).await.text("DBInstanceStatus"),
                _ => self.snapshot(id).await.text("Status"),
            };
            let status = status.unwrap();
            if statuses.contains(&status.as_str()) {
                return status;
            }
            wait(Duration::from_secs(5)).await;
        }
        panic!("{kind} {id} never became {statuses:?}");
    }

    pub(crate) async fn create_cluster(&self, id: &str, more: &[&str]) {
        let id = format!("DBClusterIdentifier={id}");
        let user = format!("MasterUsername={MASTER}");
        let password = format!("MasterUserPassword={PASSWORD}");
        let mut parameters = vec![
            id.as_str(),
            "Engine=aurora-postgresql",
            &user,
            "DatabaseName=orders",
        ];
        if !more
            .iter()
            .any(|parameter| parameter.starts_with("EngineVersion="))
        {
            parameters.push("EngineVersion=15.12");
        }
        if !more
            .iter()
            .any(|parameter| parameter.starts_with("ManageMasterUserPassword="))
        {
            parameters.push(&password);
        }
        parameters.extend(more);
        self.call("CreateDBCluster", &parameters).await;
    }

    pub(crate) async fn create_instance(&self, id: &str, cluster: &str) {
        self.call(
            "CreateDBInstance",
            &[
                &format!("DBInstanceIdentifier={id}"),
                &format!("DBClusterIdentifier={cluster}"),
                "Engine=aurora-postgresql",
                "DBInstanceClass=db.r6g.large",
            ],
        )
        .await;
    }

    /// A cluster with one instance, ready.
    pub(crate) async fn source(&self, id: &str) {
        self.create_cluster(id, &[]).await;
        self.create_instance(&format!("{id}-1"), id).await;
        self.wait_for("instance", &format!("{id}-1"), &["available"])
            .await;
    }

    /// A snapshot, ready.
    pub(crate) async fn take_snapshot(&self, id: &str, cluster: &str) {
        self.call(
            "CreateDBClusterSnapshot",
            &[
                &format!("DBClusterSnapshotIdentifier={id}"),
                &format!("DBClusterIdentifier={cluster}"),
            ],
        )
        .await;
        self.wait_for("snapshot", id, &["available"]).await;
    }

    pub(crate) async fn restore(&self, cluster: &str, snapshot: &str, more: &[&str]) {
        let (cluster, snapshot) = (
            format!("DBClusterIdentifier={cluster}"),
            format!("SnapshotIdentifier={snapshot}"),
        );
        let mut parameters = vec![cluster.as_str(), &snapshot, "Engine=aurora-postgresql"];
        parameters.extend(more);
        self.call("RestoreDBClusterFromSnapshot", &parameters).await;
    }

    /// Runs SQL on a cluster as this user, and gives the first column of every row.
    pub(crate) async fn sql(
        &self,
        cluster: &str,
        user: &str,
        password: &str,
        statement: &str,
    ) -> Result<Vec<String>, String> {
        let cluster = self.cluster(cluster).await;
        let mut config = Client::configure();
        config
            .host(&cluster.text("Endpoint").unwrap())
            .port(cluster.text("Port").unwrap().parse().unwrap())
            .user(user)
            .password(password)
            .dbname("orders")
            .connect_timeout(Duration::from_secs(5));
        let statement = statement.to_owned();
        let work = move || -> Result<Vec<String>, postgres::Error> {
            let rows = config.connect(NoTls)?.simple_query(&statement)?;
            Ok(rows
                .iter()
                .filter_map(|message| match message {
                    postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                    _ => None,
                })
                .collect())
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap()
            .map_err(|error| match error.as_db_error() {
                Some(error) => error.message().to_owned(),
                None => error.to_string(),
            })
    }

    /// The group that everything is in that is not told otherwise.
    pub(crate) async fn default_security_group(&self) -> String {
        self.create_cluster("with-defaults", &[]).await;
        self.cluster("with-defaults")
            .await
            .text("VpcSecurityGroups/VpcSecurityGroupMembership/VpcSecurityGroupId")
            .unwrap()
    }

    /// Every status a resource had, in order.
    pub(crate) fn statuses(&self, kind: &str, id: &str) -> Vec<String> {
        self.rds
            .resources(None)
            .into_iter()
            .chain(self.rds.past_resources(None))
            .find(|view| view.kind == kind && view.id == id)
            .map(|view| {
                view.statuses
                    .into_iter()
                    .map(|(_, status)| status)
                    .collect()
            })
            .unwrap_or_default()
    }
}

impl Answer {
    /// What is at the end of this path of element names.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.all(path).into_iter().next()
    }

    /// Whatever is at the end of this path of element names.
    pub(crate) fn all(&self, path: &str) -> Vec<String> {
        let document = roxmltree::Document::parse(&self.0).unwrap();
        nodes(&document, path)
            .iter()
            .map(|node| node.text().unwrap_or_default().to_owned())
            .collect()
    }

    /// The first element at the end of this path, as an answer of its own.
    pub(crate) fn within(&self, path: &str) -> Self {
        let document = roxmltree::Document::parse(&self.0).unwrap();
        let node = nodes(&document, path)
            .first()
            .copied()
            .unwrap_or_else(|| panic!("no {path} in {}", self.0));
        Self(format!("<part>{}</part>", &self.0[node.range()]))
    }
}

/// Paths begin below the result element, or below the root where there is none.
fn nodes<'a>(document: &'a roxmltree::Document<'a>, path: &str) -> Vec<roxmltree::Node<'a, 'a>> {
    let root = document.root_element();
    let top = match root.tag_name().name() {
        "part" => root.first_element_child().unwrap(),
        _ => root
            .children()
            .find(|node| node.tag_name().name().ends_with("Result"))
            .unwrap_or(root),
    };
    path.split('/').fold(vec![top], |nodes, name| {
        nodes
            .iter()
            .flat_map(roxmltree::Node::children)
            .filter(|node| node.tag_name().name() == name)
            .collect()
    })
}

pub(crate) fn place(account: &str, region: &str) -> Place {
    Place {
        account: account.to_owned(),
        region: region.to_owned(),
    }
}

/// Lets time pass.
pub(crate) async fn wait(duration: Duration) {
    tokio::time::sleep(duration).await;
}

pub(crate) async fn wait_minutes(minutes: u64) {
    wait(Duration::from_secs(60 * minutes)).await;
}
