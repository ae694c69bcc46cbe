//! Parameter groups of clusters (`cluster-pg`) and instances (`pg`).
//!
//! What matters to a restore is which group a cluster is in, that it exists, that its
//! family fits, and whether it lets the server act by itself. A cluster's group keeps the
//! parameters that somebody sets, and shows those of the engine that [`ENGINES_OWN`]
//! lists; servers run with their own settings, whatever a group says.

use std::collections::BTreeMap;

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
    /// What somebody set: value and apply method, by name.
    parameters: BTreeMap<String, (String, String)>,
}

/// A parameter that the engine has without anybody's doing.
struct EnginesOwn {
    /// How the families that have it begin.
    family: &'static str,
    name: &'static str,
    /// The value in a group that nobody changed; the engine's own default where a group shows none.
    value: Option<&'static str>,
    allowed: &'static str,
    apply_type: &'static str,
}

/// Those that decide what a restored server does by itself.
const ENGINES_OWN: [EnginesOwn; 2] = [
    EnginesOwn {
        family: "aurora-mysql",
        name: "event_scheduler",
        value: None,
        allowed: "ON,OFF",
        apply_type: "dynamic",
    },
    EnginesOwn {
        family: "aurora-postgresql",
        name: "shared_preload_libraries",
        value: Some("pg_stat_statements"),
        allowed: "",
        apply_type: "static",
    },
];

/// At most so many parameters in one call (API reference).
const MOST_PARAMETERS: usize = 20;

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
            parameters: BTreeMap::new(),
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
        parameters: BTreeMap::new(),
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

/// Sets parameters of a cluster's group.
pub(super) fn modify_of_cluster(rds: &Inner, call: &Call) -> Answer {
    let name = call.form.required(OF_CLUSTER.name)?.to_lowercase();
    let items = call.form.items("Parameters");
    if items.is_empty() {
        return Err(errors::missing_parameter("Parameters"));
    }
    if items.len() > MOST_PARAMETERS {
        return Err(errors::invalid_value(format!(
            "At most {MOST_PARAMETERS} parameters can be modified in a single request"
        )));
    }
    rds.edit(|book| {
        let found = find(book, OF_CLUSTER, &call.place, &name)
            .ok_or_else(|| errors::parameter_group_not_found(&name))?;
        let key = (call.place.clone(), OF_CLUSTER.kind.to_owned(), name.clone());
        let group = book.parameter_groups.get_mut(&key).ok_or_else(|| {
            errors::invalid_value(format!("The parameter group {name} can't be modified"))
        })?;
        for item in &items {
            let (parameter, value) = (
                item.required("ParameterName")?,
                item.required("ParameterValue")?,
            );
            check_value(&found.family, parameter, value)?;
            let method = item.text("ApplyMethod").unwrap_or("pending-reboot");
            group
                .parameters
                .insert(parameter.to_owned(), (value.to_owned(), method.to_owned()));
        }
        Ok(())
    })?;
    Ok(Xml::of(|xml| {
        xml.text(OF_CLUSTER.name, &name);
    }))
}

fn check_value(family: &str, parameter: &str, value: &str) -> Result<(), ApiError> {
    let own = ENGINES_OWN
        .iter()
        .find(|own| own.name == parameter && family.starts_with(own.family));
    match own {
        Some(own) if !own.allowed.is_empty() && !own.allowed.split(',').any(|one| one == value) => {
            Err(errors::invalid_value(format!(
                "Invalid parameter value: {value} for: {parameter} allowed values are: {}",
                own.allowed
            )))
        }
        _ => Ok(()),
    }
}

/// A parameter as it is shown.
#[derive(Clone, Debug, Default)]
struct Shown {
    name: String,
    value: Option<String>,
    source: &'static str,
    method: String,
    allowed: &'static str,
    apply_type: &'static str,
}

/// The parameters of a cluster's group: the engine's own and those that somebody set.
pub(super) fn describe_parameters(rds: &Inner, call: &Call) -> Answer {
    const FILTERS: [listing::Filter<Shown>; 1] =
        [("parameter-name", |shown| vec![shown.name.clone()])];
    listing::check_filters(&call.form, &FILTERS)?;
    let name = call.form.required(OF_CLUSTER.name)?;
    let group = rds.read(|book| {
        find(book, OF_CLUSTER, &call.place, &name.to_lowercase())
            .ok_or_else(|| errors::parameter_group_not_found(name))
    })?;
    let mut found = Vec::new();
    for shown in group.shown() {
        let wanted = call
            .form
            .text("Source")
            .is_none_or(|wanted| wanted == shown.source);
        if wanted && listing::passes(&call.form, &FILTERS, &shown)? {
            found.push((shown.name.clone(), shown));
        }
    }
    let page = listing::page(&call.form, found)?;
    Ok(Xml::of(|xml| {
        xml.some("Marker", page.marker).list(
            "Parameters",
            "Parameter",
            page.items,
            |xml, shown| {
                xml.text("ParameterName", &shown.name)
                    .some("ParameterValue", shown.value)
                    .text("Source", shown.source)
                    .text("ApplyType", shown.apply_type)
                    .text("DataType", "string")
                    .some(
                        "AllowedValues",
                        Some(shown.allowed).filter(|allowed| !allowed.is_empty()),
                    )
                    .text("IsModifiable", true)
                    .text("ApplyMethod", &shown.method);
            },
        );
    }))
}

impl ParameterGroup {
    fn shown(&self) -> Vec<Shown> {
        let mut all: BTreeMap<String, Shown> = ENGINES_OWN
            .iter()
            .filter(|own| self.family.starts_with(own.family))
            .map(|own| {
                let shown = Shown {
                    name: own.name.to_owned(),
                    value: own.value.map(str::to_owned),
                    source: if own.value.is_some() {
                        "system"
                    } else {
                        "engine-default"
                    },
                    method: "pending-reboot".to_owned(),
                    allowed: own.allowed,
                    apply_type: own.apply_type,
                };
                (own.name.to_owned(), shown)
            })
            .collect();
        for (name, (value, method)) in &self.parameters {
            let shown = all.entry(name.clone()).or_insert_with(|| Shown {
                name: name.clone(),
                apply_type: "dynamic",
                ..Shown::default()
            });
            shown.value = Some(value.clone());
            shown.method.clone_from(method);
            shown.source = "user";
        }
        all.into_values().collect()
    }
}
