//! `reproq prune` and its kin: what nobody needs any more is deleted, in small steps.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use reproq_config::Resolved;
use reproq_model::{Epoch, RunId, RunStatus};
use reproq_store::{LogStep, Operator, PruneField, PruneWhat};
use serde_json::json;

use crate::exit::Failure;
use crate::{asked, output, wiring};

/// Runs that have ended long ago, and what is left of keys.
pub fn run(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let field = match asked::text(flags, "field") {
        Some("updated_at") => PruneField::UpdatedAt,
        Some("enqueued_at") => PruneField::EnqueuedAt,
        Some("started_at") => PruneField::StartedAt,
        _ => PruneField::FinishedAt,
    };
    let statuses = flags.get_many("statuses").map(|statuses| statuses.copied().collect()).unwrap_or_default();
    delete(config, flags, statuses, field, older_than(flags))
}

/// Runs that have expired, whatever state but RUNNING they are in.
pub fn expired(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    delete(config, flags, RunStatus::ALL.to_vec(), PruneField::ExpiresAt, Duration::ZERO)
}

/// The same as `prune --statuses SUCCESSFUL`.
pub fn successful(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    delete(config, flags, vec![RunStatus::Successful], PruneField::FinishedAt, older_than(flags))
}

/// Workers that have not been heard of.
pub fn workers(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let dry_run = flags.get_flag("dry-run");
    let count = wiring::operate(config, async |operator| {
        Ok(operator.prune_workers(older_than(flags), dry_run).await?)
    })?;
    report(flags, "worker", count, None);
    Ok(ExitCode::SUCCESS)
}

/// What attempts have printed, and nobody has added to for long.
pub fn logs(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let (dry_run, limit) = (flags.get_flag("dry-run"), at_most(flags));
    let count = wiring::operate(config, async |operator| {
        let (mut after, mut pruned) = (LogStep { id: RunId(0), epoch: Epoch(0) }, 0);
        loop {
            let left = limit.map_or(u64::MAX, |limit| limit - pruned);
            let step = operator.prune_logs_step(older_than(flags), after, left, dry_run).await?;
            pruned += step.pruned;
            match step.last {
                Some(last) if limit != Some(pruned) => after = last,
                _ => return Ok(pruned),
            }
        }
    })?;
    report(flags, "log", count, None);
    Ok(ExitCode::SUCCESS)
}

fn at_most(flags: &ArgMatches) -> Option<u64> {
    flags.get_one("limit").copied().filter(|limit| *limit > 0)
}

fn older_than(flags: &ArgMatches) -> Duration {
    flags.get_one("older-than").copied().unwrap_or_default()
}

fn delete(
    config: &Resolved,
    flags: &ArgMatches,
    statuses: Vec<RunStatus>,
    field: PruneField,
    older_than: Duration,
) -> Result<ExitCode, Failure> {
    let what = PruneWhat { statuses, field, older_than, dry_run: flags.get_flag("dry-run") };
    let limit = at_most(flags);
    let (runs, keys) = wiring::operate(config, async |operator| all_steps(operator, &what, limit).await)?;
    report(flags, "run", runs, keys);
    Ok(ExitCode::SUCCESS)
}

/// How many runs, and how many rows about keys, if the whole table was seen.
async fn all_steps(
    operator: &dyn Operator,
    what: &PruneWhat,
    limit: Option<u64>,
) -> Result<(u64, Option<u64>), Failure> {
    let (mut after, mut pruned, mut in_use) = (RunId(0), 0, BTreeSet::new());
    loop {
        let left = limit.map_or(u64::MAX, |limit| limit - pruned);
        if left == 0 {
            return Ok((pruned, None));
        }
        let step = operator.prune_step(what, after, left).await?;
        pruned += step.pruned;
        in_use.extend(step.keys_in_use);
        let Some(last) = step.last else { break };
        after = last;
    }
    if what.dry_run {
        return Ok((pruned, None));
    }
    prune_workflows(operator).await?;
    let in_use: Vec<String> = in_use.into_iter().collect();
    let mut rows = 0;
    loop {
        match operator.prune_words(&in_use).await? {
            0 => return Ok((pruned, Some(rows))),
            more => rows += more,
        }
    }
}

/// Workflows that are over go with the last of their runs.
async fn prune_workflows(operator: &dyn Operator) -> Result<(), Failure> {
    let mut after = None;
    loop {
        after = operator.prune_workflows_step(after, false).await?.last;
        if after.is_none() {
            return Ok(());
        }
    }
}

fn report(flags: &ArgMatches, what: &str, count: u64, keys: Option<u64>) {
    let dry_run = flags.get_flag("dry-run");
    if flags.get_flag("json") {
        output::print(&json!({"pruned": count, "dry_run": dry_run, "key_rows": keys}).to_string());
        return;
    }
    let plural = if count == 1 { "" } else { "s" };
    let verb = if dry_run { "would be deleted" } else { "deleted" };
    output::print(&format!("{count} {what}{plural} {verb}"));
    if let Some(rows @ 1..) = keys {
        output::print(&format!("{rows} rows about idle keys deleted"));
    }
}
