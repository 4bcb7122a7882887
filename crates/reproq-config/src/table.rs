//! Every option of the worker: its names, kind, default and help. Nothing else spells a name or a default.

use std::time::Duration;

use crate::options::{Kind, OptionSpec, Part};

const MANY: i64 = 1_000_000_000;
const DAY: i64 = 86_400;
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
const TICK: Duration = Duration::from_millis(1);
const NOT_POLLING: &str = "a pause of nothing would keep a processor busy and the database too";
const NO_TIME: &str = "nothing can be done in no time";
const NOTHING_FITS: &str = "a limit below 1 lets nothing through";

// One option per paragraph reads better than what rustfmt makes of it.
#[rustfmt::skip]
pub(crate) const OPTIONS: &[OptionSpec] = &[
    option("config", Part::Config, Kind::Path, "Configuration file (.yaml, .yml or .toml)")
        .flag("config").env("REPROQ_CONFIG").not_in_file()
        .when_unset("the first of reproq.yaml, reproq.yml, reproq.toml and their dotted forms"),
    option("dsn", Part::Database, Kind::Dsn, "Database: postgresql://..., sqlite:///path or a path")
        .flag("dsn").env("DATABASE_URL").stronger_env("REPROQ_DATABASE_URL").stronger_key("worker.dsn").secret()
        .when_unset("required"),
    option("database.alias", Part::Database, Kind::Text, "Alias of this database in the site's DATABASES")
        .env("REPROQ_DB_ALIAS").not_in_file().default("default"),

    worker("worker.worker_id", Kind::Text, "Name of this worker, unique among those that run")
        .flag("worker-id").env("WORKER_ID").when_unset("<hostname>-<pid>"),
    worker("worker.process_role", Kind::Text, "Role label in logs and metrics")
        .flag("process-role").env("REPROQ_PROCESS_ROLE").default("worker"),
    worker("worker.queues", Kind::List,
        "Queues to work on, separated by commas: names, globs (mail-*), exclusions (!slow), weights (critical=6)")
        .flag("queues").env("QUEUE_NAMES").default("default"),
    worker("worker.queue_order", Kind::Choice { allowed: &["merged", "strict", "weighted"], refused: &[] },
        "merged: the best task of all queues first; strict: queues as listed; weighted: drawn by weight")
        .flag("queue-order").env("REPROQ_QUEUE_ORDER").when_unset("merged, or weighted if a queue has a weight"),
    worker("worker.allowed_task_modules", Kind::List, "Prefixes of the task paths that may run; * allows all")
        .flag("allowed-task-modules").env("ALLOWED_TASK_MODULES").default("myapp.tasks.,tasks."),
    worker("worker.concurrency", int(1, 10_000, "a worker without slots would run nothing"),
        "Tasks that run at the same time")
        .flag("concurrency").env("REPROQ_CONCURRENCY").default("10"),
    worker("worker.lease_seconds", int(5, DAY, "a shorter lease is lost to any hiccup, and its task runs twice"),
        "Seconds after which a silent worker's tasks are given to another")
        .flag("lease-seconds").default("15"),
    worker("worker.heartbeat_seconds", int(1, DAY, "a lease that is never renewed ends while its task runs"),
        "Seconds between renewals of the leases; less than half of the lease")
        .flag("heartbeat-seconds").default("5"),
    worker("worker.reclaim_interval_seconds", int(0, DAY, "0 turns it off"),
        "Seconds between searches for lost tasks; 0 leaves that to other workers")
        .flag("reclaim-interval-seconds").default("5"),
    worker("worker.poll_min_backoff", duration(TICK, NOT_POLLING), "Shortest pause between polls")
        .default("50ms"),
    worker("worker.poll_max_backoff", duration(TICK, NOT_POLLING), "Longest pause between polls")
        .default("1s"),
    worker("worker.executor_mode", Kind::Choice { allowed: &["pool", "fork", "process"], refused: &[] },
        "pool: warm children; fork: a fresh child per attempt; process: one Python process per attempt")
        .flag("executor-mode").env("REPROQ_EXECUTOR_MODE").default("pool"),
    worker("worker.queue_modes", Kind::List,
        "Queues whose tasks run in another mode: reports=fork,pdf-*=process")
        .flag("queue-modes").env("REPROQ_QUEUE_MODES"),
    worker("worker.async_concurrency", int(0, 100_000, "0 runs coroutines like other tasks, one per child"),
        "Coroutine tasks that share one child's event loop, beside --concurrency")
        .flag("async-concurrency").env("REPROQ_ASYNC_CONCURRENCY").default("100"),
    worker("worker.threads", int(1, 1_000, "a child without a thread would run nothing"),
        "Tasks that share one child, each in a thread; 1: a child for each")
        .flag("threads").env("REPROQ_THREADS").default("1"),
    worker("worker.max_tasks_per_child", int(0, MANY, "0 sets no bound"),
        "Tasks after which a child is replaced; 0 sets no bound")
        .flag("max-tasks-per-child").env("REPROQ_MAX_TASKS_PER_CHILD").default("0"),
    worker("worker.max_child_growth_mb", int(0, MANY, "0 sets no bound"),
        "MiB by which a child may grow before it is replaced; 0 sets no bound")
        .flag("max-child-growth-mb").env("REPROQ_MAX_CHILD_GROWTH_MB").default("256"),
    worker("worker.max_child_age", duration(Duration::ZERO, ""), "Age at which a child is replaced; 0 sets no bound")
        .flag("max-child-age").env("REPROQ_MAX_CHILD_AGE").default("1h"),
    worker("worker.max_task_memory_mb", int(0, MANY, "0 sets no bound"),
        "MiB that the process of a task without a max_memory of its own may use; 0 sets no bound")
        .flag("max-task-memory-mb").env("REPROQ_MAX_TASK_MEMORY_MB").default("0"),
    worker("worker.beat", Kind::Bool, "Also enqueue what schedules say; any number of workers may, each time fires once")
        .flag("beat").env("REPROQ_BEAT").default("off"),
    worker("worker.reload", Kind::Bool, "For development: import the site anew when its code changes")
        .flag("reload").env("REPROQ_RELOAD").default("off"),
    worker("worker.payload_mode", Kind::Choice { allowed: &["stdin", "file"], refused: &[(
        "inline", "it puts arguments on the command line, where every user of the machine can read them")] },
        "How a process executor gets its payload: stdin or file")
        .flag("payload-mode").default("stdin"),
    worker("worker.python_bin", Kind::Path, "Python interpreter that runs the tasks")
        .env("REPROQ_PYTHON_BIN").default("python3"),
    worker("worker.executor_module", Kind::Text, "Python module that runs the tasks")
        .default("reproq_django.executor"),
    worker("worker.exec_timeout", duration(TICK, NO_TIME), "Upper bound on every task's own timeout")
        .default("1h"),
    worker("worker.shutdown_timeout", duration(Duration::ZERO, ""), "Grace for running tasks when stopping")
        .flag("shutdown-timeout").env("REPROQ_SHUTDOWN_TIMEOUT").default("25s"),
    worker("worker.cancel_grace", duration(Duration::ZERO, ""), "Grace for a cancelled task that was asked to stop")
        .flag("cancel-grace").env("REPROQ_CANCEL_GRACE").default("5s"),
    worker("worker.max_payload_bytes", int(1, GIB, NOTHING_FITS), "Largest payload of a task, in bytes")
        .default("16777216"),
    worker("worker.logs", Kind::Choice { allowed: &["database", "files", "both", "none"], refused: &[] },
        "Where the output of attempts goes: database (see `reproq logs`), files (in worker.logs_dir), both, none")
        .flag("logs").env("REPROQ_LOGS").when_unset("database, or both if worker.logs_dir is set"),
    worker("worker.max_log_bytes", int(0, 16 * MIB, "0 keeps nothing"),
        "Output kept per attempt, in bytes: the end of it, stdout and stderr together")
        .flag("max-log-bytes").env("REPROQ_MAX_LOG_BYTES")
        .when_unset("the larger of worker.max_stdout_bytes and worker.max_stderr_bytes"),
    worker("worker.max_stdout_bytes", int(0, GIB, "0 keeps nothing"), "Of an earlier version; see worker.max_log_bytes")
        .default("262144"),
    worker("worker.max_stderr_bytes", int(0, GIB, "0 keeps nothing"), "Of an earlier version; see worker.max_log_bytes")
        .default("262144"),
    worker("worker.priority_aging_factor", Kind::Float,
        "Seconds of waiting worth one point of priority; 0 or less turns aging off")
        .flag("priority-aging-factor").env("PRIORITY_AGING_FACTOR")
        .when_unset("the factor stored in the database"),
    worker("worker.logs_dir", Kind::Path, "Directory for the output of attempts")
        .flag("logs-dir").env("REPROQ_LOGS_DIR").when_unset("output is not written to files"),
    option("worker.max_attempts_default", Part::Retired("no effect: every task carries its own max_attempts"),
        int(1, 1_000, NOTHING_FITS), "Unused"),

    option("log.level", Part::Log, Kind::Text, "Log level, or filter such as info,reproq_worker=debug")
        .env("REPROQ_LOG").default("info"),
    option("log.format", Part::Log, Kind::Choice { allowed: &["auto", "json", "text"], refused: &[] },
        "auto: text on a terminal, JSON lines elsewhere")
        .flag("log-format").default("auto"),

    metrics("metrics.port", int(0, 65_535, "0 turns the server off"), "Port of the HTTP server; 0 is off")
        .flag("metrics-port").default("0"),
    metrics("metrics.addr", Kind::HostPort, "Address of the HTTP server; wins over the port")
        .flag("metrics-addr").env("METRICS_ADDR"),
    metrics("metrics.auth_token", Kind::Text, "Token that clients of the HTTP server must show")
        .flag("metrics-auth-token").env("METRICS_AUTH_TOKEN").secret(),
    metrics("metrics.allow_cidrs", Kind::Networks, "Networks that may use the HTTP server")
        .flag("metrics-allow-cidrs").env("METRICS_ALLOW_CIDRS"),
    metrics("metrics.auth_limit", int(1, MANY, NOTHING_FITS), "Refusals per window and client")
        .flag("metrics-auth-limit").env("METRICS_AUTH_LIMIT").default("30"),
    metrics("metrics.auth_window", duration(TICK, NO_TIME), "Window of the refusal limit")
        .flag("metrics-auth-window").env("METRICS_AUTH_WINDOW").default("1m"),
    metrics("metrics.auth_max_entries", int(1, MANY, NOTHING_FITS), "Clients remembered by it")
        .flag("metrics-auth-max-entries").env("METRICS_AUTH_MAX_ENTRIES").default("1000"),
    metrics("metrics.tls_cert", Kind::Path, "Certificate of the HTTP server")
        .flag("metrics-tls-cert").env("METRICS_TLS_CERT"),
    metrics("metrics.tls_key", Kind::Path, "Key of the HTTP server")
        .flag("metrics-tls-key").env("METRICS_TLS_KEY"),
    metrics("metrics.tls_client_ca", Kind::Path, "Authority whose clients are let in")
        .flag("metrics-tls-client-ca").env("METRICS_TLS_CLIENT_CA"),
    metrics("low_memory_mode", Kind::Bool, "Run without HTTP server and collector")
        .env("LOW_MEMORY_MODE").not_in_file().default("off"),
    metrics("memory_log_interval", duration(Duration::ZERO, ""), "Pause between log lines about memory")
        .env("REPROQ_MEMORY_LOG_INTERVAL").not_in_file(),

    option("beat.dsn", Part::Beat, Kind::Dsn, "Database of the beat command, where it is another than `dsn`").secret()
        .when_unset("dsn"),
    option("beat.interval", Part::Beat, duration(TICK, NO_TIME),
        "Longest pause between looks at the schedules; one that is due is looked at when its time comes")
        .flag("interval").default("1s"),
];

const fn option(name: &'static str, part: Part, kind: Kind, help: &'static str) -> OptionSpec {
    OptionSpec {
        name,
        part,
        kind,
        help,
        in_file: true,
        stronger_key: None,
        flag: None,
        env: None,
        stronger_env: None,
        default: None,
        when_unset: None,
        secret: false,
    }
}

const fn worker(name: &'static str, kind: Kind, help: &'static str) -> OptionSpec {
    option(name, Part::Worker, kind, help)
}

const fn metrics(name: &'static str, kind: Kind, help: &'static str) -> OptionSpec {
    option(name, Part::Metrics, kind, help)
}

const fn int(min: i64, max: i64, why: &'static str) -> Kind {
    Kind::Int { min, max, why }
}

const fn duration(min: Duration, why: &'static str) -> Kind {
    Kind::Duration { min, why }
}

impl OptionSpec {
    const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }
    const fn env(mut self, env: &'static str) -> Self {
        self.env = Some(env);
        self
    }
    const fn stronger_env(mut self, env: &'static str) -> Self {
        self.stronger_env = Some(env);
        self
    }
    const fn stronger_key(mut self, key: &'static str) -> Self {
        self.stronger_key = Some(key);
        self
    }
    const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }
    const fn when_unset(mut self, text: &'static str) -> Self {
        self.when_unset = Some(text);
        self
    }
    const fn not_in_file(mut self) -> Self {
        self.in_file = false;
        self
    }
    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}
