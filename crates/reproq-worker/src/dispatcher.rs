//! Brings work to the slots: wakes, looks, claims, sleeps. Knows the store, and nothing of processes.

use std::rc::Rc;
use std::time::{Duration, Instant};

use reproq_store::{ClaimRequest, ClaimedRun, Registration, Store, StoreError};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::attempt::Attempts;
use crate::lifecycle::trust;
use crate::shutdown::Urgency;
use crate::telemetry;

/// The most runs in one claim: a batch beyond this is no faster, and slower to give back.
const BATCH: u32 = 200;
/// While busy, how often to look for runs that have become due or have a key.
const GLANCE: Duration = Duration::from_millis(20);
/// How long a claimed run may wait for a slot before others get the chance.
const PATIENCE: Duration = Duration::from_secs(1);
/// Busy for so long, a worker does not want to be woken: it looks anyway, and each NOTIFY costs its sender.
const AWAKE: Duration = Duration::from_millis(200);
/// The most endings that may wait for the database before nothing more is claimed.
const SPOOL: usize = 5000;
/// How often to look at the state of things when there is nothing else to wait for.
const TICK: Duration = Duration::from_millis(100);

/// The claiming side of a worker.
pub(crate) struct Dispatcher {
    pub(crate) store: Rc<dyn Store>,
    pub(crate) registration: Rc<Registration>,
    pub(crate) attempts: Rc<Attempts>,
    pub(crate) wake: Rc<Notify>,
}

/// What the dispatcher remembers between rounds.
struct Rhythm {
    poll: Duration,
    look_at: Instant,
    next_due: Option<Instant>,
    keyed_waiting: bool,
    busy_since: Option<Instant>,
    wants_wake: bool,
}

impl Dispatcher {
    /// Claims until the worker is asked to stop. A claim that is under way is always seen through: its runs are ours.
    pub(crate) async fn run(&self) {
        let settings = &self.attempts.settings;
        let mut rhythm = Rhythm {
            poll: settings.poll_min,
            look_at: Instant::now(),
            next_due: None,
            keyed_waiting: true,
            busy_since: None,
            wants_wake: true,
        };
        while self.attempts.shutdown.urgency() == Urgency::None {
            if let Err(error) = self.round(&mut rhythm).await {
                telemetry::store_failed("claim", &error);
                rhythm.look_at = Instant::now();
                self.pause(rhythm.poll.max(Duration::from_millis(50))).await;
                rhythm.poll = (rhythm.poll * 2).min(settings.poll_max);
            }
        }
    }

    async fn round(&self, rhythm: &mut Rhythm) -> Result<(), StoreError> {
        let attempts = &self.attempts;
        for run in attempts.slots.overdue(PATIENCE) {
            attempts.give_up(&run);
        }
        let room = if attempts.endings.backlog() > SPOOL {
            0
        } else {
            attempts.slots.room(&attempts.pace).min(BATCH)
        };
        if room == 0 {
            tokio::select! {
                () = attempts.slots.freed() => {}
                () = self.pause(TICK) => {}
            }
            return Ok(());
        }
        if Instant::now() >= rhythm.look_at {
            self.glance(rhythm).await?;
        }
        let claimed = self.claim(room, rhythm.keyed_waiting).await?;
        if claimed > 0 {
            self.busy(rhythm).await
        } else if rhythm.wants_wake {
            self.idle(rhythm).await;
            Ok(())
        } else {
            // Say so first and look once more: an enqueue in between either sees the wish or is seen.
            rhythm.wants_wake = true;
            rhythm.busy_since = None;
            rhythm.look_at = Instant::now();
            self.store.set_wants_wake(&self.registration, true).await
        }
    }

    async fn glance(&self, rhythm: &mut Rhythm) -> Result<(), StoreError> {
        let glance = self.store.promote_due(&self.registration.queues).await?;
        let now = Instant::now();
        rhythm.look_at = now + GLANCE;
        rhythm.next_due = glance.next_due.map(|wait| now + wait);
        rhythm.keyed_waiting = glance.keyed_waiting;
        Ok(())
    }

    /// Returns how many runs came.
    async fn claim(&self, room: u32, keyed: bool) -> Result<u32, StoreError> {
        let lease = self.attempts.settings.lease;
        let mut request = ClaimRequest { worker: &self.registration, limit: room, lease };
        let asked_at = Instant::now();
        let mut count = self.take_in(self.store.claim(&request).await?, asked_at);
        request.limit = room.saturating_sub(count);
        if keyed && request.limit > 0 {
            let asked_at = Instant::now();
            count += self.take_in(self.store.claim_keyed(&request).await?, asked_at);
        }
        Ok(count)
    }

    fn take_in(&self, runs: Vec<ClaimedRun>, asked_at: Instant) -> u32 {
        let count = u32::try_from(runs.len()).unwrap_or(u32::MAX);
        telemetry::claimed(runs.len());
        let trusted_until = asked_at + trust(self.attempts.settings.lease);
        for run in runs {
            self.attempts.held.claimed(run.id, run.epoch, trusted_until);
            self.attempts.slots.offer(run);
        }
        count
    }

    async fn busy(&self, rhythm: &mut Rhythm) -> Result<(), StoreError> {
        rhythm.poll = self.attempts.settings.poll_min;
        let since = *rhythm.busy_since.get_or_insert_with(Instant::now);
        if rhythm.wants_wake && since.elapsed() > AWAKE {
            rhythm.wants_wake = false;
            return self.store.set_wants_wake(&self.registration, false).await;
        }
        Ok(())
    }

    /// Sleeps until there may be work: a wake-up, the next due time, or the next poll.
    async fn idle(&self, rhythm: &mut Rhythm) {
        let settings = &self.attempts.settings;
        rhythm.busy_since = None;
        let due = rhythm.next_due.map(|due| due.saturating_duration_since(Instant::now()));
        let wait = due.unwrap_or(rhythm.poll).min(rhythm.poll);
        tokio::select! {
            () = self.wake.notified() => rhythm.poll = settings.poll_min,
            () = self.pause(wait) => rhythm.poll = (rhythm.poll * 2).min(settings.poll_max),
        }
        rhythm.look_at = Instant::now();
    }

    /// Waits, unless the worker is asked to stop.
    async fn pause(&self, wait: Duration) {
        tokio::select! {
            () = sleep(wait) => {}
            () = self.attempts.shutdown.reaches(Urgency::Drain) => {}
        }
    }
}
