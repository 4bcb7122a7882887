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

    const fn of(&self, place: Place) -> &Slots {
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
