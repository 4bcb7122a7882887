//! `reproq`: the worker of Reproq, and what an operator asks it.
//!
//! [`cli`] declares what can be said, [`asked`] reads it, [`commands`] has a file for each thing that can be asked for, [`wiring`] makes the
//! parts from the configuration, [`why`] reasons about a run that does not start, [`dev`] runs the parts of a site under development, [`exit`] gives every failure its words and its code.

mod asked;
mod cli;
mod commands;
mod dev;
mod exit;
mod logging;
mod output;
mod why;
mod wiring;

use std::process::ExitCode;

fn main() -> ExitCode {
    match commands::run(std::env::args()) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
