//! What a RUNNING run is at.

use reproq_store::Explanation;

use super::{Reason, when, with_last_attempt};
use crate::commands::status;

pub(super) fn reasons(facts: &Explanation) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = [lease_ended(facts), cancelling(facts)].into_iter().flatten().collect();
    if reasons.is_empty() {
        reasons.push(at_work(facts));
    }
    reasons
}

fn worker(facts: &Explanation) -> &str {
    facts.run.leased_by.as_deref().unwrap_or("unknown")
}

fn lease_ended(facts: &Explanation) -> Option<Reason> {
    let run = &facts.run;
    let until = run.leased_until.filter(|until| *until < run.now)?;
    let name = worker(facts);
    let known = facts.workers.iter().find(|worker| worker.worker_id == name);
    let state = match known {
        Some(worker) if status::alive(worker) => "which is alive, but has lost this run",
        Some(_) => "which is silent",
        None => "which has signed off",
    };
    let text = format!("its lease on worker {name}, {state}, ended {}", when(until, run.now));
    Some(
        Reason::new("lease_ended", text)
            .advise("any live worker takes it back at its next look (--reclaim-interval-seconds); `reproq reclaim` does it now")
            .with("worker_id", name)
            .at("leased_until", Some(until)),
    )
}

fn cancelling(facts: &Explanation) -> Option<Reason> {
    facts.run.cancel_requested.then(|| {
        let text = format!("somebody has cancelled it, and worker {} has yet to stop it", worker(facts));
        Reason::new("cancel_requested", text).with("worker_id", worker(facts))
    })
}

fn at_work(facts: &Explanation) -> Reason {
    let run = &facts.run;
    let since = run.last_attempted_at.or(run.started_at).unwrap_or(run.now);
    let timeout = since.saturating_add(run.timeout_seconds.saturating_mul(1_000_000));
    let text = format!(
        "worker {} has been running attempt {} of {} since {}; its timeout is {}",
        worker(facts),
        run.attempts,
        run.max_attempts,
        when(since, run.now),
        when(timeout, run.now)
    );
    let reason = Reason::new("running", text)
        .with("worker_id", worker(facts))
        .at("since", Some(since))
        .at("timeout_at", Some(timeout));
    with_last_attempt(reason.advise(format!("`reproq cancel {}` stops it", run.id)), run)
}
