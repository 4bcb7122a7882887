//! What goes into the store and comes out of it.

use std::time::Duration;

use reproq_model::admission::Verdict;
use reproq_model::{Epoch, Incarnation, RunId, RunStatus, Transition};

/// A worker as the database knows it.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Its name, unique among live workers.
    pub worker_id: String,
    /// This start of it.
    pub incarnation: Incarnation,
    /// The machine.
    pub hostname: String,
    /// The process.
    pub pid: u32,
    /// Its slots.
    pub concurrency: u32,
    /// The queues that it serves, as patterns: see `reproq_model::queues::serves`.
    pub queues: Vec<String>,
    /// The binary's version.
    pub version: &'static str,
}

/// Who claims, what, and for how long.
#[derive(Debug)]
pub struct ClaimRequest<'a> {
    /// The claimer.
    pub worker: &'a Registration,
    /// Names of the queues to claim from.
    pub queues: &'a [String],
    /// At most so many runs.
    pub limit: u32,
    /// How long the claim holds without a heartbeat.
    pub lease: Duration,
}

/// A run that a claim has made RUNNING.
#[derive(Debug, Clone)]
pub struct ClaimedRun {
    /// The run.
    pub id: RunId,
    /// This claim of it.
    pub epoch: Epoch,
    /// Attempts so far, this one included.
    pub attempts: i32,
    /// The retry budget.
    pub max_attempts: i32,
    /// How often it has killed its process.
    pub crash_count: i32,
    /// Its own timeout.
    pub timeout: Duration,
    /// The task.
    pub task_path: String,
    /// The queue it waited in.
    pub queue_name: String,
    /// The alias in the site's `TASKS`.
    pub backend_alias: String,
    /// JSON text, exactly as enqueued.
    pub spec: String,
    /// JSON text.
    pub worker_ids: String,
    /// JSON text.
    pub errors: String,
    /// JSON text.
    pub metadata: String,
    /// Microseconds since 1970.
    pub enqueued_at: i64,
    /// Start of the first attempt, microseconds since 1970.
    pub started_at: i64,
    /// Start of this attempt, microseconds since 1970.
    pub last_attempted_at: i64,
    /// Whether it starts, or ends at once and why.
    pub verdict: Verdict,
}

/// What a claim brought.
#[derive(Debug, Default)]
pub struct Claim {
    /// Runs, best first.
    pub runs: Vec<ClaimedRun>,
    /// Runs that were claimed and cannot be read: they must be ended, or they would be claimed for ever.
    pub unreadable: Vec<UnreadableRun>,
    /// Whether keys are left that this round has not visited.
    pub more: bool,
    /// How long until a rate lets the next run start, if one waits only for that.
    pub again_in: Option<Duration>,
}

/// A claimed run with a column that makes no sense, as another program may have written it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRun {
    /// The run.
    pub id: RunId,
    /// This claim of it.
    pub epoch: Epoch,
    /// What is wrong with it.
    pub reason: String,
}

/// What became of the endings of one [`crate::Store::finish`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// How many were written.
    pub written: u64,
    /// Those whose rows somebody else holds at this moment: to be sent again. All others were fenced.
    pub held: Vec<RunId>,
    /// Whether a workflow is to [`advance`](crate::Workflows::advance): a member of one has ended.
    pub of_workflows: bool,
}

/// One row of a [`crate::Store::finish`].
#[derive(Debug)]
pub struct Ending {
    /// The run.
    pub id: RunId,
    /// The claim that ends.
    pub epoch: Epoch,
    /// What follows.
    pub transition: Transition,
    /// Where the attempt's output was written.
    pub logs_uri: Option<String>,
}

/// What one attempt has printed so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptLog {
    /// The run.
    pub id: RunId,
    /// The attempt's claim.
    pub epoch: Epoch,
    /// The attempt's number.
    pub attempt: i32,
    /// JSON text: `[["o", "text"], ["e", "text"], ...]`, stdout and stderr in the order in which they were read.
    pub chunks: String,
    /// Bytes of text in it.
    pub bytes: u64,
    /// Bytes that came before them and are not kept.
    pub dropped: u64,
}

/// How far a running attempt says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressUpdate {
    /// The run.
    pub id: RunId,
    /// The attempt's claim.
    pub epoch: Epoch,
    /// A JSON object; the store adds the time.
    pub progress: String,
}

/// A run that an incarnation owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnedRun {
    /// The run.
    pub id: RunId,
    /// Its claim.
    pub epoch: Epoch,
    /// Whether somebody asked for its cancellation.
    pub cancel_requested: bool,
    /// How long its lease holds from now on.
    pub lease_left: Duration,
}

/// A run that somebody wanted cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled {
    /// The run.
    pub id: RunId,
    /// What it was.
    pub before: RunStatus,
    /// What it is: CANCELLED; RUNNING, when its worker has been asked to stop it; or how it had ended before.
    pub after: RunStatus,
}

/// What a worker is woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// There may be runs to claim.
    Work,
    /// Somebody wants a running run cancelled.
    Cancel,
    /// Schedules have changed.
    Schedule,
    /// Every worker is to look at the schedules once, also those that do not run them.
    Tick,
    /// The database cannot tell.
    Either,
}

/// A run whose worker has gone silent.
#[derive(Debug, Clone)]
pub struct ExpiredRun {
    /// The run.
    pub id: RunId,
    /// The claim that lapsed.
    pub epoch: Epoch,
    /// Attempts so far, the lapsed one included.
    pub attempts: i32,
    /// The retry budget.
    pub max_attempts: i32,
    /// How often it has killed its process.
    pub crash_count: i32,
    /// The silent worker.
    pub worker_id: String,
}

/// What a look at the waiting runs says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Glance {
    /// Runs that have just moved to the lane where a claim finds them.
    pub promoted: u64,
    /// Until the next one becomes due.
    pub next_due: Option<Duration>,
    /// Whether runs with a key wait in the queues that were asked about.
    pub keyed_waiting: bool,
}

/// How many runs of one queue are in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// The queue.
    pub queue_name: String,
    /// The state.
    pub status: RunStatus,
    /// Runs in it.
    pub count: i64,
    /// How many of them are READY and not due yet.
    pub scheduled: i64,
    /// For READY: how long the first in line has been eligible.
    pub oldest_age: Option<Duration>,
}

/// A registered worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSeen {
    /// Its name.
    pub worker_id: String,
    /// Its machine.
    pub hostname: String,
    /// Its slots.
    pub concurrency: i32,
    /// Its queues, as JSON text: a list of patterns, see `reproq_model::queues::serves`.
    pub queues: String,
    /// Its version.
    pub version: String,
    /// Since its last heartbeat.
    pub silent_for: Duration,
}
