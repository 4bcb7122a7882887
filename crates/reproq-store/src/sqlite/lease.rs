//! Who owns what, and until when.

use std::time::Duration;

use reproq_model::Incarnation;
use sqlx::{Row as _, query};

use super::SqliteStore;
use super::link::modifier;
use crate::rows::{expired_run, owned_run, read_all};
use crate::{ExpiredRun, OwnedRun, Registration, StoreError};

pub(super) async fn heartbeat(
    store: &SqliteStore,
    worker: &Registration,
    lease: Duration,
) -> Result<Vec<OwnedRun>, StoreError> {
    let incarnation = worker.incarnation.to_string();
    let rows = store
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
            query(include_str!("sql/owned.sql")).bind(&incarnation).fetch_all(connection).await
        })
        .await?;
    read_all!("heartbeat", rows, |row| owned_run!(row))
}

pub(super) async fn expired(
    store: &SqliteStore,
    worker: &Registration,
    limit: u32,
) -> Result<Vec<ExpiredRun>, StoreError> {
    let rows = store
        .link
        .run("expired", async |connection| {
            query(include_str!("sql/expired.sql"))
                .bind(limit)
                .bind(worker.incarnation.to_string())
                .fetch_all(connection)
                .await
        })
        .await?;
    read_all!("expired", rows, |row| expired_run!(row))
}

pub(super) async fn held_by(
    store: &SqliteStore,
    incarnation: Incarnation,
    limit: u32,
) -> Result<Vec<ExpiredRun>, StoreError> {
    let rows = store
        .link
        .run("held_by", async |connection| {
            query(include_str!("sql/held_by.sql"))
                .bind(incarnation.to_string())
                .bind(limit)
                .fetch_all(connection)
                .await
        })
        .await?;
    read_all!("held_by", rows, |row| expired_run!(row))
}
