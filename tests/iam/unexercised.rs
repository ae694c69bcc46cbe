//! What the roles grant and no scenario can use, each with its reason.
//!
//! These are permissions of AWS's own parts, which the local cloud has not, or which do
//! not ask with the role's rights here. An entry that a scenario does use, or that no
//! role grants, is an error: the list says no more than is true.

use crate::trial::{Permission, Reach};

/// Actions, in whichever role, and why nothing here asks for them.
pub(crate) struct Unexercised {
    /// As the policies write them.
    pub(crate) actions: &'static [&'static str],
    /// Why, and where AWS says that they are needed.
    pub(crate) reason: &'static str,
}

/// All of them.
pub(crate) const ALL: &[Unexercised] = &[
    Unexercised {
        actions: &["logs:CreateLogStream", "logs:PutLogEvents"],
        reason: "Lambda writes each function's log with its role; the local log has no API (Lambda guide, \"Sending function logs\")",
    },
    Unexercised {
        actions: &[
            "xray:PutTraceSegments",
            "xray:PutTelemetryRecords",
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
        ],
        reason: "Lambda and Step Functions send traces with the role; there is no X-Ray here (Lambda and Step Functions guides, \"X-Ray\")",
    },
    Unexercised {
        actions: &[
            "logs:CreateLogDelivery",
            "logs:GetLogDelivery",
            "logs:UpdateLogDelivery",
            "logs:DeleteLogDelivery",
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:DescribeResourcePolicies",
            "logs:DescribeLogGroups",
        ],
        reason: "Step Functions delivers the execution log with the role (Step Functions guide, \"Logging using CloudWatch Logs\")",
    },
    Unexercised {
        actions: &[
            "ec2:CreateNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:DeleteNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
        ],
        reason: "Lambda attaches a function to the VPC with its role, and the function itself is denied it (Lambda guide, \"VPC permissions\")",
    },
];

/// Resources of statements that scenarios do use, and why nothing here is asked about them.
pub(crate) struct Unreached {
    /// Such as `RestoreRole`.
    pub(crate) role: &'static str,
    /// The statement's `Sid`.
    pub(crate) sid: &'static str,
    /// The resources' types, as ARNs have them.
    pub(crate) types: &'static [&'static str],
    /// Why, and where AWS says that they are needed.
    pub(crate) reason: &'static str,
}

/// All of them.
pub(crate) const UNREACHED: &[Unreached] = &[Unreached {
    role: "RestoreRole",
    sid: "AddInstancesWithGroups",
    types: &["og", "subgrp"],
    reason: "the call names neither, and the local RDS asks for what a call names; the example of the Aurora guide has them for calls that use the defaults (\"Permission policies to create, modify and, delete resources in Aurora\")",
}];

impl Unreached {
    /// Whether it speaks of this resource.
    pub(crate) fn concerns(&self, reach: &Reach) -> bool {
        let of_type = |found: &&str| reach.resource.split(':').nth(5) == Some(found);
        self.role == reach.role && self.sid == reach.sid && self.types.iter().any(of_type)
    }
}

impl Unexercised {
    /// Whether it speaks of this permission.
    pub(crate) fn concerns(&self, permission: &Permission) -> bool {
        self.actions.contains(&permission.action.as_str())
    }
}
