//! Schedules: looks at those that are due and fires them; sleeps until the next one is. Any number of schedulers may do so at the same
//! time, in workers or alone: the store sees to it that each tick fires once.

mod look;

use std::rc::Rc;
use std::time::{Duration, Instant};

use reproq_store::{Store, StoreError};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::sleep;

pub use self::look::{Look, look};
use crate::shutdown::{Shutdown, Signals, Urgency};
use crate::telemetry;
use crate::wake::{self, Bells};

/// How long after a failure the next try is.
const RETRY: Duration = Duration::from_millis(500);
/// The shortest time between two looks, however often somebody says something: on SQLite every enqueue does.
const PAUSE: Duration = Duration::from_millis(20);
/// How often a scheduler says that it is there.
const MARK: Duration = Duration::from_secs(10);

/// What looks at the schedules.
pub(crate) struct Scheduler {
    pub(crate) store: Rc<dyn Store>,
    /// The longest time between two looks.
    pub(crate) interval: Duration,
    /// Notified when schedules may have changed.
    pub(crate) changed: Rc<Notify>,
    /// Notified when runs have been enqueued.
    pub(crate) enqueued: Rc<Notify>,
}

impl Scheduler {
    /// Fires what is due until it is asked to stop; a look that is under way stops behind the tick that it is at.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut marked = None;
        while shutdown.urgency() == Urgency::None {
            let wait = match self.round(&shutdown, &mut marked).await {
                Ok(next) => next.map_or(self.interval, |next| next.min(self.interval)).max(PAUSE / 20),
                Err(error) => {
                    telemetry::store_failed("schedules", &error);
                    RETRY
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.changed.notified() => sleep(PAUSE).await,
                () = shutdown.reaches(Urgency::Drain) => {}
            }
        }
    }

    /// One look; how long until the next time of any schedule.
    async fn round(
        &self,
        shutdown: &Shutdown,
        marked: &mut Option<Instant>,
    ) -> Result<Option<Duration>, StoreError> {
        let seen = look(&*self.store, || shutdown.urgency() > Urgency::None).await?;
        if seen.fired > 0 {
            self.enqueued.notify_one();
        }
        if marked.is_none_or(|at| at.elapsed() >= MARK) {
            self.store.mark_scheduler().await?;
            *marked = Some(Instant::now());
        }
        if seen.failed > 0 {
            return Ok(Some(RETRY));
        }
        self.store.next_tick().await
    }
}

/// Looks once whenever somebody asks all workers to, for ever.
pub(crate) async fn look_when_asked(store: Rc<dyn Store>, asked: Rc<Notify>, enqueued: Rc<Notify>) {
    loop {
        asked.notified().await;
        match look_once(&*store).await {
            Ok(seen) if seen.fired > 0 => enqueued.notify_one(),
            Ok(_) => {}
            Err(error) => telemetry::store_failed("schedules", &error),
        }
    }
}

/// One look, and the word that there was one. Must find the schema that it was made for.
pub async fn look_once(store: &dyn Store) -> Result<Look, StoreError> {
    let seen = look(store, || false).await?;
    store.mark_scheduler().await?;
    Ok(seen)
}

/// Runs schedules until it is asked to stop; looks at least every `interval`. Must be polled within a `tokio::task::LocalSet`.
pub async fn beat(store: Rc<dyn Store>, interval: Duration, signals: Signals) -> Result<(), StoreError> {
    store.check_schema().await?;
    let shutdown = Shutdown::new();
    let bells = Bells::default();
    let changed = Rc::clone(&bells.schedules);
    let enqueued = Rc::clone(&bells.work);
    let duties = [
        spawn_local(signals.escalate(shutdown.clone())),
        spawn_local(wake::listen(Rc::clone(&store), bells)),
    ];
    tracing::info!(interval_seconds = interval.as_secs_f64(), "scheduler started");
    let scheduler = Scheduler { store, interval, changed, enqueued };
    tokio::select! {
        () = scheduler.run(shutdown.clone()) => {}
        // The database may be slow to answer.
        () = shutdown.reaches(Urgency::Hurry) => {}
    }
    duties.iter().for_each(tokio::task::JoinHandle::abort);
    tracing::info!("scheduler stopped");
    Ok(())
}
