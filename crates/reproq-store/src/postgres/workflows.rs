//! Workflows: counting what has become of members, and letting go of what waits. See `crate::advancing` for the course of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use reproq_model::{RunId, WorkflowId, WorkflowStatus};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection as _, Row as _, query};
use uuid::Uuid;

use super::PostgresStore;
use crate::advancing::{
    self, BATCH, Counted, Event, Ledger, Moved, Place, Standing, Sum, WORKFLOWS, Wanted, is_full,
};
use crate::workflow_rows::{counted, event, standing};
use crate::{Advanced, StoreError};

/// A transaction that waits for nobody and, should its worker be stopped in the midst of it, is over soon.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '500ms'; \
    SET LOCAL idle_in_transaction_session_timeout = '1500ms'";

pub(super) async fn advance(store: &PostgresStore) -> Result<Advanced, StoreError> {
    let found = pick(store).await?;
    if found.is_empty() {
        return Ok(Advanced::default());
    }
    let done = match advance_these(store, &found).await {
        // One of them may be what it would not: the others must not wait for that.
        Err(StoreError::Unwilling { .. } | StoreError::Refused { .. }) if found.len() > 1 => {
            one_by_one(store, &found).await?
        }
        done => done?,
    };
    Ok(Advanced { more: done.more || is_full(found.len(), WORKFLOWS), ..done })
}

async fn one_by_one(store: &PostgresStore, ids: &[WorkflowId]) -> Result<Advanced, StoreError> {
    let mut all = Advanced::default();
    for id in ids {
        match advance_these(store, &[*id]).await {
            Ok(done) => {
                all.counted += done.counted;
                all.released.extend(done.released);
                all.more |= done.more;
                all.held |= done.held;
            }
            Err(error @ (StoreError::Unwilling { .. } | StoreError::Refused { .. })) => {
                tracing::warn!(workflow = %id, %error, "a workflow cannot go on now; trying again");
                all.held = true;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

async fn advance_these(store: &PostgresStore, ids: &[WorkflowId]) -> Result<Advanced, StoreError> {
    store
        .workflows
        .run("advance", async |connection| {
            let mut transaction = connection.begin_with(BEGIN).await?;
            let done = advancing::advance(&mut Statements(&mut transaction), ids).await?;
            transaction.commit().await?;
            Ok(done)
        })
        .await
}

/// Workflows with events, from a random one on, so that no two workers want the same and none is always the last.
async fn pick(store: &PostgresStore) -> Result<Vec<WorkflowId>, StoreError> {
    // Not on the connection for workflows: a site that has none needs none.
    store
        .duties
        .run("workflow_pick", async |connection| {
            let mut found = BTreeSet::new();
            for first in [Uuid::new_v4(), Uuid::nil()] {
                let rows = query(include_str!("sql/workflow_pick.sql"))
                    .bind(first)
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
        })
        .await
}

pub(super) fn workflow_id(row: &PgRow) -> Result<WorkflowId, sqlx::Error> {
    row.try_get("workflow_id").map(WorkflowId)
}

pub(super) fn optional_workflow_id(row: &PgRow) -> Result<Option<WorkflowId>, sqlx::Error> {
    row.try_get::<Option<Uuid>, _>("workflow_id").map(|id| id.map(WorkflowId))
}

fn uuids(ids: &[WorkflowId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}

fn columns(places: &[Place]) -> (Vec<Uuid>, Vec<i32>) {
    places.iter().map(|(id, step)| (id.0, *step)).unzip()
}

fn moved(row: &PgRow) -> Result<Moved, sqlx::Error> {
    Ok(Moved { seen: row.try_get("seen")?, count: row.try_get("moved")?, queues: Vec::new() })
}

fn moved_to_queues(row: &PgRow) -> Result<Moved, sqlx::Error> {
    Ok(Moved { queues: row.try_get("queues")?, ..moved(row)? })
}

struct Statements<'a>(&'a mut PgConnection);

impl Ledger for Statements<'_> {
    async fn take(&mut self, ids: &[WorkflowId]) -> Result<Vec<Wanted>, sqlx::Error> {
        let take = query(include_str!("sql/workflow_take.sql")).bind(uuids(ids));
        let rows = take.fetch_all(&mut *self.0).await?;
        rows.iter()
            .map(|row| {
                let (policy, known) = (row.try_get("policy")?, row.try_get("known")?);
                Ok(Wanted { id: workflow_id(row)?, policy, known })
            })
            .collect()
    }

    async fn events(&mut self, ids: &[WorkflowId]) -> Result<Vec<Event>, sqlx::Error> {
        let events = query(include_str!("sql/workflow_events.sql")).bind(uuids(ids)).bind(BATCH);
        let rows = events.fetch_all(&mut *self.0).await?;
        rows.iter().map(|row| Ok(event!(row, workflow_id))).collect()
    }

    async fn count(&mut self, sums: &BTreeMap<Place, Sum>) -> Result<Vec<Counted>, sqlx::Error> {
        let (ids, steps) = columns(&sums.keys().copied().collect::<Vec<_>>());
        let rows = query(include_str!("sql/workflow_count.sql"))
            .bind(ids)
            .bind(steps)
            .bind(sums.values().map(|sum| sum.ended).collect::<Vec<_>>())
            .bind(sums.values().map(|sum| sum.failed).collect::<Vec<_>>())
            .bind(sums.values().map(|sum| sum.first_bad).collect::<Vec<_>>())
            .fetch_all(&mut *self.0)
            .await?;
        rows.iter().map(|row| Ok(counted!(row, workflow_id))).collect()
    }

    async fn culprits(&mut self, places: &[Place]) -> Result<HashMap<Place, Option<i64>>, sqlx::Error> {
        let (ids, steps) = columns(places);
        let culprits = query(include_str!("sql/workflow_culprits.sql")).bind(ids).bind(steps);
        let rows = culprits.fetch_all(&mut *self.0).await?;
        rows.iter()
            .map(|row| Ok(((workflow_id(row)?, row.try_get("step")?), row.try_get("culprit")?)))
            .collect()
    }

    async fn release(&mut self, places: &[Place]) -> Result<Moved, sqlx::Error> {
        let (ids, steps) = columns(places);
        let release = query(include_str!("sql/workflow_release.sql")).bind(ids).bind(steps).bind(BATCH);
        moved_to_queues(&release.fetch_one(&mut *self.0).await?)
    }

    async fn fail(&mut self, places: &[(Place, Option<i64>)]) -> Result<Moved, sqlx::Error> {
        let (places, culprits): (Vec<Place>, Vec<Option<i64>>) = places.iter().copied().unzip();
        let (ids, steps) = columns(&places);
        let fail =
            query(include_str!("sql/workflow_fail.sql")).bind(ids).bind(steps).bind(culprits).bind(BATCH);
        moved(&fail.fetch_one(&mut *self.0).await?)
    }

    async fn revive(&mut self, places: &[Place]) -> Result<Moved, sqlx::Error> {
        let (ids, steps) = columns(places);
        let revive = query(include_str!("sql/workflow_revive.sql")).bind(ids).bind(steps).bind(BATCH);
        moved(&revive.fetch_one(&mut *self.0).await?)
    }

    async fn note(&mut self, notes: &BTreeSet<(Place, i64)>) -> Result<(), sqlx::Error> {
        let (places, what): (Vec<Place>, Vec<i64>) = notes.iter().copied().unzip();
        let (ids, steps) = columns(&places);
        let note = query(include_str!("sql/workflow_note.sql")).bind(ids).bind(steps).bind(what);
        note.execute(&mut *self.0).await.map(drop)
    }

    async fn standings(&mut self, ids: &[WorkflowId]) -> Result<Vec<Standing>, sqlx::Error> {
        let states = query(include_str!("sql/workflow_states.sql")).bind(uuids(ids));
        let rows = states.fetch_all(&mut *self.0).await?;
        rows.iter().map(|row| Ok(standing!(row, workflow_id))).collect()
    }

    async fn end(&mut self, ends: &[(WorkflowId, WorkflowStatus)]) -> Result<(), sqlx::Error> {
        let (ids, states): (Vec<Uuid>, Vec<&str>) =
            ends.iter().map(|(id, status)| (id.0, status.as_str())).unzip();
        let end = query(include_str!("sql/workflow_end.sql")).bind(ids).bind(states);
        end.execute(&mut *self.0).await.map(drop)
    }

    async fn on_failure(&mut self, runs: &[(RunId, bool)]) -> Result<Moved, sqlx::Error> {
        let (ids, starts): (Vec<i64>, Vec<bool>) = runs.iter().map(|(run, starts)| (run.0, *starts)).unzip();
        let on_failure = query(include_str!("sql/workflow_on_failure.sql")).bind(ids).bind(starts);
        moved_to_queues(&on_failure.fetch_one(&mut *self.0).await?)
    }
}
