//! What an operator asks.

use sqlx::{Row as _, query};

use super::PostgresStore;
use crate::rows::{queue_depth, read_all, worker_seen};
use crate::{QueueDepth, StoreError, WorkerSeen};

pub(super) async fn depths(store: &PostgresStore) -> Result<Vec<QueueDepth>, StoreError> {
    let rows = store
        .duties
        .run("depths", async |connection| query(include_str!("sql/depths.sql")).fetch_all(connection).await)
        .await?;
    read_all!("depths", rows, |row| queue_depth!(row))
}

pub(super) async fn workers(store: &PostgresStore) -> Result<Vec<WorkerSeen>, StoreError> {
    let rows = store
        .duties
        .run("workers", async |connection| query(include_str!("sql/workers.sql")).fetch_all(connection).await)
        .await?;
    read_all!("workers", rows, |row| worker_seen!(row))
}
