//! A worker's life, in order: look at the schema, import the site, make itself known, work, drain, leave.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use reproq_model::Incarnation;
use reproq_store::{Fence, Registration, Store, StoreError};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio::time::timeout;

use crate::attempt::Slot;
use crate::attempts::Attempts;
use crate::dispatcher::Dispatcher;
use crate::executor::{ExecutorError, Executors};
use crate::finisher::{Endings, Finisher};
use crate::held::Held;
use crate::lanes::{Lanes, Place};
use crate::lifecycle::{self, Presence};
use crate::pace::Pace;
use crate::scheduler::{self, Scheduler};
use crate::settings::Settings;
use crate::shutdown::{Shutdown, Signals, Urgency};
use crate::wake::{self, Bells};

/// How long the last endings may take to reach the database; after that their leases lapse.
const FLUSH: Duration = Duration::from_secs(10);
/// Children that are forked before there is work for them, so that the first run finds one.
const FORKED_AHEAD: u32 = 2;

/// Why a worker could not start.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Python, or the site.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
}

/// How a worker left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With nothing left in its hands.
    Drained,
    /// With endings that the database did not take; the leases of their runs will lapse.
    Unwritten,
    /// In a hurry, at the third request.
    Abandoned,
}

/// Runs a worker until it is asked to stop. Must be polled within a `tokio::task::LocalSet` of a one-threaded runtime.
pub async fn run(store: Rc<dyn Store>, settings: Settings, signals: Signals) -> Result<Ended, WorkerError> {
    let shutdown = Shutdown::new();
    let signals = spawn_local(signals.escalate(shutdown.clone()));
    let ended = tokio::select! {
        ended = live(store, settings, shutdown.clone()) => ended,
        () = shutdown.reaches(Urgency::Now) => Ok(Ended::Abandoned),
    };
    signals.abort();
    ended
}

async fn live(store: Rc<dyn Store>, settings: Settings, shutdown: Shutdown) -> Result<Ended, WorkerError> {
    store.check_schema().await?;
    let registration = Rc::new(registration(&settings));
    // Before anything is started, because all that is has to inherit it.
    let presence = match Presence::show(&settings.database, registration.incarnation) {
        Ok(presence) => Some(Rc::new(presence)),
        Err(error) => {
            tracing::warn!(%error, "should this worker be killed, its runs have to wait for the end of its leases");
            None
        }
    };
    let ended = live_openly(store, settings, shutdown, registration, presence.clone()).await;
    // Whoever leaves runs behind leaves the word that they may be taken over.
    if !matches!(ended, Ok(Ended::Unwritten | Ended::Abandoned))
        && let Some(presence) = presence
    {
        presence.leave();
    }
    ended
}

async fn live_openly(
    store: Rc<dyn Store>,
    settings: Settings,
    shutdown: Shutdown,
    registration: Rc<Registration>,
    presence: Option<Rc<Presence>>,
) -> Result<Ended, WorkerError> {
    let executors = tokio::select! {
        executors = Executors::start(settings.executor.clone()) => executors?,
        () = shutdown.reaches(Urgency::Drain) => return Ok(Ended::Drained),
    };
    store.register(&registration).await?;
    if let Some(seconds) = settings.priority_aging_seconds {
        store.set_priority_aging(seconds).await?;
    }
    let presence = presence.filter(|_| settings.reclaim_interval.is_some());
    if let Some(presence) = &presence {
        lifecycle::take_over_now(store.as_ref(), presence).await;
    }
    tracing::info!(
        worker_id = settings.worker_id,
        role = settings.process_role,
        queues = settings.queues.patterns().join(","),
        queue_order = %settings.queues.order(),
        concurrency = settings.concurrency,
        modules = settings.executor.allowed_modules,
        "worker started"
    );
    let taking_over = presence.map(|presence| spawn_local(lifecycle::take_over(Rc::clone(&store), presence)));
    let ended =
        work(Rc::clone(&store), Rc::new(settings), &executors, Rc::clone(&registration), shutdown).await;
    taking_over.inspect(JoinHandle::abort);
    executors.stop().await;
    if let Err(error) = store.deregister(&registration).await {
        tracing::warn!(%error, "the worker could not sign off; its entry will look silent");
    }
    tracing::info!(nothing_left = ended == Ended::Drained, "worker stopped");
    Ok(ended)
}

fn registration(settings: &Settings) -> Registration {
    Registration {
        worker_id: settings.worker_id.clone(),
        incarnation: Incarnation::random(),
        hostname: settings.hostname.clone(),
        pid: std::process::id(),
        concurrency: settings.concurrency,
        queues: settings.queues.patterns().to_vec(),
        version: env!("CARGO_PKG_VERSION"),
    }
}

async fn work(
    store: Rc<dyn Store>,
    settings: Rc<Settings>,
    executors: &Rc<Executors>,
    registration: Rc<Registration>,
    shutdown: Shutdown,
) -> Ended {
    let (endings, left) = Endings::new();
    let attempts = Rc::new(Attempts {
        lanes: Lanes::new(settings.concurrency, settings.executor.async_concurrency),
        executors: Rc::clone(executors),
        suspects: RefCell::default(),
        trial: Arc::default(),
        held: Rc::new(Held::default()),
        endings: endings.clone(),
        pace: Rc::new(Pace::new()),
        shutdown: shutdown.clone(),
        settings: Rc::clone(&settings),
    });
    let fence = Fence::Owner(registration.incarnation);
    let bells = Bells::default();
    let wake = Rc::clone(&bells.work);
    let workflows = Rc::clone(&bells.workflows);
    let keyed_waiting = Rc::new(Cell::new(true));
    let finisher = Finisher {
        store: Rc::clone(&store),
        fence,
        spool: endings.spool(),
        held: Rc::clone(&attempts.held),
        on_written: wake_if(&wake, &keyed_waiting),
        is_pressed: is_pressed(&attempts, &keyed_waiting),
        of_workflows: Rc::clone(&workflows),
    };
    let mut finisher = spawn_local(finisher.run(left));
    drop(endings);
    let mut duties = vec![
        spawn_local(wake::listen(Rc::clone(&store), bells.clone())),
        schedule(&store, settings.beat, &bells, &shutdown),
        spawn_local(lifecycle::advance(
            Rc::clone(&store),
            Rc::clone(&registration),
            Rc::clone(&workflows),
            Rc::clone(&wake),
        )),
        spawn_local(lifecycle::sweep(Rc::clone(&store), workflows)),
        spawn_local(lifecycle::beat(Rc::clone(&store), Rc::clone(&registration), Rc::clone(&attempts))),
        spawn_local(lifecycle::watch(Rc::clone(&attempts))),
        spawn_local(lifecycle::tell_guard(Rc::clone(&attempts), Rc::clone(executors))),
        spawn_local(lifecycle::cancel(
            Rc::clone(&store),
            Rc::clone(&registration),
            Rc::clone(&attempts),
            bells.cancel,
        )),
        spawn_local(lifecycle::show(Rc::clone(&store), Rc::clone(&registration), executors.live())),
    ];
    if let Some(interval) = settings.reclaim_interval {
        duties.push(spawn_local(lifecycle::reclaim(Rc::clone(&store), Rc::clone(&registration), interval)));
    }
    let mut slots = open_slots(&attempts, executors);
    Dispatcher { store, registration, attempts: Rc::clone(&attempts), wake, keyed_waiting }.run().await;
    drain(&attempts, &mut slots).await;
    // The heartbeat goes on while endings are on their way; it holds the last ends of their channel.
    let flushed = wait_for_endings(&attempts, &mut finisher).await;
    duties.iter().for_each(JoinHandle::abort);
    finisher.abort();
    if flushed { Ended::Drained } else { Ended::Unwritten }
}

/// Runs the schedules, or only looks at them when somebody asks all workers to.
fn schedule(
    store: &Rc<dyn Store>,
    interval: Option<Duration>,
    bells: &Bells,
    shutdown: &Shutdown,
) -> JoinHandle<()> {
    let (store, enqueued) = (Rc::clone(store), Rc::clone(&bells.work));
    match interval {
        Some(interval) => {
            let changed = Rc::clone(&bells.schedules);
            spawn_local(Scheduler { store, interval, changed, enqueued }.run(shutdown.clone()))
        }
        None => spawn_local(scheduler::look_when_asked(store, Rc::clone(&bells.tick), enqueued)),
    }
}

/// The end of any run may be what one with a key has waited for.
fn wake_if(wake: &Rc<Notify>, keyed_waiting: &Rc<Cell<bool>>) -> impl Fn() + use<> {
    let (wake, keyed_waiting) = (Rc::clone(wake), Rc::clone(keyed_waiting));
    move || {
        if keyed_waiting.get() {
            wake.notify_one();
        }
    }
}

/// Whether slots have more runs before them, so that the next endings are near, and no run with a key waits for one of them.
fn is_pressed(attempts: &Rc<Attempts>, keyed_waiting: &Rc<Cell<bool>>) -> impl Fn() -> bool + use<> {
    let (attempts, keyed_waiting) = (Rc::clone(attempts), Rc::clone(keyed_waiting));
    move || attempts.lanes.slots.has_waiting() && !keyed_waiting.get()
}

fn open_slots(attempts: &Rc<Attempts>, executors: &Rc<Executors>) -> JoinSet<()> {
    let mut slots = JoinSet::new();
    for _ in 0..attempts.lanes.loops.count() {
        let seat = executors.seat(&attempts.settings.worker_id, Place::Loop);
        slots.spawn_local(Slot { attempts: Rc::clone(attempts), seat, place: Place::Loop }.live());
    }
    for number in 0..attempts.settings.concurrency {
        let mut seat = executors.seat(&attempts.settings.worker_id, Place::Slot);
        let attempts = Rc::clone(attempts);
        slots.spawn_local(async move {
            // The last slots to become idle are the first to get work, and they are the ones that are warm.
            if number + FORKED_AHEAD >= attempts.settings.concurrency {
                tokio::select! {
                    warm = seat.warm() => if let Err(error) = warm {
                        tracing::warn!(%error, "no child could be forked ahead");
                    },
                    () = attempts.shutdown.reaches(Urgency::Hurry) => {}
                }
            }
            Slot { attempts, seat, place: Place::Slot }.live().await;
        });
    }
    slots
}

/// Gives back what has not begun, lets what has begun end, and interrupts it when its time is up.
async fn drain(attempts: &Rc<Attempts>, slots: &mut JoinSet<()>) {
    for run in attempts.lanes.close() {
        attempts.give_up(&run);
    }
    let grace = attempts.settings.shutdown_timeout;
    let busy = attempts.lanes.busy();
    if busy > 0 {
        tracing::info!(
            busy,
            grace_seconds = grace.as_secs_f64(),
            "stopping: waiting for running attempts; the next signal interrupts them"
        );
    }
    let all_ended = async { while slots.join_next().await.is_some() {} };
    if timeout(grace, all_ended).await.is_err() {
        tracing::warn!(
            busy = attempts.lanes.busy(),
            "stopping: interrupting attempts; their runs go back to the queue"
        );
        attempts.shutdown.request(Urgency::Hurry);
        while slots.join_next().await.is_some() {}
    }
}

/// Whether everything that has ended is in the database.
async fn wait_for_endings(attempts: &Rc<Attempts>, finisher: &mut JoinHandle<()>) -> bool {
    let written = async {
        while !attempts.endings.is_empty() && !finisher.is_finished() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(FLUSH, written).await.is_ok() && attempts.endings.is_empty()
}
