//! What follows for a workflow from what has become of its runs. Pure: the store counts, this decides, the store writes.
//!
//! A workflow is a graph of *steps*: each of its runs counts for one step and waits for one at most. A step is over when none
//! of its runs is left to end; then those that wait for it start, unless one of them has ended badly and the workflow's policy
//! says that this spoils what comes after.

use std::fmt;
use std::str::FromStr;

use crate::status::UnknownStatus;

/// What a run that has ended badly does to those that wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// They fail at once.
    Fail,
    /// They start all the same.
    Continue,
}

impl Policy {
    /// The policy that the database names; what nobody knows spoils what comes after.
    #[must_use]
    pub fn named(text: &str) -> Self {
        if text == "continue" { Self::Continue } else { Self::Fail }
    }
}

/// A step as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepCount {
    /// Its runs that have not ended.
    pub pending: i32,
    /// Its runs that have ended badly.
    pub failed: i32,
    /// Whether runs that wait for it have been ended for its sake, and nothing of it is bad any more.
    pub mended: bool,
}

/// What is to be done about the runs that wait for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepMove {
    /// WAITING -> READY.
    Release,
    /// WAITING -> FAILED, and so everything behind them.
    Fail,
    /// Those that were ended for its sake: FAILED -> WAITING. Then the step is looked at again.
    Revive,
    /// They wait on.
    Nothing,
}

/// Decides about the runs that wait for a step. Asked twice about the same state it says the same, and doing it twice does no harm.
#[must_use]
pub const fn step_move(step: StepCount, policy: Policy) -> StepMove {
    match policy {
        Policy::Fail if step.failed > 0 => StepMove::Fail,
        _ if step.mended => StepMove::Revive,
        _ if step.pending <= 0 => StepMove::Release,
        _ => StepMove::Nothing,
    }
}

/// `workflow_runs.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkflowStatus {
    /// Its last step is not over.
    Running,
    /// Its last step has ended well.
    Successful,
    /// Its last step has not.
    Failed,
    /// Somebody cancelled it as a whole.
    Cancelled,
    /// Of the earlier system; nothing moves it.
    WaitingCallback,
}

impl WorkflowStatus {
    /// All states.
    pub const ALL: [Self; 5] =
        [Self::Running, Self::Successful, Self::Failed, Self::Cancelled, Self::WaitingCallback];

    /// The text in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Successful => "SUCCESSFUL",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::WaitingCallback => "WAITING_CALLBACK",
        }
    }

    /// Whether it is decided.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Successful | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for WorkflowStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for WorkflowStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        let known = Self::ALL.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| UnknownStatus(text.to_owned()))
    }
}

/// A workflow as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkflowCount {
    /// What it is.
    pub status: WorkflowStatus,
    /// Its runs.
    pub expected: i32,
    /// Those that have ended well.
    pub succeeded: i32,
    /// Those that have not.
    pub failed: i32,
    /// Runs of its last step that have not ended, and that have ended badly; none: nobody has said which step is the last.
    pub last: Option<(i32, i32)>,
}

impl WorkflowCount {
    /// Whether each of its runs has ended.
    #[must_use]
    pub const fn all_ended(self) -> bool {
        self.succeeded + self.failed >= self.expected
    }
}

/// What a workflow is: what its last step says, unless somebody has cancelled it.
#[must_use]
pub const fn status_of(workflow: WorkflowCount) -> WorkflowStatus {
    match (workflow.status, workflow.last) {
        (WorkflowStatus::Cancelled | WorkflowStatus::WaitingCallback, _) => workflow.status,
        (_, Some((pending, failed))) => match (pending > 0, failed > 0) {
            (true, _) => WorkflowStatus::Running,
            (false, true) => WorkflowStatus::Failed,
            (false, false) => WorkflowStatus::Successful,
        },
        (_, None) if !workflow.all_ended() => WorkflowStatus::Running,
        (_, None) if workflow.failed > 0 => WorkflowStatus::Failed,
        (_, None) => WorkflowStatus::Successful,
    }
}

/// What becomes of the run that a workflow has for the case of its failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It waits on.
    Wait,
    /// WAITING -> READY.
    Start,
    /// WAITING -> CANCELLED: there was no failure.
    Discard,
}

/// Decides about that run, when the workflow's state is `status`. It starts when nothing else of the workflow runs.
#[must_use]
pub const fn on_failure(status: WorkflowStatus, workflow: WorkflowCount) -> OnFailure {
    match status {
        _ if !workflow.all_ended() => OnFailure::Wait,
        WorkflowStatus::Failed => OnFailure::Start,
        WorkflowStatus::Successful => OnFailure::Discard,
        WorkflowStatus::Running | WorkflowStatus::Cancelled | WorkflowStatus::WaitingCallback => {
            OnFailure::Wait
        }
    }
}

#[cfg(test)]
#[path = "workflow_tests.rs"]
mod tests;
