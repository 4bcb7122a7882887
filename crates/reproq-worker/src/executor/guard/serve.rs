//! The guard's own process: small, one thread, and deaf to every signal that can be caught.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_type;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketType, recvmsg};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, WaitOptions, getpid, getrlimit, pidfd_open, set_child_subreaper,
    setrlimit, setsid, waitpid,
};

use super::super::unix;
use super::now;
use super::packets::{Report, Request};
use super::spawn::{Start, spawn};
use super::tree::{Tree, has_strangers};

/// More descriptors never come with one packet.
const DESCRIPTORS: usize = 4;
const LARGEST_PACKET: usize = 256 * 1024;
/// How often orphans are looked for that nobody has asked about, unless looking takes long.
const LOOK: Duration = Duration::from_millis(500);
/// It may take one part in so many of the time.
const LOOK_SHARE: u32 = 100;
/// Pauses between passes while something is dying: it takes microseconds, or longer.
const DYING: Duration = Duration::from_millis(1);
const STILL_DYING: Duration = Duration::from_millis(100);
/// Without descriptors of processes, how often the spawned ones are looked at.
const BLIND: Duration = Duration::from_millis(50);

/// Serves the worker whose socket is this process's standard input, until it closes; then kills everything below, and returns.
pub fn serve() -> io::Result<()> {
    let control = rustix::stdio::stdin();
    if socket_type(control) != Ok(SocketType::SEQPACKET) {
        return Err(io::Error::other("the worker starts its guard; it is no command for people"));
    }
    let _deaf = deaf()?;
    // Not when it is started as the leader of a group, which is as good.
    let _ = setsid();
    set_child_subreaper(Some(getpid()))?;
    // Inherited: a crash of a task must not fill the disk. A site may raise it again.
    let limit = Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum };
    let _ = setrlimit(Resource::Core, limit);
    let mut guard = Guard {
        control,
        spawned: HashMap::new(),
        tree: Tree::new(),
        trust: None,
        sweeps: Vec::new(),
        outbox: VecDeque::new(),
        buffer: vec![0; LARGEST_PACKET],
        look_at: Instant::now(),
        dying: None,
    };
    guard.say(&Report::Ready);
    let worked = guard.run();
    // However it came to that.
    guard.end_all()?;
    worked
}

/// A caught signal has its default effect again in what is started from here; an ignored one would stay ignored.
fn deaf() -> io::Result<(tokio::runtime::Runtime, Vec<tokio::signal::unix::Signal>)> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let kinds = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        SignalKind::pipe(),
        SignalKind::alarm(),
    ];
    let caught = kinds.into_iter().map(signal).collect::<io::Result<_>>()?;
    drop(entered);
    Ok((runtime, caught))
}

struct Guard {
    control: BorrowedFd<'static>,
    /// What it has started and not reaped, by number.
    spawned: HashMap<i32, Spawned>,
    tree: Tree,
    /// Until when the worker may be silent: see [`Request::Trust`].
    trust: Option<u64>,
    /// Who is to be told when nothing is left of what was left behind.
    sweeps: Vec<u64>,
    /// What the worker has not taken yet.
    outbox: VecDeque<Vec<u8>>,
    buffer: Vec<u8>,
    look_at: Instant,
    /// Something has been killed and is not dead: how long to wait before the next pass.
    dying: Option<Duration>,
}

struct Spawned {
    token: u64,
    /// Readable when it has ended.
    end: Option<OwnedFd>,
}

impl Guard {
    fn run(&mut self) -> io::Result<()> {
        loop {
            self.wait()?;
            if !self.hear()? {
                return Ok(());
            }
            self.reap();
            if self.trust.is_some_and(|until| now() >= until) {
                self.say(&Report::KilledAll);
                self.end_all()?;
                self.trust = None;
            }
            if !self.sweeps.is_empty() || self.dying.is_some() {
                self.sweep()?;
            } else if Instant::now() >= self.look_at {
                self.look()?;
            }
            self.flush();
        }
    }

    /// Returns when there is something to be done.
    fn wait(&self) -> io::Result<()> {
        let words = if self.outbox.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut events = vec![PollFd::new(&self.control, words)];
        let ends = self.spawned.values().filter_map(|spawned| spawned.end.as_ref());
        events.extend(ends.map(|end| PollFd::new(end, PollFlags::IN)));
        let mut pause = self.dying.unwrap_or_else(|| self.look_at.saturating_duration_since(Instant::now()));
        if !self.sweeps.is_empty() && self.dying.is_none() {
            pause = Duration::ZERO;
        }
        if self.spawned.values().any(|spawned| spawned.end.is_none()) {
            pause = pause.min(BLIND);
        }
        if let Some(until) = self.trust {
            pause = pause.min(Duration::from_millis(until.saturating_sub(now())));
        }
        match poll(&mut events, Some(&timespec(pause))) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes in what the worker says. False: it says no more.
    fn hear(&mut self) -> io::Result<bool> {
        loop {
            match receive(self.control, &mut self.buffer) {
                Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(false),
                Ok((count, descriptors)) => match serde_json::from_slice(&self.buffer[..count]) {
                    Ok(request) => self.answer(request, descriptors),
                    // A worker and a guard of two builds; there is no sensible way on.
                    Err(_) => return Ok(false),
                },
                Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn answer(&mut self, request: Request, descriptors: Vec<OwnedFd>) {
        match request {
            Request::Spawn { token, words, set, stdin, extra, adopts } => {
                match spawn(Start { words, set, stdin, extra, adopts, descriptors }) {
                    Ok(pid) => {
                        let end =
                            Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
                        self.spawned.insert(pid, Spawned { token, end });
                        self.say(&Report::Spawned { token, pid });
                    }
                    Err(error) => self.say(&Report::SpawnFailed {
                        token,
                        errno: error.raw_os_error(),
                        message: error.to_string(),
                    }),
                }
            }
            Request::Kill { token } => self.pid(token).map_or((), unix::kill_group),
            Request::Interrupt { token } => self.pid(token).map_or((), unix::interrupt),
            Request::Sweep { token } => self.sweeps.push(token),
            Request::Trust { until } => self.trust = until,
        }
    }

    /// It is not reaped, so the number is its own.
    fn pid(&self, token: u64) -> Option<i32> {
        self.spawned.iter().find_map(|(pid, spawned)| (spawned.token == token).then_some(*pid))
    }

    /// Asks how the spawned ones that have ended did so.
    fn reap(&mut self) {
        let ended: Vec<i32> = self.spawned.keys().copied().filter(|pid| unix::has_ended(*pid)).collect();
        for pid in ended {
            self.bury(pid);
        }
    }

    /// Reaps one that has ended. What has stayed in its group goes first: the group's number is its own as long as it is not reaped.
    fn bury(&mut self, pid: i32) {
        if self.spawned.contains_key(&pid) {
            unix::kill_group(pid);
        }
        let status = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
        let Some(spawned) = self.spawned.remove(&pid) else { return };
        let status = status.ok().flatten().map_or(0, |(_, status)| status.as_raw());
        self.say(&Report::Exited { token: spawned.token, status });
        // What it leaves behind has just become this process's.
        self.look_at = Instant::now();
    }

    /// Kills what dead processes have left behind, if they have.
    fn look(&mut self) -> io::Result<()> {
        if has_strangers(|pid| self.spawned.contains_key(&pid)) {
            return self.sweep();
        }
        self.look_at = Instant::now() + LOOK;
        Ok(())
    }

    /// Kills what dead processes have left behind, and answers who has asked for that.
    fn sweep(&mut self) -> io::Result<()> {
        let began = Instant::now();
        let spawned = &self.spawned;
        let pass = self.tree.kill(|pid| spawned.contains_key(&pid))?;
        for pid in &pass.ended {
            self.bury(*pid);
        }
        self.look_at = Instant::now() + LOOK.max(began.elapsed() * LOOK_SHARE);
        // What is reaped, or dies, may have children that are this process's now.
        if pass.left > 0 || !pass.ended.is_empty() {
            self.dying = Some(self.dying.map_or(DYING, |pause| (pause * 2).min(STILL_DYING)));
            return Ok(());
        }
        self.dying = None;
        let mut killed = self.tree.take_killed();
        for token in std::mem::take(&mut self.sweeps) {
            // Counted once, whoever has asked.
            self.say(&Report::Swept { token, killed: std::mem::take(&mut killed) });
        }
        Ok(())
    }

    /// Kills all, and returns when nothing is left.
    fn end_all(&mut self) -> io::Result<()> {
        let mut pause = DYING;
        loop {
            let pass = self.tree.kill(|_| false)?;
            for pid in &pass.ended {
                self.bury(*pid);
            }
            if pass.left == 0 && pass.ended.is_empty() {
                return Ok(());
            }
            // To be woken by nothing is what is wanted.
            let _ = poll(&mut [], Some(&timespec(pause)));
            pause = (pause * 2).min(STILL_DYING);
        }
    }

    fn say(&mut self, report: &Report) {
        if let Ok(packet) = serde_json::to_vec(report) {
            self.outbox.push_back(packet);
        }
        self.flush();
    }

    /// A worker that does not listen must not stop its guard.
    fn flush(&mut self) {
        while let Some(packet) = self.outbox.front() {
            match unix::send_packet(self.control, packet, &[]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // To a worker that is gone there is nothing to say: its end of the socket tells.
                Ok(()) | Err(_) => drop(self.outbox.pop_front()),
            }
        }
    }
}

/// One packet with its descriptors; empty at the end.
fn receive(control: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    // Closed in what is started, but for those that are meant for it.
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(control, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags)?;
    let descriptors = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    Ok((received.bytes, descriptors))
}

fn timespec(span: Duration) -> Timespec {
    // Rounded up: to wake too early is to wake in vain.
    let nanos = span.as_nanos().div_ceil(1_000_000) * 1_000_000;
    Timespec {
        tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or(0),
    }
}
