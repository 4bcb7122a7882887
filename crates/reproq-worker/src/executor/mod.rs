//! The Python side of an attempt: where it runs, how it is spoken to, and how it is killed.
//!
//! An [`Executors`] exists once per worker, a [`Seat`] once per slot. A seat has at most one process at a time: a warm
//! child in mode `pool`, a process of its own for each attempt in mode `process`. Nothing in here knows the database, or
//! what follows from an attempt's end.

mod child;
mod frames;
mod logs;
mod output;
mod process;
mod unix;
mod zygote;

use std::collections::VecDeque;
use std::rc::Rc;

use reproq_model::wire::Envelope;
use reproq_store::ClaimedRun;
use thiserror::Error;

use self::child::Child;
use self::process::OneShot;
use self::zygote::Zygote;
use crate::settings::ExecutorSettings;

/// Where attempts run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Warm children, forked from a zygote that has imported the site.
    Pool,
    /// One process per attempt.
    Process,
}

/// Why no executor could be had.
#[derive(Debug, Error)]
pub enum ExecutorError {
    /// The interpreter could not be started.
    #[error(
        "{python} could not be started: {source} (set worker.python_bin or REPROQ_PYTHON_BIN to the Python of your site)"
    )]
    Spawn {
        /// The interpreter.
        python: String,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// The interpreter ran, but could not import the site.
    #[error("the site cannot be imported: {message}\n{traceback}")]
    Site {
        /// The exception in one line.
        message: String,
        /// Where it was raised.
        traceback: String,
    },
    /// The interpreter ended, or said something else, before it was ready.
    #[error(
        "{python} -m {module} ended before it was ready ({how}); is reproq-django installed for this Python? It said:\n{output}"
    )]
    Silent {
        /// The interpreter.
        python: String,
        /// The module.
        module: String,
        /// Exit code or signal.
        how: String,
        /// The end of what it wrote.
        output: String,
    },
    /// A child could not be forked.
    #[error("no child could be started: {0}")]
    Fork(String),
    /// A pipe or a socket could not be made.
    #[error("the operating system refused {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Its words.
        source: std::io::Error,
    },
}

/// How a process answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// With the run's envelope.
    Envelope(Box<Envelope>),
    /// Not at all: it ended, or what it sent is no answer.
    Died {
        /// Exit code or signal, or what was wrong with the answer.
        how: String,
        /// The end of what it wrote to stderr.
        stderr_tail: String,
    },
}

/// The worker's source of executors.
pub(crate) struct Executors {
    settings: Rc<ExecutorSettings>,
    zygote: Option<Zygote>,
}

impl Executors {
    /// In mode `pool`, starts the zygote and waits until the site is imported.
    pub(crate) async fn start(settings: ExecutorSettings) -> Result<Rc<Self>, ExecutorError> {
        let settings = Rc::new(settings);
        let zygote = match settings.mode {
            Mode::Pool => Some(Zygote::start(Rc::clone(&settings)).await?),
            Mode::Process => None,
        };
        Ok(Rc::new(Self { settings, zygote }))
    }

    /// Ends everything that is left; returns when it is gone.
    pub(crate) async fn stop(&self) {
        if let Some(zygote) = &self.zygote {
            zygote.stop().await;
        }
    }

    /// A place for one slot.
    pub(crate) fn seat(self: &Rc<Self>, worker_id: &str) -> Seat {
        Seat { executors: Rc::clone(self), worker_id: worker_id.to_owned(), occupant: Occupant::None }
    }
}

enum Occupant {
    None,
    Child(Box<Child>),
    OneShot(VecDeque<OneShot>),
}

/// One slot's executor.
pub(crate) struct Seat {
    executors: Rc<Executors>,
    worker_id: String,
    occupant: Occupant,
}

impl Seat {
    /// Has a warm child ready, where there are any.
    pub(crate) async fn warm(&mut self) -> Result<(), ExecutorError> {
        if let (Occupant::None, Some(zygote)) = (&self.occupant, &self.executors.zygote) {
            self.occupant = Occupant::Child(Box::new(zygote.fork().await?));
        }
        Ok(())
    }

    /// Sends runs off. A child works on them in order.
    pub(crate) async fn send(&mut self, runs: &[ClaimedRun]) -> Result<(), ExecutorError> {
        self.warm().await?;
        match &mut self.occupant {
            Occupant::Child(child) => child.send(runs, &self.worker_id).await,
            other => {
                let mut processes = VecDeque::with_capacity(runs.len());
                for run in runs {
                    processes.push_back(OneShot::new(run, Rc::clone(&self.executors.settings)));
                }
                *other = Occupant::OneShot(processes);
            }
        }
        Ok(())
    }

    /// Waits for the answer to the first run that has none yet.
    pub(crate) async fn answer(&mut self, run: &ClaimedRun) -> Answer {
        match &mut self.occupant {
            Occupant::Child(child) => child.answer(run).await,
            Occupant::OneShot(processes) => match processes.front_mut() {
                Some(process) => process.answer().await,
                None => Answer::Died { how: "it was never started".to_owned(), stderr_tail: String::new() },
            },
            Occupant::None => {
                Answer::Died { how: "it was never started".to_owned(), stderr_tail: String::new() }
            }
        }
    }

    /// Writes down what the attempt has printed, where it is to be kept. Returns the place.
    pub(crate) fn keep_output(&mut self, run: &ClaimedRun) -> Option<String> {
        let folder = self.executors.settings.logs_dir.as_deref();
        match &mut self.occupant {
            Occupant::Child(child) => logs::keep(folder, run, &child.stdout, &child.stderr),
            Occupant::OneShot(processes) => {
                let process = processes.pop_front()?;
                let stderr = process.stderr()?;
                logs::keep(folder, run, &output::Output::nothing(), stderr)
            }
            Occupant::None => None,
        }
    }

    /// Kills the process and everything that it has started in its group, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        match std::mem::replace(&mut self.occupant, Occupant::None) {
            Occupant::Child(child) => child.kill().await,
            Occupant::OneShot(processes) => {
                for process in processes {
                    process.kill().await;
                }
            }
            Occupant::None => {}
        }
    }
}
