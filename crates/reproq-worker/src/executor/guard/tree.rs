//! The processes below this one, as `/proc` shows them, and their end.
//!
//! Signals go through descriptors of processes, whose identity is looked at once more when they are open: a number that has
//! become another's meanwhile is never hit.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal};

/// One process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    pid: i32,
    parent: i32,
    /// It has ended, and its parent has not asked how.
    ended: bool,
    /// In ticks since the machine was started: together with the number, it names one process for ever.
    started: u64,
}

/// What is below this process. Kills it, in as many passes as that takes.
pub(super) struct Tree {
    root: i32,
    killed: HashSet<(i32, u64)>,
    /// Those that this user may not kill.
    untouchable: HashSet<(i32, u64)>,
}

/// What one pass has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pass {
    /// How many were alive and have been sent the signal: they take a moment to die.
    pub(super) left: usize,
    /// Children of this process that have ended and are to be reaped.
    pub(super) ended: Vec<i32>,
}

impl Tree {
    pub(super) fn new() -> Self {
        let root = getpid().as_raw_nonzero().get();
        Self { root, killed: HashSet::new(), untouchable: HashSet::new() }
    }

    /// Kills everything that is alive below this process, aside from the spared children and all below them.
    ///
    /// What is forked while it looks is found by the next pass. A process that has been sent the signal forks no more, so
    /// each pass finds fewer.
    pub(super) fn kill(&mut self, spared: impl Fn(i32) -> bool) -> io::Result<Pass> {
        let mut pass = Pass::default();
        let all = processes()?;
        for process in below(self.root, &all, spared) {
            match (process.ended, process.parent == self.root) {
                (true, true) => pass.ended.push(process.pid),
                (true, false) => {}
                (false, own) => pass.left += usize::from(self.end(&process, own)),
            }
        }
        Ok(pass)
    }

    /// How many have been killed since the last time of asking.
    pub(super) fn take_killed(&mut self) -> u64 {
        self.untouchable.clear();
        self.killed.drain().count() as u64
    }

    /// Whether there was something to kill. A child of this process is certainly the one that was seen: nobody else reaps it.
    fn end(&mut self, process: &Seen, own: bool) -> bool {
        let name = (process.pid, process.started);
        if self.untouchable.contains(&name) {
            return false;
        }
        let Some(pid) = Pid::from_raw(process.pid) else { return false };
        let sent = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(opened) if look(process.pid).is_some_and(|now| now.started == process.started) => {
                pidfd_send_signal(&opened, Signal::KILL)
            }
            Err(_) if own => kill_process(pid, Signal::KILL),
            // It was another's number by then; or there are no such descriptors here, and its turn comes when its parent is dead.
            Ok(_) | Err(_) => return true,
        };
        if sent == Err(rustix::io::Errno::PERM) {
            self.untouchable.insert(name);
            return false;
        }
        self.killed.insert(name);
        true
    }
}

/// Whether this process, of one thread, has children that are not spared. What is left behind becomes its child, so without
/// any there is nothing to kill, and nobody has to look at every process of the machine. One that ends while the kernel lists
/// them may hide another, until the next look. Without such a list: perhaps.
pub(super) fn has_strangers(spared: impl Fn(i32) -> bool) -> bool {
    let Ok(children) = fs::read_to_string("/proc/thread-self/children") else { return true };
    children.split_ascii_whitespace().any(|pid| !pid.parse().is_ok_and(&spared))
}

/// All processes between `root` and the leaves, but for the spared children of `root` and what is below them.
fn below(root: i32, all: &[Seen], spared: impl Fn(i32) -> bool) -> Vec<Seen> {
    let mut children: HashMap<i32, Vec<&Seen>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found: Vec<Seen> = Vec::new();
    found.extend(children.remove(&root).unwrap_or_default().into_iter().filter(|child| !spared(child.pid)));
    let mut next = 0;
    while let Some(process) = found.get(next) {
        next += 1;
        // Taken out, so that even a list that was read while numbers changed hands has no circle.
        found.extend(children.remove(&process.pid).unwrap_or_default());
    }
    found
}

fn processes() -> io::Result<Vec<Seen>> {
    let entries = fs::read_dir("/proc")?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(numbers.filter_map(look).collect())
}

/// None: it is gone.
fn look(pid: i32) -> Option<Seen> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(pid, &String::from_utf8_lossy(&stat))
}

fn parse(pid: i32, stat: &str) -> Option<Seen> {
    // The name of the program stands in parentheses and may hold any character.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Seen { pid, parent, ended: matches!(state, "Z" | "X"), started })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_a_stranger_unless_it_is_spared_and_until_it_is_reaped() {
        assert!(!has_strangers(|_| false));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(has_strangers(|_| false) && !has_strangers(|spared| spared == pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!has_strangers(|_| false));
    }

    fn seen(pid: i32, parent: i32) -> Seen {
        Seen { pid, parent, ended: false, started: 1 }
    }

    #[test]
    fn a_line_of_proc_is_read_whatever_the_programs_name() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 8374 1 1";
        assert_eq!(parse(42, line), Some(Seen { started: 8374, ..seen(42, 7) }));
        assert!(parse(42, "42 (python) Z 7 42 42 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 8374 1").unwrap().ended);
        assert_eq!(parse(42, "42 (python"), None);
    }

    #[test]
    fn what_is_below_a_spared_child_is_spared_too() {
        let all = [seen(10, 1), seen(11, 10), seen(12, 11), seen(20, 1), seen(21, 20), seen(30, 2)];
        let pids = |spared: i32| -> Vec<i32> {
            let mut pids: Vec<i32> =
                below(1, &all, |pid| pid == spared).iter().map(|seen| seen.pid).collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(pids(20), [10, 11, 12]);
        assert_eq!(pids(0), [10, 11, 12, 20, 21]);
    }

    #[test]
    fn this_process_is_seen() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(processes().unwrap().iter().any(|process| process.pid == me && !process.ended));
    }
}
