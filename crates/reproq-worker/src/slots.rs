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
        let share = self.share();
        if share > 0 {
            let count = self.fitting(pace, share, together).max(1);
            return Some(self.take_waiting(count));
        }
        if self.closed.get() {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.idle.borrow_mut().push(sender);
        receiver.await.ok()
    }

    /// More short runs for a slot whose line has become half as long as it may be.
    pub(crate) fn take_more(
        &self,
        pace: &Pace,
        line: usize,
        together: impl Fn(&ClaimedRun) -> bool,
    ) -> Vec<ClaimedRun> {
        let room = Pace::MOST_PER_CHILD - line.min(Pace::MOST_PER_CHILD);
        if room < Pace::MOST_PER_CHILD / 2 {
            return Vec::new();
        }
        self.take_waiting(self.fitting(pace, self.share().min(room), together))
    }

    /// How many of those that wait are one slot's.
    fn share(&self) -> usize {
        self.waiting.borrow().len().div_ceil(self.count as usize)
    }

    /// How many of those that wait may travel together.
    fn fitting(&self, pace: &Pace, most: usize, together: impl Fn(&ClaimedRun) -> bool) -> usize {
        let waiting = self.waiting.borrow();
        let mut bytes = 0;
        let fitting = waiting.iter().take_while(|(_, run)| {
            bytes += frame_bytes(run);
            bytes <= BYTES_PER_CHILD && together(run)
        });
        pace.short(fitting.map(|(_, run)| run.task_path.as_str()), most)
    }

    fn take_waiting(&self, count: usize) -> Vec<ClaimedRun> {
        let runs: Vec<ClaimedRun> = self.waiting.borrow_mut().drain(..count).map(|(_, run)| run).collect();
        self.busy.set(self.busy.get() + runs.len());
        runs
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::run;

    fn slots(count: u32, runs: i64) -> Slots {
        let slots = Slots::new(count, Rc::default());
        (1..=runs).for_each(|id| slots.offer(run(id, 1)));
        slots
    }

    /// One to which the task of all runs is short.
    fn haste() -> Pace {
        let pace = Pace::new();
        (0..100).for_each(|_| pace.record(&run(1, 1).task_path, Duration::from_micros(50)));
        pace
    }

    fn ids(runs: &[ClaimedRun]) -> Vec<i64> {
        runs.iter().map(|run| run.id.0).collect()
    }

    #[test]
    fn a_line_is_filled_up_when_half_of_it_is_gone_and_not_before() {
        let (slots, pace) = (slots(1, 100), haste());
        assert!(slots.take_more(&pace, Pace::MOST_PER_CHILD / 2 + 1, |_| true).is_empty());
        assert_eq!(
            slots.take_more(&pace, Pace::MOST_PER_CHILD / 2, |_| true).len(),
            Pace::MOST_PER_CHILD / 2
        );
        assert_eq!(slots.busy(), Pace::MOST_PER_CHILD / 2);
    }

    #[test]
    fn a_line_takes_no_more_than_its_share_and_no_long_run() {
        let (four, pace) = (slots(4, 8), haste());
        assert_eq!(ids(&four.take_more(&pace, 1, |_| true)), [1, 2]);
        assert_eq!(ids(&four.take_more(&pace, 1, |run| run.id.0 != 4)), [3]);
        assert!(four.take_more(&Pace::new(), 1, |_| true).is_empty());
    }

    #[tokio::test]
    async fn the_first_of_a_line_comes_even_if_it_must_travel_alone() {
        let slots = slots(1, 3);
        assert_eq!(ids(&slots.take(&haste(), |_| false).await.unwrap()), [1]);
        assert_eq!(ids(&slots.take(&haste(), |_| true).await.unwrap()), [2, 3]);
    }
}
