//! Children that are started and not forked, for a site that cannot be forked: each imports it for itself.

use std::rc::Rc;

use tokio::sync::{mpsc, oneshot};

use super::child::{Child, End, Origin};
use super::edition::Edition;
use super::guard::{Guard, Launched};
use super::launch::{Launch, Named, word};
use super::shape::Shape;
use super::{ExecutorError, ends};
use crate::settings::ExecutorSettings;

/// What is done to such a child from afar: only the guard knows whether its process id is still its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Interrupt,
    Kill,
}

/// Starts a child. It answers its first run when it has imported the site.
pub(super) async fn start(
    settings: &ExecutorSettings,
    guard: &Rc<Guard>,
    shape: Shape,
    edition: Edition,
) -> Result<Child, ExecutorError> {
    let spawn = |source| ExecutorError::Spawn { python: settings.python.display().to_string(), source };
    let (ours, theirs) = ends::pair()?;
    let python = word(&settings.python).map_err(spawn)?;
    let mut words = vec![python, "-m".to_owned(), settings.module.clone()];
    if let Some(shared) = shape.shared() {
        words.extend(["--shared".to_owned(), shared.to_owned()]);
    }
    if shape == Shape::Once {
        words.push("--once".to_owned());
    }
    words.push("--child".to_owned());
    let launch = Launch {
        words,
        set: settings.environment(),
        stdin: None,
        stdout: theirs.stdout,
        stderr: theirs.stderr,
        extra: Some((theirs.stream, Named::LastArgument)),
        adopts: true,
    };
    let launched = guard.launch(launch).await.map_err(spawn)?;
    let pid = launched.pid();
    let (deeds, asked) = mpsc::unbounded_channel();
    let (sender, ended) = oneshot::channel();
    tokio::task::spawn_local(accompany(launched, asked, sender));
    ours.child(pid, End::Awaited(ended), Origin::Started(deeds), edition, settings.max_log_bytes)
}

/// Does to a process what it is asked to, and tells of its end.
async fn accompany(
    mut launched: Launched,
    mut asked: mpsc::UnboundedReceiver<Deed>,
    ended: oneshot::Sender<i32>,
) {
    let mut open = true;
    loop {
        tokio::select! {
            status = launched.wait() => {
                if let Some(status) = status {
                    // Whoever had the child may have let it go.
                    let _ = ended.send(status);
                }
                return;
            }
            deed = asked.recv(), if open => match deed {
                Some(Deed::Interrupt) => launched.interrupt(),
                Some(Deed::Kill) => launched.kill(),
                // It has been let go, and ends by itself: its stream is closed.
                None => open = false,
            },
        }
    }
}
