//! One look at the schedules that are due. One that cannot fire keeps no other from firing.

use reproq_model::schedule::{Overlap, RunTemplate, Schedule, plan};
use reproq_store::{Fired, Store, StoreError, Tick, Which};

use crate::telemetry;

/// Schedules that are read at the same time.
const PAGE: u32 = 200;

/// What a look has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Runs that were enqueued.
    pub fired: usize,
    /// Schedules that make no sense as they are; their rows say why.
    pub problems: usize,
    /// Schedules that the database would not let fire, for a reason that passes.
    pub failed: usize,
}

/// Fires what is due, schedule by schedule, until `enough` says so. Fails when the database cannot be reached.
pub async fn look(store: &dyn Store, enough: impl Fn() -> bool) -> Result<Look, StoreError> {
    let mut seen = Look::default();
    let mut after = String::new();
    loop {
        let page = store.schedules(Which::Due, &after, PAGE).await?;
        for (name, reason) in &page.unreadable {
            note(store, name, reason, &mut seen).await?;
        }
        for schedule in &page.schedules {
            if enough() {
                return Ok(seen);
            }
            fire(store, schedule, page.now, &mut seen).await?;
        }
        match page.more_after {
            Some(last) => after = last,
            None => return Ok(seen),
        }
    }
}

async fn fire(store: &dyn Store, schedule: &Schedule, now: i64, seen: &mut Look) -> Result<(), StoreError> {
    let (plan, template, overlap) = match prepare(schedule, now) {
        Ok(prepared) => prepared,
        Err(problem) => return note(store, &schedule.name, &problem, seen).await,
    };
    let runs = plan.ticks.iter().map(|at| template.run(*at)).collect();
    match store.fire(&Tick { schedule, plan: &plan, runs, overlap }).await {
        Ok(Fired::Written(runs)) => {
            seen.fired += runs.len();
            telemetry::scheduled(&schedule.name, &plan, &runs);
        }
        Ok(Fired::Elsewhere) => {}
        // It always will.
        Err(error @ StoreError::Refused { .. }) => {
            note(store, &schedule.name, &error.to_string(), seen).await?;
        }
        Err(error @ StoreError::Unwilling { .. }) => {
            telemetry::store_failed("schedule", &error);
            seen.failed += 1;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn prepare(
    schedule: &Schedule,
    now: i64,
) -> Result<(reproq_model::schedule::Plan, RunTemplate, Overlap), String> {
    Ok((plan(schedule, now)?, RunTemplate::of(schedule)?, Overlap::of(&schedule.overlap)?))
}

async fn note(store: &dyn Store, name: &str, problem: &str, seen: &mut Look) -> Result<(), StoreError> {
    seen.problems += 1;
    telemetry::broken_schedule(name, problem);
    store.note_problem(name, problem).await.map(drop)
}
