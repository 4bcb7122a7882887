//! One process per attempt: the protocol that the earlier system documented, spec in, envelope out.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;

use reproq_model::wire::Envelope;
use reproq_store::{ClaimedRun, Stream};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdout, Command};
use tokio::time::{Duration, Instant, sleep, timeout};

use super::output::Captured;
use super::{Answer, unix};
use crate::settings::ExecutorSettings;

/// Larger than any envelope that the executor writes.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;
/// How long a process may take to end after its last word, or after it was killed.
const END: Duration = Duration::from_secs(2);
/// How often an end is looked for that should come at once.
const LOOK: Duration = Duration::from_millis(5);

/// One attempt's process. It starts when its answer is asked for.
pub(super) struct OneShot {
    settings: Rc<ExecutorSettings>,
    result_id: String,
    attempt: i32,
    spec: String,
    stdout: Option<ChildStdout>,
    /// What it has said so far.
    said: Vec<u8>,
    output: Captured,
    child: Option<tokio::process::Child>,
    payload_file: Option<PayloadFile>,
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
    pub(super) fn new(run: &ClaimedRun, settings: Rc<ExecutorSettings>) -> Self {
        Self {
            output: Captured::new(settings.max_log_bytes, true),
            settings,
            result_id: run.id.to_string(),
            attempt: run.attempts,
            spec: run.spec.clone(),
            stdout: None,
            said: Vec::new(),
            child: None,
            payload_file: None,
        }
    }

    /// Starts the process, unless that has been done, and waits for its envelope.
    pub(super) async fn answer(&mut self) -> Answer {
        let started = if self.child.is_none() { self.start() } else { Ok(()) };
        match started {
            Ok(()) => self.listen().await,
            Err(error) => Answer::NotBegun {
                why: format!("{} could not be started: {error}", self.settings.python.display()),
            },
        }
    }

    fn start(&mut self) -> std::io::Result<()> {
        let (err_read, err_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut command = self.command()?;
        command.stdout(Stdio::piped()).stderr(Stdio::from(err_write));
        let spawned = command.spawn();
        drop(command);
        let child = self.child.insert(spawned?);
        self.stdout = child.stdout.take();
        self.output.read(Stream::Stderr, err_read)?;
        if let Some(mut stdin) = child.stdin.take() {
            let spec = std::mem::take(&mut self.spec);
            tokio::task::spawn_local(async move {
                // A process that ends without reading is told about by its end.
                let _ = stdin.write_all(spec.as_bytes()).await;
            });
        }
        Ok(())
    }

    /// Waits for the end of what it says. What follows an envelope is not waited for: the attempt has ended with it.
    async fn listen(&mut self) -> Answer {
        let broken = self.hear().await.err();
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

    /// Reads what it says to the end. Whoever stops waiting loses nothing of it.
    async fn hear(&mut self) -> std::io::Result<()> {
        if let Some(stdout) = &mut self.stdout {
            while self.said.len() < LARGEST_ANSWER && stdout.read_buf(&mut self.said).await? > 0 {}
        }
        self.stdout = None;
        Ok(())
    }

    fn command(&mut self) -> std::io::Result<Command> {
        let mut command = Command::new(&self.settings.python);
        command
            .args([
                "-m",
                &self.settings.module,
                "--result-id",
                &self.result_id,
                "--attempt",
                &self.attempt.to_string(),
            ])
            .env("REPROQ_DB_ALIAS", &self.settings.db_alias)
            .env("ALLOWED_TASK_MODULES", &self.settings.allowed_modules)
            .env_remove("REPROQ_DATABASE_URL");
        if self.settings.payload_in_file {
            let file = payload_file(&self.result_id, self.attempt, &self.spec)?;
            command.arg("--payload-file").arg(&self.payload_file.insert(file).0).stdin(Stdio::null());
        } else {
            command.arg("--payload-stdin").stdin(Stdio::piped());
        }
        command.kill_on_drop(true);
        unix::lead_session_and_die_with_parent(&mut command);
        Ok(command)
    }

    pub(super) fn output(&self) -> &Captured {
        &self.output
    }

    pub(super) fn pid(&self) -> Option<i32> {
        self.child.as_ref().and_then(tokio::process::Child::id).map(u32::cast_signed)
    }

    pub(super) fn has_begun(&self) -> bool {
        self.child.is_some()
    }

    /// Interrupts its task; false when it has not begun, or has ended.
    pub(super) fn interrupt(&mut self) -> bool {
        // None once it is reaped: the number may be another's by then.
        let pid = self.child.as_ref().and_then(tokio::process::Child::id);
        if let Some(pid) = pid {
            unix::interrupt(pid.cast_signed());
        }
        pid.is_some()
    }

    /// Waits a little for it to end by itself; what is left of it then is killed.
    pub(super) async fn settle(&mut self) {
        if let Some(child) = &mut self.child
            && timeout(END, child.wait()).await.is_err()
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

    /// Waits until it has ended, kills what it leaves in its group, and says how it ended.
    async fn end(&mut self) -> String {
        let until = Instant::now() + END;
        if let Some(pid) = self.child.as_ref().and_then(tokio::process::Child::id) {
            while !unix::has_ended(pid.cast_signed()) && Instant::now() < until {
                sleep(LOOK).await;
            }
        }
        self.end_now().await.map_or_else(|| "it does not end".to_owned(), |status| status.to_string())
    }

    async fn end_now(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        // None once it is reaped: the number may be another's by then.
        if let Some(pid) = child.id() {
            unix::kill_group(pid.cast_signed());
        }
        timeout(END, child.wait()).await.ok()?.ok()
    }
}

/// A new file that only this user reads.
fn payload_file(result_id: &str, attempt: i32, spec: &str) -> std::io::Result<PayloadFile> {
    let name = format!("reproq-{result_id}-{attempt}-{}.json", uuid::Uuid::new_v4().simple());
    let path = std::env::temp_dir().join(name);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(spec.as_bytes())?;
    Ok(PayloadFile(path))
}
