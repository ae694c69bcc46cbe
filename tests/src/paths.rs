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

/// Of a restore that copies once, without readers.
pub const ONE_COPY: [&str; 20] = [
    "Begin",
    "Plan",
    "IsCopyNeeded",
    "CopySnapshot",
    "WaitForCopy",
    "AreCopiesMissing",
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

/// Of a restore that copies twice, without readers.
pub const TWO_COPIES: [&str; 23] = [
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

/// Of a restore without a copy and with readers, which come after the writer.
pub const WITH_READERS: [&str; 20] = [
    "Begin",
    "Plan",
    "IsCopyNeeded",
    "RestoreCluster",
    "WaitForCluster",
    "AddInstances",
    "WaitForInstances",
    "AreInstancesMissing",
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

/// Of a restore that a person approved, without a copy and without readers.
pub const APPROVED: [&str; 19] = [
    "Begin",
    "Plan",
    "IsCopyNeeded",
    "Approve",
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

/// Of a restore that nobody approved.
pub const NOT_APPROVED: [&str; 10] = [
    "Begin",
    "Plan",
    "IsCopyNeeded",
    "Approve",
    "Undo",
    "WaitForUndo",
    "IsUndoDone",
    "NotifyFailure",
    "HowDidItEnd",
    "FailedClean",
];

/// Of a restore whose cluster comes to nothing: it is removed.
pub const FAILS_IN_WAIT_FOR_CLUSTER: [&str; 11] = [
    "Begin",
    "Plan",
    "IsCopyNeeded",
    "RestoreCluster",
    "WaitForCluster",
    "Undo",
    "WaitForUndo",
    "IsUndoDone",
    "NotifyFailure",
    "HowDidItEnd",
    "FailedClean",
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

/// Of a restore that fails in Switch, is taken back, and leaves nothing.
pub const FAILS_IN_SWITCH: [&str; 19] = [
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
    "Undo",
    "WaitForUndo",
    "IsUndoDone",
    "NotifyFailure",
    "HowDidItEnd",
    "FailedClean",
];
