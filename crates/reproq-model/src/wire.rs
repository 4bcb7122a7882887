//! What worker and executor say to each other: `contracts/executor.md`.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::isolation::Isolation;

/// How an attempt ended, told by the child.
#[derive(Debug, Deserialize)]
pub struct Envelope {
    /// Whether the task returned.
    pub ok: bool,
    /// The return value, as JSON text; absent means `null`.
    #[serde(rename = "return")]
    pub return_json: Option<Box<RawValue>>,
    /// Import path of the exception's class.
    pub exception_class: Option<String>,
    /// Its message.
    pub message: Option<String>,
    /// Its traceback, formatted by Python.
    pub traceback: Option<String>,
    /// The kind of failure; absent means [`FailureKind::AppError`].
    pub kind: Option<FailureKind>,
    /// Seconds until the next attempt, when the task itself decides.
    pub retry_in: Option<f64>,
    /// The run's metadata, when the attempt changed it.
    pub metadata: Option<Box<RawValue>>,
    /// What the attempt has used.
    pub usage: Option<Usage>,
}

/// What an attempt has used of its machine.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Usage {
    /// Processor time, milliseconds.
    pub cpu_ms: f64,
    /// Peak of resident memory, KiB.
    pub max_rss_kib: i64,
}

/// Why an attempt failed, as written to `errors_json[].kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The task raised.
    AppError,
    /// It ran longer than its timeout.
    Timeout,
    /// It used more memory than it may.
    MemoryLimit,
    /// It asked to be tried later, and the attempt does not count.
    Snoozed,
    /// It said, or its policy says, that another attempt is pointless.
    GivenUp,
    /// It has killed its process so often that it is not given another.
    Quarantined,
    /// Its process ended under it.
    Crashed,
    /// The worker that ran it stopped renewing its lease.
    LeaseExpiry,
    /// It was not started before `expires_at`.
    Expired,
    /// Somebody cancelled it.
    Cancelled,
    /// Its concurrency key was full, and it was not to wait.
    Discarded,
    /// Its concurrency key was full, and a later one waits in its place.
    Replaced,
    /// Its arguments cannot be decoded.
    InvalidSpec,
    /// Its return value is not JSON.
    InvalidResult,
    /// It is not a registered task of an allowed module.
    SecurityViolation,
    /// Anything else on the worker's side; the earlier system wrote it for timeouts and failed starts.
    InfraError,
}

/// What the worker has to know of a task before it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct TaskTraits {
    /// Whether it is a coroutine function.
    #[serde(default, rename = "async")]
    pub is_async: bool,
    /// Where it wants to run.
    pub isolation: Option<Isolation>,
}

/// A packet from the zygote.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ZygoteMessage {
    /// Some of the site's tasks; before `Ready`.
    Tasks {
        /// By path, those that are not plain.
        tasks: HashMap<String, TaskTraits>,
    },
    /// The site is imported.
    Ready {
        /// The zygote's process.
        pid: i32,
        /// Version of Python.
        python: String,
        /// Version of Django.
        django: String,
        /// Version of the package.
        version: String,
        /// Why a fork of it would not be safe.
        r#unsafe: Option<String>,
        /// Folders of the site's own code.
        #[serde(default)]
        source_roots: Vec<PathBuf>,
    },
    /// The site cannot be imported.
    Failed {
        /// The exception in one line.
        message: String,
        /// Where it was raised.
        traceback: String,
        /// Folders of the site's own code, as far as it has been imported.
        #[serde(default)]
        source_roots: Vec<PathBuf>,
    },
    /// A child exists.
    Forked {
        /// The number of the request.
        token: u64,
        /// The child's process, the leader of its own session.
        pid: i32,
    },
    /// A child could not be had.
    ForkFailed {
        /// The number of the request.
        token: u64,
        /// The operating system's reason.
        message: String,
    },
    /// A child ended.
    Exited {
        /// Which one.
        pid: i32,
        /// As `waitpid` gives it.
        status: i32,
        /// Peak resident memory.
        max_rss_kib: i64,
    },
}

/// A run on its way to a child.
#[derive(Debug, Serialize)]
pub struct RunFrame<'a> {
    /// Always `run`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The run, in decimal.
    pub result_id: String,
    /// Its claim.
    pub epoch: i32,
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// The worker that runs it.
    pub worker_id: &'a str,
    /// The alias in the site's `TASKS`.
    pub backend_alias: &'a str,
    /// Microseconds since 1970.
    pub enqueued_at: i64,
    /// Start of the first attempt, microseconds since 1970.
    pub started_at: i64,
    /// Start of this attempt, microseconds since 1970.
    pub last_attempted_at: i64,
    /// Stored text.
    pub worker_ids: &'a RawValue,
    /// Stored text.
    pub errors: &'a RawValue,
    /// Stored text.
    pub metadata: &'a RawValue,
    /// Stored text.
    pub spec: &'a RawValue,
}

/// A child's answer to one run.
#[derive(Debug, Deserialize)]
pub struct ResultFrame {
    /// The run, in decimal.
    pub result_id: String,
    /// Its claim.
    pub epoch: i32,
    /// Whether what it has printed is still in the pipes, and the child waits until it is read.
    #[serde(default)]
    pub output: bool,
    /// Why the child begins no other run.
    pub retire: Option<String>,
    /// How long the child had the run before it, in microseconds; absent: the worker counts.
    pub took_us: Option<u64>,
    /// What it has printed, from a child that works on several runs.
    pub stdout: Option<String>,
    /// The same for its standard error.
    pub stderr: Option<String>,
    /// How it ended.
    pub envelope: Envelope,
}

/// What a child says about a run while it works on it.
///
/// One flat object: a number behind a tag would not survive serde's detour through its own values, which `arbitrary_precision`
/// breaks.
#[derive(Debug, Deserialize)]
pub struct Note {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: NoteKind,
    /// The run, in decimal.
    pub result_id: String,
    /// Its claim.
    pub epoch: i32,
    /// `Extend`: from now. `Blocked`: for so long already.
    pub seconds: Option<f64>,
    /// `Limits`: resident memory of the process and what it has started.
    pub max_memory_bytes: Option<u64>,
    /// `Progress`: a JSON object.
    pub progress: Option<Box<RawValue>>,
}

/// The matter of a [`Note`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// Its process may not use more memory.
    Limits,
    /// Its timeout is not to end before.
    Extend,
    /// How far it is.
    Progress,
    /// It keeps the event loop that it shares with others.
    Blocked,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_of_the_contract_reads() {
        let mut read = 0;
        for line in include_str!("../../../contracts/executor.jsonl").lines() {
            let kind: serde_json::Value = serde_json::from_str(line).unwrap();
            match kind["type"].as_str().unwrap() {
                "fork" | "run" | "cancel" => continue,
                "result" => drop(serde_json::from_str::<ResultFrame>(line).unwrap()),
                "limits" | "extend" | "progress" | "blocked" => {
                    drop(serde_json::from_str::<Note>(line).unwrap());
                }
                _ => drop(serde_json::from_str::<ZygoteMessage>(line).unwrap()),
            }
            read += 1;
        }
        assert_eq!(read, 14);
    }

    #[test]
    fn a_run_frame_is_the_one_of_the_contract() {
        let line = include_str!("../../../contracts/executor.jsonl")
            .lines()
            .find(|line| line.contains(r#""type":"run""#))
            .unwrap();
        let spec = &line[line.find(r#""spec":"#).unwrap() + 7..line.len() - 1];
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let (workers, errors, metadata, spec) =
            (raw(r#"["host-122","host-123"]"#), raw("[]"), raw("{}"), raw(spec));
        let frame = RunFrame {
            kind: "run",
            result_id: "17".to_owned(),
            epoch: 4,
            attempt: 2,
            worker_id: "host-123",
            backend_alias: "default",
            enqueued_at: 1_767_225_600_000_000,
            started_at: 1_767_225_601_000_000,
            last_attempted_at: 1_767_225_602_000_000,
            worker_ids: &workers,
            errors: &errors,
            metadata: &metadata,
            spec: &spec,
        };
        assert_eq!(serde_json::to_string(&frame).unwrap(), line);
    }
}
