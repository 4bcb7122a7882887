//! [`Operator`] for PostgreSQL: which file does what.

use std::time::Duration;

use async_trait::async_trait;
use reproq_model::{RunId, WorkflowId};

use super::{PostgresStore, explain, limits, logs, operate, prune, workflow_operate};
use crate::{
    Control, Explanation, FailedRun, KeyWord, LogPlace, LogStep, Member, Moment, Operator, PruneLogsStep,
    PruneStep, PruneWhat, PruneWorkflowsStep, RateRow, Replayed, Rescheduled, RetryAnswer, RunFacts, RunLogs,
    Scope, StoreError, WorkflowCancelled, WorkflowFacts, WorkflowOperator,
};

#[async_trait(?Send)]
impl Operator for PostgresStore {
    async fn pause(
        &self,
        scope: Scope<'_>,
        reason: Option<&str>,
        span: Option<Duration>,
    ) -> Result<(), StoreError> {
        operate::pause(self, scope, reason, span).await
    }

    async fn resume(&self, scope: Scope<'_>) -> Result<bool, StoreError> {
        operate::resume(self, scope).await
    }

    async fn controls(&self) -> Result<Vec<Control>, StoreError> {
        operate::controls(self, None, None).await
    }

    async fn set_rate(&self, key: &str, per_second: f64, burst: i32) -> Result<(), StoreError> {
        limits::set_rate(self, key, per_second, burst).await
    }

    async fn set_limit(&self, key: &str, max: i32) -> Result<(), StoreError> {
        limits::set_limit(self, key, max).await
    }

    async fn rates(&self, keys: Option<&[String]>) -> Result<Vec<RateRow>, StoreError> {
        limits::rates(self, keys).await
    }

    async fn key_words(&self, keys: Option<&[String]>) -> Result<Vec<KeyWord>, StoreError> {
        limits::key_words(self, keys).await
    }

    async fn remove_limit(&self, key: &str) -> Result<u64, StoreError> {
        limits::remove(self, key).await
    }

    async fn reschedule(&self, id: RunId, when: Moment) -> Result<Rescheduled, StoreError> {
        operate::reschedule(self, id, when).await
    }

    async fn replay(&self, source: RunId) -> Result<Replayed, StoreError> {
        operate::replay(self, source).await
    }

    async fn newest_of(&self, spec_hash: &str) -> Result<Option<RunId>, StoreError> {
        operate::newest_of(self, spec_hash).await
    }

    async fn retry(&self, ids: &[RunId]) -> Result<Vec<(RunId, RetryAnswer)>, StoreError> {
        operate::retry(self, ids).await
    }

    async fn failed_after(
        &self,
        after: RunId,
        queue: Option<&str>,
        limit: u32,
    ) -> Result<Vec<RunId>, StoreError> {
        explain::failed_after(self, after, queue, limit).await
    }

    async fn failed(&self, queue: Option<&str>, limit: u32) -> Result<Vec<FailedRun>, StoreError> {
        explain::failed(self, queue, limit).await
    }

    async fn run(&self, id: RunId) -> Result<Option<RunFacts>, StoreError> {
        explain::run(self, id).await
    }

    async fn logs(
        &self,
        id: RunId,
        attempt: Option<i32>,
        after: LogPlace,
    ) -> Result<Option<RunLogs>, StoreError> {
        logs::read(self, id, attempt, after).await
    }

    async fn prune_logs_step(
        &self,
        older_than: Duration,
        after: LogStep,
        limit: u64,
        dry_run: bool,
    ) -> Result<PruneLogsStep, StoreError> {
        prune::logs_step(self, older_than, after, limit, dry_run).await
    }

    async fn prune_step(&self, what: &PruneWhat, after: RunId, limit: u64) -> Result<PruneStep, StoreError> {
        prune::step(self, what, after, limit).await
    }

    async fn prune_words(&self, in_use: &[String]) -> Result<u64, StoreError> {
        prune::words(self, in_use).await
    }

    async fn prune_workers(&self, silent_for: Duration, dry_run: bool) -> Result<u64, StoreError> {
        prune::workers(self, silent_for, dry_run).await
    }

    async fn end_null_leases(&self, dry_run: bool) -> Result<u64, StoreError> {
        operate::end_null_leases(self, dry_run).await
    }

    async fn explain(&self, id: RunId) -> Result<Option<Explanation>, StoreError> {
        explain::explain(self, id).await
    }
}

#[async_trait(?Send)]
impl WorkflowOperator for PostgresStore {
    async fn workflow(&self, id: WorkflowId) -> Result<Option<WorkflowFacts>, StoreError> {
        workflow_operate::workflow(self, id).await
    }

    async fn workflow_members(
        &self,
        id: WorkflowId,
        after: RunId,
        limit: u32,
    ) -> Result<Vec<Member>, StoreError> {
        workflow_operate::members(self, id, after, limit).await
    }

    async fn cancel_workflow(&self, id: WorkflowId) -> Result<Option<WorkflowCancelled>, StoreError> {
        workflow_operate::cancel_workflow(self, id).await
    }

    async fn retry_workflow(&self, id: WorkflowId) -> Result<Option<u64>, StoreError> {
        workflow_operate::retry_workflow(self, id).await
    }

    async fn prune_workflows_step(
        &self,
        after: Option<WorkflowId>,
        dry_run: bool,
    ) -> Result<PruneWorkflowsStep, StoreError> {
        workflow_operate::prune_step(self, after, dry_run).await
    }
}
