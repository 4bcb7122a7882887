//! Which file is read, and that its format makes no difference.

use std::time::Duration;

use crate::site::Site;

const YAML: &str = "\
dsn: sqlite:///srv/app.db
worker:
  worker_id: w1
  queues: [mail, reports]
  concurrency: 4
  lease-seconds: 20
  poll_min_backoff: 100ms
  poll_max_backoff: 5s
  exec_timeout: 90
  priority_aging_factor: 1.5
  max_attempts_default: 3
beat:
  interval: 1m
metrics:
  allow_cidrs: [10.0.0.0/8, localhost]
  auth_token: hunter2
";

const TOML: &str = "\
dsn = 'sqlite:///srv/app.db'
[worker]
worker_id = 'w1'
queues = ['mail', 'reports']
concurrency = 4
lease-seconds = 20
poll_min_backoff = '100ms'
poll_max_backoff = '5s'
exec_timeout = 90
priority_aging_factor = 1.5
max_attempts_default = 3
[beat]
interval = '1m'
[metrics]
allow_cidrs = ['10.0.0.0/8', 'localhost']
auth_token = 'hunter2'
";

#[test]
fn yaml_and_toml_say_the_same() {
    let (yaml, toml) = (Site::new().file("reproq.yaml", YAML), Site::new().file("reproq.toml", TOML));
    let (yaml, toml) = (yaml.load(), toml.load());
    assert_eq!(yaml.worker(), toml.worker());
    assert_eq!(yaml.database().unwrap(), toml.database().unwrap());
    assert_eq!(yaml.warnings().len(), toml.warnings().len());
    for (one, other) in yaml.explain().iter().zip(toml.explain()).filter(|(one, _)| one.name != "config") {
        assert_eq!((one.name, &one.json), (other.name, &other.json));
    }
    assert_eq!(yaml.worker().queues.patterns(), ["mail", "reports"]);
    assert_eq!(yaml.worker().lease, Duration::from_secs(20));
    assert_eq!(yaml.worker().exec_timeout, Duration::from_secs(90));
}

#[test]
fn keys_may_be_written_with_hyphens_or_underscores() {
    for key in ["lease_seconds", "lease-seconds"] {
        let site = Site::new().file("reproq.yml", &format!("worker:\n  {key}: 30\n"));
        assert_eq!(site.load().worker().lease, Duration::from_secs(30), "{key}");
    }
}

#[test]
fn the_first_existing_name_is_read() {
    let names = ["reproq.yaml", "reproq.yml", "reproq.toml", ".reproq.yaml", ".reproq.yml", ".reproq.toml"];
    let mut site = Site::new();
    for name in names.iter().rev() {
        let text = if name.ends_with("toml") {
            format!("log.level = '{name}'")
        } else {
            format!("log: {{level: {name}}}")
        };
        site = site.file(name, &text);
        let resolved = site.load();
        assert_eq!(resolved.log().filter, *name);
        assert_eq!(resolved.config_file(), Some(site.path(name).as_path()));
    }
}

#[test]
fn a_named_file_wins_over_a_found_one_and_the_flag_over_the_environment() {
    let site = Site::new()
        .file("reproq.yaml", "worker: {worker_id: found}")
        .file("env.toml", "worker.worker_id = 'env'")
        .file("flag.yml", "worker: {worker_id: flag}")
        .env("REPROQ_CONFIG", "env.toml");
    assert_eq!(site.load().worker().worker_id, "env");
    assert_eq!(site.flag("config", "flag.yml").load().worker().worker_id, "flag");
}

#[test]
fn no_file_is_no_error_and_an_empty_one_neither() {
    assert_eq!(Site::new().load().config_file(), None);
    for name in ["reproq.yaml", "reproq.toml"] {
        assert!(Site::new().file(name, "").try_load().is_ok(), "{name}");
        assert!(Site::new().file(name, "# all defaults\n").try_load().is_ok(), "{name}");
    }
    assert!(Site::new().file("reproq.yaml", "worker:\nmetrics: {}\n").try_load().is_ok());
    assert!(Site::new().file("reproq.toml", "[worker]\n[metrics]\n").try_load().is_ok());
}

#[test]
fn a_directory_with_the_name_of_a_file_is_passed_over() {
    let site = Site::new().file("reproq.toml", "worker.worker_id = 'w'");
    std::fs::create_dir(site.path("reproq.yaml")).unwrap();
    assert_eq!(site.load().worker().worker_id, "w");
}
