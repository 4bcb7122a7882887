//! `reproq`: the worker of Reproq, and what an operator asks it.
//!
//! [`cli`] declares what can be said, [`commands`] has a file for each thing that can be asked for, [`wiring`] makes the
//! parts from the configuration, [`exit`] gives every failure its words and its code.

mod cli;
mod commands;
mod exit;
mod logging;
mod output;
mod wiring;

use std::process::ExitCode;

fn main() -> ExitCode {
    match commands::run(std::env::args()) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
