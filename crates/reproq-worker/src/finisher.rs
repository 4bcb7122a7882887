//! Writes endings, as many as have come together, in one statement. Nothing that has ended is forgotten while the worker
//! lives: an ending that the database cannot take now is kept and sent again, which is safe because it writes only once.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use reproq_model::wire::FailureKind;
use reproq_model::{AttemptEnd, AttemptFacts, RunStatus, classify};
use reproq_store::{Ending, Fence, Store, StoreError};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::held::Held;
use crate::telemetry;

/// The most endings in one statement.
const BATCH: usize = 500;
/// Waits between tries while the database is away.
const RETRY: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
];

/// Where attempts leave their endings.
#[derive(Clone)]
pub(crate) struct Endings {
    sender: mpsc::UnboundedSender<Ending>,
    /// Left and not yet written. Bounded by the claims, which stop when it grows: see [`Endings::backlog`].
    pending: Rc<Cell<usize>>,
}

impl Endings {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Ending>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender, pending: Rc::new(Cell::new(0)) }, receiver)
    }

    pub(crate) fn leave(&self, ending: Ending) {
        self.pending.set(self.pending.get() + 1);
        if let Err(lost) = self.sender.send(ending) {
            // Only after the finisher has stopped, which is after the last attempt.
            tracing::error!(result_id = %lost.0.id, "an ending came after the finisher had stopped; its lease will lapse");
        }
    }

    /// The count of endings that wait, for whoever writes them.
    pub(crate) fn counter(&self) -> Rc<Cell<usize>> {
        Rc::clone(&self.pending)
    }

    /// Endings that wait for the database.
    pub(crate) fn backlog(&self) -> usize {
        self.pending.get()
    }
}

/// Writes until the last [`Endings`] is gone and everything is written.
pub(crate) async fn finish_all(
    store: Rc<dyn Store>,
    fence: Fence,
    mut endings: mpsc::UnboundedReceiver<Ending>,
    pending: Rc<Cell<usize>>,
    held: Rc<Held>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while endings.recv_many(&mut batch, BATCH).await > 0 {
        write(store.as_ref(), fence, &mut batch).await;
        for ending in &batch {
            held.let_go(ending.id, ending.epoch);
        }
        pending.set(pending.get().saturating_sub(batch.len()));
        batch.clear();
    }
}

/// Returns when the whole batch is written or fenced.
async fn write(store: &dyn Store, fence: Fence, batch: &mut [Ending]) {
    let mut tries = 0;
    loop {
        match store.finish(fence, batch).await {
            Ok(written) => return telemetry::finished(batch.len(), written),
            Err(error @ StoreError::Refused { .. }) if tries >= 2 => {
                // The statement arrives and is refused again and again: one row of it must be the cause.
                telemetry::refused(&error);
                return write_one_by_one(store, fence, batch).await;
            }
            Err(error) => telemetry::store_failed("finish", &error),
        }
        sleep(RETRY[tries.min(RETRY.len() - 1)]).await;
        tries += 1;
    }
}

/// Finds the rows that the database refuses and ends their runs with what it said, so that none can hold up the others.
async fn write_one_by_one(store: &dyn Store, fence: Fence, batch: &mut [Ending]) {
    for ending in batch {
        let mut tries = 0;
        loop {
            match store.finish(fence, std::slice::from_ref(ending)).await {
                Ok(written) => break telemetry::finished(1, written),
                Err(StoreError::Refused { source, .. })
                    if tries == 2 && ending.transition.status != RunStatus::Ready =>
                {
                    ending.transition = refused(&source.to_string());
                }
                Err(error) => telemetry::store_failed("finish", &error),
            }
            sleep(RETRY[tries.min(RETRY.len() - 1)]).await;
            tries += 1;
        }
    }
}

/// The end of a run whose own result the database does not take.
fn refused(reason: &str) -> reproq_model::Transition {
    let envelope = reproq_model::wire::Envelope {
        ok: false,
        return_json: None,
        exception_class: None,
        message: Some(format!("the task ended, but the database refused its result: {reason}")),
        traceback: None,
        kind: Some(FailureKind::InvalidResult),
        retry_in: None,
        metadata: None,
    };
    let facts = AttemptFacts { attempts: 1, max_attempts: 1, crash_count: 0, spec: "{}", worker_id: "" };
    classify(AttemptEnd::Answered(Box::new(envelope)), facts, &mut rand::rng())
}
