//! Twins: runs with the same spec, of which one stands for both.

use std::time::Duration;

use crate::database::{Database, both, claim_keyed, claim_one, finish, released, retried, returned, worker};

async fn twin(db: &Database, dedup: u8) -> Result<(), sqlx::Error> {
    db.try_execute(&format!(
        "INSERT INTO task_runs (spec_json, spec_hash, task_path, dedup) VALUES ('{{}}', 'twin', 't', {dedup})"
    ))
    .await
}

both! {
    async fn a_waiting_run_stands_for_its_twin_until_it_starts(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        twin(db, 1).await.unwrap();
        twin(db, 1).await.unwrap_err();
        let run = claim_one(&*store, &worker).await;
        assert_eq!(db.column(run.id, "dedup").await.as_deref(), Some("-1"));
        twin(db, 1).await.unwrap();
        twin(db, 1).await.unwrap_err();
    }

    async fn an_active_run_stands_for_its_twin_until_it_ends(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        twin(db, 2).await.unwrap();
        let run = claim_one(&*store, &worker).await;
        assert_eq!(db.column(run.id, "dedup").await.as_deref(), Some("2"));
        twin(db, 2).await.unwrap_err();
        assert!(finish(&*store, &worker, &run, retried(Duration::ZERO)).await);
        twin(db, 2).await.unwrap_err();
        let run = claim_one(&*store, &worker).await;
        assert!(finish(&*store, &worker, &run, returned("1")).await);
        twin(db, 2).await.unwrap();
    }

    async fn runs_that_stand_for_nobody_may_be_many(db: &Database) {
        for _ in 0..3 {
            twin(db, 0).await.unwrap();
        }
    }

    async fn an_attempt_that_comes_back_finds_room_beside_its_twin(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        for ending in [retried(Duration::ZERO), released()] {
            twin(db, 1).await.unwrap();
            let run = claim_one(&*store, &worker).await;
            twin(db, 1).await.unwrap();
            assert!(finish(&*store, &worker, &run, ending).await);
            assert_eq!(db.count("status = 'READY'").await, 2);
            db.execute("DELETE FROM task_runs").await;
        }
    }

    async fn a_keyed_run_stands_for_its_twin_as_any_other(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        db.insert("lock_key, dedup, spec_hash", "'a', 1, 'twin'").await;
        let active = db.insert("lock_key, dedup", "'b', 2").await;
        twin(db, 1).await.unwrap_err();
        assert_eq!(claim_keyed(&*store, &worker, 2).await.len(), 2);
        assert_eq!(db.column(active, "dedup").await.as_deref(), Some("2"));
        twin(db, 1).await.unwrap();
    }
}
