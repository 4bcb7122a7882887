//! What attempts print, and how far they say that they are.

use std::borrow::Cow;

use reproq_model::{Incarnation, RunId};
use sqlx::{Row as _, query};

use super::PostgresStore;
use crate::operator_rows::run_logs;
use crate::{AttemptLog, LogPlace, ProgressUpdate, RunLogs, StoreError, acceptable};

/// On the endings' connection: a log of many bytes must not delay a heartbeat, and one that is stored while its attempt runs
/// never meets the one that is stored at its end.
pub(super) async fn keep(store: &PostgresStore, logs: &[AttemptLog]) -> Result<u64, StoreError> {
    // By id, so that two batches that meet take their rows in the same order; the last of two of one claim.
    let mut sorted: Vec<&AttemptLog> = logs.iter().collect();
    sorted.sort_by_key(|log| (log.id, log.epoch, log.bytes + log.dropped));
    sorted.reverse();
    sorted.dedup_by_key(|log| (log.id, log.epoch));
    sorted.reverse();
    let count = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let ids: Vec<i64> = sorted.iter().map(|log| log.id.0).collect();
    let epochs: Vec<i32> = sorted.iter().map(|log| log.epoch.0).collect();
    let attempts: Vec<i32> = sorted.iter().map(|log| log.attempt).collect();
    let chunks: Vec<&str> = sorted.iter().map(|log| log.chunks.as_str()).collect();
    let bytes: Vec<i64> = sorted.iter().map(|log| count(log.bytes)).collect();
    let dropped: Vec<i64> = sorted.iter().map(|log| count(log.dropped)).collect();
    store
        .endings
        .run("keep_logs", async |connection| {
            let kept = query(include_str!("sql/keep_logs.sql"))
                .bind(ids)
                .bind(epochs)
                .bind(attempts)
                .bind(chunks)
                .bind(bytes)
                .bind(dropped)
                .execute(connection)
                .await?;
            Ok(kept.rows_affected())
        })
        .await
}

pub(super) async fn show_progress(
    store: &PostgresStore,
    owner: Incarnation,
    said: &[ProgressUpdate],
) -> Result<u64, StoreError> {
    let ids: Vec<i64> = said.iter().map(|update| update.id.0).collect();
    let epochs: Vec<i32> = said.iter().map(|update| update.epoch.0).collect();
    let progress: Vec<Cow<'_, str>> = said.iter().map(|update| acceptable::json(&update.progress)).collect();
    store
        .duties
        .run("show_progress", async |connection| {
            let shown = query(include_str!("sql/show_progress.sql"))
                .bind(ids)
                .bind(epochs)
                .bind(progress)
                .bind(owner.0)
                .execute(connection)
                .await?;
            Ok(shown.rows_affected())
        })
        .await
}

pub(super) async fn read(
    store: &PostgresStore,
    id: RunId,
    attempt: Option<i32>,
    after: LogPlace,
) -> Result<Option<RunLogs>, StoreError> {
    store
        .duties
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
