//! What keeps a READY run from starting.

use reproq_model::{Rate, queues};
use reproq_store::{Control, Explanation, Holder, WorkerSeen};
use serde_json::{Value, json};

use super::{Reason, last_error, when, with_last_attempt};
use crate::commands::status;

pub(super) fn reasons(facts: &Explanation) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = [expired(facts)].into_iter().flatten().collect();
    reasons.extend(facts.pauses.iter().map(|pause| paused(pause, facts)));
    reasons.extend(not_due(facts));
    reasons.extend(no_worker(facts));
    reasons.extend(lock(facts));
    reasons.extend(limit(facts));
    reasons.extend(rates(facts));
    reasons.extend(no_free_slot(facts));
    reasons.extend(in_line(facts));
    let waits_for_itself = reasons.iter().any(|reason| reason.code == "backing_off");
    if reasons.is_empty() {
        let text = "nothing holds it back: it should start within a second";
        reasons.push(
            Reason::new("nothing", text).advise("ask again; if it is still here, look at its workers' logs"),
        );
    }
    reasons.extend(tried_before(facts).filter(|_| !waits_for_itself));
    reasons
}

fn tried_before(facts: &Explanation) -> Option<Reason> {
    let run = &facts.run;
    run.attempts_ended().last()?;
    let (kind, error) = last_error(run);
    let text = format!("it has been tried before: {error}");
    Some(with_last_attempt(Reason::new("tried_before", text).with("kind", kind).with("error", error), run))
}

fn expired(facts: &Explanation) -> Option<Reason> {
    let run = &facts.run;
    let at = run.expires_at.filter(|at| *at <= run.now)?;
    let text = format!(
        "it has expired: it was to start before {}; the worker that gets it will end it",
        when(at, run.now)
    );
    let advice = format!("`reproq replay --id {}` enqueues the same call again", run.id);
    Some(Reason::new("expired", text).advise(advice).at("expires_at", Some(at)))
}

fn paused(pause: &Control, facts: &Explanation) -> Reason {
    let now = facts.run.now;
    let (kind, code) = if pause.is_task { ("task", "task_paused") } else { ("queue", "queue_paused") };
    let since = pause.paused_at.map(|at| format!(" since {}", when(at, now))).unwrap_or_default();
    let until = pause.resume_at.map(|at| format!(", until {}", when(at, now))).unwrap_or_default();
    let reason = pause.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    Reason::new(code, format!("the {kind} {} is paused{since}{until}{reason}", pause.name))
        .advise(format!("`reproq resume --{kind} {}`", pause.name))
        .with(kind, pause.name.clone())
        .with("reason", pause.reason.clone())
        .at("paused_at", pause.paused_at)
        .at("resume_at", pause.resume_at)
}

fn not_due(facts: &Explanation) -> Option<Reason> {
    let run = &facts.run;
    let at = run.run_after.filter(|at| *at > run.now)?;
    let advice = format!("`reproq reschedule {} --now`", run.id);
    if run.attempts == 0 {
        let text = format!("it is not due before {}", when(at, run.now));
        return Some(Reason::new("not_due", text).advise(advice).at("run_after", Some(at)));
    }
    let (kind, error) = last_error(run);
    let text = format!(
        "attempt {} of {} failed, the next one is due {}: {error}",
        run.attempts,
        run.max_attempts,
        when(at, run.now)
    );
    let reason = Reason::new("backing_off", text).advise(advice).at("run_after", Some(at));
    Some(with_last_attempt(reason.with("kind", kind).with("error", error), run))
}

fn serving(facts: &Explanation) -> impl Iterator<Item = &WorkerSeen> {
    facts.workers.iter().filter(|worker| {
        status::alive(worker) && queues::serves(&status::queues_of(worker), &facts.run.queue_name)
    })
}

fn no_worker(facts: &Explanation) -> Option<Reason> {
    if serving(facts).next().is_some() {
        return None;
    }
    let queue = &facts.run.queue_name;
    let alive: Vec<&WorkerSeen> = facts.workers.iter().filter(|worker| status::alive(worker)).collect();
    let others = match alive.as_slice() {
        [] => "no worker is alive at all".to_owned(),
        workers => {
            let listed = workers
                .iter()
                .take(3)
                .map(|worker| format!("{} ({})", worker.worker_id, status::queues_of(worker).join(",")));
            format!("alive are {}", listed.collect::<Vec<_>>().join(", "))
        }
    };
    let text = format!("no live worker serves the queue {queue}; {others}");
    let advice = format!("start one: `python manage.py reproq worker --queues {queue}`");
    let alive: Vec<Value> = alive.iter().map(|worker| worker.worker_id.clone().into()).collect();
    Some(Reason::new("no_worker", text).advise(advice).with("queue", queue.clone()).with("alive", alive))
}

fn held_by(holder: &Holder, now: i64) -> String {
    format!("run {} on worker {} since {}", holder.id, holder.worker_id, when(holder.since, now))
}

fn lock(facts: &Explanation) -> Option<Reason> {
    let key = facts.run.lock_key.as_ref()?;
    let holder = facts.holders.iter().find(|holder| holder.lock && holder.id != facts.run.id)?;
    Some(
        Reason::new("lock_held", format!("its lock {key:?} is held by {}", held_by(holder, facts.run.now)))
            .advise(format!("`reproq why {}`", holder.id))
            .with("lock_key", key.clone())
            .with("holder", holder.id.0)
            .with("worker_id", holder.worker_id.clone())
            .at("since", Some(holder.since)),
    )
}

/// How many of its key may run at the same time: an operator's word, the latest enqueue's, its own.
fn allowed(facts: &Explanation, key: &str) -> Option<u64> {
    let name = format!("concurrency:{key}");
    let word = facts.words.iter().find(|word| word.key == name);
    let amount = word.map_or(f64::from(facts.run.concurrency_limit), |word| word.amount);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number, above 0")]
    (amount > 0.0).then_some(amount as u64)
}

fn limit(facts: &Explanation) -> Option<Reason> {
    let key = facts.run.concurrency_key.as_ref()?;
    let allowed = allowed(facts, key)?;
    let holders: Vec<&Holder> = facts.holders.iter().filter(|holder| !holder.lock).collect();
    if (holders.len() as u64) < allowed {
        return None;
    }
    let mut named: Vec<String> =
        holders.iter().take(3).map(|holder| held_by(holder, facts.run.now)).collect();
    if holders.len() > named.len() {
        named.push(format!("{} more", holders.len() - named.len()));
    }
    let text =
        format!("its key {key:?} allows {allowed} at the same time, and they run: {}", named.join(", "));
    let holders: Vec<Value> =
        holders.iter().map(|holder| json!({"result_id": holder.id, "worker_id": holder.worker_id})).collect();
    Some(
        Reason::new("limit_reached", text)
            .advise(format!(
                "`reproq limit set --key concurrency:{key} --max {}` lets one more in",
                allowed + 1
            ))
            .with("concurrency_key", key.clone())
            .with("limit", allowed)
            .with("holders", holders),
    )
}

/// The rates that are spent, the one that opens last first.
fn rates(facts: &Explanation) -> Vec<Reason> {
    let run = &facts.run;
    let mut spent: Vec<(i64, Reason)> = facts
        .rates
        .iter()
        .filter_map(|row| {
            let word = facts.words.iter().find(|word| row.stated && word.key == row.key);
            let (amount, burst) = word.map_or((row.per_second, row.burst), |word| (word.amount, word.burst));
            let until = Rate::new(amount, burst)?.next_at(row.tat, run.now);
            let text = format!(
                "the rate {} ({amount} per second, burst {burst}) is spent until {}",
                row.key,
                when(until, run.now)
            );
            let reason = Reason::new("rate_spent", text)
                .advise(format!("`reproq limit set --key {} --rate <more>`", row.key))
                .with("key", row.key.clone())
                .with("rate", amount)
                .with("burst", burst)
                .at("until", Some(until));
            (until > run.now).then_some((until, reason))
        })
        .collect();
    spent.sort_by_key(|(until, _)| -until);
    spent.into_iter().map(|(_, reason)| reason).collect()
}

fn no_free_slot(facts: &Explanation) -> Option<Reason> {
    let (mut slots, mut running) = (0, 0);
    for worker in serving(facts) {
        slots += i64::from(worker.concurrency);
        running +=
            facts.busy.iter().find(|(name, _)| *name == worker.worker_id).map_or(0, |(_, running)| *running);
    }
    if slots == 0 || running < slots {
        return None;
    }
    let workers = serving(facts).count();
    let plural = if workers == 1 { "" } else { "s" };
    let text = format!("all {slots} slots of the {workers} live worker{plural} of its queue are busy");
    Some(
        Reason::new("no_free_slot", text)
            .advise("wait, raise --concurrency, or start another worker")
            .with("slots", slots)
            .with("running", running),
    )
}

fn in_line(facts: &Explanation) -> Option<Reason> {
    let run = &facts.run;
    // A run that is not due stands in no line yet.
    if facts.ahead == 0 || run.gate == Some(1) {
        return None;
    }
    let count = if facts.ahead >= 1000 { "1000 or more".to_owned() } else { facts.ahead.to_string() };
    let of = if run.gate == Some(2) { "with the same keys" } else { "in its queue" };
    let (runs, stand) = if facts.ahead == 1 { ("run", "stands") } else { ("runs", "stand") };
    Some(Reason::new("in_line", format!("{count} {runs} {of} {stand} before it")).with("ahead", facts.ahead))
}
