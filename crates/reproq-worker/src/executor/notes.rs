//! What a process of its own says about its run while it works on it: frames, on a pipe beside its answer.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;

use reproq_model::wire::Note;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe::Receiver;

use super::child::{self, Word};
use super::frames::FrameBuffer;

/// Where a process finds the number of its end: `contracts/executor.md`, "Mode pool", notes.
pub(super) const VARIABLE: &str = "REPROQ_NOTES_FD";

/// The reading end, and what has been read.
#[derive(Default)]
pub(super) struct Notes {
    /// None: nothing is to be expected.
    pipe: Option<Receiver>,
    received: FrameBuffer,
}

impl Notes {
    /// Makes the pipe; the process gets the other end.
    pub(super) fn open(&mut self) -> std::io::Result<OwnedFd> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        self.pipe = Some(Receiver::from_owned_fd(read)?);
        Ok(write)
    }

    /// Waits for the next note, for ever if there is none. Whoever stops waiting loses nothing.
    pub(super) async fn next(&mut self) -> Note {
        loop {
            if let Some(note) = self.take() {
                return note;
            }
            match &self.pipe {
                Some(pipe) if pipe.readable().await.is_ok() => self.read(Receiver::try_read_buf),
                Some(_) => self.pipe = None,
                None => std::future::pending().await,
            }
        }
    }

    /// The next of those that are there. Asks the system itself: the event loop may not have heard of the last ones yet.
    pub(super) fn last(&mut self) -> Option<Note> {
        self.read(|pipe, room| {
            let mut buffer = [0; 16 * 1024];
            let count = rustix::io::read(pipe, &mut buffer)?;
            room.extend_from_slice(&buffer[..count]);
            Ok(count)
        });
        self.take()
    }

    fn read(&mut self, read: impl Fn(&Receiver, &mut Vec<u8>) -> std::io::Result<usize>) {
        let Some(pipe) = &self.pipe else { return };
        match read(pipe, self.received.room()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => self.pipe = None,
            Ok(_) => {}
        }
    }

    fn take(&mut self) -> Option<Note> {
        loop {
            match self.received.take() {
                Ok(Some(payload)) => {
                    if let Ok(Word::Note(note)) = child::read(payload) {
                        return Some(note);
                    }
                }
                Ok(None) => return None,
                // A task has written to a descriptor that is not its own. Its answer comes another way.
                Err(error) => {
                    tracing::warn!(%error, "a task's notes cannot be read; no more of them are");
                    *self = Self::default();
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use super::super::frames;
    use super::*;

    fn frame(current: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let note =
            format!(r#"{{"type":"progress","result_id":"7","epoch":0,"progress":{{"current":{current}}}}}"#);
        frames::write(note.as_bytes(), &mut bytes);
        bytes
    }

    fn current(note: &Note) -> String {
        note.progress.as_ref().unwrap().get().to_owned()
    }

    #[tokio::test]
    async fn notes_come_one_after_the_other_and_the_last_ones_at_once() {
        let mut notes = Notes::default();
        let mut process = File::from(notes.open().unwrap());
        process.write_all(&[frame(1), frame(2)].concat()).unwrap();
        assert_eq!(current(&notes.next().await), r#"{"current":1}"#);
        assert_eq!(current(&notes.next().await), r#"{"current":2}"#);
        assert!(notes.last().is_none());
        process.write_all(&frame(3)).unwrap();
        drop(process);
        assert_eq!(current(&notes.last().unwrap()), r#"{"current":3}"#);
        assert!(notes.last().is_none());
    }

    #[tokio::test]
    async fn what_is_no_frame_ends_the_notes_and_nothing_else() {
        let mut notes = Notes::default();
        let mut process = File::from(notes.open().unwrap());
        process.write_all(&[b"garbage".to_vec(), frame(1)].concat()).unwrap();
        assert!(notes.last().is_none() && notes.last().is_none());
    }
}
