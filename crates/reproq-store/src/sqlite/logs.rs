//! What attempts print, and how far they say that they are.

use reproq_model::{Incarnation, RunId};
use serde_json::{Value, json};
use sqlx::{Row as _, query};

use super::SqliteStore;
use crate::operator_rows::run_logs;
use crate::{AttemptLog, LogPlace, ProgressUpdate, RunLogs, StoreError, acceptable};

pub(super) async fn keep(store: &SqliteStore, logs: &[AttemptLog]) -> Result<u64, StoreError> {
    let row = |log: &AttemptLog| json!([log.id, log.epoch, log.attempt, log.chunks, log.bytes, log.dropped]);
    let batch = Value::from(logs.iter().map(row).collect::<Vec<_>>()).to_string();
    store
        .link
        .run("keep_logs", async |connection| {
            query(include_str!("sql/keep_logs.sql")).bind(batch).execute(connection).await
        })
        .await
        .map(|done| done.rows_affected())
}

pub(super) async fn show_progress(
    store: &SqliteStore,
    owner: Incarnation,
    said: &[ProgressUpdate],
) -> Result<u64, StoreError> {
    let row = |update: &ProgressUpdate| json!([update.id, update.epoch, acceptable::json(&update.progress)]);
    let batch = Value::from(said.iter().map(row).collect::<Vec<_>>()).to_string();
    store
        .link
        .run("show_progress", async |connection| {
            let statement = query(include_str!("sql/show_progress.sql"));
            statement.bind(batch).bind(owner.to_string()).execute(connection).await
        })
        .await
        .map(|done| done.rows_affected())
}

pub(super) async fn read(
    store: &SqliteStore,
    id: RunId,
    attempt: Option<i32>,
    after: LogPlace,
) -> Result<Option<RunLogs>, StoreError> {
    store
        .link
        .run("logs", async |connection| {
            let rows = query(include_str!("sql/logs.sql"))
                .bind(id.0)
                .bind(attempt)
                .bind(after.epoch.0)
                .bind(i64::try_from(after.bytes).unwrap_or(i64::MAX))
                .fetch_all(connection)
                .await?;
            Ok(run_logs!(rows))
        })
        .await
}
