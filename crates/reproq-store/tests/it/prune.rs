//! What is deleted, and what never is.

use std::time::Duration;

use reproq_model::{RunId, RunStatus};
use reproq_store::{Operator, PruneField, PruneWhat};

use crate::database::{Database, both, worker};

fn ended() -> PruneWhat {
    PruneWhat {
        statuses: vec![RunStatus::Successful, RunStatus::Failed, RunStatus::Cancelled],
        field: PruneField::FinishedAt,
        older_than: Duration::from_mins(1),
        dry_run: false,
    }
}

/// All steps of a prune.
async fn prune(operator: &dyn Operator, what: &PruneWhat) -> (u64, Vec<String>) {
    let (mut after, mut pruned, mut keys) = (RunId(0), 0, Vec::new());
    loop {
        let step = operator.prune_step(what, after, 1_000_000).await.unwrap();
        pruned += step.pruned;
        keys.extend(step.keys_in_use);
        match step.last {
            Some(last) => after = last,
            None => return (pruned, keys),
        }
    }
}

both! {
    async fn old_runs_that_have_ended_are_deleted(db: &Database) {
        let operator = db.operator().await;
        let (past, recent) = (db.now(-100.0), db.now(-10.0));
        let statuses = ["SUCCESSFUL", "FAILED", "CANCELLED", "READY", "RUNNING", "WAITING"];
        for status in statuses {
            db.insert("status, finished_at", &format!("'{status}', {past}")).await;
        }
        let young = db.insert("status, finished_at", &format!("'SUCCESSFUL', {recent}")).await;
        let undated = db.insert("status", "'SUCCESSFUL'").await;
        assert_eq!(prune(&*operator, &PruneWhat { dry_run: true, ..ended() }).await.0, 3);
        assert_eq!(db.count("1 = 1").await, 8);
        assert_eq!(prune(&*operator, &ended()).await.0, 3);
        assert_eq!(db.count("status IN ('READY', 'RUNNING', 'WAITING')").await, 3);
        assert_eq!(db.status(young).await, "SUCCESSFUL");
        assert_eq!(db.status(undated).await, "SUCCESSFUL");
    }

    async fn a_running_run_is_never_deleted(db: &Database) {
        let past = db.now(-100.0);
        db.insert("status, expires_at", &format!("'RUNNING', {past}")).await;
        db.insert("expires_at", &past).await;
        let what = PruneWhat { statuses: RunStatus::ALL.to_vec(), field: PruneField::ExpiresAt, older_than: Duration::ZERO, dry_run: false };
        let operator = db.operator().await;
        assert_eq!(prune(&*operator, &what).await.0, 1);
        assert_eq!(db.count("status = 'RUNNING'").await, 1);
    }

    async fn the_date_is_the_one_that_was_asked_for(db: &Database) {
        let operator = db.operator().await;
        for (column, field) in [("finished_at", PruneField::FinishedAt), ("updated_at", PruneField::UpdatedAt),
            ("enqueued_at", PruneField::EnqueuedAt), ("started_at", PruneField::StartedAt)] {
            db.insert(&format!("status, {column}"), &format!("'FAILED', {}", db.now(-100.0))).await;
            db.insert("status", "'FAILED'").await;
            let what = PruneWhat { field, ..ended() };
            assert_eq!(prune(&*operator, &what).await.0, 1, "{column}");
            db.execute("DELETE FROM task_runs").await;
        }
    }

    async fn a_step_is_bounded(db: &Database) {
        let operator = db.operator().await;
        db.insert_many(12_000, "status, finished_at", &format!("'SUCCESSFUL', {}", db.now(-100.0))).await;
        let step = operator.prune_step(&ended(), RunId(0), 70).await.unwrap();
        assert_eq!(step.pruned, 70);
        assert_eq!(db.count("1 = 1").await, 11_930);
        assert!(operator.prune_step(&ended(), RunId(0), 1_000_000).await.unwrap().pruned <= 5000);
        prune(&*operator, &ended()).await;
        assert_eq!(db.count("1 = 1").await, 0);
    }

    async fn a_pruned_parent_lets_go_of_its_children(db: &Database) {
        let parent = db.insert("status, finished_at", &format!("'SUCCESSFUL', {}", db.now(-100.0))).await;
        let child = db.insert("parent_id", &parent.to_string()).await;
        prune(&*db.operator().await, &ended()).await;
        assert_eq!(db.column(child, "parent_id").await, None);
    }

    async fn words_that_count_no_longer_are_deleted(db: &Database) {
        let operator = db.operator().await;
        for limit in [2, 3, 4] {
            db.insert("concurrency_key, concurrency_limit", &format!("'used', {limit}")).await;
        }
        db.insert("status, concurrency_key, concurrency_limit", "'FAILED', 'idle', 2").await;
        db.insert("status, concurrency_key, concurrency_limit", "'FAILED', 'fresh', 2").await;
        operator.set_limit("concurrency:idle", 7).await.unwrap();
        db.execute(&format!("UPDATE reproq_key_limits SET created_at = {} WHERE key <> 'concurrency:fresh'", db.now(-90_000.0))).await;
        let (_, mut keys) = prune(&*operator, &ended()).await;
        keys.dedup();
        assert_eq!(keys, ["concurrency:used"]);
        assert_eq!(operator.prune_words(&keys).await.unwrap(), 3, "two that are replaced, one that is idle");
        let words = operator.key_words(None).await.unwrap();
        let left: Vec<(&str, f64)> = words.iter().map(|word| (word.key.as_str(), word.amount)).collect();
        assert_eq!(left, [("concurrency:fresh", 2.0), ("concurrency:idle", 7.0), ("concurrency:used", 4.0)]);
    }

    async fn rates_that_nobody_uses_are_deleted_unless_an_operator_set_them(db: &Database) {
        let operator = db.operator().await;
        for (key, tat, stated) in [("key:a", "1", "TRUE"), ("key:b", "99999999999999999", "TRUE"), ("key:c", "1", "FALSE")] {
            db.execute(&format!("INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens, tat, stated) \
                                 VALUES ('{key}', 1, 1, 1, {tat}, {stated})")).await;
        }
        assert_eq!(operator.prune_words(&[]).await.unwrap(), 1);
        let left: Vec<String> = operator.rates(None).await.unwrap().into_iter().map(|rate| rate.key).collect();
        assert_eq!(left, ["global", "key:b", "key:c"]);
    }

    async fn silent_workers_are_forgotten(db: &Database) {
        let operator = db.operator().await;
        operator.register(&worker("gone", &[])).await.unwrap();
        db.execute(&format!("UPDATE reproq_workers SET last_seen_at = {}", db.now(-700.0))).await;
        operator.register(&worker("here", &[])).await.unwrap();
        let limit = Duration::from_mins(10);
        assert_eq!(operator.prune_workers(limit, true).await.unwrap(), 1);
        assert_eq!(operator.workers().await.unwrap().len(), 2);
        assert_eq!(operator.prune_workers(limit, false).await.unwrap(), 1);
        assert_eq!(operator.workers().await.unwrap()[0].worker_id, "here");
    }
}
