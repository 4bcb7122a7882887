//! RUNNING -> wherever each ending says.

use std::borrow::Cow;

use reproq_model::RunId;
use sqlx::{Row as _, query};

use super::PostgresStore;
use crate::{Ending, Fence, Finished, StoreError, acceptable};

pub(super) async fn finish(
    store: &PostgresStore,
    fence: Fence,
    endings: &[Ending],
) -> Result<Finished, StoreError> {
    let owner = match fence {
        Fence::Owner(incarnation) => Some(incarnation.0),
        Fence::LeaseEnded => None,
    };
    let column = Columns::of(endings);
    store
        .endings
        .run("finish", async |connection| {
            let row = query(include_str!("sql/finish.sql"))
                .bind(column.ids)
                .bind(column.epochs)
                .bind(column.statuses)
                .bind(column.returns)
                .bind(column.errors)
                .bind(column.last_errors)
                .bind(column.delays)
                .bind(column.give_backs)
                .bind(column.crashes)
                .bind(column.metadata)
                .bind(column.logs_uris)
                .bind(column.records)
                .bind(owner)
                .fetch_one(connection)
                .await?;
            let held: Option<Vec<i64>> = row.try_get("held")?;
            Ok(Finished {
                written: u64::try_from(row.try_get::<i64, _>("written")?).unwrap_or_default(),
                held: held.unwrap_or_default().into_iter().map(RunId).collect(),
                of_workflows: row.try_get::<Option<bool>, _>("of_workflows")?.unwrap_or_default(),
            })
        })
        .await
}

/// The batch, turned on its side for `unnest`.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<i64>,
    epochs: Vec<i32>,
    statuses: Vec<&'static str>,
    returns: Vec<Option<&'a str>>,
    errors: Vec<Option<Cow<'a, str>>>,
    last_errors: Vec<Option<&'a str>>,
    delays: Vec<i64>,
    give_backs: Vec<bool>,
    crashes: Vec<bool>,
    metadata: Vec<Option<Cow<'a, str>>>,
    logs_uris: Vec<Option<&'a str>>,
    records: Vec<Option<String>>,
}

impl<'a> Columns<'a> {
    fn of(endings: &'a [Ending]) -> Self {
        // By id, so that two batches that meet take their rows in the same order.
        let mut sorted: Vec<&Ending> = endings.iter().collect();
        sorted.sort_unstable_by_key(|ending| ending.id);
        let mut columns = Self::default();
        for ending in sorted {
            let transition = &ending.transition;
            columns.ids.push(ending.id.0);
            columns.epochs.push(ending.epoch.0);
            columns.statuses.push(transition.status.as_str());
            columns.returns.push(transition.return_json.as_ref().map(|json| json.get()));
            columns.errors.push(transition.error.as_deref().map(acceptable::json));
            columns.last_errors.push(transition.last_error.as_deref());
            columns
                .delays
                .push(i64::try_from(acceptable::wait(transition.delay).as_micros()).unwrap_or(i64::MAX));
            columns.give_backs.push(transition.give_back);
            columns.crashes.push(transition.crashed);
            columns.metadata.push(transition.metadata.as_ref().map(|json| acceptable::json(json.get())));
            columns.logs_uris.push(ending.logs_uri.as_deref());
            columns.records.push(transition.record.as_deref().map(continued));
        }
        columns
    }
}

/// The members of a JSON object as they go on after others: `{"a":1}` is `,"a":1}`.
fn continued(object: &str) -> String {
    let rest = acceptable::json(object.trim_start().trim_start_matches('{'));
    if rest.trim_start().starts_with('}') { rest.into_owned() } else { format!(",{rest}") }
}
