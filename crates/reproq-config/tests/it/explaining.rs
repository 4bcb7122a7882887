//! What is shown of a configuration.

use serde_json::json;

use crate::site::{DSN, Site};

#[test]
fn every_option_is_explained_once_with_its_value() {
    let resolved = Site::new().flag("concurrency", "4").load();
    assert_eq!(resolved.explain().len(), reproq_config::options().count());
    let concurrency = resolved.explain().iter().find(|one| one.name == "worker.concurrency").unwrap();
    assert_eq!(concurrency.value.as_deref(), Some("4"));
    assert_eq!(concurrency.to_json()["value"], json!(4));
    assert_eq!(concurrency.to_json()["origin"], json!({ "layer": "flag", "name": "--concurrency" }));
}

#[test]
fn values_are_shown_as_they_are_written() {
    let site = Site::new().env("REPROQ_SHUTDOWN_TIMEOUT", "90").env("QUEUE_NAMES", "a,b");
    assert_eq!(site.explained("worker.shutdown_timeout").value.as_deref(), Some("1m30s"));
    assert_eq!(site.explained("worker.queues").value.as_deref(), Some("a,b"));
    assert_eq!(site.explained("worker.queues").json, json!(["a", "b"]));
}

#[test]
fn what_is_unset_says_what_that_means() {
    let site = Site::new();
    let aging = site.explained("worker.priority_aging_factor");
    assert_eq!((aging.value, aging.note), (None, Some("the factor stored in the database")));
    let order = site.explained("worker.queue_order");
    assert_eq!((order.value, order.note), (None, Some("merged, or weighted if a queue has a weight")));
    assert_eq!(site.explained("dsn").note, Some("required"));
    assert_eq!(site.explained("dsn").json, json!(null));
}

#[test]
fn secrets_are_masked_wherever_the_configuration_is_shown() {
    let site = Site::new()
        .file("reproq.yaml", &format!("beat:\n  dsn: {DSN}\n"))
        .env("METRICS_AUTH_TOKEN", "hunter2")
        .flag("dsn", DSN);
    let resolved = site.load();
    let shown = format!("{resolved:?} {} {:?}", resolved.explain_json(), resolved.warnings());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(site.explained("dsn").value.as_deref(), Some("postgres://joe:****@db/app"));
    assert_eq!(site.explained("beat.dsn").value.as_deref(), Some("postgres://joe:****@db/app"));
    assert_eq!(site.explained("metrics.auth_token").value.as_deref(), Some("****"));
}

#[test]
fn settings_of_parts_that_do_not_exist_are_accepted_with_a_warning() {
    let site = Site::new()
        .file("reproq.yaml", "worker:\n  max_attempts_default: 3\nbeat:\n  interval: 10s\n")
        .env("METRICS_ADDR", ":9090")
        .env("LOW_MEMORY_MODE", "yes");
    let warnings = site.load().warnings().to_vec();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].starts_with("worker.max_attempts_default (from "), "{warnings:?}");
    assert!(warnings[1].starts_with("metrics.addr (from METRICS_ADDR): no effect"), "{warnings:?}");
    assert_eq!(site.explained("beat.interval").note, None, "the scheduler exists");
    assert!(site.explained("metrics.port").note.unwrap().contains("no effect"));
}

#[test]
fn a_password_on_the_command_line_is_warned_about() {
    let warnings = Site::new().flag("dsn", DSN).load().warnings().to_vec();
    assert!(warnings[0].contains("use DATABASE_URL"), "{warnings:?}");
    assert!(Site::new().env("DATABASE_URL", DSN).load().warnings().is_empty());
    assert!(Site::new().flag("dsn", "postgres://joe@db/app").load().warnings().is_empty());
}

#[test]
fn the_file_in_force_is_explained() {
    let site = Site::new().file("reproq.toml", "");
    let shown = site.path("reproq.toml").display().to_string();
    assert_eq!(site.explained("config").value, Some(shown));
}
