//! Runs of workers that went silent: any worker takes them back, through the same ending as every other.

use std::rc::Rc;
use std::time::Duration;

use reproq_model::{AttemptEnd, AttemptFacts, classify};
use reproq_store::{Ending, ExpiredRun, Fence, Registration, Store, StoreError};
use tokio::time::sleep;

use crate::telemetry;

/// The most runs taken back in one go: a fleet that comes back must not find everything expired at once.
pub(super) const BATCH: u32 = 100;

/// Looks at once, and then for ever.
pub(crate) async fn reclaim(store: Rc<dyn Store>, registration: Rc<Registration>, interval: Duration) {
    loop {
        match take_back(store.as_ref(), &registration).await {
            Ok(count) => {
                telemetry::reclaimed(count);
                if count >= u64::from(BATCH) {
                    continue;
                }
            }
            Err(error) => telemetry::store_failed("reclaim", &error),
        }
        sleep(interval).await;
    }
}

async fn take_back(store: &dyn Store, registration: &Registration) -> Result<u64, StoreError> {
    let expired = store.expired(registration, BATCH).await?;
    if expired.is_empty() {
        return Ok(0);
    }
    let endings: Vec<Ending> = expired.iter().map(ending).collect();
    end_all(store, Fence::LeaseEnded, &endings).await
}

/// Ends others' runs. Returns how many are.
pub(super) async fn end_all(store: &dyn Store, fence: Fence, endings: &[Ending]) -> Result<u64, StoreError> {
    match store.finish(fence, endings).await {
        Ok(finished) => Ok(finished.written),
        Err(StoreError::Refused { .. }) => end_one_by_one(store, fence, endings).await,
        Err(error) => Err(error),
    }
}

/// One run that the database refuses to take back must not keep the others.
async fn end_one_by_one(store: &dyn Store, fence: Fence, endings: &[Ending]) -> Result<u64, StoreError> {
    let mut count = 0;
    for ending in endings {
        match store.finish(fence, std::slice::from_ref(ending)).await {
            Ok(finished) => count += finished.written,
            Err(error @ StoreError::Refused { .. }) => telemetry::given_up(ending.id, &error),
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// How a run ends whose lease has lapsed: READY while it has attempts left, else FAILED.
#[must_use]
pub fn ending(run: &ExpiredRun) -> Ending {
    ending_of(run, AttemptEnd::LeaseExpired)
}

pub(super) fn ending_of(run: &ExpiredRun, end: AttemptEnd) -> Ending {
    let facts = AttemptFacts {
        attempts: run.attempts,
        max_attempts: run.max_attempts,
        crash_count: run.crash_count,
        spec: "",
        worker_id: &run.worker_id,
        epoch: run.epoch.0,
        pid: None,
    };
    let transition = classify(end, facts, &mut rand::rng());
    Ending { id: run.id, epoch: run.epoch, transition, logs_uri: None }
}
