//! The Python side of an attempt: where it runs, how it is spoken to, and how it is killed.
//!
//! An [`Executors`] exists once per worker, a [`Seat`] once per slot. A seat has at most one process at a time: a warm
//! child in mode `pool`, a process of its own for each attempt in mode `process`. Nothing in here knows the database, or
//! what follows from an attempt's end.

mod child;
mod edition;
mod ends;
mod frames;
mod group;
#[cfg(target_os = "linux")]
mod guard;
#[cfg(not(target_os = "linux"))]
#[path = "direct.rs"]
mod guard;
mod launch;
mod logs;
pub(crate) mod memory;
mod notes;
mod output;
mod pipe;
mod process;
mod reload;
mod seat;
mod shape;
mod shared;
mod socket;
mod sources;
mod spare;
mod spawned;
mod unix;
mod wear;
mod zygote;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use reproq_model::Isolation;
use reproq_model::wire::{Envelope, Note};
use reproq_store::{AttemptLog, ClaimedRun, ProgressUpdate};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use self::child::Child;
use self::group::Group;
use self::guard::Guard;
#[cfg(target_os = "linux")]
pub use self::guard::serve as serve_guard;
pub(crate) use self::output::{Captured, Printed, View};
pub(crate) use self::seat::Seat;
use self::shape::Shape;
use self::zygote::Zygote;
use crate::lanes::Place;
use crate::live::{self, Live};
use crate::settings::ExecutorSettings;

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
        /// Folders of the site's own code, as far as it has been imported.
        source_roots: Vec<PathBuf>,
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
    /// With a word about the run, which goes on.
    Note(Box<Note>),
    /// Not at all: it died, or what had forked it did, and it is not known whether by the run's doing.
    Bystander {
        /// What is known.
        why: String,
    },
    /// Not at all: it was killed for the sake of another run that it worked on.
    Displaced,
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
    /// None: every attempt has a process of its own.
    zygote: Option<Zygote>,
    loops: Rc<Group>,
    threads: Option<Rc<Group>>,
    live: Rc<Live>,
    /// Told when the site has been imported anew.
    reloaded: Notify,
    /// While changed code is being imported: until when that is waited for.
    behind_until: Cell<Option<Instant>>,
    /// What sees to both.
    reloading: RefCell<Option<AbortHandle>>,
}

/// What is left of an attempt besides its answer.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// The file with what it has printed.
    pub(crate) logs_uri: Option<String>,
    /// What it has printed, for the database.
    pub(crate) log: Option<AttemptLog>,
    /// What it has said last about how far it is, and nobody has stored.
    pub(crate) progress: Option<ProgressUpdate>,
}

impl Executors {
    /// Starts the guard, and the zygote if any attempt may need it; waits until the site is imported.
    pub(crate) async fn start(settings: ExecutorSettings) -> Result<Rc<Self>, ExecutorError> {
        let settings = Rc::new(settings);
        unix::allow_many_files();
        let guard =
            Guard::start().await.map_err(|source| ExecutorError::System { what: "a guard", source })?;
        let (zygote, sources) = match (settings.isolation.forks(), settings.reload) {
            (true, true) => {
                let (zygote, sources) = reload::start(&settings, &guard).await?;
                (Some(zygote), Some(sources))
            }
            (true, false) => (Some(Zygote::start(Rc::clone(&settings), Rc::clone(&guard)).await?), None),
            // Each attempt imports the site as it is.
            (false, _) => (None, None),
        };
        let loops = Rc::new(Group::new(Shape::Async(settings.async_concurrency)));
        let threads = (settings.threads > 1).then(|| Rc::new(Group::new(Shape::Threads(settings.threads))));
        let executors = Rc::new(Self {
            settings,
            guard,
            zygote,
            loops,
            threads,
            live: Rc::default(),
            reloaded: Notify::new(),
            behind_until: Cell::default(),
            reloading: RefCell::default(),
        });
        if let Some(sources) = sources {
            let following = tokio::task::spawn_local(reload::follow(Rc::clone(&executors), sources));
            executors.reloading.replace(Some(following.abort_handle()));
        }
        Ok(executors)
    }

    /// Whether a run had better not be claimed now, because the code that it may need is being imported.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind_until.get().is_some_and(|until| Instant::now() < until)
    }

    /// Lets children go whose code of the site has changed since: idle ones at once, the others after what they work on.
    fn let_outdated_go(&self) {
        self.loops.let_go(self);
        if let Some(threads) = &self.threads {
            threads.let_go(self);
        }
        self.reloaded.notify_waiters();
    }

    /// Ends everything that is left; returns when it is gone.
    pub(crate) async fn stop(&self) {
        if let Some(reloading) = self.reloading.take() {
            reloading.abort();
        }
        if let Some(zygote) = &self.zygote {
            zygote.stop().await;
        }
        self.guard.stop().await;
    }

    /// Until when what runs may go on should the worker fall silent; none: nothing runs.
    pub(crate) fn trust(&self, until: Option<Instant>) {
        self.guard.trust(until);
    }

    /// Where the run is to be executed.
    pub(crate) fn isolation(&self, run: &ClaimedRun) -> Isolation {
        match &self.zygote {
            Some(zygote) => self.settings.isolation.of(&run.queue_name, zygote.isolation(&run.task_path)),
            None => Isolation::Process,
        }
    }

    /// Whether the task is a coroutine function.
    pub(crate) fn is_async(&self, task_path: &str) -> bool {
        self.zygote.as_ref().is_some_and(|zygote| zygote.is_async(task_path))
    }

    /// What running attempts print and say.
    pub(crate) fn live(&self) -> Rc<Live> {
        Rc::clone(&self.live)
    }

    /// Keeps what an attempt has printed where the settings say, and forgets it: another attempt begins.
    fn keep(&self, run: &ClaimedRun, output: &Captured) -> Left {
        if output.is_empty() {
            return Left::default();
        }
        let folder = self.settings.logs_dir.as_deref();
        let logs_uri = folder.and_then(|folder| logs::write(folder, run, output));
        let printed = if self.settings.logs_in_database { output.printed() } else { None };
        let log = printed.map(|printed| live::log(run.id, run.epoch, run.attempts, printed));
        output.clear();
        Left { logs_uri, log, progress: None }
    }

    /// A place for one slot.
    pub(crate) fn seat(self: &Rc<Self>, worker_id: &str, place: Place) -> Seat {
        let group = match place {
            Place::Slot => self.threads.clone(),
            Place::Loop => Some(Rc::clone(&self.loops)),
        };
        Seat::new(Rc::clone(self), worker_id, group)
    }

    async fn fork(&self, shape: Shape) -> Result<Child, ExecutorError> {
        match &self.zygote {
            Some(zygote) => zygote.fork(shape).await,
            None => Err(ExecutorError::Fork("this worker runs each task in a process of its own".to_owned())),
        }
    }
}
