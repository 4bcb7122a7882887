//! Rows of schedules as values; see `rows.rs` for why these are macros. `$time` turns a column into microseconds since 1970, if it
//! holds a time.

macro_rules! schedule {
    ($row:expr, $time:expr) => {
        reproq_model::schedule::Schedule {
            name: $row.try_get("name")?,
            cron_expr: $row.try_get("cron_expr")?,
            timezone: $row.try_get("timezone")?,
            every_seconds: $row.try_get("every_seconds")?,
            jitter_seconds: $row.try_get("jitter_seconds")?,
            catch_up: $row.try_get("catch_up")?,
            catch_up_limit: $row.try_get("catch_up_limit")?,
            overlap: $row.try_get("overlap")?,
            start_at: $time($row, "start_at")?,
            end_at: $time($row, "end_at")?,
            next_run_at: $time($row, "next_run_at")?
                .ok_or_else(|| sqlx::Error::Decode("next_run_at holds no time".into()))?,
            last_run_at: $time($row, "last_run_at")?,
            enabled: $row.try_get("enabled")?,
            rebase: $row.try_get("rebase")?,
            problem: $row.try_get("problem")?,
            task_path: $row.try_get("task_path")?,
            payload: $row.try_get("payload")?,
            queue_name: $row.try_get("queue_name")?,
            priority: $row.try_get("priority")?,
            max_attempts: $row.try_get("max_attempts")?,
            concurrency_key: $row.try_get("concurrency_key")?,
            concurrency_limit: $row.try_get("concurrency_limit")?,
            options: $row.try_get("options")?,
        }
    };
}

/// Rows of `schedules.sql`, of which at most `$limit` were asked for.
macro_rules! page {
    ($rows:expr, $limit:expr, $time:expr) => {{
        let mut page = crate::Page::default();
        for row in &$rows {
            page.now = $time(row, "now_us")?.unwrap_or_default();
            let name: String = row.try_get("name")?;
            let read = || -> Result<reproq_model::schedule::Schedule, sqlx::Error> {
                Ok(crate::schedule_rows::schedule!(row, $time))
            };
            match read() {
                Ok(schedule) => page.schedules.push(schedule),
                Err(error) => {
                    page.unreadable.push((name.clone(), format!("the row cannot be read: {error}")))
                }
            }
            page.more_after = ($rows.len() == $limit as usize).then_some(name);
        }
        page
    }};
}

macro_rules! tick_seen {
    ($row:expr, $time:expr) => {
        crate::TickSeen {
            scheduled_at: $time($row, "scheduled_at")?.unwrap_or_default(),
            state: $row.try_get("state")?,
            result_id: $row.try_get::<Option<i64>, _>("result_id")?.map(reproq_model::RunId),
            status: $row
                .try_get::<Option<String>, _>("status")?
                .map(|status| crate::rows::status(&status))
                .transpose()?,
            last_error: $row.try_get("last_error")?,
            count: $row.try_get("count")?,
            missed_until: $time($row, "missed_until")?,
            reason: $row.try_get("reason")?,
        }
    };
}

macro_rules! earlier {
    ($row:expr) => {
        reproq_model::schedule::Earlier {
            id: reproq_model::RunId($row.try_get("result_id")?),
            status: crate::rows::status(&$row.try_get::<String, _>("status")?)?,
        }
    };
}

pub(crate) use {earlier, page, schedule, tick_seen};
