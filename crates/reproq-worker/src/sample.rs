//! Values for the unit tests of this crate.

use std::time::Duration;

use reproq_model::admission::Verdict;
use reproq_model::{Epoch, RunId};
use reproq_store::ClaimedRun;

/// A claimed run about which nothing matters but who it is.
pub(crate) fn run(id: i64, epoch: i32) -> ClaimedRun {
    ClaimedRun {
        id: RunId(id),
        epoch: Epoch(epoch),
        attempts: epoch,
        max_attempts: 3,
        crash_count: 0,
        timeout: Duration::ZERO,
        task_path: String::new(),
        queue_name: String::new(),
        backend_alias: String::new(),
        spec: String::new(),
        worker_ids: String::new(),
        errors: String::new(),
        metadata: String::new(),
        enqueued_at: 0,
        started_at: 0,
        last_attempted_at: 0,
        verdict: Verdict::Start,
    }
}
