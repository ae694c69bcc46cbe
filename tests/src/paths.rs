//! Paths through the flow that more than one theme takes: the states, in order.

/// These states, then all that every restore goes through that ends well: from its last instances on.
macro_rules! then_restored {
    ($($before:literal),*) => {[
        $($before,)*
        "AddInstances",
        "WaitForInstances",
        "AreInstancesMissing",
        "ResetCredentials",
        "WaitForCredentials",
        "LockLoginRoles",
        "Verify",
        "Switch",
        "WaitForSwitch",
        "Cleanup",
        "Notify",
        "Restored",
    ]};
}

/// These states, then the way back, where everything can be undone.
macro_rules! then_undone {
    ($($before:literal),*) => {[
        $($before,)*
        "Undo",
        "WaitForUndo",
        "IsUndoDone",
        "NotifyFailure",
        "HowDidItEnd",
        "FailedClean",
    ]};
}

/// Of a restore without a copy and without readers, whatever its source, its engine and its switch are.
pub const SHORTEST: [&str; 17] = then_restored![
    "Begin",
    "Plan",
    "IsCopyNeeded",
    "RestoreCluster",
    "WaitForCluster"
];

/// Of a restore that Plan refuses.
pub const REFUSED_BY_PLAN: [&str; 8] = then_undone!["Begin", "Plan"];

/// Of a restore that copies once, without readers.
pub const ONE_COPY: [&str; 20] = then_restored![
    "Begin",
    "Plan",
    "IsCopyNeeded",
    "CopySnapshot",
    "WaitForCopy",
    "AreCopiesMissing",
    "RestoreCluster",
    "WaitForCluster"
];

/// Of a restore that copies twice, without readers.
pub const TWO_COPIES: [&str; 23] = then_restored![
    "Begin",
    "Plan",
    "IsCopyNeeded",
    "CopySnapshot",
    "WaitForCopy",
    "AreCopiesMissing",
    "CopySnapshot",
    "WaitForCopy",
    "AreCopiesMissing",
    "RestoreCluster",
    "WaitForCluster"
];

/// Of a restore without a copy and with readers, which come after the writer.
pub const WITH_READERS: [&str; 20] = then_restored![
    "Begin",
    "Plan",
    "IsCopyNeeded",
    "RestoreCluster",
    "WaitForCluster",
    "AddInstances",
    "WaitForInstances",
    "AreInstancesMissing"
];

/// Of a restore that a person approved, without a copy and without readers.
pub const APPROVED: [&str; 19] = then_restored![
    "Begin",
    "Plan",
    "IsCopyNeeded",
    "Approve",
    "IsCopyNeeded",
    "RestoreCluster",
    "WaitForCluster"
];

/// Of a restore that nobody approved.
pub const NOT_APPROVED: [&str; 10] = then_undone!["Begin", "Plan", "IsCopyNeeded", "Approve"];

/// The way back, where everything can be undone.
pub const UNDONE: [&str; 6] = then_undone![];

/// Of a restore on the shortest path that fails in this state, and leaves nothing.
///
/// # Panics
/// When the state is not on that path.
pub fn failing_in(state: &str) -> Vec<&'static str> {
    let mut path = SHORTEST.to_vec();
    let place = path.iter().position(|on_the_path| *on_the_path == state);
    path.truncate(place.unwrap() + 1);
    path.extend(UNDONE);
    path
}
