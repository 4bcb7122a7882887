//! `reproq worker`.

use std::process::ExitCode;

use reproq_config::Resolved;
use reproq_worker::{Ended, Signals};
use tokio::task::LocalSet;

use crate::exit::{ABANDONED, Failure, UNWRITTEN};
use crate::{logging, wiring};

/// Works until told to stop.
pub fn run(config: &Resolved) -> Result<ExitCode, Failure> {
    logging::start(config.log());
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let settings = wiring::settings(config)?;
    let runtime = wiring::runtime()?;
    // What is left of the tasks is dropped with the set, and some of it wants a runtime even then.
    let _entered = runtime.enter();
    let ended = LocalSet::new().block_on(&runtime, async {
        let signals =
            Signals::listen().map_err(|error| Failure::system("signals cannot be caught", &error))?;
        let store = wiring::store(config).await?;
        reproq_worker::run(store, settings, signals).await.map_err(Failure::from)
    })?;
    Ok(match ended {
        Ended::Drained => ExitCode::SUCCESS,
        Ended::Unwritten => ExitCode::from(UNWRITTEN),
        Ended::Abandoned => ExitCode::from(ABANDONED),
    })
}
