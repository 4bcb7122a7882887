//! What an operator orders: pauses, limits, other times, other tries.

use std::time::Duration;

use reproq_model::{RunId, RunStatus};
use reproq_store::{Moment, Replayed, Rescheduled, RetryAnswer, Scope};
use sqlx::postgres::PgListener;
use tokio::time::timeout;

use crate::database::{Database, both, other, within};

const HOUR: Duration = Duration::from_hours(1);

async fn twin(db: &Database, dedup: i8, status: &str) -> RunId {
    db.insert("spec_hash, dedup, status", &format!("'twin', {dedup}, '{status}'")).await
}

async fn failed(db: &Database) -> RunId {
    let past = db.now(-100.0);
    db.insert(
        "status, attempts, crash_count, started_at, finished_at, failed_at, last_error, errors_json, cancel_requested, expires_at",
        &format!("'FAILED', 3, 2, {past}, {past}, {past}, 'no', '[{{\"message\":\"no\"}}]', TRUE, {past}"),
    )
    .await
}

both! {
    async fn a_pause_holds_until_it_is_resumed(db: &Database) {
        let operator = db.operator().await;
        operator.pause(Scope::Queue("mail"), Some("deploy"), None).await.unwrap();
        operator.pause(Scope::Task("shop.tasks.send"), None, Some(HOUR)).await.unwrap();
        let controls = operator.controls().await.unwrap();
        assert_eq!(controls.len(), 2);
        assert_eq!((controls[0].name.as_str(), controls[0].is_task), ("mail", false));
        assert_eq!((controls[0].reason.as_deref(), controls[0].resume_at), (Some("deploy"), None));
        assert_eq!((controls[1].name.as_str(), controls[1].is_task), ("shop.tasks.send", true));
        let left = controls[1].resume_at.unwrap() - controls[1].paused_at.unwrap();
        assert!((3_599_000_000..=3_601_000_000).contains(&left), "{left}");
        assert!(operator.resume(Scope::Queue("mail")).await.unwrap());
        assert!(operator.resume(Scope::Task("shop.tasks.send")).await.unwrap());
        assert!(operator.controls().await.unwrap().is_empty());
        assert!(!operator.resume(Scope::Queue("mail")).await.unwrap(), "it was not paused");
        assert!(!operator.resume(Scope::Queue("unknown")).await.unwrap());
    }

    async fn another_pause_takes_the_place_of_the_first(db: &Database) {
        let operator = db.operator().await;
        operator.pause(Scope::Queue("mail"), Some("deploy"), Some(HOUR)).await.unwrap();
        operator.pause(Scope::Queue("mail"), None, None).await.unwrap();
        let controls = operator.controls().await.unwrap();
        assert_eq!((controls.len(), controls[0].reason.clone(), controls[0].resume_at), (1, None, None));
    }

    async fn a_pause_that_is_over_is_none(db: &Database) {
        let operator = db.operator().await;
        operator.pause(Scope::Queue("mail"), None, Some(HOUR)).await.unwrap();
        db.execute(&format!("UPDATE reproq_queue_controls SET resume_at = {}", db.now(-1.0))).await;
        assert!(operator.controls().await.unwrap().is_empty());
        assert!(!operator.resume(Scope::Queue("mail")).await.unwrap());
    }

    async fn an_operators_rate_starts_with_its_whole_burst(db: &Database) {
        let operator = db.operator().await;
        db.execute("INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens, tat, stated) \
                    VALUES ('key:a', 1, 1, 0, 99, TRUE)").await;
        operator.set_rate("key:a", 0.1, 7).await.unwrap();
        let rates = operator.rates(Some(&["key:a".to_owned()])).await.unwrap();
        assert_eq!(rates.len(), 1);
        let rate = &rates[0];
        assert_eq!((rate.per_second, rate.burst, rate.stated, rate.tat), (0.1, 7, false, None));
        assert_eq!(db.number("SELECT count(*) FROM rate_limits WHERE key = 'key:a' AND current_tokens = 7").await, 1);
        operator.set_rate("key:a", 0.0, 1).await.unwrap();
        assert_eq!(operator.rates(None).await.unwrap().iter().map(|rate| rate.key.as_str()).collect::<Vec<_>>(), ["global", "key:a"]);
        assert_eq!(operator.remove_limit("key:a").await.unwrap(), 1);
        assert_eq!(operator.remove_limit("key:a").await.unwrap(), 0);
    }

    async fn the_state_of_a_rate_that_the_code_states_is_not_removed(db: &Database) {
        db.execute("INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens, tat, stated) \
                    VALUES ('key:a', 1, 1, 0, 99, TRUE)").await;
        assert_eq!(db.operator().await.remove_limit("key:a").await.unwrap(), 0);
    }

    async fn a_pinned_limit_counts_before_what_enqueues_say(db: &Database) {
        let operator = db.operator().await;
        let word = async || {
            let words = operator.key_words(Some(&["concurrency:a".to_owned()])).await.unwrap();
            words.first().map(|word| (word.amount, word.pinned))
        };
        assert_eq!(word().await, None);
        db.insert("concurrency_key, concurrency_limit", "'a', 2").await;
        db.insert("concurrency_key, concurrency_limit", "'a', 3").await;
        assert_eq!(word().await, Some((3.0, false)));
        operator.set_limit("concurrency:a", 5).await.unwrap();
        operator.set_limit("concurrency:a", 4).await.unwrap();
        db.insert("concurrency_key, concurrency_limit", "'a', 9").await;
        assert_eq!(word().await, Some((4.0, true)));
        assert_eq!(operator.key_words(None).await.unwrap().len(), 1);
        assert_eq!(operator.remove_limit("concurrency:a").await.unwrap(), 1);
        assert_eq!(word().await, Some((9.0, false)));
    }

    async fn a_run_that_has_not_started_is_moved(db: &Database) {
        let operator = db.operator().await;
        let id = db.ready().await;
        let Rescheduled::Moved { status, run_after } = operator.reschedule(id, Moment::In(HOUR)).await.unwrap() else { panic!() };
        assert_eq!(status, RunStatus::Ready);
        assert!(db.holds(id, &format!("gate = 1 AND run_after > {} AND run_after < {}", db.now(3590.0), db.now(3610.0))).await);
        let moved = operator.reschedule(id, Moment::At(run_after + 5_000_000)).await.unwrap();
        assert_eq!(moved, Rescheduled::Moved { status, run_after: run_after + 5_000_000 });
        operator.reschedule(id, Moment::In(Duration::ZERO)).await.unwrap();
        assert!(db.holds(id, "gate = 0").await);
        let waiting = db.insert("status", "'WAITING'").await;
        let moved = operator.reschedule(waiting, Moment::In(HOUR)).await.unwrap();
        assert!(matches!(moved, Rescheduled::Moved { status: RunStatus::Waiting, .. }), "{moved:?}");
    }

    async fn a_run_that_has_started_is_not_moved(db: &Database) {
        let operator = db.operator().await;
        for (text, status) in [("RUNNING", RunStatus::Running), ("SUCCESSFUL", RunStatus::Successful)] {
            let id = db.insert("status", &format!("'{text}'")).await;
            assert_eq!(operator.reschedule(id, Moment::In(HOUR)).await.unwrap(), Rescheduled::Found(status));
            assert_eq!(db.column(id, "run_after").await, None);
        }
        assert_eq!(operator.reschedule(RunId(77), Moment::In(HOUR)).await.unwrap(), Rescheduled::Unknown);
    }

    async fn a_replay_has_the_call_of_its_source_and_a_fresh_life(db: &Database) {
        let operator = db.operator().await;
        let (past, later) = (db.now(-100.0), db.now(-40.0));
        let source = db.insert(
            "spec_hash, status, queue_name, priority, max_attempts, timeout_seconds, lock_key, concurrency_key, concurrency_limit, \
             fairness_key, rate_key, rate_per_second, rate_burst, over_limit, headers, backend_alias, dedup, enqueued_at, run_after, \
             expires_at, attempts, worker_ids, return_json, errors_json, metadata_json, epoch, finished_at, cancel_requested",
            &format!("'h', 'SUCCESSFUL', 'mail', 7, 5, 60, 'l', 'c', 3, 'f', 'key:r', 2.5, 4, 1, '{{\"a\":1}}', 'other', -1, \
                      {past}, {later}, {later}, 3, '[\"w\"]', '1', '[1]', '{{\"m\":1}}', 9, {later}, TRUE"),
        ).await;
        let Replayed::Made(id) = operator.replay(source).await.unwrap() else { panic!() };
        assert_ne!(id, source);
        for column in ["spec_json", "spec_hash", "task_path", "queue_name", "priority", "max_attempts", "timeout_seconds", "lock_key",
            "concurrency_key", "concurrency_limit", "fairness_key", "rate_key", "rate_per_second", "rate_burst", "over_limit", "headers",
            "backend_alias"] {
            assert_eq!(db.column(id, column).await, db.column(source, column).await, "{column}");
        }
        assert!(db.holds(id, "status = 'READY' AND gate = 2 AND dedup = 1 AND attempts = 0 AND epoch = 0 AND NOT cancel_requested \
            AND return_json IS NULL AND finished_at IS NULL AND started_at IS NULL").await);
        for (column, fresh) in [("worker_ids", "[]"), ("errors_json", "[]"), ("metadata_json", "{}")] {
            assert_eq!(db.column(id, column).await.as_deref(), Some(fresh));
        }
        assert!(db.holds(id, &format!("enqueued_at > {} AND run_after <= {}", db.now(-5.0), db.now(1.0))).await);
        assert!(db.holds(id, &format!("expires_at > {} AND expires_at < {}", db.now(50.0), db.now(65.0))).await, "the same span");
        let newest = operator.newest_of("h").await.unwrap();
        assert_eq!((newest, operator.newest_of("none").await.unwrap()), (Some(id), None));
        assert_eq!(operator.replay(RunId(77)).await.unwrap(), Replayed::Unknown);
    }

    async fn a_replay_does_not_bring_back_the_limit_of_its_day(db: &Database) {
        let old = db.insert("concurrency_key, concurrency_limit", "'a', 2").await;
        db.insert("concurrency_key, concurrency_limit", "'a', 8").await;
        let operator = db.operator().await;
        let Replayed::Made(id) = operator.replay(old).await.unwrap() else { panic!() };
        assert_eq!(db.column(id, "concurrency_limit").await.as_deref(), Some("8"));
        assert_eq!(operator.key_words(None).await.unwrap()[0].amount.to_string(), "8");
    }

    async fn a_replay_that_meets_an_active_twin_answers_with_it(db: &Database) {
        let operator = db.operator().await;
        for (mode, status, active) in [(1, "READY", true), (1, "WAITING", true), (-1, "RUNNING", false), (0, "READY", false),
            (2, "READY", true), (2, "RUNNING", true), (2, "WAITING", true), (2, "FAILED", false)] {
            let source = twin(db, if mode == 0 { 0 } else if mode == 2 { 2 } else { -1 }, "FAILED").await;
            let other = twin(db, mode, status).await;
            let answer = operator.replay(source).await.unwrap();
            if active {
                assert_eq!(answer, Replayed::Twin(other), "{mode} {status}");
            } else {
                assert!(matches!(answer, Replayed::Made(_)), "{mode} {status}: {answer:?}");
            }
            db.execute("DELETE FROM task_runs").await;
        }
    }

    async fn a_retried_run_starts_its_life_again_and_keeps_its_errors(db: &Database) {
        let operator = db.operator().await;
        let id = failed(db).await;
        assert_eq!(operator.retry(&[id]).await.unwrap(), [(id, RetryAnswer::Retried)]);
        assert!(db.holds(id, "status = 'READY' AND gate = 0 AND attempts = 0 AND crash_count = 0 AND NOT cancel_requested \
            AND started_at IS NULL AND finished_at IS NULL AND failed_at IS NULL AND last_error IS NULL AND leased_until IS NULL \
            AND expires_at IS NULL").await);
        assert!(db.column(id, "errors_json").await.unwrap().contains("no"));
        assert!(db.holds(id, &format!("run_after > {}", db.now(-5.0))).await);
    }

    async fn only_failed_runs_are_retried(db: &Database) {
        let operator = db.operator().await;
        let (running, done) = (db.insert("status", "'RUNNING'").await, db.insert("status", "'SUCCESSFUL'").await);
        assert_eq!(operator.retry(&[running, done, RunId(77)]).await.unwrap(), [
            (running, RetryAnswer::Found(RunStatus::Running)),
            (done, RetryAnswer::Found(RunStatus::Successful)),
            (RunId(77), RetryAnswer::Unknown),
        ]);
    }

    async fn a_run_with_an_active_twin_is_not_retried(db: &Database) {
        let operator = db.operator().await;
        let (first, second) = (twin(db, 2, "FAILED").await, twin(db, 2, "FAILED").await);
        let free = failed(db).await;
        assert_eq!(operator.retry(&[second, first, free]).await.unwrap(), [
            (second, RetryAnswer::Twin(first)), (first, RetryAnswer::Retried), (free, RetryAnswer::Retried),
        ], "one of two twins");
        assert_eq!(operator.retry(&[second]).await.unwrap(), [(second, RetryAnswer::Twin(first))]);
        db.execute("UPDATE task_runs SET status = 'SUCCESSFUL' WHERE status = 'READY'").await;
        assert_eq!(operator.retry(&[second]).await.unwrap(), [(second, RetryAnswer::Retried)]);
    }

    async fn a_run_that_has_started_is_retried_beside_a_later_twin(db: &Database) {
        let operator = db.operator().await;
        for mode in [1, -1, 0] {
            let id = twin(db, mode, "FAILED").await;
            twin(db, 1, "READY").await;
            assert_eq!(operator.retry(&[id]).await.unwrap(), [(id, RetryAnswer::Retried)], "{mode}");
            db.execute("DELETE FROM task_runs").await;
        }
    }

    async fn a_run_without_a_lease_gets_one_that_has_ended(db: &Database) {
        let operator = db.operator().await;
        let id = db.insert("status", "'RUNNING'").await;
        let held = db.insert("status, leased_until", &format!("'RUNNING', {}", db.now(60.0))).await;
        assert_eq!(operator.end_null_leases(true).await.unwrap(), 1);
        assert_eq!(db.column(id, "leased_until").await, None);
        assert_eq!(operator.end_null_leases(false).await.unwrap(), 1);
        let expired = operator.expired(&other(), 10).await.unwrap();
        assert_eq!(expired.iter().map(|run| run.id).collect::<Vec<_>>(), [id]);
        assert!(db.holds(held, &format!("leased_until > {}", db.now(50.0))).await);
    }

    async fn failures_are_listed_latest_first(db: &Database) {
        let operator = db.operator().await;
        let old = failed(db).await;
        let new = db.insert("status, queue_name, failed_at, last_error", &format!("'FAILED', 'mail', {}, 'boom'", db.now(-1.0))).await;
        db.ready().await;
        let list = operator.failed(None, 10).await.unwrap();
        assert_eq!(list.iter().map(|run| run.id).collect::<Vec<_>>(), [new, old]);
        assert_eq!((list[1].attempts, list[1].max_attempts, list[1].last_error.as_deref()), (3, 3, Some("no")));
        assert_eq!(operator.failed(Some("mail"), 10).await.unwrap().len(), 1);
        assert_eq!(operator.failed(None, 1).await.unwrap().len(), 1);
        assert_eq!(operator.failed_after(RunId(0), None, 10).await.unwrap(), [old, new]);
        assert_eq!(operator.failed_after(old, None, 10).await.unwrap(), [new]);
        assert_eq!(operator.failed_after(RunId(0), Some("default"), 10).await.unwrap(), [old]);
    }
}

/// Twins come and go while runs are retried and replayed: nobody meets an error, and never are two active.
#[tokio::test]
async fn in_postgres_twins_that_race_end_as_one() {
    let db = Database::postgres().await;
    for mode in [2, 1] {
        db.execute("DELETE FROM task_runs").await;
        let source = twin(&db, mode, "FAILED").await;
        let racers = (0..6).map(async |racer| {
            let operator = db.operator().await;
            for _ in 0..25 {
                if racer % 2 == 0 {
                    operator.replay(source).await.unwrap();
                } else {
                    let ids = operator.failed_after(RunId(0), None, 3).await.unwrap();
                    operator.retry(&ids).await.unwrap();
                }
            }
        });
        let ended = std::cell::Cell::new(false);
        let churn = async {
            let mut side = db.another_side().await;
            let mut worst = 0;
            while !ended.get() {
                let sql = "SELECT count(*) FROM task_runs WHERE dedup > 0 AND status IN ('READY', 'RUNNING', 'WAITING')";
                let active = side.rows(sql).await.unwrap().swap_remove(0).swap_remove(0).unwrap();
                worst = worst.max(active.parse::<i64>().unwrap());
                let sql = "UPDATE task_runs SET status = 'FAILED' WHERE result_id IN ( \
                    SELECT result_id FROM task_runs WHERE status = 'READY' ORDER BY result_id FOR UPDATE SKIP LOCKED)";
                side.rows(sql).await.unwrap();
            }
            worst
        };
        let work = async {
            join_all(racers).await;
            ended.set(true);
        };
        let (worst, ()) =
            within(Duration::from_mins(1), "the race", Box::pin(async { tokio::join!(churn, work) })).await;
        assert_eq!(worst, 1, "mode {mode}");
        assert!(db.count("dedup = 2 AND status = 'READY'").await <= 1);
    }
}

/// A twin that is not committed yet decides, not the order of statements.
#[tokio::test]
async fn in_postgres_a_retry_waits_for_a_twin_in_flight() {
    let db = Database::postgres().await;
    let (one, other) = (twin(&db, 2, "FAILED").await, failed(&db).await);
    for (verdict, twin_stays) in [("ROLLBACK", false), ("COMMIT", true)] {
        db.execute("UPDATE task_runs SET status = 'FAILED'").await;
        let mut side = db.another_side().await;
        side.rows("BEGIN").await.unwrap();
        side.rows(
            "INSERT INTO task_runs (spec_json, spec_hash, task_path, dedup) VALUES ('{}', 'twin', 't', 2)",
        )
        .await
        .unwrap();
        let operator = db.operator().await;
        let retry = async { operator.retry(&[one, other]).await.unwrap() };
        let decide = async {
            let waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
            within(Duration::from_secs(10), "the wait", async {
                while db.rows(waits).await.is_empty() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            side.rows(verdict).await.unwrap();
        };
        let (answers, ()) = tokio::join!(retry, decide);
        assert_eq!(answers[1], (other, RetryAnswer::Retried), "{verdict}");
        assert_eq!(
            matches!(answers[0], (id, RetryAnswer::Twin(_)) if id == one),
            twin_stays,
            "{verdict} {answers:?}"
        );
    }
}

#[tokio::test]
async fn in_postgres_what_can_start_wakes_the_workers() {
    let db = Database::postgres().await;
    let operator = db.operator().await;
    let url = db.text("SELECT current_database()").await.unwrap();
    let server = std::env::var("REPROQ_TEST_DATABASE_URL").unwrap();
    let mut address = url::Url::parse(&server).unwrap();
    address.set_path(&url);
    let mut listener = PgListener::connect(address.as_str()).await.unwrap();
    listener.listen("reproq_wake").await.unwrap();
    let mut heard = async |what: &str, queue: &str| {
        let said = timeout(Duration::from_secs(5), listener.recv()).await;
        assert_eq!(
            said.unwrap_or_else(|_| panic!("{what} wakes nobody")).unwrap().payload(),
            queue,
            "{what}"
        );
    };
    let id = failed(&db).await;
    operator.retry(&[id]).await.unwrap();
    heard("a retry", "default").await;
    operator.reschedule(id, Moment::In(Duration::ZERO)).await.unwrap();
    heard("a new time", "default").await;
    operator.replay(id).await.unwrap();
    heard("a replay", "default").await;
    for scope in [Scope::Queue("mail"), Scope::Task("t")] {
        operator.pause(scope, None, None).await.unwrap();
        operator.resume(scope).await.unwrap();
        heard("an end of a pause", if scope == Scope::Queue("mail") { "mail" } else { "" }).await;
    }
}

async fn join_all(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
