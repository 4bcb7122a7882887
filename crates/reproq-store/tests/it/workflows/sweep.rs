//! Somebody goes around the triggers: what is stored is found wrong and put right.

use std::time::Duration;

use super::{CHAIN, CHORD, advance, run};
use crate::database::{Database, both};

impl Database {
    /// Ends a run, or moves it anywhere, and leaves no event.
    async fn behind_the_triggers(&self, sql: &str) {
        self.execute(sql).await;
        self.execute("DELETE FROM reproq_workflow_events").await;
    }
}

both! {
    async fn nothing_is_found_where_nothing_is_wrong(db: &Database) {
        let store = db.store().await;
        let chord = db.workflow("fail", &CHORD).await;
        db.workflow("continue", &CHAIN).await;
        assert_eq!(store.sweep_workflows(Duration::ZERO).await.unwrap(), []);
        store.cancel(&chord.runs[..1]).await.unwrap();
        assert_eq!(store.sweep_workflows(Duration::ZERO).await.unwrap(), [], "it has not been counted yet");
        advance(&*store).await;
        assert_eq!(store.sweep_workflows(Duration::ZERO).await.unwrap(), []);
        assert_eq!(db.number("SELECT count(*) FROM reproq_meta WHERE key = 'workflow_repairs'").await, 0);
    }

    async fn an_end_that_nobody_was_told_of_is_found(db: &Database) {
        let store = db.store().await;
        let chain = db.workflow("fail", &CHAIN).await;
        let other = db.workflow("fail", &CHAIN).await;
        db.behind_the_triggers(&format!("UPDATE task_runs SET status = 'SUCCESSFUL' WHERE result_id = {}", chain.runs[0])).await;
        db.behind_the_triggers(&format!("UPDATE task_runs SET status = 'FAILED' WHERE result_id = {}", other.runs[0])).await;
        let mut wrong = store.sweep_workflows(Duration::ZERO).await.unwrap();
        wrong.sort();
        let mut expected = [chain.id, other.id];
        expected.sort();
        assert_eq!(wrong, expected);
        assert_eq!(db.text("SELECT value FROM reproq_meta WHERE key = 'workflow_repairs'").await.unwrap(), "2");
        advance(&*store).await;
        assert_eq!(db.statuses(&chain.runs).await, ["SUCCESSFUL", "READY", "WAITING"]);
        assert_eq!(db.of_workflow(&chain, "success_count").await, "1");
        assert_eq!(db.statuses(&other.runs).await, ["FAILED", "FAILED", "FAILED"]);
        assert_eq!(db.of_workflow(&other, "status").await, "FAILED");
        assert_eq!(db.of_workflow(&other, "failure_count").await, "3");
        run(&*store, &chain.runs[1..2], &[]).await;
        assert_eq!(store.sweep_workflows(Duration::ZERO).await.unwrap(), []);
    }

    async fn what_waits_for_a_step_that_is_over_is_found(db: &Database) {
        let store = db.store().await;
        let chain = db.workflow("fail", &CHAIN).await;
        run(&*store, &chain.runs[..1], &[]).await;
        db.behind_the_triggers(&format!("UPDATE task_runs SET status = 'WAITING' WHERE result_id = {}", chain.runs[1])).await;
        assert_eq!(store.sweep_workflows(Duration::ZERO).await.unwrap(), [chain.id]);
        advance(&*store).await;
        assert_eq!(db.status(chain.runs[1]).await, "READY");
    }

    async fn one_worker_looks_for_all_and_not_at_what_is_busy(db: &Database) {
        let store = db.store().await;
        let chain = db.workflow("fail", &CHAIN).await;
        db.behind_the_triggers(&format!("UPDATE task_runs SET status = 'SUCCESSFUL' WHERE result_id = {}", chain.runs[0])).await;
        let minute = Duration::from_mins(1);
        assert_eq!(store.sweep_workflows(minute).await.unwrap(), [], "it is not quiet");
        db.execute(&format!("UPDATE workflow_runs SET updated_at = {}", db.now(-100.0))).await;
        assert_eq!(db.store().await.sweep_workflows(minute).await.unwrap(), [], "somebody has just looked");
        let then = db.now(-61.0);
        db.execute(&format!("UPDATE reproq_meta SET value = {then} WHERE key = 'workflow_swept_at'")).await;
        assert_eq!(store.sweep_workflows(minute).await.unwrap(), [chain.id]);
    }
}
