//! Leases: renewed together, and not believed in when they could not be.

use std::rc::Rc;
use std::time::{Duration, Instant};

use reproq_model::{AttemptEnd, AttemptFacts, classify};
use reproq_store::{Ending, OwnedRun, Registration, Store};
use tokio::time::sleep;

use super::{last_moment, margin};
use crate::attempts::Attempts;
use crate::executor::Executors;
use crate::telemetry;

/// After a failed heartbeat the next one does not wait for its turn.
const RETRY: Duration = Duration::from_millis(250);
/// How often leases are looked at that could not be renewed.
const WATCH: Duration = Duration::from_millis(250);

/// Renews, for ever.
pub(crate) async fn beat(store: Rc<dyn Store>, registration: Rc<Registration>, attempts: Rc<Attempts>) {
    let settings = Rc::clone(&attempts.settings);
    loop {
        sleep(settings.heartbeat).await;
        let mut asked_at = Instant::now();
        loop {
            match store.heartbeat(&registration, settings.lease).await {
                Ok(owned) => break give_back_strangers(&attempts, &owned, asked_at),
                Err(error) => telemetry::store_failed("heartbeat", &error),
            }
            sleep(RETRY).await;
            asked_at = Instant::now();
        }
    }
}

fn give_back_strangers(attempts: &Attempts, owned: &[OwnedRun], asked_at: Instant) {
    let strangers = attempts.held.confirm(owned, asked_at, margin(attempts.settings.lease));
    if strangers.is_empty() {
        return;
    }
    telemetry::adopted(strangers.len());
    for run in strangers {
        let facts = AttemptFacts {
            attempts: 1,
            max_attempts: 1,
            crash_count: 0,
            spec: "",
            worker_id: &attempts.settings.worker_id,
            epoch: run.epoch.0,
            pid: None,
        };
        let transition = classify(AttemptEnd::Released, facts, &mut rand::rng());
        attempts.endings.leave(Ending { id: run.id, epoch: run.epoch, transition, logs_uri: None });
    }
}

/// Stops, for ever, what this worker can no longer prove to own.
pub(crate) async fn watch(attempts: Rc<Attempts>) {
    loop {
        sleep(WATCH).await;
        let stopped = attempts.held.stop_untrusted();
        if stopped > 0 {
            telemetry::untrusted(stopped);
        }
    }
}

/// Tells the guard, for ever, how long what runs may go on if this worker falls silent.
pub(crate) async fn tell_guard(attempts: Rc<Attempts>, executors: Rc<Executors>) {
    let lease = attempts.settings.lease;
    loop {
        sleep(WATCH).await;
        executors.trust(attempts.held.trusted_until().map(|until| last_moment(until, lease)));
    }
}
