//! What a restore and a pass of the reaper use, counted in the local cloud.
//!
//! `a_whole_restore_uses_what_the_calculator_says` and `an_idle_pass_of_the_reaper_uses_what_the_calculator_says`
//! count again and compare: no figure here may be less than what is counted, or more
//! than twice of it: events and full hours fall differently from run to run.

/// What is billed by the piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Transitions of the state machine, retries included.
    pub transitions: u32,
    /// Events in the execution's history.
    pub history_events: u32,
    /// Invocations of functions.
    pub invocations: u32,
    /// Calls that functions make to AWS, DynamoDB included.
    pub calls: u32,
    /// Write units of the state table and its two indexes: two for each item of a transaction, and for each KiB.
    pub write_units: u32,
    /// Read units: of up to 8 KiB each, consistent.
    pub read_units: u32,
    /// Calls to Secrets Manager.
    pub secret_calls: u32,
    /// Calls to KMS that the functions make themselves.
    pub key_calls: u32,
    /// Messages to the topic.
    pub messages: u32,
    /// Bytes of the functions' own log lines, with the 26 that CloudWatch counts beside each line.
    pub log_bytes: u32,
    /// Metrics, times the hours in which each was sent.
    pub metric_hours: u32,
}

/// One restore that uses every step: a copy from another region, a writer and a reader, a parameter group of its own,
/// a secret that the pipeline keeps.
pub const WHOLE_RESTORE: Counts = Counts {
    transitions: 40,
    history_events: 175,
    invocations: 43,
    calls: 430,
    write_units: 185,
    read_units: 395,
    secret_calls: 16,
    key_calls: 1,
    messages: 1,
    log_bytes: 30_000,
    metric_hours: 40,
};

/// One pass of the reaper that finds nothing to do.
pub const IDLE_PASS: Counts = Counts {
    transitions: 0,
    history_events: 0,
    invocations: 1,
    calls: 10,
    write_units: 0,
    read_units: 11,
    secret_calls: 1,
    key_calls: 0,
    messages: 0,
    log_bytes: 1_500,
    metric_hours: 7,
};
