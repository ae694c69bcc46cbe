//! Modifying a cluster.
//!
//! An accepted modification does nothing visible at first: the cluster reads
//! `available` for a while, so to see `available` proves nothing. Then it goes
//! through the modification's status and back. Several are made one after
//! another.

use std::sync::Arc;
use std::time::Duration;

use super::api::{Answer, Call};
use super::catalog::numbers;
use super::cluster::{self, Cluster, address_name};
use super::configuration::Configuration;
use super::credentials;
use super::events::Happening;
use super::form::Form;
use super::lifecycle::{Flow, blocking};
use super::names;
use super::parameter_groups::{self, OF_CLUSTER};
use super::state::Book;
use super::trouble::{Kind, Trouble};
use super::xml::Xml;
use super::{Inner, errors, global};
use crate::database::{Credentials, Password};
use crate::request::{ApiError, Caller};

/// A modification on its way.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Settings, some of which become visible only now.
    Settings(PutOff),
    /// A new master password.
    Master(NewMaster),
    /// A newer engine version.
    Upgrade(String),
    /// Another name, and so another address.
    Rename(String),
}

/// A new master password.
#[derive(Clone, Debug)]
pub(super) struct NewMaster {
    credentials: Credentials,
    caller: Caller,
    /// A managed secret that is no longer one.
    given_up_secret: Option<String>,
}

/// Settings that a modification leaves to the maintenance window, unless it says `ApplyImmediately`.
#[derive(Clone, Debug, Default)]
pub(super) struct PutOff {
    iam_authentication: Option<bool>,
    backup_retention_period: Option<u32>,
    storage_type: Option<String>,
    version: Option<String>,
    name: Option<String>,
}

impl PutOff {
    pub(super) fn is_empty(&self) -> bool {
        self.settings_are_empty() && self.version.is_none() && self.name.is_none()
    }

    fn settings_are_empty(&self) -> bool {
        self.iam_authentication.is_none()
            && self.backup_retention_period.is_none()
            && self.storage_type.is_none()
    }

    /// What differs between two configurations and can be put off.
    fn between(now: &Configuration, wanted: &Configuration) -> Self {
        let differs = |differs: bool| differs.then_some(());
        Self {
            iam_authentication: differs(now.iam_authentication != wanted.iam_authentication)
                .map(|()| wanted.iam_authentication),
            backup_retention_period: differs(
                now.backup_retention_period != wanted.backup_retention_period,
            )
            .map(|()| wanted.backup_retention_period),
            storage_type: differs(now.storage_type != wanted.storage_type)
                .map(|()| wanted.storage_type.clone()),
            version: None,
            name: None,
        }
    }

    /// These and later ones, which win.
    fn and(self, later: Self) -> Self {
        Self {
            iam_authentication: later.iam_authentication.or(self.iam_authentication),
            backup_retention_period: later
                .backup_retention_period
                .or(self.backup_retention_period),
            storage_type: later.storage_type.or(self.storage_type),
            version: later.version.or(self.version),
            name: later.name.or(self.name),
        }
    }

    fn apply(self, cluster: &mut Cluster, now: time::OffsetDateTime) {
        let configuration = &mut cluster.configuration;
        configuration.iam_authentication = self
            .iam_authentication
            .unwrap_or(configuration.iam_authentication);
        configuration.backup_retention_period = self
            .backup_retention_period
            .unwrap_or(configuration.backup_retention_period);
        if let Some(storage_type) = self.storage_type {
            configuration.storage_type = storage_type;
            cluster.storage_type_changed = Some(now);
        }
    }

    pub(super) fn write(&self, xml: &mut Xml) {
        xml.some("DBClusterIdentifier", self.name.as_deref())
            .some("EngineVersion", self.version.as_deref())
            .some("IAMDatabaseAuthenticationEnabled", self.iam_authentication)
            .some("BackupRetentionPeriod", self.backup_retention_period)
            .some("StorageType", self.storage_type.as_deref());
    }
}

/// A modification that has been checked and not yet begun.
struct Plan {
    id: String,
    configuration: Configuration,
    put_off: PutOff,
    at_once: bool,
    master: Option<Master>,
    given_up_secret: Option<String>,
    username: String,
    /// Only what takes effect without the cluster noticing has changed.
    quiet: bool,
}

enum Master {
    Given(Password),
    Managed,
    Rotated,
}

pub(super) async fn modify_cluster(rds: &Arc<Inner>, call: &Call) -> Answer {
    let plan = rds.read(|book| check(book, call))?;
    let id = plan.id.clone();
    let master = match &plan.master {
        None => None,
        Some(Master::Given(password)) => Some(credentials_of(&plan, password.clone())),
        Some(managed) => {
            let password = Password::new(rds.edit(Book::new_password));
            let credentials = credentials_of(&plan, password);
            match managed {
                Master::Managed => {
                    credentials::manage(rds, &call.caller, &id, &credentials, &call.form).await?
                }
                _ => credentials::rotate(rds, &call.caller, &id, &credentials).await?,
            }
            Some(credentials)
        }
    };
    let begin = rds.edit(|book| commit(book, call, plan, master));
    if begin {
        make_changes(rds, &id);
    }
    cluster::answer(rds, &id)
}

fn credentials_of(plan: &Plan, password: Password) -> Credentials {
    Credentials {
        username: plan.username.clone(),
        password,
    }
}

fn check(book: &Book, call: &Call) -> Result<Plan, ApiError> {
    let form = &call.form;
    let cluster = book.cluster(&call.place, form.required("DBClusterIdentifier")?)?;
    cluster.require_available()?;
    let at_once = form.flag("ApplyImmediately")?.unwrap_or(false);
    let mut configuration = cluster.configuration.clone();
    configuration.take_immediate(form)?;
    take_log_exports(&mut configuration, cluster, form)?;
    if let Some(group) = form.text("DBClusterParameterGroupName") {
        let version = form.text("EngineVersion").unwrap_or(&cluster.version);
        configuration.parameter_group = parameter_groups::chosen(
            book,
            OF_CLUSTER,
            &call.place,
            Some(group),
            cluster.engine,
            version,
        )?;
    }
    let quiet = [
        configuration.security_groups == cluster.configuration.security_groups,
        configuration.parameter_group == cluster.configuration.parameter_group,
        configuration.log_exports == cluster.configuration.log_exports,
        configuration.scaling == cluster.configuration.scaling,
    ];
    let mut scheduled = configuration.clone();
    scheduled.take_scheduled(form)?;
    let mut put_off = PutOff::between(&cluster.configuration, &scheduled);
    check_storage_type(cluster, &put_off, call)?;
    put_off.version = newer_version(book, cluster, form)?;
    put_off.name = new_name(book, cluster, form)?;
    let (master, given_up_secret) = new_master(cluster, form, at_once)?;
    if let Some(Master::Managed) = master {
        global::check_unmanaged(book, cluster)?;
    }
    Ok(Plan {
        id: cluster.resource_id.clone(),
        configuration,
        put_off,
        at_once,
        master,
        given_up_secret,
        username: cluster.master_username.clone(),
        quiet: quiet.into_iter().all(|unchanged| unchanged),
    })
}

fn take_log_exports(
    configuration: &mut Configuration,
    cluster: &Cluster,
    form: &Form,
) -> Result<(), ApiError> {
    let Some(logs) = form.structure("CloudwatchLogsExportConfiguration") else {
        return Ok(());
    };
    let enabled = logs.list("EnableLogTypes").unwrap_or_default();
    let disabled = logs.list("DisableLogTypes").unwrap_or_default();
    cluster.engine.check_log_types(&enabled)?;
    configuration.log_exports.extend(enabled);
    configuration
        .log_exports
        .retain(|log| !disabled.contains(log));
    Ok(())
}

fn check_storage_type(cluster: &Cluster, put_off: &PutOff, call: &Call) -> Result<(), ApiError> {
    let recent = cluster
        .storage_type_changed
        .is_some_and(|at| call.now - at < time::Duration::days(30));
    if put_off.storage_type.is_some() && recent {
        Err(errors::storage_type_not_available())
    } else {
        Ok(())
    }
}

fn newer_version(book: &Book, cluster: &Cluster, form: &Form) -> Result<Option<String>, ApiError> {
    let Some(wanted) = form
        .text("EngineVersion")
        .filter(|wanted| *wanted != cluster.version)
    else {
        return Ok(None);
    };
    let wanted = cluster.engine.version(Some(wanted))?;
    if numbers(&wanted) < numbers(&cluster.version) {
        return Err(errors::invalid_combination(format!(
            "Cannot upgrade {} from {} to {wanted}",
            cluster.engine.name(),
            cluster.version
        )));
    }
    if cluster.engine.major(&wanted) != cluster.engine.major(&cluster.version)
        && form.flag("AllowMajorVersionUpgrade")? != Some(true)
    {
        return Err(errors::invalid_combination(
            "The AllowMajorVersionUpgrade flag must be present when upgrading to a new major version.",
        ));
    }
    let healthy =
        |instance: &&super::instance::Instance| instance.writer && instance.status.is("available");
    if !book.instances_of(&cluster.resource_id).iter().any(healthy) {
        return Err(errors::cluster_state(format!(
            "DB cluster {} has no healthy primary to upgrade",
            cluster.id
        )));
    }
    Ok(Some(wanted))
}

fn new_name(book: &Book, cluster: &Cluster, form: &Form) -> Result<Option<String>, ApiError> {
    let Some(text) = form.text("NewDBClusterIdentifier") else {
        return Ok(None);
    };
    let name = names::identifier("NewDBClusterIdentifier", text)?;
    if name == cluster.id {
        return Ok(None);
    }
    if book.cluster_name_taken(&cluster.place, &name) {
        return Err(errors::cluster_exists(&name));
    }
    Ok(Some(name))
}

/// What becomes of the password, and of the secret it was in.
fn new_master(
    cluster: &Cluster,
    form: &Form,
    at_once: bool,
) -> Result<(Option<Master>, Option<String>), ApiError> {
    let managed = form.flag("ManageMasterUserPassword")?;
    credentials::asks_for_managed(form)?;
    let password = form
        .text("MasterUserPassword")
        .map(|password| credentials::checked(cluster.engine, password))
        .transpose()?;
    let secret = cluster.secret.as_ref().map(|secret| secret.arn.clone());
    if form.flag("RotateMasterUserPassword")?.unwrap_or(false) {
        if !at_once {
            return Err(errors::invalid_combination(
                "ApplyImmediately must be specified when RotateMasterUserPassword is specified.",
            ));
        }
        if secret.is_none() {
            return Err(errors::invalid_combination(
                "RotateMasterUserPassword needs a password that RDS manages",
            ));
        }
        return Ok((Some(Master::Rotated), None));
    }
    match (managed, password, secret) {
        // Asked for again it is there already.
        (Some(true), _, Some(_)) => Ok((None, None)),
        (Some(true), _, None) => Ok((Some(Master::Managed), None)),
        (Some(false), Some(password), secret) => Ok((Some(Master::Given(password)), secret)),
        (Some(false), None, Some(_)) => Err(errors::invalid_combination(
            "You must specify MasterUserPassword when you turn off ManageMasterUserPassword",
        )),
        (None, Some(_), Some(_)) => Err(errors::invalid_combination(
            "You can't specify MasterUserPassword while the password is managed in Secrets Manager",
        )),
        (None, Some(password), None) => Ok((Some(Master::Given(password)), None)),
        (_, None, _) => Ok((None, None)),
    }
}

/// Writes the plan down; says whether there is somebody to be started who makes it happen.
fn commit(book: &mut Book, call: &Call, plan: Plan, master: Option<Credentials>) -> bool {
    let Some(cluster) = book.clusters.get_mut(&plan.id) else {
        return false;
    };
    let regrouped = cluster.configuration.parameter_group != plan.configuration.parameter_group;
    let groups = plan.configuration.security_groups.clone();
    let old_groups = cluster.configuration.security_groups.clone();
    cluster.configuration = Configuration {
        security_groups: old_groups,
        ..plan.configuration
    };
    cluster.set_security_groups(groups, call.now);
    let idle = cluster.changes.is_empty();
    let all = std::mem::take(&mut cluster.put_off).and(plan.put_off);
    let mut now = PutOff::default();
    if plan.at_once {
        now = all
    } else {
        cluster.put_off = all
    }
    let (version, name) = (now.version.take(), now.name.take());
    if !plan.quiet || !now.settings_are_empty() {
        cluster.changes.push_back(Change::Settings(now));
    }
    if let Some(credentials) = master {
        let given_up_secret = plan.given_up_secret;
        if given_up_secret.is_some() {
            cluster.secret = None;
        }
        cluster.changes.push_back(Change::Master(NewMaster {
            credentials,
            caller: call.caller.clone(),
            given_up_secret,
        }));
    }
    cluster.changes.extend(version.map(Change::Upgrade));
    cluster.changes.extend(name.map(Change::Rename));
    let begin = idle && !cluster.changes.is_empty();
    if regrouped {
        for instance in book
            .instances
            .values_mut()
            .filter(|instance| instance.cluster == plan.id)
        {
            instance.cluster_parameter_status = "pending-reboot";
        }
    }
    begin
}

/// Makes a cluster's accepted changes, one after another, until there are none.
fn make_changes(rds: &Arc<Inner>, resource_id: &str) {
    let id = resource_id.to_owned();
    let lag = rds.lasting(rds.settings.durations.modify_lag, &format!("lag {id}"));
    rds.flow(move |mut flow| async move {
        flow.sleep(lag).await;
        loop {
            let next = flow
                .until(|book| match book.clusters.get(&id) {
                    Some(cluster) if cluster.status.is("available") => {
                        Some(cluster.changes.front().cloned())
                    }
                    Some(cluster) if !cluster.status.is("deleting") => None,
                    _ => Some(None),
                })
                .await?;
            make(&flow, &id, next?).await?;
        }
    });
}

/// Makes the first change in the queue. Nothing comes back when it is never to end.
async fn make(flow: &Flow, id: &str, change: Change) -> Option<()> {
    let (status, lasting) = flow.with(|rds| Some(rds.going_through(&change, id)))?;
    let begun = flow.cluster(id, |cluster, now| {
        let available = cluster.status.is("available");
        if available {
            cluster.status.set(status, now);
        }
        Some(available.then(|| cluster.id.clone()))
    })?;
    // It was taken from under us: the change stays in the queue until the cluster is available again.
    let Some(name) = begun else { return Some(()) };
    flow.linger(Kind::Cluster, &name, status).await?;
    flow.sleep(lasting).await;
    let happening = match change {
        Change::Settings(settings) => flow.cluster(id, |cluster, now| {
            settings.apply(cluster, now);
            cluster.leaving_groups = None;
            Some(None)
        })?,
        Change::Upgrade(version) => flow.cluster(id, |cluster, _| {
            cluster.configuration.parameter_group = upgraded_group(cluster, &version);
            cluster.version = version;
            Some(None)
        })?,
        Change::Master(new) => Some(set_master(flow, id, new).await?),
        Change::Rename(name) => Some(rename(flow, id, &name).await?),
    };
    let (place, name) = flow.cluster(id, |cluster, now| {
        cluster.changes.pop_front();
        if cluster.status.is(status) {
            cluster.status.set("available", now);
        }
        Some((cluster.place.clone(), cluster.id.clone()))
    })?;
    if let Some(happening) = happening {
        flow.tell(&place, &name, happening)?;
    }
    Some(())
}

impl Inner {
    /// The status a change goes through, and for how long.
    fn going_through(&self, change: &Change, id: &str) -> (&'static str, Duration) {
        let durations = &self.settings.durations;
        let (status, in_life) = match change {
            Change::Settings(_) => ("modifying", durations.modify),
            Change::Master(_) => ("resetting-master-credentials", durations.reset_credentials),
            Change::Upgrade(_) => ("upgrading", durations.upgrade),
            Change::Rename(_) => ("renaming", durations.rename),
        };
        (status, self.lasting(in_life, &format!("{status} {id}")))
    }
}

/// A default group follows its cluster to the new version.
fn upgraded_group(cluster: &Cluster, version: &str) -> String {
    let default = parameter_groups::default_name(cluster.engine, &cluster.version);
    if cluster.configuration.parameter_group == default {
        return parameter_groups::default_name(cluster.engine, version);
    }
    cluster.configuration.parameter_group.clone()
}

async fn set_master(flow: &Flow, id: &str, new: NewMaster) -> Option<Happening> {
    let (volume, name) = flow.cluster(id, |cluster, _| {
        Some((Arc::clone(&cluster.volume), cluster.id.clone()))
    })?;
    let fails = flow.with(|rds| {
        Some(rds.trouble(Kind::Cluster, &name, |trouble| {
            matches!(trouble, Trouble::ResetFails).then_some(())
        }))
    })?;
    let outcome = if fails.is_some() {
        None
    } else {
        Some(blocking(move || volume.reset_master(new.credentials)).await)
    };
    if let Some(Err(error)) = &outcome {
        tracing::error!(%error, "the master password was not reset");
    }
    flow.cluster(id, |cluster, _| {
        if let Some(secret) = &mut cluster.secret {
            secret.settle();
        }
        Some(())
    });
    if let Some(secret) = new.given_up_secret {
        credentials::remove_secret(flow, &new.caller, &secret).await;
    }
    Some(if matches!(outcome, Some(Ok(()))) {
        Happening::MasterPasswordReset
    } else {
        Happening::MasterPasswordNotReset
    })
}

/// Gives a cluster its new name and moves its server to that name's address.
async fn rename(flow: &Flow, id: &str, name: &str) -> Option<Happening> {
    let (volume, listen) = flow.with(|rds| {
        rds.edit(|book| {
            let cluster = book.clusters.get_mut(id)?;
            let address = rds.addresses.of(
                &address_name(&cluster.place, name),
                cluster.configuration.port,
            );
            name.clone_into(&mut cluster.id);
            cluster.address = address.ip();
            cluster.configuration.port = address.port();
            Some((Arc::clone(&cluster.volume), address))
        })
    })?;
    if let Err(error) = blocking(move || volume.move_to(listen)).await {
        tracing::error!(%error, "the server did not move to its new address");
    }
    Some(Happening::ClusterRenamed)
}
