//! The process that has imported the site, and its replacement when it is gone or the code has changed.

mod process;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use reproq_model::Isolation;
use reproq_model::wire::TaskTraits;
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub(super) use self::process::Process;
use super::child::Child;
use super::edition::{Edition, Editions};
use super::guard::Guard;
use super::shape::Shape;
use super::{ExecutorError, spawned};
use crate::settings::ExecutorSettings;

/// The source of warm children. A zygote that has died, or does not answer, is replaced by the next fork.
pub(super) struct Zygote {
    settings: Rc<ExecutorSettings>,
    guard: Rc<Guard>,
    /// How often the site's code has changed.
    editions: Editions,
    /// Forks come from this one. An earlier one lives as long as its children do.
    process: Rc<RefCell<Option<Rc<Process>>>>,
    /// The next one, while it imports the site: for all who wait for it, and whether or not they go on waiting.
    starting: RefCell<Option<Starting>>,
}

struct Starting {
    task: AbortHandle,
    outcome: watch::Receiver<Option<Result<Rc<Process>, String>>>,
}

impl Zygote {
    /// Starts the process and waits until the site is imported.
    pub(super) async fn start(
        settings: Rc<ExecutorSettings>,
        guard: Rc<Guard>,
    ) -> Result<Self, ExecutorError> {
        let editions = Editions::default();
        let process = Rc::new(Process::start(&settings, &guard, editions.newest()).await?);
        Ok(Self {
            settings,
            guard,
            editions,
            process: Rc::new(RefCell::new(Some(process))),
            starting: RefCell::new(None),
        })
    }

    /// One more child. The caller may stop waiting at any time.
    pub(super) async fn fork(&self, shape: Shape) -> Result<Child, ExecutorError> {
        loop {
            match self.fork_of_newest(shape).await? {
                // The code has changed meanwhile.
                child if child.is_outdated() => child.retire(),
                child => return Ok(child),
            }
        }
    }

    /// Imports the site as it is now. What is forked from then on has that code; everything earlier is outdated.
    pub(super) async fn renew(&self) -> Result<(), ExecutorError> {
        let edition = self.editions.next();
        let process = Process::start(&self.settings, &self.guard, edition).await?;
        self.editions.advance();
        // Its children, if any, keep the earlier one until they have ended.
        self.process.replace(Some(Rc::new(process)));
        Ok(())
    }

    /// Where the site's own code is.
    pub(super) fn source_roots(&self) -> Vec<PathBuf> {
        self.process.borrow().as_ref().map(|process| process.source_roots().to_vec()).unwrap_or_default()
    }

    async fn fork_of_newest(&self, shape: Shape) -> Result<Child, ExecutorError> {
        let process = self.process().await?;
        if process.is_unsafe() {
            return spawned::start(&self.settings, &self.guard, shape, process.edition().clone()).await;
        }
        match Rc::clone(&process).fork(&self.settings, shape).await {
            // It had died, and nobody knew until it was asked.
            Err(_) if process.is_gone() => {
                drop(process);
                self.process().await?.fork(&self.settings, shape).await
            }
            forked => forked,
        }
    }

    /// The newest state of the code, if children that have it are forked and not started.
    pub(super) fn forkable(&self) -> Option<Edition> {
        let process = self.process.borrow();
        process.as_ref().filter(|process| !process.is_unsafe()).map(|_| self.editions.newest())
    }

    /// Where the task itself wants to run.
    pub(super) fn isolation(&self, task_path: &str) -> Option<Isolation> {
        self.of_task(task_path, |task| task.isolation).flatten()
    }

    /// Whether the task is a coroutine function.
    pub(super) fn is_async(&self, task_path: &str) -> bool {
        self.of_task(task_path, |task| task.is_async).unwrap_or_default()
    }

    fn of_task<T>(&self, task_path: &str, what: impl Fn(&TaskTraits) -> T) -> Option<T> {
        self.process.borrow().as_ref()?.task(task_path).map(what)
    }

    /// Lets the process go, and waits until it is gone: with it go all children that are left.
    pub(super) async fn stop(&self) {
        if let Some(starting) = self.starting.take() {
            starting.task.abort();
        }
        let process = self.process.take();
        if let Some(process) = process {
            process.stop().await;
        }
    }

    async fn process(&self) -> Result<Rc<Process>, ExecutorError> {
        if let Some(process) = self.process.borrow().as_ref().filter(|process| !process.is_gone()) {
            return Ok(Rc::clone(process));
        }
        let mut outcome = self.another();
        let started = outcome.wait_for(Option::is_some).await.ok().and_then(|started| started.clone());
        match started {
            Some(Ok(process)) => Ok(process),
            Some(Err(message)) => Err(ExecutorError::Fork(message)),
            None => Err(ExecutorError::Fork("the worker stops".to_owned())),
        }
    }

    /// The zygote that is being started; starts one if there is none.
    fn another(&self) -> watch::Receiver<Option<Result<Rc<Process>, String>>> {
        let mut starting = self.starting.borrow_mut();
        if let Some(starting) = starting.as_ref().filter(|starting| !starting.task.is_finished()) {
            return starting.outcome.clone();
        }
        // Its children, if any, keep it until they have ended.
        if self.process.take().is_some() {
            tracing::warn!("the zygote is gone; starting another");
        }
        let (sender, outcome) = watch::channel(None);
        let (settings, guard) = (Rc::clone(&self.settings), Rc::clone(&self.guard));
        let place = Rc::clone(&self.process);
        let edition = self.editions.newest();
        let task = tokio::task::spawn_local(async move {
            let mut started = Process::start(&settings, &guard, edition).await.map(Rc::new);
            if let Ok(process) = &mut started {
                match &mut *place.borrow_mut() {
                    // One with newer code was faster.
                    Some(newest) if process.edition().is_outdated() => *process = Rc::clone(newest),
                    place => *place = Some(Rc::clone(process)),
                }
            }
            // Nobody may wait for it any more.
            let _ = sender.send(Some(started.map_err(|error| error.to_string())));
        });
        *starting = Some(Starting { task: task.abort_handle(), outcome: outcome.clone() });
        outcome
    }
}
