//! READY, WAITING -> CANCELLED; RUNNING -> its worker is asked.

use std::collections::HashSet;
use std::sync::LazyLock;

use reproq_model::{Epoch, RunId};
use serde_json::Value;
use sqlx::{Connection as _, Row as _, query};

use super::SqliteStore;
use crate::rows::{cancelled, read_all};
use crate::{Cancelled, Registration, StoreError, shared};

pub(super) static CANCEL: LazyLock<&str> = LazyLock::new(|| {
    let text = include_str!("../../../../src/reproq_django/sql/sqlite/statements/cancel_runs.sql");
    shared::statement(text, &["result_ids"], '?')
});
static STATES: LazyLock<&str> = LazyLock::new(|| {
    let text = include_str!("../../../../src/reproq_django/sql/sqlite/statements/run_states.sql");
    shared::statement(text, &["result_ids"], '?')
});

pub(super) async fn cancel(store: &SqliteStore, runs: &[RunId]) -> Result<Vec<Cancelled>, StoreError> {
    let ids = Value::from(runs.iter().map(|run| run.0).collect::<Vec<_>>()).to_string();
    let (written, all) = store
        .link
        .run("cancel", async |connection| {
            // The write comes first and takes the write lock, so that what is read then is the rest of the same moment.
            let mut transaction = connection.begin().await?;
            let written = query(*CANCEL).bind(&ids).fetch_all(&mut *transaction).await?;
            let all = query(*STATES).bind(&ids).fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
            Ok((written, all))
        })
        .await?;
    let mut answer: Vec<Cancelled> = read_all!("cancel", written, |row| cancelled!(row))?;
    let all: Vec<Cancelled> = read_all!("cancel", all, |row| cancelled!(row))?;
    let touched: HashSet<RunId> = answer.iter().map(|run| run.id).collect();
    answer.extend(all.into_iter().filter(|run| !touched.contains(&run.id)));
    answer.sort_unstable_by_key(|run| run.id);
    Ok(answer)
}

pub(super) async fn cancellations(
    store: &SqliteStore,
    worker: &Registration,
) -> Result<Vec<(RunId, Epoch)>, StoreError> {
    let rows = store
        .link
        .run("cancellations", async |connection| {
            query(include_str!("sql/cancellations.sql"))
                .bind(worker.incarnation.to_string())
                .fetch_all(connection)
                .await
        })
        .await?;
    read_all!("cancellations", rows, |row| (RunId(row.try_get("result_id")?), Epoch(row.try_get("epoch")?)))
}
