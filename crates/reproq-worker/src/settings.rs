//! What a worker needs to know, resolved and validated before it starts.

use std::path::PathBuf;
use std::time::Duration;

use reproq_model::{AllowList, IsolationPlan, QueuePlan};

/// A worker's settings. The binary makes them from its configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the worker, unique among live ones.
    pub worker_id: String,
    /// Label of the process in its log.
    pub process_role: String,
    /// The machine.
    pub hostname: String,
    /// What all workers of the queue's database call it. No secret.
    pub database: String,
    /// Queues to serve, and in which order.
    pub queues: QueuePlan,
    /// Slots: attempts at the same time.
    pub concurrency: u32,
    /// How long a claim holds without a heartbeat.
    pub lease: Duration,
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// Between looks for runs of silent workers; none: this worker does not look.
    pub reclaim_interval: Option<Duration>,
    /// Between looks at the schedules, at most; none: this worker does not run them.
    pub beat: Option<Duration>,
    /// Shortest wait between polls of an empty queue.
    pub poll_min: Duration,
    /// Longest wait between polls of an empty queue.
    pub poll_max: Duration,
    /// Upper bound of every task's own timeout.
    pub exec_timeout: Duration,
    /// How long running attempts may go on after a request to stop.
    pub shutdown_timeout: Duration,
    /// How long a cancelled attempt that was asked to stop may go on before it is killed.
    pub cancel_grace: Duration,
    /// Largest spec that is run, in bytes.
    pub max_payload_bytes: usize,
    /// Modules whose tasks may run.
    pub allow: AllowList,
    /// Weight of priority to set in the database; none: leave it.
    pub priority_aging_seconds: Option<f64>,
    /// How tasks are executed.
    pub executor: ExecutorSettings,
}

/// How tasks are executed.
#[derive(Debug, Clone)]
pub struct ExecutorSettings {
    /// Warm children, a fresh one per attempt, or a process per attempt.
    pub isolation: IsolationPlan,
    /// Coroutines that share an event loop; 0: each has a child for itself.
    pub async_concurrency: u32,
    /// Attempts in one child, each in a thread; 1: each has a child for itself.
    pub threads: u32,
    /// When a warm child is replaced.
    pub wear: Wear,
    /// Bytes that an attempt may use whose task says nothing about it.
    pub max_task_memory: Option<u64>,
    /// Whether the site is imported anew when its code changes.
    pub reload: bool,
    /// The Python interpreter.
    pub python: PathBuf,
    /// The module to run, `reproq_django.executor`.
    pub module: String,
    /// Whether process mode hands the spec over in a file instead of on stdin.
    pub payload_in_file: bool,
    /// The site's alias of the queue's database.
    pub db_alias: String,
    /// The modules that children may run tasks of, as the environment spells them.
    pub allowed_modules: String,
    /// Bytes of output kept per attempt, of both streams together.
    pub max_log_bytes: usize,
    /// Whether the output of attempts is stored in the database.
    pub logs_in_database: bool,
    /// Where the output of attempts is written as files; none: nowhere.
    pub logs_dir: Option<PathBuf>,
}

impl ExecutorSettings {
    /// What a process of the site finds in its environment beyond the worker's own.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let mine = [("REPROQ_DB_ALIAS", &self.db_alias), ("ALLOWED_TASK_MODULES", &self.allowed_modules)];
        mine.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
    }
}

/// When a warm child is replaced by a fresh one, between two attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wear {
    /// After so many attempts.
    pub tasks: Option<u64>,
    /// When its resident memory has grown by so many bytes since its first attempt.
    pub growth: Option<u64>,
    /// At this age.
    pub age: Option<Duration>,
}
