//! `reproq stats`: how many runs are where.

use std::process::ExitCode;

use reproq_config::Resolved;
use reproq_model::RunStatus;
use reproq_store::QueueDepth;
use serde_json::{Map, Value, json};

use crate::exit::Failure;
use crate::{output, wiring};

/// Counts by queue and state.
pub fn run(config: &Resolved, as_json: bool) -> Result<ExitCode, Failure> {
    let depths = wiring::runtime()?.block_on(async {
        let store = wiring::store(config).await?;
        store.check_schema().await?;
        Ok::<_, Failure>(store.depths().await?)
    })?;
    if as_json {
        output::print(&as_object(&depths).to_string());
    } else if depths.is_empty() {
        output::print("no runs");
    } else {
        output::print(&as_table(&depths));
    }
    Ok(ExitCode::SUCCESS)
}

/// `{"tasks": {status: n}, "queues": {queue: {status: n}}}`, as the earlier system's statistics have it.
fn as_object(depths: &[QueueDepth]) -> Value {
    let mut tasks = Map::new();
    let mut queues = Map::new();
    for depth in depths {
        let status = depth.status.as_str();
        let total = tasks.get(status).and_then(Value::as_i64).unwrap_or(0) + depth.count;
        tasks.insert(status.to_owned(), total.into());
        let queue = queues.entry(depth.queue_name.clone()).or_insert_with(|| json!({}));
        queue[status] = depth.count.into();
    }
    json!({"tasks": tasks, "queues": queues})
}

fn as_table(depths: &[QueueDepth]) -> String {
    let mut queues: Vec<&str> = depths.iter().map(|depth| depth.queue_name.as_str()).collect();
    queues.dedup();
    let count = |queue: &str, status| {
        let of = depths.iter().find(|depth| depth.queue_name == queue && depth.status == status);
        of.map_or(0, |depth| depth.count).to_string()
    };
    let rows: Vec<Vec<String>> = queues
        .into_iter()
        .map(|queue| {
            std::iter::once(queue.to_owned())
                .chain(RunStatus::ALL.map(|status| count(queue, status)))
                .collect()
        })
        .collect();
    let head: Vec<&str> = std::iter::once("queue").chain(RunStatus::ALL.map(RunStatus::as_str)).collect();
    output::table(&head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(queue: &str, status: RunStatus, count: i64) -> QueueDepth {
        QueueDepth { queue_name: queue.to_owned(), status, count, scheduled: 0, oldest_age: None }
    }

    #[test]
    fn counts_add_up_over_queues() {
        let depths = [
            depth("a", RunStatus::Failed, 1),
            depth("a", RunStatus::Ready, 2),
            depth("b", RunStatus::Ready, 3),
        ];
        assert_eq!(
            as_object(&depths),
            json!({"tasks": {"READY": 5, "FAILED": 1}, "queues": {"a": {"READY": 2, "FAILED": 1}, "b": {"READY": 3}}})
        );
        assert!(as_table(&depths).contains("b            0      3        0           0       0          0"));
    }
}
