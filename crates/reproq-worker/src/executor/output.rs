//! What a process prints: always read, so that it never blocks, and only the end of it kept.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

/// The end of one stream of a process.
pub(super) struct Output {
    kept: Rc<RefCell<Kept>>,
    pipe: Option<Rc<Receiver>>,
    reader: Option<JoinHandle<()>>,
}

struct Kept {
    bytes: VecDeque<u8>,
    limit: usize,
    dropped: u64,
    echo: bool,
}

impl Output {
    /// Starts reading. With `echo`, what is read also goes to the worker's standard error.
    pub(super) fn of(pipe: OwnedFd, limit: usize, echo: bool) -> std::io::Result<Self> {
        let pipe = Rc::new(Receiver::from_owned_fd(pipe)?);
        let kept = Rc::new(RefCell::new(Kept { bytes: VecDeque::new(), limit, dropped: 0, echo }));
        let (source, sink) = (Rc::clone(&pipe), Rc::clone(&kept));
        let reader = tokio::task::spawn_local(async move {
            while source.readable().await.is_ok() {
                if !read_ready(&source, &sink) {
                    return;
                }
            }
        });
        Ok(Self { kept, pipe: Some(pipe), reader: Some(reader) })
    }

    /// A stream that does not exist.
    pub(super) fn nothing() -> Self {
        let kept = Rc::new(RefCell::new(Kept { bytes: VecDeque::new(), limit: 0, dropped: 0, echo: false }));
        Self { kept, pipe: None, reader: None }
    }

    /// What has been printed so far, the end of it at least. A process flushes before it answers, so what belongs to
    /// an answered attempt is in the pipe by then.
    pub(super) fn text(&self) -> String {
        if let Some(pipe) = &self.pipe {
            read_ready(pipe, &self.kept);
        }
        let kept = self.kept.borrow();
        let (front, back) = kept.bytes.as_slices();
        let text = String::from_utf8_lossy(&[front, back].concat()).into_owned();
        if kept.dropped > 0 {
            format!("[{} bytes before this are not kept]\n{text}", kept.dropped)
        } else {
            text
        }
    }

    /// The last lines, for an error message.
    pub(super) fn tail(&self) -> String {
        const TAIL: usize = 2048;
        let text = self.text();
        let start = text.floor_char_boundary(text.len().saturating_sub(TAIL));
        text[start..].trim().to_owned()
    }

    /// Forgets what has been printed: another attempt begins.
    pub(super) fn clear(&self) {
        if let Some(pipe) = &self.pipe {
            read_ready(pipe, &self.kept);
        }
        let mut kept = self.kept.borrow_mut();
        kept.bytes.clear();
        kept.dropped = 0;
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
    }
}

/// Takes what the pipe holds now. Returns whether there may be more later.
fn read_ready(pipe: &Receiver, kept: &RefCell<Kept>) -> bool {
    let mut buffer = [0; 16 * 1024];
    // A process that prints without end must not keep the worker's one thread.
    for _ in 0..16 {
        match pipe.try_read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => kept.borrow_mut().add(&buffer[..count]),
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
    true
}

/// Shows what a task prints on the worker's standard error, where its log is. A log that nobody reads must not stop the
/// worker: what does not fit now is left out here (and still kept).
fn echo(bytes: &[u8]) {
    /// A pipe that is writable takes this much at once.
    const FITS: usize = 4096;
    let stderr = std::io::stderr();
    for part in bytes.chunks(FITS) {
        let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if !poll(&mut ready, Some(&now)).is_ok_and(|count| count > 0)
            || stderr.lock().write_all(part).is_err()
        {
            return;
        }
    }
}

impl Kept {
    fn add(&mut self, bytes: &[u8]) {
        if self.echo {
            echo(bytes);
        }
        self.bytes.extend(bytes);
        let surplus = self.bytes.len().saturating_sub(self.limit);
        self.bytes.drain(..surplus);
        self.dropped += surplus as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_and_the_rest_is_counted() {
        let mut kept = Kept { bytes: VecDeque::new(), limit: 4, dropped: 0, echo: false };
        kept.add(b"abc");
        kept.add(b"defg");
        assert_eq!(kept.bytes.iter().copied().collect::<Vec<u8>>(), b"defg");
        assert_eq!(kept.dropped, 3);
    }
}
