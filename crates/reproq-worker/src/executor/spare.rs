//! A child for one run that is forked before there is one: it gets ready while the run before it is worked on, or while there
//! is none.

use std::rc::Rc;

use tokio::task::JoinHandle;

use super::child::Child;
use super::edition::Edition;
use super::shape::Shape;
use super::zygote::Zygote;
use super::{ExecutorError, Executors};

/// One slot's.
#[derive(Default)]
pub(super) struct Spare {
    forking: Option<Forking>,
}

struct Forking {
    child: JoinHandle<Result<Child, ExecutorError>>,
    /// The newest when it was asked for: the child may only be newer.
    edition: Edition,
}

impl Spare {
    /// Has one forked, unless it is there. Not where each child imports the site for itself: it would take as much memory as
    /// the run.
    pub(super) fn order(&mut self, executors: &Rc<Executors>) {
        let edition = executors.zygote.as_ref().and_then(Zygote::forkable);
        if let (None, Some(edition)) = (&self.forking, edition) {
            let executors = Rc::clone(executors);
            let child = tokio::task::spawn_local(async move { executors.fork(Shape::Once).await });
            self.forking = Some(Forking { child, edition });
        }
    }

    /// The one that is there or on its way, or else another. The caller may stop waiting at any time.
    pub(super) async fn take(&mut self, executors: &Executors) -> Result<Child, ExecutorError> {
        if let Some(forking) = &mut self.forking {
            let child = (&mut forking.child).await;
            self.forking = None;
            // Why there is none, the next one says, if it is still so.
            if let Ok(Ok(mut child)) = child {
                if child.is_outdated() {
                    child.retire();
                } else if child.is_idle() {
                    return Ok(child);
                } else {
                    tracing::debug!(
                        pid = child.pid,
                        "a child that was forked ahead is gone; forking another"
                    );
                    child.kill().await;
                }
            }
        }
        executors.fork(Shape::Once).await
    }

    /// Whether the site's code may have changed since.
    pub(super) fn is_outdated(&self) -> bool {
        self.forking.as_ref().is_some_and(|forking| forking.edition.is_outdated())
    }

    /// Lets it end by itself. Whether there was one.
    pub(super) fn let_go(&mut self) -> bool {
        let Some(Forking { child, .. }) = self.forking.take() else { return false };
        tokio::task::spawn_local(async move {
            if let Ok(Ok(child)) = child.await {
                child.retire();
            }
        });
        true
    }
}
