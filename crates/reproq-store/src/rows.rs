//! Rows as values. The columns have the same names in both engines and different types underneath, so these are macros:
//! each engine reads with its own row type.

use std::time::Duration;

use reproq_model::RunStatus;

/// A span that the database counts in microseconds; one in the past is none.
pub(crate) fn micros(count: i64) -> Duration {
    Duration::from_micros(u64::try_from(count).unwrap_or_default())
}

/// The state that a column names.
pub(crate) fn status(text: &str) -> Result<RunStatus, sqlx::Error> {
    text.parse().map_err(|error: reproq_model::status::UnknownStatus| sqlx::Error::Decode(Box::new(error)))
}

/// Reads all rows of `$statement` with `$read`, a closure that may use `?`.
macro_rules! read_all {
    ($statement:literal, $rows:expr, |$row:ident| $read:expr) => {
        $rows
            .iter()
            .map(|$row| Ok($read))
            .collect::<Result<Vec<_>, sqlx::Error>>()
            .map_err(|error| crate::StoreError::of($statement, error))
    };
}

macro_rules! owned_run {
    ($row:expr) => {
        crate::OwnedRun {
            id: reproq_model::RunId($row.try_get("result_id")?),
            epoch: reproq_model::Epoch($row.try_get("epoch")?),
            cancel_requested: $row.try_get("cancel_requested")?,
            lease_left: crate::rows::micros($row.try_get("left_us")?),
        }
    };
}

macro_rules! expired_run {
    ($row:expr) => {
        crate::ExpiredRun {
            id: reproq_model::RunId($row.try_get("result_id")?),
            epoch: reproq_model::Epoch($row.try_get("epoch")?),
            attempts: $row.try_get("attempts")?,
            max_attempts: $row.try_get("max_attempts")?,
            crash_count: $row.try_get("crash_count")?,
            worker_id: $row.try_get("worker_id")?,
        }
    };
}

macro_rules! cancelled {
    ($row:expr) => {
        crate::Cancelled {
            id: reproq_model::RunId($row.try_get("result_id")?),
            before: crate::rows::status(&$row.try_get::<String, _>("before")?)?,
            after: crate::rows::status(&$row.try_get::<String, _>("after")?)?,
        }
    };
}

macro_rules! queue_depth {
    ($row:expr) => {
        crate::QueueDepth {
            queue_name: $row.try_get("queue_name")?,
            status: crate::rows::status(&$row.try_get::<String, _>("status")?)?,
            count: $row.try_get("runs")?,
            scheduled: $row.try_get("scheduled")?,
            oldest_age: $row.try_get::<Option<i64>, _>("oldest_us")?.map(crate::rows::micros),
        }
    };
}

macro_rules! worker_seen {
    ($row:expr) => {
        crate::WorkerSeen {
            worker_id: $row.try_get("worker_id")?,
            hostname: $row.try_get("hostname")?,
            concurrency: $row.try_get("concurrency")?,
            queues: $row.try_get("queues")?,
            version: $row.try_get("version")?,
            silent_for: crate::rows::micros($row.try_get("silent_us")?),
        }
    };
}

/// Sorts rows into runs and those that cannot be read. `$timeout` is the type of `timeout_seconds`, `$time` turns a column into microseconds since 1970.
macro_rules! claim {
    ($rows:expr, $timeout:ty, $time:expr) => {{
        let mut claim = crate::Claim::default();
        for row in $rows {
            let read = || -> Result<crate::ClaimedRun, sqlx::Error> {
                Ok(crate::rows::claimed_run!(row, $timeout, $time))
            };
            match read() {
                Ok(run) => claim.runs.push(run),
                Err(error) => claim.unreadable.push(crate::UnreadableRun {
                    id: reproq_model::RunId(row.try_get("result_id")?),
                    epoch: reproq_model::Epoch(row.try_get("epoch")?),
                    reason: error.to_string(),
                }),
            }
        }
        claim
    }};
}

macro_rules! claimed_run {
    ($row:expr, $timeout:ty, $time:expr) => {
        crate::ClaimedRun {
            id: reproq_model::RunId($row.try_get("result_id")?),
            epoch: reproq_model::Epoch($row.try_get("epoch")?),
            attempts: $row.try_get("attempts")?,
            max_attempts: $row.try_get("max_attempts")?,
            crash_count: $row.try_get("crash_count")?,
            timeout: std::time::Duration::from_secs(
                u64::try_from($row.try_get::<$timeout, _>("timeout_seconds")?).unwrap_or_default(),
            ),
            task_path: $row.try_get("task_path")?,
            queue_name: $row.try_get("queue_name")?,
            backend_alias: $row.try_get("backend_alias")?,
            spec: $row.try_get("spec")?,
            worker_ids: $row.try_get("worker_ids")?,
            errors: $row.try_get("errors")?,
            metadata: $row.try_get("metadata")?,
            enqueued_at: $time($row, "enqueued_at")?,
            started_at: $time($row, "started_at")?,
            last_attempted_at: $time($row, "last_attempted_at")?,
            verdict: if $row.try_get("expired")? {
                reproq_model::admission::Verdict::Expired
            } else {
                reproq_model::admission::Verdict::Start
            },
        }
    };
}

macro_rules! waiting {
    ($row:expr) => {
        crate::keyed::Waiting {
            id: $row.try_get("result_id")?,
            claim_key: $row.try_get("claim_key")?,
            group: $row.try_get("group_key")?,
            line: $row.try_get("visit_key")?,
            queue_name: $row.try_get("queue_name")?,
            task_path: $row.try_get("task_path")?,
            lock: $row.try_get("lock_key")?,
            concurrency: $row.try_get("concurrency_key")?,
            own_limit: $row.try_get("concurrency_limit")?,
            rate_key: $row.try_get("rate_key")?,
            rate_per_second: $row.try_get("rate_per_second")?,
            rate_burst: $row.try_get("rate_burst")?,
            over_limit: $row.try_get("over_limit")?,
            is_latest: $row.try_get("is_latest")?,
            expired: $row.try_get("expired")?,
        }
    };
}

macro_rules! fact {
    ($row:expr) => {
        crate::keyed::Fact {
            about: $row.try_get("about")?,
            key: $row.try_get("key")?,
            number: $row.try_get("number")?,
            amount: $row.try_get("amount")?,
        }
    };
}

macro_rules! rate_row {
    ($row:expr) => {
        crate::keyed::RateRow {
            key: $row.try_get("key")?,
            per_second: $row.try_get("per_second")?,
            burst: $row.try_get("burst_size")?,
            tat: $row.try_get("tat")?,
            stated: $row.try_get("stated")?,
        }
    };
}

pub(crate) use {
    cancelled, claim, claimed_run, expired_run, fact, owned_run, queue_depth, rate_row, read_all, waiting,
    worker_seen,
};
