//! What the worker says about itself: one function per event, so that logs, and later metrics and streams, have one source.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use reproq_model::schedule::Plan;
use reproq_model::{RunId, RunStatus, Transition, WorkflowId};
use reproq_store::{Advanced, ClaimedRun, StoreError, UnreadableRun};

/// One cause of trouble is worth one line in this time.
const QUIET: Duration = Duration::from_secs(10);
/// A schedule that somebody has to mend is worth one in this.
const QUIET_SCHEDULE: Duration = Duration::from_mins(1);

pub(crate) fn claimed(count: usize) {
    tracing::trace!(count, "claimed");
}

pub(crate) fn attempt_ended(run: &ClaimedRun, transition: &Transition, took: Duration) {
    let (result_id, task, attempt) = (run.id.0, run.task_path.as_str(), run.attempts);
    let ms = rounded(took * 1000);
    match transition.status {
        RunStatus::Successful => tracing::debug!(result_id, task, attempt, ms, "succeeded"),
        RunStatus::Ready if transition.give_back => tracing::info!(result_id, task, attempt, "given back"),
        RunStatus::Ready => {
            let again_in = rounded(transition.delay);
            tracing::warn!(
                result_id,
                task,
                attempt,
                ms,
                again_in,
                error = cause(transition),
                "failed, will be retried"
            );
        }
        RunStatus::Cancelled => tracing::warn!(result_id, task, attempt, "cancelled"),
        _ => tracing::error!(result_id, task, attempt, ms, error = cause(transition), "failed"),
    }
}

/// Seconds, to the millisecond.
fn rounded(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}

/// The message inside the entry for `errors_json`.
fn cause(transition: &Transition) -> String {
    let entry: Option<serde_json::Value> =
        transition.error.as_deref().and_then(|entry| serde_json::from_str(entry).ok());
    entry.and_then(|entry| entry["message"].as_str().map(str::to_owned)).unwrap_or_default()
}

pub(crate) fn lease_lost(run: &ClaimedRun) {
    tracing::warn!(
        result_id = run.id.0,
        task = run.task_path,
        "lease lost; the attempt was stopped and nothing was written"
    );
}

pub(crate) fn finished(sent: usize, written: u64) {
    let fenced = sent as u64 - written.min(sent as u64);
    if fenced > 0 {
        tracing::warn!(
            fenced,
            "endings were fenced: the runs have other owners, or their end was written before"
        );
    }
}

pub(crate) fn refused(error: &StoreError) {
    tracing::error!(%error, "the database refuses a batch of endings; sending them one by one");
}

pub(crate) fn given_up(id: RunId, error: &StoreError) {
    tracing::error!(result_id = id.0, %error, "the database refuses every ending of this run; somebody has to look at it");
}

pub(crate) fn logs_lost(count: usize) {
    tracing::error!(count, "what attempts have printed could not be stored");
}

pub(crate) fn unreadable(run: &UnreadableRun) {
    tracing::error!(result_id = run.id.0, reason = run.reason, "a run cannot be read; ending it");
}

pub(crate) fn reclaimed(count: u64) {
    if count > 0 {
        tracing::warn!(count, "took back runs of workers that went silent");
    }
}

pub(crate) fn inherited(count: u64) {
    if count > 0 {
        tracing::warn!(count, "took over runs of a worker of this machine that was killed");
    }
}

pub(crate) fn adopted(count: usize) {
    tracing::warn!(count, "gave back claims whose answer had been lost");
}

pub(crate) fn untrusted(count: usize) {
    tracing::error!(count, "leases could not be renewed in time; their attempts were stopped");
}

pub(crate) fn advanced(done: &Advanced) {
    if done.counted > 0 {
        tracing::trace!(counted = done.counted, released = done.released.join(","), "workflows went on");
    }
}

pub(crate) fn scheduled(schedule: &str, plan: &Plan, runs: &[RunId]) {
    for run in runs {
        tracing::debug!(schedule, result_id = run.0, "schedule fired");
    }
    if let Some(missed) = &plan.missed {
        tracing::warn!(schedule, count = missed.count, "ticks were missed and are not made up for");
    }
}

/// A schedule that makes no sense is met at each look.
pub(crate) fn broken_schedule(schedule: &str, problem: &str) {
    if is_news(&format!("schedule {schedule}"), QUIET_SCHEDULE) {
        tracing::warn!(schedule, problem, "a schedule cannot fire");
    }
}

/// Somebody has gone around the triggers, or there is a bug: what waited would have waited for ever.
pub(crate) fn workflows_repaired(wrong: &[WorkflowId]) {
    for workflow in wrong {
        tracing::error!(%workflow, "a workflow was not what its runs say; it has been put right");
    }
}

/// A database that is away makes every loop fail; each tells, and only the first is heard.
pub(crate) fn store_failed(what: &'static str, error: &StoreError) {
    let loud = is_news(what, QUIET);
    if loud {
        tracing::warn!(what, %error, "the database failed; trying again");
    } else {
        tracing::debug!(what, %error, "the database failed; trying again");
    }
}

/// Whether nothing has been said about this for so long; then something is about to be.
fn is_news(what: &str, quiet: Duration) -> bool {
    thread_local! {
        static LAST: RefCell<HashMap<String, Instant>> = RefCell::default();
    }
    LAST.with_borrow_mut(|last| {
        let now = Instant::now();
        last.retain(|_, said| now.duration_since(*said) <= QUIET_SCHEDULE);
        let news = last.get(what).is_none_or(|said| now.duration_since(*said) > quiet);
        if news {
            last.insert(what.to_owned(), now);
        }
        news
    })
}
