//! Workflows: what the end of a member does to those that wait, whoever ended it and however.

use reproq_model::{RunId, WorkflowId};
use reproq_store::{Advanced, Registration, Store};
use uuid::Uuid;

use crate::database::{Database, both, claim, failed, finish, ids, returned, worker};
use crate::graph::watch_moves;

/// A member: the step that it counts for, and the one that it waits for.
pub type Place = (i32, Option<i32>);

/// A workflow, as an enqueue makes it. The last step is the highest one.
pub struct Workflow {
    pub id: WorkflowId,
    pub runs: Vec<RunId>,
    pub on_failure: Option<RunId>,
}

impl Database {
    /// The id as the column has it.
    pub fn stored(&self, id: WorkflowId) -> String {
        if self.is_postgres() { id.to_string() } else { id.0.simple().to_string() }
    }

    pub async fn workflow(&self, policy: &str, members: &[Place]) -> Workflow {
        let id = WorkflowId(Uuid::new_v4());
        let stored = self.stored(id);
        let last = members.iter().map(|(step, _)| *step).max().unwrap();
        self.execute(&format!(
            "INSERT INTO workflow_runs (workflow_id, expected_count, policy, final_step) VALUES ('{stored}', {}, '{policy}', {last})",
            members.len()
        ))
        .await;
        for step in 1..=last {
            let pending = members.iter().filter(|member| member.0 == step).count();
            self.execute(&format!(
                "INSERT INTO reproq_workflow_steps (workflow_id, step, pending) VALUES ('{stored}', {step}, {pending})"
            ))
            .await;
        }
        let mut runs = Vec::new();
        for (step, after) in members {
            let (status, after) = match after {
                None => ("READY", "NULL".to_owned()),
                Some(after) => ("WAITING", after.to_string()),
            };
            let values = format!("'{stored}', {step}, {after}, '{status}'");
            runs.push(self.insert("workflow_id, step, after_step, status", &values).await);
        }
        Workflow { id, runs, on_failure: None }
    }

    /// With a run for the case of its failure.
    pub async fn workflow_with_on_failure(&self, policy: &str, members: &[Place]) -> (Workflow, RunId) {
        let mut workflow = self.workflow(policy, members).await;
        let stored = self.stored(workflow.id);
        let run = self.insert("workflow_id, status", &format!("'{stored}', 'WAITING'")).await;
        self.execute(&format!(
            "UPDATE workflow_runs SET failure_result_id = {run} WHERE workflow_id = '{stored}'"
        ))
        .await;
        workflow.on_failure = Some(run);
        (workflow, run)
    }

    /// A column of the workflow's row.
    pub async fn of_workflow(&self, workflow: &Workflow, column: &str) -> String {
        let stored = self.stored(workflow.id);
        let sql = format!("SELECT {column} FROM workflow_runs WHERE workflow_id = '{stored}'");
        self.text(&sql).await.unwrap_or_default()
    }

    pub async fn statuses(&self, runs: &[RunId]) -> Vec<String> {
        let mut statuses = Vec::new();
        for run in runs {
            statuses.push(self.status(*run).await);
        }
        statuses
    }
}

/// Advances until nothing is left.
pub async fn advance(store: &dyn Store) -> Advanced {
    let mut all = Advanced::default();
    loop {
        let done = store.advance().await.unwrap();
        all.counted += done.counted;
        all.released.extend(done.released);
        if done.counted == 0 && !done.more {
            return Advanced { held: done.held, ..all };
        }
    }
}

fn someone() -> Registration {
    worker("w", &["default"])
}

/// Claims these runs, which are all that can be claimed, and lets each end well, or badly if it is among `bad`.
async fn run(store: &dyn Store, expected: &[RunId], bad: &[RunId]) {
    let owner = someone();
    let mut runs = claim(store, &owner, 100).await;
    runs.sort_by_key(|run| run.id);
    assert_eq!(ids(&runs), expected);
    for run in runs {
        let how = if bad.contains(&run.id) { failed("no luck") } else { returned("1") };
        assert!(finish(store, &owner, &run, how).await);
    }
    advance(store).await;
}

const CHAIN: [Place; 3] = [(1, None), (2, Some(1)), (3, Some(2))];
/// A group of three, and a callback.
const CHORD: [Place; 4] = [(1, None), (1, None), (1, None), (2, Some(1))];

both! {
    async fn a_chain_goes_on_run_by_run(db: &Database) {
        watch_moves(db).await;
        let store = db.store().await;
        let chain = db.workflow("fail", &CHAIN).await;
        for at in 0..3 {
            assert_eq!(db.of_workflow(&chain, "status").await, "RUNNING");
            run(&*store, &chain.runs[at..=at], &[]).await;
        }
        assert_eq!(db.of_workflow(&chain, "status").await, "SUCCESSFUL");
        assert_eq!(db.of_workflow(&chain, "success_count").await, "3");
        assert_ne!(db.of_workflow(&chain, "finished_at").await, "");
        assert_eq!(db.number("SELECT count(*) FROM reproq_workflow_events").await, 0);
    }

    async fn a_chord_waits_for_all_its_members(db: &Database) {
        watch_moves(db).await;
        let store = db.store().await;
        let chord = db.workflow("fail", &CHORD).await;
        let owner = someone();
        for left in [2, 1, 0] {
            let member = claim(&*store, &owner, 1).await.pop().unwrap();
            let finished = store.finish(reproq_store::Fence::Owner(owner.incarnation), &[crate::database::ending(&member, returned("1"))]).await.unwrap();
            assert!(finished.of_workflows);
            let done = advance(&*store).await;
            assert_eq!(done.released.is_empty(), left > 0);
        }
        assert_eq!(db.of_workflow(&chord, "status").await, "RUNNING");
        run(&*store, &chord.runs[3..], &[]).await;
        assert_eq!(db.of_workflow(&chord, "status").await, "SUCCESSFUL");
    }

    async fn a_failure_ends_what_waits_for_it(db: &Database) {
        watch_moves(db).await;
        let store = db.store().await;
        let (chain, sorry) = db.workflow_with_on_failure("fail", &CHAIN).await;
        run(&*store, &chain.runs[..1], &chain.runs[..1]).await;
        assert_eq!(db.statuses(&chain.runs).await, ["FAILED", "FAILED", "FAILED"]);
        assert_eq!(db.of_workflow(&chain, "status").await, "FAILED");
        assert_eq!(db.of_workflow(&chain, "failure_count").await, "3");
        for spoilt in &chain.runs[1..] {
            let why = format!("shop.tasks.send run {} ended FAILED: no luck", chain.runs[0]);
            assert_eq!(db.column(*spoilt, "last_error").await.unwrap(), why);
            let errors: serde_json::Value = serde_json::from_str(&db.column(*spoilt, "errors_json").await.unwrap()).unwrap();
            assert_eq!(errors[0]["kind"], "workflow_failed");
            assert_eq!(errors[0]["message"], why);
            assert_eq!(errors[0]["failed_result_id"], chain.runs[0].0);
        }
        run(&*store, &[sorry], &[]).await;
    }
}
