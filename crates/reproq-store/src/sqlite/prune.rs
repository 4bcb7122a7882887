//! Deleting what nobody needs any more.

use std::time::Duration;

use reproq_model::RunId;
use sqlx::{Row as _, query};

use super::SqliteStore;
use crate::operator_rows::last_log;
use crate::{LogStep, PruneLogsStep, PruneStep, PruneWhat, StoreError, acceptable};

/// Rows of one step: milliseconds.
const STEP: i64 = 5000;

pub(super) async fn step(
    store: &SqliteStore,
    what: &PruneWhat,
    after: RunId,
    limit: u64,
) -> Result<PruneStep, StoreError> {
    let statuses: Vec<&str> = what.statuses.iter().map(|status| status.as_str()).collect();
    let statuses = serde_json::Value::from(statuses).to_string();
    store
        .link
        .run("prune", async |connection| {
            let row = query(include_str!("sql/prune_slice.sql"))
                .bind(after.0)
                .bind(STEP)
                .bind(&statuses)
                .bind(what.field.as_str())
                .bind(ago(what.older_than))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_one(&mut *connection)
                .await?;
            let ids: String = row.try_get("ids")?;
            let found = serde_json::from_str::<Vec<i64>>(&ids).map_or(0, |ids| ids.len() as u64);
            let pruned = if what.dry_run || found == 0 {
                found
            } else {
                query(include_str!("sql/prune.sql"))
                    .bind(ids)
                    .bind(&statuses)
                    .execute(connection)
                    .await?
                    .rows_affected()
            };
            Ok(PruneStep {
                last: row.try_get::<Option<i64>, _>("last_id")?.map(RunId),
                pruned,
                keys_in_use: serde_json::from_str(&row.try_get::<String, _>("keys_in_use")?)
                    .unwrap_or_default(),
            })
        })
        .await
}

/// A span as SQLite's date functions subtract it.
fn ago(span: Duration) -> String {
    format!("-{:.3} seconds", acceptable::wait(span).as_secs_f64())
}

pub(super) async fn words(store: &SqliteStore, in_use: &[String]) -> Result<u64, StoreError> {
    store
        .link
        .run("prune_words", async |connection| {
            let words = query(include_str!("sql/prune_words.sql"))
                .bind(serde_json::Value::from(in_use).to_string())
                .bind(STEP)
                .execute(&mut *connection)
                .await?;
            let rates = query(include_str!("sql/prune_rates.sql")).bind(STEP).execute(connection).await?;
            Ok(words.rows_affected() + rates.rows_affected())
        })
        .await
}

pub(super) async fn workers(
    store: &SqliteStore,
    silent_for: Duration,
    dry_run: bool,
) -> Result<u64, StoreError> {
    store
        .link
        .run("prune_workers", async |connection| {
            if dry_run {
                let row = query(include_str!("sql/silent_workers.sql"))
                    .bind(ago(silent_for))
                    .fetch_one(connection)
                    .await?;
                return Ok(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default());
            }
            let gone = query(include_str!("sql/prune_workers.sql"))
                .bind(ago(silent_for))
                .execute(connection)
                .await?;
            Ok(gone.rows_affected())
        })
        .await
}

pub(super) async fn logs_step(
    store: &SqliteStore,
    older_than: Duration,
    after: LogStep,
    limit: u64,
    dry_run: bool,
) -> Result<PruneLogsStep, StoreError> {
    store
        .link
        .run("prune_logs", async |connection| {
            let row = query(include_str!("sql/prune_logs_slice.sql"))
                .bind(after.id.0)
                .bind(after.epoch.0)
                .bind(STEP)
                .bind(ago(older_than))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_one(&mut *connection)
                .await?;
            let places: String = row.try_get("places")?;
            let found = serde_json::from_str::<Vec<i64>>(&places).map_or(0, |places| places.len() as u64);
            let pruned = if dry_run || found == 0 {
                found
            } else {
                query(include_str!("sql/prune_logs.sql"))
                    .bind(places)
                    .execute(connection)
                    .await?
                    .rows_affected()
            };
            Ok(PruneLogsStep { last: last_log!(row), pruned })
        })
        .await
}
