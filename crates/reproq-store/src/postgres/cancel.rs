//! READY, WAITING -> CANCELLED; RUNNING -> its worker is asked.

use std::sync::LazyLock;

use reproq_model::{Epoch, RunId};
use sqlx::{Row as _, query};

use super::PostgresStore;
use crate::rows::{cancelled, read_all};
use crate::{Cancelled, Registration, StoreError, shared};

pub(super) static CANCEL: LazyLock<&str> = LazyLock::new(|| {
    let text = include_str!("../../../../src/reproq_django/sql/postgres/statements/cancel_runs.sql");
    shared::statement(text, &["result_ids"], '$')
});

pub(super) async fn cancel(store: &PostgresStore, runs: &[RunId]) -> Result<Vec<Cancelled>, StoreError> {
    let ids: Vec<i64> = runs.iter().map(|run| run.0).collect();
    let rows = store
        .duties
        .run("cancel", async |connection| query(*CANCEL).bind(ids).fetch_all(connection).await)
        .await?;
    read_all!("cancel", rows, |row| cancelled!(row))
}

pub(super) async fn cancellations(
    store: &PostgresStore,
    worker: &Registration,
) -> Result<Vec<(RunId, Epoch)>, StoreError> {
    let rows = store
        .duties
        .run("cancellations", async |connection| {
            query(include_str!("sql/cancellations.sql"))
                .bind(worker.incarnation.0)
                .fetch_all(connection)
                .await
        })
        .await?;
    read_all!("cancellations", rows, |row| (RunId(row.try_get("result_id")?), Epoch(row.try_get("epoch")?)))
}
