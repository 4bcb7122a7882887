//! Being asked to stop: the first signal drains, the second hurries, the third does not wait.

use std::cell::Cell;
use std::rc::Rc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// How urgently the worker is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// Not at all.
    None,
    /// Claim nothing more; let running attempts end.
    Drain,
    /// Interrupt running attempts.
    Hurry,
    /// Leave everything as it is.
    Now,
}

/// The requests so far. Cheap to share.
#[derive(Clone)]
pub(crate) struct Shutdown {
    urgency: Rc<Cell<Urgency>>,
    changed: Rc<Notify>,
}

impl Shutdown {
    pub(crate) fn new() -> Self {
        Self { urgency: Rc::new(Cell::new(Urgency::None)), changed: Rc::new(Notify::new()) }
    }

    pub(crate) fn urgency(&self) -> Urgency {
        self.urgency.get()
    }

    /// Makes the request at least this urgent.
    pub(crate) fn request(&self, urgency: Urgency) {
        if urgency > self.urgency.get() {
            self.urgency.set(urgency);
            self.changed.notify_waiters();
        }
    }

    /// Returns once the request is at least this urgent.
    pub(crate) async fn reaches(&self, urgency: Urgency) {
        loop {
            let changed = self.changed.notified();
            if self.urgency.get() >= urgency {
                return;
            }
            changed.await;
        }
    }
}

/// The signals that ask a worker to stop.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    /// Takes the signals over. Must be called within a tokio runtime.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Turns each signal into one more step of urgency. Never returns.
    pub(crate) async fn escalate(mut self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.quit.recv() => {}
            }
            shutdown.request(match shutdown.urgency() {
                Urgency::None => Urgency::Drain,
                Urgency::Drain => Urgency::Hurry,
                Urgency::Hurry | Urgency::Now => Urgency::Now,
            });
        }
    }
}
