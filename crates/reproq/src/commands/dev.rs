//! `reproq dev`: the parts of a site under development, in one console.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::ArgMatches;
use reproq_config::Resolved;
use rustix::process::Signal;
use tokio::task::LocalSet;

use crate::dev::{self, Part};
use crate::exit::Failure;
use crate::{asked, cli, output, wiring};

/// How long a web server may take to stop.
const WEB_GRACE: std::time::Duration = std::time::Duration::from_secs(5);

/// Runs them until one ends or all are told to.
pub fn run(flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let words = worker_words(flags);
    // Read here as well, so that a mistake in it is told before anything runs.
    let matches = cli::command().get_matches_from([&["reproq".to_owned()], &words[..]].concat());
    let config = super::load(matches.subcommand().map_or(flags, |(_, worker)| worker))?;
    config.database()?;
    let parts = parts(flags, words, &config)?;
    let runtime = wiring::runtime()?;
    let _entered = runtime.enter();
    LocalSet::new().block_on(&runtime, dev::supervise(parts))
}

/// All that a site under development needs, in the order of their start.
fn parts(flags: &ArgMatches, worker_words: Vec<String>, config: &Resolved) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    if !flags.get_flag("no-web") {
        parts.push(web(flags, config));
    }
    parts.push(worker(worker_words)?);
    Ok(parts)
}

fn web(flags: &ArgMatches, config: &Resolved) -> Part {
    let mut words: Vec<String> = flags.get_many("manage").unwrap_or_default().cloned().collect();
    words.push("runserver".to_owned());
    words.extend(asked::text(flags, "addrport").map(str::to_owned));
    if output::shows_to_a_person() {
        words.push("--force-color".to_owned());
    }
    Part {
        name: "web",
        colour: 36,
        program: config.worker().python_bin.clone().into(),
        words,
        // What it prints is wanted now.
        set: vec![("PYTHONUNBUFFERED", "1")],
        // The site knows its own database.
        unset: vec!["REPROQ_DATABASE_URL"],
        stop: Signal::INT,
        // Its reloader and its server are two processes; the reloader ends the server, and says so to no one when it is killed.
        is_group: true,
        orphaned: Signal::TERM,
        grace: Some(WEB_GRACE),
    }
}

fn worker(words: Vec<String>) -> Result<Part, Failure> {
    let program =
        std::env::current_exe().map_err(|error| Failure::system("this program cannot be found", &error))?;
    Ok(Part {
        name: "worker",
        colour: 33,
        program: OsString::from(program),
        words,
        set: Vec::new(),
        unset: Vec::new(),
        stop: Signal::TERM,
        // Its guard ends what it runs, and so outlives it.
        is_group: false,
        orphaned: Signal::KILL,
        // It has its own.
        grace: None,
    })
}

/// `worker` and its flags: those that were given, and what development wants where they do not say otherwise.
fn worker_words(flags: &ArgMatches) -> Vec<String> {
    let given: Vec<String> = flags.get_many("flags").unwrap_or_default().cloned().collect();
    let says = |flag: &str| given.iter().any(|word| word == flag || word.starts_with(&format!("{flag}=")));
    let mut words = vec!["worker".to_owned()];
    for (flag, whole) in
        [("--reload", "--reload"), ("--beat", "--beat"), ("--log-format", "--log-format=text")]
    {
        if !says(flag) {
            words.push(whole.to_owned());
        }
    }
    words.extend(given);
    words
}
