//! Each case that a run can be in, and what is said of it first.

use std::time::Duration;

use reproq_model::workflow::Policy;
use reproq_model::{RunId, RunStatus, WorkflowId, WorkflowStatus};
use reproq_store::{
    Control, Culprit, Explanation, Holder, KeyWord, Member, RateRow, RunFacts, StepFacts, WaitsFor,
    WorkerSeen, WorkflowFacts,
};
use serde_json::json;

use super::{Reason, reasons};

const NOW: i64 = 1_900_000_000_000_000;
const SECOND: i64 = 1_000_000;

/// A run that nothing holds back, with an idle worker.
fn facts() -> Explanation {
    Explanation {
        run: RunFacts {
            id: RunId(12),
            status: RunStatus::Ready,
            queue_name: "mail".to_owned(),
            task_path: "shop.tasks.send".to_owned(),
            backend_alias: "default".to_owned(),
            spec_hash: "h".to_owned(),
            spec: "{}".to_owned(),
            history: "[]".to_owned(),
            progress: None,
            epoch: reproq_model::Epoch(0),
            errors: "[]".to_owned(),
            last_error: None,
            priority: 0,
            attempts: 0,
            max_attempts: 3,
            crash_count: 0,
            timeout_seconds: 60,
            gate: Some(0),
            lock_key: None,
            concurrency_key: None,
            concurrency_limit: 0,
            fairness_key: None,
            rate_key: None,
            rate_per_second: None,
            rate_burst: None,
            cancel_requested: false,
            leased_by: None,
            parent_id: None,
            wait_count: 0,
            workflow_id: None,
            step: None,
            after_step: None,
            enqueued_at: NOW - 5 * SECOND,
            run_after: None,
            expires_at: None,
            started_at: None,
            last_attempted_at: None,
            finished_at: None,
            failed_at: None,
            leased_until: None,
            now: NOW,
        },
        pauses: vec![],
        holders: vec![],
        words: vec![],
        rates: vec![],
        workers: vec![worker("w1", "[\"mail\"]")],
        busy: vec![],
        parent_status: None,
        waits_for: None,
        ahead: 0,
    }
}

fn worker(name: &str, queues: &str) -> WorkerSeen {
    WorkerSeen {
        worker_id: name.to_owned(),
        hostname: "h".to_owned(),
        concurrency: 2,
        queues: queues.to_owned(),
        version: "0.2.0".to_owned(),
        silent_for: Duration::ZERO,
    }
}

fn ended(status: RunStatus, kind: &str, message: &str) -> Explanation {
    let mut facts = facts();
    facts.run.status = status;
    facts.run.attempts = 3;
    facts.run.finished_at = Some(NOW - 60 * SECOND);
    facts.run.errors = json!([{"kind": "app_error"}, {"kind": kind, "message": message}]).to_string();
    facts
}

fn running() -> Explanation {
    let mut facts = facts();
    facts.run.status = RunStatus::Running;
    facts.run.leased_by = Some("w1".to_owned());
    facts.run.last_attempted_at = Some(NOW - 20 * SECOND);
    facts.run.leased_until = Some(NOW + 10 * SECOND);
    facts
}

fn codes(facts: &Explanation) -> Vec<&'static str> {
    reasons(facts).iter().map(|reason| reason.code).collect()
}

fn only(facts: &Explanation) -> Reason {
    let mut reasons = reasons(facts);
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    reasons.remove(0)
}

#[test]
fn nothing_holds_it_back() {
    let reason = only(&facts());
    assert_eq!(reason.code, "nothing");
    assert!(reason.text.contains("within a second"));
}

#[test]
fn a_pause_tells_why_and_until_when() {
    let mut facts = facts();
    facts.pauses = vec![Control {
        is_task: false,
        name: "mail".to_owned(),
        paused_at: Some(NOW - 300 * SECOND),
        reason: Some("deploy".to_owned()),
        resume_at: Some(NOW + 600 * SECOND),
    }];
    let reason = only(&facts);
    assert_eq!(reason.code, "queue_paused");
    assert!(reason.text.contains("(5m ago)") && reason.text.contains("(in 10m)"), "{}", reason.text);
    assert!(reason.text.ends_with(": deploy"), "{}", reason.text);
    assert_eq!(reason.advice.as_deref(), Some("`reproq resume --queue mail`"));
    assert_eq!(reason.as_object()["reason"], "deploy");
    facts.pauses[0].is_task = true;
    facts.pauses[0].resume_at = None;
    assert_eq!(only(&facts).code, "task_paused");
    assert_eq!(only(&facts).as_object()["resume_at"], json!(null));
}

#[test]
fn its_time_has_not_come() {
    let mut facts = facts();
    facts.run.run_after = Some(NOW + 90 * SECOND);
    facts.run.gate = Some(1);
    facts.ahead = 7;
    let reason = only(&facts);
    assert_eq!((reason.code, reason.text.contains("(in 90s)")), ("not_due", true));
    facts.run.run_after = Some(NOW - SECOND);
    facts.run.gate = Some(0);
    facts.ahead = 0;
    assert_eq!(codes(&facts), ["nothing"]);
}

#[test]
fn an_attempt_that_failed_is_named_while_the_next_one_waits() {
    let mut facts = facts();
    facts.run.run_after = Some(NOW + 30 * SECOND);
    facts.run.attempts = 1;
    facts.run.errors =
        json!([{"kind": "app_error", "exception_class": "shop.Timeout", "message": "no\nanswer"}])
            .to_string();
    let reason = only(&facts);
    assert_eq!(reason.code, "backing_off");
    assert!(
        reason.text.starts_with("attempt 1 of 3 failed") && reason.text.ends_with("shop.Timeout: no answer")
    );
}

#[test]
fn nobody_listens_on_its_queue() {
    let mut facts = facts();
    facts.workers = vec![worker("w1", "[\"other\"]"), worker("w2", "[\"*\",\"!mail\"]")];
    let reason = only(&facts);
    assert_eq!(reason.code, "no_worker");
    assert!(reason.text.contains("w1 (other), w2 (*,!mail)"), "{}", reason.text);
    facts.workers = vec![WorkerSeen { silent_for: Duration::from_mins(2), ..worker("w1", "[\"mail\"]") }];
    assert!(only(&facts).text.contains("no worker is alive at all"));
    facts.workers = vec![worker("w1", "[\"m*\"]")];
    assert_eq!(codes(&facts), ["nothing"]);
}

#[test]
fn its_lock_is_held() {
    let mut facts = facts();
    facts.run.lock_key = Some("account:7".to_owned());
    facts.run.gate = Some(2);
    facts.holders =
        vec![Holder { id: RunId(9), lock: true, worker_id: "w2".to_owned(), since: NOW - 180 * SECOND }];
    let reason = only(&facts);
    assert_eq!(reason.code, "lock_held");
    assert!(reason.text.contains("\"account:7\" is held by run 9 on worker w2 since"), "{}", reason.text);
    assert_eq!(
        (&reason.as_object()["holder"], reason.advice.as_deref()),
        (&json!(9), Some("`reproq why 9`"))
    );
}

#[test]
fn its_key_is_full() {
    let holder = |id| Holder { id: RunId(id), lock: false, worker_id: "w2".to_owned(), since: NOW - SECOND };
    let mut facts = facts();
    facts.run.concurrency_key = Some("api".to_owned());
    facts.run.concurrency_limit = 9;
    facts.holders = vec![holder(1), holder(2), holder(3), holder(4)];
    assert_eq!(codes(&facts), ["nothing"], "its own word allows nine");
    let word = |amount| KeyWord { key: "concurrency:api".to_owned(), amount, burst: 1, pinned: true };
    facts.words = vec![word(4.0)];
    let reason = only(&facts);
    assert_eq!((reason.code, &reason.as_object()["limit"]), ("limit_reached", &json!(4)));
    assert!(reason.text.ends_with(", 1 more"), "{}", reason.text);
    facts.words = vec![word(0.0)];
    assert_eq!(codes(&facts), ["nothing"], "0 is no limit");
}

#[test]
fn a_rate_is_spent() {
    let row = |key: &str, tat| RateRow {
        key: key.to_owned(),
        per_second: 0.5,
        burst: 1,
        stated: false,
        tat,
        refilled_at: 0,
        now: NOW,
    };
    let mut facts = facts();
    facts.rates = vec![
        row("global", None),
        row("queue:mail", Some(NOW + 2 * SECOND)),
        row("key:a", Some(NOW + 40 * SECOND)),
        row("task:shop.tasks.send", Some(NOW - SECOND)),
    ];
    let reasons = reasons(&facts);
    let keys: Vec<_> = reasons.iter().map(|reason| reason.as_object()["key"].clone()).collect();
    assert_eq!(keys, ["key:a", "queue:mail"], "the one that opens last decides");
    assert!(reasons[0].text.contains("(in 40s)"), "{}", reasons[0].text);
    facts.rates = vec![RateRow { per_second: 0.0, ..row("global", Some(NOW + SECOND)) }];
    assert_eq!(codes(&facts), ["nothing"], "a rate of 0 limits nothing");
}

#[test]
fn others_come_first() {
    let mut facts = facts();
    facts.busy = vec![("w1".to_owned(), 2), ("elsewhere".to_owned(), 9)];
    facts.ahead = 3;
    let reasons = reasons(&facts);
    assert_eq!(reasons[0].text, "all 2 slots of the 1 live worker of its queue are busy");
    assert_eq!(reasons[1].text, "3 runs in its queue stand before it");
    facts.busy = vec![];
    facts.run.gate = Some(2);
    facts.ahead = 1000;
    assert_eq!(only(&facts).text, "1000 or more runs with the same keys stand before it");
}

#[test]
fn the_most_decisive_reason_comes_first() {
    let mut facts = facts();
    facts.run.expires_at = Some(NOW - SECOND);
    facts.run.run_after = Some(NOW + SECOND);
    facts.run.lock_key = Some("l".to_owned());
    facts.holders = vec![Holder { id: RunId(9), lock: true, worker_id: "w2".to_owned(), since: NOW }];
    facts.pauses = vec![Control {
        is_task: false,
        name: "mail".to_owned(),
        paused_at: None,
        reason: None,
        resume_at: None,
    }];
    facts.workers = vec![];
    assert_eq!(codes(&facts), ["expired", "queue_paused", "not_due", "no_worker", "lock_held"]);
}

#[test]
fn a_child_waits_for_its_parent() {
    let mut facts = facts();
    facts.run.status = RunStatus::Waiting;
    facts.run.wait_count = 4;
    assert_eq!(only(&facts).code, "waiting_for_workflow");
    facts.run.parent_id = Some(RunId(5));
    facts.parent_status = Some(RunStatus::Running);
    assert_eq!(only(&facts).text, "it waits for run 5, which is RUNNING");
    facts.parent_status = Some(RunStatus::Failed);
    assert!(only(&facts).advice.unwrap().contains("will not succeed by itself"));
    facts.parent_status = None;
    assert!(only(&facts).advice.unwrap().contains("nothing will start it"));
}

#[test]
fn it_runs_and_has_a_timeout() {
    let reason = only(&running());
    assert_eq!(reason.code, "running");
    assert!(
        reason.text.contains("worker w1")
            && reason.text.contains("(20s ago)")
            && reason.text.ends_with("(in 40s)")
    );
    let mut facts = running();
    facts.run.cancel_requested = true;
    assert_eq!(only(&facts).code, "cancel_requested");
}

#[test]
fn its_worker_has_fallen_silent() {
    let mut facts = running();
    facts.run.leased_until = Some(NOW - 3 * SECOND);
    facts.workers[0].silent_for = Duration::from_mins(1);
    let reason = only(&facts);
    assert_eq!(reason.code, "lease_ended");
    assert!(
        reason.text.contains("w1, which is silent, ended") && reason.text.ends_with("(3s ago)"),
        "{}",
        reason.text
    );
    facts.workers = vec![];
    assert!(only(&facts).text.contains("signed off"));
}

#[test]
fn an_end_is_told_by_its_kind() {
    use RunStatus::{Cancelled, Failed, Successful};
    for (status, kind, code) in [
        (Successful, "", "succeeded"),
        (Failed, "app_error", "failed"),
        (Failed, "timeout", "failed"),
        (Failed, "expired", "expired"),
        (Failed, "security_violation", "not_allowed"),
        (Failed, "crashed", "failed"),
        (Cancelled, "cancelled", "cancelled"),
        (Cancelled, "discarded", "discarded"),
        (Cancelled, "replaced", "replaced"),
        (Cancelled, "", "cancelled"),
    ] {
        assert_eq!(only(&ended(status, kind, "m")).code, code, "{status} {kind}");
    }
    for kind in ["quarantined", "crashed"] {
        let mut third = ended(Failed, kind, "signal 11");
        third.run.crash_count = 3;
        let reason = only(&third);
        assert_eq!(reason.code, "quarantined");
        assert!(reason.text.contains("too often") && reason.text.ends_with("signal 11"));
    }
    let plain = only(&ended(Failed, "app_error", "no\nway"));
    assert!(
        plain.text.ends_with("at attempt 3 of 3: no way") && plain.text.contains("(60s ago)"),
        "{}",
        plain.text
    );
}

#[test]
fn errors_that_make_no_sense_do_no_harm() {
    let mut facts = ended(RunStatus::Failed, "", "");
    for errors in ["", "null", "{}", "[1]", "[\"x\"]"] {
        facts.run.errors = errors.to_owned();
        facts.run.last_error = Some("what is left".to_owned());
        assert!(only(&facts).text.ends_with("what is left"), "{errors}");
    }
}

const CRASHED: &str = r#"[{"attempt":1,"outcome":"timeout"},{"attempt":2,"epoch":2,"worker":"w7","pid":41,"outcome":"crashed","exit":"signal 11"}]"#;

#[test]
fn how_the_last_attempt_ended_is_said_of_what_has_failed_waits_again_or_runs_again() {
    let mut facts = ended(RunStatus::Failed, "crashed", "the process ended");
    CRASHED.clone_into(&mut facts.run.history);
    let failed = only(&facts);
    assert!(
        failed.text.ends_with("the process ended [attempt 2: crashed, signal 11, worker w7, pid 41]"),
        "{}",
        failed.text
    );
    assert!(failed.advice.as_ref().unwrap().contains("`reproq logs 12`"));
    assert_eq!(failed.details["attempt"]["exit"], "signal 11");

    facts.run.status = RunStatus::Running;
    facts.run.leased_until = None;
    assert!(reasons(&facts)[0].text.contains("[attempt 2: crashed, signal 11"));

    facts.run.status = RunStatus::Ready;
    let waiting = reasons(&facts);
    assert_eq!(waiting.last().unwrap().code, "tried_before");
    facts.run.attempts = 2;
    facts.run.run_after = Some(NOW + SECOND);
    let waiting = reasons(&facts);
    assert!(
        waiting[0].code == "backing_off" && waiting[0].text.contains("[attempt 2: crashed"),
        "{waiting:?}"
    );
    assert!(waiting.iter().all(|reason| reason.code != "tried_before"));
}

#[test]
fn what_the_error_says_already_is_not_said_twice_and_a_success_needs_no_more_words() {
    let mut facts = ended(RunStatus::Failed, "crashed", "killed by signal 11");
    CRASHED.clone_into(&mut facts.run.history);
    assert_eq!(only(&facts).text.matches("signal 11").count(), 1);
    let mut facts = ended(RunStatus::Successful, "", "");
    facts.run.history = r#"[{"attempt":1,"outcome":"returned","exit":"0"}]"#.to_owned();
    let reason = only(&facts);
    assert!(!reason.text.contains('['), "{}", reason.text);
    assert_eq!(reason.details["attempt"]["outcome"], "returned");
}

fn member(id: i64, status: RunStatus, last_error: Option<&str>) -> Member {
    Member {
        id: RunId(id),
        status,
        queue_name: "mail".to_owned(),
        task_path: "shop.tasks.pay".to_owned(),
        step: Some(1),
        after_step: None,
        last_error: last_error.map(str::to_owned),
    }
}

fn in_workflow(mut facts: Explanation, runs: Vec<Member>, culprit: Option<Culprit>) -> Explanation {
    facts.run.workflow_id = Some(WorkflowId::NIL);
    facts.run.step = Some(2);
    facts.run.after_step = Some(1);
    let workflow = WorkflowFacts {
        id: WorkflowId::NIL,
        status: WorkflowStatus::Running,
        policy: Policy::Fail,
        expected: 9,
        succeeded: 0,
        failed: 0,
        final_step: Some(2),
        callback: None,
        on_failure: None,
        uncounted: 0,
        created_at: NOW,
        finished_at: None,
        now: NOW,
        steps: vec![StepFacts { step: 1, pending: 7, failed: 0, culprit }],
    };
    facts.waits_for = Some(WaitsFor { workflow, runs });
    facts
}

#[test]
fn a_member_names_whom_it_waits_for() {
    let waiting = || {
        let mut facts = facts();
        facts.run.status = RunStatus::Waiting;
        facts
    };
    let some = vec![member(7, RunStatus::Failed, Some("no\nmoney")), member(8, RunStatus::Running, None)];
    let reason = only(&in_workflow(waiting(), some, None));
    assert_eq!(reason.code, "waiting_for_step");
    assert!(
        reason.text.ends_with(
            "has 7 to end: run 7 of shop.tasks.pay (FAILED: no money), run 8 of shop.tasks.pay (RUNNING)"
        ),
        "{}",
        reason.text
    );
    assert_eq!(reason.as_object()["runs"][1]["result_id"], 8);
    assert_eq!(reason.advice, Some(format!("`reproq workflow show {}`", WorkflowId::NIL)));

    let many = (0..6).map(|id| member(id, RunStatus::Ready, None)).collect();
    let reason = only(&in_workflow(waiting(), many, None));
    assert!(reason.text.ends_with("run 4 of shop.tasks.pay (READY), and more"), "{}", reason.text);
    assert_eq!(reason.as_object()["runs"].as_array().unwrap().len(), 5);

    let reason = only(&in_workflow(waiting(), vec![], None));
    assert!(reason.text.contains("is over"), "{}", reason.text);

    let mut facts = in_workflow(waiting(), vec![], None);
    facts.run.after_step = None;
    facts.waits_for.as_mut().unwrap().workflow.on_failure = Some(facts.run.id);
    assert_eq!(only(&facts).code, "waiting_for_failure");
}

#[test]
fn who_failed_for_anothers_sake_names_the_culprit() {
    let mut facts =
        ended(RunStatus::Failed, "workflow_failed", "shop.tasks.pay run 7 ended FAILED: no money");
    facts.run.errors =
        json!([{"kind": "workflow_failed", "message": "run 7 ended", "failed_result_id": 7}]).to_string();
    let advice = |facts: &Explanation| only(facts).advice.unwrap();
    let facts = in_workflow(facts, vec![], None);
    assert_eq!(only(&facts).code, "workflow_failed");
    assert!(only(&facts).text.ends_with("run 7 ended"), "{}", only(&facts).text);
    assert_eq!(advice(&facts), "`reproq why 7`, then `reproq triage retry --id 7`: this run follows");
    assert_eq!(only(&facts).as_object()["culprit"], 7);

    // The one that is written down runs again, another keeps the step bad.
    let culprit = |status| Culprit { id: RunId(8), task_path: None, status, last_error: None };
    let another = in_workflow(facts.clone(), vec![], Some(culprit(Some(RunStatus::Failed))));
    assert!(advice(&another).contains("--id 8"), "{}", advice(&another));
    let gone = in_workflow(facts, vec![], Some(culprit(None)));
    assert_eq!(advice(&gone), "`reproq replay --id 12` runs it by itself");
}

#[test]
fn the_run_for_a_failure_that_never_was_was_not_needed() {
    let mut facts =
        ended(RunStatus::Cancelled, "discarded", "the workflow succeeded, so this was not needed");
    assert_eq!(only(&facts).code, "discarded");
    facts.run.workflow_id = Some(WorkflowId::NIL);
    assert_eq!(only(&facts).code, "not_needed");
}
