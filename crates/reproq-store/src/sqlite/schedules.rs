//! Schedules: what is due, and the one transaction of a tick.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use reproq_model::RunId;
use reproq_model::schedule::{Overlap, ScheduledRun};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::types::chrono::{DateTime, NaiveDateTime};
use sqlx::{Connection as _, Row as _, query};

use super::SqliteStore;
use crate::rows::{micros, read_all};
use crate::schedule_rows::{earlier, page, schedule, tick_seen};
use crate::schedules::{KEPT, TickRow, rows};
use crate::{Fired, Page, Schedules, StoreError, Tick, TickSeen, Which, shared};

static INSERT: LazyLock<&str> = LazyLock::new(|| {
    let names = [
        "backend_alias",
        "queue_name",
        "priority",
        "run_after",
        "spec_json",
        "spec_hash",
        "task_path",
        "max_attempts",
        "timeout_seconds",
        "lock_key",
        "concurrency_key",
        "concurrency_limit",
        "expires_in",
        "dedup",
        "fairness_key",
        "rate_key",
        "rate_per_second",
        "rate_burst",
        "over_limit",
        "time_format",
        "result_id",
        "status",
        "workflow_id",
        "step",
        "after_step",
    ];
    let text = include_str!("../../../../src/reproq_django/sql/sqlite/statements/insert_run.sql");
    shared::statement(text, &names, '?')
});

#[async_trait(?Send)]
impl Schedules for SqliteStore {
    async fn schedules(&self, which: Which<'_>, after: &str, limit: u32) -> Result<Page, StoreError> {
        let name = if let Which::Named(name) = which { Some(name) } else { None };
        self.link
            .run("schedules", async |connection| {
                let rows = query(include_str!("sql/schedules.sql"))
                    .bind(name)
                    .bind(which == Which::Due)
                    .bind(after)
                    .bind(limit)
                    .fetch_all(connection)
                    .await?;
                Ok(page!(rows, limit, time))
            })
            .await
    }

    async fn fire(&self, tick: &Tick<'_>) -> Result<Fired, StoreError> {
        self.link
            .run("fire", async |connection| {
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                let fired = fire(&mut transaction, tick).await?;
                transaction.commit().await?;
                Ok(fired)
            })
            .await
    }

    async fn run_schedule(&self, name: &str, now: i64, run: &ScheduledRun) -> Result<RunId, StoreError> {
        let row = TickRow { scheduled_at: now, state: "manual", count: 1, missed_until: None, reason: None };
        let inserted = self
            .link
            .run("run_schedule", async |connection| {
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                let id = write_tick(&mut transaction, name, &row, Some(run)).await?;
                trim(&mut transaction, name, true).await?;
                transaction.commit().await?;
                Ok(id)
            })
            .await?;
        inserted.ok_or_else(|| StoreError::of("run_schedule", sqlx::Error::RowNotFound))
    }

    async fn next_tick(&self) -> Result<Option<Duration>, StoreError> {
        self.link
            .run("next_tick", async |connection| {
                let row = query(include_str!("sql/next_tick.sql")).fetch_one(connection).await?;
                Ok(row.try_get::<Option<i64>, _>("wait_us")?.map(micros))
            })
            .await
    }

    async fn note_problem(&self, name: &str, problem: &str) -> Result<bool, StoreError> {
        self.link
            .run("note_problem", async |connection| {
                let noted =
                    query(include_str!("sql/note_problem.sql")).bind(name).bind(problem).execute(connection);
                Ok(noted.await?.rows_affected() > 0)
            })
            .await
    }

    async fn mark_scheduler(&self) -> Result<(), StoreError> {
        self.link
            .run("mark_scheduler", async |connection| {
                query(include_str!("sql/mark_scheduler.sql")).execute(connection).await
            })
            .await
            .map(drop)
    }

    async fn scheduler_silence(&self) -> Result<Option<Duration>, StoreError> {
        self.link
            .run("scheduler_silence", async |connection| {
                let row = query(include_str!("sql/scheduler_silence.sql")).fetch_optional(connection).await?;
                row.map(|row| row.try_get("silent_us").map(micros)).transpose()
            })
            .await
    }

    async fn ticks(&self, name: &str, limit: u32) -> Result<Vec<TickSeen>, StoreError> {
        let rows = self
            .link
            .run("ticks", async |connection| {
                query(include_str!("sql/ticks.sql")).bind(name).bind(limit).fetch_all(connection).await
            })
            .await?;
        read_all!("ticks", rows, |row| tick_seen!(row, time))
    }

    async fn enable_schedule(&self, name: &str, enabled: bool) -> Result<Option<bool>, StoreError> {
        self.link
            .run("enable_schedule", async |connection| {
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                let before = query(include_str!("sql/is_enabled.sql"))
                    .bind(name)
                    .fetch_optional(&mut *transaction)
                    .await?;
                let change = query(include_str!("sql/enable_schedule.sql")).bind(name).bind(enabled);
                change.execute(&mut *transaction).await?;
                transaction.commit().await?;
                before.map(|row| row.try_get("enabled")).transpose()
            })
            .await
    }
}

async fn fire(connection: &mut SqliteConnection, tick: &Tick<'_>) -> Result<Fired, sqlx::Error> {
    let name = &tick.schedule.name;
    // What was read may have been another scheduler's, or somebody's who has edited it since.
    let now = query(include_str!("sql/schedules.sql")).bind(name).bind(false).bind("").bind(1);
    let Some(now) = now.fetch_optional(&mut *connection).await? else { return Ok(Fired::Elsewhere) };
    if schedule!(&now, time) != *tick.schedule {
        return Ok(Fired::Elsewhere);
    }
    let mut unfinished = Vec::new();
    if tick.overlap != Overlap::Allow && !tick.plan.ticks.is_empty() {
        let earlier = query(include_str!("sql/unfinished_ticks.sql")).bind(name);
        for row in earlier.fetch_all(&mut *connection).await? {
            unfinished.push(earlier!(row));
        }
    }
    let (ticks, cancel) = rows(tick, &unfinished);
    if !cancel.is_empty() {
        let ids = Value::from(cancel.iter().map(|id| id.0).collect::<Vec<_>>()).to_string();
        query(*super::cancel::CANCEL).bind(ids).fetch_all(&mut *connection).await?;
    }
    query(include_str!("sql/move_schedule.sql"))
        .bind(name)
        .bind(written(tick.plan.next))
        .bind(!tick.plan.ticks.is_empty())
        .execute(&mut *connection)
        .await?;
    let mut runs = Vec::new();
    for (number, row) in ticks.iter().enumerate() {
        let run = tick.runs.get(number).filter(|_| row.state == "enqueued");
        runs.extend(write_tick(connection, name, row, run).await?);
    }
    if !ticks.is_empty() {
        trim(connection, name, tick.overlap != Overlap::Allow).await?;
    }
    Ok(Fired::Written(runs))
}

/// Writes a tick, and its run, if it is new. Returns the run.
async fn write_tick(
    connection: &mut SqliteConnection,
    name: &str,
    tick: &TickRow,
    run: Option<&ScheduledRun>,
) -> Result<Option<RunId>, sqlx::Error> {
    let at = written(tick.scheduled_at);
    let new = query(include_str!("sql/write_ticks.sql"))
        .bind(name)
        .bind(&at)
        .bind(tick.state)
        .bind(tick.count)
        .bind(tick.missed_until.map(written))
        .bind(&tick.reason)
        .execute(&mut *connection)
        .await?;
    let Some(run) = run.filter(|_| new.rows_affected() > 0) else { return Ok(None) };
    let id = insert(connection, run).await?;
    query(include_str!("sql/name_run.sql")).bind(name).bind(&at).bind(id).execute(connection).await?;
    Ok(Some(RunId(id)))
}

async fn trim(
    connection: &mut SqliteConnection,
    name: &str,
    keep_unfinished: bool,
) -> Result<(), sqlx::Error> {
    let trim = query(include_str!("sql/trim_ticks.sql")).bind(name).bind(KEPT).bind(keep_unfinished);
    trim.execute(connection).await.map(drop)
}

/// The one INSERT of runs.
async fn insert(connection: &mut SqliteConnection, run: &ScheduledRun) -> Result<i64, sqlx::Error> {
    let inserted = query(*INSERT)
        .bind(&run.backend_alias)
        .bind(&run.queue_name)
        .bind(run.priority)
        .bind(run.run_after.map(written))
        .bind(&run.spec_json)
        .bind(&run.spec_hash)
        .bind(&run.task_path)
        .bind(run.max_attempts)
        .bind(run.timeout_seconds)
        .bind(&run.lock_key)
        .bind(&run.concurrency_key)
        .bind(run.concurrency_limit)
        .bind(run.expires_in_seconds.map(|seconds| format!("{seconds:+.6} seconds")))
        // A tick is no duplicate of another one.
        .bind(0)
        .bind(&run.fairness_key)
        .bind(&run.rate_key)
        .bind(run.rate_per_second)
        .bind(run.rate_burst)
        .bind(run.over_limit)
        .bind("%Y-%m-%d %H:%M:%f")
        .bind(None::<i64>)
        .bind(None::<String>)
        .bind(None::<String>)
        .bind(None::<i32>)
        .bind(None::<i32>)
        .execute(connection)
        .await?;
    if inserted.rows_affected() == 0 {
        Err(sqlx::Error::RowNotFound)
    } else {
        Ok(inserted.last_insert_rowid())
    }
}

/// Django's text form, always of the same length.
fn written(micros: i64) -> Option<String> {
    DateTime::from_timestamp_micros(micros).map(|time| time.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
}

/// Django's text form, with or without a fraction.
fn time(row: &SqliteRow, column: &str) -> Result<Option<i64>, sqlx::Error> {
    let Some(text) = row.try_get_unchecked::<Option<String>, _>(column)? else { return Ok(None) };
    NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f")
        .map(|time| Some(time.and_utc().timestamp_micros()))
        .map_err(|error| {
            sqlx::Error::Decode(
                format!(
                    "{column} holds {text:?}, which is no time in UTC as in 2030-01-02 03:04:05: {error}"
                )
                .into(),
            )
        })
}
