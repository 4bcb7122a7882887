//! One process per attempt: the protocol that the earlier system documented, spec in, envelope out.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::rc::Rc;

use reproq_model::wire::Envelope;
use reproq_store::{ClaimedRun, Stream};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::{Duration, timeout};

use super::guard::{Guard, Launched};
use super::launch::{Launch, Named, word};
use super::notes::{self, Notes};
use super::output::Captured;
use super::{Answer, unix};
use crate::settings::ExecutorSettings;

/// Larger than any envelope that the executor writes.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;
/// How long a process may take to end after its last word, or after it was killed.
const END: Duration = Duration::from_secs(2);

/// One attempt's process. It starts when its answer is asked for.
pub(super) struct OneShot {
    settings: Rc<ExecutorSettings>,
    guard: Rc<Guard>,
    result_id: String,
    attempt: i32,
    spec: String,
    stdout: Option<Receiver>,
    /// What it has said so far.
    said: Vec<u8>,
    notes: Notes,
    output: Captured,
    process: Process,
    payload_file: Option<PayloadFile>,
}

enum Process {
    None,
    /// On its way, whether or not anybody waits for it.
    Starting(JoinHandle<std::io::Result<Launched>>),
    Started(Launched),
}

/// Removed with its owner.
struct PayloadFile(PathBuf);

impl Drop for PayloadFile {
    fn drop(&mut self) {
        // In the system's temporary folder: what cannot be removed now is removed by the system.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl OneShot {
    pub(super) fn new(run: &ClaimedRun, settings: Rc<ExecutorSettings>, guard: Rc<Guard>) -> Self {
        Self {
            notes: Notes::default(),
            output: Captured::new(settings.max_log_bytes, true),
            settings,
            guard,
            result_id: run.id.to_string(),
            attempt: run.attempts,
            spec: run.spec.clone(),
            stdout: None,
            said: Vec::new(),
            process: Process::None,
            payload_file: None,
        }
    }

    /// Starts the process, unless that has been done, and waits for a note of it or its envelope.
    pub(super) async fn answer(&mut self) -> Answer {
        match self.start().await {
            Ok(()) => self.listen().await,
            Err(error) => Answer::NotBegun {
                why: format!("{} could not be started: {error}", self.settings.python.display()),
            },
        }
    }

    async fn start(&mut self) -> std::io::Result<()> {
        if let Process::None = self.process {
            let launch = self.launch()?;
            let guard = Rc::clone(&self.guard);
            let starting = tokio::task::spawn_local(async move { guard.launch(launch).await });
            self.process = Process::Starting(starting);
        }
        if let Process::Starting(starting) = &mut self.process {
            let started = starting.await.map_err(std::io::Error::other).flatten();
            self.process = Process::None;
            self.process = Process::Started(started?);
        }
        Ok(())
    }

    /// Waits for the end of what it says. What follows an envelope is not waited for: the attempt has ended with it.
    async fn listen(&mut self) -> Answer {
        let broken = tokio::select! {
            biased;
            note = self.notes.next() => return Answer::Note(Box::new(note)),
            heard = hear(&mut self.stdout, &mut self.said) => heard.err(),
        };
        if let Some(note) = self.notes.last() {
            return Answer::Note(Box::new(note));
        }
        let error = match serde_json::from_slice::<Envelope>(&self.said) {
            Ok(envelope) => return Answer::Envelope(Box::new(envelope)),
            Err(error) => error,
        };
        let how = self.end().await;
        let how = match broken {
            Some(error) => format!("{how}; its stdout broke: {error}"),
            None if self.said.is_empty() => how,
            None => format!("{how}; what it wrote to stdout is no envelope: {error}"),
        };
        Answer::Died { how, stderr_tail: self.output.tail() }
    }

    /// What is to be started, and the ends of its pipes.
    fn launch(&mut self) -> std::io::Result<Launch> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC);
        let (out_read, stdout) = pipe()?;
        let (err_read, stderr) = pipe()?;
        let attempt = self.attempt.to_string();
        let python = word(&self.settings.python)?;
        let module = ["-m", &self.settings.module, "--result-id", &self.result_id, "--attempt", &attempt];
        let mut words = vec![python];
        words.extend(module.map(str::to_owned));
        let stdin = if self.settings.payload_in_file {
            let file = payload_file(&self.result_id, self.attempt, &self.spec)?;
            words.extend(["--payload-file".to_owned(), word(&self.payload_file.insert(file).0)?]);
            None
        } else {
            words.push("--payload-stdin".to_owned());
            let (read, write) = pipe()?;
            hand_over(std::mem::take(&mut self.spec), write)?;
            Some(read)
        };
        self.stdout = Some(Receiver::from_owned_fd(out_read)?);
        self.output.read(Stream::Stderr, err_read, None)?;
        // What a task starts and leaves to its fate stays below the attempt.
        let set = self.settings.environment();
        let extra = Some((self.notes.open()?, Named::Variable(notes::VARIABLE.to_owned())));
        Ok(Launch { words, set, stdin, stdout, stderr, extra, adopts: true })
    }

    pub(super) fn output(&self) -> &Captured {
        &self.output
    }

    pub(super) fn pid(&self) -> Option<i32> {
        match &self.process {
            Process::Started(launched) => Some(launched.pid()),
            Process::None | Process::Starting(_) => None,
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.process, Process::None)
    }

    /// Interrupts its task; false when it has not begun, or has ended.
    pub(super) fn interrupt(&mut self) -> bool {
        let Process::Started(launched) = &mut self.process else { return false };
        let possible = !launched.has_ended();
        if possible {
            launched.interrupt();
        }
        possible
    }

    /// Waits a little for it to end by itself; what is left of it then is killed.
    pub(super) async fn settle(&mut self) {
        if let Process::Started(launched) = &mut self.process
            && timeout(END, launched.wait()).await.is_err()
        {
            tracing::debug!(
                result_id = self.result_id,
                "the task has ended, but its process goes on (a thread?); killing it"
            );
            self.end_now().await;
        }
    }

    /// Kills it with its process group, and waits until it is gone.
    pub(super) async fn kill(mut self) {
        self.end_now().await;
    }

    /// Waits until it has ended, and says how. What it leaves in its group dies with it.
    async fn end(&mut self) -> String {
        if let Process::Started(launched) = &mut self.process {
            // What does not end by itself is made to.
            let _ = timeout(END, launched.wait()).await;
        }
        match self.end_now().await {
            Some(Some(status)) => unix::describe(status),
            Some(None) => "it died with the worker's guard".to_owned(),
            None => "it does not end".to_owned(),
        }
    }

    /// None: it does not die.
    async fn end_now(&mut self) -> Option<Option<i32>> {
        if let Process::Starting(starting) = &mut self.process {
            let started = timeout(END, starting).await.ok()?.ok()?.ok()?;
            self.process = Process::Started(started);
        }
        let Process::Started(launched) = &mut self.process else { return None };
        if !launched.has_ended() {
            launched.kill();
        }
        timeout(END, launched.wait()).await.ok()
    }
}

/// Reads what it says to the end. Whoever stops waiting loses nothing of it.
async fn hear(stdout: &mut Option<Receiver>, said: &mut Vec<u8>) -> std::io::Result<()> {
    if let Some(stdout) = stdout {
        while said.len() < LARGEST_ANSWER && stdout.read_buf(said).await? > 0 {}
    }
    *stdout = None;
    Ok(())
}

/// Writes the spec for the process to read, however slowly it does.
fn hand_over(spec: String, pipe: OwnedFd) -> std::io::Result<()> {
    let mut pipe = Sender::from_owned_fd(pipe)?;
    tokio::task::spawn_local(async move {
        // A process that ends without reading is told about by its end.
        let _ = pipe.write_all(spec.as_bytes()).await;
    });
    Ok(())
}

/// A new file that only this user reads.
fn payload_file(result_id: &str, attempt: i32, spec: &str) -> std::io::Result<PayloadFile> {
    let name = format!("reproq-{result_id}-{attempt}-{}.json", uuid::Uuid::new_v4().simple());
    let path = std::env::temp_dir().join(name);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(spec.as_bytes())?;
    Ok(PayloadFile(path))
}
