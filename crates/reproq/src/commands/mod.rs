//! One file per command.

pub mod attempts;
mod beat;
mod cancel;
mod check;
mod config;
mod cron;
mod dev;
#[cfg(target_os = "linux")]
mod guard;
mod limit;
mod logs;
mod pause;
mod periodic;
mod prune;
mod queues;
mod reclaim;
mod replay;
mod reschedule;
mod stats;
pub mod status;
mod triage;
mod why;
mod worker;
mod workflow;

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
        Some(("beat" | "schedule", flags)) => beat::run(load(flags)?, flags),
        Some(("dev", flags)) => dev::run(flags),
        Some(("config", flags)) => Ok(config::run(&load(flags)?, flags)),
        Some(("status", flags)) => status::run(&load(flags)?, flags.get_flag("json")),
        Some(("stats", flags)) => stats::run(&load(flags)?, flags.get_flag("json")),
        Some(("check", flags)) => check::run(&load(flags)?, flags.get_flag("json")),
        Some(("cron", flags)) => match flags.subcommand() {
            Some(("next", flags)) => cron::next(flags),
            Some((_, flags)) => cron::check(flags),
            None => Ok(usage("cron")),
        },
        #[cfg(target_os = "linux")]
        Some(("guard", _)) => guard::run(),
        Some(("version", _)) | None => Ok(version()),
        Some((name, flags)) => operator(name, flags),
    }
}

/// The operator's commands; see `cli/operator.rs`.
fn operator(name: &str, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    if let Some((inner, flags)) = flags.subcommand() {
        let config = load(flags)?;
        return match (name, inner) {
            ("limit", "set") => limit::set(&config, flags),
            ("limit", "ls") => limit::ls(&config, flags),
            ("limit", _) => limit::rm(&config, flags),
            ("triage", "list") => triage::list(&config, flags),
            ("triage", "inspect") => triage::inspect(&config, flags),
            ("triage", _) => triage::retry(&config, flags),
            ("prune", "logs") => prune::logs(&config, flags),
            ("workflow", "show") => workflow::show(&config, flags),
            ("workflow", "cancel") => workflow::cancel(&config, flags),
            ("workflow", _) => workflow::retry(&config, flags),
            ("periodic", "list") => periodic::list(&config, flags),
            ("periodic", "show") => periodic::show(&config, flags),
            ("periodic", "run") => periodic::run_now(&config, flags),
            ("periodic", _) => periodic::enable(&config, flags, inner == "enable"),
            _ => prune::expired(&config, flags),
        };
    }
    if matches!(name, "limit" | "triage" | "workflow" | "periodic") {
        return Ok(usage(name));
    }
    let config = load(flags)?;
    match name {
        "attempts" => attempts::run(&config, flags),
        "logs" => logs::run(&config, flags),
        "cancel" => cancel::run(&config, flags),
        "pause" | "pause-queue" => pause::pause(&config, flags),
        "resume" | "resume-queue" => pause::resume(&config, flags),
        "queues" => queues::run(&config, flags.get_flag("json")),
        "reschedule" => reschedule::run(&config, flags),
        "reclaim" => reclaim::run(&config, flags),
        "replay" => replay::run(&config, flags),
        "prune" => prune::run(&config, flags),
        "prune-successful" => prune::successful(&config, flags),
        "prune-workers" => prune::workers(&config, flags),
        _ => why::run(&config, flags),
    }
}

/// What a group of commands has, for who has named none of them.
fn usage(name: &str) -> ExitCode {
    let mut tree = cli::command();
    tree.build();
    if let Some(group) = tree.find_subcommand_mut(name) {
        output::print(&group.render_help().to_string());
    }
    ExitCode::SUCCESS
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
