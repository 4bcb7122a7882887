//! One of the programs.

use std::cell::Cell;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use reproq_store::Stream;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Command;
use tokio::time::timeout;

use super::console::{self, Labels};

/// What a program has written last is read for so long after its end, should another hold its pipes open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A program to be started.
pub struct Part {
    /// In front of its lines.
    pub name: &'static str,
    /// Of its name: an ANSI code.
    pub colour: u8,
    /// What is started.
    pub program: OsString,
    /// Its arguments.
    pub words: Vec<String>,
    /// What its environment has beyond this process's.
    pub set: Vec<(&'static str, &'static str)>,
    /// What its environment has not.
    pub unset: Vec<&'static str>,
    /// What asks it to stop.
    pub stop: Signal,
    /// Whether its signals are for all of its process group, which then ends with it.
    pub is_group: bool,
    /// What it gets when this process has died.
    pub orphaned: Signal,
    /// How long it may take to stop before it is killed; none: it sees to that itself.
    pub grace: Option<Duration>,
}

/// One that has been started.
pub struct Running {
    name: &'static str,
    pid: Pid,
    stop: Signal,
    is_group: bool,
    grace: Option<Duration>,
    /// When it is killed.
    until: Cell<Option<Instant>>,
    /// Its process id may be another's.
    ended: Cell<bool>,
}

impl Part {
    /// Starts it. Returns it, and who tells of its end.
    pub fn start(
        self,
        labels: &Labels,
    ) -> io::Result<(Rc<Running>, impl Future<Output = ExitStatus> + use<>)> {
        let mut command = Command::new(&self.program);
        command.args(&self.words).envs(self.set.iter().copied());
        for name in &self.unset {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A Ctrl-C is for this process alone, which then decides.
        command.process_group(0);
        die_with_parent(&mut command, self.orphaned);
        let mut child = command.spawn()?;
        let gone = || io::Error::other("it was gone at once");
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or_else(gone)?;
        let stdout = child.stdout.take().map(|pipe| labels.forward(self.name, Stream::Stdout, pipe));
        let stderr = child.stderr.take().map(|pipe| labels.forward(self.name, Stream::Stderr, pipe));
        let running = Rc::new(Running {
            name: self.name,
            pid,
            stop: self.stop,
            is_group: self.is_group,
            grace: self.grace,
            until: Cell::new(None),
            ended: Cell::new(false),
        });
        let part = Rc::clone(&running);
        let end = async move {
            let status = child.wait().await;
            part.has_ended();
            let _ = timeout(LAST_WORDS, console::both(stdout, stderr)).await;
            status.unwrap_or_default()
        };
        Ok((running, end))
    }
}

impl Running {
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Asks it to stop, or once more.
    pub fn ask(&self) {
        if self.until.get().is_none() {
            self.until.set(self.grace.map(|grace| Instant::now() + grace));
        }
        self.send(self.stop);
    }

    /// Makes it stop.
    pub fn kill(&self) {
        self.until.set(None);
        self.send(Signal::KILL);
    }

    /// How much time it has left to stop; none: as much as it likes.
    pub fn left(&self) -> Option<Duration> {
        let until = self.until.get().filter(|_| !self.ended.get())?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    pub fn is_overdue(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    fn send(&self, signal: Signal) {
        if self.ended.get() {
            return;
        }
        // One that is gone needs no asking.
        let _ =
            if self.is_group { kill_process_group(self.pid, signal) } else { kill_process(self.pid, signal) };
    }

    /// At once after its end, while the number of its group is certain to be no other's.
    fn has_ended(&self) {
        if self.is_group {
            self.send(Signal::KILL);
        }
        self.ended.set(true);
    }
}

/// The code of a program's end, as a shell gives it.
pub fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// What is orphaned below this process comes to it.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    {
        // Without it, the end of such processes is not waited for.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
}

/// The kernel watches the thread that forks: this program has one.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command, signal: Signal) {
    use rustix::process::{getpid, getppid, set_parent_process_death_signal};

    let parent = getpid();
    let prepare = move || {
        set_parent_process_death_signal(Some(signal))?;
        // Had this process died before the line above, nobody would be told.
        if getppid() != Some(parent) {
            return Err(rustix::io::Errno::SRCH.into());
        }
        Ok(())
    };
    #[expect(
        unsafe_code,
        reason = "the hook runs between fork and exec; it makes a few system calls and allocates nothing"
    )]
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Only Linux tells a process of its parent's death.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command, _: Signal) {}
