//! A member of a workflow that waits, or has failed for the sake of another.

use reproq_model::RunId;
use reproq_store::{Explanation, Member, RunFacts, WaitsFor};
use serde_json::{Value, json};

use super::{Reason, last_error};
use crate::output;

/// Runs that are named.
const NAMED: usize = 5;

/// What a WAITING member waits for.
pub(super) fn waiting(facts: &Explanation, waits: &WaitsFor) -> Reason {
    let (run, workflow) = (&facts.run, &waits.workflow);
    if workflow.on_failure == Some(run.id) {
        let text = format!(
            "it starts if workflow {} fails, when its last run has ended; the workflow is {}",
            workflow.id, workflow.status
        );
        return Reason::new("waiting_for_failure", text)
            .with("workflow_id", workflow.id.to_string())
            .advise(format!("`reproq workflow show {}`", workflow.id));
    }
    let step = run.after_step.unwrap_or_default();
    let reason = match workflow.steps.first() {
        _ if waits.runs.is_empty() => Reason::new(
            "waiting_for_step",
            format!("step {step} of its workflow is over; a worker lets it go within a second, if one runs"),
        ),
        counted => {
            let pending = counted.map_or(0, |counted| counted.pending);
            let text = format!(
                "it waits for step {step} of its workflow, which has {pending} to end: {}",
                named(&waits.runs)
            );
            Reason::new("waiting_for_step", text).with("pending", pending)
        }
    };
    reason
        .with("workflow_id", workflow.id.to_string())
        .with("step", step)
        .with("runs", waits.runs.iter().take(NAMED).map(object).collect::<Value>())
        .advise(format!("`reproq workflow show {}`", workflow.id))
}

fn named(runs: &[Member]) -> String {
    let mut names: Vec<String> = runs
        .iter()
        .take(NAMED)
        .map(|run| {
            let error = run.last_error.as_ref().map(|error| format!(": {}", output::one_line(error)));
            format!("run {} of {} ({}{})", run.id, run.task_path, run.status, error.unwrap_or_default())
        })
        .collect();
    if runs.len() > NAMED {
        names.push("and more".to_owned());
    }
    names.join(", ")
}

fn object(run: &Member) -> Value {
    json!({"result_id": run.id, "status": run.status.as_str(), "task_path": run.task_path})
}

/// A member that failed because another had.
pub(super) fn spoilt(facts: &Explanation, ended: &str) -> Reason {
    let (_, error) = last_error(&facts.run);
    let text =
        format!("it never ran: a run of its workflow that it waits for ended badly ({ended}): {error}");
    let reason = Reason::new("workflow_failed", text);
    let reason = match &facts.run.workflow_id {
        Some(id) => reason.with("workflow_id", id.to_string()),
        None => reason,
    };
    match culprit(facts) {
        Some(culprit) => reason.with("culprit", culprit.0).advise(format!(
            "`reproq why {culprit}`, then `reproq triage retry --id {culprit}`: this run follows"
        )),
        None => reason.advise(format!("`reproq replay --id {}` runs it by itself", facts.run.id)),
    }
}

/// Who keeps its step bad now, else who is written down in its errors.
fn culprit(facts: &Explanation) -> Option<RunId> {
    let counted = facts.waits_for.as_ref().and_then(|waits| waits.workflow.steps.first());
    match counted.and_then(|step| step.culprit.as_ref()) {
        Some(culprit) if culprit.status.is_none() => None,
        Some(culprit) => Some(culprit.id),
        None => written(&facts.run),
    }
}

fn written(run: &RunFacts) -> Option<RunId> {
    run.last_entry()["failed_result_id"].as_i64().map(RunId)
}
