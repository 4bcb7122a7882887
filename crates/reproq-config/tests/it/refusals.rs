//! What is refused, and that the message says what, where, why and what to do.

use crate::site::{DSN, Site};

#[test]
fn an_unknown_key_is_refused_with_file_line_and_suggestion() {
    for (name, text, line) in [
        ("reproq.yaml", "worker:\n  queues: [a]\n  concurency: 4\n", 3),
        ("reproq.toml", "[worker]\nconcurency = 4\n", 2),
    ] {
        let site = Site::new().file(name, text);
        let (message, hint) = site.refusal();
        let path = site.path(name);
        let expected = format!("accept `worker.concurency` in {}, line {line}: no such key", path.display());
        assert_eq!(message, expected);
        assert_eq!(hint, "did you mean `worker.concurrency`?");
    }
}

#[test]
fn an_unknown_section_is_refused() {
    let (message, hint) = Site::new().file("reproq.yaml", "wroker:\n  concurrency: 4\n").refusal();
    assert!(message.starts_with("accept `wroker.concurrency` in "), "{message}");
    assert_eq!(hint, "did you mean `worker.concurrency`?");
    let (_, hint) = Site::new().file("reproq.yaml", "zzz: 1\n").refusal();
    assert_eq!(hint, "remove it; `reproq config --explain` lists all keys");
}

#[test]
fn an_unknown_flag_is_refused_with_a_suggestion() {
    let (message, hint) = Site::new().flag("lease-second", "4").refusal();
    assert_eq!(
        (message.as_str(), hint.as_str()),
        ("accept --lease-second: no such flag", "did you mean --lease-seconds?")
    );
}

#[test]
fn a_key_in_both_spellings_is_refused() {
    let (message, _) =
        Site::new().file("reproq.yaml", "worker:\n  lease-seconds: 20\n  lease_seconds: 30\n").refusal();
    assert!(message.contains("`worker.lease_seconds`") && message.ends_with("it is set twice"), "{message}");
}

#[test]
fn a_section_holds_keys_and_a_key_holds_a_value() {
    let (message, _) = Site::new().file("reproq.yaml", "worker: 5\n").refusal();
    assert!(message.ends_with("line 1: `worker` is a section: its keys go below it"), "{message}");
    let (message, _) = Site::new().file("reproq.yaml", "dsn: {}\n").refusal();
    assert!(message.starts_with("use a section as dsn"), "{message}");
    let (message, _) = Site::new().file("reproq.toml", "[worker]\nconcurrency = 2020-01-01\n").refusal();
    assert!(message.starts_with("use a date as worker.concurrency"), "{message}");
    let (message, _) = Site::new().file("reproq.yaml", "worker:\n  concurrency: [1, 2]\n").refusal();
    assert!(message.ends_with("a list is given, one value is expected"), "{message}");
}

#[test]
fn a_file_that_was_asked_for_must_exist_and_have_a_known_extension() {
    let site = Site::new().env("REPROQ_CONFIG", "gone.yaml");
    let (message, hint) = site.refusal();
    let path = site.path("gone.yaml");
    assert_eq!(message, format!("read the configuration file {} (from REPROQ_CONFIG)", path.display()));
    assert!(hint.contains("check the path"), "{hint}");
    let (message, hint) = Site::new().file("reproq.json", "{}").flag("config", "reproq.json").refusal();
    assert!(message.ends_with("its extension names no known format"), "{message}");
    assert_eq!(hint, "rename it to end in .yaml, .yml or .toml");
}

#[test]
fn broken_syntax_is_reported_without_the_text() {
    let (message, _) = Site::new().file("reproq.toml", "dsn = 'postgres://u:hunter2@h\n").refusal();
    assert!(message.contains("reproq.toml, line 1: "), "{message}");
}

#[test]
fn a_bad_value_names_its_origin() {
    let expected = "it must be at least 1: a worker without slots would run nothing";
    let (message, hint) = Site::new().flag("concurrency", "0").refusal();
    assert_eq!(message, format!("use `0` as worker.concurrency (from --concurrency): {expected}"));
    assert_eq!(
        hint,
        "set --concurrency or the environment variable REPROQ_CONCURRENCY or `worker.concurrency` in the \
         configuration file"
    );
    let (message, _) = Site::new().env("REPROQ_CONCURRENCY", "0").refusal();
    assert_eq!(message, format!("use `0` as worker.concurrency (from REPROQ_CONCURRENCY): {expected}"));
    let site = Site::new().file("reproq.yaml", "worker:\n  concurrency: 0\n");
    let place = format!("(from {}, line 2)", site.path("reproq.yaml").display());
    assert_eq!(site.refusal().0, format!("use `0` as worker.concurrency {place}: {expected}"));
}

#[test]
fn each_bad_value_is_refused_with_its_reason() {
    for (flag, value, reason) in [
        (
            "lease-seconds",
            "4",
            "it must be at least 5: a shorter lease is lost to any hiccup, and its task runs twice",
        ),
        (
            "heartbeat-seconds",
            "0",
            "it must be at least 1: a lease that is never renewed ends while its task runs",
        ),
        ("reclaim-interval-seconds", "-1", "it must be at least 0: 0 turns it off"),
        (
            "payload-mode",
            "inline",
            "inline is refused: it puts arguments on the command line, where every user of the machine can read them; use stdin or file",
        ),
        ("payload-mode", "pipe", "it must be stdin or file"),
        ("executor-mode", "thread", "it must be pool or fork or process"),
        ("log-format", "xml", "it must be auto or json or text"),
        (
            "shutdown-timeout",
            "soon",
            "it is not a duration; write 100ms, 5s or 1h30m, or a whole number of seconds",
        ),
        ("priority-aging-factor", "fast", "it is not a number"),
        ("metrics-port", "65536", "it must be at most 65535"),
        ("metrics-addr", "9090", "it is not an address; write 127.0.0.1:9090, [::1]:9090 or :9090"),
        (
            "metrics-allow-cidrs",
            "10.0.0.0/99",
            "`10.0.0.0/99` is no address, network (10.0.0.0/8) or `localhost`",
        ),
    ] {
        let (message, hint) = Site::new().flag(flag, value).refusal();
        assert!(message.ends_with(&format!("(from --{flag}): {reason}")), "{message}");
        assert!(hint.contains(&format!("--{flag}")), "{hint}");
    }
}

#[test]
fn a_queue_mode_that_says_nothing_is_refused() {
    let (message, hint) = Site::new().flag("queue-modes", "reports=thread").refusal();
    assert!(message.ends_with("(from --queue-modes): `thread` is no way to run tasks"), "{message}");
    assert_eq!(hint, "it is one of pool, fork, process");
}

#[test]
fn each_bad_value_of_the_file_is_refused_with_its_reason() {
    for (key, value, reason) in [
        ("poll_min_backoff", "0s", "it must be at least 1ms: a pause of nothing would keep"),
        ("exec_timeout", "0", "it must be at least 1ms: nothing can be done in no time"),
        ("max_payload_bytes", "0", "it must be at least 1: a limit below 1 lets nothing through"),
        ("max_stdout_bytes", "many", "it is not a whole number"),
        ("max_attempts_default", "0", "it must be at least 1"),
    ] {
        let (message, hint) =
            Site::new().file("reproq.yaml", &format!("worker: {{{key}: {value}}}\n")).refusal();
        assert!(message.contains(&format!("worker.{key}")) && message.contains(reason), "{message}");
        assert_eq!(hint, format!("set `worker.{key}` in the configuration file"));
    }
}

#[test]
fn the_heartbeat_comes_more_than_twice_per_lease() {
    let site = Site::new().flag("lease-seconds", "10");
    let (message, hint) = site.refusal();
    assert_eq!(
        message,
        "combine worker.heartbeat_seconds = 5 (default) with worker.lease_seconds = 10 (from --lease-seconds): \
         the heartbeat must come more than twice per lease, or one that is late loses every task"
    );
    assert_eq!(
        hint,
        "lower worker.heartbeat_seconds to 4 or less, or raise worker.lease_seconds to 11 or more"
    );
    assert!(site.flag("heartbeat-seconds", "4").try_load().is_ok());
    assert!(Site::new().flag("lease-seconds", "11").try_load().is_ok());
}

#[test]
fn queues_that_make_no_plan_are_refused() {
    let (message, hint) = Site::new().env("QUEUE_NAMES", "critical=6,low=0").refusal();
    assert!(
        message.starts_with(
            "use `critical=6,low=0` as worker.queues (from QUEUE_NAMES): the weight of `low=0` is no"
        ),
        "{message}"
    );
    assert!(hint.starts_with("write critical=6, or leave the queue out"), "{hint}");
    let (message, hint) = Site::new().flag("queues", "mail,!mail").refusal();
    assert_eq!(
        message,
        "use `mail,!mail` as worker.queues (from --queues): `mail` is listed, and `!mail` excludes it"
    );
    assert_eq!(hint, "remove the name or the exclusion");
    let (message, hint) = Site::new().env("QUEUE_NAMES", "a=2,b").flag("queue-order", "strict").refusal();
    assert_eq!(
        message,
        "combine worker.queues = a=2,b (from QUEUE_NAMES) with worker.queue_order = strict (from --queue-order): \
         only the weighted order uses weights"
    );
    assert_eq!(hint, "remove the weights, or set worker.queue_order to weighted");
    let (message, _) =
        Site::new().file("reproq.yaml", "worker:\n  queues:\n    - mail-*\n    - !slow\n").refusal();
    assert!(message.contains("YAML wants quotes around what starts with !"), "{message}");
    let (message, _) = Site::new().flag("queue-order", "random").refusal();
    assert!(message.ends_with("it must be merged or strict or weighted"), "{message}");
}

#[test]
fn the_longest_poll_is_not_shorter_than_the_shortest() {
    let (message, _) = Site::new().file("reproq.toml", "worker.poll_min_backoff = '2s'").refusal();
    assert!(message.ends_with("the longest pause between polls is shorter than the shortest"), "{message}");
    let equal = "[worker]\npoll_min_backoff = '2s'\npoll_max_backoff = '2s'\n";
    assert!(Site::new().file("reproq.toml", equal).try_load().is_ok());
}

#[test]
fn files_need_a_directory() {
    for word in ["files", "both"] {
        let (message, hint) = Site::new().flag("logs", word).refusal();
        assert!(message.starts_with(&format!("combine worker.logs = {word} (from --logs)")), "{message}");
        assert_eq!(hint, "set worker.logs_dir, or worker.logs to database");
    }
    let (message, _) = Site::new().flag("logs", "syslog").refusal();
    assert!(message.ends_with("it must be database or files or both or none"), "{message}");
}

#[test]
fn a_certificate_needs_its_key() {
    let (message, hint) = Site::new().env("METRICS_TLS_CERT", "a.pem").refusal();
    assert!(message.starts_with("combine metrics.tls_cert = a.pem (from METRICS_TLS_CERT)"), "{message}");
    assert!(hint.starts_with("set both"), "{hint}");
}

#[test]
fn a_bad_database_address_is_refused_without_showing_it() {
    for dsn in ["mysql://u:hunter2@h/db", "host=h password=hunter2", "hunter2", "postgres://u:hunter2#x@h/db"]
    {
        let (message, hint) = Site::new().env("DATABASE_URL", dsn).refusal();
        assert!(message.starts_with("use **** as dsn (from DATABASE_URL): "), "{message}");
        assert!(hint.contains("postgresql://user:password@host"), "{hint}");
    }
}

#[test]
fn a_missing_database_fails_only_who_needs_one() {
    let resolved = Site::new().load();
    let error = resolved.database().unwrap_err();
    assert_eq!(error.to_string(), "find the database: no address is configured");
    assert!(error.hint().contains("DATABASE_URL") && error.hint().contains("sqlite:///"), "{}", error.hint());
    assert!(Site::new().env("DATABASE_URL", DSN).load().database().is_ok());
}
