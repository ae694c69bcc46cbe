//! Calls: what they are called, what was recorded of them, and which faults concern them.

use std::fmt;
use std::str::FromStr;

use time::OffsetDateTime;

use super::Fault;
use crate::request::Request;

/// One call of a function, named so that it is found again in another run: the nth time this function calls
/// this operation. Written `wait rds:DescribeDBClusters#2`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// The function's name.
    pub function: String,
    /// The service's signing name.
    pub service: String,
    /// Such as `CreateDBInstance`.
    pub operation: String,
    /// From 1.
    pub occurrence: u32,
}

impl Call {
    /// Whether the call changes something: neither describes nor gets nor lists nor queries nor simulates.
    #[must_use]
    pub fn is_mutating(&self) -> bool {
        let reads = [
            "Describe", "Get", "GET ", "List", "Query", "BatchGet", "Scan", "Simulate",
        ];
        !reads
            .iter()
            .any(|prefix| self.operation.starts_with(prefix))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            function,
            service,
            operation,
            occurrence,
        } = self;
        write!(formatter, "{function} {service}:{operation}#{occurrence}")
    }
}

impl FromStr for Call {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (function, call) = text.split_once(' ')?;
            let (service, call) = call.split_once(':')?;
            let (operation, occurrence) = call.split_once('#')?;
            Some(Self {
                function: function.to_owned(),
                service: service.to_owned(),
                operation: operation.to_owned(),
                occurrence: occurrence.parse().ok()?,
            })
        };
        parsed().ok_or_else(|| {
            format!("`{text}` names no call; write it like `wait rds:DescribeDBClusters#2`")
        })
    }
}

/// A call as it was made.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Which.
    pub call: Call,
    /// When its first attempt was made.
    pub at: OffsetDateTime,
    /// The request id of the invocation that made it.
    pub invocation: Option<String>,
    /// Its first attempt.
    pub request: Request,
}

impl Recorded {
    /// The kinds of faults that mean something for this call; `earlier` is what was called before it.
    #[must_use]
    pub fn faults(&self, earlier: &[Self]) -> Vec<Fault> {
        let is_first = !earlier
            .iter()
            .any(|call| call.invocation == self.invocation);
        let applies = |fault: &Fault| match fault {
            Fault::StaleRead => self.can_be_stale() && last_change(self, earlier).is_some(),
            Fault::LandsLate => self.call.is_mutating(),
            // A read has no effect: an answer that is lost after it is one that is lost before it.
            Fault::ResetAfter
            | Fault::HangAfter
            | Fault::InternalErrorAfter
            | Fault::KilledAfter => self.call.is_mutating(),
            fault => is_first || !fault.is_of_an_invocation(),
        };
        Fault::ALL.into_iter().filter(applies).collect()
    }

    /// Whether the service may answer it with what was true a while ago.
    fn can_be_stale(&self) -> bool {
        let strongly_consistent = self.call.service == "dynamodb"
            && (self.call.operation.starts_with("Transact")
                || String::from_utf8_lossy(&self.request.body).contains("\"ConsistentRead\":true"));
        !self.call.is_mutating() && !strongly_consistent
    }
}

/// The last call before this one that changed something in its service.
pub(super) fn last_change<'a>(read: &Recorded, earlier: &'a [Recorded]) -> Option<&'a Recorded> {
    earlier
        .iter()
        .rev()
        .find(|call| call.call.service == read.call.service && call.call.is_mutating())
}

/// The operation a request asks for, whichever way its protocol says so.
pub(super) fn operation(request: &Request) -> String {
    if let Some(operation) = request.json_operation() {
        return operation.to_owned();
    }
    let action = form_urlencoded::parse(&request.body).find(|(name, _)| name == "Action");
    action.map_or_else(
        || format!("{} {}", request.method, request.uri.path()),
        |(_, action)| action.into_owned(),
    )
}

/// The name of the function that asks; nobody's for people and services.
pub(super) fn function(request: &Request) -> Option<&str> {
    let (account_and_kind, session) = request.caller.principal.split_once("assumed-role/")?;
    account_and_kind.contains(":sts:").then_some(())?;
    session.split_once('/').map(|(_, function)| function)
}
