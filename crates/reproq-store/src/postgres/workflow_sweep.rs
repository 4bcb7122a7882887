//! Workflows whose stored state is not what their runs say: somebody has gone around the triggers.

use std::time::Duration;

use reproq_model::WorkflowId;
use sqlx::{Connection as _, Row as _, query};

use super::PostgresStore;
use super::workflows::{BEGIN, workflow_id};
use crate::StoreError;

/// Workflows of one look.
const SLICE: i64 = 50;

pub(super) async fn sweep(store: &PostgresStore, quiet: Duration) -> Result<Vec<WorkflowId>, StoreError> {
    let mut wrong = Vec::new();
    if !is_our_turn(store, quiet).await? {
        return Ok(wrong);
    }
    let mut after = WorkflowId::NIL;
    loop {
        let looked_at = suspects(store, after, quiet).await?;
        let Some((last, _)) = looked_at.last() else { return Ok(wrong) };
        after = *last;
        for (id, _) in looked_at.iter().filter(|(_, is_wrong)| *is_wrong) {
            if mend(store, *id).await? {
                wrong.push(*id);
            }
        }
    }
}

async fn is_our_turn(store: &PostgresStore, quiet: Duration) -> Result<bool, StoreError> {
    store
        .duties
        .run("workflow_sweep_turn", async |connection| {
            let turn = query(include_str!("sql/workflow_sweep_turn.sql")).bind(quiet.as_secs_f64());
            Ok(turn.fetch_optional(connection).await?.is_some())
        })
        .await
}

/// The next unfinished workflows, and which of them look wrong.
async fn suspects(
    store: &PostgresStore,
    after: WorkflowId,
    quiet: Duration,
) -> Result<Vec<(WorkflowId, bool)>, StoreError> {
    store
        .duties
        .run("workflow_suspects", async |connection| {
            let rows = query(include_str!("sql/workflow_suspects.sql"))
                .bind(after.0)
                .bind(quiet.as_secs_f64())
                .bind(SLICE)
                .fetch_all(connection)
                .await?;
            rows.iter().map(|row| Ok((workflow_id(row)?, row.try_get("is_wrong")?))).collect()
        })
        .await
}

/// Whether there was something to put right, once nobody else could count.
async fn mend(store: &PostgresStore, id: WorkflowId) -> Result<bool, StoreError> {
    store
        .workflows
        .run("workflow_mend", async |connection| {
            let mut transaction = connection.begin_with(BEGIN).await?;
            let take = query(include_str!("sql/workflow_take.sql")).bind(vec![id.0]);
            let policy: Option<String> = take.fetch_one(&mut *transaction).await?.try_get("policy")?;
            if policy.is_none() {
                return Ok(false);
            }
            let mend = query(include_str!("sql/workflow_mend.sql")).bind(id.0);
            let steps: i64 = mend.fetch_one(&mut *transaction).await?.try_get("steps")?;
            transaction.commit().await?;
            Ok(steps > 0)
        })
        .await
}
