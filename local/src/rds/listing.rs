//! Filters and pages, the same for every Describe.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::errors::invalid_value;
use super::form::Form;
use crate::request::ApiError;

/// A filter's name, and the values of a resource that match it.
pub(super) type Filter<T> = (&'static str, fn(&T) -> Vec<String>);

/// Whether a resource passes every filter of the request.
///
/// # Errors
/// A filter this Describe does not have.
pub(super) fn passes<T>(form: &Form, known: &[Filter<T>], resource: &T) -> Result<bool, ApiError> {
    for item in form.items("Filters") {
        let name = item.required("Name")?;
        let (_, values_of) = known
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| invalid_value(format!("Unrecognized filter name: {name}")))?;
        let wanted = item.list("Values").unwrap_or_default();
        let has = values_of(resource);
        if !wanted
            .iter()
            .any(|wanted| has.iter().any(|has| has.eq_ignore_ascii_case(wanted)))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The filters of a request are known, even when there is nothing to filter.
pub(super) fn check_filters<T>(form: &Form, known: &[Filter<T>]) -> Result<(), ApiError> {
    match form.items("Filters").iter().find(|item| {
        !known
            .iter()
            .any(|(name, _)| Some(*name) == item.text("Name"))
    }) {
        Some(item) => Err(invalid_value(format!(
            "Unrecognized filter name: {}",
            item.text("Name").unwrap_or_default()
        ))),
        None => Ok(()),
    }
}

/// One page of an answer.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) marker: Option<String>,
}

/// Cuts one page out of what was found, in the order of its keys.
pub(super) fn page<T>(form: &Form, mut found: Vec<(String, T)>) -> Result<Page<T>, ApiError> {
    let most = form.number("MaxRecords", 20..=100)?.unwrap_or(100);
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    if let Some(marker) = form.text("Marker") {
        let after = BASE64_STANDARD
            .decode(marker)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| invalid_value(format!("Invalid marker: {marker}")))?;
        found.retain(|(key, _)| *key > after);
    }
    let more = found.len() > most;
    found.truncate(most);
    let marker = found
        .last()
        .filter(|_| more)
        .map(|(key, _)| BASE64_STANDARD.encode(key));
    Ok(Page {
        items: found.into_iter().map(|(_, item)| item).collect(),
        marker,
    })
}
