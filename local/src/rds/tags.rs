//! Tags, on every resource alike.

use super::Inner;
use super::api::{Answer, Call};
use super::errors::{self, invalid_value};
use super::form::Form;
use super::names::Arn;
use super::state::Book;
use super::xml::Xml;
use crate::request::ApiError;

/// A resource's tags, in the order they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Vec<(String, String)>);

impl Tags {
    /// Key and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value under this key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter()
            .find_map(|(found, value)| (found == key).then_some(value))
    }

    /// The tags of a request, if it has any.
    pub(super) fn from_form(form: &Form, most: usize) -> Result<Self, ApiError> {
        let mut tags = Self::default();
        for item in form.items("Tags") {
            let key = item.required("Key")?;
            check_key(key)?;
            let value = item.text("Value").unwrap_or_default();
            if value.chars().count() > 256 {
                return Err(invalid_value(format!(
                    "The value of tag {key} is longer than 256 characters"
                )));
            }
            tags.set(key, value);
        }
        tags.at_most(most)
    }

    /// These tags and others, which win.
    pub(super) fn and(mut self, others: &Self) -> Self {
        for (key, value) in others.iter() {
            self.set(key, value);
        }
        self
    }

    /// Itself, unless there are too many.
    fn at_most(self, most: usize) -> Result<Self, ApiError> {
        if self.0.len() > most {
            return Err(invalid_value(format!(
                "A resource can have at most {most} tags"
            )));
        }
        Ok(self)
    }

    fn set(&mut self, key: &str, value: &str) {
        match self.0.iter_mut().find(|(found, _)| found == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((key.to_owned(), value.to_owned())),
        }
    }

    pub(super) fn write(&self, xml: &mut Xml) {
        xml.list("TagList", "Tag", self.iter(), |xml, (key, value)| {
            xml.text("Key", key).text("Value", value);
        });
    }
}

fn check_key(key: &str) -> Result<(), ApiError> {
    let lower = key.to_lowercase();
    if lower.starts_with("aws:") || lower.starts_with("rds:") {
        return Err(invalid_value(
            "Tag keys cannot start with the reserved prefixes aws: and rds:",
        ));
    }
    if key.chars().count() > 128 {
        return Err(invalid_value(format!(
            "The tag key {key} is longer than 128 characters"
        )));
    }
    Ok(())
}

pub(super) fn add(rds: &Inner, call: &Call) -> Answer {
    let new = Tags::from_form(&call.form, rds.settings.quotas.tags_per_resource)?;
    rds.edit(|book| {
        let tags = of_resource(book, call)?;
        *tags = tags
            .clone()
            .and(&new)
            .at_most(rds.settings.quotas.tags_per_resource)?;
        Ok(Xml::default())
    })
}

pub(super) fn remove(rds: &Inner, call: &Call) -> Answer {
    let keys = call.form.list("TagKeys").unwrap_or_default();
    rds.edit(|book| {
        of_resource(book, call)?
            .0
            .retain(|(key, _)| !keys.contains(key));
        Ok(Xml::default())
    })
}

pub(super) fn list(rds: &Inner, call: &Call) -> Answer {
    rds.edit(|book| {
        let tags = of_resource(book, call)?;
        Ok(Xml::of(|xml| tags.write(xml)))
    })
}

fn of_resource<'a>(book: &'a mut Book, call: &Call) -> Result<&'a mut Tags, ApiError> {
    let text = call.form.required("ResourceName")?;
    let arn =
        Arn::read(text).ok_or_else(|| invalid_value(format!("Invalid resource name: {text}")))?;
    if arn.place != call.place {
        return Err(invalid_value(format!(
            "The specified resource name does not match an RDS resource in this region: {text}"
        )));
    }
    of(book, &arn)
}

/// The tags of what this ARN names.
pub(super) fn of<'a>(book: &'a mut Book, arn: &Arn) -> Result<&'a mut Tags, ApiError> {
    let key = (arn.place.clone(), arn.id.clone());
    match arn.kind.as_str() {
        "cluster" => Ok(&mut book.cluster_mut(&arn.place, &arn.id)?.tags),
        "db" => Ok(&mut book.instance_mut(&arn.place, &arn.id)?.tags),
        "cluster-snapshot" => Ok(&mut book.snapshot_mut(&arn.place, &arn.id)?.tags),
        "cluster-pg" | "pg" => book
            .parameter_groups
            .get_mut(&(arn.place.clone(), arn.kind.clone(), arn.id.clone()))
            .map(|group| &mut group.tags)
            .ok_or_else(|| errors::parameter_group_not_found(&arn.id)),
        "subgrp" => book
            .subnet_groups
            .get_mut(&key)
            .map(|group| &mut group.tags)
            .ok_or_else(|| errors::subnet_group_not_found(&arn.id)),
        other => Err(errors::not_implemented(&format!(
            "tags on resources of type `{other}`"
        ))),
    }
}
