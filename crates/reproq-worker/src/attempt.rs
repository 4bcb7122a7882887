//! One attempt, from the claimed run to its ending: authorise, execute, classify, finish, tell.
//!
//! Every way to end leads through [`Slot::end`], but one: an attempt whose lease is lost writes nothing, because the
//! run is somebody else's by then.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use reproq_model::AttemptEnd;
use reproq_store::ClaimedRun;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{sleep, timeout};

use crate::attempts::{Attempts, Trace};
use crate::executor::{Answer, Seat};
use crate::held::{Orders, Stop};
use crate::lanes::Place;
use crate::lifecycle::last_moment;
use crate::shutdown::Urgency;
use crate::watch::{Exceeded, Watch};

/// How long a slot waits after it could not get an executor.
const NO_EXECUTOR_PAUSE: Duration = Duration::from_secs(1);

/// How long a task may take to stop when the worker itself must.
const HURRY_GRACE: Duration = Duration::from_secs(1);

/// How often a task is asked to stop.
const INTERRUPT_AGAIN: Duration = Duration::from_millis(250);

/// Room for one attempt at a time.
pub(crate) struct Slot {
    pub(crate) attempts: Rc<Attempts>,
    pub(crate) seat: Seat,
    pub(crate) place: Place,
}

/// What came first.
enum Event {
    Answer(Answer),
    Stop(Stop),
    Exceeded(Exceeded),
    Shutdown,
    /// An answer, but the run is somebody else's by now.
    TooLate,
}

/// What became of asking a task to stop.
enum Asked {
    Answered(Answer),
    Silent,
    Lost,
}

/// How a slot goes on after a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Process {
    /// With the same process, if that takes another run.
    Stays,
    /// Without: what was behind the run has gone with it, and had not begun.
    Gone,
    /// Without, and for want of one the run itself had not begun.
    Wanting,
}

impl Slot {
    /// The life of a slot: runs, until there are no more.
    pub(crate) async fn live(mut self) {
        let attempts = Rc::clone(&self.attempts);
        loop {
            let slots = attempts.lanes.of(self.place);
            let runs = tokio::select! {
                biased;
                runs = slots.take(&attempts.pace, |run| attempts.travels(run)) => runs,
                () = self.seat.renewal() => continue,
            };
            let Some(runs) = runs else { break };
            self.work_off(runs).await;
        }
        self.seat.leave().await;
    }

    async fn work_off(&mut self, runs: Vec<ClaimedRun>) {
        let mut line = self.authorised(runs);
        // How many of the line the process has, the first included.
        let mut sent = 0;
        while let Some(run) = line.pop_front() {
            let orders = self.attempts.held.start(run.id, run.epoch);
            // Kept until the attempt has ended: see `Attempts::trial`.
            let mut trial = None;
            let process = if sent == 0
                && let Err(process) = self.prepare(&run, &orders, &mut trial).await
            {
                process
            } else {
                if sent == 0 {
                    sent = 1 + line.len();
                    self.send(std::iter::once(&run).chain(&line));
                }
                self.attend(&run, &orders).await
            };
            drop(trial);
            sent = sent.saturating_sub(1);
            if process == Process::Wanting {
                line.drain(..).for_each(|run| self.end(&run, AttemptEnd::Released, &Trace::default()));
                self.breathe().await;
            }
            if process == Process::Gone || !self.seat.goes_on() {
                // What is left of the line has not begun, and goes to the next process.
                sent = 0;
            }
            if sent > 0 && self.seat.takes_more() {
                sent += self.lengthen(&mut line);
            }
        }
    }

    /// Those of the runs that may start. The others are ended.
    fn authorised(&self, runs: Vec<ClaimedRun>) -> VecDeque<ClaimedRun> {
        let may_start = |run: &ClaimedRun| match self.attempts.authorise(run) {
            Ok(()) => true,
            Err(Some(end)) => {
                self.end(run, end, &Trace::default());
                false
            }
            Err(None) => {
                self.lose(run);
                false
            }
        };
        runs.into_iter().filter(may_start).collect()
    }

    /// Sends more short runs to a process that has a line of them, so that it does not come to wait for the worker. Returns how many.
    fn lengthen(&mut self, line: &mut VecDeque<ClaimedRun>) -> usize {
        let attempts = Rc::clone(&self.attempts);
        let slots = attempts.lanes.of(self.place);
        let more = slots.take_more(&attempts.pace, line.len(), |run| attempts.travels(run));
        let more = self.authorised(more);
        if !more.is_empty() {
            self.send(more.iter());
        }
        let count = more.len();
        line.extend(more);
        count
    }

    /// Gets hold of a process. Without one, ends the run, which has not begun: that is not its fault.
    async fn prepare(
        &mut self,
        run: &ClaimedRun,
        orders: &Orders,
        trial: &mut Option<OwnedMutexGuard<()>>,
    ) -> Result<(), Process> {
        let limit = self.attempts.timeout(run);
        let alone = self.attempts.is_suspect(run);
        let (attempts, seat) = (Rc::clone(&self.attempts), &mut self.seat);
        let ready = async {
            *trial = attempts.trial(run).await;
            seat.prepare(run, alone).await
        };
        let (end, process) = tokio::select! {
            biased;
            () = self.attempts.shutdown.reaches(Urgency::Hurry) => (Some(AttemptEnd::Released), Process::Gone),
            why = orders.stop() => match why {
                Stop::Cancelled => (Some(AttemptEnd::Cancelled), Process::Gone),
                Stop::Lost => (None, Process::Gone),
            },
            ready = timeout(limit, ready) => {
                match ready {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(error)) => tracing::error!(%error, "no executor; giving the run back"),
                    Err(_) => tracing::error!("no executor within the run's timeout; giving the run back"),
                }
                (Some(AttemptEnd::Released), Process::Wanting)
            }
        };
        match end {
            Some(end) => self.end(run, end, &Trace::default()),
            None => self.lose(run),
        }
        Err(process)
    }

    /// Gives runs to the process. First the guard has to know how long they may go on if this worker is stopped.
    fn send<'a>(&mut self, runs: impl Iterator<Item = &'a ClaimedRun> + Clone) {
        let held = &self.attempts.held;
        let trusted = runs.clone().filter_map(|run| held.sent(run.id, run.epoch)).min();
        if let Some(until) = trusted {
            self.seat.trust(last_moment(until, self.attempts.settings.lease));
        }
        self.seat.send(runs);
    }

    /// Sees one run through.
    async fn attend(&mut self, run: &ClaimedRun, orders: &Orders) -> Process {
        let settings = Rc::clone(&self.attempts.settings);
        let mut watch =
            Watch::new(self.attempts.timeout(run), settings.exec_timeout, settings.executor.max_task_memory);
        let event = self.wait(run, orders, &mut watch).await;
        // Before anything ends: afterwards there is no process to ask.
        let mut trace = Trace { pid: self.seat.pid(), ..Trace::default() };
        let (mut end, process) = match event {
            Event::Answer(answer) => self.answered(run, answer),
            Event::Exceeded(_) if !self.seat.has_begun() => {
                tracing::error!(result_id = %run.id, "an executor does not read its run; giving the run back");
                (Some(AttemptEnd::Released), Process::Wanting)
            }
            Event::Exceeded(exceeded) if self.seat.is_kept_by_another(run) => {
                tracing::warn!(result_id = %run.id, ?exceeded, "another run keeps the event loop; giving the run back");
                (Some(AttemptEnd::Released), Process::Gone)
            }
            Event::Exceeded(exceeded) => (Some(watch.end(exceeded)), Process::Gone),
            Event::Stop(Stop::Cancelled) => {
                self.cancel(run, orders, settings.cancel_grace.min(watch.left())).await
            }
            Event::Shutdown => self.hurry(run, orders, watch.left()).await,
            Event::Stop(Stop::Lost) => (None, Process::Gone),
            Event::TooLate => (None, Process::Stays),
        };
        // Of several answers that were read together, only their process knows.
        trace.took = self.seat.took().unwrap_or_else(|| watch.elapsed());
        trace.logs_uri = self.keep_output(run);
        if process != Process::Stays {
            // Before the run's end is known to anybody: it may begin again elsewhere.
            self.seat.kill().await;
            if end.is_some() && self.seat.was_overdue() {
                // Not the run's doing. If it has another owner by now, this is not written.
                end = Some(AttemptEnd::Released);
            }
        }
        if process == Process::Wanting {
            trace.pid = None;
        } else if self.place == Place::Slot {
            self.attempts.pace.record(&run.task_path, trace.took);
        }
        match end {
            Some(end) => self.end(run, end, &trace),
            None => self.lose(run),
        }
        if process == Process::Stays {
            self.seat.settle().await;
        }
        process
    }

    /// Waits for whatever ends the attempt first.
    async fn wait(&mut self, run: &ClaimedRun, orders: &Orders, watch: &mut Watch) -> Event {
        loop {
            let pid = self.seat.pid();
            let event = tokio::select! {
                biased;
                answer = self.seat.answer(run) => match answer {
                    Answer::Note(note) => {
                        watch.hear(&note);
                        self.seat.say(run, *note);
                        continue;
                    }
                    answer => return Event::Answer(answer),
                },
                why = orders.stop() => Event::Stop(why),
                exceeded = watch.exceeded(pid) => Event::Exceeded(exceeded),
                () = self.attempts.shutdown.reaches(Urgency::Hurry) => Event::Shutdown,
            };
            // What it has said counts, though it has not been read: what is behind the run may have ended as well.
            match self.seat.overheard(run) {
                None => return event,
                Some(Answer::Note(note)) => {
                    watch.hear(&note);
                    self.seat.say(run, *note);
                }
                Some(_) if matches!(event, Event::Stop(Stop::Lost)) => return Event::TooLate,
                Some(answer) => return Event::Answer(answer),
            }
        }
    }

    fn answered(&self, run: &ClaimedRun, answer: Answer) -> (Option<AttemptEnd>, Process) {
        match answer {
            Answer::Envelope(envelope) => (Some(AttemptEnd::Answered(envelope)), Process::Stays),
            Answer::Unfit { message } => (Some(AttemptEnd::InvalidSpec { message }), Process::Stays),
            Answer::Died { how, stderr_tail } => {
                (Some(AttemptEnd::Crashed { how, stderr_tail }), Process::Gone)
            }
            Answer::Bystander { why } if self.attempts.suspect(run) => {
                tracing::warn!(result_id = %run.id, why, "the run's process died, perhaps not by its doing; it is tried again alone");
                (Some(AttemptEnd::Released), Process::Gone)
            }
            Answer::Bystander { why } => {
                (Some(AttemptEnd::Crashed { how: why, stderr_tail: String::new() }), Process::Gone)
            }
            Answer::NotBegun { why } => {
                tracing::error!(result_id = %run.id, why, "no executor; giving the run back");
                (Some(AttemptEnd::Released), Process::Wanting)
            }
            // It was killed for another's sake; and whoever waits hears notes and waits on.
            Answer::Displaced | Answer::Note(_) => (Some(AttemptEnd::Released), Process::Gone),
        }
    }

    /// A cancelled run's task is asked to stop, and killed after `grace`. What it says first counts: a success is one.
    async fn cancel(
        &mut self,
        run: &ClaimedRun,
        orders: &Orders,
        grace: Duration,
    ) -> (Option<AttemptEnd>, Process) {
        match self.interrupt(run, orders, grace, Urgency::Hurry).await {
            Asked::Answered(Answer::Envelope(envelope)) => {
                (Some(AttemptEnd::Interrupted(envelope)), Process::Stays)
            }
            Asked::Answered(Answer::Unfit { .. }) => (Some(AttemptEnd::Cancelled), Process::Stays),
            Asked::Answered(_) | Asked::Silent => (Some(AttemptEnd::Cancelled), Process::Gone),
            Asked::Lost => (None, Process::Gone),
        }
    }

    /// The worker cannot wait any longer. A task that is asked to stop may clean up, or just be done; else its run goes back.
    async fn hurry(
        &mut self,
        run: &ClaimedRun,
        orders: &Orders,
        left: Duration,
    ) -> (Option<AttemptEnd>, Process) {
        let grace = HURRY_GRACE.min(self.attempts.settings.cancel_grace).min(left);
        match self.interrupt(run, orders, grace, Urgency::Now).await {
            Asked::Answered(Answer::Envelope(envelope)) if envelope.ok => {
                (Some(AttemptEnd::Answered(envelope)), Process::Stays)
            }
            Asked::Answered(_) | Asked::Silent => (Some(AttemptEnd::Released), Process::Gone),
            Asked::Lost => (None, Process::Gone),
        }
    }

    async fn interrupt(
        &mut self,
        run: &ClaimedRun,
        orders: &Orders,
        grace: Duration,
        but_not_beyond: Urgency,
    ) -> Asked {
        let until = Instant::now() + grace;
        // Said again and again: a task that has not quite begun does not hear the first time, and nobody hears it twice.
        while Instant::now() < until && self.seat.interrupt() {
            let pause = INTERRUPT_AGAIN.min(until.saturating_duration_since(Instant::now()));
            tokio::select! {
                biased;
                answer = self.seat.answer(run) => match answer {
                    Answer::Note(_) => {}
                    answer => return Asked::Answered(answer),
                },
                () = orders.lost() => return Asked::Lost,
                () = self.attempts.shutdown.reaches(but_not_beyond) => break,
                () = sleep(pause) => {}
            }
        }
        Asked::Silent
    }

    /// Hands on what the attempt has printed and said; it is stored before the ending. Returns the file that it was written to.
    fn keep_output(&mut self, run: &ClaimedRun) -> Option<String> {
        let left = self.seat.keep_output(run);
        self.attempts.endings.leave_beside(left.log, left.progress);
        left.logs_uri
    }

    /// A pause after a process could not be had, unless the worker is asked to stop.
    async fn breathe(&self) {
        tokio::select! {
            () = sleep(NO_EXECUTOR_PAUSE) => {}
            () = self.attempts.shutdown.reaches(Urgency::Drain) => {}
        }
    }

    fn end(&self, run: &ClaimedRun, end: AttemptEnd, trace: &Trace) {
        self.attempts.end(run, end, trace);
        self.attempts.lanes.of(self.place).ended();
    }

    fn lose(&self, run: &ClaimedRun) {
        self.attempts.lose(run);
        self.attempts.lanes.of(self.place).ended();
    }
}
