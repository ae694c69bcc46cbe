//! What functions print, kept, and the metrics in it handed on to CloudWatch.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use asl_interpreter::Clock;
use time::OffsetDateTime;

use crate::cloudwatch::CloudWatch;

/// One line of a function's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was printed, on the world's clock.
    pub time: OffsetDateTime,
    /// The invocation that printed it; `None` for what a process prints, whose
    /// lines do not say.
    pub request_id: Option<String>,
    /// The line, without its end.
    pub text: String,
}

/// The log group of one function.
pub(crate) struct LogGroup {
    account: String,
    region: String,
    clock: Arc<dyn Clock>,
    metrics: Arc<CloudWatch>,
    lines: Mutex<Vec<LogLine>>,
}

impl LogGroup {
    pub(crate) fn new(
        account: &str,
        region: &str,
        clock: Arc<dyn Clock>,
        metrics: Arc<CloudWatch>,
    ) -> Arc<Self> {
        Arc::new(Self {
            account: account.to_owned(),
            region: region.to_owned(),
            clock,
            metrics,
            lines: Mutex::default(),
        })
    }

    pub(crate) fn line(&self, request_id: Option<&str>, text: &str) {
        for text in text.lines() {
            self.metrics
                .read_log_line(&self.account, &self.region, text);
            let line = LogLine {
                time: self.clock.now(),
                request_id: request_id.map(str::to_owned),
                text: text.to_owned(),
            };
            self.lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    }

    pub(crate) fn lines(&self) -> Vec<LogLine> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Where an in-process function's lines go. Clones write to the same log.
#[derive(Clone)]
pub struct LogSink {
    group: Arc<LogGroup>,
    request_id: String,
}

impl LogSink {
    pub(crate) fn new(group: Arc<LogGroup>, request_id: &str) -> Self {
        Self {
            group,
            request_id: request_id.to_owned(),
        }
    }

    /// Writes a line. One in Embedded Metric Format also counts as a metric.
    pub fn line(&self, text: &str) {
        self.group.line(Some(&self.request_id), text);
    }
}

impl fmt::Debug for LogSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSink")
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}
