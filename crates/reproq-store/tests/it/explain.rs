//! The facts that decide whether a run starts.

use std::time::Duration;

use reproq_model::{RunId, RunStatus};
use reproq_store::Scope;

use crate::database::{Database, both, claim_one, worker};

both! {
    async fn a_run_is_shown_whole(db: &Database) {
        let operator = db.operator().await;
        let id = db.insert("queue_name, priority, lock_key, concurrency_key, rate_key, rate_per_second, rate_burst, run_after, last_error",
            &format!("'mail', 3, 'l', '', 'key:r', 0.5, 2, {}, 'boom'", db.now(60.0))).await;
        let run = operator.run(id).await.unwrap().unwrap();
        assert_eq!((run.id, run.status, run.queue_name.as_str(), run.task_path.as_str()), (id, RunStatus::Ready, "mail", "shop.tasks.send"));
        assert_eq!((run.priority, run.gate, run.lock_key.as_deref(), run.concurrency_key), (3, Some(1), Some("l"), None));
        assert_eq!((run.rate_key.as_deref(), run.rate_per_second, run.rate_burst), (Some("key:r"), Some(0.5), Some(2)));
        let wait = run.run_after.unwrap() - run.now;
        assert!((55_000_000..60_500_000).contains(&wait), "{wait}");
        assert!(run.spec.contains("task_path") && run.errors == "[]");
        assert_eq!(operator.run(RunId(77)).await.unwrap(), None);
        assert!(operator.explain(RunId(77)).await.unwrap().is_none());
    }

    async fn who_holds_a_key_is_known(db: &Database) {
        let operator = db.operator().await;
        let id = db.insert("lock_key, concurrency_key, concurrency_limit", "'l', 'c', 2").await;
        let held = format!("'RUNNING', 'w', {}", db.now(-30.0));
        let lock = db.insert("status, leased_by, last_attempted_at, lock_key, slot_no", &format!("{held}, 'l', -1")).await;
        let slots = [1, 2].map(async |slot| {
            db.insert("status, leased_by, last_attempted_at, concurrency_key, slot_no", &format!("{held}, 'c', {slot}")).await
        });
        let [first, second] = slots;
        let (first, second) = (first.await, second.await);
        let facts = operator.explain(id).await.unwrap().unwrap();
        let holders: Vec<(RunId, bool)> = facts.holders.iter().map(|holder| (holder.id, holder.lock)).collect();
        assert_eq!(holders, [(lock, true), (first, false), (second, false)]);
        let since = facts.run.now - facts.holders[0].since;
        assert!((29_000_000..40_000_000).contains(&since) && facts.holders[0].worker_id == "w", "{since}");
        assert_eq!((facts.words.len(), facts.words[0].amount), (1, 2.0));
        assert_eq!(facts.busy, [("w".to_owned(), 3)]);
    }

    async fn pauses_rates_and_workers_that_concern_it_are_known(db: &Database) {
        let operator = db.operator().await;
        let id = db.insert("queue_name, rate_key, rate_per_second", "'mail', 'key:r', 1").await;
        for scope in [Scope::Queue("mail"), Scope::Queue("other"), Scope::Task("shop.tasks.send"), Scope::Task("t")] {
            operator.pause(scope, None, None).await.unwrap();
        }
        let pauses = operator.explain(id).await.unwrap().unwrap().pauses;
        let names: Vec<&str> = pauses.iter().map(|pause| pause.name.as_str()).collect();
        assert_eq!(names, ["mail", "shop.tasks.send"]);
        for key in ["queue:mail", "queue:other", "task:shop.tasks.send", "key:r", "key:x"] {
            operator.set_rate(key, 1.0, 1).await.unwrap();
        }
        operator.register(&worker("w", &["mail"])).await.unwrap();
        let facts = operator.explain(id).await.unwrap().unwrap();
        let keys: Vec<&str> = facts.rates.iter().map(|rate| rate.key.as_str()).collect();
        assert_eq!(keys, ["global", "key:r", "queue:mail", "task:shop.tasks.send"]);
        assert_eq!((facts.workers.len(), facts.words[0].key.as_str()), (1, "key:r"));
    }

    async fn the_runs_before_it_in_its_line_are_counted(db: &Database) {
        let operator = db.operator().await;
        db.insert_many(5, "enqueued_at", &db.now(-50.0)).await;
        db.insert_many(1100, "queue_name, enqueued_at", &format!("'long', {}", db.now(-50.0))).await;
        db.insert("queue_name", "'other'").await;
        db.insert("run_after", &db.now(60.0)).await;
        db.insert("lock_key", "'l'").await;
        let (last, locked, long) = (db.ready().await, db.insert("lock_key", "'l'").await, db.insert("queue_name", "'long'").await);
        db.insert("lock_key", "'m'").await;
        for (id, expected) in [(last, 5), (locked, 1), (long, 1000)] {
            assert_eq!(operator.explain(id).await.unwrap().unwrap().ahead, expected);
        }
    }

    async fn a_parent_and_a_lease_are_known(db: &Database) {
        let (operator, worker) = (db.operator().await, worker("w", &["default"]));
        let parent = db.ready().await;
        let child = db.insert("status, parent_id", &format!("'WAITING', {parent}")).await;
        claim_one(&*db.store().await, &worker).await;
        let facts = operator.explain(child).await.unwrap().unwrap();
        assert_eq!((facts.parent_status, facts.run.parent_id), (Some(RunStatus::Running), Some(parent)));
        let run = operator.run(parent).await.unwrap().unwrap();
        assert_eq!((run.leased_by.as_deref(), run.gate, run.attempts), (Some("w"), None, 1));
        let lease = run.leased_until.unwrap() - run.now;
        assert!((5_000_000..=15_500_000).contains(&lease), "{lease}");
        assert!(Duration::from_micros(u64::try_from(run.now - run.last_attempted_at.unwrap()).unwrap()) < Duration::from_secs(5));
    }
}
