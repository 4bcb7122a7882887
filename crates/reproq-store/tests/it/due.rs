//! Runs that wait for their time.

use std::time::Duration;

use reproq_store::Glance;

use crate::database::{Database, both, claim, claim_keyed, deadline, ids, worker};
use tokio::time::Instant;

both! {
    async fn a_future_run_waits_until_it_is_due(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let id = db.insert("run_after", &db.now(0.3)).await;
        assert!(claim(&*store, &worker, 10).await.is_empty());
        let glance = store.promote_due(&worker.queues).await.unwrap();
        let wait = glance.next_due.expect("the time of the next run");
        assert_eq!((glance.promoted, glance.keyed_waiting), (0, false));
        assert!(wait <= Duration::from_millis(301), "{wait:?}");
        let end = deadline(Duration::from_secs(3));
        let glance = loop {
            let glance = store.promote_due(&worker.queues).await.unwrap();
            if glance.promoted > 0 {
                break glance;
            }
            assert!(glance.next_due.is_some(), "a run that is not open is either due or announced");
            assert!(Instant::now() < end, "it was never opened");
            tokio::time::sleep(glance.next_due.unwrap()).await;
        };
        assert_eq!((glance.promoted, glance.next_due), (1, None));
        assert!(db.holds(id, &format!("run_after <= {}", db.now(0.0))).await, "not before its time");
        assert_eq!(ids(&claim(&*store, &worker, 10).await), [id]);
    }

    async fn the_next_time_is_the_nearest(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        for seconds in [7200.0, 90.0, 600.0] {
            db.insert("run_after", &db.now(seconds)).await;
        }
        let next = store.promote_due(&worker.queues).await.unwrap().next_due.unwrap();
        assert!((88..=90).contains(&next.as_secs()), "{next:?}");
        db.execute("DELETE FROM task_runs").await;
        assert_eq!(store.promote_due(&worker.queues).await.unwrap(), Glance::default());
    }

    async fn a_run_with_a_key_goes_to_its_lane_when_due(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let lock = db.insert("lock_key, run_after", &format!("'k', {}", db.now(60.0))).await;
        let limit = db.insert("concurrency_key, concurrency_limit, run_after", &format!("'c', 1, {}", db.now(60.0))).await;
        due(db).await;
        let glance = store.promote_due(&worker.queues).await.unwrap();
        assert_eq!((glance.promoted, glance.next_due), (2, None));
        assert!(glance.keyed_waiting, "the caller looks for keyed runs only when told so");
        assert!(claim(&*store, &worker, 10).await.is_empty());
        assert_eq!(ids(&claim_keyed(&*store, &worker, 10).await), [lock, limit]);
        assert!(!store.promote_due(&worker.queues).await.unwrap().keyed_waiting);
    }

    async fn keyed_runs_of_other_queues_are_not_announced(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert("queue_name, lock_key", "'other', 'k'").await;
        assert!(!store.promote_due(&worker.queues).await.unwrap().keyed_waiting);
        db.insert("lock_key", "'k'").await;
        assert!(store.promote_due(&worker.queues).await.unwrap().keyed_waiting);
    }

    async fn runs_that_become_due_keep_the_place_of_their_time(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let scheduled = db.insert("run_after", &db.now(60.0)).await;
        due(db).await;
        db.execute(&format!("UPDATE task_runs SET claim_key = claim_key - 120000000 WHERE result_id = {scheduled}")).await;
        let fresh = db.ready().await;
        store.promote_due(&worker.queues).await.unwrap();
        assert_eq!(ids(&claim(&*store, &worker, 10).await), [scheduled, fresh]);
    }

    async fn thousands_due_at_once_are_opened_in_batches(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(2500, "run_after", &db.now(3600.0)).await;
        due(db).await;
        let mut promoted = Vec::new();
        while promoted.iter().sum::<u64>() < 2500 {
            promoted.push(store.promote_due(&worker.queues).await.unwrap().promoted);
            assert_ne!(promoted.last(), Some(&0), "{promoted:?}");
        }
        assert!(promoted.iter().all(|count| *count <= 1000), "{promoted:?}");
        assert_eq!(db.count("gate = 0").await, 2500);
    }
}

/// The hour of every scheduled run has come; their gates are still closed.
async fn due(db: &Database) {
    let trigger = "reproq_task_runs_update_lane";
    let past = db.now(-60.0);
    if db.is_postgres() {
        db.execute(&format!("ALTER TABLE task_runs DISABLE TRIGGER {trigger}; UPDATE task_runs SET run_after = {past} WHERE gate = 1; ALTER TABLE task_runs ENABLE TRIGGER {trigger}")).await;
    } else {
        let text = db.text(&format!("SELECT sql FROM sqlite_master WHERE name = '{trigger}'")).await.unwrap();
        db.execute(&format!(
            "DROP TRIGGER {trigger}; UPDATE task_runs SET run_after = {past} WHERE gate = 1; {text}"
        ))
        .await;
    }
}
