//! Many members, many workers, and workers that die in the midst of it.

use std::time::Duration;

use reproq_model::WorkflowId;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{CHAIN, CHORD, Place, Workflow, advance, run, someone};
use crate::database::{Database, both, claim, deadline, finish, ids, returned, within};

impl Database {
    /// A chord of so many members, in one statement. Its callback is the first of its runs.
    pub async fn big_chord(&self, policy: &str, members: usize) -> Workflow {
        let id = WorkflowId(Uuid::new_v4());
        let stored = self.stored(id);
        self.execute(&format!(
            "INSERT INTO workflow_runs (workflow_id, expected_count, policy, final_step) VALUES ('{stored}', {}, '{policy}', 2)",
            members + 1
        ))
        .await;
        self.execute(&format!(
            "INSERT INTO reproq_workflow_steps (workflow_id, step, pending) VALUES ('{stored}', 1, {members}), ('{stored}', 2, 1)"
        ))
        .await;
        let callback = self
            .insert("workflow_id, step, after_step, status", &format!("'{stored}', 2, 1, 'WAITING'"))
            .await;
        self.insert_many(members, "workflow_id, step", &format!("'{stored}', 1")).await;
        Workflow { id, runs: vec![callback], on_failure: None }
    }

    pub async fn end_members(&self, workflow: &Workflow, status: &str, most: usize) {
        let stored = self.stored(workflow.id);
        self.execute(&format!(
            "UPDATE task_runs SET status = '{status}' WHERE result_id IN (SELECT result_id FROM task_runs \
             WHERE workflow_id = '{stored}' AND step = 1 AND status = 'READY' ORDER BY result_id LIMIT {most})"
        ))
        .await;
    }
}

both! {
    async fn a_member_that_ends_costs_the_same_among_ten_thousand(db: &Database) {
        let store = db.store().await;
        let chord = db.big_chord("fail", 10_000).await;
        let mut times = Vec::new();
        for _ in 0..20 {
            db.end_members(&chord, "SUCCESSFUL", 1).await;
            let start = Instant::now();
            assert_eq!(store.advance().await.unwrap().counted, 1);
            times.push(start.elapsed());
        }
        times.sort();
        assert!(times[10] < Duration::from_millis(100), "a count took {:?}", times[10]);
        db.end_members(&chord, "SUCCESSFUL", 9_000).await;
        let done = within(Duration::from_secs(5), "the count", advance(&*store)).await;
        assert_eq!(done.counted, 9_000);
        assert_eq!(db.status(chord.runs[0]).await, "WAITING");
        db.end_members(&chord, "SUCCESSFUL", 980).await;
        advance(&*store).await;
        assert_eq!(db.status(chord.runs[0]).await, "READY");
    }

    async fn a_step_of_ten_thousand_starts_and_fails_in_batches(db: &Database) {
        let store = db.store().await;
        for (how, after) in [("SUCCESSFUL", "READY"), ("FAILED", "FAILED")] {
            let head = db.workflow("fail", &[(1, None), (3, Some(2))]).await;
            let stored = db.stored(head.id);
            db.execute(&format!("UPDATE reproq_workflow_steps SET pending = 10000 WHERE workflow_id = '{stored}' AND step = 2")).await;
            db.execute(&format!("UPDATE workflow_runs SET expected_count = 10002 WHERE workflow_id = '{stored}'")).await;
            db.insert_many(10_000, "workflow_id, step, after_step, status", &format!("'{stored}', 2, 1, 'WAITING'")).await;
            db.execute(&format!("UPDATE task_runs SET status = '{how}' WHERE result_id = {}", head.runs[0])).await;
            let first = store.advance().await.unwrap();
            assert!(first.more);
            let moved = db.count(&format!("workflow_id = '{stored}' AND step = 2 AND status = '{after}'")).await;
            assert!((1..10_000).contains(&moved), "{moved} at once");
            within(Duration::from_secs(20), "the rest", advance(&*store)).await;
            assert_eq!(db.count(&format!("workflow_id = '{stored}' AND step = 2 AND status = '{after}'")).await, 10_000);
            let status = if how == "FAILED" { "FAILED" } else { "WAITING" };
            assert_eq!(db.status(head.runs[1]).await, status);
        }
    }

    async fn a_long_chain_fails_at_its_head_and_comes_back(db: &Database) {
        let operator = db.operator().await;
        let places: Vec<Place> = (1..=200).map(|step| (step, (step > 1).then(|| step - 1))).collect();
        let chain = db.workflow("fail", &places).await;
        run(&*operator, &chain.runs[..1], &chain.runs[..1]).await;
        assert_eq!(db.count("status = 'FAILED'").await, 200);
        assert_eq!(db.of_workflow(&chain, "failure_count").await, "200");
        assert_eq!(db.of_workflow(&chain, "status").await, "FAILED");
        let named = format!("culprit = {}", chain.runs[0]);
        assert_eq!(db.number(&format!("SELECT count(*) FROM reproq_workflow_steps WHERE {named}")).await, 200);
        operator.retry(&chain.runs[..1]).await.unwrap();
        advance(&*operator).await;
        assert_eq!(db.count("status = 'WAITING'").await, 199);
        assert_eq!(db.of_workflow(&chain, "failure_count").await, "0");
        assert_eq!(db.of_workflow(&chain, "status").await, "RUNNING");
    }

    async fn many_small_workflows_go_on_together(db: &Database) {
        let store = db.store().await;
        let mut heads = Vec::new();
        for _ in 0..120 {
            heads.push(db.workflow("fail", &[(1, None), (2, Some(1))]).await.runs[0]);
        }
        db.execute("UPDATE task_runs SET status = 'SUCCESSFUL' WHERE step = 1").await;
        assert!(store.advance().await.unwrap().more);
        advance(&*store).await;
        assert_eq!(db.count("step = 2 AND status = 'READY'").await, 120);
    }

    async fn what_a_worker_did_not_come_to_another_does(db: &Database) {
        let chain = db.workflow("fail", &CHAIN).await;
        let (store, owner) = (db.store().await, someone());
        let first = claim(&*store, &owner, 1).await.pop().unwrap();
        finish(&*store, &owner, &first, returned("1")).await;
        // Nothing was said, and the worker is gone.
        drop(store);
        advance(&*db.store().await).await;
        assert_eq!(db.status(chain.runs[1]).await, "READY");
    }

    async fn workers_that_advance_at_once_start_each_callback_once(db: &Database) {
        for round in 0..(if db.is_postgres() { 12 } else { 4 }) {
            let chords = [db.workflow("fail", &CHORD).await, db.workflow("fail", &CHORD).await];
            let local = LocalSet::new();
            let mut workers = JoinSet::new();
            for _ in 0..3 {
                let (store, owner) = (db.store().await, someone());
                let work = async move {
                    let until = deadline(Duration::from_secs(20));
                    let mut claimed = Vec::new();
                    let mut idle = 0;
                    while idle < 20 && Instant::now() < until {
                        let runs = claim(&*store, &owner, 2).await;
                        idle = if runs.is_empty() { idle + 1 } else { 0 };
                        claimed.extend(ids(&runs));
                        for run in &runs {
                            assert!(finish(&*store, &owner, run, returned("1")).await);
                        }
                        let done = store.advance().await.unwrap();
                        if runs.is_empty() && done.counted == 0 {
                            sleep(Duration::from_millis(5)).await;
                        }
                    }
                    claimed
                };
                workers.spawn_local_on(work, &local);
            }
            let mut claimed: Vec<_> = local.run_until(workers.join_all()).await.concat();
            claimed.sort();
            let mut all = [chords[0].runs.clone(), chords[1].runs.clone()].concat();
            all.sort();
            assert_eq!(claimed, all, "round {round}");
            for chord in &chords {
                assert_eq!(db.of_workflow(chord, "status").await, "SUCCESSFUL");
                assert_eq!(db.of_workflow(chord, "success_count").await, "4");
            }
        }
    }
}

/// A row, or a whole workflow, that somebody holds keeps nobody else, and is come back to.
#[tokio::test]
async fn in_postgres_what_somebody_holds_is_passed_over_and_not_forgotten() {
    let db = Database::postgres().await;
    let store = db.store().await;
    let (held, free) = (db.workflow("fail", &CHAIN).await, db.workflow("fail", &CHAIN).await);
    let row = format!("SELECT 1 FROM task_runs WHERE result_id = {} FOR UPDATE", held.runs[1]);
    let whole = format!("SELECT 1 FROM workflow_runs WHERE workflow_id = '{}' FOR UPDATE", held.id);
    let both = format!(
        "UPDATE task_runs SET status = 'SUCCESSFUL' WHERE result_id IN ({}, {})",
        held.runs[0], free.runs[0]
    );
    db.execute(&both).await;
    for lock in [whole, row] {
        let mut side = db.another_side().await;
        side.rows("BEGIN").await.unwrap();
        side.rows(&lock).await.unwrap();
        let done = within(Duration::from_millis(400), "an advance", store.advance()).await.unwrap();
        assert!(done.held, "{lock}");
        assert_eq!(db.statuses(&[held.runs[1], free.runs[1]]).await, ["WAITING", "READY"], "{lock}");
        side.rows("ROLLBACK").await.unwrap();
    }
    advance(&*store).await;
    assert_eq!(db.status(held.runs[1]).await, "READY");
}

/// The same for what fails, and for what is revived.
#[tokio::test]
async fn in_postgres_what_somebody_holds_fails_and_comes_back_later() {
    let db = Database::postgres().await;
    let operator = db.operator().await;
    let chain = db.workflow("fail", &CHAIN).await;
    let hold = format!("SELECT 1 FROM task_runs WHERE result_id = {} FOR UPDATE", chain.runs[1]);
    let move_head =
        |to: &str| format!("UPDATE task_runs SET status = '{to}' WHERE result_id = {}", chain.runs[0]);
    for (head, meanwhile, then) in [
        ("FAILED", ["WAITING", "FAILED"], ["FAILED", "FAILED"]),
        ("READY", ["FAILED", "FAILED"], ["WAITING", "WAITING"]),
    ] {
        db.execute(&move_head(head)).await;
        let mut side = db.another_side().await;
        side.rows("BEGIN").await.unwrap();
        side.rows(&hold).await.unwrap();
        assert!(operator.advance().await.unwrap().held);
        assert_eq!(db.statuses(&chain.runs[1..]).await, meanwhile, "{head}");
        side.rows("ROLLBACK").await.unwrap();
        advance(&*operator).await;
        assert_eq!(db.statuses(&chain.runs[1..]).await, then, "{head}");
    }
}
