//! Children that work on several runs at once, and who is in them.

use std::cell::RefCell;
use std::rc::Rc;

use reproq_model::{Epoch, RunId};
use reproq_store::ClaimedRun;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Duration, timeout};

use super::output::Captured;
use super::shape::Shape;
use super::shared::{Key, Said, Shared};
use super::{Answer, ExecutorError, Executors};

/// How long a killed child may take to be gone.
const GONE: Duration = Duration::from_secs(2);

/// Children of one shape.
pub(super) struct Group {
    shape: Shape,
    children: RefCell<Vec<Rc<Shared>>>,
    /// One fork at a time: whoever waits for it has a place in the same child.
    forking: Mutex<()>,
}

/// One run's place in a child.
pub(super) struct Share {
    child: Rc<Shared>,
    key: Key,
    words: mpsc::UnboundedReceiver<Said>,
    /// What the run has printed; it comes with the answer.
    output: Option<Captured>,
}

impl Group {
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, children: RefCell::default(), forking: Mutex::new(()) }
    }

    /// A place for a run, in a child that has one or in a new one. The caller may stop waiting at any time.
    pub(super) async fn join(&self, executors: &Executors, run: &ClaimedRun) -> Result<Share, ExecutorError> {
        let key = key(run);
        let _one_at_a_time = match self.with_a_place(executors) {
            Some(child) => return Ok(Share::new(child, key)),
            None => self.forking.lock().await,
        };
        if let Some(child) = self.with_a_place(executors) {
            return Ok(Share::new(child, key));
        }
        let child = Shared::of(
            executors.fork(self.shape).await?,
            self.shape.places(),
            executors.settings.max_log_bytes,
        );
        self.children.borrow_mut().push(Rc::clone(&child));
        Ok(Share::new(child, key))
    }

    fn with_a_place(&self, executors: &Executors) -> Option<Rc<Shared>> {
        self.let_go(executors);
        self.children.borrow().iter().find(|child| child.has_place()).cloned()
    }

    /// Lets those go that take no other run: they go on with the runs in them, and end after the last.
    pub(super) fn let_go(&self, executors: &Executors) {
        self.children.borrow_mut().retain(|child| child.takes_more(executors.settings.wear));
    }
}

fn key(run: &ClaimedRun) -> Key {
    (run.id, run.epoch)
}

impl Share {
    fn new(child: Rc<Shared>, key: Key) -> Self {
        let words = child.enter(key);
        Self { child, key, words, output: None }
    }

    pub(super) fn pid(&self) -> i32 {
        self.child.pid
    }

    pub(super) fn send(&self, run: &ClaimedRun, worker_id: &str) {
        self.child.send(run, worker_id);
    }

    pub(super) async fn answer(&mut self) -> Answer {
        loop {
            match self.words.recv().await {
                Some(Said::Printed(output)) => self.output = Some(output),
                Some(Said::Answer(answer)) => return answer,
                None => return Answer::NotBegun { why: "its child is gone".to_owned() },
            }
        }
    }

    pub(super) fn output(&self) -> Option<&Captured> {
        self.output.as_ref()
    }

    pub(super) fn has_begun(&self) -> bool {
        self.child.has_begun(self.key)
    }

    pub(super) fn interrupt(&self) -> bool {
        self.child.cancel(self.key)
    }

    pub(super) fn is_kept_by_another(&self, run: &ClaimedRun) -> bool {
        let (id, epoch): (RunId, Epoch) = key(run);
        self.child.keeper().is_some_and(|keeper| keeper != (id, epoch))
    }

    /// Kills the child: the others in it are given back.
    pub(super) async fn kill(self) {
        let child = Rc::clone(&self.child);
        drop(self);
        child.kill();
        // Should nobody know its end, the zygote hangs.
        let _ = timeout(GONE, child.ended()).await;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.child.leave(self.key);
    }
}
