//! Subnet groups, and the network a place has from the start.
//!
//! A restore that names no subnet group and no security group lands in the
//! default ones, which every account has in every region.

use super::api::{Answer, Call};
use super::listing;
use super::names::Place;
use super::state::Book;
use super::tags::Tags;
use super::xml::Xml;
use super::{Inner, errors, hex_of};
use crate::request::ApiError;

/// The group every place has.
pub(super) const DEFAULT: &str = "default";

/// A subnet group.
#[derive(Clone, Debug)]
pub(super) struct SubnetGroup {
    pub(super) name: String,
    description: String,
    subnets: Vec<String>,
    pub(super) tags: Tags,
    place: Place,
}

impl Place {
    /// The network that every subnet group is in.
    #[must_use]
    pub fn default_vpc(&self) -> String {
        format!("vpc-0{}", hex_of(&format!("vpc {self}"), 16))
    }

    /// Its security group, which lets all its members reach each other.
    pub(super) fn default_security_group(&self) -> String {
        format!("sg-0{}", hex_of(&format!("sg {self}"), 16))
    }

    pub(super) fn zone(&self, number: usize) -> String {
        format!("{}{}", self.region, ["a", "b", "c"][number % 3])
    }
}

impl SubnetGroup {
    fn default_of(place: &Place) -> Self {
        let subnets = (0..3)
            .map(|number| {
                format!(
                    "subnet-0{}",
                    hex_of(&format!("subnet {number} {place}"), 16)
                )
            })
            .collect();
        Self {
            name: DEFAULT.to_owned(),
            description: DEFAULT.to_owned(),
            subnets,
            tags: Tags::default(),
            place: place.clone(),
        }
    }

    pub(super) fn write(&self, xml: &mut Xml) {
        let place = &self.place;
        xml.text("DBSubnetGroupName", &self.name)
            .text("DBSubnetGroupDescription", &self.description)
            .text("VpcId", place.default_vpc())
            .text("SubnetGroupStatus", "Complete")
            .list(
                "Subnets",
                "Subnet",
                self.subnets.iter().enumerate(),
                |xml, (number, subnet)| {
                    xml.text("SubnetIdentifier", subnet)
                        .within("SubnetAvailabilityZone", |xml| {
                            xml.text("Name", place.zone(number));
                        })
                        .text("SubnetStatus", "Active");
                },
            )
            .text("DBSubnetGroupArn", place.arn("subgrp", &self.name))
            .strings("SupportedNetworkTypes", "member", ["IPV4"]);
    }
}

/// A group by name; the default one always exists.
pub(super) fn find(book: &Book, place: &Place, name: &str) -> Result<SubnetGroup, ApiError> {
    let name = name.to_lowercase();
    if name == DEFAULT {
        return Ok(SubnetGroup::default_of(place));
    }
    book.subnet_groups
        .get(&(place.clone(), name.clone()))
        .cloned()
        .ok_or_else(|| errors::subnet_group_not_found(&name))
}

pub(super) fn create(rds: &Inner, call: &Call) -> Answer {
    let name = call.form.required("DBSubnetGroupName")?.to_lowercase();
    let subnets = call.form.list("SubnetIds").unwrap_or_default();
    if let Some(wrong) = subnets.iter().find(|subnet| !subnet.starts_with("subnet-")) {
        return Err(ApiError::new(
            400,
            "InvalidSubnet",
            format!("Subnet IDs are invalid: {wrong}"),
        ));
    }
    if subnets.len() < 2 {
        return Err(errors::too_few_zones());
    }
    let group = SubnetGroup {
        name: name.clone(),
        description: call.form.required("DBSubnetGroupDescription")?.to_owned(),
        subnets,
        tags: Tags::from_form(&call.form, rds.settings.quotas.tags_per_resource)?,
        place: call.place.clone(),
    };
    rds.edit(|book| {
        if find(book, &call.place, &name).is_ok() {
            return Err(errors::subnet_group_exists(&name));
        }
        book.subnet_groups
            .insert((call.place.clone(), name), group.clone());
        Ok(())
    })?;
    Ok(Xml::of(|xml| {
        xml.within("DBSubnetGroup", |xml| group.write(xml));
    }))
}

pub(super) fn describe(rds: &Inner, call: &Call) -> Answer {
    let found = rds.read(|book| match call.form.text("DBSubnetGroupName") {
        Some(name) => Ok(vec![find(book, &call.place, name)?]),
        None => Ok::<_, ApiError>(
            book.subnet_groups
                .values()
                .filter(|group| group.place == call.place)
                .cloned()
                .chain([SubnetGroup::default_of(&call.place)])
                .collect(),
        ),
    })?;
    let page = listing::page(
        &call.form,
        found
            .into_iter()
            .map(|group| (group.name.clone(), group))
            .collect(),
    )?;
    Ok(Xml::of(|xml| {
        xml.some("Marker", page.marker).list(
            "DBSubnetGroups",
            "DBSubnetGroup",
            page.items,
            |xml, group| group.write(xml),
        );
    }))
}
