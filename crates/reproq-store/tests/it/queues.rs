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
}
