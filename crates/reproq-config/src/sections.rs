//! The typed settings of each part, and how they are made from the gathered ones.

use std::path::PathBuf;
use std::time::Duration;

use reproq_model::{IsolationPlan, QueuePlan};

use crate::dsn::Dsn;
use crate::error::ConfigError;
use crate::explain::Origin;
use crate::layers::Layers;

const MIB: u64 = 1 << 20;

/// Settings of the worker.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerConfig {
    /// Unique among running workers.
    pub worker_id: String,
    /// Role label in logs and metrics.
    pub process_role: String,
    /// Queues to work on, and in which order.
    pub queues: QueuePlan,
    /// Prefixes of the task paths that may run; `*` allows all.
    pub allowed_task_modules: Vec<String>,
    /// Tasks that run at the same time, at least 1.
    pub concurrency: usize,
    /// How long a claim lasts without renewal.
    pub lease: Duration,
    /// Pause between renewals, less than half of the lease.
    pub heartbeat: Duration,
    /// Pause between searches for lost tasks; `None` leaves them to other workers.
    pub reclaim_interval: Option<Duration>,
    /// Shortest pause between polls.
    pub poll_min: Duration,
    /// Longest pause between polls, not less than the shortest.
    pub poll_max: Duration,
    /// How tasks are executed, by queue.
    pub isolation: IsolationPlan,
    /// Coroutines on one event loop; 0: none share.
    pub async_concurrency: usize,
    /// Tasks in one child, each in a thread; 1: none share.
    pub threads: usize,
    /// Tasks after which a child is replaced.
    pub max_tasks_per_child: Option<u64>,
    /// Bytes by which a child may grow before it is replaced.
    pub max_child_growth: Option<u64>,
    /// Age at which a child is replaced.
    pub max_child_age: Option<Duration>,
    /// Bytes that a task may use which says nothing about it.
    pub max_task_memory: Option<u64>,
    /// Whether children are replaced when the site's code changes.
    pub reload: bool,
    /// Whether the worker runs the schedules too.
    pub beat: bool,
    /// How a process executor gets its payload.
    pub payload_mode: PayloadMode,
    /// Interpreter: a path, or a name to look up in `PATH`.
    pub python_bin: PathBuf,
    /// Module that the interpreter runs.
    pub executor_module: String,
    /// Upper bound on every task's own timeout.
    pub exec_timeout: Duration,
    /// Grace for running tasks when stopping.
    pub shutdown_timeout: Duration,
    /// How long a cancelled task may take to stop before it is killed.
    pub cancel_grace: Duration,
    /// Largest payload of a task.
    pub max_payload_bytes: usize,
    /// Output kept per attempt, of both streams together.
    pub max_log_bytes: usize,
    /// Whether output is stored in the database.
    pub logs_in_database: bool,
    /// How waiting raises priority.
    pub aging: Aging,
    /// Directory for the output of attempts, absolute; `None` writes no files.
    pub logs_dir: Option<PathBuf>,
}

/// The database to work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// Its address.
    pub dsn: Dsn,
    /// Its alias in the site's `DATABASES`.
    pub alias: String,
}

/// Settings of the scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeatConfig {
    /// The database of the beat command, if one is named.
    pub(crate) database: Option<DatabaseConfig>,
    /// Longest pause between looks at the schedules.
    pub interval: Duration,
}

/// Settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Level or filter directives.
    pub filter: String,
    /// Form of the lines.
    pub format: LogFormat,
}

/// How a process executor gets its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadMode {
    /// On standard input.
    Stdin,
    /// In a private file.
    File,
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// JSON lines.
    Json,
    /// Text.
    Text,
}

/// How waiting raises priority.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aging {
    /// As stored in the database.
    FromDatabase,
    /// Not at all.
    Off,
    /// By one point for so many seconds.
    SecondsPerPoint(f64),
}

impl Layers {
    /// The worker's settings.
    pub(crate) fn worker(&self) -> Result<WorkerConfig, ConfigError> {
        let to_files = self.logs_go_to(&["files", "both"])?;
        Ok(WorkerConfig {
            worker_id: self.get("worker.worker_id")?,
            process_role: self.get("worker.process_role")?,
            queues: self.queues()?,
            allowed_task_modules: self.get("worker.allowed_task_modules")?,
            concurrency: self.get("worker.concurrency")?,
            lease: self.seconds("worker.lease_seconds")?,
            heartbeat: self.seconds("worker.heartbeat_seconds")?,
            reclaim_interval: Some(self.seconds("worker.reclaim_interval_seconds")?)
                .filter(|interval| !interval.is_zero()),
            poll_min: self.get("worker.poll_min_backoff")?,
            poll_max: self.get("worker.poll_max_backoff")?,
            isolation: self.isolation()?,
            async_concurrency: self.get("worker.async_concurrency")?,
            threads: self.get("worker.threads")?,
            max_tasks_per_child: self.bound("worker.max_tasks_per_child", 1)?,
            max_child_growth: self.bound("worker.max_child_growth_mb", MIB)?,
            max_child_age: Some(self.get("worker.max_child_age")?).filter(|age: &Duration| !age.is_zero()),
            max_task_memory: self.bound("worker.max_task_memory_mb", MIB)?,
            reload: self.get("worker.reload")?,
            beat: self.get("worker.beat")?,
            payload_mode: self
                .word("worker.payload_mode", &[("stdin", PayloadMode::Stdin), ("file", PayloadMode::File)])?,
            python_bin: self.get("worker.python_bin")?,
            executor_module: self.get("worker.executor_module")?,
            exec_timeout: self.get("worker.exec_timeout")?,
            shutdown_timeout: self.get("worker.shutdown_timeout")?,
            cancel_grace: self.get("worker.cancel_grace")?,
            max_payload_bytes: self.get("worker.max_payload_bytes")?,
            max_log_bytes: self.max_log_bytes()?,
            logs_in_database: self.logs_go_to(&["database", "both"])?,
            aging: match self.get_unless_unset::<f64>("worker.priority_aging_factor")? {
                None => Aging::FromDatabase,
                Some(seconds) if seconds > 0.0 => Aging::SecondsPerPoint(seconds),
                Some(_) => Aging::Off,
            },
            logs_dir: self.logs_dir()?.filter(|_| to_files),
        })
    }

    /// A bound of so many units; none: 0, which sets no bound.
    fn bound(&self, name: &'static str, unit: u64) -> Result<Option<u64>, ConfigError> {
        let units: usize = self.get(name)?;
        Ok(Some(units as u64 * unit).filter(|bound| *bound > 0))
    }

    /// The database, if one is named.
    pub(crate) fn database(&self) -> Result<Option<DatabaseConfig>, ConfigError> {
        match self.get_unless_unset("dsn")? {
            Some(dsn) => Ok(Some(DatabaseConfig { dsn, alias: self.get("database.alias")? })),
            None => Ok(None),
        }
    }

    /// The scheduler's settings. `beat.dsn` comes before the file's other words on the database, and behind the flag and the
    /// environment.
    pub(crate) fn beat(&self) -> Result<BeatConfig, ConfigError> {
        let mut database = self.database()?;
        let is_of_file = matches!(self.find("dsn")?.origin, Origin::Default | Origin::File { .. });
        if let Some(dsn) = self.get_unless_unset("beat.dsn")?.filter(|_| is_of_file) {
            database = Some(DatabaseConfig { dsn, alias: self.get("database.alias")? });
        }
        Ok(BeatConfig { database, interval: self.get("beat.interval")? })
    }

    /// The log's settings.
    pub(crate) fn log(&self) -> Result<LogConfig, ConfigError> {
        let formats = [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)];
        Ok(LogConfig { filter: self.get("log.level")?, format: self.word("log.format", &formats)? })
    }
}
