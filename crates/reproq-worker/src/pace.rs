//! How long attempts take lately, and what follows for how much work to fetch ahead.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

/// Work to have at hand for each slot: a little more than a claim takes.
const AHEAD: Duration = Duration::from_millis(30);
/// The most runs to hold beyond the free slots, whatever their pace.
const MOST_AHEAD: u32 = 500;
/// Attempts shorter than this are sent to a child several at a time.
const SHORT: Duration = Duration::from_millis(1);
/// Tasks whose pace is remembered; beyond that a worker has so many tasks that each is a stranger.
const MOST_TASKS: usize = 10_000;

/// Running means of attempts' durations.
pub(crate) struct Pace {
    overall: Cell<Duration>,
    by_task: RefCell<HashMap<String, Duration>>,
}

impl Pace {
    /// The most runs that one child may have before it. It cannot give back what it was sent: should one of them turn slow, the
    /// ones behind it wait for its end or its timeout.
    pub(crate) const MOST_PER_CHILD: usize = 32;

    /// Until it knows better, a worker takes every task for a long one and fetches nothing ahead.
    pub(crate) fn new() -> Self {
        Self { overall: Cell::new(Duration::from_secs(1)), by_task: RefCell::new(HashMap::new()) }
    }

    pub(crate) fn record(&self, task_path: &str, took: Duration) {
        self.overall.set(blend(self.overall.get(), took));
        let mut by_task = self.by_task.borrow_mut();
        if let Some(mean) = by_task.get_mut(task_path) {
            *mean = blend(*mean, took);
        } else if by_task.len() < MOST_TASKS {
            by_task.insert(task_path.to_owned(), took.max(SHORT));
        }
    }

    /// How many runs to hold beyond the free slots.
    pub(crate) fn ahead(&self, slots: u32) -> u32 {
        let mean = self.overall.get().max(Duration::from_micros(10));
        if mean > AHEAD {
            return 0;
        }
        let per_slot = AHEAD.as_micros() / mean.as_micros();
        u32::try_from(per_slot).unwrap_or(MOST_AHEAD).saturating_mul(slots).min(MOST_AHEAD)
    }

    /// How many of these runs, the first of them, one child may be sent at once: only short ones, so that none waits behind a long
    /// one.
    pub(crate) fn short<'a>(&self, tasks: impl Iterator<Item = &'a str>, most: usize) -> usize {
        let by_task = self.by_task.borrow();
        let short = |task: &&str| by_task.get(*task).is_some_and(|mean| *mean < SHORT);
        tasks.take(most.min(Self::MOST_PER_CHILD)).take_while(short).count()
    }
}

/// A long attempt counts at once, short ones have to prove themselves: the cost of being wrong is not the same.
fn blend(mean: Duration, took: Duration) -> Duration {
    if took > mean { (mean + took * 3) / 4 } else { (mean * 7 + took) / 8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pace: &Pace, task: &str, took: Duration, times: u32) {
        for _ in 0..times {
            pace.record(task, took);
        }
    }

    #[test]
    fn an_unknown_task_is_sent_alone_and_nothing_is_fetched_ahead() {
        let pace = Pace::new();
        assert_eq!(pace.ahead(10), 0);
        assert_eq!(pace.short(["a", "a"].into_iter(), 8), 0);
    }

    #[test]
    fn short_tasks_travel_together_until_a_long_one_comes() {
        let pace = Pace::new();
        after(&pace, "short", Duration::from_micros(50), 100);
        after(&pace, "long", Duration::from_secs(1), 1);
        assert_eq!(pace.short(["short", "short", "short", "long", "short"].into_iter(), 8), 3);
        assert_eq!(pace.short(["long", "short"].into_iter(), 8), 0);
        assert_eq!(pace.short(["short", "short", "short"].into_iter(), 2), 2);
    }

    #[test]
    fn one_long_attempt_ends_the_haste() {
        let pace = Pace::new();
        after(&pace, "task", Duration::from_micros(100), 200);
        assert!(pace.ahead(2) > 100);
        pace.record("task", Duration::from_secs(1));
        assert_eq!(pace.ahead(2), 0);
        assert_eq!(pace.short(["task", "task"].into_iter(), 8), 0);
    }
}
