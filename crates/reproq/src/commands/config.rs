//! `reproq config`.

use std::process::ExitCode;

use clap::ArgMatches;
use reproq_config::{Explained, OptionSpec, Origin, Resolved, find_option};

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
        .filter(|entry| has_effect(entry) || entry.origin != Origin::Default)
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

/// Parts that are not built yet have options all the same; they are only worth a line when somebody has set one.
fn has_effect(entry: &Explained) -> bool {
    find_option(entry.name).is_none_or(OptionSpec::is_effective)
}
