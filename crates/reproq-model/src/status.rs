//! The states of a run and the moves between them. Every statement that changes `task_runs.status` makes one of these
//! moves; a pair that is not listed is a bug.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// `task_runs.status`, spelled as the earlier system spelled it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunStatus {
    /// Waits for its time, its key, or a free slot.
    Ready,
    /// A worker holds its lease.
    Running,
    /// Waits for other runs of its workflow.
    Waiting,
    /// Ended, with a return value.
    Successful,
    /// Ended, with an error and no attempts left.
    Failed,
    /// Ended because somebody said so.
    Cancelled,
}

/// What can happen to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A worker takes it: the epoch rises.
    Claim,
    /// The attempt returned.
    Succeed,
    /// The attempt failed and there is no other.
    Fail,
    /// The attempt failed and there is another.
    Retry,
    /// The worker gives it back untouched: a drain, or a claim whose answer was lost.
    Release,
    /// Somebody cancels it.
    Cancel,
    /// The last run that it waited for succeeded.
    Unblock,
    /// An operator runs it again.
    Replay,
    /// What it waited for runs again, so it waits again.
    Rejoin,
}

/// A move that the graph does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a {status} run cannot {event:?}")]
pub struct IllegalMove {
    /// Where the run stands.
    pub status: RunStatus,
    /// What was asked of it.
    pub event: Event,
}

impl Event {
    /// All events.
    pub const ALL: [Self; 9] = [
        Self::Claim,
        Self::Succeed,
        Self::Fail,
        Self::Retry,
        Self::Release,
        Self::Cancel,
        Self::Unblock,
        Self::Replay,
        Self::Rejoin,
    ];
}

impl RunStatus {
    /// All states, in the order of a run's life.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Ready, Self::Running, Self::Successful, Self::Failed, Self::Cancelled];

    /// The text in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Running => "RUNNING",
            Self::Waiting => "WAITING",
            Self::Successful => "SUCCESSFUL",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// Whether the run has ended for good (an operator's replay aside).
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Successful | Self::Failed | Self::Cancelled)
    }

    /// The state after `event`.
    #[expect(clippy::match_same_arms, reason = "a line per event is what a reader looks for")]
    pub const fn after(self, event: Event) -> Result<Self, IllegalMove> {
        match (self, event) {
            (Self::Ready, Event::Claim) => Ok(Self::Running),
            (Self::Running, Event::Succeed) => Ok(Self::Successful),
            (Self::Running | Self::Waiting | Self::Ready, Event::Fail) => Ok(Self::Failed),
            (Self::Running, Event::Retry | Event::Release) => Ok(Self::Ready),
            (Self::Running | Self::Waiting | Self::Ready, Event::Cancel) => Ok(Self::Cancelled),
            (Self::Waiting, Event::Unblock) => Ok(Self::Ready),
            (Self::Failed | Self::Cancelled | Self::Successful, Event::Replay) => Ok(Self::Ready),
            (Self::Failed | Self::Cancelled, Event::Rejoin) => Ok(Self::Waiting),
            (status, event) => Err(IllegalMove { status, event }),
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A text that is no state of a run, or of a workflow.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no state")]
pub struct UnknownStatus(pub(crate) String);

impl FromStr for RunStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| UnknownStatus(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whoever_wants_it_again_leaves_a_terminal_state() {
        for status in RunStatus::ALL.into_iter().filter(|status| status.is_terminal()) {
            for event in Event::ALL {
                let leaves =
                    event == Event::Replay || (event == Event::Rejoin && status != RunStatus::Successful);
                assert_eq!(status.after(event).is_ok(), leaves, "{status} {event:?}");
            }
        }
    }

    #[test]
    fn every_open_state_can_reach_an_end() {
        for status in RunStatus::ALL.into_iter().filter(|status| !status.is_terminal()) {
            assert!(
                Event::ALL.iter().any(|event| status.after(*event).is_ok_and(RunStatus::is_terminal)),
                "{status}"
            );
        }
    }

    #[test]
    fn texts_of_the_database_read_back() {
        for status in RunStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        assert!("ready".parse::<RunStatus>().is_err());
    }

    #[test]
    fn a_running_run_cannot_be_claimed_again() {
        let refused = RunStatus::Running.after(Event::Claim).unwrap_err();
        assert_eq!(refused.to_string(), "a RUNNING run cannot Claim");
    }
}
