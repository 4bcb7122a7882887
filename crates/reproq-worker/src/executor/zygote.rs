//! The process that has imported the site and forks children from it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use reproq_model::Isolation;
use reproq_model::wire::{TaskTraits, ZygoteMessage};
use reproq_store::Stream;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Duration, timeout};

use super::child::{Child, End, Origin, Outgoing};
use super::edition::{Edition, Editions};
use super::guard::{Guard, Launched};
use super::launch::{Launch, Named, word};
use super::output::Captured;
use super::shape::Shape;
use super::wear::Service;
use super::{ExecutorError, frames, spawned, unix};
use crate::settings::ExecutorSettings;

/// A site may take its time to import.
const READY: Duration = Duration::from_mins(2);
/// A fork takes milliseconds; a zygote that does not answer is replaced.
const FORK: Duration = Duration::from_secs(10);

/// Ending takes a zygote as long as killing its children.
const STOP: Duration = Duration::from_secs(5);

/// The source of warm children. A zygote that has died, or does not answer, is replaced by the next fork.
pub(super) struct Zygote {
    settings: Rc<ExecutorSettings>,
    guard: Rc<Guard>,
    /// How often the site's code has changed.
    editions: Editions,
    /// Forks come from this one. An earlier one lives as long as its children do.
    process: Rc<RefCell<Option<Rc<Process>>>>,
    /// The next one, while it imports the site: for all who wait for it, and whether or not they go on waiting.
    starting: RefCell<Option<Starting>>,
}

struct Starting {
    task: AbortHandle,
    outcome: watch::Receiver<Option<Result<Rc<Process>, String>>>,
}

/// One process. It is killed with its last owner: its place above, and each of its children.
pub(super) struct Process {
    control: Rc<AsyncFd<OwnedFd>>,
    shared: Rc<Shared>,
    output: Captured,
    /// Whether a fork of it would share what must not be shared.
    is_unsafe: Cell<bool>,
    /// What it has said of the site's tasks.
    tasks: HashMap<String, TaskTraits>,
    /// Where the site's own code is.
    source_roots: Vec<PathBuf>,
    edition: Edition,
    /// The process itself, below the guard.
    launched: Mutex<Launched>,
    next_token: Cell<u64>,
}

/// What the reader of the control socket and the forks have in common.
#[derive(Default)]
struct Shared {
    forks: RefCell<HashMap<u64, oneshot::Sender<Result<Forked, String>>>>,
    /// Children that live, with who is to be told of their end.
    children: RefCell<HashMap<i32, oneshot::Sender<i32>>>,
    /// It has ended, or does not answer: nothing more is asked of it.
    gone: Cell<bool>,
}

/// A child that the zygote has forked.
struct Forked {
    pid: i32,
    ended: oneshot::Receiver<i32>,
}

impl Zygote {
    /// Starts the process and waits until the site is imported.
    pub(super) async fn start(
        settings: Rc<ExecutorSettings>,
        guard: Rc<Guard>,
    ) -> Result<Self, ExecutorError> {
        let editions = Editions::default();
        let process = Rc::new(Process::start(&settings, &guard, editions.newest()).await?);
        Ok(Self {
            settings,
            guard,
            editions,
            process: Rc::new(RefCell::new(Some(process))),
            starting: RefCell::new(None),
        })
    }

    /// One more child. The caller may stop waiting at any time.
    pub(super) async fn fork(&self, shape: Shape) -> Result<Child, ExecutorError> {
        loop {
            match self.fork_of_newest(shape).await? {
                // The code has changed meanwhile.
                child if child.is_outdated() => child.retire(),
                child => return Ok(child),
            }
        }
    }

    /// Imports the site as it is now. What is forked from then on has that code; everything earlier is outdated.
    pub(super) async fn renew(&self) -> Result<(), ExecutorError> {
        let edition = self.editions.next();
        let process = Process::start(&self.settings, &self.guard, edition).await?;
        self.editions.advance();
        // Its children, if any, keep the earlier one until they have ended.
        self.process.replace(Some(Rc::new(process)));
        Ok(())
    }

    /// Where the site's own code is.
    pub(super) fn source_roots(&self) -> Vec<PathBuf> {
        self.process.borrow().as_ref().map(|process| process.source_roots.clone()).unwrap_or_default()
    }

    async fn fork_of_newest(&self, shape: Shape) -> Result<Child, ExecutorError> {
        let process = self.process().await?;
        if process.is_unsafe.get() {
            return spawned::start(&self.settings, &self.guard, shape, process.edition.clone()).await;
        }
        match Rc::clone(&process).fork(&self.settings, shape).await {
            // It had died, and nobody knew until it was asked.
            Err(_) if process.shared.gone.get() => {
                drop(process);
                self.process().await?.fork(&self.settings, shape).await
            }
            forked => forked,
        }
    }

    /// Where the task itself wants to run.
    pub(super) fn isolation(&self, task_path: &str) -> Option<Isolation> {
        self.of_task(task_path, |task| task.isolation).flatten()
    }

    /// Whether the task is a coroutine function.
    pub(super) fn is_async(&self, task_path: &str) -> bool {
        self.of_task(task_path, |task| task.is_async).unwrap_or_default()
    }

    fn of_task<T>(&self, task_path: &str, what: impl Fn(&TaskTraits) -> T) -> Option<T> {
        self.process.borrow().as_ref()?.tasks.get(task_path).map(what)
    }

    /// Lets the process go, and waits until it is gone: with it go all children that are left.
    pub(super) async fn stop(&self) {
        if let Some(starting) = self.starting.take() {
            starting.task.abort();
        }
        let process = self.process.take();
        if let Some(process) = process {
            process.stop().await;
        }
    }

    async fn process(&self) -> Result<Rc<Process>, ExecutorError> {
        if let Some(process) = self.process.borrow().as_ref().filter(|process| !process.shared.gone.get()) {
            return Ok(Rc::clone(process));
        }
        let mut outcome = self.another();
        let started = outcome.wait_for(Option::is_some).await.ok().and_then(|started| started.clone());
        match started {
            Some(Ok(process)) => Ok(process),
            Some(Err(message)) => Err(ExecutorError::Fork(message)),
            None => Err(ExecutorError::Fork("the worker stops".to_owned())),
        }
    }

    /// The zygote that is being started; starts one if there is none.
    fn another(&self) -> watch::Receiver<Option<Result<Rc<Process>, String>>> {
        let mut starting = self.starting.borrow_mut();
        if let Some(starting) = starting.as_ref().filter(|starting| !starting.task.is_finished()) {
            return starting.outcome.clone();
        }
        // Its children, if any, keep it until they have ended.
        if self.process.take().is_some() {
            tracing::warn!("the zygote is gone; starting another");
        }
        let (sender, outcome) = watch::channel(None);
        let (settings, guard) = (Rc::clone(&self.settings), Rc::clone(&self.guard));
        let place = Rc::clone(&self.process);
        let edition = self.editions.newest();
        let task = tokio::task::spawn_local(async move {
            let mut started = Process::start(&settings, &guard, edition).await.map(Rc::new);
            if let Ok(process) = &mut started {
                match &mut *place.borrow_mut() {
                    // One with newer code was faster.
                    Some(newest) if process.edition.is_outdated() => *process = Rc::clone(newest),
                    place => *place = Some(Rc::clone(process)),
                }
            }
            // Nobody may wait for it any more.
            let _ = sender.send(Some(started.map_err(|error| error.to_string())));
        });
        *starting = Some(Starting { task: task.abort_handle(), outcome: outcome.clone() });
        outcome
    }
}

impl Process {
    async fn start(
        settings: &ExecutorSettings,
        guard: &Guard,
        edition: Edition,
    ) -> Result<Self, ExecutorError> {
        let refused = |what| move |source| ExecutorError::System { what, source };
        let (ours, theirs) = unix::packet_pair().map_err(refused("a socket for the zygote"))?;
        let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC)
            .map_err(std::io::Error::from)
            .map_err(refused("a pipe for the zygote"))?;
        let both = write_end.try_clone().map_err(refused("a pipe for the zygote"))?;
        let spawn = |source| ExecutorError::Spawn { python: settings.python.display().to_string(), source };
        let python = word(&settings.python).map_err(spawn)?;
        let launch = Launch {
            words: [python.as_str(), "-m", &settings.module, "--serve"].map(str::to_owned).to_vec(),
            set: settings.environment(),
            stdin: None,
            stdout: both,
            stderr: write_end,
            extra: Some((theirs, Named::LastArgument)),
            // What its children leave behind is the guard's at once.
            adopts: false,
        };
        let launched = guard.launch(launch).await.map_err(spawn)?;
        let mut output = Captured::new(64 * 1024, false);
        output.read(Stream::Stderr, read_end).map_err(refused("the zygote's output"))?;
        let control = Rc::new(unix::watch(ours).map_err(refused("the zygote's socket"))?);
        let mut process = Self {
            control,
            shared: Rc::default(),
            output,
            is_unsafe: Cell::new(false),
            tasks: HashMap::new(),
            source_roots: Vec::new(),
            edition,
            launched: Mutex::new(launched),
            next_token: Cell::new(1),
        };
        process.wait_until_ready(settings).await?;
        tokio::task::spawn_local(listen(Rc::clone(&process.control), Rc::clone(&process.shared)));
        Ok(process)
    }

    async fn wait_until_ready(&mut self, settings: &ExecutorSettings) -> Result<(), ExecutorError> {
        let mut tasks = HashMap::new();
        let first_words = timeout(READY, async {
            loop {
                match receive(&self.control).await {
                    Ok(Some(ZygoteMessage::Tasks { tasks: more })) => tasks.extend(more),
                    other => return other,
                }
            }
        });
        let first_words = first_words.await;
        self.tasks = tasks;
        match first_words {
            Ok(Ok(Some(ZygoteMessage::Ready { pid, python, django, version, r#unsafe, source_roots }))) => {
                self.source_roots = source_roots;
                tracing::info!(pid, python, django, version, "executor ready");
                if let Some(why) = r#unsafe {
                    self.is_unsafe.set(true);
                    tracing::warn!(
                        why,
                        "this site cannot be forked; each child imports it for itself, which takes longer and more memory"
                    );
                }
                Ok(())
            }
            Ok(Ok(Some(ZygoteMessage::Failed { message, traceback, source_roots }))) => {
                Err(ExecutorError::Site { message, traceback, source_roots })
            }
            other => {
                let how = match other {
                    Err(_) => format!("no word within {} s", READY.as_secs()),
                    Ok(Err(error)) => error.to_string(),
                    Ok(Ok(Some(_))) => "it said something unexpected".to_owned(),
                    Ok(Ok(None)) => (self.launched.get_mut().wait().await)
                        .map_or_else(|| "with its guard".to_owned(), unix::describe),
                };
                Err(ExecutorError::Silent {
                    python: settings.python.display().to_string(),
                    module: settings.module.clone(),
                    how,
                    output: self.output.tail(),
                })
            }
        }
    }

    async fn stop(&self) {
        // The end of its socket is what it stops at.
        unix::hang_up(self.control.get_ref());
        let mut launched = self.launched.lock().await;
        if timeout(STOP, launched.wait()).await.is_err() {
            tracing::warn!("the zygote does not stop; killing it");
            launched.kill();
            // One that does not die is left to the guard.
            let _ = timeout(STOP, launched.wait()).await;
        }
    }

    /// Forks, whether or not the caller goes on waiting: a process that hangs is found out in any case.
    async fn fork(
        self: Rc<Self>,
        settings: &Rc<ExecutorSettings>,
        shape: Shape,
    ) -> Result<Child, ExecutorError> {
        let settings = Rc::clone(settings);
        let forking = tokio::task::spawn_local(async move { self.fork_now(&settings, shape).await });
        forking.await.unwrap_or_else(|error| Err(ExecutorError::Fork(error.to_string())))
    }

    async fn fork_now(
        self: Rc<Self>,
        settings: &ExecutorSettings,
        shape: Shape,
    ) -> Result<Child, ExecutorError> {
        let refused = |what| move |source| ExecutorError::System { what, source };
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from);
        let (ours, theirs) =
            std::os::unix::net::UnixStream::pair().map_err(refused("a socket for a child"))?;
        let (out_read, out_write) = pipe().map_err(refused("a pipe for a child"))?;
        let (err_read, err_write) = pipe().map_err(refused("a pipe for a child"))?;
        let token = self.next_token.replace(self.next_token.get() + 1);
        let (sender, forked) = oneshot::channel();
        self.shared.forks.borrow_mut().insert(token, sender);
        let request = shape.request(token).to_string();
        let descriptors = [theirs.as_fd(), out_write.as_fd(), err_write.as_fd()];
        let asked = async {
            let sent = send(&self.control, request.as_bytes(), &descriptors).await;
            if let Err(error) = sent {
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) {
                    self.shared.gone.set(true);
                }
                return Err(refused("a word to the zygote")(error));
            }
            match forked.await {
                Ok(Ok(forked)) => Ok(forked),
                Ok(Err(message)) => Err(ExecutorError::Fork(message)),
                Err(_) => Err(ExecutorError::Fork(format!("the zygote ended: {}", self.output.tail()))),
            }
        };
        let Ok(forked) = timeout(FORK, asked).await else {
            // It hangs. Its children may well be alive: it goes with the last of them.
            self.shared.gone.set(true);
            return Err(ExecutorError::Fork(format!(
                "the zygote did not answer within {} s",
                FORK.as_secs()
            )));
        };
        let Forked { pid, ended } = forked?;
        // Or its end would never be seen on the stream.
        drop((theirs, out_write, err_write));
        let mut output = Captured::new(settings.max_log_bytes, true);
        for (stream, pipe) in [(Stream::Stdout, out_read), (Stream::Stderr, err_read)] {
            output.read(stream, pipe).map_err(refused("a pipe for a child"))?;
        }
        ours.set_nonblocking(true).map_err(refused("a socket for a child"))?;
        Ok(Child {
            pid,
            stream: UnixStream::from_std(ours).map_err(refused("a socket for a child"))?,
            output,
            end: End::Awaited(ended),
            received: frames::FrameBuffer::default(),
            outgoing: Outgoing::default(),
            service: Service::new(pid),
            edition: self.edition.clone(),
            retired: None,
            unread: true,
            origin: Origin::Forked { _zygote: self },
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whoever listens to it stops.
        unix::hang_up(self.control.get_ref());
    }
}

impl Shared {
    /// The zygote tells of a child before it tells of its end, so that an end is never a stranger's.
    fn forked(&self, token: u64, pid: i32) {
        let (sender, ended) = oneshot::channel();
        self.children.borrow_mut().insert(pid, sender);
        if let Some(waiting) = self.forks.borrow_mut().remove(&token) {
            // A fork that nobody waits for any more is not wanted; its stream is closed, so the child exits.
            let _ = waiting.send(Ok(Forked { pid, ended }));
        }
    }

    fn ended(&self, pid: i32, status: i32) {
        if let Some(sender) = self.children.borrow_mut().remove(&pid) {
            // Whoever had the child may have let it go.
            let _ = sender.send(status);
        }
    }

    /// Everybody who waits for the zygote stops waiting. Its children die with it, and what they have started falls to the
    /// guard. Where there is none, it is killed here and now, as long as the process ids are certain to be theirs.
    fn close(&self) {
        self.gone.set(true);
        self.forks.borrow_mut().clear();
        for (pid, _) in self.children.borrow_mut().drain() {
            if cfg!(not(target_os = "linux")) {
                unix::kill_group(pid);
            }
        }
    }
}

/// Reads what the zygote says until it says no more.
async fn listen(control: Rc<AsyncFd<OwnedFd>>, shared: Rc<Shared>) {
    loop {
        match receive(&control).await {
            Ok(Some(ZygoteMessage::Forked { token, pid })) => shared.forked(token, pid),
            Ok(Some(ZygoteMessage::ForkFailed { token, message })) => {
                if let Some(waiting) = shared.forks.borrow_mut().remove(&token) {
                    let _ = waiting.send(Err(message));
                }
            }
            Ok(Some(ZygoteMessage::Exited { pid, status, max_rss_kib })) => {
                tracing::debug!(pid, how = unix::describe(status), max_rss_kib, "child ended");
                shared.ended(pid, status);
            }
            Ok(Some(_)) => {}
            Ok(None) => return shared.close(),
            Err(error) => {
                tracing::warn!(%error, "the zygote's socket broke");
                return shared.close();
            }
        }
    }
}

async fn send(
    control: &AsyncFd<OwnedFd>,
    bytes: &[u8],
    descriptors: &[std::os::fd::BorrowedFd<'_>],
) -> std::io::Result<()> {
    loop {
        let mut ready = control.writable().await?;
        if let Ok(done) = ready.try_io(|socket| unix::send_packet(socket.get_ref(), bytes, descriptors)) {
            return done;
        }
    }
}

/// None at the end of the stream.
async fn receive(control: &AsyncFd<OwnedFd>) -> std::io::Result<Option<ZygoteMessage>> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let mut ready = control.readable().await?;
        if let Ok(received) = ready.try_io(|socket| unix::receive_packet(socket.get_ref(), &mut buffer)) {
            let count = match received {
                Ok(count) => count,
                // The zygote died with words of ours unread.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
                Err(error) => return Err(error),
            };
            return if count == 0 { Ok(None) } else { Ok(Some(serde_json::from_slice(&buffer[..count])?)) };
        }
    }
}
