//! Workflows: counting what has become of members, and letting go of what waits. See `crate::advancing` for the course of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use reproq_model::{RunId, WorkflowId, WorkflowStatus};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection as _, Row as _, query};

use super::SqliteStore;
use crate::advancing::{
    self, BATCH, Counted, Event, Ledger, Moved, Place, Standing, Sum, WORKFLOWS, Wanted, is_full,
};
use crate::workflow_rows::{counted, event, standing};
use crate::{Advanced, StoreError};

pub(super) async fn advance(store: &SqliteStore) -> Result<Advanced, StoreError> {
    store
        .link
        .run("advance", async |connection| {
            // A look, so that an idle worker never takes the write lock.
            let found = pick(connection).await?;
            if found.is_empty() {
                return Ok(Advanced::default());
            }
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            let done = advancing::advance(&mut Statements(&mut transaction), &found).await?;
            transaction.commit().await?;
            Ok(Advanced { more: done.more || is_full(found.len(), WORKFLOWS), ..done })
        })
        .await
}

/// Workflows with events, from a random one on, so that none is always the last.
async fn pick(connection: &mut SqliteConnection) -> Result<Vec<WorkflowId>, sqlx::Error> {
    let mut found = BTreeSet::new();
    for first in [uuid::Uuid::new_v4(), uuid::Uuid::nil()] {
        let rows = query(include_str!("sql/workflow_pick.sql"))
            .bind(text(WorkflowId(first)))
            .bind(WORKFLOWS)
            .fetch_all(&mut *connection)
            .await?;
        for row in &rows {
            found.insert(workflow_id(row)?);
        }
        if is_full(found.len(), WORKFLOWS) {
            break;
        }
    }
    Ok(found.into_iter().collect())
}

/// The id as Django stores it here.
pub(super) fn text(id: WorkflowId) -> String {
    id.0.simple().to_string()
}

pub(super) fn workflow_id(row: &SqliteRow) -> Result<WorkflowId, sqlx::Error> {
    let text: String = row.try_get("workflow_id")?;
    text.parse().map_err(|error: uuid::Error| sqlx::Error::Decode(Box::new(error)))
}

/// What an earlier system wrote there may be anything.
pub(super) fn optional_workflow_id(row: &SqliteRow) -> Result<Option<WorkflowId>, sqlx::Error> {
    row.try_get::<Option<String>, _>("workflow_id").map(|id| id.and_then(|id| id.parse().ok()))
}

fn array(ids: &[WorkflowId]) -> String {
    Value::from(ids.iter().map(|id| text(*id)).collect::<Vec<_>>()).to_string()
}

fn rows_of(values: impl Iterator<Item = Value>) -> String {
    Value::from(values.collect::<Vec<_>>()).to_string()
}

fn pairs(places: &[Place]) -> String {
    rows_of(places.iter().map(|(id, step)| json!([text(*id), step])))
}

/// What a statement has moved; one writer meets nothing that somebody holds.
fn moved(count: usize, queues: BTreeSet<String>) -> Moved {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    Moved { seen: count, count, queues: queues.into_iter().collect() }
}

fn queue(row: &SqliteRow) -> Result<String, sqlx::Error> {
    row.try_get("queue_name")
}

struct Statements<'a>(&'a mut SqliteConnection);

impl Ledger for Statements<'_> {
    async fn take(&mut self, ids: &[WorkflowId]) -> Result<Vec<Wanted>, sqlx::Error> {
        let take = query(include_str!("sql/workflow_take.sql")).bind(array(ids));
        let rows = take.fetch_all(&mut *self.0).await?;
        rows.iter()
            .map(|row| {
                let (policy, known) = (row.try_get("policy")?, row.try_get("known")?);
                Ok(Wanted { id: workflow_id(row)?, policy, known })
            })
            .collect()
    }

    async fn events(&mut self, ids: &[WorkflowId]) -> Result<Vec<Event>, sqlx::Error> {
        let events = query(include_str!("sql/workflow_events.sql")).bind(array(ids)).bind(BATCH);
        let rows = events.fetch_all(&mut *self.0).await?;
        rows.iter().map(|row| Ok(event!(row, workflow_id))).collect()
    }

    async fn count(&mut self, sums: &BTreeMap<Place, Sum>) -> Result<Vec<Counted>, sqlx::Error> {
        let sums = rows_of(
            sums.iter()
                .map(|((id, step), sum)| json!([text(*id), step, sum.ended, sum.failed, sum.first_bad])),
        );
        query(include_str!("sql/workflow_totals.sql")).bind(&sums).execute(&mut *self.0).await?;
        let rows = query(include_str!("sql/workflow_count.sql")).bind(sums).fetch_all(&mut *self.0).await?;
        rows.iter().map(|row| Ok(counted!(row, workflow_id))).collect()
    }

    async fn culprits(&mut self, places: &[Place]) -> Result<HashMap<Place, Option<i64>>, sqlx::Error> {
        let culprits = query(include_str!("sql/workflow_culprits.sql")).bind(pairs(places));
        let rows = culprits.fetch_all(&mut *self.0).await?;
        rows.iter()
            .map(|row| Ok(((workflow_id(row)?, row.try_get("step")?), row.try_get("culprit")?)))
            .collect()
    }

    async fn release(&mut self, places: &[Place]) -> Result<Moved, sqlx::Error> {
        let release = query(include_str!("sql/workflow_release.sql")).bind(pairs(places)).bind(BATCH);
        let rows = release.fetch_all(&mut *self.0).await?;
        Ok(moved(rows.len(), rows.iter().map(queue).collect::<Result<_, _>>()?))
    }

    async fn fail(&mut self, places: &[(Place, Option<i64>)]) -> Result<Moved, sqlx::Error> {
        let roots = rows_of(places.iter().map(|((id, step), culprit)| json!([text(*id), step, culprit])));
        let fail = query(include_str!("sql/workflow_fail.sql")).bind(roots).bind(BATCH);
        let rows = fail.fetch_all(&mut *self.0).await?;
        let mut blamed: BTreeMap<Place, i64> = BTreeMap::new();
        for row in &rows {
            if let (Some(step), Some(culprit)) = (row.try_get("step")?, row.try_get("culprit")?) {
                blamed.insert((workflow_id(row)?, step), culprit);
            }
        }
        if !blamed.is_empty() {
            let blamed =
                rows_of(blamed.iter().map(|((id, step), culprit)| json!([text(*id), step, culprit])));
            query(include_str!("sql/workflow_blame.sql")).bind(blamed).execute(&mut *self.0).await?;
        }
        Ok(moved(rows.len(), BTreeSet::new()))
    }

    async fn revive(&mut self, places: &[Place]) -> Result<Moved, sqlx::Error> {
        let revive = query(include_str!("sql/workflow_revive.sql")).bind(pairs(places)).bind(BATCH);
        let count = revive.execute(&mut *self.0).await?.rows_affected();
        Ok(moved(usize::try_from(count).unwrap_or(usize::MAX), BTreeSet::new()))
    }

    async fn note(&mut self, notes: &BTreeSet<(Place, i64)>) -> Result<(), sqlx::Error> {
        let notes = rows_of(notes.iter().map(|((id, step), what)| json!([text(*id), step, what])));
        query(include_str!("sql/workflow_note.sql")).bind(notes).execute(&mut *self.0).await.map(drop)
    }

    async fn standings(&mut self, ids: &[WorkflowId]) -> Result<Vec<Standing>, sqlx::Error> {
        let states = query(include_str!("sql/workflow_states.sql")).bind(array(ids));
        let rows = states.fetch_all(&mut *self.0).await?;
        rows.iter().map(|row| Ok(standing!(row, workflow_id))).collect()
    }

    async fn end(&mut self, ends: &[(WorkflowId, WorkflowStatus)]) -> Result<(), sqlx::Error> {
        let ends = rows_of(ends.iter().map(|(id, status)| json!([text(*id), status.as_str()])));
        query(include_str!("sql/workflow_end.sql")).bind(ends).execute(&mut *self.0).await.map(drop)
    }

    async fn on_failure(&mut self, runs: &[(RunId, bool)]) -> Result<Moved, sqlx::Error> {
        let runs = rows_of(runs.iter().map(|(run, starts)| json!([run, i32::from(*starts)])));
        let rows =
            query(include_str!("sql/workflow_on_failure.sql")).bind(runs).fetch_all(&mut *self.0).await?;
        let started =
            rows.iter().filter(|row| row.try_get::<&str, _>("status").is_ok_and(|to| to == "READY"));
        Ok(moved(rows.len(), started.map(queue).collect::<Result<_, _>>()?))
    }
}
