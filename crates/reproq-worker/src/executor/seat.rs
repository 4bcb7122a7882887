//! One slot's executor: whatever process its run needs, and the warm child that goes on.

use std::rc::Rc;
use std::time::{Duration, Instant};

use reproq_model::Isolation;
use reproq_model::wire::{Note, NoteKind};
use reproq_store::ClaimedRun;
use tokio::task::JoinHandle;

use super::child::Child;
use super::group::{Group, Share};
use super::output::Captured;
use super::process::OneShot;
use super::shape::Shape;
use super::spare::Spare;
use super::{Answer, ExecutorError, Executors, Left};

enum Occupant {
    None,
    /// A child for this slot's runs.
    Child(Box<Child>),
    /// A child for one run.
    Fork(Box<Child>),
    OneShot(Box<OneShot>),
    /// A place in a child that others use, too.
    Share(Share),
}

/// One slot's executor.
pub(crate) struct Seat {
    executors: Rc<Executors>,
    worker_id: String,
    /// The children that this seat's runs share with those of other seats.
    group: Option<Rc<Group>>,
    occupant: Occupant,
    /// The warm child, while a run that needs a process of its own has its turn.
    aside: Option<Box<Child>>,
    /// How often the guard had killed everything when the process was got hold of.
    overdue: u64,
    /// Takes over when the warm child has served long enough; that works on until it is here.
    successor: Option<JoinHandle<Result<Child, ExecutorError>>>,
    /// For the next run, where each has a fork of its own.
    spare: Spare,
}

impl Seat {
    pub(super) fn new(executors: Rc<Executors>, worker_id: &str, group: Option<Rc<Group>>) -> Self {
        Self {
            overdue: executors.guard.overdue(),
            executors,
            worker_id: worker_id.to_owned(),
            group,
            occupant: Occupant::None,
            aside: None,
            successor: None,
            spare: Spare::default(),
        }
    }

    /// Has a warm child before there is a run, where there are any. The caller may stop waiting at any time.
    pub(crate) async fn warm(&mut self) -> Result<(), ExecutorError> {
        match (&self.group, &self.executors.zygote) {
            (None, Some(_)) if self.executors.settings.isolation.otherwise() == Isolation::Pool => {
                self.warm_child().await
            }
            _ => {
                self.order_spare();
                Ok(())
            }
        }
    }

    /// Has a child forked for the next run, where that is likely to need one.
    fn order_spare(&mut self) {
        if self.executors.settings.isolation.otherwise() == Isolation::Fork {
            self.spare.order(&self.executors);
        }
    }

    /// Gets hold of a process for a run; with `alone`, one that no other run shares. The caller may stop waiting at any time.
    pub(crate) async fn prepare(&mut self, run: &ClaimedRun, alone: bool) -> Result<(), ExecutorError> {
        self.overdue = self.executors.guard.overdue();
        match (self.executors.isolation(run), &self.group) {
            (Isolation::Pool, Some(group)) if !alone => {
                self.occupant = Occupant::Share(group.join(&self.executors, run).await?);
                Ok(())
            }
            (Isolation::Pool, _) => self.warm_child().await,
            (Isolation::Fork, _) => {
                self.step_aside();
                self.occupant = Occupant::Fork(Box::new(self.spare.take(&self.executors).await?));
                Ok(())
            }
            // It starts when its answer is asked for.
            (Isolation::Process, _) => {
                self.step_aside();
                Ok(())
            }
        }
    }

    async fn warm_child(&mut self) -> Result<(), ExecutorError> {
        if let Occupant::Child(child) = &mut self.occupant {
            if !child.goes_on() || child.is_outdated() {
                self.retire();
            } else if !child.is_idle() {
                tracing::debug!(pid = child.pid, "an idle child is gone; forking another");
                self.kill().await;
            } else if self.successor.as_ref().is_some_and(JoinHandle::is_finished) {
                self.retire();
            }
        }
        if let Occupant::None = self.occupant {
            let child = match self.successor.take() {
                Some(successor) => {
                    successor.await.unwrap_or_else(|error| Err(ExecutorError::Fork(error.to_string())))
                }
                None => self.executors.fork(Shape::Alone).await,
            };
            let child = match child? {
                // A successor that has waited too long.
                child if child.is_outdated() => {
                    child.retire();
                    self.executors.fork(Shape::Alone).await?
                }
                child => child,
            };
            self.occupant = Occupant::Child(Box::new(child));
        }
        Ok(())
    }

    /// While there is no run: returns when the warm child has made way, to a successor that is there or because its code has
    /// changed. Its memory is not kept until the next run, which may be long in coming. The caller may stop waiting at any time.
    pub(crate) async fn renewal(&mut self) {
        let Some(successor) = &mut self.successor else {
            self.outdated().await;
            if self.spare.is_outdated() && self.spare.let_go() {
                self.order_spare();
            }
            if matches!(&self.occupant, Occupant::Child(child) if child.is_outdated()) {
                self.retire();
            }
            return;
        };
        let successor = successor.await;
        self.successor = None;
        match successor {
            Ok(Ok(child)) => {
                self.retire();
                self.occupant = Occupant::Child(Box::new(child));
            }
            // The child that has served long enough goes on, and asks again after its next run.
            Ok(Err(error)) => tracing::warn!(%error, "a child's successor could not be forked"),
            Err(_) => {}
        }
    }

    /// Returns when the warm child, or the one for the next run, has code of the site that has changed since.
    async fn outdated(&self) {
        if !self.executors.settings.reload {
            return std::future::pending().await;
        }
        loop {
            let reloaded = self.executors.reloaded.notified();
            let warm = matches!(&self.occupant, Occupant::Child(child) if child.is_outdated());
            if warm || self.spare.is_outdated() {
                return;
            }
            reloaded.await;
        }
    }

    /// Lets the warm child end by itself.
    pub(crate) fn retire(&mut self) {
        if let Occupant::Child(child) = std::mem::replace(&mut self.occupant, Occupant::None) {
            tracing::debug!(pid = child.pid, "a child has served long enough");
            child.retire();
        }
    }

    fn step_aside(&mut self) {
        if let Occupant::Child(child) = std::mem::replace(&mut self.occupant, Occupant::None) {
            self.aside = Some(child);
        }
    }

    /// Makes sure that what is started now ends at that time, even if this process is stopped before it can see to that.
    pub(crate) fn trust(&self, until: Instant) {
        self.executors.guard.trust_no_longer(until);
    }

    /// Whether the guard has killed the attempt's process since, because the worker had fallen silent. Certain after a kill.
    pub(crate) fn was_overdue(&self) -> bool {
        self.overdue != self.executors.guard.overdue()
    }

    /// Puts runs in front of the child, which works on them in order. They are sent while answers are waited for.
    pub(crate) fn send<'a>(&mut self, runs: impl Iterator<Item = &'a ClaimedRun>) {
        for run in runs {
            match &mut self.occupant {
                Occupant::Child(child) | Occupant::Fork(child) => child.send(run, &self.worker_id),
                Occupant::Share(share) => share.send(run, &self.worker_id),
                Occupant::OneShot(_) | Occupant::None => {}
            }
        }
        if let Occupant::Child(child) | Occupant::Fork(child) = &self.occupant {
            child.output.hurry(child.has_line());
        }
        if let Occupant::Fork(_) = self.occupant {
            self.order_spare();
        }
    }

    /// Waits for what is said of the first run that has no answer yet. In a process of its own, starts that first. The caller
    /// may stop waiting, and wait again.
    pub(crate) async fn answer(&mut self, run: &ClaimedRun) -> Answer {
        if matches!(self.occupant, Occupant::None) && self.executors.isolation(run) == Isolation::Process {
            self.occupant = Occupant::OneShot(Box::new(OneShot::new(
                run,
                Rc::clone(&self.executors.settings),
                Rc::clone(&self.executors.guard),
            )));
        }
        self.show_output(run);
        match &mut self.occupant {
            Occupant::Child(child) | Occupant::Fork(child) => child.answer(run).await,
            Occupant::OneShot(process) => process.answer().await,
            Occupant::Share(share) => share.answer().await,
            Occupant::None => Answer::NotBegun { why: "there is no process".to_owned() },
        }
    }

    /// What the process has said of the run and nobody has read yet.
    pub(crate) fn overheard(&mut self, run: &ClaimedRun) -> Option<Answer> {
        match &mut self.occupant {
            Occupant::Child(child) | Occupant::Fork(child) => child.overheard(run),
            Occupant::OneShot(_) | Occupant::Share(_) | Occupant::None => None,
        }
    }

    /// The process that works on the run that is waited for.
    pub(crate) fn pid(&self) -> Option<i32> {
        match &self.occupant {
            Occupant::Child(child) | Occupant::Fork(child) => Some(child.pid),
            Occupant::OneShot(process) => process.pid(),
            Occupant::Share(share) => Some(share.pid()),
            Occupant::None => None,
        }
    }

    /// How long the process had the run that it has answered last, if it has said so.
    pub(crate) fn took(&mut self) -> Option<Duration> {
        match &mut self.occupant {
            Occupant::Child(child) | Occupant::Fork(child) => child.took.take(),
            Occupant::OneShot(_) | Occupant::Share(_) | Occupant::None => None,
        }
    }

    /// Whether the run that is waited for has reached its process: its task may have begun.
    pub(crate) fn has_begun(&self) -> bool {
        match &self.occupant {
            Occupant::Child(child) | Occupant::Fork(child) => child.has_begun(),
            Occupant::OneShot(process) => process.has_begun(),
            Occupant::Share(share) => share.has_begun(),
            Occupant::None => false,
        }
    }

    /// Whether another run is known to keep the one that is waited for from going on.
    pub(crate) fn is_kept_by_another(&self, run: &ClaimedRun) -> bool {
        matches!(&self.occupant, Occupant::Share(share) if share.is_kept_by_another(run))
    }

    /// Whether the process takes what was sent to it behind the last answer.
    pub(crate) fn goes_on(&self) -> bool {
        match &self.occupant {
            Occupant::Child(child) => child.goes_on(),
            _ => false,
        }
    }

    /// Whether the warm child may be sent more before it has answered all. Not if another is to take its place after that.
    pub(crate) fn takes_more(&self) -> bool {
        let stays = |child: &Child| child.goes_on() && !child.is_outdated();
        self.successor.is_none() && matches!(&self.occupant, Occupant::Child(child) if stays(child))
    }

    /// Asks the task of the run that is waited for to stop: it is interrupted as Ctrl-C would. Whether it could be asked. It
    /// cannot when others wait behind it in the same process, because a signal does not say whom it means.
    pub(crate) fn interrupt(&mut self) -> bool {
        match &mut self.occupant {
            Occupant::Child(child) | Occupant::Fork(child) => child.interrupt(),
            Occupant::OneShot(process) => process.interrupt(),
            Occupant::Share(share) => share.interrupt(),
            Occupant::None => false,
        }
    }

    /// Takes in how far the run says that it is.
    pub(crate) fn say(&self, run: &ClaimedRun, note: Note) {
        if let Some(progress) = note.progress.filter(|_| note.kind == NoteKind::Progress) {
            self.executors.live.say(run, progress.get().to_owned());
        }
    }

    /// What the process prints.
    fn output(&self) -> Option<&Captured> {
        match &self.occupant {
            Occupant::Child(child) | Occupant::Fork(child) => Some(&child.output),
            Occupant::OneShot(process) => Some(process.output()),
            Occupant::Share(share) => share.output(),
            Occupant::None => None,
        }
    }

    /// Lets others look at what the attempt prints while it runs.
    fn show_output(&self, run: &ClaimedRun) {
        let output = self.output().filter(|_| self.executors.settings.logs_in_database);
        self.executors.live.begin(run, output);
    }

    /// Takes what the attempt has printed and said, and writes it to a file where that is wanted.
    pub(crate) fn keep_output(&mut self, run: &ClaimedRun) -> Left {
        let progress = self.executors.live.end(run);
        let unread = match &mut self.occupant {
            // Said with each answer, and true of whatever ends without one.
            Occupant::Child(child) | Occupant::Fork(child) => std::mem::replace(&mut child.unread, true),
            Occupant::OneShot(_) | Occupant::Share(_) | Occupant::None => true,
        };
        if unread && let Some(output) = self.output() {
            output.catch_up();
        }
        match self.output() {
            Some(output) => Left { progress, ..self.executors.keep(run, output) },
            None => Left { progress, ..Left::default() },
        }
    }

    /// After an answer: a process that was for one run ends, and one that has served long enough gets a successor.
    pub(crate) async fn settle(&mut self) {
        match &mut self.occupant {
            Occupant::Child(child) => {
                child.service.count();
                let over = child.service.is_over(self.executors.settings.wear) && child.goes_on();
                if over && self.successor.is_none() {
                    let executors = Rc::clone(&self.executors);
                    self.successor =
                        Some(tokio::task::spawn_local(async move { executors.fork(Shape::Alone).await }));
                }
                return;
            }
            Occupant::OneShot(process) => {
                process.settle().await;
                self.occupant = Occupant::None;
                self.executors.guard.sweep().await;
            }
            Occupant::Fork(_) | Occupant::Share(_) | Occupant::None => {}
        }
        if let Occupant::Fork(child) = std::mem::replace(&mut self.occupant, Occupant::None) {
            child.retire();
        }
        self.step_back();
    }

    /// Kills the process and everything that it has started, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        match std::mem::replace(&mut self.occupant, Occupant::None) {
            Occupant::Child(child) | Occupant::Fork(child) => child.kill().await,
            Occupant::OneShot(process) => process.kill().await,
            Occupant::Share(share) => share.kill().await,
            Occupant::None => return self.step_back(),
        }
        // What had left its session is an orphan now.
        self.executors.guard.sweep().await;
        self.step_back();
    }

    /// The warm child goes on.
    fn step_back(&mut self) {
        if let Some(child) = self.aside.take() {
            self.occupant = Occupant::Child(child);
        }
    }

    /// Ends what the seat has. No run is in it any more.
    pub(crate) async fn leave(mut self) {
        if let Some(successor) = self.successor.take() {
            successor.abort();
        }
        self.spare.let_go();
        if matches!(self.occupant, Occupant::Share(_)) {
            return;
        }
        self.kill().await;
        self.kill().await;
    }
}
