//! RUNNING -> wherever the ending says, once, and only by its owner.

use std::time::Duration;

use reproq_model::{Epoch, RunId, RunStatus, Transition};
use reproq_store::{Ending, Fence, Finished};
use serde_json::Value;

use crate::database::{
    Database, both, claim, claim_one, ending, failed, finish, raw, released, retried, returned, to, within,
    worker,
};

/// A run that has ended, or waits again, is nobody's.
const LET_GO: &str = "leased_until IS NULL AND leased_by IS NULL AND incarnation IS NULL AND slot_no IS NULL";

both! {
    async fn a_success_writes_the_return_value(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let id = db.ready().await;
        db.execute("UPDATE task_runs SET last_error = 'of an earlier attempt'").await;
        let run = claim_one(&*store, &worker).await;
        let mut success = ending(&run, returned(r#"{"b":1,"a":[]}"#));
        success.logs_uri = Some("file:///logs/1".to_owned());
        success.transition.metadata = Some(raw(r#"{"step":3}"#));
        assert_eq!(store.finish(Fence::Owner(worker.incarnation), &[success]).await.unwrap().written, 1);
        assert!(db.holds(id, LET_GO).await);
        assert!(db.holds(id, "status = 'SUCCESSFUL' AND finished_at IS NOT NULL AND failed_at IS NULL AND last_error IS NULL").await);
        assert!(db.holds(id, "attempts = 1 AND epoch = 1 AND started_at IS NOT NULL AND crash_count = 0").await);
        assert_eq!(db.column(id, "return_json").await.as_deref(), Some(r#"{"b":1,"a":[]}"#));
        assert_eq!(db.column(id, "logs_uri").await.as_deref(), Some("file:///logs/1"));
        assert_eq!(json(db, id, "metadata_json").await, serde_json::json!({"step": 3}));
        assert_eq!(json(db, id, "errors_json").await, serde_json::json!([]));
        assert_eq!(json(db, id, "worker_ids").await, serde_json::json!(["w"]));
    }

    async fn a_return_value_survives_byte_for_byte(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        for text in [
            "null",
            "1e+20",
            "-0.0",
            "123456789012345678901234567890123456789",
            "0.1000000000000000055511151231257827",
            r#""\ud800""#,
            r#""\u0000""#,
            r#"{"b": 1,  "a":"\u00e9é\"\\", "b":2}"#,
            r#"["it's", "%s", "$1", "?1", "🦀"]"#,
        ] {
            let id = db.ready().await;
            let run = claim_one(&*store, &worker).await;
            assert!(finish(&*store, &worker, &run, returned(text)).await);
            assert_eq!(db.column(id, "return_json").await.as_deref(), Some(text));
        }
    }

    async fn a_failure_is_written_with_its_time(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let id = db.ready().await;
        let run = claim_one(&*store, &worker).await;
        assert!(finish(&*store, &worker, &run, Transition { crashed: true, ..failed("it's no use") }).await);
        assert!(db.holds(id, LET_GO).await);
        assert!(db.holds(id, "status = 'FAILED' AND finished_at IS NOT NULL AND failed_at IS NOT NULL AND return_json IS NULL").await);
        assert!(db.holds(id, "attempts = 1 AND crash_count = 1 AND last_error = 'it''s no use'").await);
        let errors = json(db, id, "errors_json").await;
        assert_eq!((errors[0]["kind"].as_str(), errors[0]["message"].as_str()), (Some("app_error"), Some("it's no use")));
        let at = errors[0]["at"].as_str().unwrap();
        let parsed = sqlx::types::chrono::DateTime::parse_from_rfc3339(at).unwrap();
        assert!((parsed.timestamp_micros() - run.last_attempted_at).abs() < 60_000_000, "{at}");
    }

    async fn a_retry_waits_for_its_time(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let id = db.insert("priority", "9").await;
        let run = claim_one(&*store, &worker).await;
        let line = db.column(id, "claim_key").await.unwrap();
        assert!(finish(&*store, &worker, &run, retried(Duration::from_millis(90_500))).await);
        assert!(db.holds(id, LET_GO).await);
        assert!(db.holds(id, "status = 'READY' AND gate = 1 AND finished_at IS NULL AND failed_at IS NULL AND last_error IS NULL").await);
        assert!(db.holds(id, "attempts = 1 AND epoch = 1 AND started_at IS NOT NULL").await);
        assert!(db.holds(id, &format!("run_after > {} AND run_after < {}", db.now(88.0), db.now(91.0))).await);
        assert!(db.holds(id, &format!("claim_key - {line} BETWEEN 88000000 AND 92000000")).await);
        assert_eq!(json(db, id, "errors_json").await[0]["message"], "not yet");
        assert!(claim(&*store, &worker, 1).await.is_empty());
    }

    async fn a_retry_without_a_wait_is_claimable_at_once(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let id = db.insert("run_after", &db.now(-5.0)).await;
        let run = claim_one(&*store, &worker).await;
        assert!(finish(&*store, &worker, &run, retried(Duration::ZERO)).await);
        assert_eq!(claim_one(&*store, &worker).await.id, id);
    }

    async fn an_absurd_wait_is_still_written(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let id = db.ready().await;
        let run = claim_one(&*store, &worker).await;
        assert!(finish(&*store, &worker, &run, retried(Duration::MAX)).await);
        assert!(db.holds(id, &format!("status = 'READY' AND gate = 1 AND run_after > {}", db.now(86_400.0 * 365.0))).await);
    }

    async fn a_release_takes_the_attempt_back(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let id = db.ready().await;
        let run = claim_one(&*store, &worker).await;
        assert!(finish(&*store, &worker, &run, released()).await);
        assert!(db.holds(id, LET_GO).await);
        assert!(db.holds(id, "status = 'READY' AND gate = 0 AND attempts = 0 AND epoch = 1 AND started_at IS NULL AND finished_at IS NULL").await);
        assert_eq!(json(db, id, "worker_ids").await, serde_json::json!([]));
        assert_eq!(json(db, id, "errors_json").await, serde_json::json!([]));
    }

    async fn a_release_takes_only_the_last_attempt_back(db: &Database) {
        let store = db.store().await;
        let (first, second) = (worker("first", &["default"]), worker("second", &["default"]));
        let id = db.ready().await;
        let run = claim_one(&*store, &first).await;
        assert!(finish(&*store, &first, &run, retried(Duration::ZERO)).await);
        let run = claim_one(&*store, &second).await;
        assert!(finish(&*store, &second, &run, released()).await);
        assert!(db.holds(id, "attempts = 1 AND epoch = 2 AND started_at IS NOT NULL").await);
        assert_eq!(json(db, id, "worker_ids").await, serde_json::json!(["first"]));
    }

    async fn a_cancellation_ends_the_run(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let id = db.ready().await;
        let run = claim_one(&*store, &worker).await;
        db.execute("UPDATE task_runs SET cancel_requested = TRUE").await;
        assert!(finish(&*store, &worker, &run, to(RunStatus::Cancelled)).await);
        assert!(db.holds(id, LET_GO).await);
        assert!(db.holds(id, "status = 'CANCELLED' AND finished_at IS NOT NULL AND failed_at IS NULL AND NOT cancel_requested").await);
    }

    async fn what_an_ending_does_not_name_stays(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let id = db.insert("metadata_json, logs_uri", r#"'{"kept":1}', 'kept'"#).await;
        let run = claim_one(&*store, &worker).await;
        assert_eq!(run.metadata.replace(' ', ""), r#"{"kept":1}"#);
        assert!(finish(&*store, &worker, &run, to(RunStatus::Successful)).await);
        assert_eq!(json(db, id, "metadata_json").await, serde_json::json!({"kept": 1}));
        assert_eq!(db.column(id, "logs_uri").await.as_deref(), Some("kept"));
    }

    async fn errors_are_appended(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let id = db.ready().await;
        for _ in 0..3 {
            let run = claim_one(&*store, &worker).await;
            assert!(finish(&*store, &worker, &run, retried(Duration::ZERO)).await);
        }
        let run = claim_one(&*store, &worker).await;
        assert!(finish(&*store, &worker, &run, failed("at last")).await);
        let errors = json(db, id, "errors_json").await;
        let messages: Vec<_> = errors.as_array().unwrap().iter().map(|error| error["message"].as_str().unwrap()).collect();
        assert_eq!(messages, ["not yet", "not yet", "not yet", "at last"]);
        assert!(db.holds(id, "attempts = 4 AND epoch = 4").await);
    }

    async fn metadata_and_errors_that_no_database_takes_are_made_acceptable(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        for (given, stored) in [
            (r#"{"a":"x\u0000y"}"#, "x\u{FFFD}y"),
            (r#"{"a":"x\ud800y"}"#, "x\u{FFFD}y"),
            (r#"{"a":"x\uDC00\ud83e\udd80y"}"#, "x\u{FFFD}🦀y"),
            (r#"{"a":"\ud83e\u0041"}"#, "\u{FFFD}A"),
            (r#"{"a":"\\u0000 \\\\ud800"}"#, r"\u0000 \\ud800"),
        ] {
            let id = db.ready().await;
            let run = claim_one(&*store, &worker).await;
            let mut transition = retried(Duration::from_mins(1));
            transition.metadata = Some(raw(given));
            transition.error = Some(given.to_owned());
            assert!(finish(&*store, &worker, &run, transition).await, "{given}");
            assert_eq!(json(db, id, "metadata_json").await["a"], stored, "{given}");
            assert_eq!(json(db, id, "errors_json").await[0]["a"], stored, "{given}");
        }
    }

    async fn an_ending_sent_twice_is_written_once(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let id = db.ready().await;
        let run = claim_one(&*store, &worker).await;
        assert!(finish(&*store, &worker, &run, failed("once")).await);
        assert!(!finish(&*store, &worker, &run, failed("twice")).await);
        assert!(!finish(&*store, &worker, &run, returned("2")).await);
        assert!(db.holds(id, "status = 'FAILED' AND last_error = 'once'").await);
    }

    async fn a_retry_sent_twice_does_not_disturb_the_next_attempt(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let id = db.ready().await;
        let run = claim_one(&*store, &worker).await;
        assert!(finish(&*store, &worker, &run, retried(Duration::ZERO)).await);
        let again = claim_one(&*store, &worker).await;
        assert!(!finish(&*store, &worker, &run, retried(Duration::ZERO)).await, "same owner, older claim");
        assert!(db.holds(id, "status = 'RUNNING' AND attempts = 2").await);
        assert!(finish(&*store, &worker, &again, returned("1")).await);
    }

    async fn nobody_but_the_owner_of_this_claim_ends_it(db: &Database) {
        let (store, owner) = (db.store().await, worker("w", &["default"]));
        let id = db.ready().await;
        let mut run = claim_one(&*store, &owner).await;
        let restarted = worker("w", &["default"]);
        assert!(!finish(&*store, &restarted, &run, returned("1")).await, "another start of the same worker");
        run.epoch = Epoch(2);
        assert!(!finish(&*store, &owner, &run, returned("1")).await, "a claim that never was");
        run.epoch = Epoch(1);
        run.id = RunId(id.0 + 1);
        assert!(!finish(&*store, &owner, &run, returned("1")).await, "no such run");
        assert_eq!(db.status(id).await, "RUNNING");
        db.execute("UPDATE task_runs SET status = 'CANCELLED'").await;
        run.id = id;
        assert!(!finish(&*store, &owner, &run, returned("1")).await, "ended by hand");
        assert_eq!(db.status(id).await, "CANCELLED");
    }

    async fn a_stranger_ends_a_run_only_after_its_lease(db: &Database) {
        let (store, owner) = (db.store().await, worker("w", &["default"]));
        let id = db.ready().await;
        let run = claim_one(&*store, &owner).await;
        let lost = || [ending(&run, to(RunStatus::Failed))];
        assert_eq!(store.finish(Fence::LeaseEnded, &lost()).await.unwrap().written, 0);
        assert_eq!(db.status(id).await, "RUNNING");
        db.lapse("TRUE").await;
        assert_eq!(store.finish(Fence::LeaseEnded, &lost()).await.unwrap().written, 1);
        assert_eq!(db.status(id).await, "FAILED");
        assert!(!finish(&*store, &owner, &run, returned("1")).await);
    }

    async fn an_owner_that_was_slow_still_ends_what_nobody_took(db: &Database) {
        let (store, owner) = (db.store().await, worker("w", &["default"]));
        let id = db.ready().await;
        let run = claim_one(&*store, &owner).await;
        db.lapse("TRUE").await;
        assert!(finish(&*store, &owner, &run, returned("1")).await);
        assert_eq!(db.status(id).await, "SUCCESSFUL");
    }

    async fn five_hundred_endings_go_in_one_statement(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(500, "", "").await;
        let runs = claim(&*store, &worker, 500).await;
        let mut endings: Vec<Ending> = runs.iter().map(|run| ending(run, match run.id.0 % 5 {
            0 => returned(&format!("{{\"id\":{}}}", run.id)),
            1 => failed("no"),
            2 => retried(Duration::from_mins(1)),
            3 => released(),
            _ => to(RunStatus::Cancelled),
        })).collect();
        endings.reverse();
        // Ten of them have another owner by now.
        db.execute("UPDATE task_runs SET epoch = epoch + 1 WHERE result_id IN (SELECT result_id FROM task_runs ORDER BY result_id LIMIT 10)").await;
        let fence = Fence::Owner(worker.incarnation);
        let written = within(Duration::from_secs(2), "the batch", store.finish(fence, &endings)).await.unwrap().written;
        assert_eq!(written, 490);
        assert_eq!(store.finish(fence, &endings).await.unwrap().written, 0);
        for (status, count) in [("RUNNING", 10), ("SUCCESSFUL", 98), ("FAILED", 98), ("READY", 196), ("CANCELLED", 98)] {
            assert_eq!(db.count(&format!("status = '{status}'")).await, count, "{status}");
        }
        assert_eq!(db.count("status = 'READY' AND gate = 1 AND attempts = 1").await, 98);
        assert_eq!(db.count("status = 'READY' AND gate = 0 AND attempts = 0").await, 98);
        let own = if db.is_postgres() { "return_json ->> 'id'" } else { "return_json ->> '$.id'" };
        assert_eq!(db.count(&format!("status = 'SUCCESSFUL' AND CAST({own} AS INTEGER) = result_id")).await, 98);
    }

    async fn no_endings_are_no_work(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        assert_eq!(store.finish(Fence::Owner(worker.incarnation), &[]).await.unwrap().written, 0);
    }
}

async fn json(db: &Database, id: RunId, column: &str) -> Value {
    serde_json::from_str(&db.column(id, column).await.unwrap()).unwrap()
}

/// SQLite has no row locks.
#[tokio::test]
async fn a_row_that_somebody_holds_keeps_no_other_ending() {
    let db = Database::postgres().await;
    let (store, worker) = (db.store().await, worker("w", &["default"]));
    db.insert_many(3, "", "").await;
    let runs = claim(&*store, &worker, 3).await;
    let mut operator = db.another_side().await;
    let lock = format!("BEGIN; SELECT 1 FROM task_runs WHERE result_id = {} FOR UPDATE", runs[1].id);
    operator.rows(&lock).await.unwrap();
    let endings: Vec<Ending> = runs.iter().map(|run| ending(run, returned("1"))).collect();
    let fence = Fence::Owner(worker.incarnation);
    let finished = within(Duration::from_secs(2), "the batch", store.finish(fence, &endings)).await.unwrap();
    assert_eq!(finished, Finished { written: 2, held: vec![runs[1].id], of_workflows: false });
    operator.rows("ROLLBACK").await.unwrap();
    let finished = store.finish(fence, &endings).await.unwrap();
    assert_eq!(
        finished,
        Finished { written: 1, held: vec![], of_workflows: false },
        "the others have been written before"
    );
}
