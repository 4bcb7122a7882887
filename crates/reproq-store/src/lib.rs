//! The database behind Reproq: one trait whose verbs are the moves of a run, and its two engines.
//!
//! The folders [`postgres`] and [`sqlite`] have the same files; each statement is a `.sql` file of its own, so a directory
//! diff shows what one engine does and the other does not. Nothing above this crate sees a row, a query or a dialect.
//!
//! Rules that hold in both: only the database's clock is used; each write after a claim matches the run, its RUNNING
//! state, the claim's epoch and the worker's incarnation; nothing here decides about retries or runs DDL.

mod acceptable;
mod advancing;
mod answers;
mod error;
mod history;
mod keyed;
mod operator;
mod operator_rows;
pub mod postgres;
mod rows;
mod runs;
mod schedule_rows;
mod schedules;
pub mod schema;
mod shared;
pub mod sqlite;
mod twins;
mod workflow_rows;
mod workflows;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use reproq_model::{Epoch, Incarnation, RunId};

pub use answers::{
    Control, Explanation, FailedRun, Holder, KeyWord, LogStep, Moment, PruneField, PruneLogsStep, PruneStep,
    PruneWhat, RateRow, Replayed, Rescheduled, RetryAnswer, RunFacts, Scope,
};
pub use error::StoreError;
pub use history::{AttemptEnded, KeptLog, LogPlace, RunLogs, Stream};
pub use operator::Operator;
pub use runs::{
    AttemptLog, Cancelled, Claim, ClaimRequest, ClaimedRun, Ending, ExpiredRun, Finished, Glance, OwnedRun,
    ProgressUpdate, QueueDepth, Registration, UnreadableRun, Wake, WorkerSeen,
};
pub use schedules::{Fired, Page, Schedules, Tick, TickSeen, Which};
pub use workflows::{
    Advanced, Culprit, Member, PruneWorkflowsStep, StepFacts, WaitsFor, WorkflowCancelled, WorkflowFacts,
    WorkflowOperator, Workflows,
};

/// What a worker does with the queue's database.
///
/// Futures are not `Send`: a worker runs on one thread.
#[async_trait(?Send)]
pub trait Store: Schedules + Workflows {
    /// Fails unless the schema is the one that this binary was built for.
    async fn check_schema(&self) -> Result<(), StoreError>;

    /// READY -> RUNNING for up to `request.limit` runs of `request.queues`, best first. Never waits for another worker's rows.
    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, StoreError>;

    /// The same for runs with a lock or a concurrency limit, visited key by key.
    async fn claim_keyed(&self, request: &ClaimRequest<'_>) -> Result<Claim, StoreError>;

    /// The queues that hold READY runs which are due, each once: what a worker whose queues are globs may claim from.
    async fn queue_names(&self) -> Result<Vec<String>, StoreError>;

    /// Opens the gate of runs that have become due, in whichever queue, and looks ahead in `queues`: see [`Glance`].
    async fn promote_due(&self, queues: &[String]) -> Result<Glance, StoreError>;

    /// RUNNING -> wherever each ending says, in one statement that waits for nobody. Safe to send again when an answer
    /// was lost.
    async fn finish(&self, fence: Fence, endings: &[Ending]) -> Result<Finished, StoreError>;

    /// Stores what attempts have printed so far, of runs that exist; what was looked at earlier never replaces what was looked at
    /// later. Waits for no run's row. How many it stored.
    async fn keep_logs(&self, logs: &[AttemptLog]) -> Result<u64, StoreError>;

    /// Stores how far attempts of `owner` are, unless they have ended. How many it stored: a row that somebody holds is passed
    /// over.
    async fn show_progress(&self, owner: Incarnation, said: &[ProgressUpdate]) -> Result<u64, StoreError>;

    /// Renews the leases of the incarnation that are a third gone, and returns everything that it owns. A row that somebody
    /// else holds at this moment is not renewed; its lease says how long it still holds.
    async fn heartbeat(&self, worker: &Registration, lease: Duration) -> Result<Vec<OwnedRun>, StoreError>;

    /// RUNNING runs of others whose lease has ended, at most `limit`; they are ended through [`Store::finish`]. The worker's
    /// own are not among them: their endings may be on their way.
    async fn expired(&self, worker: &Registration, limit: u32) -> Result<Vec<ExpiredRun>, StoreError>;

    /// RUNNING runs of one start of a worker, at most `limit`. When it has certainly ended, they are ended through
    /// [`Store::finish`] in its name.
    async fn held_by(&self, incarnation: Incarnation, limit: u32) -> Result<Vec<ExpiredRun>, StoreError>;

    /// Makes the worker known.
    async fn register(&self, worker: &Registration) -> Result<(), StoreError>;

    /// Makes it unknown.
    async fn deregister(&self, worker: &Registration) -> Result<(), StoreError>;

    /// Makes a start of a worker unknown that has ended without a word.
    async fn forget(&self, incarnation: Incarnation) -> Result<(), StoreError>;

    /// Says whether enqueues should wake this worker.
    async fn set_wants_wake(&self, worker: &Registration, wants: bool) -> Result<(), StoreError>;

    /// Returns when an enqueue or a cancellation has woken this worker. May return without cause, and may miss one: polling is
    /// the backstop.
    async fn woken(&self) -> Result<Wake, StoreError>;

    /// READY, WAITING -> CANCELLED. A RUNNING run is marked, and its worker is told. Waits for an ending that is being written
    /// and goes by what it leaves. Answers for each run that exists, in the order of their ids.
    async fn cancel(&self, runs: &[RunId]) -> Result<Vec<Cancelled>, StoreError>;

    /// What this incarnation runs and somebody wants cancelled.
    async fn cancellations(&self, worker: &Registration) -> Result<Vec<(RunId, Epoch)>, StoreError>;

    /// Sets the seconds of waiting that weigh as much as one point of priority, and puts READY runs in the new order.
    async fn set_priority_aging(&self, seconds: f64) -> Result<(), StoreError>;

    /// How many runs each queue holds in each state.
    async fn depths(&self) -> Result<Vec<QueueDepth>, StoreError>;

    /// The workers that have made themselves known.
    async fn workers(&self) -> Result<Vec<WorkerSeen>, StoreError>;
}

/// Whose runs a [`Store::finish`] may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// Those of this incarnation.
    Owner(Incarnation),
    /// Anybody's whose lease has ended, checked again in the same statement.
    LeaseEnded,
}

/// Where a queue lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address<'a> {
    /// A `postgres://` URL.
    Postgres(&'a str),
    /// A SQLite file.
    Sqlite(&'a Path),
}

/// Opens the store at `address`; fails if nobody answers there.
pub async fn connect(address: Address<'_>) -> Result<Rc<dyn Store>, StoreError> {
    Ok(match address {
        Address::Postgres(url) => Rc::new(postgres::PostgresStore::connect(url).await?),
        Address::Sqlite(path) => Rc::new(sqlite::SqliteStore::connect(path).await?),
    })
}

/// Opens the store at `address` for an operator; fails if nobody answers there.
pub async fn connect_operator(address: Address<'_>) -> Result<Rc<dyn Operator>, StoreError> {
    Ok(match address {
        Address::Postgres(url) => Rc::new(postgres::PostgresStore::connect(url).await?),
        Address::Sqlite(path) => Rc::new(sqlite::SqliteStore::connect(path).await?),
    })
}
