//! Workflows, as an operator sees and moves them.

use reproq_model::{RunId, WorkflowId};
use serde_json::Value;
use sqlx::{Connection as _, Row as _, query};

use super::operate::shared;
use super::workflows::{text, workflow_id};
use super::{SqliteStore, cancel, operate};
use crate::rows::read_all;
use crate::workflow_rows::{member, step_facts, workflow_facts};
use crate::{
    Member, PruneWorkflowsStep, RunFacts, StepFacts, StoreError, WaitsFor, WorkflowCancelled, WorkflowFacts,
};

shared!(CANCEL, "cancel_workflow.sql", ["id"]);
shared!(UNFINISHED, "unfinished_members.sql", ["id", "limit"]);

/// Runs of one batch of a cancellation or a retry, and workflows of one step of a prune.
const BATCH: i64 = 2000;
const STEP: i64 = 5000;
/// Runs that somebody who waits is told of, and one more to know that there are more.
const NAMED: i64 = 6;

pub(super) async fn workflow(
    store: &SqliteStore,
    id: WorkflowId,
) -> Result<Option<WorkflowFacts>, StoreError> {
    let Some(facts) = facts(store, id).await? else { return Ok(None) };
    Ok(Some(WorkflowFacts { steps: steps(store, id).await?, ..facts }))
}

async fn facts(store: &SqliteStore, id: WorkflowId) -> Result<Option<WorkflowFacts>, StoreError> {
    let rows = store
        .link
        .run("workflow_row", async |connection| {
            query(include_str!("sql/workflow_row.sql")).bind(text(id)).fetch_all(connection).await
        })
        .await?;
    read_all!("workflow_row", rows, |row| workflow_facts!(row, workflow_id)).map(|mut found| found.pop())
}

async fn steps(store: &SqliteStore, id: WorkflowId) -> Result<Vec<StepFacts>, StoreError> {
    let rows = store
        .link
        .run("workflow_steps", async |connection| {
            query(include_str!("sql/workflow_steps.sql")).bind(text(id)).fetch_all(connection).await
        })
        .await?;
    read_all!("workflow_steps", rows, |row| step_facts!(row))
}

pub(super) async fn members(
    store: &SqliteStore,
    id: WorkflowId,
    after: RunId,
    limit: u32,
) -> Result<Vec<Member>, StoreError> {
    let rows = store
        .link
        .run("workflow_members", async |connection| {
            query(include_str!("sql/workflow_members.sql"))
                .bind(text(id))
                .bind(after.0)
                .bind(i64::from(limit))
                .fetch_all(connection)
                .await
        })
        .await?;
    read_all!("workflow_members", rows, |row| member!(row))
}

/// What keeps a run that waits for its workflow, or was ended for the sake of another.
pub(super) async fn waits_for(store: &SqliteStore, run: &RunFacts) -> Result<Option<WaitsFor>, StoreError> {
    let Some(id) = run.workflow_id else { return Ok(None) };
    let Some(mut workflow) = workflow(store, id).await? else { return Ok(None) };
    workflow.steps.retain(|step| Some(step.step) == run.after_step);
    let Some(step) = run.after_step else { return Ok(Some(WaitsFor { workflow, runs: Vec::new() })) };
    let rows = store
        .link
        .run("workflow_waits_for", async |connection| {
            query(include_str!("sql/workflow_waits_for.sql"))
                .bind(text(id))
                .bind(step)
                .bind(NAMED)
                .fetch_all(connection)
                .await
        })
        .await?;
    let runs = read_all!("workflow_waits_for", rows, |row| member!(row))?;
    Ok(Some(WaitsFor { workflow, runs }))
}

pub(super) async fn cancel_workflow(
    store: &SqliteStore,
    id: WorkflowId,
) -> Result<Option<WorkflowCancelled>, StoreError> {
    let status = store
        .link
        .run("workflow_cancel", async |connection| {
            let cancel = query(*CANCEL).bind(text(id));
            let row = cancel.fetch_optional(connection).await?;
            row.map(|row| row.try_get::<String, _>("status")).transpose()
        })
        .await?;
    let Some(status) = status else { return Ok(None) };
    let status =
        crate::workflow_rows::status(&status).map_err(|error| StoreError::of("workflow_cancel", error))?;
    let mut done = WorkflowCancelled { status, cancelled: 0, requested: 0 };
    loop {
        let runs = unfinished(store, id).await?;
        if runs.is_empty() {
            return Ok(Some(done));
        }
        for one in cancel::cancel(store, &runs).await? {
            done.cancelled +=
                u64::from(one.after == reproq_model::RunStatus::Cancelled && one.before != one.after);
            done.requested += u64::from(one.after == reproq_model::RunStatus::Running);
        }
    }
}

pub(super) async fn retry_workflow(store: &SqliteStore, id: WorkflowId) -> Result<Option<u64>, StoreError> {
    if facts(store, id).await?.is_none() {
        return Ok(None);
    }
    // Ascending ids: a run that fails again meanwhile is not met twice.
    let (mut count, mut after) = (0, RunId(0));
    loop {
        let runs = bad(store, id, after).await?;
        let Some(last) = runs.last() else { return Ok(Some(count)) };
        if count == 0 {
            reopen(store, id).await?;
        }
        after = *last;
        count += operate::write_retry(store, &runs, true).await?.len() as u64;
    }
}

/// The next runs of a workflow that have ended badly by themselves.
async fn bad(store: &SqliteStore, id: WorkflowId, after: RunId) -> Result<Vec<RunId>, StoreError> {
    store
        .link
        .run("workflow_bad", async |connection| {
            let rows = query(include_str!("sql/workflow_bad.sql"))
                .bind(text(id))
                .bind(BATCH)
                .bind(after.0)
                .fetch_all(connection)
                .await?;
            rows.iter().map(|row| row.try_get("result_id").map(RunId)).collect()
        })
        .await
}

async fn reopen(store: &SqliteStore, id: WorkflowId) -> Result<(), StoreError> {
    store
        .link
        .run("workflow_reopen", async |connection| {
            let mut transaction = connection.begin().await?;
            query(include_str!("sql/workflow_reopen.sql")).bind(text(id)).execute(&mut *transaction).await?;
            query(include_str!("sql/workflow_rearm.sql")).bind(text(id)).execute(&mut *transaction).await?;
            transaction.commit().await
        })
        .await
}

/// The next runs of a workflow that a cancellation has not reached yet.
async fn unfinished(store: &SqliteStore, id: WorkflowId) -> Result<Vec<RunId>, StoreError> {
    store
        .link
        .run("workflow_unfinished", async |connection| {
            let rows = query(*UNFINISHED).bind(text(id)).bind(BATCH).fetch_all(connection).await?;
            rows.iter().map(|row| row.try_get("result_id").map(RunId)).collect()
        })
        .await
}

/// Has the steps looked at again that runs wait for which have just been retried.
pub(super) async fn look_again(
    connection: &mut sqlx::SqliteConnection,
    ids: &[RunId],
) -> Result<(), sqlx::Error> {
    let ids = Value::from(ids.iter().map(|id| id.0).collect::<Vec<_>>()).to_string();
    query(include_str!("sql/workflow_look_again.sql")).bind(ids).execute(connection).await.map(drop)
}

pub(super) async fn prune_step(
    store: &SqliteStore,
    after: Option<WorkflowId>,
    dry_run: bool,
) -> Result<PruneWorkflowsStep, StoreError> {
    store
        .link
        .run("prune_workflows", async |connection| {
            let row = query(include_str!("sql/prune_workflows_slice.sql"))
                .bind(after.map(text))
                .bind(STEP)
                .fetch_one(&mut *connection)
                .await?;
            let last: Option<String> = row.try_get("last_id")?;
            let ids: String = row.try_get("ids")?;
            let found = serde_json::from_str::<Vec<String>>(&ids).map_or(0, |ids| ids.len() as u64);
            if found > 0 && !dry_run {
                let mut transaction = connection.begin().await?;
                query(include_str!("sql/prune_workflows.sql")).bind(&ids).execute(&mut *transaction).await?;
                query(include_str!("sql/prune_workflow_steps.sql"))
                    .bind(&ids)
                    .execute(&mut *transaction)
                    .await?;
                transaction.commit().await?;
            }
            Ok(PruneWorkflowsStep { last: last.and_then(|id| id.parse().ok()), pruned: found })
        })
        .await
}
