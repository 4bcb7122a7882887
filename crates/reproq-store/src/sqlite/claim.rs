//! READY -> RUNNING.

use std::collections::{HashMap, HashSet};

use sqlx::sqlite::SqliteRow;
use sqlx::types::chrono::NaiveDateTime;
use sqlx::{Row as _, query};

use super::SqliteStore;
use super::link::modifier;
use crate::rows;
use crate::{Claim, ClaimRequest, Glance, StoreError};

/// How many keys one round over the keyed lane visits in each queue; the next round goes on behind them.
const KEYS_PER_ROUND: i64 = 200;

pub(super) async fn claim(store: &SqliteStore, request: &ClaimRequest<'_>) -> Result<Claim, StoreError> {
    let mut heads = Vec::new();
    for queue in request.queues {
        let rows = store
            .link
            .run("claim_visit", async |connection| {
                query(include_str!("sql/claim_visit.sql"))
                    .bind(queue)
                    .bind(request.limit)
                    .fetch_all(connection)
                    .await
            })
            .await?;
        for row in rows {
            let head = (|| Ok((row.try_get::<i64, _>("claim_key")?, row.try_get::<i64, _>("result_id")?)))();
            heads.push(head.map_err(|error| StoreError::of("claim_visit", error))?);
        }
    }
    heads.sort_unstable();
    heads.truncate(request.limit as usize);
    let ids: Vec<i64> = heads.into_iter().map(|(_, id)| id).collect();
    take(store, "claim", include_str!("sql/claim.sql"), request, &ids).await
}

/// One run per key and pass, until a pass brings nothing: what the earlier passes took counts against the limits.
pub(super) async fn claim_keyed(
    store: &SqliteStore,
    request: &ClaimRequest<'_>,
) -> Result<Claim, StoreError> {
    let mut cursors = store.keyed_cursors.lock().await;
    let mut claim = Claim::default();
    loop {
        let room = request.limit as usize - claim.runs.len();
        let visit = visit(store, request, &cursors).await?;
        let ids: Vec<i64> = visit.ids.iter().copied().take(room).collect();
        let taken = take(store, "claim_keyed", include_str!("sql/claim_keyed.sql"), request, &ids).await?;
        let progress = !taken.runs.is_empty();
        claim.runs.extend(taken.runs);
        claim.unreadable.extend(taken.unreadable);
        if !progress || claim.runs.len() >= request.limit as usize {
            claim.more = !visit.next_cursors.is_empty();
            *cursors = visit.next_cursors;
            return Ok(claim);
        }
    }
}

struct Visit {
    ids: Vec<i64>,
    /// For queues with more keys than the round visited. The others start again from the first key.
    next_cursors: HashMap<String, String>,
}

async fn visit(
    store: &SqliteStore,
    request: &ClaimRequest<'_>,
    cursors: &HashMap<String, String>,
) -> Result<Visit, StoreError> {
    let mut heads = Vec::new();
    let mut next_cursors = HashMap::new();
    for queue in request.queues {
        let rows = store
            .link
            .run("claim_keyed_visit", async |connection| {
                query(include_str!("sql/claim_keyed_visit.sql"))
                    .bind(queue)
                    .bind(cursors.get(queue).map_or("", String::as_str))
                    .bind(KEYS_PER_ROUND)
                    .fetch_all(connection)
                    .await
            })
            .await?;
        for row in rows {
            let head = head(&row).map_err(|error| StoreError::of("claim_keyed_visit", error))?;
            if head.place == KEYS_PER_ROUND {
                next_cursors.insert(queue.clone(), head.visit_key.clone());
            }
            heads.push(head);
        }
    }
    heads.retain(|head| head.free);
    heads.sort_unstable_by_key(|head| (head.claim_key, head.id));
    // Two runs with locks of their own may share a limit: the second one has to wait for the next pass.
    let mut offered = HashSet::new();
    heads.retain(|head| {
        offered.insert(format!("visit:{}", head.visit_key))
            && head.concurrency_key.as_ref().is_none_or(|key| offered.insert(format!("limit:{key}")))
    });
    Ok(Visit { ids: heads.into_iter().map(|head| head.id).collect(), next_cursors })
}

struct Head {
    id: i64,
    claim_key: i64,
    visit_key: String,
    /// The key's number in this round, from 1.
    place: i64,
    concurrency_key: Option<String>,
    free: bool,
}

fn head(row: &SqliteRow) -> Result<Head, sqlx::Error> {
    Ok(Head {
        id: row.try_get("result_id")?,
        claim_key: row.try_get("claim_key")?,
        visit_key: row.try_get("visit_key")?,
        place: row.try_get("place")?,
        concurrency_key: row.try_get("concurrency_key")?,
        free: row.try_get("free")?,
    })
}

async fn take(
    store: &SqliteStore,
    statement: &'static str,
    sql: &'static str,
    request: &ClaimRequest<'_>,
    ids: &[i64],
) -> Result<Claim, StoreError> {
    if ids.is_empty() {
        return Ok(Claim::default());
    }
    let rows = store
        .link
        .run(statement, async |connection| {
            query(sql)
                .bind(serde_json::Value::from(ids).to_string())
                .bind(&request.worker.worker_id)
                .bind(request.worker.incarnation.to_string())
                .bind(modifier(request.lease))
                .fetch_all(connection)
                .await
        })
        .await?;
    let mut rows = rows;
    // An UPDATE returns its rows in no order.
    rows.sort_by_cached_key(|row| {
        (row.try_get::<i64, _>("claim_key").ok(), row.try_get::<i64, _>("result_id").ok())
    });
    let read = || Ok(rows::claim!(&rows, i64, time));
    read().map_err(|error| StoreError::of(statement, error))
}

pub(super) async fn promote_due(store: &SqliteStore, queues: &[String]) -> Result<Glance, StoreError> {
    store
        .link
        .run("promote_due", async |connection| {
            let row = query(include_str!("sql/glance.sql"))
                .bind(serde_json::Value::from(queues).to_string())
                .fetch_one(&mut *connection)
                .await?;
            let promoted = if row.try_get::<bool, _>("due")? {
                query(include_str!("sql/promote_due.sql")).execute(connection).await?.rows_affected()
            } else {
                0
            };
            Ok(Glance {
                promoted,
                next_due: row.try_get::<Option<i64>, _>("next_due_us")?.map(rows::micros),
                // What has just been promoted may have a key.
                keyed_waiting: row.try_get::<bool, _>("keyed_waiting")? || promoted > 0,
            })
        })
        .await
}

/// Django's text form, with or without a fraction.
fn time(row: &SqliteRow, column: &str) -> Result<i64, sqlx::Error> {
    let text: String = row.try_get_unchecked(column)?;
    NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f")
        .map(|time| time.and_utc().timestamp_micros())
        .map_err(|error| sqlx::Error::Decode(format!("{column} holds {text:?}: {error}").into()))
}
