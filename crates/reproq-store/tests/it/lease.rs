//! Who owns what, and until when.

use std::time::Duration;

use reproq_model::{Epoch, RunStatus};
use reproq_store::{Fence, OwnedRun};

use crate::database::{
    Database, LEASE, both, claim, claim_keyed, claim_one, ending, finish, other, returned, to, within, worker,
};

both! {
    async fn a_heartbeat_renews_only_what_is_a_third_gone(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let (old, fresh) = (db.ready().await, db.ready().await);
        claim(&*store, &worker, 2).await;
        db.execute(&format!("UPDATE task_runs SET leased_until = {} WHERE result_id = {old}", db.now(9.0))).await;
        db.execute(&format!("UPDATE task_runs SET leased_until = {} WHERE result_id = {fresh}", db.now(12.0))).await;
        store.heartbeat(&worker, LEASE).await.unwrap();
        assert!(db.holds(old, &format!("leased_until > {}", db.now(14.0))).await);
        assert!(db.holds(fresh, &format!("leased_until < {}", db.now(12.5))).await);
    }

    async fn a_heartbeat_says_what_is_owned_and_what_is_to_be_cancelled(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let (plain, keyed) = (db.ready().await, db.insert("lock_key", "'k'").await);
        let ended = db.ready().await;
        let runs = claim(&*store, &worker, 2).await;
        claim_keyed(&*store, &worker, 1).await;
        assert_eq!(runs[1].id, ended);
        assert!(finish(&*store, &worker, &runs[1], returned("1")).await);
        db.execute(&format!("UPDATE task_runs SET cancel_requested = TRUE WHERE result_id = {keyed}")).await;
        let mut owned = store.heartbeat(&worker, LEASE).await.unwrap();
        owned.sort_by_key(|run| run.id);
        for run in &mut owned {
            let left = std::mem::take(&mut run.lease_left);
            assert!(left > LEASE / 2 && left <= LEASE, "{left:?}");
        }
        assert_eq!(owned, [
            OwnedRun { id: plain, epoch: Epoch(1), cancel_requested: false, lease_left: Duration::ZERO },
            OwnedRun { id: keyed, epoch: Epoch(1), cancel_requested: true, lease_left: Duration::ZERO },
        ]);
    }

    async fn a_worker_does_not_take_back_its_own(db: &Database) {
        let (store, me) = (db.store().await, worker("w", &["default"]));
        db.ready().await;
        claim_one(&*store, &me).await;
        db.lapse("TRUE").await;
        assert!(store.expired(&me, 10).await.unwrap().is_empty(), "its ending may be on its way");
        assert_eq!(store.expired(&worker("w", &[]), 10).await.unwrap().len(), 1);
    }

    async fn a_heartbeat_is_for_this_start_of_the_worker_alone(db: &Database) {
        let store = db.store().await;
        let (before, after) = (worker("w", &["default"]), worker("w", &["default"]));
        let id = db.ready().await;
        claim_one(&*store, &before).await;
        db.lapse("TRUE").await;
        assert!(store.heartbeat(&after, LEASE).await.unwrap().is_empty());
        assert!(db.holds(id, &format!("leased_until < {}", db.now(0.0))).await);
        assert_eq!(store.heartbeat(&before, LEASE).await.unwrap().len(), 1);
        assert!(db.holds(id, &format!("leased_until > {}", db.now(13.0))).await);
    }

    async fn what_a_start_of_a_worker_held_can_be_ended_in_its_name(db: &Database) {
        let (store, dead, living) = (db.store().await, worker("w", &["default"]), worker("v", &["default"]));
        db.insert_many(3, "max_attempts, crash_count", "7, 2").await;
        let runs = claim(&*store, &dead, 2).await;
        let kept = claim_one(&*store, &living).await;
        assert!(finish(&*store, &dead, &runs[0], returned("1")).await);
        let held = store.held_by(dead.incarnation, 10).await.unwrap();
        assert_eq!(held.len(), 1, "what has ended, and what others own, is not among them");
        let found = &held[0];
        assert_eq!((found.id, found.epoch, found.worker_id.as_str()), (runs[1].id, Epoch(1), "w"));
        assert_eq!((found.attempts, found.max_attempts, found.crash_count), (1, 7, 2));
        assert!(store.held_by(dead.incarnation, 0).await.unwrap().is_empty(), "a limit is kept");
        let ended = [ending(&runs[1], to(RunStatus::Ready))];
        assert_eq!(store.finish(Fence::Owner(living.incarnation), &ended).await.unwrap().written, 0);
        assert_eq!(store.finish(Fence::Owner(dead.incarnation), &ended).await.unwrap().written, 1);
        assert!(store.held_by(dead.incarnation, 10).await.unwrap().is_empty());
        assert!(db.holds(kept.id, "status = 'RUNNING'").await);
    }

    async fn only_lapsed_leases_are_listed(db: &Database) {
        let (store, worker) = (db.store().await, worker("silent", &["default"]));
        db.insert_many(3, "max_attempts, crash_count", "7, 2").await;
        let runs = claim(&*store, &worker, 2).await;
        assert!(store.expired(&other(), 10).await.unwrap().is_empty());
        db.lapse(&format!("result_id = {}", runs[1].id)).await;
        let expired = store.expired(&other(), 10).await.unwrap();
        assert_eq!(expired.len(), 1);
        let found = &expired[0];
        assert_eq!((found.id, found.epoch, found.worker_id.as_str()), (runs[1].id, Epoch(1), "silent"));
        assert_eq!((found.attempts, found.max_attempts, found.crash_count), (1, 7, 2));
        db.lapse("TRUE").await;
        assert_eq!(store.expired(&other(), 1).await.unwrap().len(), 1, "a limit is kept");
        assert_eq!(store.expired(&other(), 10).await.unwrap().len(), 2);
    }

    async fn a_heartbeat_between_the_look_and_the_taking_saves_the_run(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let id = db.ready().await;
        let run = claim_one(&*store, &worker).await;
        db.lapse("TRUE").await;
        assert_eq!(store.expired(&other(), 10).await.unwrap().len(), 1);
        store.heartbeat(&worker, LEASE).await.unwrap();
        assert_eq!(store.finish(Fence::LeaseEnded, &[ending(&run, to(RunStatus::Failed))]).await.unwrap().written, 0);
        assert_eq!(db.status(id).await, "RUNNING");
    }
}

/// SQLite has no row locks: there a writer that dawdles holds up everybody, up to the busy timeout.
#[tokio::test]
async fn a_row_that_somebody_holds_costs_the_others_no_heartbeat() {
    let db = Database::postgres().await;
    let (store, worker) = (db.store().await, worker("w", &["default"]));
    db.insert_many(3, "", "").await;
    let runs = claim(&*store, &worker, 3).await;
    db.lapse("TRUE").await;
    let mut operator = db.another_side().await;
    operator
        .rows(&format!("BEGIN; SELECT 1 FROM task_runs WHERE result_id = {} FOR UPDATE", runs[1].id))
        .await
        .unwrap();
    let owned =
        within(Duration::from_secs(2), "the heartbeat", store.heartbeat(&worker, LEASE)).await.unwrap();
    assert_eq!(owned.len(), 3);
    assert_eq!(db.count(&format!("leased_until > {}", db.now(13.0))).await, 2);
}

/// As above: nobody can hold a single row of SQLite.
#[tokio::test]
async fn a_lapsed_run_that_somebody_holds_is_left_for_the_next_look() {
    let db = Database::postgres().await;
    let (store, worker) = (db.store().await, worker("w", &["default"]));
    db.insert_many(2, "", "").await;
    let runs = claim(&*store, &worker, 2).await;
    db.lapse("TRUE").await;
    let mut operator = db.another_side().await;
    operator
        .rows(&format!("BEGIN; SELECT 1 FROM task_runs WHERE result_id = {} FOR UPDATE", runs[0].id))
        .await
        .unwrap();
    let found = within(Duration::from_secs(2), "the look", store.expired(&other(), 10)).await.unwrap();
    assert_eq!(found.iter().map(|run| run.id).collect::<Vec<_>>(), [runs[1].id]);
    operator.rows("COMMIT").await.unwrap();
    assert_eq!(store.expired(&other(), 10).await.unwrap().len(), 2);
}
