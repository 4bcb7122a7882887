//! The ways in which an attempt ends, and what is said about those that are no success.

use std::time::Duration;

use crate::wire::{Envelope, FailureKind};

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
    /// The child was killed because it, and what it had started, used more memory than the task's `max_memory`.
    MemoryLimit {
        /// What it may use.
        limit_bytes: u64,
        /// What it was seen to use.
        used_bytes: u64,
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

/// A failed attempt before it is decided whether there is another.
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
    pub exception_class: Option<String>,
    pub traceback: Option<String>,
    /// What the operating system says of the process that ended under it.
    pub exit: Option<String>,
    /// Whether it cost its process.
    pub killed_process: bool,
    /// The wait that the failure itself prescribes; none: the task's policy.
    pub wait: Option<Duration>,
}

pub fn raised(envelope: Envelope) -> Failure {
    Failure {
        kind: envelope.kind.unwrap_or(FailureKind::AppError),
        message: envelope.message.unwrap_or_default(),
        exception_class: envelope.exception_class,
        traceback: envelope.traceback,
        exit: None,
        killed_process: false,
        wait: envelope.retry_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).map(bounded),
    }
}

/// However the task takes the interruption, its run is cancelled.
pub fn interrupted(envelope: Envelope) -> Failure {
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

#[expect(clippy::cast_precision_loss, reason = "read by people, to a tenth")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A wait that a task asks for is kept within what the database can add to a date.
fn bounded(wait: Duration) -> Duration {
    const YEAR: Duration = Duration::from_hours(365 * 24);
    wait.min(YEAR)
}

pub fn stopped(end: AttemptEnd) -> Failure {
    let plain = |kind, message: String| Failure {
        kind,
        message,
        exception_class: None,
        traceback: None,
        exit: None,
        killed_process: false,
        wait: None,
    };
    match end {
        AttemptEnd::TimedOut { limit } => plain(
            FailureKind::Timeout,
            format!("the attempt was stopped after its timeout of {} s", limit.as_secs_f64()),
        ),
        AttemptEnd::Crashed { how, stderr_tail } => Failure {
            traceback: (!stderr_tail.is_empty()).then_some(stderr_tail),
            killed_process: true,
            exit: Some(how.clone()),
            ..plain(FailureKind::Crashed, format!("the task's process ended before the task did: {how}"))
        },
        AttemptEnd::MemoryLimit { limit_bytes, used_bytes } => Failure {
            killed_process: true,
            ..plain(
                FailureKind::MemoryLimit,
                format!(
                    "the attempt was killed: with what it had started it used {:.1} MiB of memory, and its max_memory is \
                     {:.1} MiB",
                    mebibytes(used_bytes),
                    mebibytes(limit_bytes)
                ),
            )
        },
        AttemptEnd::Expired => {
            plain(FailureKind::Expired, "the run was not started before it expired".to_owned())
        }
        AttemptEnd::Discarded => plain(
            FailureKind::Discarded,
            "the run was discarded: its concurrency key was full when its turn came".to_owned(),
        ),
        AttemptEnd::Replaced => plain(
            FailureKind::Replaced,
            "the run was replaced by a later one: its concurrency key was full, and only the latest waits"
                .to_owned(),
        ),
        AttemptEnd::Cancelled => plain(FailureKind::Cancelled, CANCELLED.to_owned()),
        AttemptEnd::NotAllowed { task_path } => plain(
            FailureKind::SecurityViolation,
            format!(
                "{task_path} is in no module whose tasks this worker may run; move it to the `tasks` module of an installed \
                 app, or add its module to ALLOWED_TASK_MODULES (--allowed-task-modules)"
            ),
        ),
        AttemptEnd::InvalidSpec { message } => plain(FailureKind::InvalidSpec, message),
        AttemptEnd::LeaseExpired => Failure {
            wait: Some(Duration::ZERO),
            ..plain(
                FailureKind::LeaseExpiry,
                "the worker stopped renewing its lease on this run: it was killed, or lost the database"
                    .to_owned(),
            )
        },
        AttemptEnd::WorkerDied => Failure {
            wait: Some(Duration::ZERO),
            ..plain(FailureKind::LeaseExpiry, "the worker was killed, and its processes with it".to_owned())
        },
        AttemptEnd::Answered(_) | AttemptEnd::Interrupted(_) | AttemptEnd::Released => {
            plain(FailureKind::InfraError, "the attempt ended in a way that has no name".to_owned())
        }
    }
}
