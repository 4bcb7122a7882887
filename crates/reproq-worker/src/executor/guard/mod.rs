//! The worker's guard: a small process between it and everything that it runs, which outlives both by as long as it takes
//! to kill what is left.
//!
//! The guard starts the zygote and one-shot processes, so it is the parent of them and (as a subreaper) of whatever loses its
//! own: there is nowhere to escape to. It kills orphans; it kills everything when the worker's end of their socket closes,
//! however it came to that; and it kills everything when the worker has not said in time that its leases still hold, because it
//! was stopped, for instance. Should the guard itself be killed, the kernel kills what it has started, the worker (a subreaper
//! as well) kills the rest, and starts another.
//!
//! [`serve`](serve()) is the guard's process, [`Guard`] the worker's view of it, [`link`] the conversation. Linux only; elsewhere
//! `direct.rs` stands in its place.

mod link;
mod packets;
mod serve;
mod spawn;
mod tree;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Instant;

use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Duration, sleep, timeout};

use self::link::Link;
use self::packets::Request;
pub use self::serve::serve;
use self::tree::Tree;
use super::launch::Launch;

/// How long what is being killed may take to die. A process that waits for a broken disk may take for ever.
const DEATH: Duration = Duration::from_secs(5);
/// Pauses between looks at what is dying.
const DYING: Duration = Duration::from_millis(1);
const STILL_DYING: Duration = Duration::from_millis(100);

/// The worker's guard. One that has died is replaced by the next process that is asked for.
pub(super) struct Guard {
    link: RefCell<Option<Rc<Link>>>,
    /// One start at a time.
    starting: Mutex<()>,
    /// The living guard's own number, which a sweep of the worker's must spare.
    pid: Rc<Cell<Option<i32>>>,
    /// What the guard knows: see [`Guard::trust`].
    trust: Cell<Option<u64>>,
    overdue: Rc<Cell<u64>>,
}

/// A process that the guard has started. It is killed with its owner.
pub(super) struct Launched {
    token: u64,
    pid: i32,
    link: Rc<Link>,
    end: End,
}

enum End {
    Awaited(oneshot::Receiver<i32>),
    /// Its `waitpid` status; none: its guard has died, and it with the guard.
    Known(Option<i32>),
}

impl Guard {
    pub(super) async fn start() -> io::Result<Rc<Self>> {
        // For what is left when a guard is killed.
        set_child_subreaper(Some(getpid()))?;
        let guard = Self {
            link: RefCell::new(None),
            starting: Mutex::new(()),
            pid: Rc::default(),
            trust: Cell::new(None),
            overdue: Rc::default(),
        };
        guard.link().await?;
        Ok(Rc::new(guard))
    }

    /// Starts a process. Who stops waiting has it killed as soon as it is there.
    pub(super) async fn launch(&self, launch: Launch) -> io::Result<Launched> {
        let link = self.link().await?;
        let token = link.token();
        let started = link.spawn(token, launch).await?;
        Ok(Launched { token, pid: started.pid, link, end: End::Awaited(started.ended) })
    }

    /// Returns when what dead processes have left behind is gone.
    pub(super) async fn sweep(&self) {
        let link = self.living();
        let swept = async {
            let killed = match link {
                Some(link) => link.sweep().await,
                None => None,
            };
            match killed {
                Some(killed) => killed,
                // Without a guard all of it is the worker's.
                None => sweep_here(&self.pid).await,
            }
        };
        match timeout(DEATH, swept).await {
            Ok(0) => {}
            Ok(killed) => tracing::warn!(killed, "killed processes that a task had left behind"),
            Err(_) => tracing::error!("processes that a task has left behind do not die"),
        }
    }

    /// Says until when what runs may go on without another word; none: nothing runs. The guard kills it then.
    pub(super) fn trust(&self, until: Option<Instant>) {
        let until = until.map(boottime);
        // What should have ended by now is being seen to, by the guard or by the worker.
        if until.is_none_or(|until| until > now()) {
            self.tell(until);
        }
    }

    /// Makes sure that the guard expects a word before `until`: work begins that may go on no longer.
    pub(super) fn trust_no_longer(&self, until: Instant) {
        let until = boottime(until);
        // What has passed, the guard has acted upon and forgotten.
        let known = self.trust.get().filter(|known| *known > now());
        if known.is_none_or(|known| known > until) {
            self.tell(Some(until));
        }
    }

    /// How often the guard has killed everything for want of a word.
    pub(super) fn overdue(&self) -> u64 {
        self.overdue.get()
    }

    /// Lets the guard go, and waits until all that was below it is gone.
    pub(super) async fn stop(&self) {
        let link = self.link.take();
        if let Some(link) = link {
            link.hang_up();
            if timeout(DEATH, link.gone()).await.is_err() {
                tracing::error!("the guard does not end; something below it does not die");
            }
        }
    }

    fn tell(&self, until: Option<u64>) {
        if self.trust.replace(until) != until
            && let Some(link) = self.living()
        {
            link.post(&Request::Trust { until }, Vec::new());
        }
    }

    fn living(&self) -> Option<Rc<Link>> {
        self.link.borrow().as_ref().filter(|link| !link.is_gone()).cloned()
    }

    async fn link(&self) -> io::Result<Rc<Link>> {
        let _one = self.starting.lock().await;
        if let Some(link) = self.living() {
            return Ok(link);
        }
        if let Some(former) = self.link.take() {
            tracing::warn!("the guard is gone; starting another");
            former.gone().await;
            // Nothing is started beside what it has left behind.
            self.sweep().await;
        }
        let link = Link::start(Rc::clone(&self.pid), Rc::clone(&self.overdue)).await?;
        tokio::task::spawn_local(outlive(Rc::clone(&link), Rc::clone(&self.pid)));
        link.post(&Request::Trust { until: self.trust.get() }, Vec::new());
        self.link.replace(Some(Rc::clone(&link)));
        Ok(link)
    }
}

impl Launched {
    /// To tell of it; it is signalled by its guard, who knows whether the number is still its own.
    pub(super) const fn pid(&self) -> i32 {
        self.pid
    }

    /// Kills it with its process group.
    pub(super) fn kill(&self) {
        self.link.post(&Request::Kill { token: self.token }, Vec::new());
    }

    /// Interrupts it, and none of those that it has started.
    pub(super) fn interrupt(&self) {
        self.link.post(&Request::Interrupt { token: self.token }, Vec::new());
    }

    pub(super) fn has_ended(&mut self) -> bool {
        if let End::Awaited(end) = &mut self.end {
            match end.try_recv() {
                Ok(status) => self.end = End::Known(Some(status)),
                Err(oneshot::error::TryRecvError::Closed) => self.end = End::Known(None),
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
        }
        matches!(self.end, End::Known(_))
    }

    /// Waits for its end. Returns its `waitpid` status; none: it has died with its guard.
    pub(super) async fn wait(&mut self) -> Option<i32> {
        match &mut self.end {
            End::Known(status) => *status,
            End::Awaited(end) => {
                let status = end.await.ok();
                self.end = End::Known(status);
                status
            }
        }
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.kill();
        }
    }
}

/// When the guard is dead, the kernel has killed what it had started, and the rest is the worker's.
async fn outlive(link: Rc<Link>, pid: Rc<Cell<Option<i32>>>) {
    link.gone().await;
    sweep_here(&pid).await;
}

/// Kills what is below the worker, aside from the guard. Returns how many there were, when none is left.
async fn sweep_here(guard: &Cell<Option<i32>>) -> u64 {
    let mut tree = Tree::new();
    let mut pause = DYING;
    loop {
        // No other task comes in between: a guard that is just being started is known.
        match tree.kill(|pid| guard.get() == Some(pid)) {
            Ok(pass) if pass.left == 0 && pass.ended.is_empty() => return tree.take_killed(),
            Ok(pass) => pass.ended.into_iter().for_each(bury),
            Err(error) => {
                tracing::error!(%error, "the processes of this machine cannot be seen");
                return 0;
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(STILL_DYING);
    }
}

/// A child of the worker's that it has not started and that has ended.
fn bury(pid: i32) {
    // It may be reaped already.
    let _ = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
}

/// Milliseconds since the machine was started, its sleep included. The same for all its processes.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.cast_unsigned() * 1000 + time.tv_nsec.cast_unsigned() / 1_000_000
}

fn boottime(at: Instant) -> u64 {
    let span = at.saturating_duration_since(Instant::now());
    now() + u64::try_from(span.as_millis()).unwrap_or(u64::MAX / 2)
}
