//! What is kept of one attempt in its run's history.

use serde::Serialize;

use crate::attempt_end::Failure;
use crate::outcome::{AttemptFacts, clean, cut};
use crate::wire::{FailureKind, Usage};

/// Bytes of a message; the whole of it is in `errors_json`.
const MESSAGE_LIMIT: usize = 256;

/// One entry of a run's history; the store adds when the attempt began and ended.
#[derive(Serialize)]
struct Record<'a, Outcome> {
    attempt: i32,
    epoch: i32,
    worker: &'a str,
    pid: Option<i32>,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception_class: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_rss_kib: Option<i64>,
}

impl<'a, Outcome: Serialize> Record<'a, Outcome> {
    const fn new(outcome: Outcome, usage: Option<Usage>, facts: AttemptFacts<'a>) -> Self {
        let (cpu_ms, max_rss_kib) = match usage {
            Some(usage) => (Some(usage.cpu_ms), Some(usage.max_rss_kib)),
            None => (None, None),
        };
        Self {
            attempt: facts.attempts,
            epoch: facts.epoch,
            worker: facts.worker_id,
            pid: facts.pid,
            outcome,
            exit: None,
            exception_class: None,
            message: None,
            cpu_ms,
            max_rss_kib,
        }
    }

    fn text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

/// The entry of an attempt that has not failed; none when no process has begun it.
pub fn of(outcome: &'static str, usage: Option<Usage>, facts: AttemptFacts<'_>) -> Option<String> {
    facts.pid?;
    Record::new(outcome, usage, facts).text()
}

/// The entry of an attempt that has; none when no process has begun it and it was not lost either.
pub fn failed(failure: &Failure, usage: Option<Usage>, facts: AttemptFacts<'_>) -> Option<String> {
    // Who takes over from a worker that is gone does not know how far that had come.
    let lost = failure.kind == FailureKind::LeaseExpiry;
    if facts.pid.is_none() && !lost {
        return None;
    }
    let message = clean(cut(&failure.message, MESSAGE_LIMIT));
    let exit = failure.exit.as_deref().map(clean);
    let exception_class = failure.exception_class.as_deref().map(clean);
    let record = Record {
        exit: exit.as_deref(),
        exception_class: exception_class.as_deref(),
        message: (!message.is_empty()).then_some(message.as_str()),
        ..Record::new(failure.kind, usage, facts)
    };
    record.text()
}
