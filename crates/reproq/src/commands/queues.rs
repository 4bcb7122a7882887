//! `reproq queues`: what each queue holds, and what is paused.

use std::process::ExitCode;

use reproq_config::Resolved;
use reproq_model::RunStatus;
use reproq_store::{Control, QueueDepth};
use serde_json::{Value, json};

use super::pause;
use crate::exit::Failure;
use crate::{output, wiring};

/// Queues that hold runs or are paused, and paused tasks.
pub fn run(config: &Resolved, as_json: bool) -> Result<ExitCode, Failure> {
    let (depths, controls) =
        wiring::operate(config, async |operator| Ok((operator.depths().await?, operator.controls().await?)))?;
    if as_json {
        output::print(&as_object(&depths, &controls).to_string());
    } else {
        output::print(&as_text(&depths, &controls));
    }
    Ok(ExitCode::SUCCESS)
}

struct Line<'a> {
    name: &'a str,
    ready: i64,
    scheduled: i64,
    running: i64,
    waiting: i64,
    pause: Option<&'a Control>,
}

fn lines<'a>(depths: &'a [QueueDepth], controls: &'a [Control]) -> Vec<Line<'a>> {
    let pause = |name: &str| controls.iter().find(|control| !control.is_task && control.name == name);
    let mut names: Vec<&str> = depths.iter().map(|depth| depth.queue_name.as_str()).collect();
    names.extend(controls.iter().filter(|control| !control.is_task).map(|control| control.name.as_str()));
    names.sort_unstable();
    names.dedup();
    let of =
        |name: &str, status| depths.iter().find(|depth| depth.queue_name == name && depth.status == status);
    let count = |name: &str, status| of(name, status).map_or(0, |depth| depth.count);
    names
        .into_iter()
        .map(|name| {
            let scheduled = of(name, RunStatus::Ready).map_or(0, |depth| depth.scheduled);
            Line {
                name,
                ready: count(name, RunStatus::Ready) - scheduled,
                scheduled,
                running: count(name, RunStatus::Running),
                waiting: count(name, RunStatus::Waiting),
                pause: pause(name),
            }
        })
        .collect()
}

fn as_object(depths: &[QueueDepth], controls: &[Control]) -> Value {
    let queues: Vec<Value> = lines(depths, controls)
        .iter()
        .map(|line| {
            json!({
                "queue": line.name, "ready": line.ready, "scheduled": line.scheduled, "running": line.running,
                "waiting": line.waiting, "paused": line.pause.is_some(),
                "reason": line.pause.and_then(|pause| pause.reason.clone()),
                "paused_at": line.pause.and_then(|pause| pause.paused_at).map(output::moment),
                "resume_at": line.pause.and_then(|pause| pause.resume_at).map(output::moment),
            })
        })
        .collect();
    let tasks: Vec<Value> = controls.iter().filter(|control| control.is_task).map(pause::as_object).collect();
    json!({"queues": queues, "paused_tasks": tasks})
}

fn as_text(depths: &[QueueDepth], controls: &[Control]) -> String {
    let row = |line: &Line<'_>| {
        let counts = [line.ready, line.scheduled, line.running, line.waiting].map(|count| count.to_string());
        let pause = line.pause.map(words).unwrap_or_default();
        [vec![line.name.to_owned()], counts.to_vec(), vec![pause]].concat()
    };
    let rows: Vec<Vec<String>> = lines(depths, controls).iter().map(row).collect();
    let text = if rows.is_empty() {
        "no queue holds a run, and none is paused".to_owned()
    } else {
        output::table(&["queue", "ready", "scheduled", "running", "waiting", ""], &rows)
    };
    let tasks = controls.iter().filter(|control| control.is_task);
    let tasks = tasks.map(|task| format!("task {}: {}", task.name, words(task)));
    [text].into_iter().chain(tasks).collect::<Vec<_>>().join("\n")
}

fn words(pause: &Control) -> String {
    let until = pause.resume_at.map(|at| format!(" until {}", output::moment(at))).unwrap_or_default();
    let reason =
        pause.reason.as_deref().map(|reason| format!(": {}", output::one_line(reason))).unwrap_or_default();
    format!("paused{until}{reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_queue_is_listed_even_when_it_is_empty() {
        let pause = |name: &str, is_task| Control {
            is_task,
            name: name.to_owned(),
            paused_at: Some(0),
            reason: Some("deploy".to_owned()),
            resume_at: Some(60_000_000),
        };
        let depths = [QueueDepth {
            queue_name: "a".to_owned(),
            status: RunStatus::Ready,
            count: 5,
            scheduled: 2,
            oldest_age: None,
        }];
        let text = as_text(&depths, &[pause("b", false), pause("shop.tasks.send", true)]);
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["a", "3", "2", "0", "0"]);
        assert_eq!(words[2], ["b", "0", "0", "0", "0", "paused", "until", "1970-01-01T00:01:00Z:", "deploy"]);
        assert!(text.ends_with("task shop.tasks.send: paused until 1970-01-01T00:01:00Z: deploy"));
    }
}
