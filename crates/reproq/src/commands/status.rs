//! `reproq status`: is anybody working, and what waits.

use std::process::ExitCode;
use std::time::Duration;

use reproq_config::Resolved;
use reproq_model::RunStatus;
use reproq_store::{QueueDepth, WorkerSeen};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::{output, wiring};

/// Three default heartbeats: a worker that has been silent for longer is taken for gone.
const SILENT: Duration = Duration::from_secs(15);

/// Shows workers and queues.
pub fn run(config: &Resolved, as_json: bool) -> Result<ExitCode, Failure> {
    let (workers, depths) = wiring::runtime()?.block_on(async {
        let store = wiring::store(config).await?;
        store.check_schema().await?;
        Ok::<_, Failure>((store.workers().await?, store.depths().await?))
    })?;
    if as_json {
        output::print(&as_object(&workers, &depths).to_string());
    } else {
        output::print(&as_text(&workers, &depths));
    }
    Ok(ExitCode::SUCCESS)
}

fn alive(worker: &WorkerSeen) -> bool {
    worker.silent_for <= SILENT
}

fn as_object(workers: &[WorkerSeen], depths: &[QueueDepth]) -> Value {
    let workers: Vec<Value> = workers
        .iter()
        .map(|worker| {
            json!({
                "worker_id": worker.worker_id, "hostname": worker.hostname, "concurrency": worker.concurrency,
                "queues": serde_json::from_str::<Value>(&worker.queues).unwrap_or_default(), "version": worker.version,
                "silent_seconds": worker.silent_for.as_secs_f64(), "alive": alive(worker),
            })
        })
        .collect();
    let queues: Vec<Value> = open_queues(depths)
        .map(|(name, ready, running, waiting, oldest)| {
            let oldest = oldest.map(|age| age.as_secs_f64());
            json!({"queue": name, "ready": ready, "running": running, "waiting": waiting, "oldest_seconds": oldest})
        })
        .collect();
    json!({"workers": workers, "queues": queues})
}

fn as_text(workers: &[WorkerSeen], depths: &[QueueDepth]) -> String {
    let worker_rows: Vec<Vec<String>> = workers
        .iter()
        .map(|worker| {
            let silence = output::span(worker.silent_for.as_secs_f64());
            let state = if alive(worker) { "alive".to_owned() } else { format!("silent for {silence}") };
            let queues: Vec<String> = serde_json::from_str(&worker.queues).unwrap_or_default();
            vec![
                worker.worker_id.clone(),
                state,
                worker.concurrency.to_string(),
                queues.join(","),
                worker.version.clone(),
            ]
        })
        .collect();
    let queue_rows: Vec<Vec<String>> = open_queues(depths)
        .map(|(name, ready, running, waiting, oldest)| {
            let oldest = oldest.map_or_else(|| "-".to_owned(), |age| output::span(age.as_secs_f64()));
            vec![name.to_owned(), ready.to_string(), running.to_string(), waiting.to_string(), oldest]
        })
        .collect();
    let workers = if worker_rows.is_empty() {
        "no worker has signed on: start one with `python manage.py reproq worker`".to_owned()
    } else {
        output::table(&["worker", "state", "slots", "queues", "version"], &worker_rows)
    };
    let queues = if queue_rows.is_empty() {
        "nothing waits and nothing runs".to_owned()
    } else {
        output::table(&["queue", "ready", "running", "waiting", "oldest"], &queue_rows)
    };
    format!("{workers}\n\n{queues}")
}

type OpenQueue<'a> = (&'a str, i64, i64, i64, Option<Duration>);

/// Queues that hold something that has not ended.
fn open_queues(depths: &[QueueDepth]) -> impl Iterator<Item = OpenQueue<'_>> {
    let mut names: Vec<&str> = depths.iter().map(|depth| depth.queue_name.as_str()).collect();
    names.dedup();
    let of =
        |name: &str, status| depths.iter().find(|depth| depth.queue_name == name && depth.status == status);
    let count = move |name: &str, status| of(name, status).map_or(0, |depth| depth.count);
    names.into_iter().filter_map(move |name| {
        let counts =
            [RunStatus::Ready, RunStatus::Running, RunStatus::Waiting].map(|status| count(name, status));
        let [ready, running, waiting] = counts;
        let oldest = of(name, RunStatus::Ready).and_then(|depth| depth.oldest_age);
        (ready + running + waiting > 0).then_some((name, ready, running, waiting, oldest))
    })
}
