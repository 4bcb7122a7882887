//! `reproq beat` and `reproq schedule`: the scheduler without a worker.

use std::process::ExitCode;

use clap::ArgMatches;
use reproq_config::Resolved;
use reproq_worker::Signals;
use tokio::task::LocalSet;

use crate::exit::Failure;
use crate::{logging, output, wiring};

/// Runs the schedules until told to stop, or once.
pub fn run(config: Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    // `schedule` has no such flag.
    let once = flags.try_get_one::<bool>("once").ok().flatten().is_none_or(|once| *once);
    let config = config.for_beat();
    logging::start(config.log());
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let runtime = wiring::runtime()?;
    let _entered = runtime.enter();
    LocalSet::new().block_on(&runtime, async {
        if once {
            return look_once(&config).await;
        }
        let signals =
            Signals::listen().map_err(|error| Failure::system("signals cannot be caught", &error))?;
        let store = wiring::store(&config).await?;
        reproq_worker::beat(store, config.beat().interval, signals).await?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn look_once(config: &Resolved) -> Result<ExitCode, Failure> {
    let store = wiring::store(config).await?;
    store.check_schema().await?;
    let seen = reproq_worker::look_once(&*store).await?;
    output::complain(&format!("{} enqueued", seen.fired));
    if seen.failed > 0 {
        let hint = Some("the next look tries again".to_owned());
        return Err(Failure::refused(format!("{} could not be fired; the log says why", seen.failed), hint));
    }
    Ok(ExitCode::SUCCESS)
}
