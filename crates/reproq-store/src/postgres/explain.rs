//! What an operator wants to know of one run, or of those that failed.

use reproq_model::{RunId, RunStatus};
use sqlx::{Row as _, query};

use super::workflows::optional_workflow_id;
use super::{PostgresStore, inspect, limits, operate, workflow_operate};
use crate::operator_rows::{failed_run, holder, run_facts};
use crate::rows::read_all;
use crate::{Explanation, FailedRun, Holder, RunFacts, StoreError};

pub(super) async fn failed(
    store: &PostgresStore,
    queue: Option<&str>,
    limit: u32,
) -> Result<Vec<FailedRun>, StoreError> {
    let rows = store
        .duties
        .run("failed", async |connection| {
            query(include_str!("sql/failed.sql"))
                .bind(queue)
                .bind(i64::from(limit))
                .fetch_all(connection)
                .await
        })
        .await?;
    read_all!("failed", rows, |row| failed_run!(row))
}

pub(super) async fn failed_after(
    store: &PostgresStore,
    after: RunId,
    queue: Option<&str>,
    limit: u32,
) -> Result<Vec<RunId>, StoreError> {
    let rows = store
        .duties
        .run("failed_after", async |connection| {
            query(include_str!("sql/failed_after.sql"))
                .bind(after.0)
                .bind(queue)
                .bind(i64::from(limit))
                .fetch_all(connection)
                .await
        })
        .await?;
    read_all!("failed_after", rows, |row| RunId(row.try_get("result_id")?))
}

pub(super) async fn run(store: &PostgresStore, id: RunId) -> Result<Option<RunFacts>, StoreError> {
    let rows = store
        .duties
        .run("one_run", async |connection| {
            query(include_str!("sql/one_run.sql")).bind(id.0).fetch_all(connection).await
        })
        .await?;
    read_all!("one_run", rows, |row| run_facts!(row, optional_workflow_id)).map(|mut runs| runs.pop())
}

pub(super) async fn explain(store: &PostgresStore, id: RunId) -> Result<Option<Explanation>, StoreError> {
    let Some(run) = run(store, id).await? else { return Ok(None) };
    let (parent_status, ahead) = surroundings(store, id).await?;
    let waits_for = match run.status {
        RunStatus::Waiting => workflow_operate::waits_for(store, &run).await?,
        RunStatus::Failed if run.is_spoilt() => workflow_operate::waits_for(store, &run).await?,
        _ => None,
    };
    let keys = run.keys();
    Ok(Some(Explanation {
        pauses: operate::controls(store, Some(&run.queue_name), Some(&run.task_path)).await?,
        holders: holders(store, &run).await?,
        words: limits::key_words(store, Some(&keys)).await?,
        rates: limits::rates(store, Some(&keys)).await?,
        workers: inspect::workers(store).await?,
        busy: busy(store).await?,
        waits_for,
        parent_status,
        ahead,
        run,
    }))
}

async fn surroundings(store: &PostgresStore, id: RunId) -> Result<(Option<RunStatus>, i64), StoreError> {
    store
        .duties
        .run("surroundings", async |connection| {
            let row =
                query(include_str!("sql/surroundings.sql")).bind(id.0).fetch_optional(connection).await?;
            let Some(row) = row else { return Ok((None, 0)) };
            let parent: Option<String> = row.try_get("parent_status")?;
            Ok((parent.and_then(|status| status.parse().ok()), row.try_get("ahead")?))
        })
        .await
}

async fn holders(store: &PostgresStore, run: &RunFacts) -> Result<Vec<Holder>, StoreError> {
    let rows = store
        .duties
        .run("holders", async |connection| {
            query(include_str!("sql/holders.sql"))
                .bind(run.lock_key.as_deref())
                .bind(run.concurrency_key.as_deref())
                .fetch_all(connection)
                .await
        })
        .await?;
    read_all!("holders", rows, |row| holder!(row))
}

async fn busy(store: &PostgresStore) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = store
        .duties
        .run("busy", async |connection| query(include_str!("sql/busy.sql")).fetch_all(connection).await)
        .await?;
    read_all!("busy", rows, |row| (row.try_get("worker_id")?, row.try_get("runs")?))
}
