//! READY -> RUNNING for runs with keys. See `crate::keyed` for the course of a round.

use std::collections::{HashMap, HashSet};

use reproq_model::admission::{Admission, Candidate, Facts};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _, query};

use super::PostgresStore;
use super::claim::in_claim_order;
use crate::keyed::{
    self, Charge, KeyedLane, Names, Plan, Reach, VISITS_PER_GROUP, Visit, charges, started, with_verdicts,
};
use crate::rows::{fact, rate_row, waiting};
use crate::{Claim, ClaimRequest, StoreError};

/// How often a round plans again when other claimers have the keys that it wants.
const TRIES: usize = 3;

pub(super) async fn claim_keyed(
    store: &PostgresStore,
    request: &ClaimRequest<'_>,
) -> Result<Claim, StoreError> {
    let mut lanes = store.keyed_lanes.lock().await;
    let lane = lanes.of(request.queues);
    let (visit, facts) = store
        .claims
        .run("claim_keyed_visit", async |connection| {
            let visit = visit(connection, request, lane).await?;
            let facts =
                read_facts(connection, &Names::of(&visit.candidates), include_str!("sql/rates.sql")).await?;
            Ok((visit, facts))
        })
        .await?;
    let mut in_other_hands = HashSet::new();
    for _ in 0..TRIES {
        let plan = lane.plan(&visit, &facts, request.limit, &in_other_hands);
        if plan.picks.is_empty() {
            let (again_in, turn_is_over) = (plan.again_in(), plan.turn_is_over());
            let more = lane.move_on(visit, turn_is_over);
            return Ok(Claim { more, again_in, ..Claim::default() });
        }
        let round = store
            .claims
            .run("claim_keyed", async |connection| carry_out(connection, request, lane, &visit, &plan).await)
            .await?;
        match round {
            Round::Beaten(names) => in_other_hands.extend(names),
            Round::Decided { claim, turn_is_over } => {
                let more = lane.move_on(visit, turn_is_over);
                return Ok(Claim { more, ..claim });
            }
        }
    }
    // Whoever holds the keys decides about their runs; this worker comes again.
    Ok(Claim::default())
}

enum Round {
    Decided {
        claim: Claim,
        turn_is_over: bool,
    },
    /// Other claimers hold these names, and nothing was left without them.
    Beaten(Vec<String>),
}

async fn carry_out(
    connection: &mut PgConnection,
    request: &ClaimRequest<'_>,
    lane: &mut KeyedLane,
    visit: &Visit,
    plan: &Plan,
) -> Result<Round, sqlx::Error> {
    // A site may have made another isolation the default; under it the later statements would see the first one's past.
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    let names = Names::of(&plan.picks);
    let held = lock(&mut transaction, &names.to_lock).await?;
    let within: Vec<Candidate> = plan
        .picks
        .iter()
        .filter(|pick| pick.locked_names().all(|name| held.contains(&name)))
        .cloned()
        .collect();
    if within.is_empty() {
        return Ok(Round::Beaten(names.to_lock.into_iter().filter(|name| !held.contains(name)).collect()));
    }
    let facts =
        read_facts(&mut transaction, &Names::of(&within), include_str!("sql/rates_locked.sql")).await?;
    let admission = lane.decide(visit, plan, &within, &facts, request.limit);
    let claim = take(&mut transaction, request, &admission, facts.now).await?;
    charge(&mut transaction, &charges(&started(&claim.runs, &admission), &within, &facts), facts.now).await?;
    transaction.commit().await?;
    let turn_is_over = plan.turn_is_over() && admission.turn_is_over;
    Ok(Round::Decided { claim: with_verdicts(claim, &admission), turn_is_over })
}

async fn visit(
    connection: &mut PgConnection,
    request: &ClaimRequest<'_>,
    lane: &KeyedLane,
) -> Result<Visit, sqlx::Error> {
    let queues = request.queues;
    let after: Vec<&str> = queues.iter().map(|queue| lane.cursor(queue)).collect();
    let reach = Reach::of(queues, request.limit);
    let rows = query(include_str!("sql/claim_keyed_visit.sql"))
        .bind(queues)
        .bind(after)
        .bind(reach.visits_per_queue)
        .bind(VISITS_PER_GROUP)
        .bind(reach.runs_per_visit)
        .bind(i64::from(request.limit))
        .fetch_all(connection)
        .await?;
    let mut visit = Visit { candidates: Vec::with_capacity(rows.len()), next_cursors: HashMap::new() };
    for row in rows {
        if row.try_get::<i64, _>("place")? == reach.visits_per_queue {
            visit.next_cursors.insert(row.try_get("queue_name")?, row.try_get("visit_key")?);
        }
        visit.candidates.push(waiting!(row).into());
    }
    Ok(visit)
}

/// Which of these names this transaction may decide about. Waits for nobody.
async fn lock(connection: &mut PgConnection, names: &[String]) -> Result<HashSet<String>, sqlx::Error> {
    let rows = query(include_str!("sql/lock_keys.sql")).bind(names).fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get("key")).collect()
}

async fn read_facts(
    connection: &mut PgConnection,
    names: &Names,
    rates: &'static str,
) -> Result<Facts, sqlx::Error> {
    // The rates first: waiting for one of them must not make the rest, and the clock, older.
    let rates = query(rates).bind(&names.rates).fetch_all(&mut *connection).await?;
    let rows = query(include_str!("sql/key_facts.sql"))
        .bind(&names.locks)
        .bind(&names.concurrency)
        .bind(&names.words)
        .bind(&names.own_rates)
        .fetch_all(connection)
        .await?;
    let rates = rates.iter().map(|row| Ok(rate_row!(row))).collect::<Result<_, sqlx::Error>>()?;
    let rows = rows.iter().map(|row| Ok(fact!(row))).collect::<Result<_, sqlx::Error>>()?;
    Ok(keyed::facts(rows, rates))
}

async fn take(
    connection: &mut PgConnection,
    request: &ClaimRequest<'_>,
    admission: &Admission,
    now: i64,
) -> Result<Claim, sqlx::Error> {
    if admission.admitted.is_empty() {
        return Ok(Claim::default());
    }
    let (ids, slots): (Vec<i64>, Vec<i32>) =
        admission.admitted.iter().map(|admitted| (admitted.id.0, admitted.slot_no)).unzip();
    let rows = query(include_str!("sql/claim_keyed.sql"))
        .bind(ids)
        .bind(slots)
        .bind(&request.worker.worker_id)
        .bind(request.worker.incarnation.0)
        .bind(request.lease.as_secs_f64())
        .bind(now)
        .fetch_all(connection)
        .await?;
    in_claim_order(rows)
}

async fn charge(connection: &mut PgConnection, charges: &[Charge], now: i64) -> Result<(), sqlx::Error> {
    if charges.is_empty() {
        return Ok(());
    }
    query(include_str!("sql/charge_rates.sql"))
        .bind(charges.iter().map(|charge| charge.name.as_str()).collect::<Vec<_>>())
        .bind(charges.iter().map(|charge| charge.rate.per_second).collect::<Vec<_>>())
        .bind(charges.iter().map(|charge| charge.rate.burst).collect::<Vec<_>>())
        .bind(charges.iter().map(|charge| charge.tat).collect::<Vec<_>>())
        .bind(charges.iter().map(|charge| f64::from(charge.tokens)).collect::<Vec<_>>())
        .bind(now)
        .execute(connection)
        .await
        .map(drop)
}
