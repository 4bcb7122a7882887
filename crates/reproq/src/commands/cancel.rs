//! `reproq cancel`: a run that nobody wants any more.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ArgMatches;
use reproq_config::Resolved;
use reproq_model::{RunId, RunStatus};
use reproq_store::Operator;
use serde_json::json;

use crate::exit::Failure;
use crate::{asked, output, wiring};

/// Between two looks at a run that its worker is stopping.
const LOOK: Duration = Duration::from_millis(100);

/// Says what the run was and what it is: the one that ended first has won.
pub fn run(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let id = asked::the_run(flags);
    let wait = flags.get_one("wait").copied().unwrap_or(Duration::ZERO);
    let (before, after) = wiring::operate(config, async |operator| {
        let cancelled = operator.cancel(&[id]).await?.into_iter().find(|run| run.id == id);
        let run = cancelled.ok_or_else(|| Failure::no_run(id))?;
        Ok((run.before, ended(operator, id, run.after, wait).await?))
    })?;
    if flags.get_flag("json") {
        output::print(
            &json!({"result_id": id, "before": before.as_str(), "status": after.as_str()}).to_string(),
        );
    } else {
        output::print(&words(id, before, after));
    }
    Ok(ExitCode::SUCCESS)
}

/// The run's state, once it is no longer RUNNING or the wait is over.
async fn ended(
    operator: &dyn Operator,
    id: RunId,
    mut status: RunStatus,
    wait: Duration,
) -> Result<RunStatus, Failure> {
    let start = Instant::now();
    while status == RunStatus::Running && start.elapsed() < wait {
        tokio::time::sleep(LOOK).await;
        match operator.run(id).await? {
            Some(run) => status = run.status,
            None => break,
        }
    }
    Ok(status)
}

fn words(id: RunId, before: RunStatus, after: RunStatus) -> String {
    match (before, after) {
        (_, RunStatus::Running) => format!("run {id} is RUNNING; its worker has been asked to stop it"),
        (before, RunStatus::Cancelled) if before != RunStatus::Cancelled => format!("run {id} is CANCELLED"),
        (RunStatus::Running, after) => format!("run {id} was not cancelled: it has become {after} first"),
        (_, after) => format!("run {id} was {after} already"),
    }
}
