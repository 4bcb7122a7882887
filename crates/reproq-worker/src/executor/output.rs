//! What a process prints: always read, so that it never blocks, and only the end of it kept.
//!
//! What is kept is text: bytes that are no UTF-8, and NUL, become U+FFFD as they are read. So positions in it are positions in
//! what is stored, and whoever follows it knows what is new.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use reproq_store::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::task::JoinHandle;
use tokio::time::{Duration, sleep};

use super::pipe::{Level, Pipe};
use super::unix;

/// Bytes of an attempt's output that go to the worker's standard error, too. What a task prints without end must not fill the disk
/// that the worker's log is on.
const ECHOED: usize = 1 << 20;

/// How long the output of a process that is given several short runs may wait. Short runs seldom print.
const HURRIED: Duration = Duration::from_millis(20);
/// How long to wait for an answer to be read.
const UNREAD: Duration = Duration::from_millis(1);

/// What a change of stream counts for, besides the text: output that changes with each letter must not take many times its room.
const CHANGE: usize = 16;

/// The end of what a process prints to both its streams, in the order in which it was read.
pub(crate) struct Captured {
    kept: Rc<RefCell<Kept>>,
    pipes: Vec<(Stream, Pipe)>,
    /// Whether the process works on one run after the other without waiting for us.
    hurried: Rc<Cell<bool>>,
    readers: Vec<JoinHandle<()>>,
}

/// Another look at the same.
#[derive(Clone)]
pub(crate) struct View(Rc<RefCell<Kept>>);

/// What has been printed, as it is stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Printed {
    /// `[["o", "text"], ["e", "text"], ...]`
    pub(crate) chunks: String,
    /// Bytes of text in it.
    pub(crate) bytes: u64,
    /// Bytes that came before them.
    pub(crate) dropped: u64,
}

/// What has been printed, stream by stream, each with a word about what is missing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sections {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Captured {
    /// Nothing yet; at most `limit` bytes are kept. With `echo`, what is read also goes to the worker's standard error.
    pub(crate) fn new(limit: usize, echo: bool) -> Self {
        let kept = Kept { limit, echo, ..Kept::default() };
        Self {
            kept: Rc::new(RefCell::new(kept)),
            pipes: Vec::new(),
            hurried: Rc::default(),
            readers: Vec::new(),
        }
    }

    /// What a process has printed that says so itself.
    pub(crate) fn of_text(stdout: &str, stderr: &str, limit: usize) -> Self {
        let captured = Self::new(limit, true);
        captured.kept.borrow_mut().add(Stream::Stdout, stdout.as_bytes());
        captured.kept.borrow_mut().add(Stream::Stderr, stderr.as_bytes());
        captured
    }

    /// Starts to read a stream. Of what is in several at the same time, that of the one that was named first comes first: a process
    /// that prints and then complains is to be read in this order, however late. `answers` is the socket on which the process
    /// answers one run after the other.
    pub(crate) fn read(
        &mut self,
        stream: Stream,
        pipe: OwnedFd,
        answers: Option<Rc<OwnedFd>>,
    ) -> std::io::Result<()> {
        let pipe = Pipe::new(pipe)?;
        let watch = pipe.watch()?;
        self.pipes.push((stream, pipe.clone()));
        let (pipes, sink, hurried) = (self.pipes.clone(), Rc::clone(&self.kept), Rc::clone(&self.hurried));
        self.readers.push(tokio::task::spawn_local(async move {
            while let Ok(mut ready) = watch.readable().await {
                if hurried.get() {
                    sleep(HURRIED).await;
                }
                // If no answer is unread after this moment, all of it is of the run that is waited for, or was printed before.
                let levels: Vec<Level> = pipes.iter().map(|(_, pipe)| pipe.level()).collect();
                if answers.as_deref().is_some_and(unix::has_unread) {
                    sleep(UNREAD).await;
                    continue;
                }
                if levels.last().is_none_or(Level::is_empty) {
                    if pipe.has_ended() {
                        return pipe.take(pipe.level(), |bytes| sink.borrow_mut().add(stream, bytes));
                    }
                    ready.clear_ready();
                }
                for ((stream, pipe), level) in pipes.iter().zip(levels) {
                    pipe.take(level, |bytes| sink.borrow_mut().add(*stream, bytes));
                }
            }
        }));
        Ok(())
    }

    /// Whether several runs are with the process.
    pub(crate) fn hurry(&self, hurried: bool) {
        self.hurried.set(hurried);
    }

    /// Whether nothing has been read.
    pub(crate) fn is_empty(&self) -> bool {
        let kept = self.kept.borrow();
        kept.total() == 0 && kept.partial.iter().all(Vec::is_empty)
    }

    /// For whoever looks while the process prints.
    pub(crate) fn view(&self) -> View {
        View(Rc::clone(&self.kept))
    }

    /// Takes what is in the pipes. A process flushes before it answers, so what belongs to an answered attempt is there by then. Asks
    /// the system itself: the event loop may not have heard of it yet.
    pub(crate) fn catch_up(&self) {
        self.catch_up_if(|| true);
    }

    /// The same, if that is true after it is known how much there is.
    pub(crate) fn catch_up_if(&self, wanted: impl FnOnce() -> bool) {
        let levels: Vec<Level> = self.pipes.iter().map(|(_, pipe)| pipe.level()).collect();
        if wanted() {
            for ((stream, pipe), level) in self.pipes.iter().zip(levels) {
                pipe.take(level, |bytes| self.kept.borrow_mut().add(*stream, bytes));
            }
        }
    }

    /// Everything that was read, as it is stored; none when that is nothing.
    pub(crate) fn printed(&self) -> Option<Printed> {
        self.kept.borrow_mut().end_partial();
        self.view().printed()
    }

    /// Everything that was read, stream by stream.
    pub(crate) fn sections(&self) -> Sections {
        let mut kept = self.kept.borrow_mut();
        kept.end_partial();
        Sections { stdout: kept.section(Stream::Stdout), stderr: kept.section(Stream::Stderr) }
    }

    /// The last lines of stderr, for an error message.
    pub(crate) fn tail(&self) -> String {
        const TAIL: usize = 2048;
        self.catch_up();
        let text = self.sections().stderr;
        let start = text.floor_char_boundary(text.len().saturating_sub(TAIL));
        text[start..].trim().to_owned()
    }

    /// Forgets what has been printed: another attempt begins.
    pub(crate) fn clear(&self) {
        self.kept.borrow_mut().clear();
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.readers.iter().for_each(JoinHandle::abort);
    }
}

impl View {
    /// How many bytes have been printed, kept or not: whoever has seen so many has seen all.
    pub(crate) fn total(&self) -> u64 {
        self.0.borrow().total()
    }

    /// What has been read so far; none when that is nothing.
    pub(crate) fn printed(&self) -> Option<Printed> {
        let mut kept = self.0.borrow_mut();
        (kept.total() > 0).then(|| Printed {
            bytes: kept.text.len() as u64,
            dropped: kept.dropped.iter().sum(),
            chunks: kept.chunks(),
        })
    }
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

/// Text of both streams, one piece after the other, and where each piece ends.
#[derive(Default)]
struct Kept {
    text: VecDeque<u8>,
    /// Neighbours are of different streams.
    pieces: VecDeque<(Stream, usize)>,
    limit: usize,
    /// Of stdout and of stderr.
    dropped: [u64; 2],
    /// The beginning of a character whose end has not been read, of stdout and of stderr.
    partial: [Vec<u8>; 2],
    echo: bool,
    /// Bytes of it so far.
    echoed: usize,
}

/// What is no text is replaced: all at once, because a task may print nothing else.
fn as_text(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if text.contains('\0') { text.replace('\0', "\u{FFFD}").into() } else { text }
}

/// How many bytes at the end may be the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    let most = bytes.len().min(3);
    (1..=most)
        .find(|back| {
            let length = match bytes[bytes.len() - back] {
                0xC0..=0xDF => 2,
                0xE0..=0xEF => 3,
                0xF0..=0xF7 => 4,
                _ => 0,
            };
            length > *back
        })
        .unwrap_or(0)
}

const fn place(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

impl Kept {
    fn add(&mut self, stream: Stream, bytes: &[u8]) {
        if self.echo {
            self.echo(bytes);
        }
        let partial = &mut self.partial[place(stream)];
        let joined;
        let bytes = if partial.is_empty() {
            bytes
        } else {
            joined = [partial, bytes].concat();
            &joined
        };
        let (whole, begun) = bytes.split_at(bytes.len() - unfinished(bytes));
        *partial = begun.to_vec();
        self.append(stream, as_text(whole).as_bytes());
        self.trim();
    }

    fn append(&mut self, stream: Stream, text: &[u8]) {
        match self.pieces.back_mut() {
            _ if text.is_empty() => return,
            Some((last, length)) if *last == stream => *length += text.len(),
            _ => self.pieces.push_back((stream, text.len())),
        }
        self.text.extend(text);
    }

    /// Drops the beginning until the rest fits.
    fn trim(&mut self) {
        while let Some((stream, length)) = self.pieces.front().copied() {
            // Changes of stream take their room, too.
            let taken = self.text.len() + CHANGE * (self.pieces.len() - 1);
            let Some(surplus) = taken.checked_sub(self.limit).filter(|surplus| *surplus > 0) else { return };
            let mut cut = surplus.min(length);
            // The middle of a character is no place to begin.
            while cut < length && self.text.get(cut).is_some_and(|byte| byte & 0xC0 == 0x80) {
                cut += 1;
            }
            self.text.drain(..cut);
            self.dropped[place(stream)] += cut as u64;
            if cut == length {
                self.pieces.pop_front();
            } else if let Some(front) = self.pieces.front_mut() {
                front.1 -= cut;
            }
        }
    }

    fn total(&self) -> u64 {
        self.text.len() as u64 + self.dropped.iter().sum::<u64>()
    }

    /// The end of a character does not come any more.
    fn end_partial(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let begun = std::mem::take(&mut self.partial[place(stream)]);
            self.append(stream, as_text(&begun).as_bytes());
        }
        self.trim();
    }

    /// The pieces as text.
    fn texts(&mut self) -> Vec<(Stream, &str)> {
        let mut rest: &[u8] = self.text.make_contiguous();
        self.pieces
            .iter()
            .map(|(stream, length)| {
                let (piece, behind) = rest.split_at(*length);
                rest = behind;
                // Pieces begin and end with a character.
                (*stream, std::str::from_utf8(piece).unwrap_or_default())
            })
            .collect()
    }

    fn chunks(&mut self) -> String {
        let letter = |stream| if stream == Stream::Stdout { "o" } else { "e" };
        let chunks: Vec<(&str, &str)> =
            self.texts().into_iter().map(|(stream, text)| (letter(stream), text)).collect();
        serde_json::to_string(&chunks).unwrap_or_else(|_| "[]".to_owned())
    }

    fn section(&mut self, wanted: Stream) -> String {
        let dropped = self.dropped[place(wanted)];
        let parts = self.texts().into_iter().filter(|(stream, _)| *stream == wanted).map(|(_, text)| text);
        let text: String = parts.collect();
        if dropped > 0 { format!("[{dropped} bytes before this are not kept]\n{text}") } else { text }
    }

    /// Shows it, up to a bound.
    fn echo(&mut self, bytes: &[u8]) {
        let before = self.echoed;
        self.echoed = before.saturating_add(bytes.len());
        echo(&bytes[..ECHOED.saturating_sub(before).min(bytes.len())]);
        if before <= ECHOED && self.echoed > ECHOED {
            echo(b"\n[the attempt prints more than is shown here; `reproq logs` has the end of it]\n");
        }
    }

    fn clear(&mut self) {
        self.echoed = 0;
        self.text.clear();
        self.pieces.clear();
        self.dropped = [0; 2];
        self.partial = Default::default();
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
