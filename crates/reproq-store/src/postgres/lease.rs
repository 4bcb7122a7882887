//! Who owns what, and until when.

use std::time::Duration;

use reproq_model::Incarnation;
use sqlx::{Row as _, query};

use super::PostgresStore;
use crate::rows::{expired_run, owned_run, read_all};
use crate::{ExpiredRun, OwnedRun, Registration, StoreError};

pub(super) async fn heartbeat(
    store: &PostgresStore,
    worker: &Registration,
    lease: Duration,
) -> Result<Vec<OwnedRun>, StoreError> {
    let rows = store
        .duties
        .run("heartbeat", async |connection| {
            query(include_str!("sql/heartbeat.sql"))
                .bind(worker.incarnation.0)
                .bind(&worker.worker_id)
                .bind(lease.as_secs_f64())
                .fetch_all(connection)
                .await
        })
        .await?;
    read_all!("heartbeat", rows, |row| owned_run!(row))
}

pub(super) async fn expired(
    store: &PostgresStore,
    worker: &Registration,
    limit: u32,
) -> Result<Vec<ExpiredRun>, StoreError> {
    let rows = store
        .duties
        .run("expired", async |connection| {
            query(include_str!("sql/expired.sql"))
                .bind(i64::from(limit))
                .bind(worker.incarnation.0)
                .fetch_all(connection)
                .await
        })
        .await?;
    read_all!("expired", rows, |row| expired_run!(row))
}

pub(super) async fn held_by(
    store: &PostgresStore,
    incarnation: Incarnation,
    limit: u32,
) -> Result<Vec<ExpiredRun>, StoreError> {
    let rows = store
        .duties
        .run("held_by", async |connection| {
            query(include_str!("sql/held_by.sql"))
                .bind(incarnation.0)
                .bind(i64::from(limit))
                .fetch_all(connection)
                .await
        })
        .await?;
    read_all!("held_by", rows, |row| expired_run!(row))
}
