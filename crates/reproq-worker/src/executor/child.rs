//! A warm child: runs go in, answers come out, in order.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::rc::Rc;

use reproq_model::wire::{Note, ResultFrame, RunFrame};
use reproq_model::{Epoch, RunId};
use reproq_store::ClaimedRun;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, sleep, timeout};

use super::edition::Edition;
use super::output::Captured;
use super::socket::Socket;
use super::spawned::Deed;
use super::wear::Service;
use super::zygote::Process;
use super::{Answer, frames, unix};

/// How long the zygote may take to say how a child ended.
const OBITUARY: Duration = Duration::from_secs(2);

/// How long to leave a child alone that has a line of short runs before it.
const LINGER: Duration = Duration::from_millis(1);
/// So many runs without an answer are a line: with fewer, the child would soon wait for the worker.
const LONG_LINE: usize = 8;

/// One process of the pool. Dropping it closes its stream, upon which it exits.
pub(super) struct Child {
    pub(super) pid: i32,
    pub(super) socket: Socket,
    pub(super) output: Captured,
    pub(super) end: End,
    pub(super) received: frames::FrameBuffer,
    pub(super) outgoing: Outgoing,
    pub(super) service: Service,
    pub(super) edition: Edition,
    /// Whether there may be something in the pipes of what the run has printed.
    pub(super) unread: bool,
    /// Whether it answers one run after the other without a pause.
    pub(super) busy: bool,
    /// How long it had the run that it has answered last.
    pub(super) took: Option<Duration>,
    /// It has said that it begins no other run, and why.
    pub(super) retired: Option<String>,
    pub(super) origin: Origin,
}

/// Where a child comes from.
pub(super) enum Origin {
    /// A child dies with its zygote, so the zygote has to stay.
    Forked { _zygote: Rc<Process> },
    /// Somebody else signals it.
    Started(mpsc::UnboundedSender<Deed>),
}

/// What is known of a child's end.
pub(super) enum End {
    /// The zygote will tell.
    Awaited(oneshot::Receiver<i32>),
    /// Its `waitpid` status; none: the zygote has died, and the child with it. Its process id may be another's by now.
    Known(Option<i32>),
}

/// The runs that have no answer yet, as far as they have not been sent.
#[derive(Default)]
pub(super) struct Outgoing {
    /// What is not sent yet.
    rest: Vec<u8>,
    /// Bytes in all, and those of them that have been sent.
    added: u64,
    sent: u64,
    expected: VecDeque<Expected>,
}

/// A run that has no answer yet.
enum Expected {
    /// How many bytes in all have to be sent for the child to have all of it.
    Frame(u64),
    /// It could not be put into a frame.
    Unfit(String),
}

/// Why nothing more comes from a child.
enum Silence {
    Ended,
    /// It ended and left unread what was sent to it.
    EndedUnread,
    Broken(std::io::Error),
}

impl Child {
    /// Whether it waits for work: it lives, and says nothing.
    pub(super) fn is_idle(&mut self) -> bool {
        !self.end.is_known() && !unix::speaks(&self.socket)
    }

    /// Whether it takes another run, and what was sent to it behind the last answer.
    pub(super) fn goes_on(&self) -> bool {
        self.retired.is_none()
    }

    /// Whether the site's code has changed since. What was sent to it may have begun, so it is only asked between runs.
    pub(super) fn is_outdated(&self) -> bool {
        self.edition.is_outdated()
    }

    /// Adds a run to what is to be sent.
    pub(super) fn send(&mut self, run: &ClaimedRun, worker_id: &str) {
        self.unread = true;
        self.busy = true;
        self.outgoing.add(frame(run, worker_id));
    }

    /// Whether several runs have no answer yet.
    pub(super) fn has_line(&self) -> bool {
        self.outgoing.expected.len() > 1
    }

    /// Whether the next run to be answered has been sent to its end: before that, the child cannot have begun it.
    pub(super) fn has_begun(&self) -> bool {
        match self.outgoing.expected.front() {
            Some(Expected::Frame(end)) => self.outgoing.sent >= *end,
            Some(Expected::Unfit(_)) | None => false,
        }
    }

    /// Waits for the next answer, which must be `run`'s, and sends meanwhile what is not sent yet: a child that does
    /// not read and a worker that does not read can never wait for each other.
    pub(super) async fn answer(&mut self, run: &ClaimedRun) -> Answer {
        if let Some(message) = self.outgoing.take_unfit() {
            return Answer::Unfit { message };
        }
        loop {
            match self.heard(run) {
                Ok(Some(answer)) => return answer,
                Ok(None) => {}
                Err(how) => return self.died(how),
            }
            if let Err(silence) = self.talk().await {
                return self.explain(silence).await;
            }
        }
    }

    /// What it has said of the run and nobody has read yet. Before its end is decided otherwise: an answer that is there counts.
    pub(super) fn overheard(&mut self, run: &ClaimedRun) -> Option<Answer> {
        // Its end comes again to whoever waits; one whose words are wrong is killed by whoever has asked, answer or not.
        while self.socket.read_now(self.received.room()).is_ok_and(|count| count > 0) {}
        self.heard(run).ok().flatten()
    }

    /// The next word about the run among those that have been read. The error is what is wrong with the child.
    fn heard(&mut self, run: &ClaimedRun) -> Result<Option<Answer>, String> {
        while let Some(payload) = self.received.take().map_err(|error| error.to_string())? {
            match read(payload)? {
                Word::Result(frame) if key(&frame.result_id, frame.epoch) == Some((run.id, run.epoch)) => {
                    return Ok(Some(self.result(run, frame)));
                }
                Word::Result(frame) => {
                    return Err(format!("it answered run {} instead of {}", frame.result_id, run.id));
                }
                Word::Note(note) if key(&note.result_id, note.epoch) == Some((run.id, run.epoch)) => {
                    return Ok(Some(Answer::Note(Box::new(note))));
                }
                // A late word about a run that has ended is of no use.
                Word::Note(_) => {}
            }
        }
        Ok(None)
    }

    fn result(&mut self, run: &ClaimedRun, frame: ResultFrame) -> Answer {
        self.outgoing.expected.pop_front();
        if let Some(why) = &frame.retire {
            tracing::warn!(
                result_id = %run.id,
                task = run.task_path,
                why,
                "a task has left something behind; its child is replaced, which takes a few milliseconds each time"
            );
        }
        self.retired = frame.retire;
        if frame.output {
            // It begins no other run before the pipes are empty. If it has answered more, they were: what is there is not this run's.
            let (received, socket) = (&self.received, &self.socket);
            self.output.catch_up_if(|| received.is_empty() && !unix::has_unread(socket));
        }
        self.unread = false;
        // One that has printed waits until that is read.
        self.busy &= !frame.output;
        self.took = frame.took_us.map(Duration::from_micros);
        Answer::Envelope(Box::new(frame.envelope))
    }

    /// Writes or reads something, whichever is possible first.
    async fn talk(&mut self) -> Result<(), Silence> {
        if self.end.is_known() {
            // Something that it has forked may hold its stream open: what is not there yet does not come any more.
            return match self.socket.read_now(self.received.room()) {
                Ok(0) => Err(Silence::Ended),
                Ok(_) => Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Silence::Ended),
                Err(error) => Err(error.into()),
            };
        }
        if self.busy && self.outgoing.expected.len() >= LONG_LINE {
            if !self.outgoing.rest().is_empty() {
                self.write()?;
            }
            if self.outgoing.rest().is_empty() {
                return self.linger().await;
            }
        }
        let ready = tokio::select! {
            biased;
            ready = self.socket.ready(!self.outgoing.rest().is_empty()) => ready?,
            _ = self.end.wait() => return Ok(()),
        };
        if ready.is_writable() {
            self.write()?;
        }
        if ready.is_readable() {
            match self.socket.read(self.received.room()) {
                Ok(0) => return Err(Silence::Ended),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Sends as much as it takes.
    fn write(&mut self) -> Result<(), Silence> {
        match self.socket.write(self.outgoing.rest()) {
            Ok(count) => self.outgoing.sent(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // It has ended. What it has said before is still to be read.
            Err(_) if self.has_begun() => self.outgoing.forget_rest(),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Leaves it alone with its line for a moment, and reads at once what it has said meanwhile. To be woken by each answer
    /// would cost the worker, and the child that wakes it, a good part of what a short task costs.
    async fn linger(&mut self) -> Result<(), Silence> {
        self.socket.leave_alone();
        sleep(LINGER).await;
        match self.socket.read_now(self.received.room()) {
            Ok(0) => Err(Silence::Ended),
            Ok(_) => Ok(()),
            // This one takes longer than it was thought to.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.busy = false;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn explain(&mut self, silence: Silence) -> Answer {
        let alone = self.outgoing.expected.len() == 1;
        let how = match &silence {
            Silence::Broken(error) => format!("its stream broke: {error}"),
            Silence::Ended | Silence::EndedUnread => self.how_it_ended().await,
        };
        // All that it had not read is of this run.
        if !self.has_begun() || (alone && matches!(silence, Silence::EndedUnread)) {
            return Answer::NotBegun { why: format!("a child ended before it had read its run: {how}") };
        }
        if self.lost_its_origin() {
            return Answer::Bystander { why: how };
        }
        self.died(how)
    }

    /// Whether it has died with the process that had forked it, as far as is known.
    pub(super) const fn lost_its_origin(&self) -> bool {
        matches!(self.end, End::Known(None))
    }

    /// Waits for the zygote to say how it ended: without a known end, it may live.
    pub(super) async fn how_it_ended(&mut self) -> String {
        match timeout(OBITUARY, self.end.wait()).await {
            Ok(Some(status)) => unix::describe(status),
            Ok(None) => "it died with the process that had forked it".to_owned(),
            Err(_) => "it closed its stream to the worker".to_owned(),
        }
    }

    fn died(&mut self, how: String) -> Answer {
        self.kill_group();
        // Whatever it has printed last.
        self.output.catch_up();
        Answer::Died { how, stderr_tail: self.output.tail() }
    }

    /// Interrupts the task of the run that is waited for; false when it has not begun, or is not the last one that was sent.
    /// Nothing is sent before its answer is here, so a signal that comes late finds the child between two runs.
    pub(super) fn interrupt(&mut self) -> bool {
        let possible = self.has_begun() && self.outgoing.expected.len() == 1 && !self.end.is_known();
        match &self.origin {
            Origin::Forked { .. } if possible => unix::interrupt(self.pid),
            // One that is gone needs no asking.
            Origin::Started(deeds) if possible => drop(deeds.send(Deed::Interrupt)),
            _ => {}
        }
        possible
    }

    /// Lets it end by itself, which it does when its stream is closed; one that does not is killed.
    pub(super) fn retire(mut self) {
        tokio::task::spawn_local(async move {
            unix::hang_up(&self.socket);
            if timeout(OBITUARY, self.end.wait()).await.is_err() {
                tracing::warn!(pid = self.pid, "a child that was to end goes on; killing it");
                self.kill().await;
            }
        });
    }

    /// Kills it with its process group, and waits until it is gone.
    pub(super) async fn kill(mut self) {
        self.kill_group();
        // Should nobody know its end, the zygote hangs.
        let _ = timeout(OBITUARY, self.end.wait()).await;
    }

    fn kill_group(&mut self) {
        // A child that has ended was killed with its group by the zygote, as long as the number was its own.
        match &self.origin {
            _ if self.end.is_known() => {}
            Origin::Forked { .. } => unix::kill_group(self.pid),
            Origin::Started(deeds) => drop(deeds.send(Deed::Kill)),
        }
    }
}

impl End {
    fn is_known(&mut self) -> bool {
        if let Self::Awaited(end) = self {
            match end.try_recv() {
                Ok(status) => *self = Self::Known(Some(status)),
                Err(oneshot::error::TryRecvError::Closed) => *self = Self::Known(None),
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
        }
        matches!(self, Self::Known(_))
    }

    async fn wait(&mut self) -> Option<i32> {
        match self {
            Self::Known(status) => *status,
            Self::Awaited(end) => {
                let status = end.await.ok();
                *self = Self::Known(status);
                status
            }
        }
    }
}

impl Outgoing {
    fn add(&mut self, frame: Result<Vec<u8>, serde_json::Error>) {
        self.expected.push_back(match frame {
            Ok(payload) => {
                let before = self.rest.len();
                frames::write(&payload, &mut self.rest);
                self.added += (self.rest.len() - before) as u64;
                Expected::Frame(self.added)
            }
            Err(error) => Expected::Unfit(format!("the run holds text that is no JSON: {error}")),
        });
    }

    fn rest(&self) -> &[u8] {
        &self.rest
    }

    fn sent(&mut self, count: usize) {
        self.rest.drain(..count);
        self.sent += count as u64;
    }

    fn forget_rest(&mut self) {
        self.rest.clear();
    }

    fn take_unfit(&mut self) -> Option<String> {
        match self.expected.pop_front()? {
            Expected::Unfit(message) => Some(message),
            frame @ Expected::Frame(_) => {
                self.expected.push_front(frame);
                None
            }
        }
    }
}

impl From<std::io::Error> for Silence {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionReset => Self::EndedUnread,
            ErrorKind::BrokenPipe => Self::Ended,
            _ => Self::Broken(error),
        }
    }
}

/// What a child says.
pub(super) enum Word {
    Result(ResultFrame),
    Note(Note),
}

/// Reads a payload. The error says what is wrong with the child.
pub(super) fn read(payload: &[u8]) -> Result<Word, String> {
    // Told apart by their beginning: the answer of a short task is read once, as what it is.
    const RESULT: &[u8] = br#"{"type":"result""#;
    let word = if payload.starts_with(RESULT) {
        serde_json::from_slice(payload).map(Word::Result)
    } else {
        serde_json::from_slice(payload).map(Word::Note)
    };
    word.map_err(|error| format!("what it says is no answer: {error}"))
}

/// The run that a frame is about.
pub(super) fn key(result_id: &str, epoch: i32) -> Option<(RunId, Epoch)> {
    result_id.parse().ok().map(|id| (RunId(id), Epoch(epoch)))
}

/// A run as a child reads it.
pub(super) fn frame(run: &ClaimedRun, worker_id: &str) -> Result<Vec<u8>, serde_json::Error> {
    let raw = serde_json::from_str::<&RawValue>;
    serde_json::to_vec(&RunFrame {
        kind: "run",
        result_id: run.id.to_string(),
        epoch: run.epoch.0,
        attempt: run.attempts,
        worker_id,
        backend_alias: &run.backend_alias,
        enqueued_at: run.enqueued_at,
        started_at: run.started_at,
        last_attempted_at: run.last_attempted_at,
        worker_ids: raw(&run.worker_ids)?,
        errors: raw(&run.errors)?,
        metadata: raw(&run.metadata)?,
        spec: raw(&run.spec)?,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::future::ready;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use tokio::task::LocalSet;

    use super::super::edition::Editions;
    use super::super::ends;
    use super::*;
    use crate::sample;

    struct Met {
        child: Child,
        /// The child's end of the stream.
        stream: UnixStream,
        /// What it prints into.
        stdout: File,
        /// Tells how it has ended.
        end: oneshot::Sender<i32>,
        _deeds: mpsc::UnboundedReceiver<Deed>,
    }

    /// A child that is no process, with three runs before it. The runtime watches its stream and has had no turn since.
    async fn met() -> Met {
        let (ours, theirs) = ends::pair().unwrap();
        let ((end, ended), (deeds, asked)) = (oneshot::channel(), mpsc::unbounded_channel());
        let origin = Origin::Started(deeds);
        let mut child =
            ours.child(0, End::Awaited(ended), origin, Editions::default().newest(), 1024).unwrap();
        (1..=3).for_each(|id| child.send(&run(id), "worker"));
        let first = run(1);
        tokio::select! {
            biased;
            _ = child.answer(&first) => unreachable!("it has said nothing"),
            () = ready(()) => {}
        }
        Met { child, stream: theirs.stream.into(), stdout: theirs.stdout.into(), end, _deeds: asked }
    }

    fn run(id: i64) -> ClaimedRun {
        let texts = |text: &str| text.to_owned();
        ClaimedRun {
            spec: texts("{}"),
            worker_ids: texts("[]"),
            errors: texts("[]"),
            metadata: texts("{}"),
            ..sample::run(id, 1)
        }
    }

    fn say(stream: &mut UnixStream, id: i64) {
        say_printed(stream, id, false);
    }

    fn say_printed(stream: &mut UnixStream, id: i64, output: bool) {
        let word = format!(
            r#"{{"type":"result","result_id":"{id}","epoch":1,"took_us":70,"output":{output},"envelope":{{"ok":true,"return":null}}}}"#
        );
        let mut frame = Vec::new();
        frames::write(word.as_bytes(), &mut frame);
        stream.write_all(&frame).unwrap();
    }

    #[tokio::test]
    async fn what_was_answered_and_not_read_counts_when_something_else_is_to_end_the_run() {
        let course = async {
            let mut met = met().await;
            assert!(met.child.overheard(&run(1)).is_none());
            (1..=2).for_each(|id| say(&mut met.stream, id));
            for id in 1..=2 {
                assert!(matches!(met.child.overheard(&run(id)), Some(Answer::Envelope(_))), "{id}");
                assert_eq!(met.child.took.take(), Some(Duration::from_micros(70)));
            }
            assert!(met.child.overheard(&run(3)).is_none());
        };
        LocalSet::new().run_until(course).await;
    }

    #[tokio::test]
    async fn what_is_in_the_pipes_is_the_answered_runs_unless_another_was_answered_since() {
        let course = async {
            let mut met = met().await;
            say_printed(&mut met.stream, 1, true);
            met.stdout.write_all(b"of the first").unwrap();
            assert!(met.child.overheard(&run(1)).is_some());
            assert_eq!(met.child.output.view().total(), 12);
            say_printed(&mut met.stream, 2, true);
            say(&mut met.stream, 3);
            met.stdout.write_all(b"of one after the third").unwrap();
            assert!(met.child.overheard(&run(2)).is_some());
            assert_eq!(met.child.output.view().total(), 12);
        };
        LocalSet::new().run_until(course).await;
    }

    #[tokio::test]
    async fn an_answer_counts_though_its_childs_end_is_known_first() {
        let course = async {
            let mut met = met().await;
            say(&mut met.stream, 1);
            drop(met.stream);
            met.end.send(0).unwrap();
            assert!(matches!(met.child.answer(&run(1)).await, Answer::Envelope(_)));
            assert!(matches!(met.child.answer(&run(2)).await, Answer::NotBegun { .. }));
        };
        LocalSet::new().run_until(course).await;
    }
}
