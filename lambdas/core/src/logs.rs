//! Structured logs: one JSON object a line, with the restore's id on every line.

use std::fmt;
use std::io;
use std::sync::Arc;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Takes log and metric lines: standard output in a function, a recorder in a test.
#[derive(Clone)]
pub struct LogSink(Arc<dyn Fn(&str) + Send + Sync>);

impl LogSink {
    /// A sink that hands each line to `line`.
    pub fn new(line: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(line))
    }

    /// Standard output, which Lambda sends to CloudWatch Logs.
    #[expect(
        clippy::print_stdout,
        reason = "this is the one place that writes a function's log"
    )]
    pub fn stdout() -> Self {
        Self::new(|line| println!("{line}"))
    }

    /// Writes one line.
    pub fn line(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for LogSink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LogSink")
    }
}

/// A subscriber that writes JSON lines to `sink`: `info` and above of ours, warnings of what we use.
pub fn subscriber(sink: LogSink) -> impl Subscriber + Send + Sync {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(true)
        .with_env_filter(EnvFilter::new(
            "info,aws_config=warn,aws_smithy_runtime=warn,lambda_runtime=warn",
        ))
        .with_writer(Lines(sink))
        .finish()
}

struct Lines(LogSink);

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line {
            sink: self.0.clone(),
            buffer: Vec::new(),
        }
    }
}

/// Gathers one event and hands it on when it is dropped.
struct Line {
    sink: LogSink,
    buffer: Vec<u8>,
}

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.sink
            .line(String::from_utf8_lossy(&self.buffer).trim_end());
    }
}
