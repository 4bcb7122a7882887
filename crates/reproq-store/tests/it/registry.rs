//! Workers, the schema, the order of priority, and what an operator sees.

use std::fs::{File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use reproq_model::RunStatus;
use reproq_store::schema::SchemaMismatch;
use reproq_store::{Address, QueueDepth, StoreError, connect};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::database::{Database, LEASE, both, claim, claim_one, deadline, ids, within, worker};

both! {
    async fn a_worker_is_known_until_it_says_goodbye(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default", "mail's"]));
        store.register(&worker).await.unwrap();
        let seen = store.workers().await.unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].worker_id.as_str(), seen[0].hostname.as_str(), seen[0].concurrency), ("w", "host", 8));
        assert_eq!(seen[0].version, "0.2.0");
        let queues: Vec<String> = serde_json::from_str(&seen[0].queues).unwrap();
        assert_eq!(queues, ["default", "mail's"]);
        store.deregister(&worker).await.unwrap();
        assert!(store.workers().await.unwrap().is_empty());
    }

    async fn a_heartbeat_shows_that_the_worker_lives(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        store.register(&worker).await.unwrap();
        db.execute(&format!("UPDATE reproq_workers SET last_seen_at = {}", db.now(-100.0))).await;
        let silent = store.workers().await.unwrap()[0].silent_for;
        assert!((99..103).contains(&silent.as_secs()), "{silent:?}");
        store.heartbeat(&worker, LEASE).await.unwrap();
        assert!(store.workers().await.unwrap()[0].silent_for < Duration::from_secs(3));
    }

    async fn a_restart_takes_the_place_of_the_start_before(db: &Database) {
        let store = db.store().await;
        let (before, mut after) = (worker("w", &["default"]), worker("w", &["mail"]));
        after.concurrency = 3;
        store.register(&before).await.unwrap();
        store.register(&after).await.unwrap();
        assert_eq!(store.workers().await.unwrap().len(), 1);
        assert_eq!(store.workers().await.unwrap()[0].concurrency, 3);
        db.execute(&format!("UPDATE reproq_workers SET last_seen_at = {}", db.now(-100.0))).await;
        store.heartbeat(&before, LEASE).await.unwrap();
        assert!(store.workers().await.unwrap()[0].silent_for > Duration::from_secs(90), "it speaks for itself alone");
        store.deregister(&before).await.unwrap();
        assert_eq!(store.workers().await.unwrap().len(), 1);
    }

    async fn a_start_that_has_ended_without_a_word_is_forgotten_alone(db: &Database) {
        let store = db.store().await;
        let (dead, living) = (worker("w", &["default"]), worker("v", &["default"]));
        store.register(&dead).await.unwrap();
        store.register(&living).await.unwrap();
        store.forget(dead.incarnation).await.unwrap();
        let seen = store.workers().await.unwrap();
        assert_eq!(seen.iter().map(|seen| seen.worker_id.as_str()).collect::<Vec<_>>(), ["v"]);
    }

    async fn a_database_with_the_schema_is_accepted(db: &Database) {
        let store = db.store().await;
        store.check_schema().await.unwrap();
        db.execute("UPDATE reproq_meta SET value = '999' WHERE key = 'schema_version'").await;
        let StoreError::Schema(SchemaMismatch::Other { found }) = store.check_schema().await.unwrap_err() else { panic!() };
        assert_eq!(found, "999");
        db.execute("DELETE FROM reproq_meta").await;
        assert!(matches!(store.check_schema().await, Err(StoreError::Schema(SchemaMismatch::Missing))));
    }

    async fn another_weight_of_priority_puts_waiting_runs_in_another_order(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        let old = db.insert("enqueued_at", &db.now(-100.0)).await;
        let urgent = db.insert("priority", "1").await;
        let later = db.insert("priority, run_after", &format!("1, {}", db.now(600.0))).await;
        store.set_priority_aging(200.0).await.unwrap();
        assert_eq!(db.text("SELECT value FROM reproq_meta WHERE key = 'priority_aging_seconds'").await.as_deref(), Some("200"));
        assert!(db.holds(later, "gate = 1").await);
        assert_eq!(claim_one(&*store, &worker).await.id, urgent);
        let urgent = db.insert("priority", "1").await;
        store.set_priority_aging(0.5).await.unwrap();
        assert_eq!(ids(&claim(&*store, &worker, 10).await), [old, urgent]);
    }

    async fn the_same_weight_changes_nothing(db: &Database) {
        let store = db.store().await;
        let id = db.ready().await;
        db.execute("UPDATE task_runs SET claim_key = 7").await;
        store.set_priority_aging(60.0).await.unwrap();
        assert!(db.holds(id, "claim_key = 7").await);
    }

    async fn a_commit_elsewhere_wakes_the_worker(db: &Database) {
        let store = db.store().await;
        let woken = Notify::new();
        let listen = async {
            loop {
                store.woken().await.unwrap();
                woken.notify_one();
            }
        };
        let enqueues = async {
            // The first ones may come before it listens.
            let end = deadline(Duration::from_secs(10));
            loop {
                enqueue(db).await;
                if timeout(Duration::from_millis(200), woken.notified()).await.is_ok() {
                    break;
                }
                assert!(Instant::now() < end, "nothing woke it");
            }
            for _ in 0..3 {
                while timeout(Duration::from_millis(60), woken.notified()).await.is_ok() {}
                enqueue(db).await;
                within(Duration::from_secs(1), "the wake-up", woken.notified()).await;
            }
        };
        tokio::select! {
            () = listen => unreachable!(),
            () = enqueues => {}
        }
    }

    async fn depths_count_each_queue_and_state(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["mail"]));
        db.insert_many(3, "enqueued_at", &db.now(-100.0)).await;
        db.insert("run_after", &db.now(60.0)).await;
        db.insert("queue_name", "'mail'").await;
        db.insert("queue_name, status", "'mail', 'FAILED'").await;
        db.insert("queue_name, run_after", &format!("'report', {}", db.now(60.0))).await;
        claim(&*store, &worker, 1).await;
        let depths = store.depths().await.unwrap();
        let counts: Vec<(&str, RunStatus, i64)> =
            depths.iter().map(|QueueDepth { queue_name, status, count, .. }| (queue_name.as_str(), *status, *count)).collect();
        assert_eq!(counts, [
            ("default", RunStatus::Ready, 4),
            ("mail", RunStatus::Failed, 1),
            ("mail", RunStatus::Running, 1),
            ("report", RunStatus::Ready, 1),
        ]);
        let age = depths[0].oldest_age.unwrap();
        assert!((99..103).contains(&age.as_secs()), "{age:?}");
        assert!(depths[1..].iter().all(|depth| depth.oldest_age.is_none()), "nothing else has been kept waiting");
    }

}

/// With SQLite the commit alone is the message.
async fn enqueue(db: &Database) {
    db.ready().await;
    if db.is_postgres() {
        db.execute("SELECT pg_notify('reproq_wake', '')").await;
    }
}

/// An enqueue does that when its commit is on disk, see `enqueue_sqlite.py`; nothing else about the file need have changed.
#[tokio::test]
async fn a_touch_of_a_sqlite_log_wakes_the_worker() {
    let db = Database::sqlite().await;
    let file = db.text("SELECT file FROM pragma_database_list WHERE name = 'main'").await.unwrap();
    let store = db.store().await;
    // The first is the watch's begin; what it was late for is over when nothing more comes.
    while let Ok(woken) = timeout(Duration::from_secs(1), store.woken()).await {
        woken.unwrap();
    }
    let log = File::options().append(true).open(format!("{file}-wal")).unwrap();
    // Both times: the kernel tells of one alone as it does of a write.
    log.set_times(FileTimes::new().set_accessed(SystemTime::now()).set_modified(SystemTime::now())).unwrap();
    within(Duration::from_secs(2), "the wake-up", store.woken()).await.unwrap();
}

#[tokio::test]
async fn a_sqlite_file_without_a_schema_is_refused() {
    let db = Database::bare_sqlite().await;
    let refused = db.store().await.check_schema().await;
    assert!(matches!(refused, Err(StoreError::Schema(SchemaMismatch::Missing))), "{refused:?}");
}

#[tokio::test]
async fn a_postgres_database_without_a_schema_is_refused() {
    let db = Database::bare_postgres().await;
    let refused = db.store().await.check_schema().await;
    assert!(matches!(refused, Err(StoreError::Schema(SchemaMismatch::Missing))), "{refused:?}");
}

#[tokio::test]
async fn a_sqlite_file_has_one_worker_at_a_time() {
    let db = Database::sqlite().await;
    let (first, second) = (db.store().await, db.store().await);
    first.register(&worker("first", &[])).await.unwrap();
    let refused = second.register(&worker("second", &[])).await.unwrap_err();
    let StoreError::FileInUse { pid, .. } = &refused else { panic!("{refused}") };
    assert_eq!(*pid, std::process::id().to_string());
    second.depths().await.expect("an operator may look");
    drop(first);
    let third = worker("third", &[]);
    second.register(&third).await.expect("free again");
    second.deregister(&third).await.unwrap();
    db.store().await.register(&worker("fourth", &[])).await.expect("free again");
}

/// The site asks whether anybody sleeps before it sends a notification; with SQLite every commit is one.
#[tokio::test]
async fn a_worker_says_whether_enqueues_should_wake_it() {
    let db = Database::postgres().await;
    let (store, worker, stranger) = (db.store().await, worker("w", &[]), worker("w", &[]));
    store.register(&worker).await.unwrap();
    for (who, wants, expected) in [(&worker, false, "f"), (&stranger, true, "f"), (&worker, true, "t")] {
        store.set_wants_wake(who, wants).await.unwrap();
        assert_eq!(db.text("SELECT wants_wake FROM reproq_workers").await.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn an_address_that_leads_nowhere_is_explained() {
    let nowhere = Address::Sqlite(Path::new("/nowhere/db.sqlite3"));
    let Err(StoreError::BadAddress(why)) = connect(nowhere).await else { panic!() };
    assert!(why.contains("/nowhere/db.sqlite3") && why.contains("migrate"), "{why}");
    let secret = Address::Postgres("mysql://user:secret@host/db");
    let Err(StoreError::BadAddress(why)) = connect(secret).await else { panic!() };
    assert!(why.contains("postgres://") && !why.contains("secret"), "{why}");
    let silent = Address::Postgres("postgres://nobody@127.0.0.1:1/none");
    assert!(matches!(connect(silent).await, Err(StoreError::Unavailable(_))));
}
