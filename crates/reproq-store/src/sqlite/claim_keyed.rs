//! READY -> RUNNING for runs with keys. See `crate::keyed` for the course of a round; one writer needs no locks of keys.

use std::collections::{HashMap, HashSet};

use reproq_model::admission::{Admission, Facts};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Row as _, query};

use super::SqliteStore;
use super::claim::in_claim_order;
use super::link::modifier;
use crate::keyed::{
    self, Charge, KeyedLane, Names, Plan, Reach, VISITS_PER_GROUP, Visit, charges, started, with_verdicts,
};
use crate::rows::{fact, rate_row, waiting};
use crate::{Claim, ClaimRequest, StoreError};

pub(super) async fn claim_keyed(
    store: &SqliteStore,
    request: &ClaimRequest<'_>,
) -> Result<Claim, StoreError> {
    let mut lanes = store.keyed_lanes.lock().await;
    let lane = lanes.of(request.queues);
    // Reads only, so that a worker whose keys are all taken never takes the write lock.
    let (visit, facts) = store
        .link
        .run("claim_keyed_visit", async |connection| {
            let visit = visit(connection, request, lane).await?;
            let facts = read_facts(connection, &Names::of(&visit.candidates)).await?;
            Ok((visit, facts))
        })
        .await?;
    let plan = lane.plan(&visit, &facts, request.limit, &HashSet::new());
    if plan.picks.is_empty() {
        let (again_in, turn_is_over) = (plan.again_in(), plan.turn_is_over());
        let more = lane.move_on(visit, turn_is_over);
        return Ok(Claim { more, again_in, ..Claim::default() });
    }
    let (claim, turn_is_over) = store
        .link
        .run("claim_keyed", async |connection| carry_out(connection, request, lane, &visit, &plan).await)
        .await?;
    let more = lane.move_on(visit, turn_is_over);
    Ok(Claim { more, ..claim })
}

async fn carry_out(
    connection: &mut SqliteConnection,
    request: &ClaimRequest<'_>,
    lane: &mut KeyedLane,
    visit: &Visit,
    plan: &Plan,
) -> Result<(Claim, bool), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let facts = read_facts(&mut transaction, &Names::of(&plan.picks)).await?;
    let admission = lane.decide(visit, plan, &plan.picks, &facts, request.limit);
    let claim = take(&mut transaction, request, &admission, facts.now).await?;
    charge(&mut transaction, &charges(&started(&claim.runs, &admission), &plan.picks, &facts), facts.now)
        .await?;
    transaction.commit().await?;
    let turn_is_over = plan.turn_is_over() && admission.turn_is_over;
    Ok((with_verdicts(claim, &admission), turn_is_over))
}

async fn visit(
    connection: &mut SqliteConnection,
    request: &ClaimRequest<'_>,
    lane: &KeyedLane,
) -> Result<Visit, sqlx::Error> {
    let queues = request.queues;
    let reach = Reach::of(queues, request.limit);
    let mut visit = Visit { candidates: Vec::new(), next_cursors: HashMap::new() };
    for queue in queues {
        let rows = query(include_str!("sql/claim_keyed_visit.sql"))
            .bind(queue)
            .bind(lane.cursor(queue))
            .bind(reach.visits_per_queue)
            .bind(VISITS_PER_GROUP)
            .bind(reach.runs_per_visit)
            .bind(request.limit)
            .fetch_all(&mut *connection)
            .await?;
        for row in rows {
            if row.try_get::<i64, _>("place")? == reach.visits_per_queue {
                visit.next_cursors.insert(queue.clone(), row.try_get("visit_key")?);
            }
            visit.candidates.push(waiting!(row).into());
        }
    }
    Ok(visit)
}

async fn read_facts(connection: &mut SqliteConnection, names: &Names) -> Result<Facts, sqlx::Error> {
    let array = |names: &[String]| Value::from(names).to_string();
    let rates =
        query(include_str!("sql/rates.sql")).bind(array(&names.rates)).fetch_all(&mut *connection).await?;
    let rows = query(include_str!("sql/key_facts.sql"))
        .bind(array(&names.locks))
        .bind(array(&names.concurrency))
        .bind(array(&names.words))
        .bind(array(&names.own_rates))
        .fetch_all(connection)
        .await?;
    let rates = rates.iter().map(|row| Ok(rate_row!(row))).collect::<Result<_, sqlx::Error>>()?;
    let rows = rows.iter().map(|row| Ok(fact!(row))).collect::<Result<_, sqlx::Error>>()?;
    Ok(keyed::facts(rows, rates))
}

async fn take(
    connection: &mut SqliteConnection,
    request: &ClaimRequest<'_>,
    admission: &Admission,
    now: i64,
) -> Result<Claim, sqlx::Error> {
    if admission.admitted.is_empty() {
        return Ok(Claim::default());
    }
    let admitted: Vec<Value> =
        admission.admitted.iter().map(|admitted| json!([admitted.id, admitted.slot_no])).collect();
    let rows = query(include_str!("sql/claim_keyed.sql"))
        .bind(Value::from(admitted).to_string())
        .bind(&request.worker.worker_id)
        .bind(request.worker.incarnation.to_string())
        .bind(modifier(request.lease))
        .bind(now)
        .fetch_all(connection)
        .await?;
    in_claim_order(rows)
}

async fn charge(connection: &mut SqliteConnection, charges: &[Charge], now: i64) -> Result<(), sqlx::Error> {
    if charges.is_empty() {
        return Ok(());
    }
    let rows: Vec<Value> = charges
        .iter()
        .map(|charge| {
            json!([charge.name, charge.rate.per_second, charge.rate.burst, charge.tat, charge.tokens])
        })
        .collect();
    let charge = query(include_str!("sql/charge_rates.sql")).bind(Value::from(rows).to_string()).bind(now);
    charge.execute(connection).await.map(drop)
}
