//! Everything that this worker has claimed and whose end is not in the database yet, and how long it may trust that.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use reproq_model::{Epoch, RunId};
use reproq_store::OwnedRun;
use tokio::sync::Notify;

/// Why an attempt must stop before it ends. A later one overrides an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// Somebody cancelled the run.
    Cancelled,
    /// The lease is lost, or can no longer be proven: nothing may be written.
    Lost,
}

/// What an attempt is told to do. It outlasts the telling: an attempt that starts later hears it too.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    stop: Cell<Option<Stop>>,
    given: Notify,
}

impl Orders {
    /// Returns why the attempt must stop, as soon as it must. One waits at a time.
    pub(crate) async fn stop(&self) -> Stop {
        self.at_least(Stop::Cancelled).await
    }

    /// Returns when nothing may be written any more.
    pub(crate) async fn lost(&self) {
        self.at_least(Stop::Lost).await;
    }

    /// Whether the run is to be cancelled.
    pub(crate) fn cancelled(&self) -> bool {
        self.stop.get() == Some(Stop::Cancelled)
    }

    async fn at_least(&self, least: Stop) -> Stop {
        loop {
            match self.stop.get() {
                Some(stop) if stop >= least => return stop,
                _ => self.given.notified().await,
            }
        }
    }

    /// Whether that is news.
    fn give(&self, stop: Stop) -> bool {
        let news = self.stop.get() < Some(stop);
        if news {
            self.stop.set(Some(stop));
            self.given.notify_one();
        }
        news
    }
}

struct Entry {
    epoch: Epoch,
    /// When the claim's answer was here: a heartbeat sent later must name the run.
    since: Instant,
    /// From then on another worker may own the run.
    trusted_until: Instant,
    /// Whether an attempt listens. Before it does, only a cancellation is kept for it: it looks at its lease itself.
    started: bool,
    /// Whether a process has the run: from when it was sent until its attempt has ended.
    in_process: bool,
    orders: Rc<Orders>,
}

/// The runs in this worker's hands. Single-threaded; each method is one step.
#[derive(Default)]
pub(crate) struct Held {
    entries: RefCell<HashMap<RunId, Entry>>,
    /// Owned in the database and unknown here at the last heartbeat.
    strangers: RefCell<HashSet<(RunId, Epoch)>>,
    /// Claims whose answer is not here yet: what they bring is unknown until then.
    claims: Rc<Cell<usize>>,
}

/// A claim under way.
pub(crate) struct Claiming(Rc<Cell<usize>>);

impl Drop for Claiming {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Held {
    /// Says that a claim is under way, until the value is dropped.
    pub(crate) fn claiming(&self) -> Claiming {
        self.claims.set(self.claims.get() + 1);
        Claiming(Rc::clone(&self.claims))
    }

    pub(crate) fn claimed(&self, id: RunId, epoch: Epoch, trusted_until: Instant) {
        let entry = Entry {
            epoch,
            since: Instant::now(),
            trusted_until,
            started: false,
            in_process: false,
            orders: Rc::default(),
        };
        self.entries.borrow_mut().insert(id, entry);
    }

    /// The attempt starts: returns what it is told from then on, and what it was told before.
    pub(crate) fn start(&self, id: RunId, epoch: Epoch) -> Rc<Orders> {
        match self.entries.borrow_mut().get_mut(&id).filter(|entry| entry.epoch == epoch) {
            Some(entry) => {
                entry.started = true;
                Rc::clone(&entry.orders)
            }
            // Nobody is left who could tell.
            None => Rc::default(),
        }
    }

    /// A process is about to get the run. Returns until when it may go on; none: it is not this worker's.
    pub(crate) fn sent(&self, id: RunId, epoch: Epoch) -> Option<Instant> {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(&id).filter(|entry| entry.epoch == epoch)?;
        entry.in_process = true;
        Some(entry.trusted_until)
    }

    /// No process has the run any more; its end may have to wait for the database.
    pub(crate) fn ended(&self, id: RunId, epoch: Epoch) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(&id).filter(|entry| entry.epoch == epoch) {
            entry.in_process = false;
        }
    }

    /// Until when all runs that processes have may go on; none: there are no such runs.
    pub(crate) fn trusted_until(&self) -> Option<Instant> {
        let entries = self.entries.borrow();
        entries.values().filter(|entry| entry.in_process).map(|entry| entry.trusted_until).min()
    }

    /// Whether the run is to be cancelled, though its attempt has not started.
    pub(crate) fn is_cancelled(&self, id: RunId, epoch: Epoch) -> bool {
        let entries = self.entries.borrow();
        entries.get(&id).is_some_and(|entry| entry.epoch == epoch && entry.orders.cancelled())
    }

    /// Takes in what somebody wants cancelled. An attempt that has not started hears it when it does.
    pub(crate) fn cancel(&self, runs: &[(RunId, Epoch)]) {
        let entries = self.entries.borrow();
        for (id, epoch) in runs {
            if let Some(entry) = entries.get(id).filter(|entry| entry.epoch == *epoch) {
                entry.orders.give(Stop::Cancelled);
            }
        }
    }

    /// Whether nothing is in this worker's hands.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.borrow().is_empty()
    }

    /// The run's end is in the database, or does not matter any more.
    pub(crate) fn let_go(&self, id: RunId, epoch: Epoch) {
        let mut entries = self.entries.borrow_mut();
        if entries.get(&id).is_some_and(|entry| entry.epoch == epoch) {
            entries.remove(&id);
        }
    }

    /// Whether the run is still this worker's to start.
    pub(crate) fn trusts(&self, id: RunId, epoch: Epoch) -> bool {
        let entries = self.entries.borrow();
        entries.get(&id).is_some_and(|entry| entry.epoch == epoch && entry.trusted_until > Instant::now())
    }

    /// Takes in what a heartbeat said. `asked_at` is when it was sent: what was claimed later is not in the answer. `margin` is
    /// how long before a lease's end it is no longer believed in.
    /// Returns runs that the database counts as this worker's and that nobody here knows, twice in a row: claims whose
    /// answer was lost.
    pub(crate) fn confirm(&self, owned: &[OwnedRun], asked_at: Instant, margin: Duration) -> Vec<OwnedRun> {
        let mut entries = self.entries.borrow_mut();
        let by_id: HashMap<RunId, &OwnedRun> = owned.iter().map(|run| (run.id, run)).collect();
        for (id, entry) in entries.iter_mut() {
            match by_id.get(id).filter(|run| run.epoch == entry.epoch) {
                Some(run) => {
                    let certain = asked_at + run.lease_left.saturating_sub(margin);
                    entry.trusted_until = entry.trusted_until.max(certain);
                    if run.cancel_requested {
                        entry.orders.give(Stop::Cancelled);
                    }
                }
                // Known before the heartbeat was sent, and not in its answer: taken away.
                None if entry.since < asked_at && entry.started => drop(entry.orders.give(Stop::Lost)),
                None => {}
            }
        }
        let unknown: HashSet<(RunId, Epoch)> = owned
            .iter()
            .filter(|run| !entries.contains_key(&run.id))
            .map(|run| (run.id, run.epoch))
            .collect();
        let before = self.strangers.replace(unknown);
        if self.claims.get() > 0 {
            return Vec::new();
        }
        let after = self.strangers.borrow();
        let twice =
            |run: &&OwnedRun| before.contains(&(run.id, run.epoch)) && after.contains(&(run.id, run.epoch));
        owned.iter().filter(twice).copied().collect()
    }

    /// Tells every attempt whose lease can no longer be proven to stop. Returns how many there were.
    pub(crate) fn stop_untrusted(&self) -> usize {
        let now = Instant::now();
        let entries = self.entries.borrow();
        let untrusted = entries.values().filter(|entry| entry.trusted_until <= now && entry.started);
        untrusted.filter(|entry| entry.orders.give(Stop::Lost)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUST: Duration = Duration::from_secs(12);
    const MARGIN: Duration = Duration::from_secs(3);

    fn owned(id: i64, epoch: i32) -> OwnedRun {
        OwnedRun { id: RunId(id), epoch: Epoch(epoch), cancel_requested: false, lease_left: TRUST }
    }

    #[test]
    fn a_run_that_the_heartbeat_does_not_name_is_lost() {
        let held = Held::default();
        let start = Instant::now();
        held.claimed(RunId(1), Epoch(1), start + TRUST);
        held.claimed(RunId(2), Epoch(1), start + TRUST);
        let (kept, lost) = (held.start(RunId(1), Epoch(1)), held.start(RunId(2), Epoch(1)));
        held.confirm(&[owned(1, 1)], start + Duration::from_secs(5), MARGIN);
        assert_eq!((lost.stop.get(), kept.stop.get()), (Some(Stop::Lost), None));
    }

    #[test]
    fn a_run_claimed_after_the_heartbeat_was_sent_is_not_lost() {
        let held = Held::default();
        let asked_at = Instant::now();
        held.claimed(RunId(1), Epoch(1), asked_at + TRUST);
        let orders = held.start(RunId(1), Epoch(1));
        held.confirm(&[], asked_at, MARGIN);
        assert_eq!(orders.stop.get(), None);
    }

    #[test]
    fn a_claim_under_another_epoch_is_not_this_one() {
        let held = Held::default();
        let start = Instant::now();
        held.claimed(RunId(1), Epoch(1), start + TRUST);
        let orders = held.start(RunId(1), Epoch(1));
        held.confirm(&[owned(1, 2)], start + Duration::from_secs(5), MARGIN);
        assert_eq!(orders.stop.get(), Some(Stop::Lost));
    }

    #[test]
    fn a_stranger_is_returned_at_its_second_heartbeat() {
        let held = Held::default();
        let now = Instant::now();
        assert!(held.confirm(&[owned(7, 1)], now, MARGIN).is_empty());
        assert_eq!(held.confirm(&[owned(7, 1), owned(8, 1)], now, MARGIN), [owned(7, 1)]);
    }

    #[test]
    fn what_cannot_be_proven_is_stopped() {
        let held = Held::default();
        held.claimed(RunId(1), Epoch(1), Instant::now());
        let orders = held.start(RunId(1), Epoch(1));
        assert!(!held.trusts(RunId(1), Epoch(1)));
        assert_eq!(held.stop_untrusted(), 1);
        assert_eq!(orders.stop.get(), Some(Stop::Lost));
    }

    #[test]
    fn a_stranger_is_left_alone_while_a_claim_is_under_way() {
        let held = Held::default();
        let now = Instant::now();
        let claiming = held.claiming();
        held.confirm(&[owned(7, 1)], now, MARGIN);
        assert!(held.confirm(&[owned(7, 1)], now, MARGIN).is_empty());
        drop(claiming);
        assert_eq!(held.confirm(&[owned(7, 1)], now, MARGIN), [owned(7, 1)]);
    }

    #[test]
    fn a_lease_is_believed_in_as_far_as_the_database_has_promised() {
        let held = Held::default();
        let now = Instant::now();
        held.claimed(RunId(1), Epoch(1), now);
        held.confirm(&[OwnedRun { lease_left: Duration::from_secs(2), ..owned(1, 1) }], now, MARGIN);
        assert!(!held.trusts(RunId(1), Epoch(1)));
        held.confirm(&[owned(1, 1)], now, MARGIN);
        assert!(held.trusts(RunId(1), Epoch(1)));
    }

    #[test]
    fn a_cancellation_before_the_start_is_heard_at_the_start() {
        let held = Held::default();
        held.claimed(RunId(1), Epoch(2), Instant::now() + TRUST);
        held.cancel(&[(RunId(1), Epoch(1)), (RunId(7), Epoch(1))]);
        assert!(!held.is_cancelled(RunId(1), Epoch(2)), "that was another claim");
        held.cancel(&[(RunId(1), Epoch(2))]);
        assert!(held.is_cancelled(RunId(1), Epoch(2)));
        assert_eq!(held.start(RunId(1), Epoch(2)).stop.get(), Some(Stop::Cancelled));
    }

    #[tokio::test]
    async fn a_lease_can_be_lost_after_a_cancellation() {
        let held = Held::default();
        held.claimed(RunId(1), Epoch(1), Instant::now());
        let orders = held.start(RunId(1), Epoch(1));
        held.cancel(&[(RunId(1), Epoch(1))]);
        assert_eq!(orders.stop().await, Stop::Cancelled);
        assert_eq!(held.stop_untrusted(), 1);
        orders.lost().await;
        held.cancel(&[(RunId(1), Epoch(1))]);
        assert_eq!(orders.stop().await, Stop::Lost, "nothing takes that back");
        assert_eq!(held.stop_untrusted(), 0, "it was told");
    }

    #[test]
    fn what_processes_have_may_go_on_as_long_as_the_least_certain_of_it() {
        let held = Held::default();
        let now = Instant::now();
        for (id, seconds) in [(1, 9), (2, 7), (3, 1)] {
            held.claimed(RunId(id), Epoch(1), now + Duration::from_secs(seconds));
        }
        assert_eq!(held.trusted_until(), None, "no process has any of them");
        assert_eq!(held.sent(RunId(1), Epoch(1)), Some(now + Duration::from_secs(9)));
        held.sent(RunId(2), Epoch(1));
        assert_eq!(held.trusted_until(), Some(now + Duration::from_secs(7)));
        held.ended(RunId(2), Epoch(1));
        assert_eq!(held.trusted_until(), Some(now + Duration::from_secs(9)), "its end is still on its way");
        assert_eq!(held.sent(RunId(1), Epoch(2)), None);
    }

    #[test]
    fn a_lease_that_lapsed_before_the_start_is_not_held_against_it() {
        let held = Held::default();
        let now = Instant::now();
        held.claimed(RunId(1), Epoch(1), now);
        assert_eq!(held.stop_untrusted(), 0);
        held.confirm(&[owned(1, 1)], now, MARGIN);
        assert_eq!(held.start(RunId(1), Epoch(1)).stop.get(), None);
    }
}
