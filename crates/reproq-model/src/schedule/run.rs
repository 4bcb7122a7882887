//! The run of a tick, whole: what Python makes of an enqueue, made here.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{Overlap, Schedule};
use crate::spec;

/// A run that is ready to be inserted: the columns of `task_runs` of the same names.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct ScheduledRun {
    pub backend_alias: String,
    pub queue_name: String,
    pub priority: i32,
    /// Microseconds since 1970.
    pub run_after: Option<i64>,
    pub spec_json: String,
    pub spec_hash: String,
    pub task_path: String,
    pub max_attempts: i32,
    pub timeout_seconds: i32,
    pub lock_key: Option<String>,
    pub concurrency_key: Option<String>,
    pub concurrency_limit: i32,
    pub expires_in_seconds: Option<f64>,
    pub fairness_key: Option<String>,
    pub rate_key: Option<String>,
    pub rate_per_second: Option<f64>,
    pub rate_burst: Option<i32>,
    pub over_limit: i16,
}

/// What Python has written down about the task, in `options_json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct Options {
    task_path: String,
    payload: Value,
    takes_context: bool,
    timeout_seconds: i32,
    backoff: Option<Value>,
    lock_key: Option<String>,
    concurrency_key: Option<String>,
    concurrency_limit: i32,
    fairness_key: Option<String>,
    rate_key: Option<String>,
    rate_per_second: Option<f64>,
    rate_burst: Option<i32>,
    over_limit: i16,
    expires_in_seconds: Option<f64>,
    backend_alias: String,
    code_ref: Option<String>,
    pip_lock_hash: Option<String>,
    args: Option<Vec<Value>>,
    kwargs: Option<Map<String, Value>>,
}

impl Default for Options {
    /// For a row that nobody in Python has seen.
    fn default() -> Self {
        Self {
            task_path: String::new(),
            payload: Value::Null,
            takes_context: false,
            timeout_seconds: 900,
            backoff: None,
            lock_key: None,
            concurrency_key: None,
            concurrency_limit: 0,
            fairness_key: None,
            rate_key: None,
            rate_per_second: None,
            rate_burst: None,
            over_limit: 0,
            expires_in_seconds: None,
            backend_alias: "default".to_owned(),
            code_ref: None,
            pip_lock_hash: None,
            args: None,
            kwargs: None,
        }
    }
}

/// What all runs of a schedule have in common.
#[derive(Debug, Clone)]
pub struct RunTemplate {
    name: String,
    task_path: String,
    args: Vec<Value>,
    kwargs: Map<String, Value>,
    queue_name: String,
    priority: i32,
    max_attempts: i32,
    concurrency_key: Option<String>,
    concurrency_limit: i32,
    lock_key: Option<String>,
    /// Microseconds.
    jitter: u64,
    options: Options,
}

impl RunTemplate {
    /// That of a row. Fails with what is wrong with it.
    pub fn of(schedule: &Schedule) -> Result<Self, String> {
        if schedule.task_path.trim().is_empty() {
            return Err("task_path is empty; it names the function to run, as in shop.tasks.send".to_owned());
        }
        let payload: Value = serde_json::from_str(&schedule.payload)
            .map_err(|error| format!("payload_json cannot be read: {error}"))?;
        let options = options(schedule, &payload)?;
        let (args, kwargs) = call(payload)?;
        let own_key = schedule.concurrency_key.as_ref().filter(|key| !key.is_empty());
        let overlap = Overlap::of(&schedule.overlap)?;
        Ok(Self {
            name: schedule.name.clone(),
            task_path: schedule.task_path.clone(),
            // Python has encoded what JSON alone cannot say.
            args: options.args.clone().unwrap_or(args),
            kwargs: options.kwargs.clone().unwrap_or(kwargs),
            queue_name: schedule.queue_name.clone(),
            priority: schedule.priority,
            max_attempts: schedule.max_attempts,
            concurrency_key: own_key.or(options.concurrency_key.as_ref()).cloned(),
            concurrency_limit: if own_key.is_some() {
                schedule.concurrency_limit
            } else {
                options.concurrency_limit
            },
            lock_key: options.lock_key.clone().or_else(|| overlap.lock_key(&schedule.name)),
            jitter: u64::try_from(schedule.jitter_seconds).unwrap_or_default() * 1_000_000,
            options,
        })
    }

    /// The run of the tick at `scheduled_at`.
    #[must_use]
    pub fn run(&self, scheduled_at: i64) -> ScheduledRun {
        let run_after = (self.jitter > 0)
            .then(|| scheduled_at + (spread(&self.name, scheduled_at) % self.jitter).cast_signed());
        self.build(scheduled_at, run_after)
    }

    /// A run that somebody wants now, whatever the schedule says.
    #[must_use]
    pub fn run_now(&self, now: i64) -> ScheduledRun {
        self.build(now, None)
    }

    fn build(&self, scheduled_at: i64, run_after: Option<i64>) -> ScheduledRun {
        let options = &self.options;
        let spec_json = self.spec(scheduled_at, run_after).to_string();
        ScheduledRun {
            backend_alias: options.backend_alias.clone(),
            queue_name: self.queue_name.clone(),
            priority: self.priority,
            run_after,
            spec_hash: spec::hash(&spec_json),
            spec_json,
            task_path: self.task_path.clone(),
            max_attempts: self.max_attempts,
            timeout_seconds: options.timeout_seconds,
            lock_key: self.lock_key.clone(),
            concurrency_key: self.concurrency_key.clone(),
            concurrency_limit: self.concurrency_limit,
            expires_in_seconds: options.expires_in_seconds,
            fairness_key: options.fairness_key.clone(),
            rate_key: options.rate_key.clone(),
            rate_per_second: options.rate_per_second,
            rate_burst: options.rate_burst,
            over_limit: options.over_limit,
        }
    }

    /// The keys of `spec.py`, and the two that say where the run comes from.
    fn spec(&self, scheduled_at: i64, run_after: Option<i64>) -> Value {
        let options = &self.options;
        let mut exec = json!({"timeout_seconds": options.timeout_seconds, "max_attempts": self.max_attempts});
        if let Some(backoff) = &options.backoff {
            exec["backoff"] = backoff.clone();
        }
        json!({
            "v": 1,
            "task_path": self.task_path,
            "args": self.args,
            "kwargs": self.kwargs,
            "takes_context": options.takes_context,
            "queue_name": self.queue_name,
            "priority": self.priority,
            "lock_key": self.lock_key,
            "concurrency_key": self.concurrency_key,
            "concurrency_limit": self.concurrency_limit,
            "run_after": run_after.map(isoformat),
            "exec": exec,
            "provenance": {"code_ref": options.code_ref, "pip_lock_hash": options.pip_lock_hash},
            "periodic_name": self.name,
            "scheduled_at": isoformat(scheduled_at),
        })
    }
}

/// What Python has written down, if it is about what the row calls now.
fn options(schedule: &Schedule, payload: &Value) -> Result<Options, String> {
    let Some(text) = schedule.options.as_deref().filter(|text| *text != "null") else {
        return Ok(Options::default());
    };
    let options: Options = serde_json::from_str(text)
        .map_err(|error| format!("options_json cannot be read: {error}; save the schedule again"))?;
    let is_current = options.task_path == schedule.task_path && options.payload == *payload;
    Ok(if is_current { options } else { Options::default() })
}

/// The arguments of a payload: `{"args": [...], "kwargs": {...}}`, a bare array, or a bare object of keywords.
fn call(payload: Value) -> Result<(Vec<Value>, Map<String, Value>), String> {
    const SHAPES: &str = "payload_json is {\"args\": [...], \"kwargs\": {...}}, an array of arguments, or an object of keywords";
    match payload {
        Value::Array(args) => Ok((args, Map::new())),
        Value::Object(mut object) if object.contains_key("args") || object.contains_key("kwargs") => {
            let args = match object.remove("args") {
                None | Some(Value::Null) => Vec::new(),
                Some(Value::Array(args)) => args,
                Some(_) => return Err(format!("its args are no array; {SHAPES}")),
            };
            match object.remove("kwargs") {
                None | Some(Value::Null) => Ok((args, Map::new())),
                Some(Value::Object(kwargs)) => Ok((args, kwargs)),
                Some(_) => Err(format!("its kwargs are no object; {SHAPES}")),
            }
        }
        Value::Object(kwargs) => Ok((Vec::new(), kwargs)),
        Value::Null => Ok((Vec::new(), Map::new())),
        _ => Err(format!("it calls with a single value; {SHAPES}")),
    }
}

/// A number that is the same for the same tick, wherever it is computed.
fn spread(name: &str, scheduled_at: i64) -> u64 {
    let digest = Sha256::digest(format!("{name}\n{scheduled_at}").as_bytes());
    digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// As Python's `isoformat()` writes a time in UTC.
fn isoformat(micros: i64) -> String {
    let form =
        if micros % 1_000_000 == 0 { "%Y-%m-%dT%H:%M:%S+00:00" } else { "%Y-%m-%dT%H:%M:%S%.6f+00:00" };
    chrono::DateTime::from_timestamp_micros(micros)
        .map(|time| time.format(form).to_string())
        .unwrap_or_default()
}
