//! In place of `guard/` on systems without subreapers and death signals: the worker starts its processes itself. What leaves
//! its session outlives its task there, children outlive a zygote that was killed, and what a stopped worker runs goes on.
//!
//! Written for macOS and the like. Windows has neither these process groups nor tokio's Unix sockets.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Instant;

use rustix::io::{FdFlags, fcntl_setfd};
use tokio::process::Command;
use tokio::sync::{Notify, oneshot};

use super::launch::{Launch, Named, SECRET};
use super::unix;

/// Nobody.
pub(super) struct Guard;

/// A process that the worker has started. It is killed with its owner.
pub(super) struct Launched {
    pid: i32,
    kill: Rc<Notify>,
    end: oneshot::Receiver<i32>,
    status: Option<i32>,
}

impl Guard {
    #[expect(clippy::unused_async, reason = "a real guard takes time to start")]
    pub(super) async fn start() -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self))
    }

    #[expect(clippy::unused_async, reason = "a real guard has to be asked")]
    pub(super) async fn launch(&self, launch: Launch) -> io::Result<Launched> {
        let Launch { words, set, stdin, stdout, stderr, extra, adopts: _ } = launch;
        let (program, arguments) =
            words.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut command = Command::new(program);
        command.args(arguments).envs(set).env_remove(SECRET).stdout(stdout).stderr(stderr);
        command.stdin(stdin.map_or_else(Stdio::null, Stdio::from)).process_group(0).kill_on_drop(true);
        if let Some((descriptor, named)) = &extra {
            fcntl_setfd(descriptor.as_fd(), FdFlags::empty())?;
            let number = descriptor.as_raw_fd().to_string();
            match named {
                Named::LastArgument => command.arg(number),
                Named::Variable(name) => command.env(name, number),
            };
        }
        let mut child = command.spawn()?;
        drop(extra);
        let pid = child.id().map_or(0, u32::cast_signed);
        let kill = Rc::new(Notify::new());
        let (sender, end) = oneshot::channel();
        let asked = Rc::clone(&kill);
        tokio::task::spawn_local(async move {
            let status = loop {
                tokio::select! {
                    status = child.wait() => break status,
                    // It is not reaped, so the number is its own.
                    () = asked.notified() => unix::kill_group(pid),
                }
            };
            let _ = sender.send(status.map_or(0, ExitStatusExt::into_raw));
        });
        Ok(Launched { pid, kill, end, status: None })
    }

    #[expect(clippy::unused_async, reason = "a real guard has to be asked")]
    pub(super) async fn sweep(&self) {}

    pub(super) fn trust(&self, _until: Option<Instant>) {}

    pub(super) fn trust_no_longer(&self, _until: Instant) {}

    pub(super) fn overdue(&self) -> u64 {
        0
    }

    #[expect(clippy::unused_async, reason = "a real guard takes time to end")]
    pub(super) async fn stop(&self) {}
}

impl Launched {
    pub(super) const fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn kill(&self) {
        self.kill.notify_one();
    }

    pub(super) fn interrupt(&self) {
        // Whoever asks has seen that it has not ended.
        unix::interrupt(self.pid);
    }

    pub(super) fn has_ended(&mut self) -> bool {
        if let Ok(status) = self.end.try_recv() {
            self.status = Some(status);
        }
        self.status.is_some()
    }

    pub(super) async fn wait(&mut self) -> Option<i32> {
        if self.status.is_none() {
            self.status = (&mut self.end).await.ok();
        }
        self.status
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.kill();
    }
}
