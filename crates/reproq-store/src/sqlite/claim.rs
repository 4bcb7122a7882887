//! READY -> RUNNING for runs that nothing holds back, and the maintenance of the lanes.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::types::chrono::NaiveDateTime;
use sqlx::{Row as _, query};

use super::SqliteStore;
use super::link::modifier;
use crate::rows;
use crate::{Claim, ClaimRequest, Glance, StoreError};

/// How many runs at the head of each queue one look diverts: more than a claim takes.
const DIVERT_DEPTH: i64 = 500;

pub(super) async fn claim(store: &SqliteStore, request: &ClaimRequest<'_>) -> Result<Claim, StoreError> {
    // In one go, or what else waits for the connection would come between the look and the claim. Only the second of them writes.
    store
        .link
        .run("claim", async |connection| {
            let ids = heads(connection, request).await?;
            if ids.is_empty() {
                return Ok(Claim::default());
            }
            let rows = query(include_str!("sql/claim.sql"))
                .bind(serde_json::Value::from(ids).to_string())
                .bind(&request.worker.worker_id)
                .bind(request.worker.incarnation.to_string())
                .bind(modifier(request.lease))
                .fetch_all(connection)
                .await?;
            in_claim_order(rows)
        })
        .await
}

/// The runs to claim, best first over the queues.
async fn heads(
    connection: &mut SqliteConnection,
    request: &ClaimRequest<'_>,
) -> Result<Vec<i64>, sqlx::Error> {
    let mut heads: Vec<(i64, i64)> = Vec::new();
    for queue in request.queues {
        let visit = query(include_str!("sql/claim_visit.sql")).bind(queue).bind(request.limit);
        for row in visit.fetch_all(&mut *connection).await? {
            heads.push((row.try_get("claim_key")?, row.try_get("result_id")?));
        }
    }
    heads.sort_unstable();
    heads.truncate(request.limit as usize);
    Ok(heads.into_iter().map(|(_, id)| id).collect())
}

/// An UPDATE returns its rows in no order.
pub(super) fn in_claim_order(mut rows: Vec<SqliteRow>) -> Result<Claim, sqlx::Error> {
    rows.sort_by_cached_key(|row| {
        (row.try_get::<i64, _>("claim_key").ok(), row.try_get::<i64, _>("result_id").ok())
    });
    Ok(rows::claim!(&rows, i64, time))
}

pub(super) async fn promote_due(store: &SqliteStore, queues: &[String]) -> Result<Glance, StoreError> {
    store
        .link
        .run("promote_due", async |connection| {
            let row = query(include_str!("sql/glance.sql"))
                .bind(serde_json::Value::from(queues).to_string())
                .fetch_one(&mut *connection)
                .await?;
            let mut moved = 0;
            if row.try_get("due")? {
                moved += query(include_str!("sql/promote_due.sql"))
                    .execute(&mut *connection)
                    .await?
                    .rows_affected();
            }
            if row.try_get("diverts")? {
                moved += divert(connection, queues).await?;
            }
            Ok(Glance {
                promoted: moved,
                next_due: row.try_get::<Option<i64>, _>("next_due_us")?.map(rows::micros),
                // What has just been moved may have a key.
                keyed_waiting: row.try_get("keyed_waiting")? || moved > 0,
            })
        })
        .await
}

async fn divert(connection: &mut SqliteConnection, queues: &[String]) -> Result<u64, sqlx::Error> {
    let mut met: Vec<i64> = Vec::new();
    for queue in queues {
        let visit = query(include_str!("sql/divert_visit.sql")).bind(queue).bind(DIVERT_DEPTH);
        for row in visit.fetch_all(&mut *connection).await? {
            met.push(row.try_get("result_id")?);
        }
    }
    if met.is_empty() {
        return Ok(0);
    }
    let divert = query(include_str!("sql/divert.sql")).bind(serde_json::Value::from(met).to_string());
    Ok(divert.execute(connection).await?.rows_affected())
}

/// Django's text form, with or without a fraction.
fn time(row: &SqliteRow, column: &str) -> Result<i64, sqlx::Error> {
    let text: String = row.try_get_unchecked(column)?;
    NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f")
        .map(|time| time.and_utc().timestamp_micros())
        .map_err(|error| sqlx::Error::Decode(format!("{column} holds {text:?}: {error}").into()))
}
