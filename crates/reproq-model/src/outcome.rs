//! How an attempt ends, and what follows for its run. Every way to end is a variant of [`AttemptEnd`] and goes through
//! [`classify`]; there is no second place that decides between a retry and an end.

use std::time::Duration;

use rand::Rng;
use serde::Serialize;
use serde_json::value::RawValue;

pub use crate::attempt_end::AttemptEnd;
use crate::attempt_end::{Failure, interrupted, raised, stopped};
use crate::record;
use crate::status::{Event, RunStatus};
use crate::wire::{Envelope, FailureKind};

/// A run that killed its process this often is not given another.
pub const CRASH_LIMIT: i32 = 3;

/// Bytes of `task_runs.last_error`.
const LAST_ERROR_LIMIT: usize = 1024;

/// What [`classify`] knows of the run.
#[derive(Debug, Clone, Copy)]
pub struct AttemptFacts<'a> {
    /// Attempts so far, this one included.
    pub attempts: i32,
    /// The retry budget.
    pub max_attempts: i32,
    /// How often the run has killed its process before.
    pub crash_count: i32,
    /// The spec, for its retry policy.
    pub spec: &'a str,
    /// The worker that ran the attempt.
    pub worker_id: &'a str,
    /// The claim that ends.
    pub epoch: i32,
    /// The process that worked on it; none: no process has begun it.
    pub pid: Option<i32>,
}

/// What the store writes at the end of an attempt.
#[derive(Debug)]
pub struct Transition {
    /// READY (again), SUCCESSFUL, FAILED or CANCELLED.
    pub status: RunStatus,
    /// The return value.
    pub return_json: Option<Box<RawValue>>,
    /// One more entry of `errors_json`, a JSON object; the store adds the time.
    pub error: Option<String>,
    /// `last_error`, for a run that ends badly.
    pub last_error: Option<String>,
    /// For READY: how long until the next attempt.
    pub delay: Duration,
    /// Whether the attempt does not count.
    pub give_back: bool,
    /// Whether the attempt killed its process.
    pub crashed: bool,
    /// New metadata.
    pub metadata: Option<Box<RawValue>>,
    /// The attempt's entry in the run's history, a JSON object; the store adds when it began and ended.
    pub record: Option<String>,
}

/// One entry of `errors_json`, in the earlier system's shape.
#[derive(Debug, Serialize)]
struct ErrorEntry<'a> {
    kind: FailureKind,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception_class: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceback: Option<&'a str>,
    attempt: i32,
    worker_id: &'a str,
}

/// Decides what follows. Pure but for the jitter, which `rng` draws.
pub fn classify(end: AttemptEnd, facts: AttemptFacts<'_>, rng: &mut impl Rng) -> Transition {
    let mut usage = None;
    let (failure, metadata) = match end {
        AttemptEnd::Answered(envelope) | AttemptEnd::Interrupted(envelope) if envelope.ok => {
            return succeeded(*envelope, facts);
        }
        AttemptEnd::Interrupted(mut envelope) => {
            usage = envelope.usage;
            let metadata = envelope.metadata.take();
            (interrupted(*envelope), metadata)
        }
        AttemptEnd::Answered(mut envelope) => {
            usage = envelope.usage;
            let metadata = envelope.metadata.take();
            (raised(*envelope), metadata)
        }
        AttemptEnd::Released => return released(facts),
        other => (stopped(other), None),
    };
    let record = record::failed(&failure, usage, facts);
    Transition { metadata, record, ..failed(failure, facts, rng) }
}

fn succeeded(envelope: Envelope, facts: AttemptFacts<'_>) -> Transition {
    Transition {
        return_json: Some(envelope.return_json.unwrap_or_else(|| RawValue::NULL.to_owned())),
        metadata: envelope.metadata,
        record: record::of("returned", envelope.usage, facts),
        ..Transition::by(Event::Succeed)
    }
}

fn released(facts: AttemptFacts<'_>) -> Transition {
    Transition {
        give_back: true,
        record: record::of("released", None, facts),
        ..Transition::by(Event::Release)
    }
}

fn failed(failure: Failure, facts: AttemptFacts<'_>, rng: &mut impl Rng) -> Transition {
    let crashed = failure.killed_process;
    let failure =
        if crashed && facts.crash_count + 1 >= CRASH_LIMIT { quarantined(failure) } else { failure };
    let event = match failure.kind {
        FailureKind::Cancelled | FailureKind::Discarded | FailureKind::Replaced => Event::Cancel,
        FailureKind::Snoozed => Event::Release,
        kind if may_retry(kind) && facts.attempts < facts.max_attempts => Event::Retry,
        _ => Event::Fail,
    };
    let follows = Transition::by(event);
    let delay = match follows.status {
        RunStatus::Ready => {
            failure.wait.unwrap_or_else(|| crate::spec::backoff(facts.spec).delay(facts.attempts, rng))
        }
        _ => Duration::ZERO,
    };
    let message = clean(&failure.message);
    let traceback = failure.traceback.as_deref().map(clean);
    let entry = ErrorEntry {
        kind: failure.kind,
        message: &message,
        exception_class: failure.exception_class.as_deref(),
        traceback: traceback.as_deref(),
        attempt: facts.attempts,
        worker_id: facts.worker_id,
    };
    Transition {
        give_back: !is_attempt(failure.kind),
        // A task that asks to be called later has not failed.
        error: if failure.kind == FailureKind::Snoozed { None } else { serde_json::to_string(&entry).ok() },
        last_error: follows.status.is_terminal().then(|| cut(&message, LAST_ERROR_LIMIT).to_owned()),
        delay,
        crashed,
        ..follows
    }
}

/// A run that has killed its process once too often.
fn quarantined(last: Failure) -> Failure {
    let message = format!(
        "quarantined: the run has killed its process {CRASH_LIMIT} times, so it is not given another; mend the task, then try \
         the run again with `reproq triage retry --id`. The last time: {}",
        last.message
    );
    Failure { kind: FailureKind::Quarantined, message, wait: None, ..last }
}

impl Transition {
    /// Where the event leads a RUNNING run. The graph has all events of an ending; were one missing, the run would still end.
    fn by(event: Event) -> Self {
        Self {
            status: RunStatus::Running.after(event).unwrap_or(RunStatus::Failed),
            return_json: None,
            error: None,
            last_error: None,
            delay: Duration::ZERO,
            give_back: false,
            crashed: false,
            metadata: None,
            record: None,
        }
    }
}

/// Whether it counts against the budget: what was never started, and what only waits, does not.
const fn is_attempt(kind: FailureKind) -> bool {
    !matches!(
        kind,
        FailureKind::Expired | FailureKind::Discarded | FailureKind::Replaced | FailureKind::Snoozed
    )
}

const fn may_retry(kind: FailureKind) -> bool {
    match kind {
        FailureKind::AppError
        | FailureKind::Timeout
        | FailureKind::MemoryLimit
        | FailureKind::Snoozed
        | FailureKind::Crashed
        | FailureKind::LeaseExpiry
        | FailureKind::InfraError => true,
        FailureKind::Expired
        | FailureKind::GivenUp
        | FailureKind::Quarantined
        | FailureKind::Cancelled
        | FailureKind::Discarded
        | FailureKind::Replaced
        | FailureKind::InvalidSpec
        | FailureKind::InvalidResult
        | FailureKind::SecurityViolation => false,
    }
}

/// No database takes a NUL in text, and an ending must never fail for the sake of a character.
pub(crate) fn clean(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

pub(crate) fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
