//! Permissions whose absence is denied, and a restore ends as it should all the same.
//!
//! These are of best effort, or of work that something else does again. One that is not
//! in this list fails the run, and so does one in it that a scenario does fail without.

use crate::trial::Permission;

/// Permissions, and why a restore does without them.
pub(crate) struct Survived {
    /// Such as `NotifyRole`; all roles when there is none.
    pub(crate) roles: &'static [&'static str],
    /// The statements' `Sid`s.
    pub(crate) sids: &'static [&'static str],
    /// Their actions; all of them when there is none.
    pub(crate) actions: &'static [&'static str],
    /// Whether chance decides: a run in which a scenario does fail without them is no error.
    pub(crate) by_chance: bool,
    /// Why.
    pub(crate) reason: &'static str,
}

/// All of them.
pub(crate) const ALL: &[Survived] = &[
    Survived {
        roles: &[],
        sids: &["RecordStep"],
        actions: &[],
        by_chance: false,
        reason: "how long a step took is written down for people: a step that cannot write it goes on",
    },
    Survived {
        roles: &["PlanRole"],
        sids: &["LookAtSecurityGroups", "AskWhatOurRolesMay"],
        actions: &[],
        by_chance: false,
        reason: "what cannot be asked beforehand is unknown and no failure: the step that needs it finds out",
    },
    Survived {
        roles: &["ReapRole"],
        sids: &["ListSecrets"],
        actions: &[],
        by_chance: false,
        reason: "it finds secrets that a lost answer left; those in a ledger are removed without it",
    },
    Survived {
        roles: &["CleanupRole"],
        sids: &["GiveTicketsBack"],
        actions: &["dynamodb:DeleteItem"],
        by_chance: false,
        reason: "a ticket of an ended restore that was not given back is removed by who waits behind it",
    },
    Survived {
        roles: &["CleanupRole", "ReapRole"],
        sids: &["WakeTheNext"],
        actions: &[],
        by_chance: false,
        reason: "who is next in the queue of copies and cannot be woken looks by itself, later",
    },
    Survived {
        roles: &["WaitRole"],
        sids: &["AnswerTokens"],
        actions: &["states:SendTaskFailure"],
        by_chance: false,
        reason: "a function that cannot say that a wait failed fails itself, and with it the wait",
    },
    Survived {
        roles: &["WakeRole"],
        sids: &["AnswerTokens"],
        actions: &["states:SendTaskFailure"],
        by_chance: false,
        reason: "an event is a hint: the wait finds by itself, later, what has failed",
    },
    Survived {
        roles: &["WakeRole"],
        sids: &["ListState", "LookAtDatabases"],
        actions: &[],
        by_chance: true,
        reason: "an event is a hint, and of which wait it comes first is chance: without one of these some waits are not ended early",
    },
];

impl Survived {
    /// Whether it speaks of this permission.
    pub(crate) fn concerns(&self, permission: &Permission) -> bool {
        let among = |names: &[&str], name: &str| names.is_empty() || names.contains(&name);
        among(self.roles, &permission.role)
            && among(self.sids, &permission.sid)
            && among(self.actions, &permission.action)
    }
}
