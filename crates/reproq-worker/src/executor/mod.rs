//! The Python side of an attempt: where it runs, how it is spoken to, and how it is killed.
//!
//! An [`Executors`] exists once per worker, a [`Seat`] once per slot. A seat has at most one process at a time: a warm
//! child in mode `pool`, a process of its own for each attempt in mode `process`. Nothing in here knows the database, or
//! what follows from an attempt's end.

mod child;
mod frames;
#[cfg(target_os = "linux")]
mod guard;
#[cfg(not(target_os = "linux"))]
#[path = "direct.rs"]
mod guard;
mod launch;
mod logs;
mod output;
mod process;
mod unix;
mod zygote;

use std::rc::Rc;
use std::time::Instant;

use reproq_model::wire::Envelope;
use reproq_store::ClaimedRun;
use thiserror::Error;

use self::child::Child;
use self::guard::Guard;
#[cfg(target_os = "linux")]
pub use self::guard::serve as serve_guard;
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
    /// Not at all, because the run never reached it: another process may be tried.
    NotBegun {
        /// Why.
        why: String,
    },
    /// Not at all, because the run cannot be put into words for any process.
    Unfit {
        /// What is wrong with the run.
        message: String,
    },
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
    guard: Rc<Guard>,
    zygote: Option<Zygote>,
}

impl Executors {
    /// Starts the guard; in mode `pool`, the zygote as well, and waits until the site is imported.
    pub(crate) async fn start(settings: ExecutorSettings) -> Result<Rc<Self>, ExecutorError> {
        let settings = Rc::new(settings);
        unix::allow_many_files();
        let guard =
            Guard::start().await.map_err(|source| ExecutorError::System { what: "a guard", source })?;
        let zygote = match settings.mode {
            Mode::Pool => Some(Zygote::start(Rc::clone(&settings), Rc::clone(&guard)).await?),
            Mode::Process => None,
        };
        Ok(Rc::new(Self { settings, guard, zygote }))
    }

    /// Ends everything that is left; returns when it is gone.
    pub(crate) async fn stop(&self) {
        if let Some(zygote) = &self.zygote {
            zygote.stop().await;
        }
        self.guard.stop().await;
    }

    /// Until when what runs may go on should the worker fall silent; none: nothing runs.
    pub(crate) fn trust(&self, until: Option<Instant>) {
        self.guard.trust(until);
    }

    /// A place for one slot.
    pub(crate) fn seat(self: &Rc<Self>, worker_id: &str) -> Seat {
        Seat {
            executors: Rc::clone(self),
            worker_id: worker_id.to_owned(),
            occupant: Occupant::None,
            overdue: self.guard.overdue(),
        }
    }
}

enum Occupant {
    None,
    Child(Box<Child>),
    OneShot(Box<OneShot>),
}

/// One slot's executor.
pub(crate) struct Seat {
    executors: Rc<Executors>,
    worker_id: String,
    occupant: Occupant,
    /// How often the guard had killed everything when the attempt began.
    overdue: u64,
}

impl Seat {
    /// Has a warm child ready, where there are any. The caller may stop waiting at any time.
    pub(crate) async fn warm(&mut self) -> Result<(), ExecutorError> {
        if let Occupant::Child(child) = &mut self.occupant
            && !child.is_idle()
        {
            tracing::debug!(pid = child.pid, "an idle child is gone; forking another");
            self.kill().await;
        }
        if let (Occupant::None, Some(zygote)) = (&self.occupant, &self.executors.zygote) {
            self.occupant = Occupant::Child(Box::new(zygote.fork().await?));
        }
        Ok(())
    }

    /// Makes sure that what is started now ends at that time, even if this process is stopped before it can see to that.
    pub(crate) fn trust(&mut self, until: Instant) {
        self.executors.guard.trust_no_longer(until);
        self.overdue = self.executors.guard.overdue();
    }

    /// Whether the guard has killed the attempt's process since, because the worker had fallen silent. Certain after a kill.
    pub(crate) fn was_overdue(&self) -> bool {
        self.overdue != self.executors.guard.overdue()
    }

    /// Puts runs in front of the warm child, which works on them in order. They are sent while answers are waited for.
    pub(crate) fn send<'a>(&mut self, runs: impl Iterator<Item = &'a ClaimedRun>) {
        if let Occupant::Child(child) = &mut self.occupant {
            for run in runs {
                child.send(run, &self.worker_id);
            }
        }
    }

    /// Waits for the answer to the first run that has none yet. In mode `process`, starts its process first. The caller may
    /// stop waiting, and wait again.
    pub(crate) async fn answer(&mut self, run: &ClaimedRun) -> Answer {
        if let (Mode::Process, Occupant::None) = (self.executors.settings.mode, &self.occupant) {
            self.occupant = Occupant::OneShot(Box::new(OneShot::new(
                run,
                Rc::clone(&self.executors.settings),
                Rc::clone(&self.executors.guard),
            )));
        }
        match &mut self.occupant {
            Occupant::Child(child) => child.answer(run).await,
            Occupant::OneShot(process) => process.answer().await,
            Occupant::None => Answer::NotBegun { why: "there is no process".to_owned() },
        }
    }

    /// Whether the run that is waited for has reached its process: its task may have begun.
    pub(crate) fn has_begun(&self) -> bool {
        match &self.occupant {
            Occupant::Child(child) => child.has_begun(),
            Occupant::OneShot(process) => process.has_begun(),
            Occupant::None => false,
        }
    }

    /// Asks the task of the run that is waited for to stop: it is interrupted as Ctrl-C would. Whether it could be asked. It
    /// cannot when others wait behind it in the same process, because a signal does not say whom it means.
    pub(crate) fn interrupt(&mut self) -> bool {
        match &mut self.occupant {
            Occupant::Child(child) => child.interrupt(),
            Occupant::OneShot(process) => process.interrupt(),
            Occupant::None => false,
        }
    }

    /// Writes down what the attempt has printed, where it is to be kept. Returns the place.
    pub(crate) fn keep_output(&mut self, run: &ClaimedRun) -> Option<String> {
        let folder = self.executors.settings.logs_dir.as_deref();
        match &self.occupant {
            Occupant::Child(child) => logs::keep(folder, run, &child.stdout, &child.stderr),
            Occupant::OneShot(process) => {
                logs::keep(folder, run, &output::Output::nothing(), process.stderr()?)
            }
            Occupant::None => None,
        }
    }

    /// Sees to it that a process that has answered, and has nothing more to do, ends.
    pub(crate) async fn settle(&mut self) {
        if let Occupant::OneShot(process) = &mut self.occupant {
            process.settle().await;
            self.occupant = Occupant::None;
            self.executors.guard.sweep().await;
        }
    }

    /// Kills the process and everything that it has started, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        match std::mem::replace(&mut self.occupant, Occupant::None) {
            Occupant::Child(child) => child.kill().await,
            Occupant::OneShot(process) => process.kill().await,
            Occupant::None => return,
        }
        // What had left its session is an orphan now.
        self.executors.guard.sweep().await;
    }
}
