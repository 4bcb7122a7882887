//! Where claimed runs wait for a free slot, and free slots wait for runs.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use reproq_store::ClaimedRun;
use std::rc::Rc;

use tokio::sync::{Notify, oneshot};

use crate::pace::Pace;

/// The most bytes of frames that travel together: what goes to a child in one write, and is read in one.
const BYTES_PER_CHILD: usize = 32 * 1024;

/// The meeting point of the dispatcher, which brings runs, and the slots, which take them.
pub(crate) struct Slots {
    count: u32,
    waiting: RefCell<VecDeque<(Instant, ClaimedRun)>>,
    /// The slot that has become free last is the first to get work: its child's memory is the warmest.
    idle: RefCell<Vec<oneshot::Sender<Vec<ClaimedRun>>>>,
    /// Runs that slots have taken and not ended.
    busy: Cell<usize>,
    closed: Cell<bool>,
    /// Told when a run has ended; other lanes tell it, too.
    freed: Rc<Notify>,
}

impl Slots {
    pub(crate) fn new(count: u32, freed: Rc<Notify>) -> Self {
        Self {
            count,
            waiting: RefCell::new(VecDeque::new()),
            idle: RefCell::new(Vec::new()),
            busy: Cell::new(0),
            closed: Cell::new(false),
            freed,
        }
    }

    /// How many more runs the worker can use: its free slots, and what the pace justifies beyond.
    pub(crate) fn room(&self, pace: &Pace) -> u32 {
        let here = u32::try_from(self.waiting.borrow().len() + self.busy.get()).unwrap_or(u32::MAX);
        let ahead = pace.ahead(self.count);
        // A claim costs the same for one run as for many: wait until there is room for a good part of a batch.
        if here >= self.count && here - self.count > ahead / 2 {
            0
        } else {
            (self.count + ahead).saturating_sub(here)
        }
    }

    /// How many more runs can start at once.
    pub(crate) fn free(&self) -> u32 {
        let here = u32::try_from(self.waiting.borrow().len() + self.busy.get()).unwrap_or(u32::MAX);
        self.count.saturating_sub(here)
    }

    /// Whether runs wait for a slot.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Runs taken by slots and not ended yet.
    pub(crate) fn busy(&self) -> usize {
        self.busy.get()
    }

    /// Hands a claimed run to an idle slot, or lets it wait for the next one.
    pub(crate) fn offer(&self, run: ClaimedRun) {
        let mut runs = vec![run];
        loop {
            let idle = self.idle.borrow_mut().pop();
            let Some(slot) = idle else { break };
            match slot.send(runs) {
                Ok(()) => return self.busy.set(self.busy.get() + 1),
                // That slot has stopped waiting, or waits with another word.
                Err(back) => runs = back,
            }
        }
        self.waiting.borrow_mut().extend(runs.into_iter().map(|run| (Instant::now(), run)));
    }

    /// The next run for a slot, and more of them when all are short and `together` says so. None: there will be no more.
    pub(crate) async fn take(
        &self,
        pace: &Pace,
        together: impl Fn(&ClaimedRun) -> bool,
    ) -> Option<Vec<ClaimedRun>> {
        if let Some(runs) = self.take_waiting(pace, together) {
            return Some(runs);
        }
        if self.closed.get() {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.idle.borrow_mut().push(sender);
        receiver.await.ok()
    }

    fn take_waiting(&self, pace: &Pace, together: impl Fn(&ClaimedRun) -> bool) -> Option<Vec<ClaimedRun>> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            return None;
        }
        let share = waiting.len().div_ceil(self.count as usize);
        let mut bytes = 0;
        let fitting = waiting.iter().take_while(|(_, run)| {
            bytes += frame_bytes(run);
            bytes <= BYTES_PER_CHILD && together(run)
        });
        let count = pace.per_child(fitting.map(|(_, run)| run.task_path.as_str()), share);
        let runs: Vec<ClaimedRun> = waiting.drain(..count).map(|(_, run)| run).collect();
        self.busy.set(self.busy.get() + runs.len());
        Some(runs)
    }

    /// A run that a slot took has ended.
    pub(crate) fn ended(&self) {
        self.busy.set(self.busy.get().saturating_sub(1));
        self.freed.notify_one();
    }

    /// Takes back what has waited longer than this: all slots are busy with something long, and others may be free.
    pub(crate) fn overdue(&self, patience: Duration) -> Vec<ClaimedRun> {
        let mut waiting = self.waiting.borrow_mut();
        // In order of arrival, so the overdue ones are in front.
        let count = waiting.iter().take_while(|(since, _)| since.elapsed() > patience).count();
        waiting.drain(..count).map(|(_, run)| run).collect()
    }

    /// Lets idle slots go, and busy ones after their run. Returns what nobody has taken.
    pub(crate) fn close(&self) -> Vec<ClaimedRun> {
        self.closed.set(true);
        self.idle.borrow_mut().clear();
        self.waiting.borrow_mut().drain(..).map(|(_, run)| run).collect()
    }
}

/// About what a run takes on its way to a child.
fn frame_bytes(run: &ClaimedRun) -> usize {
    const NAMES_AND_NUMBERS: usize = 512;
    NAMES_AND_NUMBERS + run.spec.len() + run.errors.len() + run.metadata.len() + run.worker_ids.len()
}
