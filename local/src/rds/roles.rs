//! IAM roles of clusters. A restore carries none over.

use std::sync::Arc;

use super::api::{Answer, Call};
use super::form::Form;
use super::xml::Xml;
use super::{Inner, errors};
use crate::request::ApiError;

/// A role a cluster may assume.
#[derive(Clone, Debug)]
pub(super) struct RoleAssociation {
    arn: String,
    feature: Option<String>,
    active: bool,
}

impl RoleAssociation {
    fn read(form: &Form) -> Result<Self, ApiError> {
        let arn = form.required("RoleArn")?;
        if !arn.starts_with("arn:aws:iam::") {
            return Err(errors::invalid_value(format!(
                "IAM role ARN value is invalid: {arn}"
            )));
        }
        Ok(Self {
            arn: arn.to_owned(),
            feature: form.text("FeatureName").map(str::to_owned),
            active: false,
        })
    }

    /// The roles a restore asks for.
    pub(super) fn of_restore(form: &Form, most: usize) -> Result<Vec<Self>, ApiError> {
        let roles = form
            .items("AssociatedRoles")
            .iter()
            .map(Self::read)
            .collect::<Result<Vec<_>, _>>()?;
        if roles.len() > most {
            Err(errors::role_quota())
        } else {
            Ok(roles)
        }
    }

    /// Its association is through.
    pub(super) fn settle(&mut self) {
        self.active = true;
    }

    fn is(&self, other: &Self) -> bool {
        self.arn == other.arn && self.feature == other.feature
    }

    pub(super) fn write(&self, xml: &mut Xml) {
        xml.text("RoleArn", &self.arn)
            .text("Status", if self.active { "ACTIVE" } else { "PENDING" })
            .some("FeatureName", self.feature.as_deref());
    }
}

pub(super) fn add(rds: &Arc<Inner>, call: &Call) -> Answer {
    let role = RoleAssociation::read(&call.form)?;
    let name = call.form.required("DBClusterIdentifier")?;
    let id = rds.edit(|book| {
        let cluster = book.cluster_mut(&call.place, name)?;
        cluster.require_available()?;
        if cluster.roles.iter().any(|known| known.is(&role)) {
            return Err(errors::role_exists(&role.arn, name));
        }
        if cluster.roles.len() >= rds.settings.quotas.roles_per_cluster {
            return Err(errors::role_quota());
        }
        cluster.roles.push(role.clone());
        Ok(cluster.resource_id.clone())
    })?;
    let lasting = rds.lasting(rds.settings.durations.associate_role, &role.arn);
    rds.flow(move |flow| async move {
        flow.sleep(lasting).await;
        flow.cluster(&id, |cluster, _| {
            cluster
                .roles
                .iter_mut()
                .find(|known| known.is(&role))
                .map(RoleAssociation::settle)
        })
    });
    Ok(Xml::default())
}

pub(super) fn remove(rds: &Inner, call: &Call) -> Answer {
    let role = RoleAssociation::read(&call.form)?;
    let name = call.form.required("DBClusterIdentifier")?;
    rds.edit(|book| {
        let cluster = book.cluster_mut(&call.place, name)?;
        cluster.require_available()?;
        let position = cluster
            .roles
            .iter()
            .position(|known| known.is(&role))
            .ok_or_else(|| errors::role_not_found(&role.arn, name))?;
        cluster.roles.remove(position);
        Ok(Xml::default())
    })
}
