//! Processes that never outlive their owner.
//!
//! Each server runs under a small shell that reads a pipe from this process: a
//! word on it says how to stop, and its end says that this process is gone. So
//! a server never outlives its owner, however the owner ends.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use super::DatabaseError;
use super::os_account::last_lines;
use super::storage::DataRoot;

/// Runs the server; stops it as told on standard input, or when the owner is gone, and then clears up after it.
const SCRIPT: &str = r#"
world=$1; good=$2; now=$3; shift 3
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{
  if read -r how <&3; then
    case $how in good) kill -$good $server ;; *) kill -$now $server ;; esac
  else
    : > "$world/orphaned"
    kill -$now $server
  fi
} 2>/dev/null &
listener=$!
wait $server
code=$?
kill $listener 2>/dev/null
if [ -e "$world/orphaned" ]; then rm -rf "$world"; fi 2>/dev/null
exit $code
"#;

const START_LIMIT: Duration = Duration::from_secs(60);

/// The signals that a server understands.
#[derive(Clone, Copy)]
pub(super) struct Signals {
    /// Stop in good order, whoever is connected.
    pub(super) good_order: &'static str,
    /// Stop at once.
    pub(super) now: &'static str,
}

/// A server's process and the pipe it lives by.
pub(super) struct Keeper {
    child: Child,
    orders: ChildStdin,
}

impl Keeper {
    /// Starts a program; what it prints goes into `log`.
    pub(super) fn start(
        root: &DataRoot,
        signals: Signals,
        program: &Path,
        arguments: &[String],
        log: &Path,
    ) -> Result<Self, DatabaseError> {
        let output =
            File::create(log).map_err(DatabaseError::files(format!("write {}", log.display())))?;
        let errors = output
            .try_clone()
            .map_err(DatabaseError::files("share the server's log"))?;
        let mut child = root
            .account()
            .program(Path::new("sh"))
            .args(["-c", SCRIPT, "keeper"])
            .arg(root.world())
            .args([signals.good_order, signals.now])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(DatabaseError::files("start a database server"))?;
        let orders = child
            .stdin
            .take()
            .ok_or(DatabaseError::State("the server has no standard input"))?;
        Ok(Self { child, orders })
    }

    /// Waits until the server answers; if it ends instead or takes a minute, the error is the end of its log.
    pub(super) fn wait_until(
        &mut self,
        program: &str,
        log: &Path,
        answers: impl Fn() -> bool,
    ) -> Result<(), DatabaseError> {
        let started = Instant::now();
        while !answers() {
            let ended = self
                .child
                .try_wait()
                .map_err(DatabaseError::files("look at a database server"))?
                .is_some();
            if ended || started.elapsed() > START_LIMIT {
                return Err(DatabaseError::Program {
                    program: program.to_owned(),
                    output: last_lines(&fs::read_to_string(log).unwrap_or_default()),
                });
            }
            pause();
        }
        Ok(())
    }

    /// Stops the server in good order, and waits for its end.
    pub(super) fn stop(&mut self) -> Result<(), DatabaseError> {
        self.end("good\n")
    }

    fn end(&mut self, how: &str) -> Result<(), DatabaseError> {
        // A server that has ended by itself has nobody left to read the order.
        let _ = self
            .orders
            .write_all(how.as_bytes())
            .and_then(|()| self.orders.flush());
        self.child
            .wait()
            .map(drop)
            .map_err(DatabaseError::files("wait for a database server to end"))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Err(error) = self.end("now\n") {
            tracing::warn!(%error, "a database server could not be stopped");
        }
    }
}

/// Between two looks at a process.
pub(super) fn pause() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a server that is starting can only be asked again"
    )]
    std::thread::sleep(Duration::from_millis(15));
}
