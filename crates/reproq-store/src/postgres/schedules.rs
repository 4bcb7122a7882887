//! Schedules: what is due, and the one transaction of a tick.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use reproq_model::RunId;
use reproq_model::schedule::{Overlap, ScheduledRun};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{Connection as _, Row as _, query};

use super::PostgresStore;
use crate::rows::{micros, read_all};
use crate::schedule_rows::{earlier, page, schedule, tick_seen};
use crate::schedules::{KEPT, TickRow, rows};
use crate::{Fired, Page, Schedules, StoreError, Tick, TickSeen, Which, shared};

/// A tick that stops in its midst, with its process, lets go soon; and it waits for nobody for long.
const BEGIN: &str =
    "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '1500ms'; SET LOCAL lock_timeout = '1s'";

static INSERT: LazyLock<&str> = LazyLock::new(|| {
    let text = include_str!("../../../../src/reproq_django/sql/postgres/statements/insert_runs.sql");
    shared::statement(text, &["specs", "shared", "runs"], '$')
});

#[async_trait(?Send)]
impl Schedules for PostgresStore {
    async fn schedules(&self, which: Which<'_>, after: &str, limit: u32) -> Result<Page, StoreError> {
        let name = if let Which::Named(name) = which { Some(name) } else { None };
        self.duties
            .run("schedules", async |connection| {
                let rows = query(include_str!("sql/schedules.sql"))
                    .bind(name)
                    .bind(which == Which::Due)
                    .bind(after)
                    .bind(i64::from(limit))
                    .fetch_all(connection)
                    .await?;
                Ok(page!(rows, limit, time))
            })
            .await
    }

    async fn fire(&self, tick: &Tick<'_>) -> Result<Fired, StoreError> {
        self.duties
            .run("fire", async |connection| {
                let mut transaction = connection.begin_with(BEGIN).await?;
                let fired = fire(&mut transaction, tick).await?;
                transaction.commit().await?;
                Ok(fired)
            })
            .await
    }

    async fn run_schedule(&self, name: &str, now: i64, run: &ScheduledRun) -> Result<RunId, StoreError> {
        let row = TickRow { scheduled_at: now, state: "manual", count: 1, missed_until: None, reason: None };
        let inserted = self
            .duties
            .run("run_schedule", async |connection| {
                let mut transaction = connection.begin_with(BEGIN).await?;
                let ids = write_ticks(&mut transaction, name, &[row], true).await?;
                let id = ids.get(&now).copied().flatten();
                if let Some(id) = id {
                    insert(&mut transaction, &[(id, run)]).await?;
                }
                transaction.commit().await?;
                Ok(id)
            })
            .await?;
        inserted.map(RunId).ok_or_else(|| StoreError::of("run_schedule", sqlx::Error::RowNotFound))
    }

    async fn next_tick(&self) -> Result<Option<Duration>, StoreError> {
        self.duties
            .run("next_tick", async |connection| {
                let row = query(include_str!("sql/next_tick.sql")).fetch_one(connection).await?;
                Ok(row.try_get::<Option<i64>, _>("wait_us")?.map(micros))
            })
            .await
    }

    async fn note_problem(&self, name: &str, problem: &str) -> Result<bool, StoreError> {
        self.duties
            .run("note_problem", async |connection| {
                let noted =
                    query(include_str!("sql/note_problem.sql")).bind(name).bind(problem).execute(connection);
                Ok(noted.await?.rows_affected() > 0)
            })
            .await
    }

    async fn mark_scheduler(&self) -> Result<(), StoreError> {
        self.duties
            .run("mark_scheduler", async |connection| {
                query(include_str!("sql/mark_scheduler.sql")).execute(connection).await
            })
            .await
            .map(drop)
    }

    async fn scheduler_silence(&self) -> Result<Option<Duration>, StoreError> {
        self.duties
            .run("scheduler_silence", async |connection| {
                let row = query(include_str!("sql/scheduler_silence.sql")).fetch_optional(connection).await?;
                row.map(|row| row.try_get("silent_us").map(micros)).transpose()
            })
            .await
    }

    async fn ticks(&self, name: &str, limit: u32) -> Result<Vec<TickSeen>, StoreError> {
        let rows = self
            .duties
            .run("ticks", async |connection| {
                let ticks = query(include_str!("sql/ticks.sql")).bind(name).bind(i64::from(limit));
                ticks.fetch_all(connection).await
            })
            .await?;
        read_all!("ticks", rows, |row| tick_seen!(row, time))
    }

    async fn enable_schedule(&self, name: &str, enabled: bool) -> Result<Option<bool>, StoreError> {
        self.duties
            .run("enable_schedule", async |connection| {
                let before = query(include_str!("sql/enable_schedule.sql")).bind(name).bind(enabled);
                let row = before.fetch_optional(connection).await?;
                row.map(|row| row.try_get("enabled")).transpose()
            })
            .await
    }
}

async fn fire(connection: &mut PgConnection, tick: &Tick<'_>) -> Result<Fired, sqlx::Error> {
    let name = &tick.schedule.name;
    let held = query(include_str!("sql/hold_schedule.sql")).bind(name);
    if held.fetch_optional(&mut *connection).await?.is_none() {
        return Ok(Fired::Elsewhere);
    }
    // As it is now that it is held; what was read may have been another scheduler's, or somebody's who has edited it since.
    let now = query(include_str!("sql/schedules.sql")).bind(name).bind(false).bind("").bind(1_i64);
    let now = now.fetch_one(&mut *connection).await?;
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
        let ids: Vec<i64> = cancel.iter().map(|id| id.0).collect();
        query(*super::cancel::CANCEL).bind(ids).fetch_all(&mut *connection).await?;
    }
    query(include_str!("sql/move_schedule.sql"))
        .bind(name)
        .bind(moment(tick.plan.next))
        .bind(!tick.plan.ticks.is_empty())
        .execute(&mut *connection)
        .await?;
    if ticks.is_empty() {
        return Ok(Fired::Written(Vec::new()));
    }
    let ids = write_ticks(connection, name, &ticks, tick.overlap != Overlap::Allow).await?;
    let with_id = tick.plan.ticks.iter().zip(&tick.runs);
    let runs: Vec<(i64, &ScheduledRun)> =
        with_id.filter_map(|(at, run)| Some(((*ids.get(at)?)?, run))).collect();
    insert(connection, &runs).await?;
    Ok(Fired::Written(runs.iter().map(|(id, _)| RunId(*id)).collect()))
}

/// Writes ticks; for each that is new, the id of its run, if it is to have one.
async fn write_ticks(
    connection: &mut PgConnection,
    name: &str,
    ticks: &[TickRow],
    keep_unfinished: bool,
) -> Result<HashMap<i64, Option<i64>>, sqlx::Error> {
    let written = query(include_str!("sql/write_ticks.sql"))
        .bind(name)
        .bind(ticks.iter().map(|tick| moment(tick.scheduled_at)).collect::<Vec<_>>())
        .bind(ticks.iter().map(|tick| tick.state).collect::<Vec<_>>())
        .bind(ticks.iter().map(|tick| tick.count).collect::<Vec<_>>())
        .bind(ticks.iter().map(|tick| tick.missed_until.map(moment)).collect::<Vec<_>>())
        .bind(ticks.iter().map(|tick| tick.reason.clone()).collect::<Vec<_>>())
        .bind(KEPT)
        .bind(keep_unfinished)
        .fetch_all(connection)
        .await?;
    written.iter().map(|row| Ok((row.try_get("scheduled_at")?, row.try_get("result_id")?))).collect()
}

/// The one INSERT of runs, which wakes their workers too.
async fn insert(connection: &mut PgConnection, runs: &[(i64, &ScheduledRun)]) -> Result<(), sqlx::Error> {
    if runs.is_empty() {
        return Ok(());
    }
    let specs: Vec<&str> = runs.iter().map(|(_, run)| run.spec_json.as_str()).collect();
    let fields: Vec<Value> = runs.iter().map(|(id, run)| fields(*id, run)).collect();
    query(*INSERT)
        // The texts themselves, so that what is stored is what was hashed. JSON has no line breaks of its own.
        .bind(specs.join("\n"))
        // A tick is no duplicate of another one.
        .bind(r#"{"dedup":0}"#)
        .bind(Value::Array(fields).to_string())
        .fetch_all(connection)
        .await
        .map(drop)
}

/// The fields of `reproq_new_run`.
fn fields(id: i64, run: &ScheduledRun) -> Value {
    json!({
        "result_id": id,
        "backend_alias": run.backend_alias,
        "queue_name": run.queue_name,
        "priority": run.priority,
        "run_after": run.run_after.map(|at| moment(at).to_rfc3339()),
        "spec_hash": run.spec_hash,
        "task_path": run.task_path,
        "max_attempts": run.max_attempts,
        "timeout_seconds": run.timeout_seconds,
        "lock_key": run.lock_key,
        "concurrency_key": run.concurrency_key,
        "concurrency_limit": run.concurrency_limit,
        "expires_in_seconds": run.expires_in_seconds,
        "fairness_key": run.fairness_key,
        "rate_key": run.rate_key,
        "rate_per_second": run.rate_per_second,
        "rate_burst": run.rate_burst,
        "over_limit": run.over_limit,
    })
}

fn moment(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn time(row: &PgRow, column: &str) -> Result<Option<i64>, sqlx::Error> {
    row.try_get(column)
}
