//! Rates, fair shares, pauses and what happens over a limit, as the claims of both engines carry them out.

use std::collections::HashMap;
use std::time::Duration;

use reproq_model::admission::Verdict;
use reproq_model::{AttemptEnd, AttemptFacts, RunId, classify};
use reproq_store::{ClaimedRun, Registration, Store};

use crate::database::{Database, both, claim, claim_keyed, deadline, finish, ids, returned, worker};

async fn end_all(store: &dyn Store, worker: &Registration, runs: &[ClaimedRun]) {
    for run in runs {
        assert!(finish(store, worker, run, returned("null")).await);
    }
}

async fn set_rate(db: &Database, key: &str, per_second: f64, burst: i32) {
    db.execute(&format!("DELETE FROM rate_limits WHERE key = '{key}'")).await;
    db.execute(&format!(
        "INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens) VALUES ('{key}', {per_second}, {burst}, {burst})"
    ))
    .await;
}

/// Both lanes, as a worker goes through them.
async fn claim_all(store: &dyn Store, worker: &Registration, limit: u32) -> Vec<ClaimedRun> {
    store.promote_due(&worker.queues).await.unwrap();
    let mut runs = claim(store, worker, limit).await;
    runs.extend(claim_keyed(store, worker, limit - u32::try_from(runs.len()).unwrap()).await);
    runs
}

fn starts(runs: &[ClaimedRun]) -> Vec<RunId> {
    runs.iter().filter(|run| run.verdict == Verdict::Start).map(|run| run.id).collect()
}

both! {
    async fn a_tasks_rate_holds_back_its_runs_and_no_others(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        set_rate(db, "task:shop.tasks.send", 0.001, 2).await;
        db.insert_many(50, "", "").await;
        let other = RunId(db.number("INSERT INTO task_runs (spec_json, spec_hash, task_path) VALUES ('{}', 'o', 'shop.tasks.other') RETURNING result_id").await);
        let first = claim_all(&*store, &worker, 20).await;
        assert_eq!(first.len(), 3);
        assert!(ids(&first).contains(&other));
        end_all(&*store, &worker, &first).await;
        assert!(claim_all(&*store, &worker, 20).await.is_empty());
        assert_eq!(db.count("status = 'READY' AND gate = 2").await, 48);
    }

    async fn a_rate_that_is_taken_away_sets_its_runs_free(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        set_rate(db, "task:shop.tasks.send", 0.001, 1).await;
        db.insert_many(5, "", "").await;
        assert_eq!(claim_all(&*store, &worker, 20).await.len(), 1);
        db.execute("DELETE FROM rate_limits WHERE key LIKE 'task:%'").await;
        assert_eq!(claim_all(&*store, &worker, 20).await.len(), 4);
    }

    async fn a_queues_rate_and_the_global_one_count_every_start(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default", "mail"]));
        set_rate(db, "queue:mail", 0.001, 2).await;
        db.insert_many(9, "queue_name", "'mail'").await;
        db.insert_many(9, "", "").await;
        db.insert_many(9, "queue_name, lock_key", "'mail', CAST(n AS TEXT)").await;
        assert_eq!(claim_all(&*store, &worker, 100).await.len(), 11);
        set_rate(db, "global", 0.001, 3).await;
        db.insert_many(9, "", "").await;
        assert_eq!(claim_all(&*store, &worker, 100).await.len(), 3);
        assert_eq!(claim_all(&*store, &worker, 100).await.len(), 0);
    }

    async fn a_rate_that_was_set_as_ever_keeps_its_meaning(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(9, "", "").await;
        set_rate(db, "queue:default", 0.001, 4).await;
        // As the earlier system left it: one token is there.
        db.execute("UPDATE rate_limits SET current_tokens = 1 WHERE key = 'queue:default'").await;
        assert_eq!(claim_all(&*store, &worker, 100).await.len(), 1);
        // As its `limit set` fills it up again.
        db.execute("UPDATE rate_limits SET current_tokens = 4 WHERE key = 'queue:default'").await;
        assert_eq!(claim_all(&*store, &worker, 100).await.len(), 4);
        assert!(db.number("SELECT CAST(current_tokens AS INTEGER) FROM rate_limits WHERE key = 'queue:default'").await <= 1);
        // Nothing per second means no limit.
        db.execute("UPDATE rate_limits SET tokens_per_second = 0 WHERE key = 'queue:default'").await;
        assert_eq!(claim_all(&*store, &worker, 100).await.len(), 4);
    }

    async fn a_rate_that_somebody_raises_counts_from_now_on(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        set_rate(db, "queue:default", 0.001, 1).await;
        db.insert_many(9, "", "").await;
        assert_eq!(claim_all(&*store, &worker, 100).await.len(), 1);
        db.execute("UPDATE rate_limits SET tokens_per_second = 100 WHERE key = 'queue:default'").await;
        let end = deadline(Duration::from_secs(5));
        while db.count("status = 'READY'").await > 0 {
            assert!(tokio::time::Instant::now() < end, "the debt of the old rate is paid at the old pace");
            claim_all(&*store, &worker, 100).await;
        }
    }

    async fn a_rate_of_its_own_belongs_to_the_key(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(20, "rate_key, rate_per_second, rate_burst", "'key:' || CAST(n % 2 AS TEXT), 0.001, 3").await;
        let first = claim_all(&*store, &worker, 100).await;
        assert_eq!(first.len(), 6);
        end_all(&*store, &worker, &first).await;
        assert!(claim_all(&*store, &worker, 100).await.is_empty());
        assert_eq!(db.number("SELECT count(*) FROM rate_limits WHERE stated AND tat IS NOT NULL").await, 2);
        // The latest word on the key counts for the runs that wait.
        db.insert("rate_key, rate_per_second, rate_burst", "'key:1', 1000000, 50").await;
        assert_eq!(claim_all(&*store, &worker, 100).await.len(), 8);
        // And an operator's counts before that.
        set_rate(db, "key:0", 0.001, 2).await;
        assert_eq!(claim_all(&*store, &worker, 100).await.len(), 2);
    }

    async fn a_rate_is_never_exceeded_in_any_window(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        set_rate(db, "task:shop.tasks.send", 100.0, 5).await;
        db.insert_many(60, "", "").await;
        let end = deadline(Duration::from_secs(20));
        while db.count("status = 'READY'").await > 0 {
            assert!(tokio::time::Instant::now() < end);
            claim_all(&*store, &worker, 20).await;
        }
        let seconds = if db.is_postgres() { "extract(epoch FROM last_attempted_at)" } else { "(julianday(last_attempted_at) - 2440587.5) * 86400.0" };
        let mut times: Vec<f64> = db.rows(&format!("SELECT CAST({seconds} AS TEXT) FROM task_runs")).await
            .into_iter().map(|row| row[0].as_ref().unwrap().parse().unwrap()).collect();
        times.sort_by(f64::total_cmp);
        // SQLite tells the time to the millisecond.
        let slack = if db.is_postgres() { 1e-5 } else { 0.0011 };
        for first in 0..times.len() {
            for last in first..times.len() {
                let count = f64::from(u32::try_from(last - first + 1).unwrap());
                assert!(count <= 5.0 + 100.0 * (times[last] - times[first] + slack) + 1e-6, "{count} in {}", times[last] - times[first]);
            }
        }
    }

    async fn the_latest_limit_of_a_key_counts_for_all_that_wait(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(10, "concurrency_key, concurrency_limit", "'c', 5").await;
        let low = db.insert("concurrency_key, concurrency_limit, priority", "'c', 2, 100").await;
        let held = claim_keyed(&*store, &worker, 10).await;
        assert_eq!(held.len(), 2);
        assert!(ids(&held).contains(&low));
        // The run that said so has ended; its word stays.
        end_all(&*store, &worker, &held).await;
        assert_eq!(claim_keyed(&*store, &worker, 10).await.len(), 2);
        db.insert("concurrency_key, concurrency_limit", "'c', 4").await;
        assert_eq!(claim_keyed(&*store, &worker, 10).await.len(), 2);
        // An operator's word stays above all.
        db.execute("INSERT INTO reproq_key_limits (key, amount, pinned) VALUES ('concurrency:c', 6, TRUE)").await;
        db.insert("concurrency_key, concurrency_limit", "'c', 1").await;
        assert_eq!(claim_keyed(&*store, &worker, 10).await.len(), 2);
    }

    async fn an_enqueue_adds_a_word_only_when_it_says_something_new(db: &Database) {
        db.insert_many(10, "concurrency_key, concurrency_limit", "'c', 5").await;
        db.insert_many(10, "concurrency_key, concurrency_limit", "'c', 0").await;
        assert_eq!(db.number("SELECT count(*) FROM reproq_key_limits").await, 1);
        db.insert_many(3, "concurrency_key, concurrency_limit", "'c', 6").await;
        assert_eq!(db.number("SELECT count(*) FROM reproq_key_limits").await, 2);
    }

    async fn a_tenant_with_thousands_delays_one_with_a_single_run_by_a_batch(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(3000, "fairness_key", "'large'").await;
        let small = db.insert("fairness_key", "'small'").await;
        assert!(ids(&claim_keyed(&*store, &worker, 4).await).contains(&small));
        // With a single slot, too: the turn is remembered from claim to claim.
        let small = db.insert("concurrency_key, concurrency_limit", "'also small', 1").await;
        let mut seen = Vec::new();
        for _ in 0..2 {
            seen.extend(ids(&claim_keyed(&*store, &worker, 1).await));
        }
        assert!(seen.contains(&small), "{seen:?}");
    }

    async fn many_tenants_have_the_same_share(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(900, "fairness_key", "'t' || CAST(n % 300 AS TEXT)").await;
        let mut shares: HashMap<String, usize> = HashMap::new();
        for _ in 0..200 {
            for run in claim_keyed(&*store, &worker, 3).await {
                *shares.entry(db.column(run.id, "fairness_key").await.unwrap()).or_default() += 1;
            }
        }
        let (least, most) = (shares.values().min().unwrap(), shares.values().max().unwrap());
        assert!(shares.len() == 300 && *least >= 1 && *most <= 3, "{least} to {most} of {}", shares.len());
    }

    async fn locks_within_a_full_group_hide_no_other_group(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(2000, "concurrency_key, concurrency_limit, lock_key", "'a', 1, CAST(n AS TEXT)").await;
        let free = db.insert("concurrency_key, concurrency_limit", "'b', 1").await;
        assert!(ids(&claim_keyed(&*store, &worker, 10).await).contains(&free));
    }

    async fn over_its_limit_a_run_is_discarded_if_it_asked_for_that(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(4, "concurrency_key, concurrency_limit, over_limit", "'c', 1, 1").await;
        let runs = claim_keyed(&*store, &worker, 10).await;
        assert_eq!(starts(&runs).len(), 1);
        assert_eq!(runs.iter().filter(|run| run.verdict == Verdict::Discarded).count(), 3);
        // What is discarded holds nothing while it ends.
        assert_eq!(db.count("status = 'RUNNING' AND slot_no IS NOT NULL").await, 1);
    }

    async fn over_its_limit_only_the_latest_waits_if_that_was_asked_for(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(5, "concurrency_key, concurrency_limit, over_limit", "'c', 1, 2").await;
        let runs = claim_keyed(&*store, &worker, 2).await;
        let started = starts(&runs);
        assert_eq!((started.len(), runs.len()), (1, 4));
        for run in &runs {
            let facts = AttemptFacts { attempts: run.attempts, max_attempts: run.max_attempts, crash_count: 0, spec: "{}", worker_id: "w", epoch: 0, pid: None };
            let end = if run.verdict == Verdict::Replaced { classify(AttemptEnd::Replaced, facts, &mut rand::rng()) } else { returned("1") };
            assert!(finish(&*store, &worker, run, end).await);
        }
        assert_eq!(db.count("status = 'CANCELLED' AND attempts = 0 AND finished_at IS NOT NULL").await, 3);
        let last = claim_keyed(&*store, &worker, 2).await;
        assert_eq!(starts(&last), [RunId(db.number("SELECT max(result_id) FROM task_runs").await)]);
    }

    async fn a_paused_task_stands_in_nobodys_way(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(700, "", "").await;
        db.insert("lock_key", "'k'").await;
        let other = RunId(db.number("INSERT INTO task_runs (spec_json, spec_hash, task_path) VALUES ('{}', 'o', 'shop.tasks.other') RETURNING result_id").await);
        db.execute("INSERT INTO reproq_task_controls (task_path, paused, reason) VALUES ('shop.tasks.send', TRUE, 'x')").await;
        let mut claimed = Vec::new();
        for _ in 0..4 {
            claimed.extend(ids(&claim_all(&*store, &worker, 10).await));
        }
        assert_eq!(claimed, [other]);
        db.execute("UPDATE reproq_task_controls SET paused = FALSE").await;
        assert_eq!(claim_all(&*store, &worker, 10).await.len(), 10);
    }

    async fn a_pause_with_an_end_is_over_by_itself(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(4, "", "").await;
        db.execute(&format!("INSERT INTO reproq_queue_controls (queue_name, paused, resume_at) VALUES ('default', TRUE, {})", db.now(60.0))).await;
        db.execute(&format!("INSERT INTO reproq_task_controls (task_path, paused, resume_at) VALUES ('shop.tasks.send', TRUE, {})", db.now(60.0))).await;
        assert!(claim_all(&*store, &worker, 10).await.is_empty());
        db.execute(&format!("UPDATE reproq_queue_controls SET resume_at = {}", db.now(-1.0))).await;
        assert!(claim_all(&*store, &worker, 10).await.is_empty(), "the task is paused still");
        db.execute(&format!("UPDATE reproq_task_controls SET resume_at = {}", db.now(-1.0))).await;
        assert_eq!(claim_all(&*store, &worker, 10).await.len(), 4);
    }
}
