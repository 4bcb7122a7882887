//! One process that imports the site and forks children from it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use reproq_model::wire::{TaskTraits, ZygoteMessage};
use reproq_store::Stream;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Duration, timeout};

use crate::executor::child::{Child, End, Origin};
use crate::executor::edition::Edition;
use crate::executor::guard::{Guard, Launched};
use crate::executor::launch::{Launch, Named, word};
use crate::executor::output::Captured;
use crate::executor::shape::Shape;
use crate::executor::{ExecutorError, ends, unix};
use crate::settings::ExecutorSettings;

/// A site may take its time to import.
const READY: Duration = Duration::from_mins(2);
/// A fork takes milliseconds; a zygote that does not answer is replaced.
const FORK: Duration = Duration::from_secs(10);
/// See ld.so(8): its value only must not be empty.
const BIND_NOW: &str = "LD_BIND_NOW";
const LARGEST_PACKET: usize = 256 * 1024;
/// Ending takes a zygote as long as killing its children.
const STOP: Duration = Duration::from_secs(5);

/// One process. It is killed with its last owner: its place above, and each of its children.
pub(in crate::executor) struct Process {
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

/// Has the dynamic linker bind every function at once, where a fork serves one run. Otherwise each child would look up the same ones,
/// those that only a child calls, and copy the tables that say where they are. The zygote takes back the variable, not what it does:
/// a library whose functions are not all to be found cannot be opened any more, not even lazily, so whoever has such a one says no.
fn eager_binding(settings: &ExecutorSettings) -> Option<(String, String)> {
    // Whoever has set it, be it to nothing, knows why.
    let wanted = settings.isolation.forks_for_each() && std::env::var_os(BIND_NOW).is_none();
    wanted.then(|| (BIND_NOW.to_owned(), "reproq".to_owned()))
}

impl Process {
    /// Whether it has ended, or does not answer: nothing more is asked of it.
    pub(super) fn is_gone(&self) -> bool {
        self.shared.gone.get()
    }

    /// Whether a fork of it would share what must not be shared.
    pub(super) fn is_unsafe(&self) -> bool {
        self.is_unsafe.get()
    }

    /// Which state of the site's code it has imported.
    pub(super) const fn edition(&self) -> &Edition {
        &self.edition
    }

    /// What it has said of a task.
    pub(super) fn task(&self, path: &str) -> Option<&TaskTraits> {
        self.tasks.get(path)
    }

    /// Where the site's own code is.
    pub(super) fn source_roots(&self) -> &[PathBuf] {
        &self.source_roots
    }

    pub(super) async fn start(
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
        let once = settings.isolation.forks_for_each().then_some("--once");
        let words = [Some(python.as_str()), Some("-m"), Some(&settings.module), once, Some("--serve")];
        let launch = Launch {
            words: words.into_iter().flatten().map(str::to_owned).collect(),
            set: settings.environment().into_iter().chain(eager_binding(settings)).collect(),
            stdin: None,
            stdout: both,
            stderr: write_end,
            extra: Some((theirs, Named::LastArgument)),
            // What its children leave behind is the guard's at once.
            adopts: false,
        };
        let launched = guard.launch(launch).await.map_err(spawn)?;
        let mut output = Captured::new(64 * 1024, false);
        output.read(Stream::Stderr, read_end, None).map_err(refused("the zygote's output"))?;
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
        let mut buffer = vec![0; LARGEST_PACKET];
        let first_words = timeout(READY, async {
            loop {
                match receive(&self.control, &mut buffer).await {
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
                    Ok(Ok(None)) => match timeout(STOP, self.launched.get_mut().wait()).await {
                        Ok(end) => end.map_or_else(|| "with its guard".to_owned(), unix::describe),
                        Err(_) => "it has closed its socket and goes on".to_owned(),
                    },
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

    pub(super) async fn stop(&self) {
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
    pub(super) async fn fork(
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
        let (ours, theirs) = ends::pair()?;
        let token = self.next_token.replace(self.next_token.get() + 1);
        let (sender, forked) = oneshot::channel();
        self.shared.forks.borrow_mut().insert(token, sender);
        let request = shape.request(token).to_string();
        let descriptors = [theirs.stream.as_fd(), theirs.stdout.as_fd(), theirs.stderr.as_fd()];
        let asked = async {
            let sent = send(&self.control, request.as_bytes(), &descriptors).await;
            if let Err(source) = sent {
                if matches!(source.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) {
                    self.shared.gone.set(true);
                }
                return Err(ExecutorError::System { what: "a word to the zygote", source });
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
        drop(theirs);
        let edition = self.edition.clone();
        ours.child(
            pid,
            End::Awaited(ended),
            Origin::Forked { _zygote: self },
            edition,
            settings.max_log_bytes,
        )
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
    let mut buffer = vec![0; LARGEST_PACKET];
    loop {
        match receive(&control, &mut buffer).await {
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
async fn receive(control: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> std::io::Result<Option<ZygoteMessage>> {
    loop {
        let mut ready = control.readable().await?;
        if let Ok(received) = ready.try_io(|socket| unix::receive_packet(socket.get_ref(), buffer)) {
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
