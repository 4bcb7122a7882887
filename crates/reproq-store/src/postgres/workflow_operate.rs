//! Workflows, as an operator sees and moves them.

use reproq_model::{RunId, WorkflowId};
use sqlx::{Connection as _, Row as _, query};
use uuid::Uuid;

use super::operate::shared;
use super::workflows::workflow_id;
use super::{PostgresStore, cancel, operate};
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
    store: &PostgresStore,
    id: WorkflowId,
) -> Result<Option<WorkflowFacts>, StoreError> {
    let Some(facts) = facts(store, id).await? else { return Ok(None) };
    Ok(Some(WorkflowFacts { steps: steps(store, id).await?, ..facts }))
}

async fn facts(store: &PostgresStore, id: WorkflowId) -> Result<Option<WorkflowFacts>, StoreError> {
    let rows = store
        .duties
        .run("workflow_row", async |connection| {
            query(include_str!("sql/workflow_row.sql")).bind(id.0).fetch_all(connection).await
        })
        .await?;
    read_all!("workflow_row", rows, |row| workflow_facts!(row, workflow_id)).map(|mut found| found.pop())
}

async fn steps(store: &PostgresStore, id: WorkflowId) -> Result<Vec<StepFacts>, StoreError> {
    let rows = store
        .duties
        .run("workflow_steps", async |connection| {
            query(include_str!("sql/workflow_steps.sql")).bind(id.0).fetch_all(connection).await
        })
        .await?;
    read_all!("workflow_steps", rows, |row| step_facts!(row))
}

pub(super) async fn members(
    store: &PostgresStore,
    id: WorkflowId,
    after: RunId,
    limit: u32,
) -> Result<Vec<Member>, StoreError> {
    let rows = store
        .duties
        .run("workflow_members", async |connection| {
            query(include_str!("sql/workflow_members.sql"))
                .bind(id.0)
                .bind(after.0)
                .bind(i64::from(limit))
                .fetch_all(connection)
                .await
        })
        .await?;
    read_all!("workflow_members", rows, |row| member!(row))
}

/// What keeps a run that waits for its workflow, or was ended for the sake of another.
pub(super) async fn waits_for(store: &PostgresStore, run: &RunFacts) -> Result<Option<WaitsFor>, StoreError> {
    let Some(id) = run.workflow_id else { return Ok(None) };
    let Some(mut workflow) = workflow(store, id).await? else { return Ok(None) };
    workflow.steps.retain(|step| Some(step.step) == run.after_step);
    let Some(step) = run.after_step else { return Ok(Some(WaitsFor { workflow, runs: Vec::new() })) };
    let rows = store
        .duties
        .run("workflow_waits_for", async |connection| {
            query(include_str!("sql/workflow_waits_for.sql"))
                .bind(id.0)
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
    store: &PostgresStore,
    id: WorkflowId,
) -> Result<Option<WorkflowCancelled>, StoreError> {
    let status = store
        .duties
        .run("workflow_cancel", async |connection| {
            let cancel = query(*CANCEL).bind(id.0);
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

pub(super) async fn retry_workflow(store: &PostgresStore, id: WorkflowId) -> Result<Option<u64>, StoreError> {
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
async fn bad(store: &PostgresStore, id: WorkflowId, after: RunId) -> Result<Vec<RunId>, StoreError> {
    store
        .duties
        .run("workflow_bad", async |connection| {
            let rows = query(include_str!("sql/workflow_bad.sql"))
                .bind(id.0)
                .bind(BATCH)
                .bind(after.0)
                .fetch_all(connection)
                .await?;
            rows.iter().map(|row| row.try_get("result_id").map(RunId)).collect()
        })
        .await
}

async fn reopen(store: &PostgresStore, id: WorkflowId) -> Result<(), StoreError> {
    store
        .duties
        .run("workflow_reopen", async |connection| {
            let mut transaction = connection.begin().await?;
            query(include_str!("sql/workflow_reopen.sql")).bind(id.0).execute(&mut *transaction).await?;
            query(include_str!("sql/workflow_rearm.sql")).bind(id.0).execute(&mut *transaction).await?;
            transaction.commit().await
        })
        .await
}

/// The next runs of a workflow that a cancellation has not reached yet.
async fn unfinished(store: &PostgresStore, id: WorkflowId) -> Result<Vec<RunId>, StoreError> {
    store
        .duties
        .run("workflow_unfinished", async |connection| {
            let rows = query(*UNFINISHED).bind(id.0).bind(BATCH).fetch_all(connection).await?;
            rows.iter().map(|row| row.try_get("result_id").map(RunId)).collect()
        })
        .await
}

/// Has the steps looked at again that runs wait for which have just been retried.
pub(super) async fn look_again(
    connection: &mut sqlx::PgConnection,
    ids: &[RunId],
) -> Result<(), sqlx::Error> {
    let ids = ids.iter().map(|id| id.0).collect::<Vec<i64>>();
    query(include_str!("sql/workflow_look_again.sql")).bind(ids).execute(connection).await.map(drop)
}

pub(super) async fn prune_step(
    store: &PostgresStore,
    after: Option<WorkflowId>,
    dry_run: bool,
) -> Result<PruneWorkflowsStep, StoreError> {
    store
        .duties
        .run("prune_workflows", async |connection| {
            let row = query(include_str!("sql/prune_workflows.sql"))
                .bind(after.map(|id| id.0))
                .bind(STEP)
                .bind(dry_run)
                .fetch_one(connection)
                .await?;
            Ok(PruneWorkflowsStep {
                last: row.try_get::<Option<Uuid>, _>("last_id")?.map(WorkflowId),
                pruned: u64::try_from(row.try_get::<i64, _>("pruned")?).unwrap_or_default(),
            })
        })
        .await
}
