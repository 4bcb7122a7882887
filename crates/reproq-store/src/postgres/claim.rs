//! READY -> RUNNING.

use std::collections::HashSet;
use std::time::Duration;

use reproq_model::{Epoch, RunId};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{Connection as _, Row as _, query};

use super::PostgresStore;
use crate::{ClaimRequest, ClaimedRun, Glance, StoreError};

/// How many keys one round over the keyed lane visits; the next round goes on behind them.
const KEYS_PER_ROUND: i64 = 200;
/// How many runs per key are looked at: more than the usual limit, few enough that a round stays small.
const RUNS_PER_KEY: i64 = 16;

pub(super) async fn claim(store: &PostgresStore, request: &ClaimRequest<'_>) -> Result<Vec<ClaimedRun>, StoreError> {
    let rows = store
        .claims
        .run("claim", async |connection| {
            query(include_str!("sql/claim.sql"))
                .bind(&request.worker.queues)
                .bind(i64::from(request.limit))
                .bind(&request.worker.worker_id)
                .bind(request.worker.incarnation.0)
                .bind(request.lease.as_secs_f64())
                .fetch_all(connection)
                .await
        })
        .await?;
    in_claim_order("claim", rows)
}

pub(super) async fn claim_keyed(store: &PostgresStore, request: &ClaimRequest<'_>) -> Result<Vec<ClaimedRun>, StoreError> {
    let mut cursor = store.keyed_cursor.lock().await;
    let (rows, next) = store
        .claims
        .run("claim_keyed", async |connection| {
            let mut transaction = connection.begin().await?;
            let visit = visit(&mut transaction, request, &cursor).await?;
            let allowed = lock(&mut transaction, &visit.keys()).await?;
            let candidates: Vec<i64> = visit.candidates_within(&allowed);
            let rows = if candidates.is_empty() {
                Vec::new()
            } else {
                query(include_str!("sql/claim_keyed.sql"))
                    .bind(candidates)
                    .bind(i64::from(request.limit))
                    .bind(&request.worker.worker_id)
                    .bind(request.worker.incarnation.0)
                    .bind(request.lease.as_secs_f64())
                    .fetch_all(&mut *transaction)
                    .await?
            };
            transaction.commit().await?;
            Ok((rows, visit.next_cursor()))
        })
        .await?;
    *cursor = next;
    in_claim_order("claim_keyed", rows)
}

/// What one round over the keyed lane found.
struct Visit {
    runs: Vec<Candidate>,
    last_key: Option<String>,
    full: bool,
}

struct Candidate {
    id: i64,
    keys: Vec<String>,
}

async fn visit(connection: &mut PgConnection, request: &ClaimRequest<'_>, cursor: &str) -> Result<Visit, sqlx::Error> {
    let rows = query(include_str!("sql/claim_keyed_visit.sql"))
        .bind(&request.worker.queues)
        .bind(cursor)
        .bind(KEYS_PER_ROUND)
        .bind(RUNS_PER_KEY.min(i64::from(request.limit)))
        .fetch_all(connection)
        .await?;
    let mut visited = HashSet::new();
    let mut last_key = None::<String>;
    let mut runs = Vec::with_capacity(rows.len());
    for row in rows {
        let visit_key: String = row.try_get("visit_key")?;
        last_key = last_key.max(Some(visit_key.clone()));
        visited.insert(visit_key);
        let lock: Option<String> = row.try_get("lock_key")?;
        let concurrency: Option<String> = row.try_get("concurrency_key")?;
        let keys = lock.map(|key| format!("lock:{key}")).into_iter();
        let keys = keys.chain(concurrency.map(|key| format!("limit:{key}"))).collect();
        runs.push(Candidate { id: row.try_get("result_id")?, keys });
    }
    let full = i64::try_from(visited.len()).unwrap_or(i64::MAX) >= KEYS_PER_ROUND;
    Ok(Visit { runs, last_key, full })
}

impl Visit {
    /// Sorted, so that two claimers never wait for each other in a circle (they never wait, but a lock held is work lost).
    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.runs.iter().flat_map(|run| run.keys.iter().cloned()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// A run with a lock and a limit needs both.
    fn candidates_within(&self, allowed: &HashSet<String>) -> Vec<i64> {
        self.runs.iter().filter(|run| run.keys.iter().all(|key| allowed.contains(key))).map(|run| run.id).collect()
    }

    /// Empty, which is before every key, once the lane's end is reached.
    fn next_cursor(self) -> String {
        if self.full { self.last_key.unwrap_or_default() } else { String::new() }
    }
}

async fn lock(connection: &mut PgConnection, keys: &[String]) -> Result<HashSet<String>, sqlx::Error> {
    let rows = query(include_str!("sql/lock_keys.sql")).bind(keys).fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get("key")).collect()
}

pub(super) async fn promote_due(store: &PostgresStore, queues: &[String]) -> Result<Glance, StoreError> {
    store
        .claims
        .run("promote_due", async |connection| {
            let row = query(include_str!("sql/promote_due.sql")).bind(queues).fetch_one(connection).await?;
            Ok(Glance {
                promoted: u64::try_from(row.try_get::<i64, _>("promoted")?).unwrap_or_default(),
                next_due: row.try_get::<Option<i64>, _>("next_due_us")?.map(micros),
                keyed_waiting: row.try_get("keyed_waiting")?,
            })
        })
        .await
}

/// An UPDATE returns its rows in no order.
fn in_claim_order(statement: &'static str, mut rows: Vec<PgRow>) -> Result<Vec<ClaimedRun>, StoreError> {
    rows.sort_by_cached_key(|row| (row.try_get::<i64, _>("claim_key").ok(), row.try_get::<i64, _>("result_id").ok()));
    rows.iter().map(claimed).collect::<Result<_, _>>().map_err(|error| StoreError::of(statement, error))
}

fn claimed(row: &PgRow) -> Result<ClaimedRun, sqlx::Error> {
    let time = |column| row.try_get::<DateTime<Utc>, _>(column).map(|time| time.timestamp_micros());
    Ok(ClaimedRun {
        id: RunId(row.try_get("result_id")?),
        epoch: Epoch(row.try_get("epoch")?),
        attempts: row.try_get("attempts")?,
        max_attempts: row.try_get("max_attempts")?,
        crash_count: row.try_get("crash_count")?,
        timeout: Duration::from_secs(u64::try_from(row.try_get::<i32, _>("timeout_seconds")?).unwrap_or_default()),
        task_path: row.try_get("task_path")?,
        queue_name: row.try_get("queue_name")?,
        backend_alias: row.try_get("backend_alias")?,
        spec: row.try_get("spec")?,
        worker_ids: row.try_get("worker_ids")?,
        errors: row.try_get("errors")?,
        metadata: row.try_get("metadata")?,
        enqueued_at: time("enqueued_at")?,
        started_at: time("started_at")?,
        last_attempted_at: time("last_attempted_at")?,
        expired: row.try_get("expired")?,
    })
}

pub(super) fn micros(count: i64) -> Duration {
    Duration::from_micros(u64::try_from(count).unwrap_or_default())
}
