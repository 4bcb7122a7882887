//! The pipe that a process prints into, read so that what is taken from it is of the run whose answer is awaited.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{ioctl_fionbio, ioctl_fionread, read};
use tokio::io::unix::AsyncFd;

use super::unix;

/// One stream of a process.
#[derive(Clone)]
pub(super) struct Pipe(Rc<OwnedFd>);

/// How much is in a pipe at one moment, in bytes.
pub(super) struct Level(u64);

impl Pipe {
    pub(super) fn new(descriptor: OwnedFd) -> std::io::Result<Self> {
        ioctl_fionbio(&descriptor, true)?;
        Ok(Self(Rc::new(descriptor)))
    }

    pub(super) fn watch(&self) -> std::io::Result<AsyncFd<Rc<OwnedFd>>> {
        unix::watch_shared(Rc::clone(&self.0))
    }

    /// How much is in it now.
    pub(super) fn level(&self) -> Level {
        Level(ioctl_fionread(&*self.0).unwrap_or_default())
    }

    /// Takes as much as was in it, and not what has come since.
    pub(super) fn take(&self, Level(mut left): Level, mut sink: impl FnMut(&[u8])) {
        let mut buffer = [0; 16 * 1024];
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match read(&*self.0, &mut buffer[..most]) {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    sink(&buffer[..count]);
                    left = left.saturating_sub(count as u64);
                }
            }
        }
    }

    /// Whether nobody can print into it any more.
    pub(super) fn has_ended(&self) -> bool {
        let mut ready = [PollFd::new(&*self.0, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut ready, Some(&now)).is_err() || !ready[0].revents().is_empty()
    }
}

impl Level {
    pub(super) const fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    #[tokio::test]
    async fn no_more_is_taken_than_was_there() {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (pipe, mut writer) = (Pipe::new(ours).unwrap(), std::fs::File::from(theirs));
        let mut text = Vec::new();
        let large = vec![b'a'; 20_000];
        writer.write_all(&large).unwrap();
        let level = pipe.level();
        writer.write_all(b"later").unwrap();
        pipe.take(level, |bytes| text.extend_from_slice(bytes));
        assert_eq!(text, large);
        assert!(!pipe.has_ended());
        drop(writer);
        assert!(pipe.has_ended());
        pipe.take(pipe.level(), |bytes| text.extend_from_slice(bytes));
        assert_eq!(text.len(), large.len() + 5);
        assert!(pipe.level().is_empty());
    }
}
