//! What is known of a run's attempts: how each ended, and what it has printed. Read with patience: other programs write these
//! columns too, and what makes no sense is left out.

use reproq_model::{Epoch, RunStatus};
use serde_json::Value;
use sqlx::types::chrono::DateTime;

use crate::RunFacts;

/// An attempt that has ended. What is not known is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AttemptEnded {
    /// Its number, from 1; a run that was given back untouched has the same one twice.
    pub attempt: Option<i64>,
    /// Its claim.
    pub epoch: Option<Epoch>,
    /// The worker that ran it.
    pub worker_id: Option<String>,
    /// The process that ran it.
    pub pid: Option<i64>,
    /// How it ended, in one word.
    pub outcome: Option<String>,
    /// The exit code or signal of its process.
    pub exit: Option<String>,
    /// The class of what it raised.
    pub exception_class: Option<String>,
    /// What it said.
    pub message: Option<String>,
    /// Microseconds since 1970.
    pub started_at: Option<i64>,
    /// Microseconds since 1970.
    pub ended_at: Option<i64>,
    /// Milliseconds of processor time.
    pub cpu_ms: Option<f64>,
    /// The peak of its process's memory.
    pub max_rss_kib: Option<i64>,
}

/// Which of a process's streams a text came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// What an attempt has printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLog {
    /// The attempt's claim.
    pub epoch: Epoch,
    /// The attempt's number.
    pub attempt: i32,
    /// In the order in which the worker read it.
    pub chunks: Vec<(Stream, String)>,
    /// Bytes of it.
    pub bytes: u64,
    /// Bytes that came before them and are not kept.
    pub dropped: u64,
}

/// A run and what its attempts have printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLogs {
    /// Its state.
    pub status: RunStatus,
    /// Attempts so far.
    pub attempts: i32,
    /// Where the last attempt's output was written, if it was written to a file.
    pub logs_uri: Option<String>,
    /// By claim.
    pub logs: Vec<KeptLog>,
}

/// How far somebody has read a run's logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPlace {
    /// The claim whose log was read last.
    pub epoch: Epoch,
    /// Bytes of it, those included that are not kept.
    pub bytes: u64,
}

impl LogPlace {
    /// Before everything.
    pub const START: Self = Self { epoch: Epoch(0), bytes: 0 };
}

impl RunFacts {
    /// The attempts that have ended, oldest first, the newest fifty.
    #[must_use]
    pub fn attempts_ended(&self) -> Vec<AttemptEnded> {
        let entries: Vec<Value> = serde_json::from_str(&self.history).unwrap_or_default();
        entries.iter().filter(|entry| entry.is_object()).map(AttemptEnded::of).collect()
    }
}

impl AttemptEnded {
    fn of(entry: &Value) -> Self {
        let text = |name: &str| match &entry[name] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let number = |name: &str| entry[name].as_i64();
        let moment = |name: &str| {
            let time = DateTime::parse_from_rfc3339(entry[name].as_str()?).ok()?;
            Some(time.timestamp_micros())
        };
        Self {
            attempt: number("attempt"),
            epoch: number("epoch").and_then(|epoch| i32::try_from(epoch).ok()).map(Epoch),
            worker_id: text("worker"),
            pid: number("pid"),
            outcome: text("outcome"),
            exit: text("exit"),
            exception_class: text("exception_class"),
            message: text("message"),
            started_at: moment("started_at"),
            ended_at: moment("ended_at"),
            cpu_ms: entry["cpu_ms"].as_f64(),
            max_rss_kib: number("max_rss_kib"),
        }
    }
}

/// The chunks of a stored log.
pub(crate) fn chunks(json: &str) -> Vec<(Stream, String)> {
    let pairs: Vec<(String, String)> = serde_json::from_str(json).unwrap_or_default();
    pairs
        .into_iter()
        .map(|(stream, text)| (if stream == "e" { Stream::Stderr } else { Stream::Stdout }, text))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_another_program_is_read_as_far_as_it_makes_sense() {
        let entry = serde_json::json!({
            "attempt": 2, "epoch": "x", "pid": null, "outcome": ["?"], "exit": 3, "started_at": "2026-01-02T03:04:05.678901+00:00",
            "ended_at": "soon", "cpu_ms": 1
        });
        let read = AttemptEnded::of(&entry);
        let wanted = AttemptEnded {
            attempt: Some(2),
            exit: Some("3".to_owned()),
            started_at: Some(1_767_323_045_678_901),
            cpu_ms: Some(1.0),
            ..AttemptEnded::default()
        };
        assert_eq!(read, wanted);
    }

    #[test]
    fn chunks_that_make_no_sense_are_none() {
        assert_eq!(
            chunks(r#"[["o","a"],["e","b"]]"#),
            [(Stream::Stdout, "a".to_owned()), (Stream::Stderr, "b".to_owned())]
        );
        assert_eq!(chunks("{}"), []);
    }
}
