//! One file per command.

mod check;
mod config;
mod stats;
mod status;
mod worker;

use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;
use reproq_config::{Layers, Resolved, process_env};

use crate::exit::Failure;
use crate::{cli, output};

/// Does what the arguments say.
pub fn run(arguments: impl IntoIterator<Item = String>) -> Result<ExitCode, Failure> {
    let arguments = cli::with_two_dashes(arguments);
    if arguments.iter().skip(1).any(|argument| argument == "--version" || argument == "-V") {
        return Ok(version());
    }
    let matches = cli::command().get_matches_from(arguments);
    match matches.subcommand() {
        Some(("worker", flags)) => worker::run(&load(flags)?),
        Some(("config", flags)) => Ok(config::run(&load(flags)?, flags)),
        Some(("status", flags)) => status::run(&load(flags)?, flags.get_flag("json")),
        Some(("stats", flags)) => stats::run(&load(flags)?, flags.get_flag("json")),
        Some(("check", flags)) => check::run(&load(flags)?, flags.get_flag("json")),
        _ => Ok(version()),
    }
}

fn load(matches: &ArgMatches) -> Result<Resolved, Failure> {
    let here = std::env::current_dir().unwrap_or_else(|_| Path::new(".").to_owned());
    Ok(Layers::load(&cli::given_flags(matches), process_env, &here)?)
}

/// The words are the earlier system's; scripts compare them.
fn version() -> ExitCode {
    output::print(concat!("reproq-worker version ", env!("CARGO_PKG_VERSION")));
    ExitCode::SUCCESS
}
