//! What an operator asks with, and the answers. Times are microseconds since 1970, by the database's clock.

use std::time::Duration;

use reproq_model::{Epoch, RunId, RunStatus, WorkflowId};

use crate::{WaitsFor, WorkerSeen};

/// What a pause is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// All runs of a queue.
    Queue(&'a str),
    /// All runs of a task, by its path.
    Task(&'a str),
}

/// A pause in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Whether `name` is a task's path; else it is a queue.
    pub is_task: bool,
    /// The queue or task.
    pub name: String,
    /// Since when.
    pub paused_at: Option<i64>,
    /// The operator's words.
    pub reason: Option<String>,
    /// When it ends by itself.
    pub resume_at: Option<i64>,
}

/// A rate with its state: a row of `rate_limits`.
#[derive(Debug, Clone, PartialEq)]
pub struct RateRow {
    /// `global`, `queue:<name>`, `task:<path>` or `key:<key>`.
    pub key: String,
    /// Starts per second; 0 limits nothing.
    pub per_second: f64,
    /// Starts at the same moment after a rest.
    pub burst: i32,
    /// Whether the code of a task states it; else an operator has set it.
    pub stated: bool,
    /// See `reproq_model::rate`.
    pub tat: Option<i64>,
    /// When an operator set it.
    pub refilled_at: i64,
    /// When this was read.
    pub now: i64,
}

/// The word that counts about a key: an operator's, else the latest enqueue's.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyWord {
    /// `concurrency:<key>`, or a rate's key.
    pub key: String,
    /// Runs at the same time, or starts per second.
    pub amount: f64,
    /// For a rate.
    pub burst: i32,
    /// Whether an operator has said it.
    pub pinned: bool,
}

/// A time to move a run to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// This one.
    At(i64),
    /// So long from now.
    In(Duration),
}

/// What became of a [`crate::Operator::reschedule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rescheduled {
    /// It is to start then.
    Moved {
        /// READY or WAITING.
        status: RunStatus,
        /// Its new time.
        run_after: i64,
    },
    /// It has started or ended, and was left alone.
    Found(RunStatus),
    /// There is no such run.
    Unknown,
}

/// What became of a [`crate::Operator::replay`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// The new run.
    Made(RunId),
    /// The active run that stands for it.
    Twin(RunId),
    /// Twins came and went faster than they could be looked at.
    Contended,
    /// There is no such run.
    Unknown,
}

/// What became of one run of a [`crate::Operator::retry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAnswer {
    /// It is READY, or WAITING for runs of its workflow.
    Retried,
    /// It stays FAILED, because this active run stands for it.
    Twin(RunId),
    /// It stays FAILED, because this run of its workflow failed; it follows that one by itself. None: nobody knows which.
    Spoilt(Option<RunId>),
    /// It was in this state.
    Found(RunStatus),
    /// There is no such run.
    Unknown,
}

/// A FAILED run in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRun {
    /// The run.
    pub id: RunId,
    /// Its queue.
    pub queue_name: String,
    /// Its task.
    pub task_path: String,
    /// Attempts that it had.
    pub attempts: i32,
    /// Its budget.
    pub max_attempts: i32,
    /// When it failed.
    pub failed_at: Option<i64>,
    /// Why.
    pub last_error: Option<String>,
}

/// A run, whole.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the columns of task_runs; times in microseconds since 1970")]
pub struct RunFacts {
    pub id: RunId,
    pub status: RunStatus,
    pub queue_name: String,
    pub task_path: String,
    pub backend_alias: String,
    pub spec_hash: String,
    /// JSON text.
    pub spec: String,
    /// JSON text.
    pub errors: String,
    /// JSON text; see [`RunFacts::attempts_ended`].
    pub history: String,
    /// JSON text: what the running attempt says about how far it is.
    pub progress: Option<String>,
    /// The latest claim.
    pub epoch: Epoch,
    pub last_error: Option<String>,
    pub priority: i32,
    pub attempts: i32,
    pub max_attempts: i32,
    pub crash_count: i32,
    pub timeout_seconds: i64,
    /// See the schema; none unless READY.
    pub gate: Option<i32>,
    pub lock_key: Option<String>,
    pub concurrency_key: Option<String>,
    pub concurrency_limit: i32,
    pub fairness_key: Option<String>,
    pub rate_key: Option<String>,
    pub rate_per_second: Option<f64>,
    pub rate_burst: Option<i32>,
    pub cancel_requested: bool,
    pub leased_by: Option<String>,
    pub parent_id: Option<RunId>,
    pub wait_count: i32,
    pub workflow_id: Option<WorkflowId>,
    /// The step of its workflow that it counts for.
    pub step: Option<i32>,
    /// The step that it waits for.
    pub after_step: Option<i32>,
    pub enqueued_at: i64,
    pub run_after: Option<i64>,
    pub expires_at: Option<i64>,
    pub started_at: Option<i64>,
    pub last_attempted_at: Option<i64>,
    pub finished_at: Option<i64>,
    pub failed_at: Option<i64>,
    pub leased_until: Option<i64>,
    /// When this was read.
    pub now: i64,
}

/// A RUNNING run that holds a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The run.
    pub id: RunId,
    /// Whether it is the lock that it holds; else a slot of the limit.
    pub lock: bool,
    /// Its worker.
    pub worker_id: String,
    /// The start of its attempt.
    pub since: i64,
}

/// What decides whether a run starts.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The run itself.
    pub run: RunFacts,
    /// The pauses of its queue and of its task.
    pub pauses: Vec<Control>,
    /// Who holds its lock and the slots of its limit, itself included; at most two hundred.
    pub holders: Vec<Holder>,
    /// The words about its keys.
    pub words: Vec<KeyWord>,
    /// The rates that apply to it and have a row.
    pub rates: Vec<RateRow>,
    /// All workers that have made themselves known.
    pub workers: Vec<WorkerSeen>,
    /// RUNNING runs by worker.
    pub busy: Vec<(String, i64)>,
    /// The state of the run that it waits for.
    pub parent_status: Option<RunStatus>,
    /// Of a member of a workflow that waits, or was ended for the sake of another.
    pub waits_for: Option<WaitsFor>,
    /// READY runs before it in the same line, counted up to a thousand.
    pub ahead: i64,
}

/// The date by which runs are old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "columns of task_runs")]
pub enum PruneField {
    FinishedAt,
    UpdatedAt,
    EnqueuedAt,
    StartedAt,
    ExpiresAt,
}

/// Which runs a prune deletes.
#[derive(Debug, Clone)]
pub struct PruneWhat {
    /// In these states; RUNNING is none of them, whatever is listed.
    pub statuses: Vec<RunStatus>,
    /// Whose date is this.
    pub field: PruneField,
    /// And so long ago.
    pub older_than: Duration,
    /// Only count.
    pub dry_run: bool,
}

/// One step of a prune.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneStep {
    /// The last run that was looked at; none: there are no more.
    pub last: Option<RunId>,
    /// How many were deleted, or would be.
    pub pruned: u64,
    /// Keys of runs that have not ended, among those looked at: see [`crate::Operator::prune_words`].
    pub keys_in_use: Vec<String>,
}

/// Where a step through the logs has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStep {
    /// The run of the last log that was looked at.
    pub id: RunId,
    /// Its claim.
    pub epoch: Epoch,
}

/// One step of a prune of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneLogsStep {
    /// The last log that was looked at; none: there are no more.
    pub last: Option<LogStep>,
    /// How many were deleted, or would be.
    pub pruned: u64,
}

impl RunFacts {
    /// The last entry of its errors.
    #[must_use]
    pub fn last_entry(&self) -> serde_json::Value {
        let errors: Vec<serde_json::Value> = serde_json::from_str(&self.errors).unwrap_or_default();
        errors.last().cloned().unwrap_or_default()
    }

    /// Whether it is a member of a workflow that was ended for the sake of another.
    #[must_use]
    pub fn is_spoilt(&self) -> bool {
        self.status == RunStatus::Failed
            && self.after_step.is_some()
            && self.last_entry()["kind"] == "workflow_failed"
    }

    /// Every key that has a limit or a rate of its own.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys = vec![
            "global".to_owned(),
            format!("queue:{}", self.queue_name),
            format!("task:{}", self.task_path),
        ];
        keys.extend(self.concurrency_key.as_ref().map(|key| format!("concurrency:{key}")));
        keys.extend(self.rate_key.clone());
        keys
    }
}
