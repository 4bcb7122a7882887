//! What running attempts print and say about themselves, so that it can be read before they end.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use reproq_model::{Epoch, RunId};
use reproq_store::{AttemptLog, ClaimedRun, ProgressUpdate};

use crate::executor::{Captured, Printed, View};

/// Younger attempts are left alone: most have ended before anybody could look.
const YOUNG: Duration = Duration::from_secs(1);

/// The running attempts of a worker.
#[derive(Default)]
pub(crate) struct Live {
    shown: RefCell<HashMap<RunId, Shown>>,
    /// The last word of each about its progress, while it is not stored.
    said: RefCell<HashMap<RunId, ProgressUpdate>>,
}

/// An attempt whose output is stored while it runs.
struct Shown {
    epoch: Epoch,
    attempt: i32,
    /// None: it is not stored while it runs.
    output: Option<View>,
    /// When it was stored last; before: when the attempt began.
    looked_at: Instant,
    /// Bytes printed by then.
    stored: u64,
}

impl Shown {
    fn has_news(&self) -> bool {
        self.output.as_ref().is_some_and(|output| output.total() > self.stored)
    }
}

impl Live {
    /// An attempt is running; with `output`, what it prints is stored while it does. Saying so again changes nothing.
    pub(crate) fn begin(&self, run: &ClaimedRun, output: Option<&Captured>) {
        let mut shown = self.shown.borrow_mut();
        if shown.get(&run.id).is_none_or(|known| known.epoch != run.epoch) {
            let (epoch, attempt) = (run.epoch, run.attempts);
            let output = output.map(Captured::view);
            let begun = Shown { epoch, attempt, output, looked_at: Instant::now(), stored: 0 };
            shown.insert(run.id, begun);
        }
    }

    /// It has ended. Returns what it has said and nobody has stored yet.
    pub(crate) fn end(&self, run: &ClaimedRun) -> Option<ProgressUpdate> {
        self.shown.borrow_mut().remove(&run.id);
        self.said.borrow_mut().remove(&run.id).filter(|update| update.epoch == run.epoch)
    }

    /// How far a running attempt says that it is; the last word counts. `progress` is a JSON object.
    pub(crate) fn say(&self, run: &ClaimedRun, progress: String) {
        let update = ProgressUpdate { id: run.id, epoch: run.epoch, progress };
        self.said.borrow_mut().insert(run.id, update);
    }

    /// What has been printed and is not stored: of at most `count` attempts, the longest waiting first, and about `bytes`.
    pub(crate) fn printed(&self, count: usize, bytes: usize) -> Vec<AttemptLog> {
        let shown = self.shown.borrow();
        let mut news: Vec<(&RunId, &Shown)> =
            shown.iter().filter(|(_, one)| one.looked_at.elapsed() >= YOUNG && one.has_news()).collect();
        news.sort_unstable_by_key(|(_, one)| one.looked_at);
        let mut room = bytes;
        let mut logs = Vec::new();
        for (id, one) in news.into_iter().take(count) {
            if room == 0 {
                break;
            }
            let Some(printed) = one.output.as_ref().and_then(View::printed) else { continue };
            room = room.saturating_sub(printed.chunks.len());
            logs.push(log(*id, one.epoch, one.attempt, printed));
        }
        logs
    }

    /// These have been stored, or never will be.
    pub(crate) fn settled(&self, logs: &[AttemptLog]) {
        let mut shown = self.shown.borrow_mut();
        for log in logs {
            if let Some(one) = shown.get_mut(&log.id).filter(|one| one.epoch == log.epoch) {
                one.stored = log.bytes + log.dropped;
                one.looked_at = Instant::now();
            }
        }
    }

    /// At most `count` of the words about progress that nobody has stored.
    pub(crate) fn take_said(&self, count: usize) -> Vec<ProgressUpdate> {
        let mut said = self.said.borrow_mut();
        let ids: Vec<RunId> = said.keys().take(count).copied().collect();
        ids.iter().filter_map(|id| said.remove(id)).collect()
    }

    /// They could not be stored; later words stay.
    pub(crate) fn say_again(&self, updates: Vec<ProgressUpdate>) {
        let shown = self.shown.borrow();
        let mut said = self.said.borrow_mut();
        for update in updates {
            // Of those that have ended meanwhile, nobody would ever take it away.
            if shown.get(&update.id).is_some_and(|one| one.epoch == update.epoch) {
                said.entry(update.id).or_insert(update);
            }
        }
    }
}

/// The output of an attempt as it is stored.
pub(crate) fn log(id: RunId, epoch: Epoch, attempt: i32, printed: Printed) -> AttemptLog {
    let Printed { chunks, bytes, dropped } = printed;
    AttemptLog { id, epoch, attempt, chunks, bytes, dropped }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::run;

    /// So long have they been running.
    fn aged(live: &Live, by: Duration) {
        for one in live.shown.borrow_mut().values_mut() {
            one.looked_at = one.looked_at.checked_sub(by).unwrap();
        }
    }

    fn ids(logs: &[AttemptLog]) -> Vec<i64> {
        logs.iter().map(|log| log.id.0).collect()
    }

    #[test]
    fn output_is_stored_when_there_is_more_of_it_and_not_of_the_young() {
        let (live, output) = (Live::default(), Captured::of_text("abc", "", 9));
        live.begin(&run(1, 1), Some(&output));
        live.begin(&run(2, 1), Some(&Captured::new(9, false)));
        live.begin(&run(3, 1), None);
        assert_eq!(live.printed(9, 99), []);
        aged(&live, YOUNG);
        let logs = live.printed(9, 99);
        assert_eq!((ids(&logs), logs[0].bytes, logs[0].attempt), (vec![1], 3, 1));
        live.settled(&logs);
        aged(&live, YOUNG);
        assert_eq!(live.printed(9, 99), [], "nothing more has been printed");
        live.begin(&run(1, 2), Some(&output));
        aged(&live, YOUNG);
        live.settled(&logs);
        assert_eq!(live.printed(9, 99)[0].epoch, Epoch(2), "another attempt");
        assert_eq!(live.end(&run(1, 2)), None);
        assert_eq!(live.printed(9, 99), []);
    }

    #[test]
    fn those_who_have_waited_longest_come_first_within_the_bounds() {
        let (live, output) = (Live::default(), Captured::of_text("abc", "", 9));
        for id in [3, 1, 2] {
            live.begin(&run(id, 1), Some(&output));
            aged(&live, YOUNG);
        }
        assert_eq!(ids(&live.printed(2, 99)), [3, 1]);
        assert_eq!(ids(&live.printed(9, 1)), [3]);
    }

    #[test]
    fn the_last_word_about_progress_counts_until_its_attempt_has_ended() {
        let live = Live::default();
        let said = |epoch, progress: &str| ProgressUpdate {
            id: RunId(1),
            epoch: Epoch(epoch),
            progress: progress.to_owned(),
        };
        live.begin(&run(1, 1), None);
        live.say(&run(1, 1), "a".to_owned());
        live.say(&run(1, 1), "b".to_owned());
        assert_eq!(live.take_said(9), [said(1, "b")]);
        assert_eq!(live.take_said(9), []);
        live.say(&run(1, 1), "c".to_owned());
        live.say_again(vec![said(1, "b")]);
        assert_eq!(live.end(&run(1, 1)), Some(said(1, "c")));
        live.say_again(vec![said(1, "b")]);
        assert_eq!(live.take_said(9), []);
    }
}
