//! Workflows: what a worker does for them, and an operator with them. What becomes of members is written down by whoever ends them, in the same transaction;
//! any worker counts it, one at a time for each workflow, and lets go of what waits.

use std::time::Duration;

use async_trait::async_trait;
use reproq_model::workflow::Policy;
use reproq_model::{RunId, RunStatus, WorkflowId, WorkflowStatus};

use crate::StoreError;

/// What a worker does for workflows.
#[async_trait(?Send)]
pub trait Workflows {
    /// Counts what has become of members of workflows, and does what follows for those that wait: one transaction, bounded, that
    /// waits for nobody. What it does not come to, because there is more or because somebody holds a row, is done by the next.
    async fn advance(&self) -> Result<Advanced, StoreError>;

    /// Looks at unfinished workflows that have been quiet for so long whether what is stored of them is what their runs say, and
    /// puts right what is not; the next [`Workflows::advance`] does what follows. Does nothing if any worker has looked within
    /// `quiet`. Answers with those that were wrong: none ever, unless somebody goes around the triggers.
    async fn sweep_workflows(&self, quiet: Duration) -> Result<Vec<WorkflowId>, StoreError>;
}

/// What one [`Workflows::advance`] has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advanced {
    /// Ends, revivals and losses of members that it counted.
    pub counted: u64,
    /// The queues of runs that have become READY.
    pub released: Vec<String>,
    /// Whether more is left than one transaction takes.
    pub more: bool,
    /// Whether something is left because somebody else holds it.
    pub held: bool,
}

/// What an operator does with workflows.
#[async_trait(?Send)]
pub trait WorkflowOperator {
    /// What is counted of a workflow, step by step.
    async fn workflow(&self, id: WorkflowId) -> Result<Option<WorkflowFacts>, StoreError>;

    /// Its runs above `after`, ascending.
    async fn workflow_members(
        &self,
        id: WorkflowId,
        after: RunId,
        limit: u32,
    ) -> Result<Vec<Member>, StoreError>;

    /// RUNNING -> CANCELLED, and all its runs that have not ended are cancelled, in batches: what waits first. None: there is no
    /// such workflow.
    async fn cancel_workflow(&self, id: WorkflowId) -> Result<Option<WorkflowCancelled>, StoreError>;

    /// Runs everything again that has ended badly by itself; what was ended for its sake follows. None: there is no such workflow.
    async fn retry_workflow(&self, id: WorkflowId) -> Result<Option<u64>, StoreError>;

    /// Deletes workflows that are over and whose runs are all gone, among the next few thousand behind `after`.
    async fn prune_workflows_step(
        &self,
        after: Option<WorkflowId>,
        dry_run: bool,
    ) -> Result<PruneWorkflowsStep, StoreError>;
}

/// A workflow, as it is counted. Times are microseconds since 1970, by the database's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowFacts {
    /// The workflow.
    pub id: WorkflowId,
    /// What it is.
    pub status: WorkflowStatus,
    /// What a failed member does to those that wait for it.
    pub policy: Policy,
    /// Its runs, but for the one for the case of its failure.
    pub expected: i32,
    /// Those that have ended well.
    pub succeeded: i32,
    /// Those that have not.
    pub failed: i32,
    /// With it the workflow ends.
    pub final_step: Option<i32>,
    /// The callback, if it is a chord.
    pub callback: Option<RunId>,
    /// The run for the case of its failure.
    pub on_failure: Option<RunId>,
    /// Ends of members that have not been counted yet; a thousand: or more.
    pub uncounted: i64,
    /// When it was enqueued.
    pub created_at: i64,
    /// When it ended.
    pub finished_at: Option<i64>,
    /// When this was read.
    pub now: i64,
    /// Its steps; none in a workflow of the earlier system.
    pub steps: Vec<StepFacts>,
}

/// A step of a workflow, as it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFacts {
    /// Its number.
    pub step: i32,
    /// Runs that have not ended.
    pub pending: i32,
    /// Runs that have ended badly.
    pub failed: i32,
    /// The run for whose sake what waits for the step has failed.
    pub culprit: Option<Culprit>,
}

/// A run that others have failed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Culprit {
    /// The run.
    pub id: RunId,
    /// Its task; none: the run is gone.
    pub task_path: Option<String>,
    /// Its state.
    pub status: Option<RunStatus>,
    /// Why it has ended.
    pub last_error: Option<String>,
}

/// A run of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The run.
    pub id: RunId,
    /// Its state.
    pub status: RunStatus,
    /// Its queue.
    pub queue_name: String,
    /// Its task.
    pub task_path: String,
    /// The step that it counts for.
    pub step: Option<i32>,
    /// The step that it waits for.
    pub after_step: Option<i32>,
    /// What went wrong.
    pub last_error: Option<String>,
}

/// What became of a [`WorkflowOperator::cancel_workflow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkflowCancelled {
    /// What the workflow is: CANCELLED, or how it had ended before.
    pub status: WorkflowStatus,
    /// Runs that have ended here and now.
    pub cancelled: u64,
    /// Running ones whose workers have been asked.
    pub requested: u64,
}

/// What keeps a member of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitsFor {
    /// What is counted of its workflow; only the step that it waits for is among the steps.
    pub workflow: WorkflowFacts,
    /// Runs of that step that have not ended, or have ended badly; at most six.
    pub runs: Vec<Member>,
}

/// One step of a prune of workflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneWorkflowsStep {
    /// The last one that was looked at; none: there are no more.
    pub last: Option<WorkflowId>,
    /// How many were deleted, or would be.
    pub pruned: u64,
}
