//! `reproq why`: one screen on why a run has not started or not ended.

use std::process::ExitCode;

use clap::ArgMatches;
use reproq_config::Resolved;
use reproq_model::{RunStatus, queues};
use reproq_store::{Explanation, RunFacts, WorkerSeen};
use serde_json::{Value, json};

use super::status;
use crate::exit::Failure;
use crate::why::{Reason, reasons};
use crate::{asked, output, wiring};

/// Reads, and changes nothing.
pub fn run(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let id = asked::the_run(flags);
    let facts = wiring::operate(config, async |operator| Ok(operator.explain(id).await?))?
        .ok_or_else(|| Failure::no_run(id))?;
    let reasons = reasons(&facts);
    output::print(&if flags.get_flag("json") {
        as_object(&facts, &reasons).to_string()
    } else {
        as_text(&facts, &reasons)
    });
    Ok(ExitCode::SUCCESS)
}

fn serving(facts: &Explanation) -> impl Iterator<Item = &WorkerSeen> {
    let queue = &facts.run.queue_name;
    facts
        .workers
        .iter()
        .filter(|worker| status::alive(worker))
        .filter(move |worker| queues::serves(&status::queues_of(worker), queue))
}

fn as_object(facts: &Explanation, reasons: &[Reason]) -> Value {
    let run = &facts.run;
    let workers: Vec<Value> = serving(facts)
        .map(|worker| json!({"worker_id": worker.worker_id, "version": worker.version, "queues": status::queues_of(worker)}))
        .collect();
    json!({
        "result_id": run.id, "status": run.status.as_str(), "task_path": run.task_path, "queue": run.queue_name,
        "attempts": run.attempts, "max_attempts": run.max_attempts, "enqueued_at": output::moment(run.enqueued_at),
        "reasons": reasons.iter().map(Reason::as_object).collect::<Vec<_>>(), "workers": workers,
    })
}

fn as_text(facts: &Explanation, reasons: &[Reason]) -> String {
    let mut lines = vec![headline(&facts.run)];
    for (place, reason) in reasons.iter().enumerate() {
        let also = if place == 0 { "" } else { "also: " };
        lines.push(format!("  {also}{}", reason.text));
        lines.extend(reason.advice.iter().map(|advice| format!("    -> {advice}")));
    }
    if facts.run.status == RunStatus::Ready {
        let workers: Vec<String> = serving(facts)
            .take(5)
            .map(|worker| format!("{} ({})", worker.worker_id, worker.version))
            .collect();
        if !workers.is_empty() {
            lines.push(format!("  its queue is served by {}", workers.join(", ")));
        }
    }
    lines.join("\n")
}

fn headline(run: &RunFacts) -> String {
    let age = output::span_between(run.enqueued_at, run.now);
    format!(
        "run {} of {} in queue {} is {}; enqueued {} ({age} ago)",
        run.id,
        run.task_path,
        run.queue_name,
        run.status,
        output::moment(run.enqueued_at)
    )
}
