//! Turns the store's wake-ups into something that those who are meant can wait for, and survives their loss.

use std::rc::Rc;
use std::time::Duration;

use reproq_store::{Store, Wake};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::telemetry;

/// Without wake-ups everybody polls; this is how often the wake-ups are tried for again.
const RETRY: Duration = Duration::from_millis(500);

/// What is notified when the database says something.
#[derive(Default, Clone)]
pub(crate) struct Bells {
    /// For the dispatcher: there may be runs to claim.
    pub(crate) work: Rc<Notify>,
    /// For whoever looks for cancellations.
    pub(crate) cancel: Rc<Notify>,
    /// For whoever looks after workflows: a cancellation may have ended a member of one.
    pub(crate) workflows: Rc<Notify>,
    /// For the scheduler: schedules may have changed.
    pub(crate) schedules: Rc<Notify>,
    /// For those who are no scheduler: they are to look at the schedules all the same, once.
    pub(crate) tick: Rc<Notify>,
}

/// Listens for ever.
pub(crate) async fn listen(store: Rc<dyn Store>, bells: Bells) {
    loop {
        let wake = match store.woken().await {
            Ok(wake) => wake,
            Err(error) => {
                telemetry::store_failed("listen", &error);
                sleep(RETRY).await;
                Wake::Either
            }
        };
        bells.ring_for_work(wake);
        // A run that has come is claimed before anything else is looked at: in a SQLite file all share one connection.
        yield_now().await;
        bells.ring_for_the_rest(wake);
    }
}

impl Bells {
    fn ring_for_work(&self, wake: Wake) {
        if matches!(wake, Wake::Work | Wake::Either) {
            self.work.notify_one();
        }
    }

    fn ring_for_the_rest(&self, wake: Wake) {
        if matches!(wake, Wake::Cancel | Wake::Either) {
            self.cancel.notify_one();
            self.workflows.notify_one();
        }
        if matches!(wake, Wake::Schedule | Wake::Tick | Wake::Either) {
            self.schedules.notify_one();
        }
        if wake == Wake::Tick {
            self.tick.notify_one();
        }
    }
}
