//! What goes wrong on RDS itself, on a test's word.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use super::lifecycle::Flow;
use super::state::Book;
use crate::request::ApiError;

/// Which resources a trouble is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A cluster, however made.
    Cluster,
    /// A cluster made by a restore, from a snapshot or to a point in time.
    RestoredCluster,
    /// An instance.
    Instance,
    /// A snapshot taken of a cluster.
    Snapshot,
    /// A copy of a snapshot; the id is the target's.
    SnapshotCopy,
}

/// Something that goes wrong with one resource.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The call that would make it is refused, such as with `InsufficientDBClusterCapacityFault`.
    Refused(ApiError),
    /// It ends in this status instead of `available`: `incompatible-restore`, `insufficient-capacity`,
    /// `storage-full`, `failed`, …
    EndsIn(String),
    /// A copy stops at this percentage and becomes `failed`.
    FailsAt(u8),
    /// Its first status never changes.
    NeverReady,
    /// It stays in this status, once a modification or its deletion has put it there: `modifying`,
    /// `resetting-master-credentials`, `deleting`, ...
    StaysIn {
        /// The status.
        status: String,
        /// So long more than usual; for ever when absent.
        lasts: Option<Duration>,
    },
    /// It takes this many times as long.
    Slow(f64),
    /// A cluster or an instance leaves `available` again, for `backing-up`, `upgrading`, `storage-full`, ...
    Leaves {
        /// For this status.
        status: String,
        /// Counted from when it first became `available`. If it is not at that moment, as soon as it is.
        after: Duration,
        /// It is back after this; never when absent.
        lasts: Option<Duration>,
    },
    /// The next password reset is accepted and comes to nothing.
    ResetFails,
}

/// A trouble waiting for its resource.
pub(super) struct Script {
    kind: Kind,
    pattern: String,
    trouble: Trouble,
}

impl Script {
    pub(super) fn new(kind: Kind, pattern: &str, trouble: Trouble) -> Self {
        Self {
            kind,
            pattern: pattern.to_lowercase(),
            trouble,
        }
    }
}

impl Inner {
    /// Takes the first trouble meant for this resource that `wanted` recognises. Each happens once.
    pub(super) fn trouble<R>(
        &self,
        kind: Kind,
        id: &str,
        mut wanted: impl FnMut(&Trouble) -> Option<R>,
    ) -> Option<R> {
        let mut scripts = self.troubles();
        let (position, found) = scripts.iter().enumerate().find_map(|(position, script)| {
            let meant = script.kind == kind
                || (script.kind, kind) == (Kind::Cluster, Kind::RestoredCluster);
            let found = (meant && matches(&script.pattern, id))
                .then(|| wanted(&script.trouble))
                .flatten()?;
            Some((position, found))
        })?;
        scripts.remove(position);
        Some(found)
    }

    /// Refuses a call if a test wants it refused.
    pub(super) fn refuse_if_scripted(&self, kind: Kind, id: &str) -> Result<(), ApiError> {
        match self.trouble(kind, id, |trouble| match trouble {
            Trouble::Refused(error) => Some(error.clone()),
            _ => None,
        }) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// How many times longer than usual this resource takes, and how its making ends.
    pub(super) fn fate(&self, kind: Kind, id: &str) -> Fate {
        let slower = self.trouble(kind, id, |trouble| match trouble {
            Trouble::Slow(times) => Some(*times),
            _ => None,
        });
        let ending = self.trouble(kind, id, |trouble| match trouble {
            Trouble::EndsIn(status) => Some(Ending::Status {
                status: status.clone(),
                at_percent: 100,
            }),
            Trouble::FailsAt(at_percent) => Some(Ending::Status {
                status: "failed".to_owned(),
                at_percent: *at_percent,
            }),
            Trouble::NeverReady => Some(Ending::Never),
            _ => None,
        });
        Fate {
            slower: slower.unwrap_or(1.0),
            ending: ending.unwrap_or(Ending::Available),
        }
    }
}

impl Inner {
    /// Lets a cluster or an instance that has just become `available` leave that again, as often as a test wants it.
    pub(super) fn leave_if_scripted(self: &Arc<Self>, kind: Kind, resource_id: &str, name: &str) {
        while let Some(leave) = self.trouble(kind, name, |trouble| match trouble {
            Trouble::Leaves {
                status,
                after,
                lasts,
            } => Some((status.clone(), *after, *lasts)),
            _ => None,
        }) {
            self.leave(kind, resource_id, leave);
        }
    }

    fn leave(
        self: &Arc<Self>,
        kind: Kind,
        resource_id: &str,
        (status, after, lasts): (String, Duration, Option<Duration>),
    ) {
        let in_this_world = |duration: Duration| duration.mul_f64(1.0 / self.settings.speed);
        let (after, lasts) = (in_this_world(after), lasts.map(in_this_world));
        let id = resource_id.to_owned();
        self.flow(move |mut flow| async move {
            flow.sleep(after).await;
            let there = flow
                .until(|book| match status_of(book, kind, &id) {
                    Some("available") => Some(true),
                    Some(_) => None,
                    None => Some(false),
                })
                .await?;
            there.then_some(())?;
            shift(&flow, kind, &id, "available", &status)?;
            flow.sleep(lasts?).await;
            shift(&flow, kind, &id, &status, "available")
        });
    }
}

fn status_of<'a>(book: &'a Book, kind: Kind, resource_id: &str) -> Option<&'a str> {
    Some(match kind {
        Kind::Instance => book.instances.get(resource_id)?.status.as_str(),
        _ => book.clusters.get(resource_id)?.status.as_str(),
    })
}

fn shift(flow: &Flow, kind: Kind, resource_id: &str, from: &str, to: &str) -> Option<()> {
    match kind {
        Kind::Instance => flow.instance(resource_id, |instance, now| {
            let there = instance.status.is(from);
            there.then(|| instance.status.set(to, now))
        }),
        _ => flow.cluster(resource_id, |cluster, now| {
            let there = cluster.status.is(from);
            there.then(|| cluster.status.set(to, now))
        }),
    }
}

/// How the making of a resource goes.
pub(super) struct Fate {
    pub(super) slower: f64,
    pub(super) ending: Ending,
}

/// How the making of a resource ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Available,
    Status { status: String, at_percent: u8 },
    Never,
}

/// Whether a name fits a pattern in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|from| rest.get(from..).is_some_and(|end| matches(after, end)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name) in [
            ("*", ""),
            ("drill-*", "drill-x"),
            ("*-copy", "a-copy"),
            ("a*b*c", "a-b-b-c"),
            ("x", "x"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        assert!(!matches("drill-*", "orders") && !matches("x", "xy"));
    }
}
