//! Which layer wins.

use std::path::Path;
use std::time::Duration;

use reproq_config::{Aging, LogFormat, Origin, PayloadMode, options, worker_options};
use reproq_model::{Isolation, QueueOrder};

use crate::site::{DSN, Site};

#[test]
fn defaults_start_a_worker() {
    let resolved = Site::new().load();
    let worker = resolved.worker();
    assert_eq!(worker.concurrency, 10);
    assert_eq!(worker.lease, Duration::from_secs(15));
    assert_eq!(worker.heartbeat, Duration::from_secs(5));
    assert_eq!(worker.reclaim_interval, Some(Duration::from_secs(5)));
    assert_eq!((worker.poll_min, worker.poll_max), (Duration::from_millis(50), Duration::from_secs(1)));
    assert_eq!(
        (worker.queues.patterns(), worker.queues.order()),
        (&["default".to_owned()][..], QueueOrder::Merged)
    );
    assert_eq!(worker.allowed_task_modules, ["myapp.tasks.", "tasks."]);
    assert_eq!(worker.isolation.of("default", None), Isolation::Pool);
    assert_eq!((worker.async_concurrency, worker.threads), (100, 1));
    assert_eq!((worker.max_tasks_per_child, worker.max_task_memory), (None, None));
    assert_eq!(worker.max_child_growth, Some(256 << 20));
    assert_eq!(worker.max_child_age, Some(Duration::from_hours(1)));
    assert!(!worker.reload && !worker.beat);
    assert_eq!(worker.payload_mode, PayloadMode::Stdin);
    assert_eq!(worker.python_bin, Path::new("python3"));
    assert_eq!(worker.executor_module, "reproq_django.executor");
    assert_eq!(worker.exec_timeout, Duration::from_hours(1));
    assert_eq!(worker.shutdown_timeout, Duration::from_secs(25));
    assert_eq!(worker.cancel_grace, Duration::from_secs(5));
    assert_eq!(worker.max_payload_bytes, 16_777_216);
    assert_eq!((worker.max_log_bytes, worker.logs_in_database), (262_144, true));
    assert_eq!(worker.process_role, "worker");
    assert_eq!(worker.aging, Aging::FromDatabase);
    assert_eq!(worker.logs_dir, None);
    assert!(worker.worker_id.ends_with(&format!("-{}", std::process::id())));
    assert_eq!(resolved.log().filter, "info");
    assert_eq!(resolved.log().format, LogFormat::Auto);
    assert_eq!(resolved.warnings(), [""; 0]);
}

#[test]
fn each_layer_wins_over_the_one_below() {
    let site = Site::new();
    assert_eq!(site.origin("worker.queues"), Origin::Default);

    let site = site.file("reproq.toml", "[worker]\nqueues = ['file']\n");
    assert_eq!(site.load().worker().queues.patterns(), ["file"]);
    let file = Origin::File { path: site.path("reproq.toml"), line: Some(2) };
    assert_eq!(site.origin("worker.queues"), file);

    let site = site.env("QUEUE_NAMES", "env, more");
    assert_eq!(site.load().worker().queues.patterns(), ["env", "more"]);
    assert_eq!(site.origin("worker.queues"), Origin::Env("QUEUE_NAMES"));

    let site = site.flag("queues", "flag");
    assert_eq!(site.load().worker().queues.patterns(), ["flag"]);
    assert_eq!(site.origin("worker.queues"), Origin::Flag("queues"));
}

#[test]
fn the_database_is_named_by_flag_then_env_then_worker_section_then_top() {
    let site = Site::new().file("reproq.yaml", "dsn: postgres://top\n");
    assert_eq!(site.host(), "top");
    let site = site.file("reproq.yaml", "dsn: postgres://top\nworker:\n  dsn: postgres://section\n");
    assert_eq!(site.host(), "section");
    let site = site.env("DATABASE_URL", "postgres://env");
    assert_eq!(site.host(), "env");
    let site = site.env("REPROQ_DATABASE_URL", "postgres://site");
    assert_eq!(site.host(), "site");
    let site = site.flag("dsn", "postgres://flag");
    assert_eq!(site.host(), "flag");
}

#[test]
fn the_beat_command_has_a_database_of_its_own_if_the_file_says_so() {
    let host = |site: &Site| site.load().for_beat().database().unwrap().dsn.to_string();
    let site = Site::new().file("reproq.yaml", "dsn: postgres://top/db\n");
    assert_eq!(host(&site), "postgres://top/db");
    let site = site.file("reproq.yaml", "dsn: postgres://top/db\nbeat:\n  dsn: postgres://beat/db\n");
    assert_eq!(host(&site), "postgres://beat/db");
    assert_eq!(site.load().database().unwrap().dsn.to_string(), "postgres://top/db", "a worker's is another");
    assert_eq!(host(&site.env("DATABASE_URL", "postgres://env/db")), "postgres://env/db");
    let site = Site::new().file("reproq.yaml", "beat:\n  dsn: postgres://beat/db\n");
    assert_eq!(host(&site.flag("dsn", "postgres://flag/db")), "postgres://flag/db");
}

#[test]
fn a_worker_runs_schedules_when_it_is_told_to() {
    assert!(!Site::new().load().worker().beat);
    assert_eq!(Site::new().load().beat().interval, Duration::from_secs(1));
    assert!(Site::new().file("reproq.yaml", "worker:\n  beat: true\n").load().worker().beat);
    assert!(Site::new().env("REPROQ_BEAT", "yes").load().worker().beat);
    assert!(!Site::new().env("REPROQ_BEAT", "yes").flag("beat", "off").load().worker().beat);
    let site = Site::new().file("reproq.toml", "[beat]\ninterval = '30s'\n");
    assert_eq!(site.load().beat().interval, Duration::from_secs(30));
    assert_eq!(site.flag("interval", "250ms").load().beat().interval, Duration::from_millis(250));
}

#[test]
fn empty_counts_as_unset_in_every_layer() {
    let site = Site::new()
        .file(
            "reproq.yaml",
            "dsn: postgres://top\nworker:\n  dsn: ''\n  queues: []\n  logs_dir:\n  worker_id: w\n",
        )
        .env("DATABASE_URL", "")
        .env("WORKER_ID", " ")
        .env("QUEUE_NAMES", "")
        .env("REPROQ_CONFIG", "")
        .flag("dsn", "")
        .flag("worker-id", "");
    assert_eq!(site.host(), "top");
    let resolved = site.load();
    assert_eq!(resolved.worker().worker_id, "w");
    assert_eq!(resolved.worker().queues.patterns(), ["default"]);
    assert_eq!(resolved.worker().logs_dir, None);
}

#[test]
fn a_comma_alone_is_an_empty_list() {
    assert_eq!(Site::new().flag("queues", ",").load().worker().queues.patterns(), ["default"]);
}

#[test]
fn queues_have_an_order_of_their_own_or_the_one_that_their_weights_need() {
    let order = |site: Site| site.load().worker().queues.order();
    let weights = Site::new().file("reproq.yaml", "worker:\n  queues: [critical=6, 'mail-*=2', low]\n");
    assert_eq!(order(weights), QueueOrder::Weighted);
    let site = Site::new().file("reproq.toml", "worker.queue_order = 'weighted'").flag("queues", "a,b");
    assert_eq!(site.load().worker().queues.order(), QueueOrder::Weighted);
    let site = site.env("REPROQ_QUEUE_ORDER", "strict");
    assert_eq!(site.load().worker().queues.order(), QueueOrder::Strict);
    assert_eq!(order(site.flag("queue-order", "merged")), QueueOrder::Merged);
}

#[test]
fn the_last_of_a_repeated_flag_counts_and_underscores_are_hyphens() {
    let site = Site::new().flag("concurrency", "3").flag("--lease_seconds", "60").flag("concurrency", "4");
    assert_eq!(site.load().worker().concurrency, 4);
    assert_eq!(site.load().worker().lease, Duration::from_mins(1));
}

#[test]
fn the_environment_names_of_this_version_are_read() {
    let site = Site::new()
        .env("REPROQ_EXECUTOR_MODE", "process")
        .env("REPROQ_SHUTDOWN_TIMEOUT", "1m30s")
        .env("REPROQ_PYTHON_BIN", "/venv/bin/python")
        .env("REPROQ_DB_ALIAS", "jobs")
        .env("REPROQ_LOG", "debug")
        .env("REPROQ_CONCURRENCY", "3")
        .env("PRIORITY_AGING_FACTOR", "0")
        .env("ALLOWED_TASK_MODULES", "*")
        .env("DATABASE_URL", DSN)
        .flag("log-format", "json");
    let resolved = site.load();
    let worker = resolved.worker();
    assert_eq!(worker.isolation.of("default", None), Isolation::Process);
    assert_eq!(worker.shutdown_timeout, Duration::from_secs(90));
    assert_eq!(worker.python_bin, Path::new("/venv/bin/python"));
    assert_eq!(worker.concurrency, 3);
    assert_eq!(worker.aging, Aging::Off);
    assert_eq!(worker.allowed_task_modules, ["*"]);
    assert_eq!(resolved.database().unwrap().alias, "jobs");
    assert_eq!(resolved.log().filter, "debug");
    assert_eq!(resolved.log().format, LogFormat::Json);
}

#[test]
fn relative_paths_belong_to_the_directory() {
    let site = Site::new().flag("dsn", "app.sqlite3").flag("logs-dir", "logs");
    assert_eq!(site.host(), site.path("app.sqlite3").display().to_string());
    assert_eq!(site.load().worker().logs_dir, Some(site.path("logs")));
}

#[test]
fn a_directory_asks_for_files_besides_the_database_unless_another_word_says_where_logs_go() {
    let to = |site: Site| {
        let resolved = site.load();
        (resolved.worker().logs_in_database, resolved.worker().logs_dir.is_some())
    };
    assert_eq!(to(Site::new()), (true, false));
    assert_eq!(to(Site::new().flag("logs-dir", "logs")), (true, true));
    for (word, wanted) in [
        ("database", (true, false)),
        ("files", (false, true)),
        ("both", (true, true)),
        ("none", (false, false)),
    ] {
        assert_eq!(to(Site::new().flag("logs-dir", "logs").env("REPROQ_LOGS", word)), wanted, "{word}");
    }
    assert_eq!(to(Site::new().flag("logs", "none")), (false, false));
}

#[test]
fn the_bounds_of_the_earlier_version_count_while_there_is_no_other() {
    let file = |text: &str| Site::new().file("reproq.yaml", text).load().worker().max_log_bytes;
    assert_eq!(file("worker: {max_stdout_bytes: 5, max_stderr_bytes: 9}"), 9);
    assert_eq!(file("worker: {max_stdout_bytes: 500000}"), 500_000);
    assert_eq!(file("worker: {max_stdout_bytes: 1000000000}"), 16 << 20);
    assert_eq!(file("worker: {max_stdout_bytes: 5, max_log_bytes: 7}"), 7);
    assert_eq!(Site::new().flag("max-log-bytes", "0").load().worker().max_log_bytes, 0);
}

#[test]
fn zero_turns_off_what_may_be_off() {
    let site = Site::new().flag("reclaim-interval-seconds", "0").flag("priority-aging-factor", "-1");
    assert_eq!(site.load().worker().reclaim_interval, None);
    assert_eq!(site.load().worker().aging, Aging::Off);
    let site = Site::new().flag("priority-aging-factor", "2.5");
    assert_eq!(site.load().worker().aging, Aging::SecondsPerPoint(2.5));
}

#[test]
fn every_documented_flag_of_the_worker_is_an_option() {
    let flags: Vec<&str> = worker_options().filter_map(|option| option.flag).collect();
    for flag in "config dsn worker-id process-role queues allowed-task-modules concurrency lease-seconds \
        heartbeat-seconds reclaim-interval-seconds payload-mode priority-aging-factor logs-dir metrics-port \
        metrics-addr metrics-auth-token metrics-allow-cidrs metrics-auth-limit metrics-auth-window \
        metrics-auth-max-entries metrics-tls-cert metrics-tls-key metrics-tls-client-ca beat interval"
        .split_whitespace()
    {
        assert!(flags.contains(&flag), "{flag}");
    }
    let names: Vec<&str> = options().filter_map(|option| option.env).collect();
    for name in "REPROQ_CONFIG DATABASE_URL WORKER_ID REPROQ_PROCESS_ROLE QUEUE_NAMES ALLOWED_TASK_MODULES \
        PRIORITY_AGING_FACTOR REPROQ_LOGS_DIR METRICS_ADDR METRICS_AUTH_TOKEN METRICS_ALLOW_CIDRS \
        METRICS_AUTH_LIMIT METRICS_AUTH_WINDOW METRICS_AUTH_MAX_ENTRIES METRICS_TLS_CERT METRICS_TLS_KEY \
        METRICS_TLS_CLIENT_CA LOW_MEMORY_MODE REPROQ_MEMORY_LOG_INTERVAL"
        .split_whitespace()
    {
        assert!(names.contains(&name), "{name}");
    }
}
