//! `reproq cron`: when a cron expression comes. The scheduler asks the same evaluator.

use std::process::ExitCode;

use chrono::Utc;
use clap::ArgMatches;
use reproq_model::cron::Cron;
use serde_json::json;

use crate::exit::Failure;
use crate::{asked, output};

/// The next times.
pub fn next(flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let cron = read(flags)?;
    let mut at = flags.get_one::<i64>("from").copied().unwrap_or_else(|| Utc::now().timestamp_micros());
    let mut times = Vec::new();
    for _ in 0..flags.get_one::<u32>("count").copied().unwrap_or(1) {
        // None: beyond the calendar.
        let Some(next) = cron.next_after(at) else { break };
        times.push(cron.shown(next));
        at = next;
    }
    if flags.get_flag("json") {
        let object = json!({"expr": expression(flags), "timezone": cron.zone().name(), "times": times});
        output::print(&object.to_string());
    } else {
        for time in &times {
            output::print(time);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether it can be read.
pub fn check(flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let cron = read(flags)?;
    if flags.get_flag("json") {
        let object = json!({"expr": expression(flags), "timezone": cron.zone().name(), "ok": true});
        output::print(&object.to_string());
    } else {
        output::print(&format!("{} in {} ok", expression(flags), cron.zone().name()));
    }
    Ok(ExitCode::SUCCESS)
}

fn expression(flags: &ArgMatches) -> &str {
    asked::text(flags, "expression").unwrap_or_default()
}

fn read(flags: &ArgMatches) -> Result<Cron, Failure> {
    Cron::parse(expression(flags), asked::text(flags, "tz").unwrap_or_default()).map_err(|error| {
        if flags.get_flag("json") {
            output::print(&json!({"error": error.to_string()}).to_string());
        }
        Failure::usage(error.to_string())
    })
}
