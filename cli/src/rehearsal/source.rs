//! The source of a rehearsal: a cluster with data, roles and traffic, and a snapshot of it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};
use aurora_restore_core::Secret;
use aurora_restore_core::secrets::Credentials;
use aurora_restore_core::settings::DatabaseTls;
use aurora_restore_core::sql::{Endpoint, Engine, SqlError, postgresql};
use aws_sdk_rds::types::{DbCluster, Parameter};
use serde_json::json;

use super::fingerprint::{self, Fingerprint};
use super::mysql;
use crate::local::LocalPipeline;

/// The source cluster's name.
pub const SOURCE_CLUSTER: &str = "orders-prod";
/// Its database.
pub const DATABASE: &str = "orders";
/// Its master user.
const MASTER: &str = "orders_admin";
/// Roles of applications, whose passwords come along with every snapshot.
pub const LOGIN_ROLES: [&str; 3] = ["orders_app", "orders_report", "orders_batch"];
/// Its cluster parameter group: not the default one, so that a restore that forgets it is noticed.
const PARAMETER_GROUP: &str = "orders-params";
/// Its subnet group.
const SUBNET_GROUP: &str = "orders-subnets";

/// A source with data.
pub struct Source {
    /// What kind of database it is.
    pub engine: Engine,
    /// How to reach it.
    pub endpoint: Endpoint,
    /// Its master user's name and password: the ones that must be refused by the restored cluster.
    pub master: Credentials,
    /// The passwords of [`LOGIN_ROLES`], in their order.
    pub role_passwords: Vec<Secret>,
    /// The secret that holds the master password.
    pub master_secret_arn: String,
    /// What it held before any traffic.
    pub baseline: Fingerprint,
    /// The engine version it runs.
    pub engine_version: String,
}

impl Source {
    /// Makes the cluster, encrypted with a key of its own or not, and loads it: the sample, or a file of the user's own.
    ///
    /// # Errors
    /// What RDS or the server refuses.
    pub async fn create(
        local: &LocalPipeline,
        engine: Engine,
        dump: Option<&Path>,
        encrypted: bool,
    ) -> Result<Self> {
        let master = Credentials {
            username: MASTER.to_owned(),
            password: random_password(),
        };
        let master_secret_arn = store_secret(local, &master).await?;
        create_groups(local, engine).await?;
        let key = match encrypted {
            true => Some(local.make_key(&local.stack.region).await?),
            false => None,
        };
        let cluster = create_cluster(local, engine, &master, key).await?;
        let host = cluster.endpoint().unwrap_or_default().to_owned();
        let port = u16::try_from(cluster.port().unwrap_or(0)).context("the source's port")?;
        let tls = match local.rds.certificate_authority() {
            Some(pem) => DatabaseTls::VerifyFullWith {
                authorities_pem: pem.to_owned(),
            },
            None => DatabaseTls::Disable,
        };
        let endpoint = Endpoint { host, port, tls };
        let role_passwords: Vec<Secret> = LOGIN_ROLES.iter().map(|_| random_password()).collect();
        match engine {
            Engine::Postgresql => create_roles(&endpoint, &master, &role_passwords).await?,
            Engine::Mysql => mysql::create_accounts(&endpoint, &master, &role_passwords).await?,
        }
        match (engine, dump) {
            (Engine::Postgresql, None) => load_sample(&endpoint, &master).await?,
            (Engine::Postgresql, Some(file)) => load_dump(&endpoint, &master, file).await?,
            (Engine::Mysql, None) => mysql::load_sample(&endpoint, &master).await?,
            (Engine::Mysql, Some(file)) => mysql::load_dump(&endpoint, &master, file).await?,
        }
        let baseline = fingerprint::of(engine, &endpoint, &master).await?;
        Ok(Self {
            engine,
            engine_version: cluster.engine_version().unwrap_or_default().to_owned(),
            endpoint,
            master,
            role_passwords,
            master_secret_arn,
            baseline,
        })
    }

    /// Takes a snapshot and waits until it is available.
    ///
    /// # Errors
    /// What RDS refuses.
    pub async fn snapshot(&self, local: &LocalPipeline, name: &str) -> Result<()> {
        let rds = local.rds_client();
        rds.create_db_cluster_snapshot()
            .db_cluster_identifier(SOURCE_CLUSTER)
            .db_cluster_snapshot_identifier(name)
            .send()
            .await
            .context("snapshot the source")?;
        local
            .until("the snapshot", async || {
                let found = rds
                    .describe_db_cluster_snapshots()
                    .db_cluster_snapshot_identifier(name)
                    .send()
                    .await?;
                match found
                    .db_cluster_snapshots()
                    .first()
                    .and_then(|snapshot| snapshot.status())
                {
                    Some("available") => Ok(Some(())),
                    Some("creating") => Ok(None),
                    other => bail!("the snapshot is {other:?}"),
                }
            })
            .await
    }
}

/// Runs `work` in a session with the database of the rehearsal.
///
/// # Errors
/// How the session or the work failed.
pub async fn session<T: Send + 'static>(
    endpoint: &Endpoint,
    credentials: &Credentials,
    work: impl FnOnce(&mut postgres::Client) -> Result<T, postgres::Error> + Send + 'static,
) -> Result<T> {
    postgresql::session(endpoint, credentials, DATABASE, work)
        .await
        .map_err(|error| describe(&error))
}

/// What a session failed of, for a person who may see the data.
pub(super) fn describe(error: &SqlError) -> anyhow::Error {
    match error {
        SqlError::Refused => anyhow!("{} refused the login", SOURCE_CLUSTER),
        SqlError::Unreachable(source) => anyhow!("no session: {source}"),
        SqlError::Statement(refusal) => anyhow!("{}: {}", refusal.code, refusal.said),
        SqlError::Settings(problem) => anyhow!("{problem}"),
    }
}

/// Thirty-two letters and digits.
pub(super) fn random_password() -> Secret {
    use rand::RngExt as _;
    let alphabet = rand::distr::Alphanumeric;
    Secret::new(
        rand::rng()
            .sample_iter(alphabet)
            .take(32)
            .map(char::from)
            .collect(),
    )
}

async fn store_secret(local: &LocalPipeline, master: &Credentials) -> Result<String> {
    let value =
        json!({"username": master.username, "password": master.password.expose()}).to_string();
    let secrets = aws_sdk_secretsmanager::Client::new(&local.config);
    let made = secrets
        .create_secret()
        .name(format!("{SOURCE_CLUSTER}/master"))
        .secret_string(value)
        .send()
        .await;
    made.context("store the source's password")?
        .arn
        .ok_or_else(|| anyhow!("the secret has no ARN"))
}

/// A source's own settings: family, a parameter that is not the default, and a log that is exported.
fn settings(engine: Engine) -> (&'static str, (&'static str, &'static str), &'static str) {
    match engine {
        Engine::Postgresql => ("aurora-postgresql15", ("work_mem", "8192"), "postgresql"),
        Engine::Mysql => (mysql::FAMILY, mysql::PARAMETER, mysql::LOG),
    }
}

async fn create_groups(local: &LocalPipeline, engine: Engine) -> Result<()> {
    let (family, (parameter, value), _) = settings(engine);
    let rds = local.rds_client();
    rds.create_db_subnet_group()
        .db_subnet_group_name(SUBNET_GROUP)
        .db_subnet_group_description("orders")
        .subnet_ids("subnet-0a")
        .subnet_ids("subnet-0b")
        .send()
        .await
        .context("create the subnet group")?;
    rds.create_db_cluster_parameter_group()
        .db_cluster_parameter_group_name(PARAMETER_GROUP)
        .db_parameter_group_family(family)
        .description("orders")
        .send()
        .await
        .context("create the parameter group")?;
    let parameter = Parameter::builder()
        .parameter_name(parameter)
        .parameter_value(value);
    let parameter = parameter
        .apply_method(aws_sdk_rds::types::ApplyMethod::Immediate)
        .build();
    rds.modify_db_cluster_parameter_group()
        .db_cluster_parameter_group_name(PARAMETER_GROUP)
        .parameters(parameter)
        .send()
        .await
        .context("set a parameter of the group")?;
    Ok(())
}

async fn create_cluster(
    local: &LocalPipeline,
    engine: Engine,
    master: &Credentials,
    key: Option<String>,
) -> Result<DbCluster> {
    let rds = local.rds_client();
    rds.create_db_cluster()
        .db_cluster_identifier(SOURCE_CLUSTER)
        .engine(engine)
        .database_name(DATABASE)
        .master_username(&master.username)
        .master_user_password(master.password.expose())
        .db_cluster_parameter_group_name(PARAMETER_GROUP)
        .db_subnet_group_name(SUBNET_GROUP)
        .vpc_security_group_ids("sg-0production")
        .backup_retention_period(7)
        .enable_cloudwatch_logs_exports(settings(engine).2)
        .deletion_protection(true)
        .storage_encrypted(key.is_some())
        .set_kms_key_id(key)
        .send()
        .await
        .context("create the source cluster")?;
    rds.create_db_instance()
        .db_instance_identifier(format!("{SOURCE_CLUSTER}-1"))
        .db_cluster_identifier(SOURCE_CLUSTER)
        .db_instance_class("db.r6g.large")
        .engine(engine)
        .send()
        .await
        .context("create the source's instance")?;
    local
        .until("the source", async || {
            let instance = rds
                .describe_db_instances()
                .db_instance_identifier(format!("{SOURCE_CLUSTER}-1"))
                .send()
                .await?;
            let ready = instance
                .db_instances()
                .first()
                .and_then(|instance| instance.db_instance_status())
                == Some("available");
            if !ready {
                return Ok(None);
            }
            let cluster = rds
                .describe_db_clusters()
                .db_cluster_identifier(SOURCE_CLUSTER)
                .send()
                .await?;
            Ok(cluster.db_clusters().first().cloned())
        })
        .await
}

async fn create_roles(
    endpoint: &Endpoint,
    master: &Credentials,
    passwords: &[Secret],
) -> Result<()> {
    let mut statements = String::from("CREATE ROLE orders_readers NOLOGIN;");
    for (role, password) in LOGIN_ROLES.iter().zip(passwords) {
        statements.push_str(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD '{}' IN ROLE orders_readers;",
            password.expose()
        ));
    }
    session(endpoint, master, move |client| {
        client.batch_execute(&statements)
    })
    .await
    .context("create the source's roles")
}

async fn load_sample(endpoint: &Endpoint, master: &Credentials) -> Result<()> {
    let load = |client: &mut postgres::Client| {
        client.batch_execute(include_str!("sample.sql"))?;
        client.batch_execute(
            "GRANT USAGE ON SCHEMA shop TO orders_readers; GRANT SELECT ON ALL TABLES IN SCHEMA shop TO orders_readers",
        )
    };
    session(endpoint, master, load)
        .await
        .context("load the sample")
}

/// Loads a file of the user's own: an archive of pg_dump by pg_restore, anything else by psql.
async fn load_dump(endpoint: &Endpoint, master: &Credentials, file: &Path) -> Result<()> {
    let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if content.starts_with(&[0x1f, 0x8b]) {
        bail!(
            "{} is compressed: unpack it with gunzip first",
            file.display()
        );
    }
    // The custom format begins with its own mark, the tar format with the name of its table of contents.
    let archive = content.starts_with(b"PGDMP") || content.starts_with(b"toc.dat");
    if !archive {
        let owners = owners(&String::from_utf8_lossy(&content));
        session(endpoint, master, move |client| {
            client.batch_execute(&owners)
        })
        .await
        .context("create the roles that the file names")?;
    }
    let (endpoint, master, path) = (endpoint.clone(), master.clone(), file.to_owned());
    tokio::task::spawn_blocking(move || {
        let program = if archive { "pg_restore" } else { "psql" };
        let mut command = Command::new(
            local_cloud::database::discovery::find_postgres()?
                .programs
                .join(program),
        );
        command
            .args([
                "--host",
                &endpoint.host,
                "--port",
                &endpoint.port.to_string(),
            ])
            .args(["--username", &master.username, "--dbname", DATABASE])
            .env("PGPASSWORD", master.password.expose())
            .stdin(Stdio::null());
        if archive {
            command
                .args(["--no-owner", "--no-privileges", "--exit-on-error"])
                .arg(&path);
        } else {
            command
                .args([
                    "--quiet",
                    "--no-psqlrc",
                    "--set",
                    "ON_ERROR_STOP=1",
                    "--file",
                ])
                .arg(&path);
        }
        let done = command
            .output()
            .with_context(|| format!("cannot run {program}"))?;
        if done.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr);
        bail!(
            "{program} could not load {}: {}",
            path.display(),
            said.lines().take(5).collect::<Vec<_>>().join("; ")
        )
    })
    .await?
}

/// Statements that make the roles a plain SQL dump gives objects to, so that it loads as it is.
fn owners(sql: &str) -> String {
    let mut names: Vec<&str> = sql
        .lines()
        .filter_map(|line| {
            line.trim_end()
                .strip_suffix(';')?
                .rsplit_once(" OWNER TO ")
                .map(|(_, name)| name)
        })
        .chain(
            sql.lines()
                .filter(|line| line.starts_with("GRANT "))
                .filter_map(|line| {
                    line.trim_end()
                        .strip_suffix(';')?
                        .rsplit_once(" TO ")
                        .map(|(_, name)| name.trim_end_matches(" WITH GRANT OPTION"))
                }),
        )
        .filter(|name| {
            !name.eq_ignore_ascii_case("public")
                && name
                    .chars()
                    .all(|c| c.is_alphanumeric() || "_\"-".contains(c))
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    // What pg_dumpall makes itself need not be made before.
    names.retain(|name| !sql.contains(&format!("CREATE ROLE {name};")));
    names
        .iter()
        .map(|name| {
            let bare = name.trim_matches('"').replace('\'', "''");
            format!(
                "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{bare}') \
                 THEN CREATE ROLE {name} NOLOGIN; GRANT {name} TO CURRENT_USER; \
                 GRANT CREATE ON DATABASE {DATABASE} TO {name}; GRANT CREATE ON SCHEMA public TO {name}; END IF; END $$;\n"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::owners;

    #[test]
    fn roles_that_a_dump_names_are_made_once() {
        let sql = "ALTER TABLE public.a OWNER TO alice;\nALTER TABLE public.b OWNER TO alice;\n\
                   GRANT SELECT ON TABLE public.a TO \"read-only\";\nGRANT ALL ON SCHEMA public TO PUBLIC;\n";
        let made = owners(sql);
        assert_eq!(made.matches("CREATE ROLE").count(), 2, "{made}");
        assert!(
            made.contains("CREATE ROLE alice NOLOGIN")
                && made.contains("CREATE ROLE \"read-only\" NOLOGIN"),
            "{made}"
        );
    }
}
