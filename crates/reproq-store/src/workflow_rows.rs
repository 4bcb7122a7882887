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

macro_rules! workflow_facts {
    ($row:expr, $id:expr) => {
        crate::WorkflowFacts {
            id: $id($row)?,
            status: crate::workflow_rows::status(&$row.try_get::<String, _>("status")?)?,
            policy: reproq_model::workflow::Policy::named(&$row.try_get::<String, _>("policy")?),
            expected: $row.try_get("expected_count")?,
            succeeded: $row.try_get("success_count")?,
            failed: $row.try_get("failure_count")?,
            final_step: $row.try_get("final_step")?,
            callback: $row.try_get::<Option<i64>, _>("callback_result_id")?.map(reproq_model::RunId),
            on_failure: $row.try_get::<Option<i64>, _>("failure_result_id")?.map(reproq_model::RunId),
            uncounted: $row.try_get("uncounted")?,
            created_at: $row.try_get("created_us")?,
            finished_at: $row.try_get("finished_us")?,
            now: $row.try_get("now_us")?,
            steps: Vec::new(),
        }
    };
}

macro_rules! step_facts {
    ($row:expr) => {
        crate::StepFacts {
            step: $row.try_get("step")?,
            pending: $row.try_get("pending")?,
            failed: $row.try_get("failed")?,
            culprit: match $row.try_get::<Option<i64>, _>("culprit")? {
                None => None,
                Some(id) => Some(crate::Culprit {
                    id: reproq_model::RunId(id),
                    task_path: $row.try_get("task_path")?,
                    status: match $row.try_get::<Option<String>, _>("status")? {
                        None => None,
                        Some(text) => Some(crate::rows::status(&text)?),
                    },
                    last_error: $row.try_get("last_error")?,
                }),
            },
        }
    };
}

macro_rules! member {
    ($row:expr) => {
        crate::Member {
            id: reproq_model::RunId($row.try_get("result_id")?),
            status: crate::rows::status(&$row.try_get::<String, _>("status")?)?,
            queue_name: $row.try_get("queue_name")?,
            task_path: $row.try_get("task_path")?,
            step: $row.try_get("step")?,
            after_step: $row.try_get("after_step")?,
            last_error: $row.try_get("last_error")?,
        }
    };
}

/// The state that a column names.
pub(crate) fn status(text: &str) -> Result<reproq_model::WorkflowStatus, sqlx::Error> {
    text.parse().map_err(|error: reproq_model::status::UnknownStatus| sqlx::Error::Decode(Box::new(error)))
}

pub(crate) use {counted, event, member, standing, step_facts, workflow_facts};
