//! READY -> RUNNING.

use std::collections::{HashMap, HashSet};

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection as _, Row as _, query};

use super::PostgresStore;
use crate::rows;
use crate::{Claim, ClaimRequest, Glance, StoreError};

/// How many keys one round over the keyed lane visits, shared by the queues; the next round goes on behind them.
const KEYS_PER_ROUND: i64 = 200;
/// How many runs per key are looked at: more than the usual limit, few enough that a round stays small.
const RUNS_PER_KEY: i64 = 16;

pub(super) async fn claim(store: &PostgresStore, request: &ClaimRequest<'_>) -> Result<Claim, StoreError> {
    let rows = store
        .claims
        .run("claim", async |connection| {
            query(include_str!("sql/claim.sql"))
                .bind(request.queues)
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

pub(super) async fn claim_keyed(
    store: &PostgresStore,
    request: &ClaimRequest<'_>,
) -> Result<Claim, StoreError> {
    let mut cursors = store.keyed_cursors.lock().await;
    let (rows, next) = store
        .claims
        .run("claim_keyed", async |connection| {
            // A site may have made another isolation the default; under it the last statement would see the first one's past.
            let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
            let visit = visit(&mut transaction, request, &cursors).await?;
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
            Ok((rows, visit.next_cursors))
        })
        .await?;
    let more = !next.is_empty();
    *cursors = next;
    in_claim_order("claim_keyed", rows).map(|claim| Claim { more, ..claim })
}

/// What one round over the keyed lane found.
struct Visit {
    runs: Vec<Candidate>,
    /// For queues with more keys than the round visited. The others start again from the first key.
    next_cursors: HashMap<String, String>,
}

struct Candidate {
    id: i64,
    keys: Vec<String>,
}

async fn visit(
    connection: &mut PgConnection,
    request: &ClaimRequest<'_>,
    cursors: &HashMap<String, String>,
) -> Result<Visit, sqlx::Error> {
    let queues = request.queues;
    let after: Vec<&str> = queues.iter().map(|queue| cursors.get(queue).map_or("", String::as_str)).collect();
    let keys_per_queue = (KEYS_PER_ROUND / i64::try_from(queues.len()).unwrap_or(i64::MAX).max(1)).max(1);
    let rows = query(include_str!("sql/claim_keyed_visit.sql"))
        .bind(queues)
        .bind(after)
        .bind(keys_per_queue)
        .bind(RUNS_PER_KEY.min(i64::from(request.limit)))
        .fetch_all(connection)
        .await?;
    let mut visit = Visit { runs: Vec::with_capacity(rows.len()), next_cursors: HashMap::new() };
    for row in rows {
        if row.try_get::<i64, _>("place")? == keys_per_queue {
            visit.next_cursors.insert(row.try_get("queue_name")?, row.try_get("visit_key")?);
        }
        let lock: Option<String> = row.try_get("lock_key")?;
        let concurrency: Option<String> = row.try_get("concurrency_key")?;
        let keys = lock.map(|key| format!("lock:{key}")).into_iter();
        let keys = keys.chain(concurrency.map(|key| format!("limit:{key}"))).collect();
        visit.runs.push(Candidate { id: row.try_get("result_id")?, keys });
    }
    Ok(visit)
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
        self.runs
            .iter()
            .filter(|run| run.keys.iter().all(|key| allowed.contains(key)))
            .map(|run| run.id)
            .collect()
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
                next_due: row.try_get::<Option<i64>, _>("next_due_us")?.map(rows::micros),
                keyed_waiting: row.try_get("keyed_waiting")?,
            })
        })
        .await
}

/// An UPDATE returns its rows in no order.
fn in_claim_order(statement: &'static str, mut rows: Vec<PgRow>) -> Result<Claim, StoreError> {
    rows.sort_by_cached_key(|row| {
        (row.try_get::<i64, _>("claim_key").ok(), row.try_get::<i64, _>("result_id").ok())
    });
    let read = || Ok(rows::claim!(&rows, i32, time));
    read().map_err(|error| StoreError::of(statement, error))
}

/// Microseconds since 1970. Read as PostgreSQL sends it, microseconds since 2000 in eight bytes: the usual conversion panics
/// at a date that no calendar type holds, such as `infinity`.
fn time(row: &PgRow, column: &str) -> Result<i64, sqlx::Error> {
    const FROM_1970_TO_2000: i64 = 946_684_800_000_000;
    let bytes = row.try_get_raw(column)?.as_bytes().map_err(sqlx::Error::Decode)?;
    let since_2000 = <[u8; 8]>::try_from(bytes).map(i64::from_be_bytes).ok();
    since_2000
        .filter(|micros| ![i64::MIN, i64::MAX].contains(micros))
        .and_then(|micros| micros.checked_add(FROM_1970_TO_2000))
        .ok_or_else(|| sqlx::Error::Decode(format!("{column} holds no date").into()))
}
