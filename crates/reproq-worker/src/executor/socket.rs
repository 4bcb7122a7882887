//! A child's socket: watched by the runtime, or left alone for a moment while the child has much to say.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};

use super::unix;

/// The worker's end of the stream to a child. Dropping it closes the stream.
pub(super) struct Socket {
    stream: Rc<OwnedFd>,
    /// While there is none, nothing that the child says wakes the worker.
    watch: Option<AsyncFd<Rc<OwnedFd>>>,
}

impl Socket {
    pub(super) fn new(stream: OwnedFd) -> Self {
        Self { stream: Rc::new(stream), watch: None }
    }

    pub(super) fn descriptor(&self) -> Rc<OwnedFd> {
        Rc::clone(&self.stream)
    }

    /// Waits until it can be read, or also written if `writes`.
    pub(super) async fn ready(&mut self, writes: bool) -> std::io::Result<Ready> {
        let watch = match &mut self.watch {
            Some(watch) => watch,
            none => none.insert(unix::watch_shared(Rc::clone(&self.stream))?),
        };
        let interest = if writes { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        Ok(watch.ready(interest).await?.ready())
    }

    /// Has the runtime leave it alone until somebody waits for it again. What the child says is kept by the kernel meanwhile.
    pub(super) fn leave_alone(&mut self) {
        self.watch = None;
    }

    /// Reads what the runtime knows to be there, and appends it; 0 at the end of the stream, and a
    /// [`WouldBlock`](std::io::ErrorKind::WouldBlock) if nothing is.
    pub(super) fn read(&self, into: &mut Vec<u8>) -> std::io::Result<usize> {
        match &self.watch {
            Some(watch) => watch.try_io(Interest::READABLE, |stream| unix::receive(stream, into)),
            None => self.read_now(into),
        }
    }

    /// The same of what the kernel has, of which the runtime may not have heard yet.
    pub(super) fn read_now(&self, into: &mut Vec<u8>) -> std::io::Result<usize> {
        unix::receive(&self.stream, into)
    }

    /// Writes as much as it takes.
    pub(super) fn write(&self, bytes: &[u8]) -> std::io::Result<usize> {
        match &self.watch {
            Some(watch) => watch.try_io(Interest::WRITABLE, |stream| unix::send(stream, bytes)),
            None => unix::send(&self.stream, bytes),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write as _};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn pair() -> (Socket, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Socket::new(ours.into()), theirs)
    }

    #[tokio::test]
    async fn what_was_said_while_it_was_left_alone_is_read_without_waiting_or_heard_later() {
        let (mut socket, mut child) = pair();
        let mut words = Vec::with_capacity(16);
        assert!(timeout(SOON, socket.ready(true)).await.unwrap().unwrap().is_writable());
        socket.leave_alone();
        assert_eq!(socket.read(&mut words).unwrap_err().kind(), ErrorKind::WouldBlock);
        child.write_all(b"one").unwrap();
        assert_eq!(socket.read(&mut words).unwrap(), 3);
        child.write_all(b"two").unwrap();
        assert!(timeout(SOON, socket.ready(false)).await.unwrap().unwrap().is_readable());
        assert_eq!((socket.read(&mut words).unwrap(), words.as_slice()), (3, b"onetwo".as_slice()));
    }

    #[tokio::test]
    async fn what_is_there_can_be_read_before_the_runtime_has_heard_of_it() {
        let (mut socket, mut child) = pair();
        let mut words = Vec::with_capacity(16);
        assert!(timeout(SOON, socket.ready(true)).await.unwrap().unwrap().is_writable());
        child.write_all(b"one").unwrap();
        // The runtime has had no turn since.
        assert_eq!(socket.read(&mut words).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(socket.read_now(&mut words).unwrap(), 3);
    }

    #[tokio::test]
    async fn an_end_is_seen_alone_and_watched() {
        let (mut socket, child) = pair();
        drop(child);
        let mut words = Vec::with_capacity(16);
        assert_eq!(socket.read(&mut words).unwrap(), 0);
        assert!(timeout(SOON, socket.ready(false)).await.unwrap().unwrap().is_readable());
        assert_eq!(socket.read(&mut words).unwrap(), 0);
    }
}
