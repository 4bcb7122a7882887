//! Which queues there are to claim from, and claims from some of them.

use reproq_store::{ClaimRequest, Store};

use crate::database::{Database, LEASE, both, claim, claim_keyed, ids, worker};

async fn names(store: &dyn Store) -> Vec<String> {
    let mut names = store.queue_names().await.unwrap();
    names.sort_unstable();
    names
}

both! {
    async fn the_queues_with_something_to_claim_are_named_once(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["busy", "Ünï 'q'", "keyed"]));
        assert!(names(&*store).await.is_empty());
        db.insert_many(500, "queue_name", "CASE n % 2 WHEN 0 THEN 'busy' ELSE 'Ünï ''q''' END").await;
        db.insert("queue_name, lock_key", "'keyed', 'k'").await;
        db.insert("queue_name, lock_key", "'busy', 'k'").await;
        db.insert("queue_name, run_after", &format!("'later', {}", db.now(60.0))).await;
        db.insert("queue_name, status", "'parked', 'WAITING'").await;
        db.insert("queue_name, status", "'ended', 'FAILED'").await;
        assert_eq!(names(&*store).await, ["busy", "keyed", "Ünï 'q'"]);
        assert_eq!(claim(&*store, &worker, 1000).await.len(), 500);
        assert_eq!(names(&*store).await, ["busy", "keyed"]);
        assert_eq!(claim_keyed(&*store, &worker, 1).await.len(), 1);
        assert_eq!(names(&*store).await.len(), 1);
    }

    async fn a_claim_takes_from_the_queues_that_it_names(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["mail-*"]));
        let late = db.insert("queue_name", "'mail-late'").await;
        let keyed = db.insert("queue_name, lock_key", "'mail-late', 'k'").await;
        db.insert("queue_name", "'mail-*'").await;
        db.insert("queue_name, lock_key", "'mail-*', 'other'").await;
        let queues = ["mail-late".to_owned()];
        let request = ClaimRequest { worker: &worker, queues: &queues, limit: 10, lease: LEASE };
        assert_eq!(ids(&store.claim(&request).await.unwrap().runs), [late]);
        assert_eq!(ids(&store.claim_keyed(&request).await.unwrap().runs), [keyed]);
    }

    async fn a_claim_from_one_queue_leaves_the_place_in_another(db: &Database) {
        let (store, holder, worker) = (db.store().await, worker("holder", &["held"]), worker("w", &["a", "b"]));
        // More keys than a round visits, all but the last ones busy; and a queue that is claimed from in between.
        let key = "'k' || CAST(1000 + n AS TEXT)";
        db.insert_many(450, "queue_name, lock_key", &format!("'held', {key}")).await;
        let mut held = 0;
        for _ in 0..10 {
            held += claim_keyed(&*store, &holder, 1000).await.len();
        }
        assert_eq!(held, 450);
        db.insert_many(450, "queue_name, lock_key", &format!("'a', {key}")).await;
        let free = db.insert("queue_name, lock_key", "'a', 'z'").await;
        db.insert("queue_name, lock_key", "'b', 'k1001'").await;
        let mut claimed = Vec::new();
        for _ in 0..5 {
            for queues in [["a".to_owned()], ["b".to_owned()]] {
                let request = ClaimRequest { worker: &worker, queues: &queues, limit: 10, lease: LEASE };
                claimed.extend(ids(&store.claim_keyed(&request).await.unwrap().runs));
            }
        }
        assert_eq!(claimed, [free]);
    }

    async fn a_claim_from_one_queue_ends_no_turn_in_another(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["high", "low-*"]));
        db.insert_many(50, "queue_name, fairness_key", "'low-1', 'large'").await;
        let small = db.insert("queue_name, fairness_key", "'low-1', 'small'").await;
        let mut claimed = Vec::new();
        // What a glob finds changes from claim to claim.
        for queues in [&["high"][..], &["low-1"], &["high"], &["low-0", "low-1"]] {
            let queues: Vec<String> = queues.iter().map(|queue| (*queue).to_owned()).collect();
            let request = ClaimRequest { worker: &worker, queues: &queues, limit: 1, lease: LEASE };
            claimed.extend(ids(&store.claim_keyed(&request).await.unwrap().runs));
        }
        assert_eq!(claimed.len(), 2);
        assert!(claimed.contains(&small), "the large one has had its turn");
    }
}
