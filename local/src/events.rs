//! The event bus: what services publish, in EventBridge's shape.

use serde_json::Value;

/// An event on its way to the default bus of an account and region.
#[derive(Clone, Debug)]
pub struct Event {
    /// Twelve digits.
    pub account: String,
    /// Where it happened; events do not cross regions.
    pub region: String,
    /// Such as `aws.rds`.
    pub source: String,
    /// Such as `RDS DB Cluster Event`.
    pub detail_type: String,
    /// ARNs the event is about.
    pub resources: Vec<String>,
    /// The event's own body.
    pub detail: Value,
}
