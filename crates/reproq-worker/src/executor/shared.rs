//! A child that works on several runs at once: whatever it says is handed to the run that it is about.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use reproq_model::wire::{Note, NoteKind, ResultFrame};
use reproq_model::{Epoch, RunId};
use reproq_store::ClaimedRun;
use tokio::sync::{Notify, mpsc};

use super::child::{self, Child, Word};
use super::edition::Edition;
use super::output::Captured;
use super::wear::Service;
use super::{Answer, frames};
use crate::settings::Wear;

/// A coroutine that keeps the loop is named every second, as long as it does.
const STILL_KEPT: Duration = Duration::from_secs(3);

/// A run's claim.
pub(super) type Key = (RunId, Epoch);

/// One such child. It is let go when nobody holds it any more, and then ends by itself.
pub(super) struct Shared {
    pub(super) pid: i32,
    places: u32,
    /// Bytes kept of what a run has printed.
    log_limit: usize,
    inside: RefCell<HashMap<Key, Place>>,
    outgoing: RefCell<Outgoing>,
    /// Told when there is something to send, or when the last has left.
    stirred: Notify,
    service: RefCell<Service>,
    edition: Edition,
    /// No other run may enter.
    closed: Cell<bool>,
    gone: Cell<bool>,
    end: Notify,
    /// Who has been said to keep the event loop, and when.
    keeper: Cell<Option<(Key, Instant)>>,
    /// Killed by the worker, for the sake of a run that has left.
    killed: Cell<bool>,
}

/// What is said to a run inside.
pub(super) enum Said {
    /// What it has printed; before its answer.
    Printed(Captured),
    Answer(Answer),
}

struct Place {
    words: mpsc::UnboundedSender<Said>,
    /// How much has to be sent for the child to have all of the run; none: nothing of it.
    frame_end: Option<u64>,
}

#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    /// Of `bytes`.
    written: usize,
    /// Of all that was ever to be sent, where `bytes` begins.
    before: u64,
}

impl Shared {
    pub(super) fn of(child: Child, places: u32, log_limit: usize) -> Rc<Self> {
        let shared = Rc::new(Self {
            pid: child.pid,
            places,
            log_limit,
            inside: RefCell::default(),
            outgoing: RefCell::default(),
            stirred: Notify::new(),
            service: RefCell::new(Service::new(child.pid)),
            edition: child.edition.clone(),
            closed: Cell::new(false),
            gone: Cell::new(false),
            end: Notify::new(),
            keeper: Cell::new(None),
            killed: Cell::new(false),
        });
        tokio::task::spawn_local(drive(Rc::clone(&shared), child));
        shared
    }

    /// Whether runs may still enter, now or when another has left.
    pub(super) fn takes_more(&self, bounds: Wear) -> bool {
        let over = || self.edition.is_outdated() || self.service.borrow_mut().is_over(bounds);
        if !self.closed.get() && over() {
            tracing::debug!(pid = self.pid, "a shared child has served long enough");
            self.close();
        }
        !self.closed.get()
    }

    fn close(&self) {
        self.closed.set(true);
        self.stirred.notify_one();
    }

    pub(super) fn has_place(&self) -> bool {
        self.inside.borrow().len() < self.places as usize
    }

    pub(super) fn enter(&self, key: Key) -> mpsc::UnboundedReceiver<Said> {
        let (words, receiver) = mpsc::unbounded_channel();
        self.inside.borrow_mut().insert(key, Place { words, frame_end: None });
        receiver
    }

    pub(super) fn leave(&self, key: Key) {
        self.inside.borrow_mut().remove(&key);
        if self.keeper() == Some(key) {
            self.keeper.set(None);
        }
        self.service.borrow_mut().count();
        self.stirred.notify_one();
    }

    pub(super) fn send(&self, run: &ClaimedRun, worker_id: &str) {
        let key = (run.id, run.epoch);
        let mut inside = self.inside.borrow_mut();
        let Some(place) = inside.get_mut(&key) else { return };
        match child::frame(run, worker_id) {
            Ok(payload) => place.frame_end = Some(self.add(&payload)),
            Err(error) => {
                let message = format!("the run holds text that is no JSON: {error}");
                // Whoever entered listens.
                let _ = place.words.send(Said::Answer(Answer::Unfit { message }));
            }
        }
    }

    pub(super) fn cancel(&self, (id, epoch): Key) -> bool {
        let word = serde_json::json!({"type": "cancel", "result_id": id.to_string(), "epoch": epoch.0});
        if !self.gone.get() {
            self.add(word.to_string().as_bytes());
        }
        !self.gone.get()
    }

    /// Returns how much has to have been sent for this to be sent.
    fn add(&self, payload: &[u8]) -> u64 {
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.written == outgoing.bytes.len() {
            outgoing.before += outgoing.bytes.len() as u64;
            outgoing.bytes.clear();
            outgoing.written = 0;
        }
        frames::write(payload, &mut outgoing.bytes);
        self.stirred.notify_one();
        outgoing.before + outgoing.bytes.len() as u64
    }

    pub(super) fn has_begun(&self, key: Key) -> bool {
        let outgoing = self.outgoing.borrow();
        let sent = outgoing.before + outgoing.written as u64;
        self.inside.borrow().get(&key).and_then(|place| place.frame_end).is_some_and(|end| end <= sent)
    }

    /// Who keeps the others from going on.
    pub(super) fn keeper(&self) -> Option<Key> {
        self.keeper.get().filter(|(_, said)| said.elapsed() < STILL_KEPT).map(|(key, _)| key)
    }

    /// Has it killed; see [`Shared::ended`].
    pub(super) fn kill(&self) {
        self.killed.set(true);
        self.close();
    }

    /// Returns when the process is gone.
    pub(super) async fn ended(&self) {
        loop {
            let end = self.end.notified();
            if self.gone.get() {
                return;
            }
            end.await;
        }
    }

    fn hand_out(&self, payload: &[u8]) -> Result<(), String> {
        match child::read(payload)? {
            Word::Result(frame) => self.answered(frame),
            Word::Note(note) => self.noted(note),
        }
        Ok(())
    }

    fn answered(&self, frame: ResultFrame) {
        let Some(key) = child::key(&frame.result_id, frame.epoch) else { return };
        if frame.retire.is_some() {
            self.close();
        }
        if let Some(place) = self.inside.borrow().get(&key) {
            let text = |printed: Option<String>| printed.unwrap_or_default();
            let printed = Captured::of_text(&text(frame.stdout), &text(frame.stderr), self.log_limit);
            // Whoever entered listens.
            let _ = place.words.send(Said::Printed(printed));
            let _ = place.words.send(Said::Answer(Answer::Envelope(Box::new(frame.envelope))));
        }
    }

    fn noted(&self, note: Note) {
        let Some(key) = child::key(&note.result_id, note.epoch) else { return };
        if note.kind == NoteKind::Blocked {
            tracing::warn!(
                result_id = %key.0,
                seconds = note.seconds,
                "a coroutine keeps the event loop of all others in its child; use asyncio.to_thread() for what blocks"
            );
            self.keeper.set(Some((key, Instant::now())));
        }
        if let Some(place) = self.inside.borrow().get(&key) {
            let _ = place.words.send(Said::Answer(Answer::Note(Box::new(note))));
        }
    }

    /// It is gone: those that are still inside hear of it.
    fn over(&self, how: &str, stderr_tail: &str, by_itself: bool) {
        self.gone.set(true);
        self.closed.set(true);
        let inside = self.inside.borrow();
        let only_one = inside.len() == 1 && by_itself && !self.killed.get();
        for (key, place) in inside.iter() {
            let begun = place.frame_end.is_some() && self.has_begun(*key);
            let word = if !begun {
                Answer::NotBegun { why: format!("a child ended before it had read its run: {how}") }
            } else if only_one {
                Answer::Died { how: how.to_owned(), stderr_tail: stderr_tail.to_owned() }
            } else if self.killed.get() && self.keeper() == Some(*key) {
                let how = "its coroutine kept the event loop, so that no other could go on, and its process was killed; use \
                           asyncio.to_thread() or sync_to_async() for what blocks";
                Answer::Died { how: how.to_owned(), stderr_tail: String::new() }
            } else if self.killed.get() {
                Answer::Displaced
            } else {
                Answer::Bystander { why: format!("the process that it shared with others died: {how}") }
            };
            let _ = place.words.send(Said::Answer(word));
        }
        drop(inside);
        self.end.notify_waiters();
    }

    fn is_done(&self) -> bool {
        self.closed.get() && self.inside.borrow().is_empty()
    }
}

/// Talks to the child until it ends, or is not needed any more.
async fn drive(shared: Rc<Shared>, mut child: Child) {
    let how = loop {
        if shared.killed.get() {
            break Some("it was killed".to_owned());
        }
        if shared.is_done() {
            shared.gone.set(true);
            shared.end.notify_waiters();
            return child.retire();
        }
        match talk(&shared, &mut child).await {
            Ok(()) => {}
            Err(how) => break how,
        }
    };
    let (how, stderr_tail) = match how {
        Some(broken) => (broken, child.output.tail()),
        None => (child.how_it_ended().await, child.output.tail()),
    };
    // And not with the process that had forked it.
    let by_itself = !child.lost_its_origin();
    // Dead or not, it is not spoken to any more.
    child.kill().await;
    shared.over(&how, &stderr_tail, by_itself);
}

/// One step of the conversation. The error is what was wrong with it; none: the stream has ended.
async fn talk(shared: &Shared, child: &mut Child) -> Result<(), Option<String>> {
    loop {
        match child.received.take() {
            Ok(Some(payload)) => shared.hand_out(payload).map_err(Some)?,
            Ok(None) => break,
            Err(error) => return Err(Some(error.to_string())),
        }
    }
    let writes = {
        let outgoing = shared.outgoing.borrow();
        outgoing.written < outgoing.bytes.len()
    };
    let ready = tokio::select! {
        biased;
        ready = child.socket.ready(writes) => ready.map_err(|error| Some(error.to_string()))?,
        () = shared.stirred.notified() => return Ok(()),
    };
    if ready.is_readable() {
        match child.socket.read(child.received.room()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return Err(None),
            Ok(_) => return Ok(()),
        }
    }
    if ready.is_writable() {
        let mut outgoing = shared.outgoing.borrow_mut();
        match child.socket.write(&outgoing.bytes[outgoing.written..]) {
            Ok(count) => outgoing.written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Err(None),
        }
    }
    Ok(())
}
