//! What a child and the worker have between them: a stream, and what the child prints.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;

use reproq_store::Stream;
use rustix::pipe::{PipeFlags, pipe_with};

use super::child::{Child, End, Origin, Outgoing};
use super::edition::Edition;
use super::output::Captured;
use super::socket::Socket;
use super::wear::Service;
use super::{ExecutorError, frames};

/// The worker's ends.
pub(super) struct Ours {
    stream: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// The child's.
pub(super) struct Theirs {
    pub(super) stream: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Makes them.
pub(super) fn pair() -> Result<(Ours, Theirs), ExecutorError> {
    let (stream, other) = StdStream::pair().map_err(refused("a socket for a child"))?;
    let pipe =
        || pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from).map_err(refused("a pipe for a child"));
    let ((stdout, out), (stderr, err)) = (pipe()?, pipe()?);
    Ok((
        Ours { stream: stream.into(), stdout, stderr },
        Theirs { stream: other.into(), stdout: out, stderr: err },
    ))
}

impl Ours {
    /// The child that has the other ends.
    pub(super) fn child(
        self,
        pid: i32,
        end: End,
        origin: Origin,
        edition: Edition,
        max_log_bytes: usize,
    ) -> Result<Child, ExecutorError> {
        let mut output = Captured::new(max_log_bytes, true);
        let socket = Socket::new(self.stream);
        for (stream, pipe) in [(Stream::Stdout, self.stdout), (Stream::Stderr, self.stderr)] {
            output.read(stream, pipe, Some(socket.descriptor())).map_err(refused("a pipe for a child"))?;
        }
        Ok(Child {
            pid,
            socket,
            output,
            end,
            received: frames::FrameBuffer::default(),
            outgoing: Outgoing::default(),
            service: Service::new(pid),
            edition,
            unread: true,
            busy: false,
            took: None,
            retired: None,
            origin,
        })
    }
}

fn refused(what: &'static str) -> impl Fn(std::io::Error) -> ExecutorError {
    move |source| ExecutorError::System { what, source }
}
