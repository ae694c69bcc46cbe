//! Paths through the flow that more than one theme takes: the states, in order.

/// Of a restore without a copy and without readers, whatever its source, its engine and its switch are.
pub const SHORTEST: [&str; 17] = [
    "Begin",
    "Plan",
    "IsCopyNeeded",
    "RestoreCluster",
    "WaitForCluster",
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
];

/// Of a restore that Plan refuses.
pub const REFUSED_BY_PLAN: [&str; 8] = [
    "Begin",
    "Plan",
    "Undo",
    "WaitForUndo",
    "IsUndoDone",
    "NotifyFailure",
    "HowDidItEnd",
    "FailedClean",
];
