//! What can go wrong, as Step Functions and people see it.
//!
//! Five [`Kind`]s reach the state machine, named for what it does about them.
//! Beneath them stands the documented list of [`Code`]s: each has a page in
//! `docs/errors/`, compiled in, that says cause and remedy.
//!
//! SDK errors are classified here, once, by their wire code. Where AWS leaves only
//! the message to tell two cases apart, that is said at the place.

use std::error::Error;
use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// What the state machine does about an error. The names are the `ErrorEquals` of the definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Retried with jitter: throttling, lag, a resource in a passing state.
    Transient,
    /// Retried within seconds: a switch has begun, and until its next step is done clients cannot connect.
    Switching,
    /// The request or the account is wrong: a person must act.
    Rejected,
    /// Another restore, or a resource that is not ours, stands in the way.
    Conflict,
    /// A bug of ours.
    Defect,
}

impl Kind {
    /// Whether it may pass by itself.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Transient | Self::Switching)
    }

    /// The error name in the state machine.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transient => "Transient",
            Self::Switching => "Switching",
            Self::Rejected => "Rejected",
            Self::Conflict => "Conflict",
            Self::Defect => "Defect",
        }
    }
}

/// A documented error: its number, what the state machine does about it, and its page.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// Such as `AR0007`.
    pub id: &'static str,
    /// What the state machine does.
    pub kind: Kind,
    /// One line, as the title of the page.
    pub title: &'static str,
    /// The page in `docs/errors/`: cause, remedy, how to see it yourself.
    pub page: &'static str,
}

impl Code {
    /// The code with this id.
    pub fn find(id: &str) -> Option<&'static Code> {
        ALL.iter()
            .copied()
            .find(|code| code.id.eq_ignore_ascii_case(id))
    }

    /// What to do about it, in one line: the first paragraph of the page's remedy.
    pub fn remedy(&self) -> &'static str {
        let section = self.page.split("## Remedy").nth(1).unwrap_or_default();
        section
            .trim_start()
            .split("\n\n")
            .next()
            .unwrap_or_default()
            .trim()
    }
}

macro_rules! codes {
    ($($id:ident $kind:ident $title:literal)*) => {
        $(
            #[doc = $title]
            pub static $id: Code = Code {
                id: stringify!($id),
                kind: Kind::$kind,
                title: $title,
                page: include_str!(concat!("../../../docs/errors/", stringify!($id), ".md")),
            };
        )*
        /// Every documented error, in order of number.
        pub static ALL: &[&Code] = &[$(&$id),*];
    };
}

codes! {
    AR0001 Rejected "request malformed"
    AR0002 Rejected "profile not found"
    AR0003 Rejected "profile malformed"
    AR0004 Rejected "deployed settings missing or malformed"
    AR0005 Rejected "direction of data refused"
    AR0006 Rejected "source is target"
    AR0007 Rejected "snapshot not found"
    AR0008 Rejected "snapshot not usable"
    AR0009 Conflict "target exists already"
    AR0010 Rejected "encryption key not usable"
    AR0011 Rejected "quota exceeded"
    AR0012 Conflict "resource of that name is not ours"
    AR0013 Conflict "target is locked by another restore"
    AR0014 Conflict "lock lost"
    AR0015 Rejected "subnet or parameter group not found"
    AR0016 Rejected "instance class not offered"
    AR0017 Rejected "snapshot copy failed"
    AR0018 Rejected "cluster restore failed"
    AR0019 Rejected "instance failed"
    AR0020 Rejected "deadline exceeded"
    AR0021 Rejected "new credentials not accepted"
    AR0022 Rejected "old password still accepted"
    AR0023 Rejected "check failed"
    AR0024 Rejected "old password unknown"
    AR0025 Rejected "evidence missing"
    AR0026 Rejected "resources left behind"
    AR0027 Rejected "access denied"
    AR0028 Transient "resource in a passing state"
    AR0029 Transient "too many copies in progress"
    AR0030 Transient "capacity not available now"
    AR0031 Transient "service throttled or unavailable"
    AR0032 Transient "database not reachable yet"
    AR0033 Rejected "request refused by the service"
    AR0034 Conflict "restore id already used"
    AR0035 Rejected "execution ended without an end"
    AR0036 Transient "an ended restore is still being removed"
    AR0037 Rejected "resource removed or renamed by somebody else"
    AR0038 Rejected "source cluster not found"
    AR0039 Rejected "point in time out of reach"
    AR0040 Rejected "source cannot be cloned"
    AR0043 Rejected "restored database runs by itself"
    AR0046 Rejected "cluster may not be replaced"
    AR0047 Conflict "what is to be replaced has changed"
    AR0048 Switching "switch under way"
    AR0049 Rejected "switch could not be taken back"
    AR0050 Rejected "pointer not usable"
    AR0051 Rejected "production without consent"
    AR0052 Rejected "approval refused"
    AR0053 Rejected "approval expired"
    AR0054 Rejected "approval missing"
    AR0055 Conflict "decision comes too late or contradicts"
    AR0056 Rejected "role may not do what the plan needs"
    AR0057 Rejected "security group not usable"
    AR0060 Rejected "no room for the fleet"
    AR0061 Rejected "fleet too large"
    AR0062 Rejected "members of a fleet share a target"
    AR0063 Conflict "fleet id already used"
    AR0064 Rejected "this region is not active"
    AR0065 Conflict "restore belongs to another execution"
    AR0066 Rejected "cluster is in a global database"
    AR0099 Defect "defect in the pipeline"
}

/// Why a step did not succeed.
#[derive(Debug)]
pub struct StepError {
    code: &'static Code,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StepError {
    /// An error of this code; the message is a lowercase fragment that names the thing.
    pub fn new(code: &'static Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            source: None,
        }
    }

    /// A bug of ours.
    pub fn defect(message: impl Into<String>) -> Self {
        Self::new(&AR0099, message)
    }

    /// With the error that caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The documented code.
    pub fn code(&self) -> &'static Code {
        self.code
    }

    /// What the state machine does about it.
    pub fn kind(&self) -> Kind {
        self.code.kind
    }

    /// What went wrong, without code and remedy.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The one line that reaches the execution's history: code, message, remedy.
    pub fn report(&self) -> String {
        format!(
            "{} {}: {}. {}",
            self.code.id,
            self.code.title,
            self.message,
            self.code.remedy()
        )
    }

    /// Classifies an SDK error by its wire code; `action` says what was tried, such as
    /// ``copy snapshot `orders` ``.
    pub fn from_sdk<E>(action: impl fmt::Display, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let code = classify(&error);
        let said = match error.as_service_error() {
            Some(service) => format!(
                "{} ({})",
                service.message().unwrap_or("no message"),
                service.code().unwrap_or("no code")
            ),
            None => format!("no answer ({})", chain(&error)),
        };
        Self::new(code, format!("failed to {action}: {said}")).caused_by(error)
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {}: {}",
            self.code.id, self.code.title, self.message
        )
    }
}

impl Error for StepError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| &**source as &(dyn Error + 'static))
    }
}

/// An error and what caused it, outermost first.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The wire code of a service's answer, if it answered.
pub fn wire_code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
}

fn classify<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> &'static Code {
    let Some(service) = error.as_service_error() else {
        return match error {
            SdkError::ConstructionFailure(_) => &AR0099,
            _ => &AR0031,
        };
    };
    // A success that cannot be read says no more than no answer.
    let status = error.raw_response().map(HttpResponse::status);
    if status.is_some_and(|status| status.is_server_error() || status.is_success()) {
        return &AR0031;
    }
    by_wire_code(
        service.code().unwrap_or_default(),
        service.message().unwrap_or_default(),
    )
}

/// The code for an answer of RDS and its neighbours.
///
/// RDS wire codes are those of its service model; several drop `Fault`.
fn by_wire_code(wire_code: &str, message: &str) -> &'static Code {
    match wire_code {
        // One wire code for two limits; only the text tells "copy more than 5 snapshots" (wait)
        // from "create more than 100 manual snapshots" (clean up).
        "SnapshotQuotaExceeded" if message.to_ascii_lowercase().contains("copy more than") => {
            &AR0029
        }
        "InvalidDBClusterStateFault"
        | "InvalidDBClusterSnapshotStateFault"
        | "InvalidDBInstanceState"
        | "InvalidDBSnapshotState"
        | "InvalidVPCNetworkStateFault"
        | "InvalidDBSubnetGroupStateFault"
        | "InvalidDBSecurityGroupState" => &AR0028,
        "InsufficientDBClusterCapacityFault"
        | "InsufficientStorageClusterCapacity"
        | "InsufficientDBInstanceCapacity" => &AR0030,
        "KMSKeyNotAccessibleFault"
        | "NotFoundException"
        | "KMSInvalidStateException"
        | "DisabledException" => &AR0010,
        "InvalidGlobalClusterStateFault" => &AR0066,
        "DBClusterSnapshotNotFoundFault" => &AR0007,
        "DBSubnetGroupNotFoundFault"
        | "DBClusterParameterGroupNotFound"
        | "DBParameterGroupNotFound"
        | "InvalidSubnet"
        | "DBSubnetGroupDoesNotCoverEnoughAZs" => &AR0015,
        "AccessDenied"
        | "AccessDeniedException"
        | "AuthorizationError"
        | "UnauthorizedOperation" => &AR0027,
        // The next invocation has new credentials.
        "ExpiredToken"
        | "ExpiredTokenException"
        | "Throttling"
        | "ThrottlingException"
        | "Throttled"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "ProvisionedThroughputExceededException"
        | "InternalFailure"
        | "InternalServerError"
        | "InternalServiceError"
        | "InternalError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "TransactionConflictException"
        | "TransactionInProgressException"
        // Of a global table: a request in another region is writing the same item.
        | "ReplicatedWriteConflictException"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "ThrottledException"
        // Route 53 and Parameter Store, while somebody else writes there.
        | "PriorRequestNotComplete"
        | "TooManyUpdates"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "BandwidthLimitExceeded"
        | "SlowDown"
        | "TransactionCanceledException" => &AR0031,
        quota if quota.contains("QuotaExceeded") || quota.contains("LimitExceeded") => &AR0011,
        _ => &AR0033,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_with_its_title_a_cause_and_a_remedy() {
        for code in ALL {
            let heading = format!("# {}: {}", code.id, code.title);
            assert!(
                code.page.starts_with(&heading),
                "docs/errors/{}.md must start with `{heading}`",
                code.id
            );
            assert!(code.page.contains("## Cause"), "{} has no cause", code.id);
            assert!(!code.remedy().is_empty(), "{} has no remedy", code.id);
            let links = code.remedy().contains("](");
            assert!(!links, "{}: a link leads nowhere from a message", code.id);
        }
    }

    #[test]
    fn what_passes_while_somebody_else_writes_is_tried_again() {
        for code in [
            "PriorRequestNotComplete",
            "TooManyUpdates",
            "ThrottledException",
        ] {
            assert_eq!(by_wire_code(code, "").kind, Kind::Transient, "{code}");
        }
    }

    #[test]
    fn the_snapshot_quota_code_means_wait_for_copies_and_clean_up_for_the_total() {
        let copies = by_wire_code(
            "SnapshotQuotaExceeded",
            "Cannot copy more than 5 snapshots across regions",
        );
        let total = by_wire_code(
            "SnapshotQuotaExceeded",
            "Cannot create more than 100 manual snapshots",
        );
        assert_eq!(copies.kind, Kind::Transient);
        assert_eq!(total.id, "AR0011");
    }
}
