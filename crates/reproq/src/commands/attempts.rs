//! `reproq attempts`: how each attempt of a run has ended, and what the running one is at.

use std::process::ExitCode;

use clap::ArgMatches;
use reproq_config::Resolved;
use reproq_model::RunStatus;
use reproq_store::{AttemptEnded, RunFacts};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::{asked, output, wiring};

/// The most characters of an error in the table.
const ERROR_WIDTH: usize = 80;

/// Shows them.
pub fn run(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let id = asked::the_run(flags);
    let run = wiring::operate(config, async |operator| Ok(operator.run(id).await?))?
        .ok_or_else(|| Failure::no_run(id))?;
    output::print(&if flags.get_flag("json") { as_object(&run).to_string() } else { as_text(&run) });
    Ok(ExitCode::SUCCESS)
}

/// An attempt that has ended, for programs.
pub fn object(ended: &AttemptEnded) -> Value {
    json!({
        "attempt": ended.attempt, "epoch": ended.epoch, "worker_id": ended.worker_id, "pid": ended.pid,
        "outcome": ended.outcome, "exit": ended.exit, "exception_class": ended.exception_class, "message": ended.message,
        "started_at": ended.started_at.map(output::moment), "ended_at": ended.ended_at.map(output::moment),
        "took_seconds": took(ended), "cpu_ms": ended.cpu_ms, "max_rss_kib": ended.max_rss_kib,
    })
}

/// Seconds.
fn took(ended: &AttemptEnded) -> Option<f64> {
    Some(output::seconds_between(ended.started_at?, ended.ended_at?))
}

fn as_object(run: &RunFacts) -> Value {
    let running = (run.status == RunStatus::Running).then(|| {
        json!({
            "attempt": run.attempts, "epoch": run.epoch, "worker_id": run.leased_by,
            "started_at": run.last_attempted_at.map(output::moment),
        })
    });
    json!({
        "result_id": run.id, "status": run.status.as_str(), "max_attempts": run.max_attempts,
        "attempts": run.attempts_ended().iter().map(object).collect::<Vec<_>>(), "running": running, "progress": progress(run),
    })
}

fn as_text(run: &RunFacts) -> String {
    let mut rows: Vec<Vec<String>> = run.attempts_ended().iter().map(row).collect();
    if run.status == RunStatus::Running {
        rows.push(running(run));
    }
    if rows.is_empty() {
        let id = run.id;
        return format!(
            "run {id} of {} is {}; no attempt of it is known: `reproq why {id}`",
            run.task_path, run.status
        );
    }
    let head =
        ["attempt", "started", "took", "worker", "pid", "outcome", "exit", "cpu", "peak memory", "error"];
    format!(
        "run {} of {} is {}, {} of {} attempts spent\n\n{}",
        run.id,
        run.task_path,
        run.status,
        run.attempts,
        run.max_attempts,
        output::table(&head, &rows)
    )
}

fn row(ended: &AttemptEnded) -> Vec<String> {
    let shown = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        shown(ended.attempt.map(|attempt| attempt.to_string())),
        shown(ended.started_at.map(output::moment)),
        shown(took(ended).map(output::span)),
        shown(ended.worker_id.clone()),
        shown(ended.pid.map(|pid| pid.to_string())),
        shown(ended.outcome.clone()),
        shown(ended.exit.clone()),
        shown(ended.cpu_ms.map(|ms| output::span(ms / 1000.0))),
        shown(ended.max_rss_kib.map(|kib| format!("{} MiB", kib / 1024))),
        error(ended),
    ]
}

fn error(ended: &AttemptEnded) -> String {
    let class = ended.exception_class.as_ref().map(|class| format!("{class}: ")).unwrap_or_default();
    let text = output::one_line(&format!("{class}{}", ended.message.as_deref().unwrap_or_default()));
    match text.char_indices().nth(ERROR_WIDTH) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn running(run: &RunFacts) -> Vec<String> {
    let started = run.last_attempted_at;
    let so_far = started.map(|at| output::span_between(at, run.now)).unwrap_or_default();
    let unknown = || "-".to_owned();
    vec![
        run.attempts.to_string(),
        started.map_or_else(unknown, output::moment),
        so_far,
        run.leased_by.clone().unwrap_or_else(unknown),
        unknown(),
        "running".to_owned(),
        unknown(),
        unknown(),
        unknown(),
        progress_text(run),
    ]
}

fn progress(run: &RunFacts) -> Option<Value> {
    serde_json::from_str(run.progress.as_deref()?).ok()
}

/// As in `3 of 10: page 3`.
fn progress_text(run: &RunFacts) -> String {
    let Some(said) = progress(run) else { return String::new() };
    let mut words = Vec::new();
    match (&said["current"], &said["total"]) {
        (Value::Number(current), Value::Number(total)) => words.push(format!("{current} of {total}")),
        (Value::Number(current), _) => words.push(current.to_string()),
        _ => {}
    }
    words.extend(said["message"].as_str().map(output::one_line));
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use reproq_model::Epoch;

    fn crashed() -> AttemptEnded {
        AttemptEnded {
            attempt: Some(1),
            epoch: Some(Epoch(1)),
            worker_id: Some("w-1".to_owned()),
            pid: Some(4711),
            outcome: Some("crashed".to_owned()),
            exit: Some("signal 11".to_owned()),
            exception_class: None,
            message: Some(format!("the process\nended {}", "x".repeat(100))),
            started_at: Some(1_000_000),
            ended_at: Some(4_500_000),
            cpu_ms: Some(1250.0),
            max_rss_kib: Some(40_960),
        }
    }

    #[test]
    fn a_row_says_how_the_attempt_ended() {
        let row = row(&crashed());
        assert_eq!(
            row[..9],
            ["1", "1970-01-01T00:00:01Z", "4s", "w-1", "4711", "crashed", "signal 11", "1s", "40 MiB"]
        );
        assert!(row[9].starts_with("the process ended xxx") && row[9].len() == ERROR_WIDTH + 3, "{}", row[9]);
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        assert_eq!(row(&AttemptEnded::default()), ["-", "-", "-", "-", "-", "-", "-", "-", "-", ""]);
    }

    #[test]
    fn programs_get_numbers() {
        let object = object(&crashed());
        assert_eq!((&object["took_seconds"], &object["cpu_ms"]), (&3.5.into(), &1250.0.into()));
    }
}
