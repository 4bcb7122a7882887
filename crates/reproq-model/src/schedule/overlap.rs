//! What becomes of a tick while an earlier run of its schedule has not ended.

use crate::{RunId, RunStatus};

/// The policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Both run.
    Allow,
    /// There is no run.
    Skip,
    /// It waits until the earlier one has ended; a second one does not wait, it is skipped.
    QueueOne,
    /// The earlier one is cancelled, and this one starts when it has ended.
    CancelPrevious,
}

/// A run of an earlier tick that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    /// The run.
    pub id: RunId,
    /// READY, WAITING or RUNNING.
    pub status: RunStatus,
}

/// What becomes of the ticks of one look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// For each tick why it gets no run; none: it gets one.
    pub skipped: Vec<Option<String>>,
    /// Runs to cancel.
    pub cancel: Vec<RunId>,
}

impl Overlap {
    /// The policy of this name. Fails with those that there are.
    pub fn of(word: &str) -> Result<Self, String> {
        match word {
            "allow" => Ok(Self::Allow),
            "skip" => Ok(Self::Skip),
            "queue_one" => Ok(Self::QueueOne),
            "cancel_previous" => Ok(Self::CancelPrevious),
            _ => Err(format!("overlap is {word:?}; it may be allow, skip, queue_one or cancel_previous")),
        }
    }

    /// The lock of runs that have none of their own: under it one starts when the one before has ended.
    pub(super) fn lock_key(self, name: &str) -> Option<String> {
        matches!(self, Self::QueueOne | Self::CancelPrevious).then(|| format!("schedule:{name}"))
    }
}

/// Settles `ticks` ticks of a look, in their order; each is an earlier run to those behind it.
#[must_use]
pub fn settle(overlap: Overlap, earlier: &[Earlier], ticks: usize) -> Settled {
    let in_the_way = match overlap {
        Overlap::Allow => return Settled { skipped: vec![None; ticks], cancel: Vec::new() },
        Overlap::CancelPrevious => return cancel_all_but_last(earlier, ticks),
        Overlap::Skip => earlier.first(),
        Overlap::QueueOne => earlier.iter().find(|run| run.status != RunStatus::Running),
    };
    let word = if overlap == Overlap::Skip { "has not ended" } else { "already waits" };
    let reason = in_the_way.map(|run| format!("run {} {word}", run.id));
    let behind_the_first = || Some(format!("the run of an earlier tick {word}"));
    let skipped = (0..ticks).map(|number| match &reason {
        Some(reason) => Some(reason.clone()),
        None if number == 0 => None,
        None => behind_the_first(),
    });
    Settled { skipped: skipped.collect(), cancel: Vec::new() }
}

fn cancel_all_but_last(earlier: &[Earlier], ticks: usize) -> Settled {
    let skipped = (1..=ticks)
        .map(|number| (number < ticks).then(|| "a later tick has taken its place".to_owned()))
        .collect();
    let cancel = if ticks == 0 { Vec::new() } else { earlier.iter().map(|run| run.id).collect() };
    Settled { skipped, cancel }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: i64, status: RunStatus) -> Earlier {
        Earlier { id: RunId(id), status }
    }

    fn fires(overlap: Overlap, earlier: &[Earlier], ticks: usize) -> Vec<bool> {
        settle(overlap, earlier, ticks).skipped.iter().map(Option::is_none).collect()
    }

    #[test]
    fn without_an_earlier_run_one_tick_always_fires() {
        for overlap in [Overlap::Allow, Overlap::Skip, Overlap::QueueOne, Overlap::CancelPrevious] {
            assert_eq!(settle(overlap, &[], 1), Settled { skipped: vec![None], cancel: vec![] });
            assert_eq!(settle(overlap, &[], 0), Settled::default());
        }
    }

    #[test]
    fn each_policy_does_what_it_is_called() {
        let running = [run(7, RunStatus::Running)];
        let queued = [run(7, RunStatus::Running), run(8, RunStatus::Ready)];
        assert_eq!(fires(Overlap::Allow, &queued, 2), [true, true]);
        assert_eq!(fires(Overlap::Skip, &running, 2), [false, false]);
        assert_eq!(fires(Overlap::QueueOne, &running, 2), [true, false]);
        assert_eq!(fires(Overlap::QueueOne, &queued, 2), [false, false]);
        assert_eq!(fires(Overlap::CancelPrevious, &queued, 2), [false, true]);
        assert_eq!(settle(Overlap::CancelPrevious, &queued, 1).cancel, [RunId(7), RunId(8)]);
        assert_eq!(settle(Overlap::Skip, &running, 1).skipped, [Some("run 7 has not ended".to_owned())]);
        assert_eq!(settle(Overlap::QueueOne, &queued, 1).skipped, [Some("run 8 already waits".to_owned())]);
    }

    #[test]
    fn several_ticks_are_in_each_others_way() {
        assert_eq!(fires(Overlap::Skip, &[], 3), [true, false, false]);
        assert_eq!(fires(Overlap::QueueOne, &[], 3), [true, false, false]);
        assert_eq!(fires(Overlap::CancelPrevious, &[], 3), [false, false, true]);
    }

    #[test]
    fn an_unknown_policy_is_told() {
        assert!(Overlap::of("never").unwrap_err().contains("cancel_previous"));
    }
}
