//! Which queues there are.

use sqlx::{Row as _, query};

use super::SqliteStore;
use crate::StoreError;

pub(super) async fn names(store: &SqliteStore) -> Result<Vec<String>, StoreError> {
    let rows = store
        .link
        .run("queue_names", async |connection| {
            query(include_str!("sql/queue_names.sql")).fetch_all(connection).await
        })
        .await?;
    let names: Result<Vec<String>, sqlx::Error> = rows.iter().map(|row| row.try_get("queue_name")).collect();
    names.map_err(|error| StoreError::of("queue_names", error))
}
