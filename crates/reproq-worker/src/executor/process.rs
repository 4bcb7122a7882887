//! One process per attempt: the protocol that the earlier system documented, spec in, envelope out.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::rc::Rc;

use reproq_model::wire::Envelope;
use reproq_store::ClaimedRun;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::output::Output;
use super::{Answer, unix};
use crate::settings::ExecutorSettings;

/// Larger than any envelope that the executor writes.
const LARGEST_ANSWER: u64 = 64 * 1024 * 1024;

/// One attempt's process. It starts when its answer is asked for.
pub(super) struct OneShot {
    settings: Rc<ExecutorSettings>,
    result_id: String,
    attempt: i32,
    spec: String,
    stderr: Option<Output>,
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
            settings,
            result_id: run.id.to_string(),
            attempt: run.attempts,
            spec: run.spec.clone(),
            stderr: None,
            child: None,
            payload_file: None,
        }
    }

    /// Starts the process and waits for its envelope.
    pub(super) async fn answer(&mut self) -> Answer {
        match self.run().await {
            Ok(answer) => answer,
            Err(error) => Answer::Died { how: error.to_string(), stderr_tail: String::new() },
        }
    }

    async fn run(&mut self) -> std::io::Result<Answer> {
        let (err_read, err_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut command = self.command()?;
        command.stdout(Stdio::piped()).stderr(Stdio::from(err_write));
        let spawned = command.spawn();
        drop(command);
        let stderr =
            &*self.stderr.insert(Output::of(err_read, self.settings.max_stderr_bytes, self.settings.echo)?);
        let child = self.child.insert(spawned?);
        if let Some(mut stdin) = child.stdin.take() {
            let spec = std::mem::take(&mut self.spec);
            tokio::task::spawn_local(async move {
                // A process that ends without reading is told about by its end.
                let _ = stdin.write_all(spec.as_bytes()).await;
            });
        }
        let mut text = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(LARGEST_ANSWER).read_to_end(&mut text).await?;
        }
        let status = child.wait().await?;
        Ok(match serde_json::from_slice::<Envelope>(&text) {
            Ok(envelope) => Answer::Envelope(Box::new(envelope)),
            Err(_) if text.is_empty() => Answer::Died { how: status.to_string(), stderr_tail: stderr.tail() },
            Err(error) => Answer::Died {
                how: format!("{status}; what it wrote to stdout is no envelope: {error}"),
                stderr_tail: stderr.tail(),
            },
        })
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
        unix::lead_session_and_die_with_parent(&mut command);
        Ok(command)
    }

    pub(super) fn stderr(&self) -> Option<&Output> {
        self.stderr.as_ref()
    }

    /// Kills it with its process group, and waits until it is gone.
    pub(super) async fn kill(mut self) {
        if let Some(child) = &mut self.child {
            if let Some(pid) = child.id() {
                unix::kill_group(pid.cast_signed());
            }
            // Reaps it; that it was gone before is as good.
            let _ = child.wait().await;
        }
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
