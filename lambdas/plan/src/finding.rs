//! What a preflight finds: each check with its verdict, and what to do where it fails.

use aurora_restore_core::errors::AR0027;
use aurora_restore_core::{Kind, StepError};
use serde::Serialize;

/// What a check found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was asked, such as `quota`.
    pub check: &'static str,
    /// Of what.
    pub subject: String,
    /// The answer.
    pub verdict: Verdict,
    /// What was found, or what went wrong.
    pub detail: String,
    /// What to do where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
    /// The documented code where it failed, or could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    #[serde(skip)]
    error: Option<StepError>,
}

/// The answer of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The restore may begin.
    Ok,
    /// The restore would fail here.
    Failed,
    /// Nobody could tell: the caller may not ask, the service did not answer, or only the restore itself will show.
    Unknown,
}

impl Finding {
    /// A check that holds, or that says how it does not.
    pub fn of(
        check: &'static str,
        subject: impl Into<String>,
        answer: Result<String, StepError>,
    ) -> Self {
        let subject = subject.into();
        match answer {
            Ok(detail) => Self {
                check,
                subject,
                verdict: Verdict::Ok,
                detail,
                remedy: None,
                code: None,
                error: None,
            },
            Err(error) => Self {
                check,
                subject,
                verdict: if is_no_answer(&error) {
                    Verdict::Unknown
                } else {
                    Verdict::Failed
                },
                detail: error.message().to_owned(),
                remedy: Some(error.code().remedy()),
                code: Some(error.code().id),
                error: Some(error),
            },
        }
    }

    /// A check that only the restore itself, or somebody else, can answer.
    pub fn open(
        check: &'static str,
        subject: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            check,
            subject: subject.into(),
            verdict: Verdict::Unknown,
            detail: detail.into(),
            remedy: None,
            code: None,
            error: None,
        }
    }

    /// A check that could not be asked, which is no reason to fail: a step or the service itself finds out, too.
    pub(crate) fn unasked(
        check: &'static str,
        subject: impl Into<String>,
        error: &StepError,
    ) -> Self {
        Self {
            remedy: Some(error.code().remedy()),
            code: Some(error.code().id),
            ..Self::open(check, subject, error.message())
        }
    }

    /// The same, but where nobody could be asked it is left open.
    #[must_use]
    pub fn or_open(mut self) -> Self {
        if self.verdict == Verdict::Unknown {
            self.error = None;
        }
        self
    }
}

/// Not a no: the question was not allowed, or not answered.
fn is_no_answer(error: &StepError) -> bool {
    *error.code() == AR0027 || error.kind() == Kind::Transient
}

/// Lets a run begin if nothing failed and everything that must be known is.
///
/// # Errors
/// The first failed check's, which names the others; without one, that of the first that could not be asked.
pub(crate) fn judge(findings: Vec<Finding>) -> Result<(), StepError> {
    let failed = |finding: &Finding| finding.verdict == Verdict::Failed;
    let others: Vec<String> = findings
        .iter()
        .filter(|finding| failed(finding))
        .skip(1)
        .filter_map(|finding| finding.error.as_ref())
        .map(ToString::to_string)
        .collect();
    let (mut failed, unknown): (Vec<_>, Vec<_>) = findings.into_iter().partition(failed);
    let first = if failed.is_empty() {
        unknown.into_iter().find_map(|finding| finding.error)
    } else {
        failed.swap_remove(0).error
    };
    let Some(first) = first else { return Ok(()) };
    if others.is_empty() {
        return Err(first);
    }
    let message = format!("{}; and: {}", first.message(), others.join("; "));
    Err(StepError::new(first.code(), message).caused_by(first))
}

#[cfg(test)]
mod tests {
    use aurora_restore_core::errors::{AR0011, AR0015, AR0031};

    use super::*;

    fn no(code: &'static aurora_restore_core::Code, message: &str) -> Finding {
        Finding::of("check", "subject", Err(StepError::new(code, message)))
    }

    #[test]
    fn a_run_fails_with_the_first_failed_check_and_names_all() {
        let findings = vec![
            no(&AR0031, "throttled"),
            no(&AR0015, "no group"),
            no(&AR0011, "no room"),
        ];
        let error = judge(findings).unwrap_err();
        assert_eq!(error.code().id, "AR0015");
        assert_eq!(
            error.message(),
            "no group; and: AR0011 quota exceeded: no room"
        );
    }

    #[test]
    fn what_could_not_be_asked_is_asked_again_and_what_is_open_is_no_reason_to_fail() {
        let throttled = judge(vec![no(&AR0031, "throttled")]);
        assert_eq!(throttled.unwrap_err().kind(), Kind::Transient);
        let open = Finding::open("security groups", "sg-1", "attached in Switch");
        assert!(judge(vec![open, no(&AR0027, "denied").or_open()]).is_ok());
    }
}
