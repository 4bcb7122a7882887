//! Workflows: what the end of a member does to those that wait, whoever ended it and however.

mod again;
mod crowd;
mod ends;
mod plans;
mod sweep;

use reproq_model::{RunId, WorkflowId};
use reproq_store::{Advanced, Registration, Store};
use uuid::Uuid;

use crate::database::{Database, claim, failed, finish, ids, returned, worker};

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

/// Three runs, one after the other.
const CHAIN: [Place; 3] = [(1, None), (2, Some(1)), (3, Some(2))];
/// A group of three, and a callback.
const CHORD: [Place; 4] = [(1, None), (1, None), (1, None), (2, Some(1))];
/// `chord(group(chain(a, b), c), d)`.
const NESTED: [Place; 4] = [(1, None), (2, Some(1)), (2, None), (3, Some(2))];
