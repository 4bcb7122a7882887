//! RUNNING -> wherever each ending says.

use serde_json::{Value, json};
use sqlx::{Row as _, query};

use super::SqliteStore;
use crate::{Ending, Fence, Finished, StoreError, acceptable};

pub(super) async fn finish(
    store: &SqliteStore,
    fence: Fence,
    endings: &[Ending],
) -> Result<Finished, StoreError> {
    let owner = match fence {
        Fence::Owner(incarnation) => Some(incarnation.to_string()),
        Fence::LeaseEnded => None,
    };
    let batch = Value::from(endings.iter().map(row).collect::<Vec<_>>()).to_string();
    store
        .link
        .run("finish", async |connection| {
            let rows =
                query(include_str!("sql/finish.sql")).bind(batch).bind(owner).fetch_all(connection).await?;
            let mut finished = Finished { written: rows.len() as u64, ..Finished::default() };
            for row in rows {
                finished.of_workflows |= row.try_get::<bool, _>("of_workflow")?;
            }
            Ok(finished)
        })
        .await
}

fn row(ending: &Ending) -> Value {
    let transition = &ending.transition;
    json!([
        ending.id,
        ending.epoch,
        transition.status.as_str(),
        transition.return_json.as_ref().map(|text| text.get()),
        transition.error.as_deref().map(acceptable::json),
        transition.last_error,
        acceptable::wait(transition.delay).as_secs_f64(),
        i32::from(transition.give_back),
        i32::from(transition.crashed),
        transition.metadata.as_ref().map(|text| acceptable::json(text.get())),
        ending.logs_uri,
        transition.record.as_deref().map(acceptable::json),
    ])
}
