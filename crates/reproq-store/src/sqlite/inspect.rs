//! What an operator asks.

use sqlx::{Row as _, query};

use super::SqliteStore;
use super::claim::micros;
use crate::{QueueDepth, StoreError, WorkerSeen};

pub(super) async fn depths(store: &SqliteStore) -> Result<Vec<QueueDepth>, StoreError> {
    let rows = store
        .link
        .run("depths", async |connection| query(include_str!("sql/depths.sql")).fetch_all(connection).await)
        .await?;
    rows.iter()
        .map(|row| {
            let status: String = row.try_get("status")?;
            Ok(QueueDepth {
                queue_name: row.try_get("queue_name")?,
                status: status.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
                count: row.try_get("runs")?,
                oldest_age: row.try_get::<Option<i64>, _>("oldest_us")?.map(micros),
            })
        })
        .collect::<Result<_, _>>()
        .map_err(|error| StoreError::of("depths", error))
}

pub(super) async fn workers(store: &SqliteStore) -> Result<Vec<WorkerSeen>, StoreError> {
    let rows = store
        .link
        .run("workers", async |connection| query(include_str!("sql/workers.sql")).fetch_all(connection).await)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(WorkerSeen {
                worker_id: row.try_get("worker_id")?,
                hostname: row.try_get("hostname")?,
                concurrency: row.try_get("concurrency")?,
                queues: row.try_get("queues")?,
                version: row.try_get("version")?,
                silent_for: micros(row.try_get("silent_us")?),
            })
        })
        .collect::<Result<_, _>>()
        .map_err(|error| StoreError::of("workers", error))
}
