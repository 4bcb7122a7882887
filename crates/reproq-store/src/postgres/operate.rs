//! Moves that an operator makes.

use std::collections::HashMap;
use std::time::Duration;

use reproq_model::RunId;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{Connection as _, Row as _, query};

use super::{PostgresStore, workflow_operate};
use crate::operator_rows::{control, standing, status};
use crate::rows::read_all;
use crate::twins::{self, Standing};
use crate::{Control, Moment, Replayed, Rescheduled, RetryAnswer, Scope, StoreError, acceptable};

/// A statement that the Python package runs too.
macro_rules! shared {
    ($name:ident, $file:literal, $names:expr) => {
        static $name: std::sync::LazyLock<&'static str> = std::sync::LazyLock::new(|| {
            let text =
                include_str!(concat!("../../../../src/reproq_django/sql/postgres/statements/", $file));
            crate::shared::statement(text, &$names, '$')
        });
    };
}

pub(super) use shared;

shared!(PAUSE_QUEUE, "pause_queue.sql", ["name", "reason", "seconds"]);
shared!(PAUSE_TASK, "pause_task.sql", ["name", "reason", "seconds"]);
shared!(RESUME_QUEUE, "resume_queue.sql", ["name"]);
shared!(RESUME_TASK, "resume_task.sql", ["name"]);
shared!(RESCHEDULE, "reschedule.sql", ["id", "at", "seconds"]);
shared!(REPLAY, "replay.sql", ["id"]);
shared!(RETRY, "retry.sql", ["ids", "cancelled"]);
shared!(ACTIVE_TWINS, "active_twins.sql", ["ids"]);

pub(super) async fn pause(
    store: &PostgresStore,
    scope: Scope<'_>,
    reason: Option<&str>,
    span: Option<Duration>,
) -> Result<(), StoreError> {
    let (sql, name) = match scope {
        Scope::Queue(name) => (*PAUSE_QUEUE, name),
        Scope::Task(name) => (*PAUSE_TASK, name),
    };
    let seconds = span.map(|span| acceptable::wait(span).as_secs_f64());
    store
        .duties
        .run("pause", async |connection| {
            query(sql).bind(name).bind(reason).bind(seconds).execute(connection).await
        })
        .await
        .map(drop)
}

pub(super) async fn resume(store: &PostgresStore, scope: Scope<'_>) -> Result<bool, StoreError> {
    let (sql, name) = match scope {
        Scope::Queue(name) => (*RESUME_QUEUE, name),
        Scope::Task(name) => (*RESUME_TASK, name),
    };
    store
        .duties
        .run("resume", async |connection| query(sql).bind(name).fetch_optional(connection).await)
        .await
        .map(|row| row.is_some())
}

pub(super) async fn controls(
    store: &PostgresStore,
    queue: Option<&str>,
    task: Option<&str>,
) -> Result<Vec<Control>, StoreError> {
    let rows = store
        .duties
        .run("controls", async |connection| {
            query(include_str!("sql/controls.sql")).bind(queue).bind(task).fetch_all(connection).await
        })
        .await?;
    read_all!("controls", rows, |row| control!(row))
}

pub(super) async fn reschedule(
    store: &PostgresStore,
    id: RunId,
    when: Moment,
) -> Result<Rescheduled, StoreError> {
    let (at, seconds) = match when {
        Moment::At(micros) => (DateTime::<Utc>::from_timestamp_micros(micros), 0.0),
        Moment::In(span) => (None, acceptable::wait(span).as_secs_f64()),
    };
    let moved = store
        .duties
        .run("reschedule", async |connection| {
            let row = query(*RESCHEDULE).bind(id.0).bind(at).bind(seconds).fetch_optional(connection).await?;
            row.map(|row| {
                Ok(Rescheduled::Moved {
                    status: status!(row, "status"),
                    run_after: row.try_get("run_after_us")?,
                })
            })
            .transpose()
        })
        .await?;
    Ok(match moved {
        Some(moved) => moved,
        None => match look(store, &[id]).await?.get(&id) {
            Some(found) => Rescheduled::Found(found.status),
            None => Rescheduled::Unknown,
        },
    })
}

pub(super) async fn replay(store: &PostgresStore, source: RunId) -> Result<Replayed, StoreError> {
    let insert = async || {
        store
            .duties
            .run("replay", async |connection| {
                let row = query(*REPLAY).bind(source.0).fetch_optional(connection).await?;
                row.map(|row| row.try_get("result_id").map(RunId)).transpose()
            })
            .await
    };
    twins::replay(insert, async || Ok(look(store, &[source]).await?.remove(&source))).await
}

pub(super) async fn newest_of(store: &PostgresStore, spec_hash: &str) -> Result<Option<RunId>, StoreError> {
    store
        .duties
        .run("newest_of_hash", async |connection| {
            let row = query(include_str!("sql/newest_of_hash.sql"))
                .bind(spec_hash)
                .fetch_optional(connection)
                .await?;
            row.map(|row| row.try_get("result_id").map(RunId)).transpose()
        })
        .await
}

pub(super) async fn retry(
    store: &PostgresStore,
    ids: &[RunId],
) -> Result<Vec<(RunId, RetryAnswer)>, StoreError> {
    let write = async |ids: &[RunId]| write_retry(store, ids, false).await;
    twins::retry(ids, write, async |ids: &[RunId]| look(store, ids).await).await
}

/// Moves what can be retried of these runs; which that were.
pub(super) async fn write_retry(
    store: &PostgresStore,
    ids: &[RunId],
    cancelled: bool,
) -> Result<Vec<RunId>, StoreError> {
    let given = ids.iter().map(|id| id.0).collect::<Vec<i64>>();
    store
        .duties
        .run("retry", async |connection| {
            let mut transaction = connection.begin().await?;
            let retry = query(*RETRY).bind(given).bind(cancelled);
            let rows = retry.fetch_all(&mut *transaction).await?;
            let moved: Vec<RunId> =
                rows.iter().map(|row| row.try_get("result_id").map(RunId)).collect::<Result<_, _>>()?;
            workflow_operate::look_again(&mut transaction, &moved).await?;
            transaction.commit().await?;
            Ok(moved)
        })
        .await
}

pub(super) async fn end_null_leases(store: &PostgresStore, dry_run: bool) -> Result<u64, StoreError> {
    store
        .duties
        .run("end_null_leases", async |connection| {
            if dry_run {
                let row = query(include_str!("sql/count_null_leases.sql")).fetch_one(connection).await?;
                return Ok(u64::try_from(row.try_get::<i64, _>("runs")?).unwrap_or_default());
            }
            let ended = query(include_str!("sql/end_null_leases.sql")).execute(connection).await?;
            Ok(ended.rows_affected())
        })
        .await
}

/// The state of each of these runs that exists, and its active twin.
async fn look(store: &PostgresStore, ids: &[RunId]) -> Result<HashMap<RunId, Standing>, StoreError> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let rows = store
        .duties
        .run("active_twins", async |connection| query(*ACTIVE_TWINS).bind(ids).fetch_all(connection).await)
        .await?;
    let found = read_all!("active_twins", rows, |row| standing!(row))?;
    Ok(found.into_iter().collect())
}
