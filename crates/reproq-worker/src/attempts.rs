//! What all attempts of a worker share: who may start where, and how an end is left for the finisher.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use reproq_model::{AttemptEnd, AttemptFacts, Isolation, RunId, classify};
use reproq_store::{ClaimedRun, Ending, UnreadableRun};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::executor::Executors;
use crate::finisher::Endings;
use crate::held::Held;
use crate::lanes::{Lanes, Place, Room};
use crate::pace::Pace;
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::telemetry;

/// The most runs to remember as suspects. Beyond that, something kills processes that has nothing to do with the runs.
const MOST_SUSPECTS: usize = 10_000;

/// How often a run may be there when a process dies before it is held responsible: among others, then alone in its child, and then
/// beside no other that was there twice.
const CHANCES: u8 = 2;

/// What attempts share.
pub(crate) struct Attempts {
    pub(crate) settings: Rc<Settings>,
    pub(crate) lanes: Lanes,
    pub(crate) held: Rc<Held>,
    pub(crate) endings: Endings,
    pub(crate) pace: Rc<Pace>,
    pub(crate) shutdown: Shutdown,
    pub(crate) executors: Rc<Executors>,
    /// Runs that were in a process, or had one forked from the same, when that died, and nobody knows who did it; and how often
    /// that was so.
    pub(crate) suspects: RefCell<HashMap<RunId, u8>>,
    /// Held by the one of the runs without another chance that is being tried. Were there two, nobody would know which of them
    /// has killed the process that both depend on.
    pub(crate) trial: Arc<Mutex<()>>,
}

impl Attempts {
    /// How many runs may be claimed now.
    pub(crate) fn room(&self) -> Room {
        if self.endings.is_full() || self.executors.is_behind() {
            Room::default()
        } else {
            self.lanes.room(&self.pace)
        }
    }

    /// Hands a claimed run to a slot of its kind.
    pub(crate) fn offer(&self, run: ClaimedRun) {
        let place = self.place(&run);
        self.lanes.offer(run, place);
    }

    fn place(&self, run: &ClaimedRun) -> Place {
        let shares = self.lanes.loops.count() > 0
            && self.executors.is_async(&run.task_path)
            && self.executors.isolation(run) == Isolation::Pool;
        if shares && !self.is_suspect(run) { Place::Loop } else { Place::Slot }
    }

    /// Whether the run must be alone in its process.
    pub(crate) fn is_suspect(&self, run: &ClaimedRun) -> bool {
        self.suspects.borrow().contains_key(&run.id)
    }

    /// Waits for the run's turn, if it has no other chance. What is returned has to be kept until the attempt has ended.
    pub(crate) async fn trial(&self, run: &ClaimedRun) -> Option<OwnedMutexGuard<()>> {
        let last_chance = self.suspects.borrow().get(&run.id).is_some_and(|times| *times >= CHANCES);
        if last_chance { Some(Arc::clone(&self.trial).lock_owned().await) } else { None }
    }

    /// The run was there when a process died. Returns whether it may be innocent.
    pub(crate) fn suspect(&self, run: &ClaimedRun) -> bool {
        let mut suspects = self.suspects.borrow_mut();
        if suspects.len() >= MOST_SUSPECTS {
            suspects.clear();
        }
        let times = suspects.entry(run.id).or_default();
        *times = times.saturating_add(1);
        *times <= CHANCES
    }

    /// Whether the run may travel to its child together with others.
    pub(crate) fn travels(&self, run: &ClaimedRun) -> bool {
        self.settings.executor.threads == 1
            && self.executors.isolation(run) == Isolation::Pool
            && !self.is_suspect(run)
    }

    /// Whether the run may start: `Err(None)` if it is no longer this worker's.
    pub(crate) fn authorise(&self, run: &ClaimedRun) -> Result<(), Option<AttemptEnd>> {
        if !self.held.trusts(run.id, run.epoch) {
            return Err(None);
        }
        if self.held.is_cancelled(run.id, run.epoch) {
            return Err(Some(AttemptEnd::Cancelled));
        }
        if !self.settings.allow.allows(&run.task_path) {
            return Err(Some(AttemptEnd::NotAllowed { task_path: run.task_path.clone() }));
        }
        if run.spec.len() > self.settings.max_payload_bytes {
            return Err(Some(AttemptEnd::InvalidSpec {
                message: format!(
                    "the spec has {} bytes, this worker accepts {} (worker.max_payload_bytes); store large data elsewhere and pass a reference",
                    run.spec.len(),
                    self.settings.max_payload_bytes
                ),
            }));
        }
        Ok(())
    }

    /// The run's own timeout, within the worker's.
    pub(crate) fn timeout(&self, run: &ClaimedRun) -> Duration {
        if run.timeout.is_zero() {
            self.settings.exec_timeout
        } else {
            run.timeout.min(self.settings.exec_timeout)
        }
    }

    /// Gives a run back that no slot has taken.
    pub(crate) fn give_up(&self, run: &ClaimedRun) {
        self.end(run, AttemptEnd::Released, &Trace::default());
    }

    /// Ends a run that was claimed for that, without a slot.
    pub(crate) fn end_unstarted(&self, run: &ClaimedRun, end: AttemptEnd) {
        self.end(run, end, &Trace::default());
    }

    /// Ends a run that cannot be read, and so cannot be run.
    pub(crate) fn end_unreadable(&self, run: &UnreadableRun) {
        let message = format!("the run cannot be read: {}; another program may have written it", run.reason);
        let facts = AttemptFacts {
            attempts: 1,
            max_attempts: 1,
            crash_count: 0,
            spec: "",
            worker_id: &self.settings.worker_id,
            epoch: run.epoch.0,
            pid: None,
        };
        let transition = classify(AttemptEnd::InvalidSpec { message }, facts, &mut rand::rng());
        self.endings.leave(Ending { id: run.id, epoch: run.epoch, transition, logs_uri: None });
    }

    /// Leaves the end of an attempt for the finisher.
    pub(crate) fn end(&self, run: &ClaimedRun, end: AttemptEnd, trace: &Trace) {
        if matches!(end, AttemptEnd::Answered(_)) {
            self.suspects.borrow_mut().remove(&run.id);
        }
        let facts = AttemptFacts {
            attempts: run.attempts,
            max_attempts: run.max_attempts,
            crash_count: run.crash_count,
            spec: &run.spec,
            worker_id: &self.settings.worker_id,
            epoch: run.epoch.0,
            pid: trace.pid,
        };
        let transition = classify(end, facts, &mut rand::rng());
        self.held.ended(run.id, run.epoch);
        telemetry::attempt_ended(run, &transition, trace.took);
        self.endings.leave(Ending {
            id: run.id,
            epoch: run.epoch,
            transition,
            logs_uri: trace.logs_uri.clone(),
        });
    }

    /// Drops a run that is somebody else's by now.
    pub(crate) fn lose(&self, run: &ClaimedRun) {
        telemetry::lease_lost(run);
        self.held.let_go(run.id, run.epoch);
    }
}

/// What is left of an attempt beside its end.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) took: Duration,
    /// The process that worked on it; none: it was not begun.
    pub(crate) pid: Option<i32>,
    pub(crate) logs_uri: Option<String>,
}
