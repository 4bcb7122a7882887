//! Deleting what nobody needs any more.

use std::time::Duration;

use reproq_model::RunId;
use sqlx::{Row as _, query};

use super::PostgresStore;
use crate::operator_rows::last_log;
use crate::{LogStep, PruneLogsStep, PruneStep, PruneWhat, StoreError, acceptable};

/// Rows of one step: milliseconds.
const STEP: i64 = 5000;

pub(super) async fn step(
    store: &PostgresStore,
    what: &PruneWhat,
    after: RunId,
    limit: u64,
) -> Result<PruneStep, StoreError> {
    let statuses: Vec<&str> = what.statuses.iter().map(|status| status.as_str()).collect();
    store
        .duties
        .run("prune", async |connection| {
            let row = query(include_str!("sql/prune.sql"))
                .bind(after.0)
                .bind(STEP)
                .bind(statuses)
                .bind(what.field.as_str())
                .bind(acceptable::wait(what.older_than).as_secs_f64())
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .bind(what.dry_run)
                .fetch_one(connection)
                .await?;
            let keys: Option<String> = row.try_get("keys_in_use")?;
            Ok(PruneStep {
                last: row.try_get::<Option<i64>, _>("last_id")?.map(RunId),
                pruned: u64::try_from(row.try_get::<i64, _>("pruned")?).unwrap_or_default(),
                keys_in_use: keys.and_then(|keys| serde_json::from_str(&keys).ok()).unwrap_or_default(),
            })
        })
        .await
}

pub(super) async fn words(store: &PostgresStore, in_use: &[String]) -> Result<u64, StoreError> {
    store
        .duties
        .run("prune_words", async |connection| {
            let words = query(include_str!("sql/prune_words.sql"))
                .bind(in_use)
                .bind(STEP)
                .execute(&mut *connection)
                .await?;
            let rates = query(include_str!("sql/prune_rates.sql")).bind(STEP).execute(connection).await?;
            Ok(words.rows_affected() + rates.rows_affected())
        })
        .await
}

pub(super) async fn workers(
    store: &PostgresStore,
    silent_for: Duration,
    dry_run: bool,
) -> Result<u64, StoreError> {
    store
        .duties
        .run("prune_workers", async |connection| {
            let row = query(include_str!("sql/prune_workers.sql"))
                .bind(acceptable::wait(silent_for).as_secs_f64())
                .bind(dry_run)
                .fetch_one(connection)
                .await?;
            Ok(u64::try_from(row.try_get::<i64, _>("workers")?).unwrap_or_default())
        })
        .await
}

pub(super) async fn logs_step(
    store: &PostgresStore,
    older_than: Duration,
    after: LogStep,
    limit: u64,
    dry_run: bool,
) -> Result<PruneLogsStep, StoreError> {
    store
        .duties
        .run("prune_logs", async |connection| {
            let row = query(include_str!("sql/prune_logs.sql"))
                .bind(after.id.0)
                .bind(after.epoch.0)
                .bind(STEP)
                .bind(acceptable::wait(older_than).as_secs_f64())
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .bind(dry_run)
                .fetch_one(connection)
                .await?;
            Ok(PruneLogsStep {
                last: last_log!(row),
                pruned: u64::try_from(row.try_get::<i64, _>("pruned")?).unwrap_or_default(),
            })
        })
        .await
}
