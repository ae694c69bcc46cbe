//! What the roles grant and no scenario can use, each with its reason.
//!
//! These are permissions of AWS's own parts, which the local cloud has not, or which do
//! not ask with the role's rights here. An entry that a scenario does use, or that no
//! role grants, is an error: the list says no more than is true.

use crate::trial::Permission;

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

impl Unexercised {
    /// Whether it speaks of this permission.
    pub(crate) fn concerns(&self, permission: &Permission) -> bool {
        self.actions.contains(&permission.action.as_str())
    }
}
