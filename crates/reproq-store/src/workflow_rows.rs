//! Rows about workflows as values; see `rows.rs` for why these are macros. `$id` reads the workflow's id, which the engines store
//! differently.

macro_rules! event {
    ($row:expr, $id:expr) => {
        crate::advancing::Event {
            id: $row.try_get("event_id")?,
            place: ($id($row)?, $row.try_get("step")?),
            run: $row.try_get("result_id")?,
            ended: $row.try_get("ended")?,
            failed: $row.try_get("failed")?,
        }
    };
}

macro_rules! counted {
    ($row:expr, $id:expr) => {
        crate::advancing::Counted {
            place: ($id($row)?, $row.try_get("step")?),
            pending: $row.try_get("pending")?,
            failed: $row.try_get("failed")?,
            culprit: $row.try_get("culprit")?,
        }
    };
}

macro_rules! standing {
    ($row:expr, $id:expr) => {
        crate::advancing::Standing {
            id: $id($row)?,
            count: reproq_model::workflow::WorkflowCount {
                status: crate::workflow_rows::status(&$row.try_get::<String, _>("status")?)?,
                expected: $row.try_get("expected_count")?,
                succeeded: $row.try_get("success_count")?,
                failed: $row.try_get("failure_count")?,
                last: $row.try_get::<Option<i32>, _>("pending")?.zip($row.try_get("failed")?),
            },
            last_step: $row.try_get("final_step")?,
            failure_run: $row.try_get::<Option<i64>, _>("failure_run")?.map(reproq_model::RunId),
        }
    };
}

/// The state that a column names.
pub(crate) fn status(text: &str) -> Result<reproq_model::WorkflowStatus, sqlx::Error> {
    text.parse().map_err(|error: reproq_model::status::UnknownStatus| sqlx::Error::Decode(Box::new(error)))
}

pub(crate) use {counted, event, standing};
