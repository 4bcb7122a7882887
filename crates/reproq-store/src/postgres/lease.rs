//! Who owns what, and until when.

use std::time::Duration;

use reproq_model::{Epoch, RunId};
use sqlx::{Row as _, query};

use super::PostgresStore;
use crate::{ExpiredRun, OwnedRun, Registration, StoreError};

pub(super) async fn heartbeat(
    store: &PostgresStore,
    worker: &Registration,
    lease: Duration,
) -> Result<Vec<OwnedRun>, StoreError> {
    store
        .duties
        .run("heartbeat", async |connection| {
            let rows = query(include_str!("sql/heartbeat.sql"))
                .bind(worker.incarnation.0)
                .bind(&worker.worker_id)
                .bind(lease.as_secs_f64())
                .fetch_all(connection)
                .await?;
            rows.iter()
                .map(|row| {
                    Ok(OwnedRun {
                        id: RunId(row.try_get("result_id")?),
                        epoch: Epoch(row.try_get("epoch")?),
                        cancel_requested: row.try_get("cancel_requested")?,
                    })
                })
                .collect()
        })
        .await
}

pub(super) async fn expired(store: &PostgresStore, limit: u32) -> Result<Vec<ExpiredRun>, StoreError> {
    store
        .duties
        .run("expired", async |connection| {
            let rows =
                query(include_str!("sql/expired.sql")).bind(i64::from(limit)).fetch_all(connection).await?;
            rows.iter()
                .map(|row| {
                    Ok(ExpiredRun {
                        id: RunId(row.try_get("result_id")?),
                        epoch: Epoch(row.try_get("epoch")?),
                        attempts: row.try_get("attempts")?,
                        max_attempts: row.try_get("max_attempts")?,
                        crash_count: row.try_get("crash_count")?,
                        worker_id: row.try_get("worker_id")?,
                    })
                })
                .collect()
        })
        .await
}
