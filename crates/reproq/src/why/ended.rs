//! How a run has ended.

use reproq_model::{RunStatus, outcome};
use reproq_store::{Explanation, RunFacts};

use super::{Reason, last_error, when, with_last_attempt, workflow};

pub(super) fn reason(facts: &Explanation) -> Reason {
    let run = &facts.run;
    let at = run.finished_at.or(run.failed_at);
    let (kind, error) = last_error(run);
    let ended = at.map(|at| when(at, run.now)).unwrap_or_default();
    let reason = match run.status {
        RunStatus::Successful => {
            Reason::new("succeeded", format!("it succeeded {ended}, at attempt {}", run.attempts))
        }
        RunStatus::Cancelled => cancelled(run, &kind, &ended),
        RunStatus::Failed if run.is_spoilt() => workflow::spoilt(facts, &ended),
        _ => failed(run, &kind, &error, &ended),
    };
    let reason = with_last_attempt(reason.at("finished_at", at), run);
    if run.status == RunStatus::Successful { reason } else { reason.with("kind", kind).with("error", error) }
}

fn cancelled(run: &RunFacts, kind: &str, ended: &str) -> Reason {
    match kind {
        "discarded" if run.step.is_none() && run.workflow_id.is_some() => Reason::new(
            "not_needed",
            format!("it was for the case that its workflow fails, which has succeeded ({ended})"),
        ),
        "discarded" => Reason::new(
            "discarded",
            format!("its key was full when its turn came {ended}, and its task says discard"),
        ),
        "replaced" => Reason::new(
            "replaced",
            format!("a later run of its key took its place {ended}, and its task says replace"),
        ),
        _ => Reason::new("cancelled", format!("somebody cancelled it {ended}")),
    }
}

fn failed(run: &RunFacts, kind: &str, error: &str, ended: &str) -> Reason {
    let retry = format!("`reproq triage retry --id {}`", run.id);
    match kind {
        "security_violation" => {
            Reason::new("not_allowed", format!("its worker may not run it ({ended}): {error}"))
                .advise(format!("allow the module, restart the worker, then {retry}"))
        }
        "expired" => Reason::new("expired", format!("it was not started before it expired ({ended})"))
            .advise(format!("{retry} starts it without the expiry")),
        // The kind `crashed`: written before there was one of its own.
        "quarantined" | "crashed" if run.crash_count >= outcome::CRASH_LIMIT => {
            Reason::new("quarantined", format!("it has killed its process too often ({ended}): {error}"))
                .advise(format!("`reproq triage inspect {}`; mend the task, then {retry}", run.id))
                .with("crash_count", run.crash_count)
        }
        _ => {
            let text =
                format!("it failed {ended}, at attempt {} of {}: {error}", run.attempts, run.max_attempts);
            Reason::new("failed", text).advise(format!("`reproq triage inspect {}`, then {retry}", run.id))
        }
    }
}
