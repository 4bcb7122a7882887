//! How an attempt ends, and what follows for its run. Every way to end is a variant of [`AttemptEnd`] and goes through
//! [`classify`]; there is no second place that decides between a retry and an end.

use std::time::Duration;

use rand::Rng;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::status::{Event, RunStatus};
use crate::wire::{Envelope, FailureKind};

/// A run that killed its process this often is not given another.
pub const CRASH_LIMIT: i32 = 3;

/// Bytes of `task_runs.last_error`.
const LAST_ERROR_LIMIT: usize = 1024;

/// What is written about a cancelled run; the statements of the store that cancel say the same.
const CANCELLED: &str = "the run was cancelled";

/// The end of one attempt.
#[derive(Debug)]
pub enum AttemptEnd {
    /// The child answered.
    Answered(Box<Envelope>),
    /// The child was killed because the attempt took longer than its timeout.
    TimedOut {
        /// The timeout.
        limit: Duration,
    },
    /// The child's process ended, or its stream broke, before an answer.
    Crashed {
        /// What the operating system says: an exit code, a signal.
        how: String,
        /// The last of what it wrote to stderr.
        stderr_tail: String,
    },
    /// The run was claimed after its `expires_at` and not started.
    Expired,
    /// Its concurrency key was full, and it was not to wait.
    Discarded,
    /// Its concurrency key was full, and a later run like it waits in its place.
    Replaced,
    /// Somebody asked for its cancellation while it ran.
    Cancelled,
    /// The child answered after its task was asked to stop, because somebody cancelled the run. A success counts as one.
    Interrupted(Box<Envelope>),
    /// The task's module is not on the worker's list.
    NotAllowed {
        /// The task.
        task_path: String,
    },
    /// The spec is larger than the worker accepts, or no JSON.
    InvalidSpec {
        /// What is wrong, and what to do.
        message: String,
    },
    /// The lease ran out under another worker: found by reclaim.
    LeaseExpired,
    /// The worker and all its processes are gone, and its lease need not be waited for: found by another worker of the machine.
    WorkerDied,
    /// Given back untouched, or interrupted by this worker's shutdown: the attempt does not count.
    Released,
}

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

/// A failed attempt before it is decided whether there is another.
struct Failure {
    kind: FailureKind,
    message: String,
    exception_class: Option<String>,
    traceback: Option<String>,
    /// The wait that the failure itself prescribes; none: the task's policy.
    wait: Option<Duration>,
}

/// Decides what follows. Pure but for the jitter, which `rng` draws.
pub fn classify(end: AttemptEnd, facts: AttemptFacts<'_>, rng: &mut impl Rng) -> Transition {
    let (failure, metadata) = match end {
        AttemptEnd::Answered(envelope) | AttemptEnd::Interrupted(envelope) if envelope.ok => {
            return succeeded(*envelope);
        }
        AttemptEnd::Interrupted(mut envelope) => {
            let metadata = envelope.metadata.take();
            (interrupted(*envelope), metadata)
        }
        AttemptEnd::Answered(mut envelope) => {
            let metadata = envelope.metadata.take();
            (raised(*envelope), metadata)
        }
        AttemptEnd::Released => return Transition { give_back: true, ..Transition::by(Event::Release) },
        other => (stopped(other), None),
    };
    let crashed = failure.kind == FailureKind::Crashed;
    let quarantined = crashed && facts.crash_count + 1 >= CRASH_LIMIT;
    let event =
        if matches!(failure.kind, FailureKind::Cancelled | FailureKind::Discarded | FailureKind::Replaced) {
            Event::Cancel
        } else if may_retry(failure.kind) && facts.attempts < facts.max_attempts && !quarantined {
            Event::Retry
        } else {
            Event::Fail
        };
    let follows = Transition::by(event);
    let status = follows.status;
    let delay = match status {
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
        // Such a run was never started: the claim that found it out is not an attempt.
        give_back: matches!(
            failure.kind,
            FailureKind::Expired | FailureKind::Discarded | FailureKind::Replaced
        ),
        error: serde_json::to_string(&entry).ok(),
        last_error: status.is_terminal().then(|| cut(&message, LAST_ERROR_LIMIT).to_owned()),
        delay,
        crashed,
        metadata,
        ..follows
    }
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

fn succeeded(envelope: Envelope) -> Transition {
    Transition {
        return_json: Some(envelope.return_json.unwrap_or_else(|| RawValue::NULL.to_owned())),
        metadata: envelope.metadata,
        ..Transition::by(Event::Succeed)
    }
}

fn raised(envelope: Envelope) -> Failure {
    Failure {
        kind: envelope.kind.unwrap_or(FailureKind::AppError),
        message: envelope.message.unwrap_or_default(),
        exception_class: envelope.exception_class,
        traceback: envelope.traceback,
        wait: envelope.retry_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).map(bounded),
    }
}

/// However the task takes the interruption, its run is cancelled.
fn interrupted(envelope: Envelope) -> Failure {
    let by_us = envelope.kind == Some(FailureKind::Cancelled);
    let raised = raised(envelope);
    let message = match &raised.exception_class {
        Some(class) if !by_us => {
            format!("{CANCELLED}; asked to stop, its task raised {class}: {}", raised.message)
        }
        _ => CANCELLED.to_owned(),
    };
    Failure { kind: FailureKind::Cancelled, message, wait: None, ..raised }
}

/// A wait that a task asks for is kept within what the database can add to a date.
fn bounded(wait: Duration) -> Duration {
    const YEAR: Duration = Duration::from_hours(365 * 24);
    wait.min(YEAR)
}

fn stopped(end: AttemptEnd) -> Failure {
    let (kind, message, traceback, wait) = match end {
        AttemptEnd::TimedOut { limit } => (
            FailureKind::Timeout,
            format!("the attempt was stopped after its timeout of {} s", limit.as_secs_f64()),
            None,
            None,
        ),
        AttemptEnd::Crashed { how, stderr_tail } => (
            FailureKind::Crashed,
            format!("the task's process ended before the task did: {how}"),
            (!stderr_tail.is_empty()).then_some(stderr_tail),
            None,
        ),
        AttemptEnd::Expired => {
            (FailureKind::Expired, "the run was not started before it expired".to_owned(), None, None)
        }
        AttemptEnd::Discarded => (
            FailureKind::Discarded,
            "the run was discarded: its concurrency key was full when its turn came".to_owned(),
            None,
            None,
        ),
        AttemptEnd::Replaced => (
            FailureKind::Replaced,
            "the run was replaced by a later one: its concurrency key was full, and only the latest waits"
                .to_owned(),
            None,
            None,
        ),
        AttemptEnd::Cancelled => (FailureKind::Cancelled, CANCELLED.to_owned(), None, None),
        AttemptEnd::NotAllowed { task_path } => (
            FailureKind::SecurityViolation,
            format!(
                "{task_path} is in no module whose tasks this worker may run; move it to the `tasks` module of an installed \
                 app, or add its module to ALLOWED_TASK_MODULES (--allowed-task-modules)"
            ),
            None,
            None,
        ),
        AttemptEnd::InvalidSpec { message } => (FailureKind::InvalidSpec, message, None, None),
        AttemptEnd::LeaseExpired => (
            FailureKind::LeaseExpiry,
            "the worker stopped renewing its lease on this run: it was killed, or lost the database"
                .to_owned(),
            None,
            Some(Duration::ZERO),
        ),
        AttemptEnd::WorkerDied => (
            FailureKind::LeaseExpiry,
            "the worker was killed, and its processes with it".to_owned(),
            None,
            Some(Duration::ZERO),
        ),
        AttemptEnd::Answered(_) | AttemptEnd::Interrupted(_) | AttemptEnd::Released => {
            (FailureKind::InfraError, "the attempt ended in a way that has no name".to_owned(), None, None)
        }
    };
    Failure { kind, message, exception_class: None, traceback, wait }
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
fn clean(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn facts(attempts: i32, max_attempts: i32) -> AttemptFacts<'static> {
        AttemptFacts {
            attempts,
            max_attempts,
            crash_count: 0,
            spec: "{}",
            worker_id: "w",
            epoch: 0,
            pid: None,
        }
    }

    fn end(end: AttemptEnd, facts: AttemptFacts<'_>) -> Transition {
        classify(end, facts, &mut rand::rng())
    }

    fn answer(value: &Value) -> AttemptEnd {
        AttemptEnd::Answered(serde_json::from_str(&value.to_string()).unwrap())
    }

    #[test]
    fn a_return_value_passes_through_as_text() {
        let envelope = serde_json::from_str(r#"{"ok":true,"return":{"b":1e+20,"a":"\ud800"}}"#).unwrap();
        let transition = end(AttemptEnd::Answered(envelope), facts(1, 3));
        assert_eq!(transition.status, RunStatus::Successful);
        assert_eq!(transition.return_json.unwrap().get(), r#"{"b":1e+20,"a":"\ud800"}"#);
    }

    #[test]
    fn a_failure_is_retried_until_the_budget_is_spent() {
        let failure =
            || answer(&json!({"ok": false, "exception_class": "builtins.ValueError", "message": "no"}));
        assert_eq!(end(failure(), facts(2, 3)).status, RunStatus::Ready);
        let last = end(failure(), facts(3, 3));
        assert_eq!((last.status, last.last_error.as_deref()), (RunStatus::Failed, Some("no")));
        let entry: Value = serde_json::from_str(&last.error.unwrap()).unwrap();
        assert_eq!(
            entry,
            json!({"kind": "app_error", "message": "no", "exception_class": "builtins.ValueError", "attempt": 3, "worker_id": "w"})
        );
    }

    #[test]
    fn what_cannot_get_better_is_not_retried() {
        for kind in ["invalid_spec", "invalid_result", "security_violation"] {
            let transition = end(answer(&json!({"ok": false, "kind": kind, "message": "x"})), facts(1, 3));
            assert_eq!(transition.status, RunStatus::Failed, "{kind}");
        }
        assert_eq!(
            end(AttemptEnd::NotAllowed { task_path: "os.system".into() }, facts(1, 3)).status,
            RunStatus::Failed
        );
    }

    #[test]
    fn the_tasks_own_wait_beats_the_policy() {
        let transition = end(answer(&json!({"ok": false, "message": "x", "retry_in": 0.25})), facts(1, 3));
        assert_eq!(transition.delay, Duration::from_millis(250));
        let absurd = end(answer(&json!({"ok": false, "message": "x", "retry_in": 1e300})), facts(1, 3));
        assert!(absurd.delay <= Duration::from_hours(365 * 24));
    }

    #[test]
    fn a_third_crash_ends_a_run_whatever_its_budget() {
        let crash = || AttemptEnd::Crashed { how: "signal 11".into(), stderr_tail: String::new() };
        let facts = |crash_count| AttemptFacts { crash_count, ..facts(1, 100) };
        assert_eq!(end(crash(), facts(1)).status, RunStatus::Ready);
        let third = end(crash(), facts(2));
        assert_eq!((third.status, third.crashed), (RunStatus::Failed, true));
    }

    #[test]
    fn a_release_gives_the_attempt_back_at_once() {
        let transition = end(AttemptEnd::Released, facts(3, 3));
        assert_eq!((transition.status, transition.give_back), (RunStatus::Ready, true));
        assert_eq!(transition.delay, Duration::ZERO);
        assert!(transition.error.is_none());
    }

    #[test]
    fn whatever_an_interrupted_task_answers_but_success_is_a_cancellation() {
        let interrupted = |value: Value| {
            end(AttemptEnd::Interrupted(serde_json::from_str(&value.to_string()).unwrap()), facts(1, 3))
        };
        let heard = interrupted(json!({
            "ok": false, "kind": "cancelled", "exception_class": "reproq_django.errors.TaskCancelled",
            "message": "x", "traceback": "t", "metadata": {"step": 2},
        }));
        assert_eq!((heard.status, heard.delay), (RunStatus::Cancelled, Duration::ZERO));
        assert_eq!(heard.last_error.as_deref(), Some("the run was cancelled"));
        assert_eq!(heard.metadata.unwrap().get(), r#"{"step":2}"#);
        let entry: Value = serde_json::from_str(&heard.error.unwrap()).unwrap();
        assert_eq!((&entry["kind"], &entry["traceback"]), (&json!("cancelled"), &json!("t")));
        let raised = interrupted(
            json!({"ok": false, "exception_class": "builtins.ValueError", "message": "no", "retry_in": 5}),
        );
        assert_eq!(raised.status, RunStatus::Cancelled);
        assert!(raised.last_error.unwrap().ends_with("raised builtins.ValueError: no"));
        let done = interrupted(json!({"ok": true, "return": 5}));
        assert_eq!((done.status, done.return_json.unwrap().get()), (RunStatus::Successful, "5"));
    }

    #[test]
    fn an_expired_lease_is_taken_up_at_once_and_counts() {
        let transition = end(AttemptEnd::LeaseExpired, facts(1, 3));
        assert_eq!((transition.status, transition.delay), (RunStatus::Ready, Duration::ZERO));
        assert!(!transition.give_back);
        assert_eq!(end(AttemptEnd::LeaseExpired, facts(3, 3)).status, RunStatus::Failed);
    }

    #[test]
    fn an_expired_run_fails_without_having_been_attempted() {
        let transition = end(AttemptEnd::Expired, facts(1, 3));
        assert_eq!((transition.status, transition.give_back), (RunStatus::Failed, true));
    }

    #[test]
    fn a_run_that_is_not_to_wait_is_cancelled_without_an_attempt() {
        for over in [AttemptEnd::Discarded, AttemptEnd::Replaced] {
            let transition = end(over, facts(1, 3));
            assert_eq!((transition.status, transition.give_back), (RunStatus::Cancelled, true));
        }
    }

    #[test]
    fn a_message_with_a_nul_still_ends_the_run() {
        let transition = end(answer(&json!({"ok": false, "message": "a\u{0}b"})), facts(3, 3));
        assert_eq!(transition.last_error.as_deref(), Some("a\u{FFFD}b"));
        assert!(!transition.error.unwrap().contains("\\u0000"));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let transition = end(answer(&json!({"ok": false, "message": "ž".repeat(2000)})), facts(3, 3));
        assert!(transition.last_error.unwrap().len() <= 1024);
    }
}
