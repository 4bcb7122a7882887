//! `reproq status`: is anybody working, and what waits.

use std::process::ExitCode;
use std::time::Duration;

use reproq_config::Resolved;
use reproq_model::RunStatus;
use reproq_model::queues::serves;
use reproq_store::{QueueDepth, WorkerSeen};
use serde_json::{Value, json};

use super::periodic;
use crate::exit::Failure;
use crate::{output, wiring};

/// Three default heartbeats: a worker that has been silent for longer is taken for gone.
const SILENT: Duration = Duration::from_secs(15);

/// Shows workers, queues, and whether somebody runs the schedules.
pub fn run(config: &Resolved, as_json: bool) -> Result<ExitCode, Failure> {
    let (workers, depths, (enabled, warning)) = wiring::operate(config, async |operator| {
        Ok((operator.workers().await?, operator.depths().await?, periodic::look(operator).await?))
    })?;
    if as_json {
        let mut object = as_object(&workers, &depths);
        object["schedules"] = json!({"enabled": enabled, "warning": warning});
        output::print(&object.to_string());
    } else {
        output::print(&as_text(&workers, &depths));
        if enabled > 0 {
            output::print(&format!("\n{enabled} schedules enabled: `reproq periodic list` shows them"));
        }
        if let Some(warning) = &warning {
            output::complain(warning);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether it has been heard of lately.
pub fn alive(worker: &WorkerSeen) -> bool {
    worker.silent_for <= SILENT
}

fn as_object(workers: &[WorkerSeen], depths: &[QueueDepth]) -> Value {
    let queues: Vec<Value> = open_queues(workers, depths)
        .iter()
        .map(|queue| {
            json!({
                "queue": queue.name, "ready": queue.ready, "scheduled": queue.scheduled, "running": queue.running,
                "waiting": queue.waiting, "oldest_seconds": queue.oldest.map(|age| age.as_secs_f64()), "served": queue.served,
            })
        })
        .collect();
    let workers: Vec<Value> = workers
        .iter()
        .map(|worker| {
            json!({
                "worker_id": worker.worker_id, "hostname": worker.hostname, "concurrency": worker.concurrency,
                "queues": queues_of(worker), "version": worker.version,
                "silent_seconds": worker.silent_for.as_secs_f64(), "alive": alive(worker),
            })
        })
        .collect();
    json!({"workers": workers, "queues": queues})
}

fn as_text(workers: &[WorkerSeen], depths: &[QueueDepth]) -> String {
    let queues = queue_table(&open_queues(workers, depths));
    format!("{}\n\n{queues}", worker_table(workers))
}

fn worker_table(workers: &[WorkerSeen]) -> String {
    if workers.is_empty() {
        return "no worker has signed on: start one with `python manage.py reproq worker`".to_owned();
    }
    let row = |worker: &WorkerSeen| {
        let silence = output::span(worker.silent_for.as_secs_f64());
        let state = if alive(worker) { "alive".to_owned() } else { format!("silent for {silence}") };
        let (slots, queues) = (worker.concurrency.to_string(), queues_of(worker).join(","));
        vec![worker.worker_id.clone(), state, slots, queues, worker.version.clone()]
    };
    let rows: Vec<Vec<String>> = workers.iter().map(row).collect();
    output::table(&["worker", "state", "slots", "queues", "version"], &rows)
}

fn queue_table(queues: &[OpenQueue<'_>]) -> String {
    if queues.is_empty() {
        return "nothing waits and nothing runs".to_owned();
    }
    let row = |queue: &OpenQueue<'_>| {
        let counts =
            [queue.ready, queue.scheduled, queue.running, queue.waiting].map(|count| count.to_string());
        let oldest = queue.oldest.map_or_else(|| "-".to_owned(), |age| output::span(age.as_secs_f64()));
        let note = if queue.served { "" } else { "no live worker serves it" };
        [vec![queue.name.to_owned()], counts.to_vec(), vec![oldest, note.to_owned()]].concat()
    };
    let rows: Vec<Vec<String>> = queues.iter().map(row).collect();
    output::table(&["queue", "ready", "scheduled", "running", "waiting", "oldest", ""], &rows)
}

/// The queues that it serves, as it wrote them down.
pub fn queues_of(worker: &WorkerSeen) -> Vec<String> {
    // Another version may have written something else there; it is shown as nothing.
    serde_json::from_str(&worker.queues).unwrap_or_default()
}

/// A queue that holds something that has not ended.
struct OpenQueue<'a> {
    name: &'a str,
    ready: i64,
    scheduled: i64,
    running: i64,
    waiting: i64,
    oldest: Option<Duration>,
    /// Whether a live worker serves it.
    served: bool,
}

fn open_queues<'a>(workers: &[WorkerSeen], depths: &'a [QueueDepth]) -> Vec<OpenQueue<'a>> {
    let listed: Vec<Vec<String>> = workers.iter().filter(|worker| alive(worker)).map(queues_of).collect();
    let mut names: Vec<&str> = depths.iter().map(|depth| depth.queue_name.as_str()).collect();
    names.dedup();
    let of =
        |name: &str, status| depths.iter().find(|depth| depth.queue_name == name && depth.status == status);
    let count = |name: &str, status| of(name, status).map_or(0, |depth| depth.count);
    names
        .into_iter()
        .map(|name| {
            let ready = of(name, RunStatus::Ready);
            let scheduled = ready.map_or(0, |depth| depth.scheduled);
            OpenQueue {
                name,
                ready: ready.map_or(0, |depth| depth.count) - scheduled,
                scheduled,
                running: count(name, RunStatus::Running),
                waiting: count(name, RunStatus::Waiting),
                oldest: ready.and_then(|depth| depth.oldest_age),
                served: listed.iter().any(|patterns| serves(patterns, name)),
            }
        })
        .filter(|queue| queue.ready + queue.scheduled + queue.running + queue.waiting > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(queues: &str, silent_for: Duration) -> WorkerSeen {
        WorkerSeen {
            worker_id: "w".to_owned(),
            hostname: "h".to_owned(),
            concurrency: 2,
            queues: queues.to_owned(),
            version: "0".to_owned(),
            silent_for,
        }
    }

    fn depth(queue: &str, status: RunStatus, count: i64, scheduled: i64) -> QueueDepth {
        QueueDepth { queue_name: queue.to_owned(), status, count, scheduled, oldest_age: None }
    }

    #[test]
    fn a_queue_is_served_by_a_pattern_that_matches_it_and_not_by_an_exclusion() {
        let workers = [
            worker(r#"["mail-*","!mail-slow"]"#, Duration::ZERO),
            worker(r#"["!default","!mail-*","!odd"]"#, Duration::from_secs(1)),
        ];
        let queues = ["default", "mail-late", "mail-slow", "odd", "other"];
        let depths = queues.map(|queue| depth(queue, RunStatus::Ready, 1, 0));
        let served: Vec<bool> = open_queues(&workers, &depths).iter().map(|queue| queue.served).collect();
        assert_eq!(served, [false, true, false, false, true]);
    }

    #[test]
    fn a_queue_that_no_live_worker_serves_is_pointed_out() {
        let workers = [worker("[\"a\"]", Duration::ZERO), worker("[\"b\"]", Duration::from_mins(1))];
        let depths = [
            depth("a", RunStatus::Ready, 3, 2),
            depth("b", RunStatus::Ready, 1, 0),
            depth("c", RunStatus::Failed, 9, 0),
        ];
        let text = as_text(&workers, &depths);
        let line = |queue: &str| text.lines().find(|line| line.starts_with(queue)).map(str::to_owned);
        assert_eq!(
            line("a ").unwrap().split_whitespace().collect::<Vec<_>>(),
            ["a", "1", "2", "0", "0", "-"]
        );
        assert!(line("b ").unwrap().ends_with("no live worker serves it"));
        assert_eq!(line("c "), None);
        assert!(text.contains("silent for 60s"));
    }
}
