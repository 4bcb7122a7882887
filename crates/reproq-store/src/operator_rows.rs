//! An operator's rows as values; see `rows.rs` for why these are macros.

macro_rules! status {
    ($row:expr, $column:literal) => {
        $row.try_get::<String, _>($column)?
            .parse::<reproq_model::RunStatus>()
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?
    };
}

macro_rules! control {
    ($row:expr) => {
        crate::Control {
            is_task: $row.try_get("is_task")?,
            name: $row.try_get("name")?,
            paused_at: $row.try_get("paused_us")?,
            reason: $row.try_get("reason")?,
            resume_at: $row.try_get("resume_us")?,
        }
    };
}

macro_rules! rate_row {
    ($row:expr) => {
        crate::RateRow {
            key: $row.try_get("key")?,
            per_second: $row.try_get("per_second")?,
            burst: $row.try_get("burst")?,
            stated: $row.try_get("stated")?,
            tat: $row.try_get("tat")?,
            refilled_at: $row.try_get("refilled_us")?,
            now: $row.try_get("now_us")?,
        }
    };
}

macro_rules! key_word {
    ($row:expr) => {
        crate::KeyWord {
            key: $row.try_get("key")?,
            amount: $row.try_get("amount")?,
            burst: $row.try_get("burst")?,
            pinned: $row.try_get("pinned")?,
        }
    };
}

macro_rules! standing {
    ($row:expr) => {
        (
            reproq_model::RunId($row.try_get("result_id")?),
            crate::twins::Standing {
                status: crate::operator_rows::status!($row, "status"),
                twin: $row.try_get::<Option<i64>, _>("twin")?.map(reproq_model::RunId),
                spoilt_by: $row.try_get("spoilt_by")?,
            },
        )
    };
}

macro_rules! failed_run {
    ($row:expr) => {
        crate::FailedRun {
            id: reproq_model::RunId($row.try_get("result_id")?),
            queue_name: $row.try_get("queue_name")?,
            task_path: $row.try_get("task_path")?,
            attempts: $row.try_get("attempts")?,
            max_attempts: $row.try_get("max_attempts")?,
            failed_at: $row.try_get("failed_us")?,
            last_error: $row.try_get("last_error")?,
        }
    };
}

macro_rules! holder {
    ($row:expr) => {
        crate::Holder {
            id: reproq_model::RunId($row.try_get("result_id")?),
            lock: $row.try_get("lock")?,
            worker_id: $row.try_get("worker_id")?,
            since: $row.try_get("since_us")?,
        }
    };
}

macro_rules! run_facts {
    ($row:expr, $workflow:expr) => {
        crate::RunFacts {
            id: reproq_model::RunId($row.try_get("result_id")?),
            status: crate::operator_rows::status!($row, "status"),
            queue_name: $row.try_get("queue_name")?,
            task_path: $row.try_get("task_path")?,
            backend_alias: $row.try_get("backend_alias")?,
            spec_hash: $row.try_get("spec_hash")?,
            spec: $row.try_get("spec")?,
            errors: $row.try_get("errors")?,
            history: $row.try_get("history")?,
            progress: $row.try_get("progress")?,
            epoch: reproq_model::Epoch($row.try_get("epoch")?),
            last_error: $row.try_get("last_error")?,
            priority: $row.try_get("priority")?,
            attempts: $row.try_get("attempts")?,
            max_attempts: $row.try_get("max_attempts")?,
            crash_count: $row.try_get("crash_count")?,
            timeout_seconds: $row.try_get("timeout_seconds")?,
            gate: $row.try_get("gate")?,
            lock_key: $row.try_get("lock_key")?,
            concurrency_key: $row.try_get("concurrency_key")?,
            concurrency_limit: $row.try_get("concurrency_limit")?,
            fairness_key: $row.try_get("fairness_key")?,
            rate_key: $row.try_get("rate_key")?,
            rate_per_second: $row.try_get("rate_per_second")?,
            rate_burst: $row.try_get("rate_burst")?,
            cancel_requested: $row.try_get("cancel_requested")?,
            leased_by: $row.try_get("leased_by")?,
            parent_id: $row.try_get::<Option<i64>, _>("parent_id")?.map(reproq_model::RunId),
            wait_count: $row.try_get("wait_count")?,
            workflow_id: $workflow($row)?,
            step: $row.try_get("step")?,
            after_step: $row.try_get("after_step")?,
            enqueued_at: $row.try_get("enqueued_us")?,
            run_after: $row.try_get("run_after_us")?,
            expires_at: $row.try_get("expires_us")?,
            started_at: $row.try_get("started_us")?,
            last_attempted_at: $row.try_get("last_attempted_us")?,
            finished_at: $row.try_get("finished_us")?,
            failed_at: $row.try_get("failed_us")?,
            leased_until: $row.try_get("leased_until_us")?,
            now: $row.try_get("now_us")?,
        }
    };
}

/// Rows of `logs.sql`: a run, and its logs if it has any.
macro_rules! run_logs {
    ($rows:expr) => {{
        let mut found: Option<crate::RunLogs> = None;
        for row in $rows {
            if found.is_none() {
                found = Some(crate::RunLogs {
                    status: crate::operator_rows::status!(row, "status"),
                    attempts: row.try_get("attempts_so_far")?,
                    logs_uri: row.try_get("logs_uri")?,
                    logs: Vec::new(),
                });
            }
            if let (Some(run), Some(epoch)) = (&mut found, row.try_get::<Option<i32>, _>("epoch")?) {
                run.logs.push(crate::KeptLog {
                    epoch: reproq_model::Epoch(epoch),
                    attempt: row.try_get("attempt")?,
                    chunks: crate::history::chunks(&row.try_get::<String, _>("chunks")?),
                    bytes: row.try_get::<i64, _>("bytes")?.try_into().unwrap_or_default(),
                    dropped: row.try_get::<i64, _>("dropped")?.try_into().unwrap_or_default(),
                });
            }
        }
        found
    }};
}

macro_rules! last_log {
    ($row:expr) => {{
        let id = $row.try_get::<Option<i64>, _>("last_id")?.map(reproq_model::RunId);
        let epoch = $row.try_get::<Option<i32>, _>("last_epoch")?.map(reproq_model::Epoch);
        id.zip(epoch).map(|(id, epoch)| crate::LogStep { id, epoch })
    }};
}

pub(crate) use {
    control, failed_run, holder, key_word, last_log, rate_row, run_facts, run_logs, standing, status,
};
