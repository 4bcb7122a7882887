//! The worker's side of the conversation with one guard.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Stdio;
use std::rc::Rc;

use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Duration, timeout};

use super::super::launch::{Launch, SECRET};
use super::super::unix;
use super::packets::{Report, Request};

/// The worker's own program, even if its file has been replaced.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Starting a guard takes milliseconds, on a busy machine more.
const READY: Duration = Duration::from_secs(20);
/// So does starting a process.
const SPAWN: Duration = Duration::from_secs(10);

/// The socket to a guard, and who waits for its answers.
pub(super) struct Link {
    socket: AsyncFd<OwnedFd>,
    next_token: Cell<u64>,
    waiting: RefCell<HashMap<u64, Waiting>>,
    /// Who is to be told of the end of what was spawned.
    living: RefCell<HashMap<u64, oneshot::Sender<i32>>>,
    /// What the socket has not taken yet.
    backlog: RefCell<VecDeque<Packet>>,
    more: Notify,
    /// It does not answer, and is to be killed.
    broken: Notify,
    gone: watch::Sender<bool>,
}

struct Packet {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    /// Whose answer will not come if it cannot be sent.
    token: Option<u64>,
}

enum Waiting {
    Spawn(oneshot::Sender<io::Result<Started>>),
    Sweep(oneshot::Sender<u64>),
}

impl Link {
    /// Starts a guard. `pid` holds its number as long as it lives, `overdue` is raised when it kills all for want of a word.
    pub(super) async fn start(pid: Rc<Cell<Option<i32>>>, overdue: Rc<Cell<u64>>) -> io::Result<Rc<Self>> {
        let (ours, theirs) = unix::packet_pair()?;
        let mut command = Command::new(THIS_PROGRAM);
        command.arg0("reproq").arg("guard").env_remove(SECRET);
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null());
        let process = command.spawn()?;
        pid.set(process.id().map(u32::cast_signed));
        drop(command);
        let link = Rc::new(Self {
            socket: unix::watch(ours)?,
            next_token: Cell::new(1),
            waiting: RefCell::default(),
            living: RefCell::default(),
            backlog: RefCell::default(),
            more: Notify::new(),
            broken: Notify::new(),
            gone: watch::Sender::new(false),
        });
        let (ready, is_ready) = oneshot::channel();
        tokio::task::spawn_local(Rc::clone(&link).listen(process, pid, overdue, ready));
        tokio::task::spawn_local(Rc::clone(&link).write_backlog());
        if matches!(timeout(READY, is_ready).await, Ok(Ok(()))) {
            return Ok(link);
        }
        link.broken.notify_one();
        Err(io::Error::other("the guard (`reproq guard`) did not come up"))
    }

    /// A number that nothing else has.
    pub(super) fn token(&self) -> u64 {
        self.next_token.replace(self.next_token.get() + 1)
    }

    /// Returns who will tell of the new process's end.
    pub(super) async fn spawn(self: &Rc<Self>, token: u64, launch: Launch) -> io::Result<Started> {
        let Launch { words, set, stdin, stdout, stderr, extra, adopts } = launch;
        let (extra, named) = extra.unzip();
        let request = Request::Spawn { token, words, set, stdin: stdin.is_some(), extra: named, adopts };
        let descriptors = stdin.into_iter().chain([stdout, stderr]).chain(extra).collect();
        let (sender, spawned) = oneshot::channel();
        self.waiting.borrow_mut().insert(token, Waiting::Spawn(sender));
        self.post(&request, descriptors);
        let Ok(spawned) = timeout(SPAWN, spawned).await else {
            tracing::error!("the guard does not answer; killing it, and all that runs with it");
            self.broken.notify_one();
            return Err(gone());
        };
        spawned.unwrap_or_else(|_| Err(gone()))
    }

    /// Returns how many processes had been left behind, when none is left; none: the guard is gone.
    pub(super) async fn sweep(&self) -> Option<u64> {
        let (sender, swept) = oneshot::channel();
        let token = self.token();
        self.waiting.borrow_mut().insert(token, Waiting::Sweep(sender));
        self.post(&Request::Sweep { token }, Vec::new());
        swept.await.ok()
    }

    /// Sends at once, or as soon as the socket takes it; in order.
    pub(super) fn post(&self, request: &Request, descriptors: Vec<OwnedFd>) {
        let token = match request {
            Request::Spawn { token, .. } | Request::Sweep { token } => Some(*token),
            _ => None,
        };
        let Ok(bytes) = serde_json::to_vec(request) else { return self.give_up(token) };
        let packet = Packet { bytes, descriptors, token };
        let mut backlog = self.backlog.borrow_mut();
        if !self.is_gone() && (!backlog.is_empty() || !self.sent(&packet)) {
            backlog.push_back(packet);
            self.more.notify_one();
        } else if self.is_gone() {
            self.give_up(token);
        }
    }

    /// Whether nothing more is to be done about the packet. One that cannot be sent has no answer.
    fn sent(&self, packet: &Packet) -> bool {
        let descriptors: Vec<_> = packet.descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        match unix::send_packet(self.socket.get_ref(), &packet.bytes, &descriptors) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => {
                tracing::warn!(%error, "the guard cannot be spoken to");
                self.give_up(packet.token);
                true
            }
        }
    }

    fn give_up(&self, token: Option<u64>) {
        if let Some(token) = token {
            self.waiting.borrow_mut().remove(&token);
        }
    }

    /// Ends the conversation: the guard kills what is below it, and exits.
    pub(super) fn hang_up(&self) {
        unix::hang_up(self.socket.get_ref());
    }

    pub(super) fn is_gone(&self) -> bool {
        *self.gone.borrow()
    }

    /// Returns when the guard has ended.
    pub(super) async fn gone(&self) {
        // The sender is this value's own, so it cannot end before it tells.
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }

    async fn write_backlog(self: Rc<Self>) {
        loop {
            tokio::select! {
                () = self.more.notified() => {}
                () = self.gone() => return,
            }
            while !self.backlog.borrow().is_empty() {
                let Ok(mut ready) = self.socket.writable().await else { return };
                let mut backlog = self.backlog.borrow_mut();
                let Some(packet) = backlog.front() else { break };
                if self.sent(packet) {
                    backlog.pop_front();
                } else {
                    ready.clear_ready();
                }
            }
        }
    }

    /// Reads what the guard says until it says no more, and waits for its end.
    async fn listen(
        self: Rc<Self>,
        mut process: Child,
        pid: Rc<Cell<Option<i32>>>,
        overdue: Rc<Cell<u64>>,
        ready: oneshot::Sender<()>,
    ) {
        let mut ready = Some(ready);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let report = tokio::select! {
                report = receive(&self.socket, &mut buffer) => report,
                () = self.broken.notified() => {
                    // What it has started dies with it.
                    let _ = process.start_kill();
                    break;
                }
            };
            match report {
                Ok(Some(Report::Ready)) => drop(ready.take().map(|ready| ready.send(()))),
                Ok(Some(Report::Spawned { token, pid })) => self.spawned(token, pid),
                Ok(Some(Report::SpawnFailed { token, errno, message })) => {
                    let error = errno.map_or_else(|| io::Error::other(message), io::Error::from_raw_os_error);
                    if let Some(Waiting::Spawn(waiting)) = self.waiting.borrow_mut().remove(&token) {
                        let _ = waiting.send(Err(error));
                    }
                }
                Ok(Some(Report::Exited { token, status })) => {
                    if let Some(waiting) = self.living.borrow_mut().remove(&token) {
                        // Whoever had it may have let it go.
                        let _ = waiting.send(status);
                    }
                }
                Ok(Some(Report::Swept { token, killed })) => {
                    if let Some(Waiting::Sweep(waiting)) = self.waiting.borrow_mut().remove(&token) {
                        let _ = waiting.send(killed);
                    }
                }
                Ok(Some(Report::KilledAll)) => {
                    overdue.set(overdue.get() + 1);
                    tracing::error!(
                        "the worker was stopped, or too slow to renew its leases; its guard has killed what ran"
                    );
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "the guard's socket broke; killing it");
                    let _ = process.start_kill();
                    break;
                }
            }
        }
        // It has ended, or does so when all that is below it is gone.
        let _ = process.wait().await;
        pid.set(None);
        self.gone.send_replace(true);
        self.waiting.borrow_mut().clear();
        self.living.borrow_mut().clear();
    }

    /// The guard tells of a process before it tells of its end.
    fn spawned(&self, token: u64, pid: i32) {
        tracing::trace!(pid, "started");
        let (sender, ended) = oneshot::channel();
        self.living.borrow_mut().insert(token, sender);
        let waiting = self.waiting.borrow_mut().remove(&token);
        if let Some(Waiting::Spawn(waiting)) = waiting
            && waiting.send(Ok(Started { pid, ended })).is_err()
        {
            // Nobody waits for it any more.
            self.post(&Request::Kill { token }, Vec::new());
        }
    }
}

/// A process that exists.
pub(super) struct Started {
    pub(super) pid: i32,
    /// Its `waitpid` status, when it has ended.
    pub(super) ended: oneshot::Receiver<i32>,
}

/// None at the end of the stream.
async fn receive(socket: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<Option<Report>> {
    loop {
        let mut ready = socket.readable().await?;
        if let Ok(received) = ready.try_io(|socket| unix::receive_packet(socket.get_ref(), buffer)) {
            let count = match received {
                Ok(count) => count,
                // It died with words of ours unread.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
                Err(error) => return Err(error),
            };
            return if count == 0 { Ok(None) } else { Ok(Some(serde_json::from_slice(&buffer[..count])?)) };
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the worker's guard has died; another will be started")
}
