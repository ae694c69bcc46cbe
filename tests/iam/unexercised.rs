//! What the roles grant and no scenario can use, each with its reason.
//!
//! These are permissions of AWS's own parts, which the local cloud has not, or which do
//! not ask with the role's rights here. An entry that a scenario does use, or that no
//! role grants, is an error: the list says no more than is true.

use crate::trial::Permission;

/// An action, in whichever role, and why nothing here asks for it.
pub(crate) struct Unexercised {
    /// As the policies write it.
    pub(crate) action: &'static str,
    /// Why, and where AWS says that it is needed.
    pub(crate) reason: &'static str,
}

/// All of them.
pub(crate) const ALL: &[Unexercised] = &[
    Unexercised {
        action: "logs:CreateLogStream",
        reason: "Lambda writes the function's log with its role; the local log has no API (Lambda guide, \"Sending logs\")",
    },
    Unexercised {
        action: "logs:PutLogEvents",
        reason: "as above",
    },
    Unexercised {
        action: "xray:PutTraceSegments",
        reason: "Lambda and Step Functions send traces with the role; there is no X-Ray here (Lambda guide, \"X-Ray\")",
    },
    Unexercised {
        action: "xray:PutTelemetryRecords",
        reason: "as above",
    },
];

impl Unexercised {
    /// Whether it speaks of this permission.
    pub(crate) fn concerns(&self, permission: &Permission) -> bool {
        self.action == permission.action
    }
}
