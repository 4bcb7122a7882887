//! `reproq triage`: FAILED runs, looked at and tried again.

use std::process::ExitCode;

use clap::ArgMatches;
use reproq_config::Resolved;
use reproq_model::RunId;
use reproq_store::{FailedRun, RetryAnswer, RunFacts};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::{asked, output, wiring};

/// Runs that one statement retries.
const BATCH: u32 = 1000;

/// Tab-separated columns, as the earlier system printed them.
pub fn list(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let limit = flags.get_one("limit").copied().unwrap_or(50);
    let runs = wiring::operate(config, async |operator| {
        Ok(operator.failed(asked::text(flags, "queue"), limit).await?)
    })?;
    if flags.get_flag("json") {
        output::print(&Value::from(runs.iter().map(as_object).collect::<Vec<_>>()).to_string());
    } else {
        output::print("ID\tQueue\tTask\tAttempts\tFailedAt\tLastError");
        for run in &runs {
            output::print(&as_line(run));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn as_line(run: &FailedRun) -> String {
    let error = output::one_line(run.last_error.as_deref().unwrap_or_default());
    let at = run.failed_at.map_or_else(|| "-".to_owned(), output::moment);
    format!(
        "{}\t{}\t{}\t{}/{}\t{at}\t{error}",
        run.id, run.queue_name, run.task_path, run.attempts, run.max_attempts
    )
}

fn as_object(run: &FailedRun) -> Value {
    json!({
        "result_id": run.id, "queue": run.queue_name, "task_path": run.task_path, "attempts": run.attempts,
        "max_attempts": run.max_attempts, "failed_at": run.failed_at.map(output::moment), "last_error": run.last_error,
    })
}

/// `Key: value` lines, as the earlier system printed them.
pub fn inspect(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let id = asked::the_run(flags);
    let run = wiring::operate(config, async |operator| Ok(operator.run(id).await?))?
        .ok_or_else(|| Failure::no_run(id))?;
    if flags.get_flag("json") {
        output::print(&whole(&run).to_string());
    } else {
        let failed_at = run.failed_at.map_or_else(|| "-".to_owned(), output::moment);
        output::print(&format!(
            "Result ID: {}\nQueue: {}\nTask Path: {}\nStatus: {}\nAttempts: {}/{}\nFailed At: {failed_at}\nLast Error: {}\n\
             Spec JSON: {}\nErrors JSON: {}",
            run.id,
            run.queue_name,
            run.task_path,
            run.status,
            run.attempts,
            run.max_attempts,
            run.last_error.as_deref().unwrap_or("-"),
            run.spec,
            run.errors,
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn whole(run: &RunFacts) -> Value {
    // Text that is no JSON, as another program may have written it, is shown as text.
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| text.into());
    json!({
        "result_id": run.id, "queue": run.queue_name, "task_path": run.task_path, "status": run.status.as_str(),
        "attempts": run.attempts, "max_attempts": run.max_attempts, "failed_at": run.failed_at.map(output::moment),
        "last_error": run.last_error, "spec": read(&run.spec), "errors": read(&run.errors),
    })
}

/// FAILED -> READY. A run that cannot be retried fails the command when it was asked for by its id.
pub fn retry(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let answers = wiring::operate(config, async |operator| {
        if let Some(id) = flags.get_one::<RunId>("id") {
            return Ok(operator.retry(&[*id]).await?);
        }
        // Ascending ids: a run that fails again meanwhile is not met twice.
        let (mut answers, mut after) = (Vec::new(), RunId(0));
        loop {
            let ids = operator.failed_after(after, asked::text(flags, "queue"), BATCH).await?;
            let Some(last) = ids.last() else { return Ok(answers) };
            after = *last;
            answers.extend(operator.retry(&ids).await?);
        }
    })?;
    if let (Some(id), [(_, answer)]) = (flags.get_one::<RunId>("id"), answers.as_slice()) {
        match answer {
            RetryAnswer::Unknown => return Err(Failure::no_run(*id)),
            RetryAnswer::Found(status) => {
                return Err(Failure::refused(
                    format!("run {id} is {status}: only FAILED runs are retried"),
                    None,
                ));
            }
            RetryAnswer::Spoilt(culprit) => return Err(spoilt(*id, *culprit)),
            RetryAnswer::Retried | RetryAnswer::Twin(_) => {}
        }
    }
    report(&answers, flags.get_flag("json"));
    Ok(ExitCode::SUCCESS)
}

/// It waits for a run that failed, and would fail again.
fn spoilt(id: RunId, culprit: Option<RunId>) -> Failure {
    let what =
        |who: &str| format!("run {id} failed because {who} of its workflow did, and follows it by itself");
    match culprit {
        Some(culprit) => Failure::refused(
            what(&format!("run {culprit}")),
            Some(format!(
                "retry that one: `reproq triage retry --id {culprit}`; `reproq replay --id {id}` runs this one alone"
            )),
        ),
        None => Failure::refused(what("another"), Some(format!("`reproq replay --id {id}` runs it alone"))),
    }
}

fn report(answers: &[(RunId, RetryAnswer)], as_json: bool) {
    let retried = answers.iter().filter(|(_, answer)| *answer == RetryAnswer::Retried).count();
    let twins: Vec<(RunId, RunId)> = answers
        .iter()
        .filter_map(|(id, answer)| match answer {
            RetryAnswer::Twin(twin) => Some((*id, *twin)),
            _ => None,
        })
        .collect();
    let spoilt = answers.iter().filter(|(_, answer)| matches!(answer, RetryAnswer::Spoilt(_))).count();
    if as_json {
        let twins: Vec<Value> =
            twins.iter().map(|(id, twin)| json!({"result_id": id, "twin": twin})).collect();
        output::print(&json!({"retried": retried, "twins": twins, "followers": spoilt}).to_string());
        return;
    }
    output::print(&format!("{retried} retried"));
    if spoilt > 0 {
        output::print(&format!("{spoilt} failed for the sake of others of their workflows and follow these"));
    }
    for (id, twin) in twins {
        output::print(&format!("run {id} stays FAILED: run {twin} is active and stands for it"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_list_has_six_columns_whatever_the_error() {
        let run = FailedRun {
            id: RunId(7),
            queue_name: "mail".to_owned(),
            task_path: "shop.tasks.send".to_owned(),
            attempts: 2,
            max_attempts: 3,
            failed_at: Some(0),
            last_error: Some("no\tway\nout".to_owned()),
        };
        assert_eq!(as_line(&run), "7\tmail\tshop.tasks.send\t2/3\t1970-01-01T00:00:00Z\tno way out");
    }
}
