//! `reproq reclaim`: runs whose worker went silent, taken back now instead of at a worker's next look.

use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use reproq_config::Resolved;
use reproq_model::Incarnation;
use reproq_store::{Ending, ExpiredRun, Fence, Operator, Registration};
use reproq_worker::reclaimed_ending;
use serde_json::json;

use crate::exit::Failure;
use crate::{asked, output, wiring};

/// Runs that one look brings.
const LOOK: u32 = 5000;
/// Runs that one statement ends.
const BATCH: usize = 500;

/// Ends the attempt as any worker would; `--action fail` leaves it no other.
pub fn run(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let dry_run = flags.get_flag("dry-run");
    let order = Order {
        fail: asked::text(flags, "action") == Some("fail"),
        older_than: flags.get_one("older-than").copied().unwrap_or_default(),
        limit: flags.get_one::<u64>("limit").copied().filter(|limit| *limit > 0).unwrap_or(u64::MAX),
    };
    let count = wiring::operate(config, async |operator| {
        let without_lease =
            if flags.get_flag("include-null-lease") { operator.end_null_leases(dry_run).await? } else { 0 };
        if dry_run {
            let lapsed = lapsed(operator, &order).await?.len() as u64;
            return Ok((lapsed + without_lease).min(order.limit));
        }
        take_back(operator, &order).await
    })?;
    if flags.get_flag("json") {
        output::print(&json!({"reclaimed": count, "dry_run": dry_run}).to_string());
    } else {
        let plural = if count == 1 { "" } else { "s" };
        let verb = if dry_run { "would be taken back" } else { "taken back" };
        output::print(&format!("{count} run{plural} {verb}"));
    }
    Ok(ExitCode::SUCCESS)
}

struct Order {
    fail: bool,
    older_than: Duration,
    limit: u64,
}

async fn take_back(operator: &dyn Operator, order: &Order) -> Result<u64, Failure> {
    let mut taken = 0;
    loop {
        let mut runs = lapsed(operator, order).await?;
        runs.truncate(usize::try_from(order.limit - taken).unwrap_or(usize::MAX));
        let mut written = 0;
        for batch in runs.chunks(BATCH) {
            let endings: Vec<Ending> = batch.iter().map(|run| ending(run, order.fail)).collect();
            written += operator.finish(Fence::LeaseEnded, &endings).await?.written;
        }
        taken += written;
        // What others hold or have taken back meanwhile is theirs.
        if written == 0 || taken >= order.limit || runs.len() < LOOK as usize {
            return Ok(taken);
        }
    }
}

async fn lapsed(operator: &dyn Operator, order: &Order) -> Result<Vec<ExpiredRun>, Failure> {
    let mut runs = operator.expired(&nobody(), LOOK).await?;
    if order.older_than > Duration::ZERO {
        let mut old = Vec::new();
        for run in runs {
            let facts = operator.run(run.id).await?;
            let age = facts.and_then(|facts| Some(facts.now.saturating_sub(facts.leased_until?)));
            if age.and_then(|age| u64::try_from(age).ok()).map(Duration::from_micros)
                >= Some(order.older_than)
            {
                old.push(run);
            }
        }
        runs = old;
    }
    Ok(runs)
}

/// An operator owns no run, so everybody's are others'.
fn nobody() -> Registration {
    Registration {
        worker_id: String::new(),
        incarnation: Incarnation::random(),
        hostname: String::new(),
        pid: 0,
        concurrency: 0,
        queues: Vec::new(),
        version: "",
    }
}

fn ending(run: &ExpiredRun, fail: bool) -> Ending {
    if fail {
        return reclaimed_ending(&ExpiredRun { max_attempts: run.attempts, ..run.clone() });
    }
    reclaimed_ending(run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reproq_model::{Epoch, RunId, RunStatus};

    #[test]
    fn a_run_with_attempts_left_is_ready_again_unless_it_is_to_fail() {
        let run = |attempts| ExpiredRun {
            id: RunId(1),
            epoch: Epoch(1),
            attempts,
            max_attempts: 3,
            crash_count: 0,
            worker_id: "w".to_owned(),
        };
        assert_eq!(ending(&run(1), false).transition.status, RunStatus::Ready);
        assert_eq!(ending(&run(1), true).transition.status, RunStatus::Failed);
        assert_eq!(ending(&run(3), false).transition.status, RunStatus::Failed);
    }
}
