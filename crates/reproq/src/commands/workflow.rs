//! `reproq workflow`: runs that wait for each other, as a whole.

use std::process::ExitCode;

use clap::ArgMatches;
use reproq_config::Resolved;
use reproq_model::workflow::Policy;
use reproq_model::{RunId, WorkflowId, WorkflowStatus};
use reproq_store::{Culprit, Member, Operator, StepFacts, WorkflowFacts};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::{asked, output, wiring};

/// Members of one question.
const BATCH: u32 = 1000;

/// What is counted of it; its members only when they are asked for, because there may be very many.
pub fn show(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let id = asked::the_workflow(flags);
    let members = flags.get_flag("members");
    let (facts, members) = wiring::operate(config, async |operator| {
        let facts = operator.workflow(id).await?.ok_or_else(|| unknown(id))?;
        let members = if members { Some(all_members(operator, id).await?) } else { None };
        Ok((facts, members))
    })?;
    output::print(&if flags.get_flag("json") {
        as_object(&facts, members.as_deref()).to_string()
    } else {
        as_text(&facts, members.as_deref())
    });
    Ok(ExitCode::SUCCESS)
}

/// Cancels it and all its runs that have not ended.
pub fn cancel(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let id = asked::the_workflow(flags);
    let done = wiring::operate(config, async |operator| Ok(operator.cancel_workflow(id).await?))?
        .ok_or_else(|| unknown(id))?;
    if flags.get_flag("json") {
        let status = done.status.as_str();
        output::print(
            &json!({"workflow_id": id.to_string(), "status": status, "cancelled": done.cancelled, "requested": done.requested})
                .to_string(),
        );
        return Ok(ExitCode::SUCCESS);
    }
    let already = if done.status == WorkflowStatus::Cancelled { "is" } else { "was already" };
    output::print(&format!("workflow {id} {already} {}: {} cancelled", done.status, runs(done.cancelled)));
    if done.requested > 0 {
        output::print(&format!(
            "{} RUNNING; their workers have been asked to stop them",
            runs(done.requested)
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs everything again that has ended badly by itself.
pub fn retry(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let id = asked::the_workflow(flags);
    let count = wiring::operate(config, async |operator| Ok(operator.retry_workflow(id).await?))?
        .ok_or_else(|| unknown(id))?;
    if flags.get_flag("json") {
        output::print(&json!({"workflow_id": id.to_string(), "retried": count}).to_string());
    } else if count == 0 {
        output::print(&format!("workflow {id} has no FAILED or CANCELLED run to retry"));
    } else {
        output::print(&format!(
            "{} of workflow {id} retried; what failed for their sake follows",
            runs(count)
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown(id: WorkflowId) -> Failure {
    let hint = "it may have been pruned, or live in another database (--dsn, manage.py's --database)";
    Failure::refused(format!("there is no workflow {id}"), Some(hint.to_owned()))
}

fn runs(count: u64) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("{count} runs") }
}

async fn all_members(operator: &dyn Operator, id: WorkflowId) -> Result<Vec<Member>, Failure> {
    let mut members: Vec<Member> = Vec::new();
    loop {
        let after = members.last().map_or(RunId(0), |member| member.id);
        let next = operator.workflow_members(id, after, BATCH).await?;
        if next.is_empty() {
            return Ok(members);
        }
        members.extend(next);
    }
}

const fn policy(policy: Policy) -> &'static str {
    match policy {
        Policy::Fail => "fail",
        Policy::Continue => "continue",
    }
}

fn as_object(facts: &WorkflowFacts, members: Option<&[Member]>) -> Value {
    let mut object = json!({
        "workflow_id": facts.id.to_string(), "status": facts.status.as_str(), "policy": policy(facts.policy),
        "expected": facts.expected, "succeeded": facts.succeeded, "failed": facts.failed, "unfinished": unfinished(facts),
        "uncounted": facts.uncounted, "callback": facts.callback, "on_failure": facts.on_failure,
        "created_at": output::moment(facts.created_at), "finished_at": facts.finished_at.map(output::moment),
        "steps": facts.steps.iter().map(step_object).collect::<Vec<_>>(),
    });
    if let Some(members) = members {
        object["members"] = members.iter().map(member_object).collect();
    }
    object
}

fn step_object(step: &StepFacts) -> Value {
    let culprit = step.culprit.as_ref().map(|culprit| {
        json!({
            "result_id": culprit.id, "task_path": culprit.task_path,
            "status": culprit.status.map(reproq_model::RunStatus::as_str), "last_error": culprit.last_error,
        })
    });
    json!({"step": step.step, "pending": step.pending, "failed": step.failed, "culprit": culprit})
}

fn member_object(member: &Member) -> Value {
    json!({
        "result_id": member.id, "status": member.status.as_str(), "queue": member.queue_name, "task_path": member.task_path,
        "step": member.step, "after_step": member.after_step, "last_error": member.last_error,
    })
}

const fn unfinished(facts: &WorkflowFacts) -> i32 {
    let left = facts.expected - facts.succeeded - facts.failed;
    if left < 0 { 0 } else { left }
}

fn as_text(facts: &WorkflowFacts, members: Option<&[Member]>) -> String {
    let mut lines = vec![
        headline(facts),
        format!(
            "  {} of {} runs succeeded, {} failed, {} to end; policy {}",
            facts.succeeded,
            facts.expected,
            facts.failed,
            unfinished(facts),
            policy(facts.policy)
        ),
    ];
    if facts.uncounted > 0 {
        lines.push(format!("  {} more ends are being counted", facts.uncounted));
    }
    lines.extend(facts.callback.map(|run| format!("  its callback is run {run}")));
    lines.extend(facts.on_failure.map(|run| format!("  should it fail: run {run}")));
    for step in &facts.steps {
        let last = if Some(step.step) == facts.final_step { ", the last" } else { "" };
        lines.push(format!("  step {}{last}: {} to end, {} failed", step.step, step.pending, step.failed));
        lines.extend(step.culprit.as_ref().map(blame));
    }
    if let Some(members) = members {
        let rows: Vec<Vec<String>> = members.iter().map(member_row).collect();
        lines.push(output::table(&["run", "status", "queue", "task", "after", "step", "last error"], &rows));
    }
    lines.join("\n")
}

fn headline(facts: &WorkflowFacts) -> String {
    let since = output::span_between(facts.created_at, facts.now);
    let ended = facts.finished_at.map_or_else(String::new, |at| format!(", ended {}", output::moment(at)));
    format!(
        "workflow {} is {}; enqueued {} ({since} ago){ended}",
        facts.id,
        facts.status,
        output::moment(facts.created_at)
    )
}

fn blame(culprit: &Culprit) -> String {
    let what = culprit.task_path.as_ref().map_or_else(String::new, |task| format!(" of {task}"));
    let state = culprit.status.map_or("gone", reproq_model::RunStatus::as_str);
    let error = culprit.last_error.as_ref().map(|error| format!(": {}", output::one_line(error)));
    format!("    because of run {}{what}, which is {state}{}", culprit.id, error.unwrap_or_default())
}

fn member_row(member: &Member) -> Vec<String> {
    let step = |step: Option<i32>| step.map_or_else(|| "-".to_owned(), |step| step.to_string());
    vec![
        member.id.to_string(),
        member.status.to_string(),
        member.queue_name.clone(),
        member.task_path.clone(),
        step(member.after_step),
        step(member.step),
        output::one_line(member.last_error.as_deref().unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests {
    use reproq_model::RunStatus;

    use super::*;

    fn facts() -> WorkflowFacts {
        let culprit = Culprit {
            id: RunId(7),
            task_path: Some("shop.tasks.pay".to_owned()),
            status: Some(RunStatus::Failed),
            last_error: Some("no\nmoney".to_owned()),
        };
        WorkflowFacts {
            id: WorkflowId::NIL,
            status: WorkflowStatus::Failed,
            policy: Policy::Fail,
            expected: 4,
            succeeded: 1,
            failed: 2,
            final_step: Some(2),
            callback: Some(RunId(9)),
            on_failure: None,
            uncounted: 0,
            created_at: 0,
            finished_at: Some(1_000_000),
            now: 60_000_000,
            steps: vec![
                StepFacts { step: 1, pending: 1, failed: 1, culprit: Some(culprit) },
                StepFacts { step: 2, pending: 0, failed: 1, culprit: None },
            ],
        }
    }

    #[test]
    fn it_says_how_far_it_is_and_what_went_wrong() {
        let text = as_text(&facts(), None);
        let nil = WorkflowId::NIL;
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                &format!(
                    "workflow {nil} is FAILED; enqueued 1970-01-01T00:00:00Z (60s ago), ended 1970-01-01T00:00:01Z"
                ),
                "  1 of 4 runs succeeded, 2 failed, 1 to end; policy fail",
                "  its callback is run 9",
                "  step 1: 1 to end, 1 failed",
                "    because of run 7 of shop.tasks.pay, which is FAILED: no money",
                "  step 2, the last: 0 to end, 1 failed",
            ]
        );
    }

    #[test]
    fn members_are_there_for_who_asks_for_them() {
        assert_eq!(as_object(&facts(), None).get("members"), None);
        let member = Member {
            id: RunId(8),
            status: RunStatus::Waiting,
            queue_name: "default".to_owned(),
            task_path: "shop.tasks.send".to_owned(),
            step: Some(2),
            after_step: Some(1),
            last_error: None,
        };
        let object = as_object(&facts(), Some(std::slice::from_ref(&member)));
        assert_eq!(object["members"][0]["after_step"], 1);
        assert_eq!(object["steps"][0]["culprit"]["result_id"], 7);
        assert!(as_text(&facts(), Some(&[member])).contains("8  WAITING"));
    }
}
