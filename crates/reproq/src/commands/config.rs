//! `reproq config`.

use std::process::ExitCode;

use clap::ArgMatches;
use reproq_config::Resolved;

use crate::output;

/// Shows every value; with `--explain`, where it comes from.
pub fn run(config: &Resolved, flags: &ArgMatches) -> ExitCode {
    if flags.get_flag("json") {
        output::print(&config.explain_json().to_string());
        return ExitCode::SUCCESS;
    }
    let explain = flags.get_flag("explain");
    let rows: Vec<Vec<String>> = config
        .explain()
        .iter()
        .map(|entry| {
            let mut row = vec![entry.name.to_owned(), entry.value.clone().unwrap_or_else(|| "-".to_owned())];
            if explain {
                row.push(entry.origin.to_string());
                row.push(entry.note.unwrap_or_default().to_owned());
            }
            row
        })
        .collect();
    let head: &[&str] = if explain { &["option", "value", "origin", "note"] } else { &["option", "value"] };
    output::print(&output::table(head, &rows));
    for warning in config.warnings() {
        output::complain(warning);
    }
    ExitCode::SUCCESS
}
