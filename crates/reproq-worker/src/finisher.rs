//! Writes endings, as many as have come together, in one statement. Nothing that has ended is forgotten while the worker
//! lives: an ending that the database cannot take now is kept and sent again, which is safe because it writes only once.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use reproq_model::wire::FailureKind;
use reproq_model::{AttemptEnd, AttemptFacts, classify};
use reproq_store::{AttemptLog, Ending, Fence, Finished, ProgressUpdate, Store, StoreError};
use serde_json::value::RawValue;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::beside::Beside;
use crate::held::Held;
use crate::telemetry;

/// The most endings in one statement.
const BATCH: usize = 500;
/// The most bytes of results in one statement, unless a single one has more.
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// The most endings, and bytes of them, that may wait for the database before nothing more is claimed.
const SPOOL: usize = 5000;
const SPOOL_BYTES: usize = 64 * 1024 * 1024;
/// While there is work at hand for the slots, how long endings wait for company: each statement is a flush to the disk, which costs
/// as much for one ending as for many.
const GATHER: Duration = Duration::from_millis(5);
/// Fewer than this wait for it again, so often in all: tasks that have a process each end too seldom to meet otherwise.
const COMPANY: usize = 8;
const GATHERINGS: usize = 4;
/// How long to leave a row alone that somebody else holds.
const HELD_PAUSE: Duration = Duration::from_millis(250);
/// Waits between tries while the database is away.
const RETRY: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
];

/// What an attempt leaves.
pub(crate) enum Left {
    /// How it ended.
    Ending(Ending),
    /// What it has printed.
    Log(AttemptLog),
    /// What it has said last about how far it is.
    Progress(ProgressUpdate),
}

/// Where attempts leave their endings.
#[derive(Clone)]
pub(crate) struct Endings {
    sender: mpsc::UnboundedSender<Left>,
    spool: Rc<Spool>,
}

/// What has been left and is not written. Bounded by the claims, which stop when it is full.
#[derive(Default)]
pub(crate) struct Spool {
    count: Cell<usize>,
    bytes: Cell<usize>,
}

impl Endings {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Left>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender, spool: Rc::default() }, receiver)
    }

    pub(crate) fn leave(&self, ending: Ending) {
        self.spool.count.set(self.spool.count.get() + 1);
        self.spool.bytes.set(self.spool.bytes.get() + weight(&ending));
        let result_id = ending.id;
        if self.sender.send(Left::Ending(ending)).is_err() {
            // Only after the finisher has stopped, which is after the last attempt.
            tracing::error!(%result_id, "an ending came after the finisher had stopped; its lease will lapse");
        }
    }

    /// Leaves what is stored beside the ending, and before it.
    pub(crate) fn leave_beside(&self, log: Option<AttemptLog>, progress: Option<ProgressUpdate>) {
        if let Some(log) = &log {
            self.spool.bytes.set(self.spool.bytes.get() + log.chunks.len());
        }
        let left = log.map(Left::Log).into_iter().chain(progress.map(Left::Progress));
        // The finisher is there as long as there are attempts, whose endings are worth more.
        left.for_each(|left| drop(self.sender.send(left)));
    }

    /// The account of what waits, for whoever writes it.
    pub(crate) fn spool(&self) -> Rc<Spool> {
        Rc::clone(&self.spool)
    }

    /// Whether endings wait for the database.
    pub(crate) fn is_empty(&self) -> bool {
        self.spool.count.get() == 0
    }

    /// Whether so many wait that no more work should be taken on.
    pub(crate) fn is_full(&self) -> bool {
        self.spool.count.get() > SPOOL || self.spool.bytes.get() > SPOOL_BYTES
    }
}

impl Spool {
    pub(crate) fn stored(&self, log: &AttemptLog) {
        self.bytes.set(self.bytes.get().saturating_sub(log.chunks.len()));
    }

    fn written(&self, ending: &Ending) {
        self.count.set(self.count.get().saturating_sub(1));
        self.bytes.set(self.bytes.get().saturating_sub(weight(ending)));
    }
}

/// Bytes that an ending takes on its way, roughly.
fn weight(ending: &Ending) -> usize {
    let transition = &ending.transition;
    let json = |text: &Option<Box<RawValue>>| text.as_ref().map_or(0, |text| text.get().len());
    256 + json(&transition.return_json)
        + json(&transition.metadata)
        + transition.error.as_ref().map_or(0, String::len)
}

/// Writes endings to the store on behalf of one incarnation.
pub(crate) struct Finisher<F, G> {
    pub(crate) store: Rc<dyn Store>,
    pub(crate) fence: Fence,
    pub(crate) spool: Rc<Spool>,
    pub(crate) held: Rc<Held>,
    /// Told after each batch.
    pub(crate) on_written: F,
    /// Whether more endings come soon and nobody waits for those that are here.
    pub(crate) is_pressed: G,
    /// Told when a member of a workflow has ended.
    pub(crate) of_workflows: Rc<Notify>,
}

impl<F: Fn(), G: Fn() -> bool> Finisher<F, G> {
    /// Writes until the last [`Endings`] is gone and everything is written.
    pub(crate) async fn run(self, mut left: mpsc::UnboundedReceiver<Left>) {
        let mut arrived = Vec::with_capacity(BATCH);
        let (mut waiting, mut beside) = (Vec::new(), Beside::default());
        loop {
            let open = if waiting.is_empty() && beside.logs.is_empty() {
                left.recv_many(&mut arrived, BATCH).await > 0
            } else {
                // What somebody else holds comes again, together with what has come meanwhile.
                tokio::select! {
                    () = sleep(HELD_PAUSE) => true,
                    count = left.recv_many(&mut arrived, BATCH), if !left.is_closed() => count > 0,
                }
            };
            if !open && waiting.is_empty() {
                return;
            }
            let mut waits = 0;
            while is_short_of_company(arrived.len(), waits)
                && self.spool.bytes.get() < BATCH_BYTES
                && (self.is_pressed)()
            {
                sleep(GATHER).await;
                waits += 1;
                while arrived.len() < BATCH
                    && let Ok(more) = left.try_recv()
                {
                    arrived.push(more);
                }
            }
            for one in arrived.drain(..) {
                match one {
                    Left::Ending(ending) => waiting.push(ending),
                    Left::Log(log) => beside.logs.push(log),
                    Left::Progress(progress) => beside.said.push(progress),
                }
            }
            beside.store(self.store.as_ref(), self.fence, &self.spool).await;
            let mut still_held = Vec::new();
            while !waiting.is_empty() {
                let rest = waiting.split_off(fitting(&waiting));
                still_held.extend(self.write(std::mem::replace(&mut waiting, rest)).await);
            }
            waiting = still_held;
            (self.on_written)();
        }
    }

    /// Returns when the whole batch is written or fenced, but for what somebody else holds.
    async fn write(&self, batch: Vec<Ending>) -> Vec<Ending> {
        for wait in RETRY.into_iter().chain(std::iter::repeat(RETRY[RETRY.len() - 1])) {
            match self.store.finish(self.fence, &batch).await {
                Ok(finished) => return self.settle(batch, &finished),
                Err(error @ StoreError::Refused { .. }) => {
                    // It would refuse this statement for ever: one row of it must be the cause.
                    telemetry::refused(&error);
                    return self.write_one_by_one(batch).await;
                }
                Err(error) => telemetry::store_failed("finish", &error),
            }
            sleep(wait).await;
        }
        batch
    }

    /// Finds what the database refuses and ends those runs with what it said, so that none can hold up the others.
    async fn write_one_by_one(&self, batch: Vec<Ending>) -> Vec<Ending> {
        let mut still_held = Vec::new();
        for mut ending in batch {
            let mut replaced = false;
            loop {
                match self.store.finish(self.fence, std::slice::from_ref(&ending)).await {
                    Ok(finished) => break still_held.extend(self.settle(vec![ending], &finished)),
                    Err(StoreError::Refused { source, .. }) if !replaced => {
                        ending.transition = refused(&source.to_string());
                        replaced = true;
                    }
                    Err(error @ StoreError::Refused { .. }) => {
                        telemetry::given_up(ending.id, &error);
                        self.let_go(&ending);
                        break;
                    }
                    Err(error) => {
                        telemetry::store_failed("finish", &error);
                        sleep(RETRY[RETRY.len() - 1]).await;
                    }
                }
            }
        }
        still_held
    }

    /// Returns what has to be sent again.
    fn settle(&self, batch: Vec<Ending>, finished: &Finished) -> Vec<Ending> {
        telemetry::finished(batch.len() - finished.held.len().min(batch.len()), finished.written);
        if finished.of_workflows {
            self.of_workflows.notify_one();
        }
        let (still_held, settled): (Vec<Ending>, Vec<Ending>) =
            batch.into_iter().partition(|ending| finished.held.contains(&ending.id));
        for ending in &settled {
            self.let_go(ending);
        }
        still_held
    }

    fn let_go(&self, ending: &Ending) {
        self.held.let_go(ending.id, ending.epoch);
        self.spool.written(ending);
    }
}

/// Whether so many that have come, and have waited so often, wait for more: once for as much as comes, and then, if it is still little,
/// for some.
const fn is_short_of_company(arrived: usize, waits: usize) -> bool {
    let enough = if waits == 0 { BATCH } else { COMPANY };
    arrived > 0 && arrived < enough && waits < GATHERINGS
}

/// How many endings go into one statement: one at least.
fn fitting(endings: &[Ending]) -> usize {
    let mut bytes = 0;
    let within = |ending: &&Ending| {
        bytes += weight(ending);
        bytes <= BATCH_BYTES
    };
    endings.iter().take(BATCH).take_while(within).count().max(1)
}

/// The end of a run whose own ending the database does not take.
fn refused(reason: &str) -> reproq_model::Transition {
    let envelope = reproq_model::wire::Envelope {
        ok: false,
        return_json: None,
        exception_class: None,
        message: Some(format!("the attempt ended, but the database refused how: {reason}")),
        traceback: None,
        kind: Some(FailureKind::InvalidResult),
        retry_in: None,
        metadata: None,
        usage: None,
    };
    let facts = AttemptFacts {
        attempts: 1,
        max_attempts: 1,
        crash_count: 0,
        spec: "{}",
        worker_id: "",
        epoch: 0,
        pid: None,
    };
    classify(AttemptEnd::Answered(Box::new(envelope)), facts, &mut rand::rng())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often they wait when others come in each wait.
    fn waits(first: usize, in_each: usize) -> usize {
        (0..BATCH).take_while(|waits| is_short_of_company(first + waits * in_each, *waits)).count()
    }

    #[test]
    fn endings_wait_once_for_whatever_comes_and_only_few_of_them_wait_on() {
        assert_eq!(waits(0, 0), 0, "nothing waits for something");
        assert_eq!(waits(1, 100), 1);
        assert_eq!(waits(BATCH - 1, 0), 1);
        assert_eq!(waits(BATCH, 0), 0, "a whole batch goes at once");
        assert_eq!(waits(1, COMPANY / 2), 2);
        assert_eq!(waits(1, 0), GATHERINGS, "one that stays alone is not kept for ever");
    }
}
