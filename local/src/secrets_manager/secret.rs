//! A secret, its versions and their staging labels: the rules of Secrets Manager.

use std::collections::{BTreeMap, BTreeSet};

use time::{Duration, OffsetDateTime};

use crate::request::ApiError;

pub(super) const CURRENT: &str = "AWSCURRENT";
pub(super) const PREVIOUS: &str = "AWSPREVIOUS";

/// The most staging labels one version may have.
const LABELS_MAX: usize = 20;

/// What a version holds. No `Debug`: a secret is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Content {
    Text(String),
    /// Base64, as on the wire.
    Binary(String),
}

/// One version of a secret's value.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) content: Content,
    pub(super) labels: BTreeSet<String>,
    pub(super) created: OffsetDateTime,
    pub(super) accessed: Option<OffsetDateTime>,
}

/// A deletion that has been asked for.
#[derive(Clone, Copy)]
pub(super) struct Deletion {
    pub(super) asked: OffsetDateTime,
    pub(super) due: OffsetDateTime,
}

/// A secret with all its versions.
#[derive(Clone)]
pub(super) struct Secret {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) description: Option<String>,
    pub(super) kms_key: Option<String>,
    /// The service that manages it, such as `rds`.
    pub(super) owner: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) versions: BTreeMap<String, Version>,
    pub(super) created: OffsetDateTime,
    pub(super) changed: OffsetDateTime,
    pub(super) deletion: Option<Deletion>,
}

impl Secret {
    /// Adds a version, or finds that a repeated request has added it already.
    ///
    /// # Errors
    /// `ResourceExistsException` when the token was used for another value.
    pub(super) fn put(
        &mut self,
        version_id: &str,
        content: Content,
        labels: Option<BTreeSet<String>>,
        now: OffsetDateTime,
    ) -> Result<(), ApiError> {
        if let Some(existing) = self.versions.get(version_id) {
            if existing.content == content {
                return Ok(());
            }
            let text = format!(
                "You can't use ClientRequestToken {version_id} because that value is already in use for a version of secret {}.",
                self.arn
            );
            return Err(ApiError::new(400, "ResourceExistsException", text));
        }
        let mut labels = labels.unwrap_or_else(|| BTreeSet::from([CURRENT.to_owned()]));
        if labels.is_empty() || labels.len() > LABELS_MAX {
            return Err(super::invalid_parameter(
                "VersionStages must have 1 to 20 entries.",
            ));
        }
        // The first version is current, whatever it is also called.
        if self.versions.is_empty() {
            labels.insert(CURRENT.to_owned());
        }
        let version = Version {
            content,
            labels: BTreeSet::new(),
            created: now,
            accessed: None,
        };
        self.versions.insert(version_id.to_owned(), version);
        for label in &labels {
            self.move_label(label, version_id);
        }
        self.changed = now;
        Ok(())
    }

    /// Takes a label from wherever it is. The version that loses AWSCURRENT becomes AWSPREVIOUS.
    fn move_label(&mut self, label: &str, to: &str) {
        let from = self.labelled(label).map(str::to_owned);
        if from.as_deref() == Some(to) {
            return;
        }
        if let Some(from) = from {
            self.remove_label(label, &from);
            if label == CURRENT {
                self.move_label(PREVIOUS, &from);
            }
        }
        if let Some(version) = self.versions.get_mut(to) {
            version.labels.insert(label.to_owned());
        }
    }

    fn remove_label(&mut self, label: &str, from: &str) {
        if let Some(version) = self.versions.get_mut(from) {
            version.labels.remove(label);
        }
    }

    /// `UpdateSecretVersionStage`: a label that is somewhere must be taken from there by name.
    ///
    /// # Errors
    /// `InvalidParameterException` when it is not, `ResourceNotFoundException` for unknown versions.
    pub(super) fn restage(
        &mut self,
        label: &str,
        remove_from: Option<&str>,
        move_to: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<(), ApiError> {
        for version_id in [remove_from, move_to].into_iter().flatten() {
            self.version(version_id)?;
        }
        let attached = self.labelled(label).map(str::to_owned);
        match (attached.as_deref(), remove_from) {
            (Some(attached), Some(named)) if attached != named => {
                return Err(super::invalid_parameter(&format!(
                    "The parameter RemoveFromVersionId can't be {named}. Staging label {label} is currently attached to version {attached}."
                )));
            }
            (None, Some(named)) => {
                return Err(super::invalid_parameter(&format!(
                    "Staging label {label} is not attached to version {named}."
                )));
            }
            (Some(attached), None) if move_to.is_some_and(|to| to != attached) => {
                return Err(super::invalid_parameter(&format!(
                    "The parameter RemoveFromVersionId can't be empty. Staging label {label} is currently attached to version {attached}, so you must explicitly reference that version in RemoveFromVersionId."
                )));
            }
            _ => {}
        }
        match (move_to, attached) {
            (Some(to), _) => self.move_label(label, to),
            (None, Some(_)) if label == CURRENT => {
                return Err(super::invalid_parameter(
                    "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.",
                ));
            }
            (None, Some(from)) => self.remove_label(label, &from),
            (None, None) => {}
        }
        self.changed = now;
        Ok(())
    }

    /// The version a label is attached to.
    pub(super) fn labelled(&self, label: &str) -> Option<&str> {
        let has = |(_, version): &(&String, &Version)| version.labels.contains(label);
        self.versions.iter().find(has).map(|(id, _)| id.as_str())
    }

    /// # Errors
    /// `ResourceNotFoundException`.
    pub(super) fn version(&self, version_id: &str) -> Result<&Version, ApiError> {
        self.versions.get(version_id).ok_or_else(|| {
            super::not_found(&format!(
                "Secrets Manager can't find the specified secret value for VersionId: {version_id}"
            ))
        })
    }

    /// Which version a `GetSecretValue` means.
    ///
    /// # Errors
    /// `ResourceNotFoundException`; `InvalidRequestException` when version and label disagree.
    pub(super) fn chosen(
        &self,
        version_id: Option<&str>,
        label: Option<&str>,
    ) -> Result<String, ApiError> {
        if let Some(version_id) = version_id {
            let version = self.version(version_id)?;
            if label.is_some_and(|label| !version.labels.contains(label)) {
                return Err(super::invalid_request(
                    "You provided a VersionStage that is not associated to the provided VersionId.",
                ));
            }
            return Ok(version_id.to_owned());
        }
        let label = label.unwrap_or(CURRENT);
        self.labelled(label).map(str::to_owned).ok_or_else(|| {
            super::not_found(&format!(
                "Secrets Manager can't find the specified secret value for staging label: {label}"
            ))
        })
    }

    /// Marks it for deletion after so many days.
    pub(super) fn schedule_deletion(&mut self, days: i64, now: OffsetDateTime) -> OffsetDateTime {
        let due = now + Duration::days(days);
        self.deletion = Some(Deletion { asked: now, due });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn secret() -> Secret {
        Secret {
            name: "s".into(),
            arn: "arn:s".into(),
            description: None,
            kms_key: None,
            owner: None,
            tags: BTreeMap::new(),
            versions: BTreeMap::new(),
            created: NOW,
            changed: NOW,
            deletion: None,
        }
    }

    fn put(secret: &mut Secret, id: &str, labels: Option<&[&str]>) {
        let labels = labels.map(|labels| labels.iter().map(|label| (*label).to_owned()).collect());
        secret
            .put(id, Content::Text(id.to_owned()), labels, NOW)
            .unwrap();
    }

    #[test]
    fn a_new_value_is_current_and_the_old_one_previous() {
        let mut secret = secret();
        for id in ["v1", "v2", "v3"] {
            put(&mut secret, id, None);
        }
        assert_eq!(
            (secret.labelled(CURRENT), secret.labelled(PREVIOUS)),
            (Some("v3"), Some("v2"))
        );
        assert!(
            secret.versions["v1"].labels.is_empty(),
            "deprecated, but kept"
        );
    }

    #[test]
    fn a_pending_value_leaves_the_current_one_alone() {
        let mut secret = secret();
        put(&mut secret, "v1", None);
        put(&mut secret, "v2", Some(&["AWSPENDING"]));
        assert_eq!(
            (secret.labelled(CURRENT), secret.labelled("AWSPENDING")),
            (Some("v1"), Some("v2"))
        );
    }

    #[test]
    fn the_same_token_stands_for_the_same_value() {
        let mut secret = secret();
        put(&mut secret, "v1", None);
        put(&mut secret, "v2", None);
        put(&mut secret, "v1", None);
        assert_eq!(
            secret.labelled(CURRENT),
            Some("v2"),
            "a repetition changes nothing"
        );
        let other = secret
            .put("v1", Content::Text("other".into()), None, NOW)
            .unwrap_err();
        assert_eq!(other.code, "ResourceExistsException");
    }

    #[test]
    fn a_label_is_moved_only_from_where_it_is() {
        let mut secret = secret();
        put(&mut secret, "v1", None);
        put(&mut secret, "v2", Some(&["AWSPENDING"]));
        for remove_from in [None, Some("v2")] {
            let refused = secret
                .restage(CURRENT, remove_from, Some("v2"), NOW)
                .unwrap_err();
            assert_eq!(refused.code, "InvalidParameterException");
        }
        secret
            .restage(CURRENT, Some("v1"), Some("v2"), NOW)
            .unwrap();
        assert_eq!(
            (secret.labelled(CURRENT), secret.labelled(PREVIOUS)),
            (Some("v2"), Some("v1"))
        );
        secret.restage("AWSPENDING", Some("v2"), None, NOW).unwrap();
        assert_eq!(secret.labelled("AWSPENDING"), None);
        assert!(
            secret.restage(CURRENT, Some("v2"), None, NOW).is_err(),
            "never removed altogether"
        );
    }
}
