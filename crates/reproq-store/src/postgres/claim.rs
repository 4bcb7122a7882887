//! READY -> RUNNING for runs that nothing holds back, and the maintenance of the lanes.

use sqlx::postgres::PgRow;
use sqlx::{Row as _, query};

use super::PostgresStore;
use crate::rows;
use crate::{Claim, ClaimRequest, Glance, StoreError};

/// How many runs at the head of each queue one look diverts: more than a claim takes.
const DIVERT_DEPTH: i64 = 500;

pub(super) async fn claim(store: &PostgresStore, request: &ClaimRequest<'_>) -> Result<Claim, StoreError> {
    store
        .claims
        .run("claim", async |connection| {
            let rows = query(include_str!("sql/claim.sql"))
                .bind(request.queues)
                .bind(i64::from(request.limit))
                .bind(&request.worker.worker_id)
                .bind(request.worker.incarnation.0)
                .bind(request.lease.as_secs_f64())
                .fetch_all(connection)
                .await?;
            in_claim_order(rows)
        })
        .await
}

pub(super) async fn promote_due(store: &PostgresStore, queues: &[String]) -> Result<Glance, StoreError> {
    store
        .claims
        .run("promote_due", async |connection| {
            let row =
                query(include_str!("sql/promote_due.sql")).bind(queues).fetch_one(&mut *connection).await?;
            let mut moved = u64::try_from(row.try_get::<i64, _>("promoted")?).unwrap_or_default();
            let mut keyed_waiting = row.try_get("keyed_waiting")?;
            if row.try_get("diverts")? {
                let divert = query(include_str!("sql/divert.sql")).bind(queues).bind(DIVERT_DEPTH);
                let diverted = divert.execute(connection).await?.rows_affected();
                moved += diverted;
                keyed_waiting |= diverted > 0;
            }
            let next_due = row.try_get::<Option<i64>, _>("next_due_us")?.map(rows::micros);
            Ok(Glance { promoted: moved, next_due, keyed_waiting })
        })
        .await
}

/// An UPDATE returns its rows in no order.
pub(super) fn in_claim_order(mut rows: Vec<PgRow>) -> Result<Claim, sqlx::Error> {
    rows.sort_by_cached_key(|row| {
        (row.try_get::<i64, _>("claim_key").ok(), row.try_get::<i64, _>("result_id").ok())
    });
    Ok(rows::claim!(&rows, i32, time))
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
