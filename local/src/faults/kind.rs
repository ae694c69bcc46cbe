//! The kinds of faults: what goes wrong with one call, and how often.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Something that goes wrong with a call of a function.
///
/// A call is what the SDK was asked for; it makes several attempts. A kind strikes the first attempt, every attempt
/// of the call, or more, as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// One attempt is throttled.
    ThrottledOnce,
    /// This and the next seven attempts of the same operation by the same function are throttled.
    ThrottledEightTimes,
    /// One attempt is answered with status 500.
    InternalErrorOnce,
    /// Every call of the invocation, from this one on, is answered with status 503.
    UnavailableForTheInvocation,
    /// Every attempt of the call finds nobody who listens.
    ConnectionRefused,
    /// The connection of one attempt is reset before the service sees it.
    ResetBefore,
    /// No attempt of the call is answered, and none reaches the service.
    HangBefore,
    /// The function's process is killed before the service sees the call.
    KilledBefore,
    /// The function may not do this, from here to the end of the world.
    AccessDenied,
    /// The function's credentials have expired; the next invocation has new ones.
    ExpiredToken,
    /// The service acts, and the connection of this attempt is reset.
    ResetAfter,
    /// The service acts on each attempt, and none is answered.
    HangAfter,
    /// The service acts, and one attempt is answered with status 500.
    InternalErrorAfter,
    /// The service acts, and half of the answer to one attempt arrives.
    TruncatedAfter,
    /// The service acts, and the function's process is killed.
    KilledAfter,
    /// The function is invoked with the same event once more, at this moment.
    InvokedTwice,
    /// The function is invoked with the same event once more, as soon as it has ended.
    InvokedAgain,
    /// The function is invoked with the same event once more, long after.
    InvokedLate,
    /// For a while, what the call reads is as it was before the last change made to that service.
    StaleRead,
    /// Every attempt of the call is reset before the service sees it, and the first reaches the service later.
    LandsLate,
    /// Every attempt of the call is refused, because a request in another region writes the same item: of a global
    /// table with strong consistency, and so of none that a restore in one region meets.
    WrittenElsewhere,
}

impl Fault {
    /// Every kind that a restore in one region meets.
    pub const ALL: [Self; 20] = [
        Self::ThrottledOnce,
        Self::ThrottledEightTimes,
        Self::InternalErrorOnce,
        Self::UnavailableForTheInvocation,
        Self::ConnectionRefused,
        Self::ResetBefore,
        Self::HangBefore,
        Self::KilledBefore,
        Self::AccessDenied,
        Self::ExpiredToken,
        Self::ResetAfter,
        Self::HangAfter,
        Self::InternalErrorAfter,
        Self::TruncatedAfter,
        Self::KilledAfter,
        Self::InvokedTwice,
        Self::InvokedAgain,
        Self::InvokedLate,
        Self::StaleRead,
        Self::LandsLate,
    ];

    /// How long a stale read stays stale.
    pub const STALE_FOR: Duration = Duration::from_secs(45);
    /// When a call that lands late does. A signature is valid for longer, so that AWS would still accept it.
    pub const LATE_BY: Duration = Duration::from_secs(100);
    /// When a function is invoked once more, long after.
    pub const INVOKED_LATE_BY: Duration = Duration::from_secs(12 * 3600);

    /// Such as `reset-after`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ThrottledOnce => "throttled-once",
            Self::ThrottledEightTimes => "throttled-eight-times",
            Self::InternalErrorOnce => "internal-error-once",
            Self::UnavailableForTheInvocation => "unavailable-for-the-invocation",
            Self::ConnectionRefused => "connection-refused",
            Self::ResetBefore => "reset-before",
            Self::HangBefore => "hang-before",
            Self::KilledBefore => "killed-before",
            Self::AccessDenied => "access-denied",
            Self::ExpiredToken => "expired-token",
            Self::ResetAfter => "reset-after",
            Self::HangAfter => "hang-after",
            Self::InternalErrorAfter => "internal-error-after",
            Self::TruncatedAfter => "truncated-after",
            Self::KilledAfter => "killed-after",
            Self::InvokedTwice => "invoked-twice",
            Self::InvokedAgain => "invoked-again",
            Self::InvokedLate => "invoked-late",
            Self::StaleRead => "stale-read",
            Self::LandsLate => "lands-late",
            Self::WrittenElsewhere => "written-elsewhere",
        }
    }

    /// Whether the service has acted when the fault strikes.
    #[must_use]
    pub fn is_after_effect(self) -> bool {
        matches!(
            self,
            Self::ResetAfter
                | Self::HangAfter
                | Self::InternalErrorAfter
                | Self::TruncatedAfter
                | Self::KilledAfter
        )
    }

    /// Whether it concerns a whole invocation, and not one call of it more than another.
    #[must_use]
    pub fn is_of_an_invocation(self) -> bool {
        matches!(self, Self::InvokedAgain | Self::InvokedLate)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|fault| fault.name() == name);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|fault| fault.name()).collect();
            format!(
                "`{name}` is no kind of fault; there are {}",
                names.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        assert!("reset".parse::<Fault>().is_err());
    }
}
