//! Who owns what, and until when.

use std::time::Duration;

use reproq_model::{Epoch, RunId};
use sqlx::{Row as _, query};

use super::SqliteStore;
use super::link::modifier;
use crate::{ExpiredRun, OwnedRun, Registration, StoreError};

pub(super) async fn heartbeat(
    store: &SqliteStore,
    worker: &Registration,
    lease: Duration,
) -> Result<Vec<OwnedRun>, StoreError> {
    let incarnation = worker.incarnation.to_string();
    store
        .link
        .run("heartbeat", async |connection| {
            query(include_str!("sql/heartbeat.sql"))
                .bind(&incarnation)
                .bind(modifier(lease))
                .bind(modifier(lease * 2 / 3))
                .execute(&mut *connection)
                .await?;
            query(include_str!("sql/seen.sql"))
                .bind(&worker.worker_id)
                .bind(&incarnation)
                .execute(&mut *connection)
                .await?;
            let rows = query(include_str!("sql/owned.sql")).bind(&incarnation).fetch_all(connection).await?;
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

pub(super) async fn expired(store: &SqliteStore, limit: u32) -> Result<Vec<ExpiredRun>, StoreError> {
    store
        .link
        .run("expired", async |connection| {
            let rows = query(include_str!("sql/expired.sql")).bind(limit).fetch_all(connection).await?;
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
