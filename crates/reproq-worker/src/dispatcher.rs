//! Brings work to the slots: wakes, looks, claims, sleeps. Knows the store, and nothing of processes.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use reproq_model::AttemptEnd;
use reproq_model::admission::Verdict;
use reproq_store::{Claim, ClaimRequest, Registration, Store, StoreError};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::attempts::Attempts;
use crate::lanes::Room;
use crate::lifecycle::trust;
use crate::queues::Selection;
use crate::shutdown::Urgency;
use crate::telemetry;

/// The most runs in one claim: a batch beyond this is no faster, and slower to give back.
const BATCH: u32 = 200;
/// While busy, how often to look for runs that have become due or have a key.
const GLANCE: Duration = Duration::from_millis(20);
/// For so long after the keyed lane had nothing to give, it is not the first; it is still asked for what the other leaves.
const BARREN: Duration = Duration::from_millis(5);
/// How long a claimed run may wait for a slot before others get the chance.
const PATIENCE: Duration = Duration::from_secs(1);
/// Busy for so long, a worker does not want to be woken: it looks anyway, and each NOTIFY costs its sender.
const AWAKE: Duration = Duration::from_millis(200);
/// So soon after work has come, more is likely: a worker that is awake looks again rather than ask to be woken. Otherwise one
/// that keeps up with a stream of enqueues would have each of them notify.
const LULL: Duration = Duration::from_millis(50);
/// How often it looks meanwhile.
const LULL_LOOK: Duration = Duration::from_millis(5);
/// How often to look at the state of things when there is nothing else to wait for.
const TICK: Duration = Duration::from_millis(100);

/// The claiming side of a worker.
pub(crate) struct Dispatcher {
    pub(crate) store: Rc<dyn Store>,
    pub(crate) registration: Rc<Registration>,
    pub(crate) attempts: Rc<Attempts>,
    pub(crate) wake: Rc<Notify>,
    /// Whether runs with a key wait: then the end of any run may be what one of them waits for.
    pub(crate) keyed_waiting: Rc<Cell<bool>>,
}

/// Where READY runs wait.
#[derive(Clone, Copy)]
enum Lane {
    Plain,
    Keyed,
}

/// What the dispatcher remembers between rounds.
struct Rhythm {
    queues: Selection,
    poll: Duration,
    look_at: Instant,
    next_due: Option<Instant>,
    /// When a rate lets the next run start.
    next_rated: Option<Instant>,
    keyed_first: bool,
    /// When the keyed lane had nothing to give, last.
    barren_at: Option<Instant>,
    keys_left: bool,
    /// Since when there has been no lull.
    busy_since: Instant,
    /// When there was work, last.
    worked_at: Option<Instant>,
    wants_wake: bool,
}

impl Rhythm {
    fn in_lull(&self) -> bool {
        self.worked_at.is_some_and(|at| at.elapsed() < LULL)
    }
}

impl Dispatcher {
    /// Claims until the worker is asked to stop. A claim that is under way is always seen through: its runs are ours.
    pub(crate) async fn run(&self) {
        let settings = &self.attempts.settings;
        let mut rhythm = Rhythm {
            queues: Selection::new(settings.queues.clone()),
            poll: settings.poll_min,
            look_at: Instant::now(),
            next_due: None,
            next_rated: None,
            keyed_first: false,
            barren_at: None,
            keys_left: false,
            busy_since: Instant::now(),
            worked_at: None,
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
        for run in attempts.lanes.overdue(PATIENCE) {
            attempts.give_up(&run);
        }
        let room = attempts.room();
        if room.is_none() {
            tokio::select! {
                () = attempts.lanes.freed() => {}
                () = self.pause(TICK) => {}
            }
            // Full is busy, however long its tasks take, or an import.
            return self.stay_awake(rhythm).await;
        }
        let claimed = self.claim(room, rhythm).await?;
        if claimed > 0 {
            // What was claimed goes to its slots before the database is asked anything else.
            yield_now().await;
        }
        if Instant::now() >= rhythm.look_at && self.glance(claimed, rhythm).await? {
            return Ok(());
        }
        if claimed > 0 {
            return self.busy(rhythm).await;
        }
        if rhythm.keys_left {
            // Every key is looked at once before the worker may sleep.
            return Ok(());
        }
        if rhythm.wants_wake {
            self.idle(rhythm).await;
            return Ok(());
        }
        if rhythm.in_lull() {
            tokio::select! {
                () = self.wake.notified() => {}
                () = self.pause(LULL_LOOK) => {}
            }
            return Ok(());
        }
        // Say so first and look once more: an enqueue in between either sees the wish or is seen.
        self.store.set_wants_wake(&self.registration, true).await?;
        rhythm.wants_wake = true;
        rhythm.look_at = Instant::now();
        rhythm.queues.doubt();
        Ok(())
    }

    /// Looks at what waits. Returns whether that is news: then it is worth another claim at once.
    async fn glance(&self, claimed: u32, rhythm: &mut Rhythm) -> Result<bool, StoreError> {
        let mut another_queue = false;
        if rhythm.queues.should_ask(Instant::now(), claimed == 0) {
            let existing = self.store.queue_names().await?;
            another_queue = rhythm.queues.learn(&existing, Instant::now());
        }
        let glance = self.store.promote_due(rhythm.queues.queues()).await?;
        let now = Instant::now();
        let known = self.keyed_waiting.replace(glance.keyed_waiting);
        rhythm.look_at = now + GLANCE;
        rhythm.next_due = glance.next_due.map(|wait| now + wait);
        if glance.promoted > 0 && (rhythm.queues.doubt() || claimed == 0) {
            // They are of any queue, perhaps of one that nobody has named yet. Or a claim met only runs that had to be put
            // aside: what is behind them must not wait for the next look.
            rhythm.look_at = now;
        }
        Ok(another_queue || glance.promoted > 0 || (glance.keyed_waiting && !known))
    }

    /// Goes through the groups of queues while there is room. Returns how many runs came. While both lanes have runs, they
    /// take turns in being first.
    async fn claim(&self, room: Room, rhythm: &mut Rhythm) -> Result<u32, StoreError> {
        rhythm.keys_left = false;
        rhythm.next_rated = None;
        let barren = rhythm.barren_at.is_some_and(|at| at.elapsed() < BARREN);
        let lanes: &[Lane] = match (self.keyed_waiting.get(), rhythm.keyed_first && !barren) {
            (false, _) => &[Lane::Plain],
            (true, false) => &[Lane::Plain, Lane::Keyed],
            (true, true) => &[Lane::Keyed, Lane::Plain],
        };
        rhythm.keyed_first ^= self.keyed_waiting.get();
        let (mut any, mut of_loops) = (room.any.min(BATCH), room.of_loops.min(BATCH));
        let mut count = 0;
        for queues in rhythm.queues.rounds() {
            let (loops, mixed): (Vec<String>, Vec<String>) =
                queues.into_iter().partition(|queue| self.attempts.lanes.only_loops(queue));
            for (queues, room) in [(mixed, &mut any), (loops, &mut of_loops)] {
                for lane in lanes.iter().filter(|_| !queues.is_empty()) {
                    if *room > 0 {
                        let claimed = self.claim_from(*lane, &queues, *room, rhythm).await?;
                        *room = room.saturating_sub(claimed);
                        count += claimed;
                    }
                }
            }
        }
        Ok(count)
    }

    async fn claim_from(
        &self,
        lane: Lane,
        queues: &[String],
        limit: u32,
        rhythm: &mut Rhythm,
    ) -> Result<u32, StoreError> {
        let lease = self.attempts.settings.lease;
        let request = ClaimRequest { worker: &self.registration, queues, limit, lease };
        let trusted_until = Instant::now() + trust(lease);
        let claiming = self.attempts.held.claiming();
        let claim = match lane {
            Lane::Plain => self.store.claim(&request).await?,
            Lane::Keyed => self.store.claim_keyed(&request).await?,
        };
        if matches!(lane, Lane::Keyed) {
            rhythm.barren_at = (claim.runs.is_empty() && !claim.more).then(Instant::now);
        }
        rhythm.keys_left |= claim.more;
        let next_rated = claim.again_in.map(|wait| Instant::now() + wait);
        rhythm.next_rated = [rhythm.next_rated, next_rated].into_iter().flatten().min();
        let count = self.take_in(claim, trusted_until);
        drop(claiming);
        Ok(count)
    }

    fn take_in(&self, claim: Claim, trusted_until: Instant) -> u32 {
        let count = u32::try_from(claim.runs.len()).unwrap_or(u32::MAX);
        telemetry::claimed(claim.runs.len());
        for run in claim.runs {
            self.attempts.held.claimed(run.id, run.epoch, trusted_until);
            match not_to_start(run.verdict) {
                None => self.attempts.offer(run),
                Some(end) => self.attempts.end_unstarted(&run, end),
            }
        }
        for run in claim.unreadable {
            self.attempts.held.claimed(run.id, run.epoch, trusted_until);
            telemetry::unreadable(&run);
            self.attempts.end_unreadable(&run);
        }
        count
    }

    async fn busy(&self, rhythm: &mut Rhythm) -> Result<(), StoreError> {
        rhythm.poll = self.attempts.settings.poll_min;
        if !rhythm.in_lull() {
            rhythm.busy_since = Instant::now();
        }
        self.stay_awake(rhythm).await
    }

    async fn stay_awake(&self, rhythm: &mut Rhythm) -> Result<(), StoreError> {
        rhythm.worked_at = Some(Instant::now());
        if rhythm.wants_wake && rhythm.busy_since.elapsed() > AWAKE {
            self.store.set_wants_wake(&self.registration, false).await?;
            rhythm.wants_wake = false;
        }
        Ok(())
    }

    /// Sleeps until there may be work: a wake-up, the next due time, or the next poll.
    async fn idle(&self, rhythm: &mut Rhythm) {
        let settings = &self.attempts.settings;
        let soonest = [rhythm.next_due, rhythm.next_rated].into_iter().flatten().min();
        let due = soonest.map(|at| at.saturating_duration_since(Instant::now()));
        let wait = due.unwrap_or(rhythm.poll).min(rhythm.poll);
        tokio::select! {
            () = self.wake.notified() => {
                rhythm.poll = settings.poll_min;
                rhythm.queues.doubt();
            }
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

/// How a run ends that the claim has brought to its end.
const fn not_to_start(verdict: Verdict) -> Option<AttemptEnd> {
    match verdict {
        Verdict::Start => None,
        Verdict::Expired => Some(AttemptEnd::Expired),
        Verdict::Discarded => Some(AttemptEnd::Discarded),
        Verdict::Replaced => Some(AttemptEnd::Replaced),
    }
}
