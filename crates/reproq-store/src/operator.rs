//! What an operator does with the queue's database, besides what a worker does. Verbs of one run answer what they found, so
//! that nobody has to guess why nothing happened.

use std::time::Duration;

use async_trait::async_trait;
use reproq_model::RunId;

use crate::answers::{
    Control, Explanation, FailedRun, KeyWord, LogStep, Moment, PruneField, PruneLogsStep, PruneStep,
    PruneWhat, RateRow, Replayed, Rescheduled, RetryAnswer, RunFacts, Scope,
};
use crate::{LogPlace, RunLogs, Store, StoreError, WorkflowOperator};

/// What an operator does with the queue's database.
#[async_trait(?Send)]
pub trait Operator: Store + WorkflowOperator {
    /// Lets no run of the queue or task start, until it is resumed or `span` has passed. Pausing again replaces the pause.
    async fn pause(
        &self,
        scope: Scope<'_>,
        reason: Option<&str>,
        span: Option<Duration>,
    ) -> Result<(), StoreError>;

    /// Ends a pause and wakes the workers; whether there was one.
    async fn resume(&self, scope: Scope<'_>) -> Result<bool, StoreError>;

    /// The pauses that are in force.
    async fn controls(&self) -> Result<Vec<Control>, StoreError>;

    /// Sets the rate of a key, with its whole burst at once. A rate of 0 limits nothing.
    async fn set_rate(&self, key: &str, per_second: f64, burst: i32) -> Result<(), StoreError>;

    /// Pins how many runs of `concurrency:<key>` may run at the same time, whatever enqueues say. 0 is no limit.
    async fn set_limit(&self, key: &str, max: i32) -> Result<(), StoreError>;

    /// Rates that have a row, at most a thousand: those of `keys`, or of all.
    async fn rates(&self, keys: Option<&[String]>) -> Result<Vec<RateRow>, StoreError>;

    /// For each key the word that counts, at most a thousand: of `keys`, or of all.
    async fn key_words(&self, keys: Option<&[String]>) -> Result<Vec<KeyWord>, StoreError>;

    /// Takes back what an operator has said about a key; how many rows that were. What the code states comes to count again.
    async fn remove_limit(&self, key: &str) -> Result<u64, StoreError>;

    /// Moves the time of a run that has not started.
    async fn reschedule(&self, id: RunId, when: Moment) -> Result<Rescheduled, StoreError>;

    /// A new run of the same call, or the active run that stands for it.
    async fn replay(&self, source: RunId) -> Result<Replayed, StoreError>;

    /// The newest run with this spec.
    async fn newest_of(&self, spec_hash: &str) -> Result<Option<RunId>, StoreError>;

    /// FAILED -> READY with a full budget, for each run that has no active twin and was not ended for another's sake. A member of a
    /// workflow waits first for the step before it, if that is not over.
    async fn retry(&self, ids: &[RunId]) -> Result<Vec<(RunId, RetryAnswer)>, StoreError>;

    /// Ids of FAILED runs above `after`, ascending.
    async fn failed_after(
        &self,
        after: RunId,
        queue: Option<&str>,
        limit: u32,
    ) -> Result<Vec<RunId>, StoreError>;

    /// FAILED runs, the latest failure first.
    async fn failed(&self, queue: Option<&str>, limit: u32) -> Result<Vec<FailedRun>, StoreError>;

    /// Everything about one run.
    async fn run(&self, id: RunId) -> Result<Option<RunFacts>, StoreError>;

    /// What the attempts of a run have printed behind `after`; only that one's, if `attempt` is given. None: there is no such run.
    async fn logs(
        &self,
        id: RunId,
        attempt: Option<i32>,
        after: LogPlace,
    ) -> Result<Option<RunLogs>, StoreError>;

    /// Deletes, among the next few thousand logs behind `after`, those that nobody has added to for `older_than`, and those whose
    /// run is gone.
    async fn prune_logs_step(
        &self,
        older_than: Duration,
        after: LogStep,
        limit: u64,
        dry_run: bool,
    ) -> Result<PruneLogsStep, StoreError>;

    /// Deletes what matches among the next few thousand runs above `after`. Never a RUNNING one.
    async fn prune_step(&self, what: &PruneWhat, after: RunId, limit: u64) -> Result<PruneStep, StoreError>;

    /// Deletes a few thousand words about keys that count no longer, or are a day old and about none of the keys `in_use`; and
    /// states of rates that nobody has used for a day. How many rows that were: 0 when none is left.
    async fn prune_words(&self, in_use: &[String]) -> Result<u64, StoreError>;

    /// Forgets workers that have been silent for so long; how many.
    async fn prune_workers(&self, silent_for: Duration, dry_run: bool) -> Result<u64, StoreError>;

    /// Gives RUNNING runs that have no lease one that has ended, so that [`Store::finish`] may take them back; how many.
    async fn end_null_leases(&self, dry_run: bool) -> Result<u64, StoreError>;

    /// What decides whether a run starts, as it stands now. Reads only.
    async fn explain(&self, id: RunId) -> Result<Option<Explanation>, StoreError>;
}

impl PruneField {
    /// The column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FinishedAt => "finished_at",
            Self::UpdatedAt => "updated_at",
            Self::EnqueuedAt => "enqueued_at",
            Self::StartedAt => "started_at",
            Self::ExpiresAt => "expires_at",
        }
    }
}
