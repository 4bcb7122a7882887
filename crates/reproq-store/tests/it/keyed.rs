//! Locks and limits: exact, fair, and none in the way of another.

use std::collections::HashSet;
use std::time::Duration;

use crate::database::{
    Database, both, claim, claim_keyed, finish, ids, released, retried, returned, to, within, worker,
};
use reproq_model::RunStatus;
use reproq_store::{ClaimedRun, Fence, Registration, Store};

async fn end_all(store: &dyn Store, worker: &Registration, runs: &[ClaimedRun]) {
    for run in runs {
        assert!(finish(store, worker, run, returned("null")).await);
    }
}

both! {
    async fn a_lock_is_held_by_one(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let runs = [db.insert("lock_key", "'k'").await, db.insert("lock_key", "'k'").await];
        let other = db.insert("lock_key", "'other'").await;
        assert!(claim(&*store, &worker, 10).await.is_empty(), "keyed runs have a lane of their own");
        let held = claim_keyed(&*store, &worker, 10).await;
        assert_eq!(ids(&held), [runs[0], other]);
        assert!(claim_keyed(&*store, &worker, 10).await.is_empty());
        assert!(finish(&*store, &worker, &held[0], returned("null")).await);
        assert_eq!(ids(&claim_keyed(&*store, &worker, 10).await), [runs[1]]);
    }

    async fn a_lock_and_a_limit_of_the_same_name_are_two(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        // More of them than one round looks at behind one key.
        db.insert_many(40, "lock_key", "'k'").await;
        assert_eq!(claim_keyed(&*store, &worker, 1).await.len(), 1);
        let limited = db.insert("concurrency_key, concurrency_limit", "'k', 1").await;
        assert_eq!(ids(&claim_keyed(&*store, &worker, 10).await), [limited]);
    }

    async fn every_ending_lets_go_of_the_lock(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        for ending in [
            returned("1"),
            to(RunStatus::Failed),
            to(RunStatus::Cancelled),
            retried(Duration::from_mins(1)),
            retried(Duration::ZERO),
            released(),
        ] {
            let id = db.insert("lock_key, concurrency_key, concurrency_limit", "'k', 'c', 1").await;
            let held = claim_keyed(&*store, &worker, 10).await;
            assert_eq!(ids(&held), [id], "{:?}", ending.status);
            assert!(finish(&*store, &worker, &held[0], ending).await);
            assert!(db.holds(id, "slot_no IS NULL").await);
            db.execute("DELETE FROM task_runs").await;
        }
    }

    async fn a_lapsed_lease_holds_its_lock_until_it_is_reclaimed(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(2, "lock_key", "'k'").await;
        let held = claim_keyed(&*store, &worker, 1).await;
        db.lapse("TRUE").await;
        assert!(claim_keyed(&*store, &worker, 1).await.is_empty());
        let endings = [crate::database::ending(&held[0], to(RunStatus::Failed))];
        assert_eq!(store.finish(Fence::LeaseEnded, &endings).await.unwrap().written, 1);
        assert_eq!(claim_keyed(&*store, &worker, 1).await.len(), 1);
    }

    async fn a_limit_is_reached_and_never_exceeded(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(7, "concurrency_key, concurrency_limit", "'c', 3").await;
        let mut held = claim_keyed(&*store, &worker, 10).await;
        assert_eq!(held.len(), 3);
        assert!(claim_keyed(&*store, &worker, 10).await.is_empty());
        // The slot in the middle comes free, and then two at once.
        for end in [1..2, 0..2] {
            let count = end.len();
            let ended: Vec<ClaimedRun> = held.drain(end).collect();
            end_all(&*store, &worker, &ended).await;
            let more = claim_keyed(&*store, &worker, 10).await;
            assert_eq!(more.len(), count);
            held.extend(more);
            assert_eq!(db.number("SELECT count(DISTINCT slot_no) FROM task_runs WHERE status = 'RUNNING'").await, 3);
        }
    }

    async fn runs_of_one_key_come_in_order(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let late = db.insert("lock_key", "'k'").await;
        let last = db.insert("lock_key, priority", "'k', -3").await;
        let first = db.insert("lock_key, priority", "'k', 3").await;
        for expected in [first, late, last] {
            let held = claim_keyed(&*store, &worker, 10).await;
            assert_eq!(ids(&held), [expected]);
            end_all(&*store, &worker, &held).await;
        }
    }

    async fn a_run_with_a_lock_and_a_limit_needs_both(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let columns = "lock_key, concurrency_key, concurrency_limit";
        let lock = db.insert("lock_key", "'k'").await;
        let slot = db.insert("concurrency_key, concurrency_limit", "'c', 1").await;
        let held = claim_keyed(&*store, &worker, 10).await;
        assert_eq!(ids(&held), [lock, slot]);
        let both = db.insert(columns, "'k', 'c', 1").await;
        assert!(claim_keyed(&*store, &worker, 10).await.is_empty());
        assert!(finish(&*store, &worker, &held[0], returned("1")).await);
        assert!(claim_keyed(&*store, &worker, 10).await.is_empty(), "the limit is still taken");
        assert!(finish(&*store, &worker, &held[1], returned("1")).await);
        let held = claim_keyed(&*store, &worker, 10).await;
        assert_eq!(ids(&held), [both]);
        db.insert("lock_key", "'k'").await;
        db.insert(columns, "'other', 'c', 1").await;
        assert!(claim_keyed(&*store, &worker, 10).await.is_empty(), "it holds both");
    }

    async fn a_run_behind_a_held_lock_keeps_no_slot_from_others(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let columns = "lock_key, concurrency_key, concurrency_limit";
        let held = db.insert("lock_key", "'held'").await;
        assert_eq!(ids(&claim_keyed(&*store, &worker, 10).await), [held]);
        db.insert(columns, "'held', 'c', 1").await;
        let free = db.insert(columns, "'free', 'c', 1").await;
        assert_eq!(ids(&claim_keyed(&*store, &worker, 10).await), [free]);
    }

    async fn a_key_limits_nothing_until_somebody_says_so(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(3, "lock_key, concurrency_key, concurrency_limit", "CAST(n AS TEXT), 'c', 0").await;
        assert_eq!(claim_keyed(&*store, &worker, 10).await.len(), 3);
        db.insert_many(2, "concurrency_key, concurrency_limit", "'c', 1").await;
        assert!(claim_keyed(&*store, &worker, 10).await.is_empty(), "three run under the key, whatever they said of it");
    }

    async fn a_limit_without_bounds_is_no_burden(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(20, "concurrency_key, concurrency_limit", "'c', 2147483647").await;
        let mut claimed = 0;
        within(Duration::from_secs(2), "claiming under a huge limit", async {
            while claimed < 20 {
                claimed += claim_keyed(&*store, &worker, 20).await.len();
            }
        })
        .await;
    }

    async fn a_limit_lowered_while_runs_run_holds_for_the_next(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(8, "concurrency_key, concurrency_limit", "'c', 3").await;
        let held = claim_keyed(&*store, &worker, 10).await;
        db.execute("UPDATE task_runs SET concurrency_limit = 1 WHERE status = 'READY'").await;
        // The one in slot 1 first: a free slot below the limit is not yet room.
        end_all(&*store, &worker, &held[..1]).await;
        assert!(claim_keyed(&*store, &worker, 10).await.is_empty());
        end_all(&*store, &worker, &held[1..2]).await;
        assert!(claim_keyed(&*store, &worker, 10).await.is_empty());
        end_all(&*store, &worker, &held[2..]).await;
        assert_eq!(claim_keyed(&*store, &worker, 10).await.len(), 1);
        assert!(claim_keyed(&*store, &worker, 10).await.is_empty());
    }

    async fn no_more_than_asked_for_are_claimed(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(9, "lock_key", "CAST(n AS TEXT)").await;
        assert_eq!(claim_keyed(&*store, &worker, 4).await.len(), 4);
        assert_eq!(claim_keyed(&*store, &worker, 4).await.len(), 4);
        assert_eq!(claim_keyed(&*store, &worker, 4).await.len(), 1);
    }

    async fn a_keyed_claim_writes_what_any_claim_does(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let id = db.insert("lock_key, dedup", "'k', 1").await;
        let run = claim_keyed(&*store, &worker, 1).await.pop().unwrap();
        assert_eq!((run.id, run.epoch.0, run.attempts, run.worker_ids.as_str()), (id, 1, 1, r#"["w"]"#));
        assert!(db.holds(id, "status = 'RUNNING' AND slot_no IS NOT NULL AND leased_by = 'w' AND dedup = -1").await);
        assert!(db.holds(id, &format!("leased_until > {}", db.now(13.0))).await);
    }

    async fn a_thousand_runs_behind_a_held_lock_are_in_nobodys_way(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert_many(1000, "lock_key", "'busy'").await;
        let free = db.insert("lock_key", "'free'").await;
        let limited = db.insert("concurrency_key, concurrency_limit", "'z', 1").await;
        let claimed = claim_keyed(&*store, &worker, 10).await;
        assert_eq!(ids(&claimed)[1..], [free, limited]);
    }

    async fn more_keys_than_one_round_visits_are_all_reached(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["a", "b"]));
        db.insert_many(450, "queue_name, lock_key", "'a', 'a' || CAST(n AS TEXT)").await;
        db.insert_many(450, "queue_name, lock_key", "'b', 'z' || CAST(n AS TEXT)").await;
        // Every key stays busy and every key has more: what is reached is reached by going on.
        db.insert_many(450, "queue_name, lock_key", "'a', 'a' || CAST(n AS TEXT)").await;
        db.insert_many(450, "queue_name, lock_key", "'b', 'z' || CAST(n AS TEXT)").await;
        let mut claimed = 0;
        for _ in 0..20 {
            claimed += claim_keyed(&*store, &worker, 1000).await.len();
        }
        assert_eq!(claimed, 900);
    }

    async fn one_key_in_two_queues_hides_no_other(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["a", "b"]));
        for queue in ["a", "b"] {
            db.insert_many(300, "queue_name, lock_key", &format!("'{queue}', 'k' || CAST(n AS TEXT)")).await;
        }
        let mut claimed = 0;
        for _ in 0..10 {
            claimed += claim_keyed(&*store, &worker, 1000).await.len();
        }
        assert_eq!(claimed, 300);
    }

    async fn keys_behind_a_long_line_of_others_get_their_turn(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        // 300 keys of five runs each, and four slots: the keys of the first round alone would keep the worker busy.
        db.insert_many(1500, "lock_key", "'k' || CAST(1000 + n % 300 AS TEXT)").await;
        let mut served = HashSet::new();
        for _ in 0..150 {
            let held = claim_keyed(&*store, &worker, 4).await;
            for run in &held {
                served.insert(db.column(run.id, "lock_key").await);
            }
            let endings: Vec<_> = held.iter().map(|run| crate::database::ending(run, returned("1"))).collect();
            store.finish(Fence::Owner(worker.incarnation), &endings).await.unwrap();
        }
        assert_eq!(served.len(), 300);
    }
}
