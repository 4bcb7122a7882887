//! READY -> RUNNING: which runs, in which order, and what it writes.

use crate::database::{
    Database, LEASE, both, claim, claim_keyed, claim_one, failed, finish, ids, released, retried, worker,
};
use reproq_model::admission::Verdict;
use reproq_model::{Epoch, RunStatus};
use reproq_store::ClaimRequest;
use std::time::Duration;

both! {
    async fn among_equals_the_first_comes_first(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let runs = [db.ready().await, db.ready().await, db.ready().await];
        assert_eq!(ids(&claim(&*store, &worker, 2).await), runs[..2]);
        assert_eq!(ids(&claim(&*store, &worker, 2).await), runs[2..]);
        assert!(claim(&*store, &worker, 2).await.is_empty());
    }

    async fn a_higher_priority_comes_first(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let low = db.insert("priority", "-5").await;
        let middle = db.ready().await;
        let high = db.insert("priority", "90").await;
        assert_eq!(ids(&claim(&*store, &worker, 10).await), [high, middle, low]);
    }

    async fn a_priority_of_any_size_has_its_place(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let least = db.insert("priority", "-2147483648").await;
        let most = db.insert("priority", "2147483647").await;
        assert_eq!(ids(&claim(&*store, &worker, 10).await), [most, least]);
    }

    async fn enough_age_outweighs_priority(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        // 60 s of waiting weigh as much as one point.
        let young = db.insert("priority, enqueued_at", &format!("0, {}", db.now(-290.0))).await;
        let old = db.insert("priority, enqueued_at", &format!("0, {}", db.now(-310.0))).await;
        let urgent = db.insert("priority", "5").await;
        assert_eq!(ids(&claim(&*store, &worker, 10).await), [old, urgent, young]);
    }

    async fn the_best_of_all_queues_come_first(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["a", "b", "c"]));
        let third = db.insert("queue_name, priority", "'a', 1").await;
        let first = db.insert("queue_name, priority", "'b', 3").await;
        let last = db.insert("queue_name, priority", "'a', 0").await;
        let second = db.insert("queue_name, priority", "'c', 2").await;
        assert_eq!(ids(&claim(&*store, &worker, 3).await), [first, second, third]);
        assert_eq!(ids(&claim(&*store, &worker, 3).await), [last]);
    }

    async fn a_run_that_cannot_be_read_does_not_keep_the_others(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let broken = db.ready().await;
        let good = db.ready().await;
        if db.is_postgres() {
            // A date that PostgreSQL knows and no program does.
            db.execute(&format!("UPDATE task_runs SET enqueued_at = '-infinity' WHERE result_id = {broken}")).await;
        } else {
            let odd = "'2026-01-01T00:00:00Z'";
            db.execute(&format!("UPDATE task_runs SET enqueued_at = {odd} WHERE result_id = {broken}")).await;
        }
        let request = ClaimRequest { worker: &worker, queues: &worker.queues, limit: 10, lease: LEASE };
        let claim = store.claim(&request).await.unwrap();
        assert_eq!(ids(&claim.runs), [good]);
        assert_eq!(claim.unreadable.iter().map(|run| (run.id, run.epoch)).collect::<Vec<_>>(), [(broken, Epoch(1))]);
    }

    async fn a_queue_that_nobody_serves_waits(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let elsewhere = db.insert("queue_name", "'elsewhere'").await;
        db.insert("queue_name, lock_key", "'elsewhere', 'k'").await;
        assert!(claim(&*store, &worker, 10).await.is_empty());
        assert!(claim_keyed(&*store, &worker, 10).await.is_empty());
        assert_eq!(db.status(elsewhere).await, "READY");
    }

    async fn a_paused_queue_is_not_claimed(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default", "other"]));
        db.execute("INSERT INTO reproq_queue_controls (queue_name, paused) VALUES ('default', TRUE)").await;
        let (paused, keyed) = (db.ready().await, db.insert("lock_key", "'k'").await);
        let open = db.insert("queue_name", "'other'").await;
        assert_eq!(ids(&claim(&*store, &worker, 10).await), [open]);
        assert!(claim_keyed(&*store, &worker, 10).await.is_empty());
        db.execute("UPDATE reproq_queue_controls SET paused = FALSE").await;
        assert_eq!(ids(&claim(&*store, &worker, 10).await), [paused]);
        assert_eq!(ids(&claim_keyed(&*store, &worker, 10).await), [keyed]);
    }

    async fn a_raw_insert_gets_a_lane(db: &Database) {
        let keyed = db.insert("lock_key", "'k'").await;
        let limited = db.insert("concurrency_key, concurrency_limit", "'k', 2").await;
        let unlimited = db.insert("lock_key, concurrency_key, concurrency_limit", "'', 'k', 0").await;
        let later = db.insert("run_after", &db.now(60.0)).await;
        let overdue = db.insert("run_after", &db.now(-60.0)).await;
        for (id, gate) in [(db.ready().await, "0"), (keyed, "2"), (limited, "2"), (unlimited, "2"), (later, "1"), (overdue, "0")] {
            assert_eq!(db.column(id, "gate").await.as_deref(), Some(gate));
            assert!(db.holds(id, "claim_key IS NOT NULL").await);
        }
    }

    async fn runs_from_before_an_upgrade_get_a_lane(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let table = if db.is_postgres() { "ON task_runs" } else { "" };
        db.execute(&format!("DROP TRIGGER reproq_task_runs_insert_lane {table}")).await;
        let (low, high) = (db.ready().await, db.insert("priority", "5").await);
        let keyed = db.insert("lock_key", "'k'").await;
        let later = db.insert("run_after", &db.now(60.0)).await;
        assert!(claim(&*store, &worker, 10).await.is_empty());
        db.upgrade_lanes().await;
        assert_eq!(ids(&claim(&*store, &worker, 10).await), [high, low]);
        assert_eq!(ids(&claim_keyed(&*store, &worker, 10).await), [keyed]);
        assert!(db.holds(later, "gate = 1").await);
    }

    async fn a_run_made_ready_by_hand_gets_a_lane(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let parked = db.insert("status, priority", "'WAITING', 7").await;
        let ended = db.ready().await;
        let run = claim_one(&*store, &worker).await;
        assert!(finish(&*store, &worker, &run, failed("no")).await);
        assert!(claim(&*store, &worker, 10).await.is_empty());
        db.execute("UPDATE task_runs SET status = 'READY'").await;
        assert_eq!(ids(&claim(&*store, &worker, 10).await), [parked, ended]);
    }

    async fn a_new_key_or_time_moves_a_waiting_run_to_its_lane(db: &Database) {
        let id = db.ready().await;
        for (change, gate) in [
            ("lock_key = 'k'".to_owned(), "2"),
            (format!("run_after = {}", db.now(60.0)), "1"),
            ("run_after = NULL, lock_key = NULL".to_owned(), "0"),
            ("concurrency_key = 'k', concurrency_limit = 1".to_owned(), "2"),
            ("concurrency_key = NULL".to_owned(), "0"),
            ("fairness_key = 'tenant'".to_owned(), "2"),
            ("fairness_key = '', rate_key = 'key:r'".to_owned(), "2"),
        ] {
            db.execute(&format!("UPDATE task_runs SET {change}")).await;
            assert_eq!(db.column(id, "gate").await.as_deref(), Some(gate), "{change}");
        }
    }

    async fn a_claim_writes_down_who_and_until_when(db: &Database) {
        let store = db.store().await;
        let (first, second) = (worker("first", &["default"]), worker("second", &["default"]));
        let id = db.insert("max_attempts, timeout_seconds, backend_alias", "5, 7, 'mail'").await;
        let run = claim_one(&*store, &first).await;
        assert_eq!((run.id, run.epoch, run.attempts, run.max_attempts), (id, Epoch(1), 1, 5));
        assert_eq!((run.timeout, run.backend_alias.as_str(), run.queue_name.as_str()), (Duration::from_secs(7), "mail", "default"));
        assert_eq!((run.worker_ids.as_str(), run.errors.as_str(), run.metadata.as_str()), (r#"["first"]"#, "[]", "{}"));
        assert!(run.enqueued_at <= run.started_at && run.started_at <= run.last_attempted_at && run.verdict == Verdict::Start);
        assert!(db.holds(id, "status = 'RUNNING' AND leased_by = 'first' AND incarnation IS NOT NULL").await);
        let (soon, late) = (db.now(13.0), db.now(15.5));
        assert!(db.holds(id, &format!("leased_until > {soon} AND leased_until < {late}")).await);

        assert!(finish(&*store, &first, &run, retried(Duration::ZERO)).await);
        let again = claim_one(&*store, &second).await;
        assert_eq!((again.epoch, again.attempts), (Epoch(2), 2));
        assert_eq!(again.started_at, run.started_at, "of the first attempt");
        assert!(again.last_attempted_at >= run.last_attempted_at);
        let workers: Vec<String> = serde_json::from_str(&again.worker_ids).unwrap();
        assert_eq!(workers, ["first", "second"]);
        assert!(again.errors.contains("not yet"));
    }

    async fn an_epoch_rises_even_when_the_attempt_is_given_back(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.ready().await;
        for epoch in 1..=4 {
            let run = claim_one(&*store, &worker).await;
            assert_eq!((run.epoch, run.attempts), (Epoch(epoch), 1));
            assert!(finish(&*store, &worker, &run, released()).await);
        }
    }

    async fn a_run_past_its_expiry_says_so(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert("expires_at", &db.now(-1.0)).await;
        db.insert("expires_at", &db.now(60.0)).await;
        db.insert("expires_at, lock_key", &format!("{}, 'k'", db.now(-1.0))).await;
        let expired: Vec<bool> = claim(&*store, &worker, 10).await.iter().map(|run| run.verdict == Verdict::Expired).collect();
        assert_eq!(expired, [true, false]);
        assert!(claim_keyed(&*store, &worker, 10).await[0].verdict == Verdict::Expired);
    }

    async fn the_spec_comes_back_byte_for_byte(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let spec = r#"{"z":1e+20,"a":[-0.0,123456789012345678901234567890],"é":"\ud800\u0000","a":"twice"}"#;
        db.execute(&format!(
            "INSERT INTO task_runs (spec_json, spec_hash, task_path) VALUES ('{spec}', 'h', 'shop.tasks.send')"
        )).await;
        assert_eq!(claim_one(&*store, &worker).await.spec, spec);
    }

    async fn only_ready_runs_are_claimed(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        for status in RunStatus::ALL {
            db.insert("status, leased_until", &format!("'{status}', {}", db.now(60.0))).await;
        }
        assert_eq!(claim(&*store, &worker, 10).await.len(), 1);
    }
}
