//! `reproq guard`: what a worker starts beside itself. Hidden, because nobody else has a use for it.

use std::process::ExitCode;

use crate::exit::Failure;

/// Guards the worker at the other end of standard input.
pub fn run() -> Result<ExitCode, Failure> {
    reproq_worker::serve_guard().map_err(|error| Failure::system("the guard cannot work", &error))?;
    Ok(ExitCode::SUCCESS)
}
