//! Names of what a restore makes, derived from the restore's id and nothing else.
//!
//! RDS create and restore calls take no idempotency token: a name derived the same
//! way every time is what lets a repeated step find what it already asked for.

use sha2::{Digest, Sha256};

use crate::errors::{AR0001, StepError};

/// Longest identifier that RDS accepts for clusters, instances and snapshots.
pub const IDENTIFIER_LIMIT: usize = 63;

/// The id of a restore: the name of its execution.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RestoreId(String);

impl RestoreId {
    /// Accepts what Step Functions accepts as an execution's name: 1 to 80 characters, no white space.
    ///
    /// # Errors
    /// AR0001 naming the value.
    pub fn parse(id: &str) -> Result<Self, StepError> {
        let holds = (1..=80).contains(&id.chars().count())
            && !id.chars().any(|c| c.is_whitespace() || c.is_control());
        if holds {
            return Ok(Self(id.to_owned()));
        }
        Err(StepError::new(
            &AR0001,
            format!("execution name `{id}`, expected 1 to 80 characters without white space"),
        ))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name for RDS: readable first, unique by a hash of the whole id, because RDS ignores letter case
    /// and ids may be longer than its names.
    fn slug(&self, room: usize) -> String {
        let suffix = self.short();
        let mut readable = String::new();
        for c in self.0.to_ascii_lowercase().chars() {
            let c = if c.is_ascii_alphanumeric() { c } else { '-' };
            if c != '-' || !(readable.is_empty() || readable.ends_with('-')) {
                readable.push(c);
            }
        }
        readable.truncate(room.saturating_sub(suffix.len() + 1));
        let readable = readable.trim_end_matches('-');
        if readable.is_empty() {
            suffix
        } else {
            format!("{readable}-{suffix}")
        }
    }

    /// Ten hexadecimal digits that tell this id from others.
    fn short(&self) -> String {
        let hash = Sha256::digest(self.0.as_bytes());
        let first = hash.iter().take(5);
        first.map(|byte| format!("{byte:02x}")).collect()
    }

    /// Our copy of the source's snapshot.
    pub fn snapshot_copy(&self) -> String {
        let prefix = "aurora-restore-";
        format!("{prefix}{}", self.slug(IDENTIFIER_LIMIT - prefix.len()))
    }

    /// The cluster that is made beside another, whose name it takes over in Switch. Its instances add `-` and a number
    /// of up to two digits, and keep these names.
    pub fn working_cluster(&self) -> String {
        let prefix = "aurora-restore-";
        format!("{prefix}{}", self.slug(IDENTIFIER_LIMIT - 3 - prefix.len()))
    }

    /// What a cluster is called from when this restore takes over its name. Long names are cut; the end tells two
    /// restores apart.
    pub fn retired_cluster(&self, name: &str) -> String {
        let suffix = format!("-retired-{}", self.short());
        let mut kept = name.to_ascii_lowercase();
        kept.truncate(IDENTIFIER_LIMIT - suffix.len());
        format!("{}{suffix}", kept.trim_end_matches('-'))
    }

    /// The last snapshot of the cluster that this restore retired.
    pub fn final_snapshot(&self, name: &str) -> String {
        let suffix = format!("-final-{}", self.short());
        let mut kept = name.to_ascii_lowercase();
        kept.truncate(IDENTIFIER_LIMIT - suffix.len());
        format!("{}{suffix}", kept.trim_end_matches('-'))
    }

    /// The secret that holds the new master password when the pipeline keeps it.
    pub fn master_secret(&self) -> String {
        format!("aurora-restore/{}/master", self.slug(80))
    }

    /// A token that makes a repeated request of ours to Secrets Manager the same request: 32 to 64 characters.
    pub fn request_token(&self, purpose: &str) -> String {
        let hash = Sha256::digest(format!("{purpose}/{}", self.0).as_bytes());
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The nth instance of a cluster, counted from 1. Instance 1 is created first and becomes the writer.
pub fn instance(cluster: &str, number: u8) -> String {
    format!("{cluster}-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_rds_identifier(name: &str) -> bool {
        name.len() <= IDENTIFIER_LIMIT
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !name.ends_with('-')
            && !name.contains("--")
    }

    #[test]
    fn every_restore_id_gives_names_that_rds_accepts() {
        let long = "x".repeat(80);
        for id in [
            "a",
            "-",
            "__",
            "9",
            "Nightly_Orders--2026",
            "-a-",
            "1.5",
            "\u{e4}",
            long.as_str(),
        ] {
            let id = RestoreId::parse(id).unwrap();
            for name in [
                id.snapshot_copy(),
                instance(&id.working_cluster(), 16),
                id.retired_cluster("Orders-Prod"),
                id.retired_cluster(&format!("{}-{}", "a".repeat(43), "b".repeat(16))),
                id.final_snapshot(&"c".repeat(60)),
            ] {
                assert!(is_rds_identifier(&name), "{id:?} gave {name}");
            }
        }
    }

    #[test]
    fn ids_that_differ_only_in_what_rds_ignores_give_different_names() {
        let name = |id: &str| RestoreId::parse(id).unwrap().snapshot_copy();
        assert_ne!(name("orders"), name("Orders"));
        assert_ne!(name("orders-1"), name("orders_1"));
        assert_ne!(
            name(&format!("{}1", "x".repeat(79))),
            name(&format!("{}2", "x".repeat(79)))
        );
    }

    #[test]
    fn a_restore_id_that_step_functions_would_not_take_is_refused() {
        for id in ["", "a b", "a\tb", &"x".repeat(81)] {
            assert_eq!(RestoreId::parse(id).unwrap_err().code().id, "AR0001");
        }
    }
}
