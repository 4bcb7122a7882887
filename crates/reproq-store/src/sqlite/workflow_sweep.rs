//! Workflows whose stored state is not what their runs say: somebody has gone around the triggers.

use std::time::Duration;

use reproq_model::WorkflowId;
use sqlx::{Connection as _, Row as _, query};

use super::SqliteStore;
use super::workflows::{text, workflow_id};
use crate::StoreError;

/// Workflows of one look.
const SLICE: i64 = 50;

pub(super) async fn sweep(store: &SqliteStore, quiet: Duration) -> Result<Vec<WorkflowId>, StoreError> {
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
            mend(store, *id).await?;
            wrong.push(*id);
        }
    }
}

fn ago(span: Duration) -> String {
    format!("-{:.3} seconds", span.as_secs_f64())
}

async fn is_our_turn(store: &SqliteStore, quiet: Duration) -> Result<bool, StoreError> {
    store
        .link
        .run("workflow_sweep_turn", async |connection| {
            let turn = query(include_str!("sql/workflow_sweep_turn.sql")).bind(ago(quiet));
            Ok(turn.fetch_optional(connection).await?.is_some())
        })
        .await
}

/// The next unfinished workflows, and which of them look wrong.
async fn suspects(
    store: &SqliteStore,
    after: WorkflowId,
    quiet: Duration,
) -> Result<Vec<(WorkflowId, bool)>, StoreError> {
    store
        .link
        .run("workflow_suspects", async |connection| {
            let rows = query(include_str!("sql/workflow_suspects.sql"))
                .bind(text(after))
                .bind(ago(quiet))
                .bind(SLICE)
                .fetch_all(connection)
                .await?;
            rows.iter().map(|row| Ok((workflow_id(row)?, row.try_get("is_wrong")?))).collect()
        })
        .await
}

async fn mend(store: &SqliteStore, id: WorkflowId) -> Result<(), StoreError> {
    store
        .link
        .run("workflow_mend", async |connection| {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            for sql in [
                // What has come meanwhile is in the runs already.
                include_str!("sql/workflow_mend_forget.sql"),
                include_str!("sql/workflow_mend.sql"),
                include_str!("sql/workflow_mend_totals.sql"),
                include_str!("sql/workflow_mend_note.sql"),
            ] {
                query(sql).bind(text(id)).execute(&mut *transaction).await?;
            }
            query(include_str!("sql/workflow_mend_tell.sql")).execute(&mut *transaction).await?;
            transaction.commit().await
        })
        .await
}
