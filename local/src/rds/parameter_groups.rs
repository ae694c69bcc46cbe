//! Parameter groups of clusters (`cluster-pg`) and instances (`pg`), by name only.
//!
//! Their parameters are not kept: what matters to a restore is which group a
//! cluster is in, that it exists, and that its family fits.

use super::api::{Answer, Call};
use super::catalog::DbEngine;
use super::listing;
use super::names::Place;
use super::state::Book;
use super::tags::Tags;
use super::xml::Xml;
use super::{Inner, errors};
use crate::request::ApiError;

/// A parameter group.
#[derive(Clone, Debug)]
pub(super) struct ParameterGroup {
    pub(super) name: String,
    pub(super) family: String,
    description: String,
    pub(super) tags: Tags,
    place: Place,
}

/// What differs between the two sorts of groups: names on the wire.
#[derive(Clone, Copy)]
pub(super) struct Sort {
    kind: &'static str,
    name: &'static str,
    arn: &'static str,
    element: &'static str,
    list: &'static str,
}

pub(super) const OF_CLUSTER: Sort = Sort {
    kind: "cluster-pg",
    name: "DBClusterParameterGroupName",
    arn: "DBClusterParameterGroupArn",
    element: "DBClusterParameterGroup",
    list: "DBClusterParameterGroups",
};

pub(super) const OF_INSTANCE: Sort = Sort {
    kind: "pg",
    name: "DBParameterGroupName",
    arn: "DBParameterGroupArn",
    element: "DBParameterGroup",
    list: "DBParameterGroups",
};

/// The name of the group an engine has by default.
pub(super) fn default_name(engine: DbEngine, version: &str) -> String {
    format!("default.{}", engine.family(version))
}

/// The group a call names, checked, or the engine's default.
pub(super) fn chosen(
    book: &Book,
    sort: Sort,
    place: &Place,
    wanted: Option<&str>,
    engine: DbEngine,
    version: &str,
) -> Result<String, ApiError> {
    let Some(wanted) = wanted.map(str::to_lowercase) else {
        return Ok(default_name(engine, version));
    };
    let family = engine.family(version);
    let found = find(book, sort, place, &wanted).ok_or_else(|| {
        if sort.kind == OF_CLUSTER.kind {
            errors::cluster_parameter_group_not_found(&wanted)
        } else {
            errors::parameter_group_not_found(&wanted)
        }
    })?;
    if found.family != family {
        return Err(errors::invalid_combination(format!(
            "The Parameter Group {wanted} with DBParameterGroupFamily {} can't be used for this instance. Please use a Parameter \
             Group with DBParameterGroupFamily {family}",
            found.family
        )));
    }
    Ok(wanted)
}

fn find(book: &Book, sort: Sort, place: &Place, name: &str) -> Option<ParameterGroup> {
    if let Some(family) = name.strip_prefix("default.") {
        return Some(ParameterGroup {
            name: name.to_owned(),
            family: family.to_owned(),
            description: format!("Default parameter group for {family}"),
            tags: Tags::default(),
            place: place.clone(),
        });
    }
    book.parameter_groups
        .get(&(place.clone(), sort.kind.to_owned(), name.to_owned()))
        .cloned()
}

fn write(xml: &mut Xml, sort: Sort, group: &ParameterGroup) {
    xml.text(sort.name, &group.name)
        .text("DBParameterGroupFamily", &group.family)
        .text("Description", &group.description)
        .text(sort.arn, group.place.arn(sort.kind, &group.name));
}

pub(super) fn create_of_cluster(rds: &Inner, call: &Call) -> Answer {
    create(rds, call, OF_CLUSTER)
}

pub(super) fn create_of_instance(rds: &Inner, call: &Call) -> Answer {
    create(rds, call, OF_INSTANCE)
}

pub(super) fn describe_of_clusters(rds: &Inner, call: &Call) -> Answer {
    describe(rds, call, OF_CLUSTER)
}

pub(super) fn describe_of_instances(rds: &Inner, call: &Call) -> Answer {
    describe(rds, call, OF_INSTANCE)
}

fn create(rds: &Inner, call: &Call, sort: Sort) -> Answer {
    let quotas = &rds.settings.quotas;
    let group = ParameterGroup {
        name: call.form.new_identifier(sort.name)?,
        family: call.form.required("DBParameterGroupFamily")?.to_owned(),
        description: call.form.required("Description")?.to_owned(),
        tags: Tags::from_form(&call.form, quotas.tags_per_resource)?,
        place: call.place.clone(),
    };
    rds.edit(|book| {
        let key = (call.place.clone(), sort.kind.to_owned(), group.name.clone());
        if book.parameter_groups.contains_key(&key) {
            return Err(errors::parameter_group_exists(&group.name));
        }
        let used = book
            .parameter_groups
            .keys()
            .filter(|(place, kind, _)| *place == call.place && kind == sort.kind)
            .count();
        if used >= quotas.cluster_parameter_groups {
            return Err(errors::parameter_group_quota());
        }
        book.parameter_groups.insert(key, group.clone());
        Ok(())
    })?;
    Ok(Xml::of(|xml| {
        xml.within(sort.element, |xml| write(xml, sort, &group));
    }))
}

fn describe(rds: &Inner, call: &Call, sort: Sort) -> Answer {
    let found = rds.read(|book| match call.form.text(sort.name) {
        // Both Describes answer with this code.
        Some(name) => find(book, sort, &call.place, &name.to_lowercase())
            .map(|group| vec![group])
            .ok_or_else(|| errors::parameter_group_not_found(name)),
        None => Ok(book
            .parameter_groups
            .iter()
            .filter(|((place, kind, _), _)| *place == call.place && kind == sort.kind)
            .map(|(_, group)| group.clone())
            .collect()),
    })?;
    let page = listing::page(
        &call.form,
        found
            .into_iter()
            .map(|group| (group.name.clone(), group))
            .collect(),
    )?;
    Ok(Xml::of(|xml| {
        xml.some("Marker", page.marker)
            .list(sort.list, sort.element, page.items, |xml, group| {
                write(xml, sort, &group)
            });
    }))
}
