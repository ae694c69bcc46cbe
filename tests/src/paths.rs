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

/// Up to the restore call, of a restore that copies first.
pub const ONE_COPY: [&str; 7] = [
    "Begin",
    "Plan",
    "IsCopyNeeded",
    "CopySnapshot",
    "WaitForCopy",
    "AreCopiesMissing",
    "RestoreCluster",
];

/// Of a restore that fails in Verify, and leaves nothing.
pub const FAILS_IN_VERIFY: [&str; 18] = [
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
    "Undo",
    "WaitForUndo",
    "IsUndoDone",
    "NotifyFailure",
    "HowDidItEnd",
    "FailedClean",
];
