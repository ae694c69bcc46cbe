//! Permissions whose absence is denied, and a restore ends as it should all the same.
//!
//! These are of best effort, or of work that something else does again. One that is not
//! in this list fails the run, and so does one in it that a scenario does fail without.

use crate::trial::Permission;

/// Permissions, and why a restore does without them.
pub(crate) struct Survived {
    /// Such as `NotifyRole`; all roles when there is none.
    pub(crate) roles: &'static [&'static str],
    /// The statements' `Sid`s; all of them when there is none.
    pub(crate) sids: &'static [&'static str],
    /// Why.
    pub(crate) reason: &'static str,
}

/// All of them.
pub(crate) const ALL: &[Survived] = &[Survived {
    roles: &[],
    sids: &["RecordStep"],
    reason: "how long a step took is written down for people: a step that cannot write it goes on",
}];

impl Survived {
    /// Whether it speaks of this permission.
    pub(crate) fn concerns(&self, permission: &Permission) -> bool {
        let among = |names: &[&str], name: &str| names.is_empty() || names.contains(&name);
        among(self.roles, &permission.role) && among(self.sids, &permission.sid)
    }
}
