//! The workers' register, and the facts about the schema.

use reproq_model::Incarnation;
use sqlx::{Connection as _, Row as _, query};

use super::PostgresStore;
use crate::{Registration, StoreError, schema};

pub(super) async fn check_schema(store: &PostgresStore) -> Result<(), StoreError> {
    let found = store
        .duties
        .run("schema_version", async |connection| {
            let exists: bool =
                query(include_str!("sql/schema_exists.sql")).fetch_one(&mut *connection).await?.try_get(0)?;
            if !exists {
                return Ok(None);
            }
            let row = query(include_str!("sql/schema_version.sql")).fetch_optional(connection).await?;
            row.map(|row| row.try_get(0)).transpose()
        })
        .await?;
    Ok(schema::compare(found)?)
}

pub(super) async fn register(store: &PostgresStore, worker: &Registration) -> Result<(), StoreError> {
    let queues = serde_json::Value::from(worker.queues.clone()).to_string();
    store
        .duties
        .run("register", async |connection| {
            query(include_str!("sql/register.sql"))
                .bind(&worker.worker_id)
                .bind(worker.incarnation.0)
                .bind(&worker.hostname)
                .bind(worker.pid.cast_signed())
                .bind(worker.concurrency.cast_signed())
                .bind(queues)
                .bind(worker.version)
                .bind(!store.route.is_pooled())
                .execute(connection)
                .await
        })
        .await
        .map(drop)
}

pub(super) async fn deregister(store: &PostgresStore, worker: &Registration) -> Result<(), StoreError> {
    store
        .duties
        .run("deregister", async |connection| {
            query(include_str!("sql/deregister.sql"))
                .bind(&worker.worker_id)
                .bind(worker.incarnation.0)
                .execute(connection)
                .await
        })
        .await
        .map(drop)
}

pub(super) async fn forget(store: &PostgresStore, incarnation: Incarnation) -> Result<(), StoreError> {
    store
        .duties
        .run("forget", async |connection| {
            query(include_str!("sql/forget.sql")).bind(incarnation.0).execute(connection).await
        })
        .await
        .map(drop)
}

pub(super) async fn set_wants_wake(
    store: &PostgresStore,
    worker: &Registration,
    wants: bool,
) -> Result<(), StoreError> {
    store
        .duties
        .run("wants_wake", async |connection| {
            query(include_str!("sql/wants_wake.sql"))
                .bind(&worker.worker_id)
                .bind(worker.incarnation.0)
                // Through a pooler nobody hears: let no enqueue pay for it.
                .bind(wants && !store.route.is_pooled())
                .execute(connection)
                .await
        })
        .await
        .map(drop)
}

pub(super) async fn set_priority_aging(store: &PostgresStore, seconds: f64) -> Result<(), StoreError> {
    store
        .duties
        .run("set_aging", async |connection| {
            let mut transaction = connection.begin().await?;
            let changed = query(include_str!("sql/set_aging.sql"))
                .bind(seconds.to_string())
                .execute(&mut *transaction)
                .await?;
            if changed.rows_affected() > 0 {
                query(include_str!("sql/reorder_ready.sql")).execute(&mut *transaction).await?;
            }
            transaction.commit().await
        })
        .await
}
