//! Children that are started and not forked, for a site that cannot be forked: each imports it for itself.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use reproq_store::Stream;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::child::{Child, End, Origin, Outgoing};
use super::edition::Edition;
use super::guard::{Guard, Launched};
use super::launch::{Launch, Named, word};
use super::output::Captured;
use super::shape::Shape;
use super::wear::Service;
use super::{ExecutorError, frames};
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
    let refused = |what| move |source| ExecutorError::System { what, source };
    let spawn = |source| ExecutorError::Spawn { python: settings.python.display().to_string(), source };
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from);
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(refused("a socket for a child"))?;
    let (out_read, stdout) = pipe().map_err(refused("a pipe for a child"))?;
    let (err_read, stderr) = pipe().map_err(refused("a pipe for a child"))?;
    let python = word(&settings.python).map_err(spawn)?;
    let mut words = vec![python, "-m".to_owned(), settings.module.clone()];
    if let Some(shared) = shape.shared() {
        words.extend(["--shared".to_owned(), shared.to_owned()]);
    }
    words.push("--child".to_owned());
    let launch = Launch {
        words,
        set: settings.environment(),
        stdin: None,
        stdout,
        stderr,
        extra: Some((OwnedFd::from(theirs), Named::LastArgument)),
        adopts: true,
    };
    let launched = guard.launch(launch).await.map_err(spawn)?;
    let mut output = Captured::new(settings.max_log_bytes, true);
    for (stream, pipe) in [(Stream::Stdout, out_read), (Stream::Stderr, err_read)] {
        output.read(stream, pipe).map_err(refused("a pipe for a child"))?;
    }
    ours.set_nonblocking(true).map_err(refused("a socket for a child"))?;
    let pid = launched.pid();
    let (deeds, asked) = mpsc::unbounded_channel();
    let (sender, ended) = oneshot::channel();
    tokio::task::spawn_local(accompany(launched, asked, sender));
    Ok(Child {
        pid,
        stream: UnixStream::from_std(ours).map_err(refused("a socket for a child"))?,
        output,
        end: End::Awaited(ended),
        received: frames::FrameBuffer::default(),
        outgoing: Outgoing::default(),
        service: Service::new(pid),
        edition,
        unread: true,
        retired: None,
        origin: Origin::Started(deeds),
    })
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
