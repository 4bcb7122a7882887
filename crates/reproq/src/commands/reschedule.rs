//! `reproq reschedule`: another time for a run that has not started.

use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use reproq_config::Resolved;
use reproq_store::{Moment, Rescheduled};
use serde_json::json;

use crate::exit::Failure;
use crate::{asked, output, wiring};

/// Fails when the run has started, or does not exist.
pub fn run(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let id = asked::the_run(flags);
    let when = match flags.get_one::<i64>("at") {
        Some(at) => Moment::At(*at),
        None => Moment::In(flags.get_one("in").copied().unwrap_or(Duration::ZERO)),
    };
    match wiring::operate(config, async |operator| Ok(operator.reschedule(id, when).await?))? {
        Rescheduled::Moved { status, run_after } => {
            let at = output::moment(run_after);
            if flags.get_flag("json") {
                output::print(
                    &json!({"result_id": id, "status": status.as_str(), "run_after": at}).to_string(),
                );
            } else {
                output::print(&format!("run {id} is {status} and starts at {at} at the earliest"));
            }
            Ok(ExitCode::SUCCESS)
        }
        Rescheduled::Found(status) => Err(Failure::refused(
            format!("run {id} is {status}: only a run that has not started has a time that can be moved"),
            status.is_terminal().then(|| format!("`reproq replay --id {id}` enqueues the same call again")),
        )),
        Rescheduled::Unknown => Err(Failure::no_run(id)),
    }
}
