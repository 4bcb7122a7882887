//! One attempt, from the claimed run to its ending: authorise, execute, classify, finish, tell.
//!
//! Every way to end leads through [`Attempts::end`], but one: an attempt whose lease is lost writes nothing, because the
//! run is somebody else's by then.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use reproq_model::{AttemptEnd, AttemptFacts, classify};
use reproq_store::{ClaimedRun, Ending, UnreadableRun};
use tokio::time::{sleep, timeout};

use crate::executor::{Answer, Seat};
use crate::finisher::Endings;
use crate::held::{Held, Orders, Stop};
use crate::lifecycle::last_moment;
use crate::pace::Pace;
use crate::settings::Settings;
use crate::shutdown::{Shutdown, Urgency};
use crate::slots::Slots;
use crate::telemetry;

/// How long a slot waits after it could not get an executor.
const NO_EXECUTOR_PAUSE: Duration = Duration::from_secs(1);

/// How often a cancelled task is asked to stop.
const INTERRUPT_AGAIN: Duration = Duration::from_millis(250);

/// What attempts share.
pub(crate) struct Attempts {
    pub(crate) settings: Rc<Settings>,
    pub(crate) slots: Rc<Slots>,
    pub(crate) held: Rc<Held>,
    pub(crate) endings: Endings,
    pub(crate) pace: Rc<Pace>,
    pub(crate) shutdown: Shutdown,
}

/// What came first.
enum Event {
    Answer(Answer),
    Stop(Stop),
    TimeUp,
    Shutdown,
}

/// How a slot goes on after a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Process {
    /// With the same process.
    Stays,
    /// Without: what was behind the run has gone with it, and had not begun.
    Gone,
    /// Without, and for want of one the run itself had not begun.
    Wanting,
}

impl Attempts {
    /// The life of one slot: runs, until there are no more.
    pub(crate) async fn slot(self: Rc<Self>, mut seat: Seat) {
        while let Some(runs) = self.slots.take(&self.pace).await {
            self.work_off(&mut seat, runs).await;
        }
        seat.kill().await;
    }

    async fn work_off(&self, seat: &mut Seat, runs: Vec<ClaimedRun>) {
        let mut line = VecDeque::with_capacity(runs.len());
        for run in runs {
            match self.authorise(&run) {
                Ok(()) => line.push_back(run),
                Err(Some(end)) => self.end(&run, end, Duration::ZERO, None),
                Err(None) => self.lose(&run),
            }
        }
        let mut first = true;
        while let Some(run) = line.pop_front() {
            let orders = self.held.start(run.id, run.epoch);
            let process = if first && let Err(process) = self.prepare(seat, &run, &orders).await {
                process
            } else {
                if first {
                    self.send(seat, std::iter::once(&run).chain(&line));
                    first = false;
                }
                self.attend(seat, &run, &orders).await
            };
            if process == Process::Stays {
                continue;
            }
            line.drain(..).for_each(|run| self.release(&run));
            if process == Process::Wanting {
                self.breathe().await;
            }
        }
    }

    /// Gets hold of a process. Without one, ends the run, which has not begun: that is not its fault.
    async fn prepare(&self, seat: &mut Seat, run: &ClaimedRun, orders: &Orders) -> Result<(), Process> {
        let (end, process) = tokio::select! {
            biased;
            () = self.shutdown.reaches(Urgency::Hurry) => (Some(AttemptEnd::Released), Process::Gone),
            why = orders.stop() => match why {
                Stop::Cancelled => (Some(AttemptEnd::Cancelled), Process::Gone),
                Stop::Lost => (None, Process::Gone),
            },
            warm = timeout(self.limit(run), seat.warm()) => {
                match warm {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(error)) => tracing::error!(%error, "no executor; giving the run back"),
                    Err(_) => tracing::error!("no executor within the run's timeout; giving the run back"),
                }
                (Some(AttemptEnd::Released), Process::Wanting)
            }
        };
        match end {
            Some(end) => self.end(run, end, Duration::ZERO, None),
            None => self.lose(run),
        }
        Err(process)
    }

    /// Gives runs to the process. First the guard has to know how long they may go on if this worker is stopped.
    fn send<'a>(&self, seat: &mut Seat, runs: impl Iterator<Item = &'a ClaimedRun> + Clone) {
        let trusted = runs.clone().filter_map(|run| self.held.sent(run.id, run.epoch)).min();
        if let Some(until) = trusted {
            seat.trust(last_moment(until, self.settings.lease));
        }
        seat.send(runs);
    }

    /// Sees one run through.
    async fn attend(&self, seat: &mut Seat, run: &ClaimedRun, orders: &Orders) -> Process {
        let began = Instant::now();
        let limit = self.limit(run);
        let event = tokio::select! {
            biased;
            answer = seat.answer(run) => Event::Answer(answer),
            why = orders.stop() => Event::Stop(why),
            () = sleep(limit) => Event::TimeUp,
            () = self.shutdown.reaches(Urgency::Hurry) => Event::Shutdown,
        };
        let (mut end, process) = match event {
            Event::Answer(Answer::Envelope(envelope)) => {
                (Some(AttemptEnd::Answered(envelope)), Process::Stays)
            }
            Event::Answer(Answer::Unfit { message }) => {
                (Some(AttemptEnd::InvalidSpec { message }), Process::Stays)
            }
            Event::Answer(Answer::Died { how, stderr_tail }) => {
                (Some(AttemptEnd::Crashed { how, stderr_tail }), Process::Gone)
            }
            Event::Answer(Answer::NotBegun { why }) => {
                tracing::error!(result_id = %run.id, why, "no executor; giving the run back");
                (Some(AttemptEnd::Released), Process::Wanting)
            }
            Event::TimeUp if !seat.has_begun() => {
                tracing::error!(result_id = %run.id, "an executor does not read its run; giving the run back");
                (Some(AttemptEnd::Released), Process::Wanting)
            }
            Event::TimeUp => (Some(AttemptEnd::TimedOut { limit }), Process::Gone),
            Event::Stop(Stop::Cancelled) => {
                let grace = self.settings.cancel_grace.min(limit.saturating_sub(began.elapsed()));
                self.interrupt(seat, run, orders, grace).await
            }
            Event::Shutdown => (Some(AttemptEnd::Released), Process::Gone),
            Event::Stop(Stop::Lost) => (None, Process::Gone),
        };
        let logs_uri = seat.keep_output(run);
        if process != Process::Stays {
            // Before the run's end is known to anybody: it may begin again elsewhere.
            seat.kill().await;
            if end.is_some() && seat.was_overdue() {
                // Not the run's doing. If it has another owner by now, this is not written.
                end = Some(AttemptEnd::Released);
            }
        }
        if process != Process::Wanting {
            self.pace.record(&run.task_path, began.elapsed());
        }
        match end {
            Some(end) => self.end(run, end, began.elapsed(), logs_uri),
            None => self.lose(run),
        }
        if process == Process::Stays {
            seat.settle().await;
        }
        process
    }

    /// Asks a cancelled run's task to stop, and kills it after `grace`. What the task says first counts: a success is one.
    async fn interrupt(
        &self,
        seat: &mut Seat,
        run: &ClaimedRun,
        orders: &Orders,
        grace: Duration,
    ) -> (Option<AttemptEnd>, Process) {
        let until = Instant::now() + grace;
        // Said again and again: a task that has not quite begun does not hear the first time, and nobody hears it twice.
        while Instant::now() < until && seat.interrupt() {
            let pause = INTERRUPT_AGAIN.min(until.saturating_duration_since(Instant::now()));
            tokio::select! {
                biased;
                answer = seat.answer(run) => return match answer {
                    Answer::Envelope(envelope) => (Some(AttemptEnd::Interrupted(envelope)), Process::Stays),
                    Answer::Unfit { .. } => (Some(AttemptEnd::Cancelled), Process::Stays),
                    Answer::Died { .. } | Answer::NotBegun { .. } => {
                        (Some(AttemptEnd::Cancelled), Process::Gone)
                    }
                },
                () = orders.lost() => return (None, Process::Gone),
                () = self.shutdown.reaches(Urgency::Hurry) => break,
                () = sleep(pause) => {}
            }
        }
        (Some(AttemptEnd::Cancelled), Process::Gone)
    }

    /// A pause after a process could not be had, unless the worker is asked to stop.
    async fn breathe(&self) {
        tokio::select! {
            () = sleep(NO_EXECUTOR_PAUSE) => {}
            () = self.shutdown.reaches(Urgency::Drain) => {}
        }
    }

    /// Whether the run may start: `Err(None)` if it is no longer this worker's.
    fn authorise(&self, run: &ClaimedRun) -> Result<(), Option<AttemptEnd>> {
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
    fn limit(&self, run: &ClaimedRun) -> Duration {
        if run.timeout.is_zero() {
            self.settings.exec_timeout
        } else {
            run.timeout.min(self.settings.exec_timeout)
        }
    }

    /// Gives a run back that a slot has taken and that has not begun.
    fn release(&self, run: &ClaimedRun) {
        self.end(run, AttemptEnd::Released, Duration::ZERO, None);
    }

    /// Gives a run back that no slot has taken.
    pub(crate) fn give_up(&self, run: &ClaimedRun) {
        self.leave_ending(run, AttemptEnd::Released, Duration::ZERO, None);
    }

    /// Ends a run that was claimed for that, without a slot.
    pub(crate) fn end_unstarted(&self, run: &ClaimedRun, end: AttemptEnd) {
        self.leave_ending(run, end, Duration::ZERO, None);
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

    fn end(&self, run: &ClaimedRun, end: AttemptEnd, took: Duration, logs_uri: Option<String>) {
        self.leave_ending(run, end, took, logs_uri);
        self.slots.ended();
    }

    fn leave_ending(&self, run: &ClaimedRun, end: AttemptEnd, took: Duration, logs_uri: Option<String>) {
        let facts = AttemptFacts {
            attempts: run.attempts,
            max_attempts: run.max_attempts,
            crash_count: run.crash_count,
            spec: &run.spec,
            worker_id: &self.settings.worker_id,
            epoch: run.epoch.0,
            pid: None,
        };
        let transition = classify(end, facts, &mut rand::rng());
        self.held.ended(run.id, run.epoch);
        telemetry::attempt_ended(run, &transition, took);
        self.endings.leave(Ending { id: run.id, epoch: run.epoch, transition, logs_uri });
    }

    fn lose(&self, run: &ClaimedRun) {
        telemetry::lease_lost(run);
        self.held.let_go(run.id, run.epoch);
        self.slots.ended();
    }
}
