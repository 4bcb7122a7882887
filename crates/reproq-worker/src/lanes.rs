//! Two kinds of slots: those whose runs have a process for themselves, and places on an event loop that many share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use reproq_store::ClaimedRun;
use tokio::sync::Notify;

use crate::pace::Pace;
use crate::slots::Slots;

/// Which slots a run needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// One of `--concurrency`.
    Slot,
    /// One of `--async-concurrency`.
    Loop,
}

/// How many more runs the worker can use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// From any queue.
    pub(crate) any: u32,
    /// From queues that have brought nothing but coroutines.
    pub(crate) of_loops: u32,
}

/// What a queue has brought so far. Most queues are of one kind, and then one kind's crowd does not keep the other waiting.
#[derive(Debug, Clone, Copy, Default)]
struct Brought {
    slots: bool,
    loops: bool,
}

/// The slots of both kinds.
pub(crate) struct Lanes {
    pub(crate) slots: Slots,
    pub(crate) loops: Slots,
    freed: Rc<Notify>,
    brought: RefCell<HashMap<String, Brought>>,
}

impl Lanes {
    pub(crate) fn new(slots: u32, loops: u32) -> Self {
        let freed = Rc::new(Notify::new());
        Self {
            slots: Slots::new(slots, Rc::clone(&freed)),
            loops: Slots::new(loops, Rc::clone(&freed)),
            freed,
            brought: RefCell::default(),
        }
    }

    /// What may be claimed now. While a run waits for a place that is not there, only queues that cannot bring another one
    /// like it are claimed from.
    pub(crate) fn room(&self, pace: &Pace) -> Room {
        let any = if self.loops.has_waiting() { 0 } else { self.slots.room(pace) };
        let known = self.brought.borrow().values().any(|brought| brought.loops && !brought.slots);
        Room { any, of_loops: if known { self.loops.free() } else { 0 } }
    }

    /// Whether the queue has brought coroutines, and nothing else.
    pub(crate) fn only_loops(&self, queue: &str) -> bool {
        self.brought.borrow().get(queue).is_some_and(|brought| brought.loops && !brought.slots)
    }

    /// Hands a claimed run to a slot of its kind, or lets it wait for one.
    pub(crate) fn offer(&self, run: ClaimedRun, place: Place) {
        self.learn(&run.queue_name, place);
        self.of(place).offer(run);
    }

    fn learn(&self, queue: &str, place: Place) {
        let mut brought = self.brought.borrow_mut();
        if !brought.contains_key(queue) {
            brought.insert(queue.to_owned(), Brought::default());
        }
        if let Some(brought) = brought.get_mut(queue) {
            match place {
                Place::Slot => brought.slots = true,
                Place::Loop => brought.loops = true,
            }
        }
    }

    pub(crate) const fn of(&self, place: Place) -> &Slots {
        match place {
            Place::Slot => &self.slots,
            Place::Loop => &self.loops,
        }
    }

    /// Runs that have been taken and not ended yet.
    pub(crate) fn busy(&self) -> usize {
        self.slots.busy() + self.loops.busy()
    }

    /// Returns when a run has ended since the last call.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Takes back what has waited longer than this.
    pub(crate) fn overdue(&self, patience: Duration) -> Vec<ClaimedRun> {
        let mut runs = self.slots.overdue(patience);
        runs.append(&mut self.loops.overdue(patience));
        runs
    }

    /// Lets idle slots go, and busy ones after their run. Returns what nobody has taken.
    pub(crate) fn close(&self) -> Vec<ClaimedRun> {
        let mut runs = self.slots.close();
        runs.append(&mut self.loops.close());
        runs
    }
}

impl Room {
    pub(crate) const fn is_none(self) -> bool {
        self.any == 0 && self.of_loops == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::run;

    fn of(queue: &str, id: i64) -> ClaimedRun {
        ClaimedRun { queue_name: queue.to_owned(), ..run(id, 1) }
    }

    #[test]
    fn a_strange_queue_may_bring_anything_and_is_claimed_from_for_the_slots() {
        let lanes = Lanes::new(2, 100);
        assert_eq!(lanes.room(&Pace::new()), Room { any: 2, of_loops: 0 });
        assert!(!lanes.only_loops("mail"));
    }

    #[test]
    fn a_queue_of_coroutines_is_claimed_from_though_all_slots_are_taken() {
        let lanes = Lanes::new(2, 100);
        lanes.offer(of("fetch", 1), Place::Loop);
        lanes.loops.close();
        for id in 2..4 {
            lanes.offer(of("reports", id), Place::Slot);
        }
        assert!(lanes.only_loops("fetch") && !lanes.only_loops("reports"));
        assert_eq!(lanes.room(&Pace::new()), Room { any: 0, of_loops: 100 });
    }

    #[test]
    fn a_queue_of_both_kinds_is_served_in_order() {
        let lanes = Lanes::new(2, 100);
        lanes.offer(of("mixed", 1), Place::Loop);
        lanes.offer(of("mixed", 2), Place::Slot);
        assert!(!lanes.only_loops("mixed"));
        assert_eq!(lanes.room(&Pace::new()).of_loops, 0);
    }

    #[test]
    fn while_coroutines_wait_for_a_place_nothing_is_claimed_that_might_bring_more() {
        let lanes = Lanes::new(2, 1);
        lanes.offer(of("fetch", 1), Place::Loop);
        assert_eq!(lanes.room(&Pace::new()), Room::default());
        assert!(lanes.room(&Pace::new()).is_none());
        assert_eq!(lanes.overdue(Duration::ZERO).len(), 1, "one that waits too long is given back");
        assert_eq!(lanes.room(&Pace::new()).any, 2);
    }
}
