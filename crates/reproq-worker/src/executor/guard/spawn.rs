//! How the guard starts a process.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{
    Signal, getpid, getppid, set_child_subreaper, set_parent_process_death_signal, setsid,
};

use super::super::launch::Named;

/// The kernel that is short of memory takes a process of the site before the worker.
const MORE_EXPENDABLE: i32 = 300;
const MOST_EXPENDABLE: i32 = 1000;

/// What a process is started with.
pub(super) struct Start {
    pub(super) words: Vec<String>,
    pub(super) set: Vec<(String, String)>,
    pub(super) stdin: bool,
    pub(super) extra: Option<Named>,
    pub(super) adopts: bool,
    /// In the order of [`super::packets::Request::Spawn`].
    pub(super) descriptors: Vec<OwnedFd>,
}

/// Starts it, at the head of a session of its own. Returns its number.
pub(super) fn spawn(start: Start) -> io::Result<i32> {
    let mut descriptors = start.descriptors.into_iter();
    let mut next = || {
        descriptors.next().ok_or_else(|| io::Error::other("a descriptor got lost on its way to the guard"))
    };
    let (program, arguments) =
        start.words.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut command = Command::new(program);
    command.args(arguments).envs(start.set).stdin(if start.stdin { next()?.into() } else { Stdio::null() });
    command.stdout(next()?).stderr(next()?);
    // Open until the process is there, and then of no use here: the guard must not keep a conversation alive.
    let _extra = match start.extra {
        Some(named) => {
            let descriptor = next()?;
            fcntl_setfd(descriptor.as_fd(), FdFlags::empty())?;
            let number = descriptor.as_raw_fd().to_string();
            match named {
                Named::LastArgument => command.arg(number),
                Named::Variable(name) => command.env(name, number),
            };
            Some(descriptor)
        }
        None => None,
    };
    lead_session_and_die_with_parent(&mut command, start.adopts);
    let pid = command.spawn()?.id().cast_signed();
    make_expendable(pid);
    Ok(pid)
}

/// The kernel watches the *thread* that forks; the guard has one.
fn lead_session_and_die_with_parent(command: &mut Command, adopts: bool) {
    let parent = getpid();
    let prepare = move || {
        setsid()?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Had the guard died before the line above, nobody would be told.
        if getppid() != Some(parent) {
            return Err(rustix::io::Errno::SRCH.into());
        }
        if adopts {
            set_child_subreaper(Some(getpid()))?;
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

fn make_expendable(pid: i32) {
    let score = fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok());
    let score = (score.unwrap_or(0) + MORE_EXPENDABLE).min(MOST_EXPENDABLE);
    // Where it cannot be had, all are as expendable as the worker.
    let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string());
}
