use super::*;
use serde_json::{Value, json};

fn facts(attempts: i32, max_attempts: i32) -> AttemptFacts<'static> {
    AttemptFacts { attempts, max_attempts, crash_count: 0, spec: "{}", worker_id: "w", epoch: 0, pid: None }
}

fn end(end: AttemptEnd, facts: AttemptFacts<'_>) -> Transition {
    classify(end, facts, &mut rand::rng())
}

fn answer(value: &Value) -> AttemptEnd {
    AttemptEnd::Answered(serde_json::from_str(&value.to_string()).unwrap())
}

#[test]
fn a_return_value_passes_through_as_text() {
    let envelope = serde_json::from_str(r#"{"ok":true,"return":{"b":1e+20,"a":"\ud800"}}"#).unwrap();
    let transition = end(AttemptEnd::Answered(envelope), facts(1, 3));
    assert_eq!(transition.status, RunStatus::Successful);
    assert_eq!(transition.return_json.unwrap().get(), r#"{"b":1e+20,"a":"\ud800"}"#);
}

#[test]
fn a_failure_is_retried_until_the_budget_is_spent() {
    let failure = || answer(&json!({"ok": false, "exception_class": "builtins.ValueError", "message": "no"}));
    assert_eq!(end(failure(), facts(2, 3)).status, RunStatus::Ready);
    let last = end(failure(), facts(3, 3));
    assert_eq!((last.status, last.last_error.as_deref()), (RunStatus::Failed, Some("no")));
    let entry: Value = serde_json::from_str(&last.error.unwrap()).unwrap();
    assert_eq!(
        entry,
        json!({"kind": "app_error", "message": "no", "exception_class": "builtins.ValueError", "attempt": 3, "worker_id": "w"})
    );
}

#[test]
fn what_cannot_get_better_is_not_retried() {
    for kind in ["invalid_spec", "invalid_result", "security_violation"] {
        let transition = end(answer(&json!({"ok": false, "kind": kind, "message": "x"})), facts(1, 3));
        assert_eq!(transition.status, RunStatus::Failed, "{kind}");
    }
    assert_eq!(
        end(AttemptEnd::NotAllowed { task_path: "os.system".into() }, facts(1, 3)).status,
        RunStatus::Failed
    );
}

#[test]
fn the_tasks_own_wait_beats_the_policy() {
    let transition = end(answer(&json!({"ok": false, "message": "x", "retry_in": 0.25})), facts(1, 3));
    assert_eq!(transition.delay, Duration::from_millis(250));
    let absurd = end(answer(&json!({"ok": false, "message": "x", "retry_in": 1e300})), facts(1, 3));
    assert!(absurd.delay <= Duration::from_hours(365 * 24));
}

#[test]
fn a_third_crash_ends_a_run_whatever_its_budget() {
    let crash = || AttemptEnd::Crashed { how: "signal 11".into(), stderr_tail: String::new() };
    let facts = |crash_count| AttemptFacts { crash_count, ..facts(1, 100) };
    assert_eq!(end(crash(), facts(1)).status, RunStatus::Ready);
    let third = end(crash(), facts(2));
    assert_eq!((third.status, third.crashed), (RunStatus::Failed, true));
    let entry: Value = serde_json::from_str(&third.error.unwrap()).unwrap();
    assert_eq!(entry["kind"], "quarantined");
    let message = entry["message"].as_str().unwrap();
    assert!(message.contains("triage retry") && message.ends_with("signal 11"), "{message}");
}

#[test]
fn memory_that_the_worker_had_to_take_back_counts_as_a_crash() {
    let over = || AttemptEnd::MemoryLimit { limit_bytes: 64 << 20, used_bytes: 96 << 20 };
    let facts = |crash_count| AttemptFacts { crash_count, ..facts(1, 100) };
    let first = end(over(), facts(0));
    assert_eq!((first.status, first.crashed), (RunStatus::Ready, true));
    let entry: Value = serde_json::from_str(&first.error.unwrap()).unwrap();
    assert_eq!(entry["kind"], "memory_limit");
    assert!(
        entry["message"].as_str().unwrap().contains("96.0 MiB of memory, and its max_memory is 64.0 MiB")
    );
    assert_eq!(end(over(), facts(2)).status, RunStatus::Failed);
    let own = end(answer(&json!({"ok": false, "kind": "memory_limit", "message": "x"})), facts(2));
    assert_eq!(
        (own.status, own.crashed),
        (RunStatus::Ready, false),
        "a MemoryError leaves the process alive"
    );
}

#[test]
fn a_child_cannot_say_of_itself_that_it_has_crashed() {
    let transition = end(
        answer(&json!({"ok": false, "kind": "crashed", "message": "x"})),
        AttemptFacts { crash_count: 2, ..facts(1, 3) },
    );
    assert_eq!((transition.status, transition.crashed), (RunStatus::Ready, false));
}

#[test]
fn a_snoozed_run_waits_as_long_as_it_asks_and_keeps_its_budget() {
    let snoozed = end(
        answer(
            &json!({"ok": false, "kind": "snoozed", "message": "", "retry_in": 60, "metadata": {"seen": 3}}),
        ),
        facts(3, 3),
    );
    assert_eq!((snoozed.status, snoozed.give_back), (RunStatus::Ready, true));
    assert_eq!(snoozed.delay, Duration::from_mins(1));
    assert!(snoozed.error.is_none() && snoozed.last_error.is_none(), "it has not failed");
    assert_eq!(snoozed.metadata.unwrap().get(), r#"{"seen":3}"#);
}

#[test]
fn a_timeout_that_the_task_has_heard_of_is_retried_and_a_task_that_gives_up_is_not() {
    let failure = |kind: &str| answer(&json!({"ok": false, "kind": kind, "message": "x"}));
    assert_eq!(end(failure("timeout"), facts(1, 3)).status, RunStatus::Ready);
    assert_eq!(end(failure("timeout"), facts(3, 3)).status, RunStatus::Failed);
    assert_eq!(end(failure("given_up"), facts(1, 3)).status, RunStatus::Failed);
    assert_eq!(end(failure("cancelled"), facts(1, 3)).status, RunStatus::Cancelled);
}

fn record(transition: Transition) -> Value {
    serde_json::from_str(&transition.record.unwrap()).unwrap()
}

#[test]
fn what_a_process_has_begun_leaves_a_record() {
    let begun = AttemptFacts { epoch: 7, pid: Some(4711), ..facts(2, 3) };
    let usage = json!({"cpu_ms": 1.5, "max_rss_kib": 40960});
    assert_eq!(
        record(end(answer(&json!({"ok": true, "return": 5, "usage": usage})), begun)),
        json!({"attempt": 2, "epoch": 7, "worker": "w", "pid": 4711, "outcome": "returned", "cpu_ms": 1.5, "max_rss_kib": 40960})
    );
    let raised = json!({"ok": false, "exception_class": "a.Error", "message": "n\0o", "usage": usage});
    assert_eq!(
        record(end(answer(&raised), begun)),
        json!({
            "attempt": 2, "epoch": 7, "worker": "w", "pid": 4711, "outcome": "app_error", "exception_class": "a.Error",
            "message": "n\u{FFFD}o", "cpu_ms": 1.5, "max_rss_kib": 40960,
        })
    );
    let crash = || AttemptEnd::Crashed { how: "signal 11".into(), stderr_tail: "long".into() };
    let found = record(end(crash(), begun));
    assert_eq!((&found["outcome"], &found["exit"]), (&json!("crashed"), &json!("signal 11")));
    let third = record(end(crash(), AttemptFacts { crash_count: 2, ..begun }));
    assert_eq!(third["outcome"], "crashed", "the attempt has crashed; it is the run that is quarantined");
    assert_eq!(record(end(AttemptEnd::Released, begun))["outcome"], "released");
}

#[test]
fn what_no_process_has_begun_leaves_a_record_only_if_it_was_lost() {
    for untouched in [AttemptEnd::Released, AttemptEnd::Expired, AttemptEnd::Cancelled] {
        assert!(end(untouched, facts(1, 3)).record.is_none());
    }
    let lost = record(end(AttemptEnd::LeaseExpired, facts(1, 3)));
    assert_eq!((&lost["outcome"], &lost["pid"]), (&json!("lease_expiry"), &Value::Null));
}

#[test]
fn a_record_holds_the_start_of_a_long_message() {
    let begun = AttemptFacts { pid: Some(1), ..facts(1, 3) };
    let found = record(end(answer(&json!({"ok": false, "message": "ž".repeat(2000)})), begun));
    assert!(found["message"].as_str().unwrap().len() <= 256);
}

#[test]
fn a_release_gives_the_attempt_back_at_once() {
    let transition = end(AttemptEnd::Released, facts(3, 3));
    assert_eq!((transition.status, transition.give_back), (RunStatus::Ready, true));
    assert_eq!(transition.delay, Duration::ZERO);
    assert!(transition.error.is_none());
}

#[test]
fn whatever_an_interrupted_task_answers_but_success_is_a_cancellation() {
    let interrupted = |value: Value| {
        end(AttemptEnd::Interrupted(serde_json::from_str(&value.to_string()).unwrap()), facts(1, 3))
    };
    let heard = interrupted(json!({
        "ok": false, "kind": "cancelled", "exception_class": "reproq_django.errors.TaskCancelled",
        "message": "x", "traceback": "t", "metadata": {"step": 2},
    }));
    assert_eq!((heard.status, heard.delay), (RunStatus::Cancelled, Duration::ZERO));
    assert_eq!(heard.last_error.as_deref(), Some("the run was cancelled"));
    assert_eq!(heard.metadata.unwrap().get(), r#"{"step":2}"#);
    let entry: Value = serde_json::from_str(&heard.error.unwrap()).unwrap();
    assert_eq!((&entry["kind"], &entry["traceback"]), (&json!("cancelled"), &json!("t")));
    let raised = interrupted(
        json!({"ok": false, "exception_class": "builtins.ValueError", "message": "no", "retry_in": 5}),
    );
    assert_eq!(raised.status, RunStatus::Cancelled);
    assert!(raised.last_error.unwrap().ends_with("raised builtins.ValueError: no"));
    let done = interrupted(json!({"ok": true, "return": 5}));
    assert_eq!((done.status, done.return_json.unwrap().get()), (RunStatus::Successful, "5"));
}

#[test]
fn an_expired_lease_is_taken_up_at_once_and_counts() {
    let transition = end(AttemptEnd::LeaseExpired, facts(1, 3));
    assert_eq!((transition.status, transition.delay), (RunStatus::Ready, Duration::ZERO));
    assert!(!transition.give_back);
    assert_eq!(end(AttemptEnd::LeaseExpired, facts(3, 3)).status, RunStatus::Failed);
}

#[test]
fn an_expired_run_fails_without_having_been_attempted() {
    let transition = end(AttemptEnd::Expired, facts(1, 3));
    assert_eq!((transition.status, transition.give_back), (RunStatus::Failed, true));
}

#[test]
fn a_run_that_is_not_to_wait_is_cancelled_without_an_attempt() {
    for over in [AttemptEnd::Discarded, AttemptEnd::Replaced] {
        let transition = end(over, facts(1, 3));
        assert_eq!((transition.status, transition.give_back), (RunStatus::Cancelled, true));
    }
}

#[test]
fn a_message_with_a_nul_still_ends_the_run() {
    let transition = end(answer(&json!({"ok": false, "message": "a\u{0}b"})), facts(3, 3));
    assert_eq!(transition.last_error.as_deref(), Some("a\u{FFFD}b"));
    assert!(!transition.error.unwrap().contains("\\u0000"));
}

#[test]
fn a_long_message_is_cut_at_a_character() {
    let transition = end(answer(&json!({"ok": false, "message": "ž".repeat(2000)})), facts(3, 3));
    assert!(transition.last_error.unwrap().len() <= 1024);
}
