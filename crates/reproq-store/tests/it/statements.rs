//! The statements themselves: every file is sound, both dialects say the same, and a claim costs its batch.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _};
use uuid::Uuid;

use crate::database::{Database, Side, claim, sql_files, worker};

/// Files that one dialect needs and the other does not.
const POSTGRES_ONLY: [&str; 2] = [
    // SQLite has one writer, so there are no keys to lock.
    "lock_keys.sql",
    // With SQLite an enqueue wakes the worker by writing to the file.
    "wants_wake.sql",
];
const SQLITE_ONLY: [&str; 6] = [
    // Reads before a write, so that an idle worker never takes the write lock.
    "claim_visit.sql",
    "glance.sql",
    // A write and its answer, which are one statement in PostgreSQL.
    "owned.sql",
    "prune_slice.sql",
    "seen.sql",
    "silent_workers.sql",
];

fn folder(dialect: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src").join(dialect).join("sql")
}

fn names(dialect: &str) -> BTreeSet<String> {
    sql_files(&folder(dialect))
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn both_dialects_have_the_same_statements() {
    let (postgres, sqlite) = (names("postgres"), names("sqlite"));
    let only = |mine: &BTreeSet<String>, other: &BTreeSet<String>| {
        mine.difference(other).cloned().collect::<Vec<_>>()
    };
    assert_eq!(only(&postgres, &sqlite), POSTGRES_ONLY);
    assert_eq!(only(&sqlite, &postgres), SQLITE_ONLY);
}

#[test]
fn every_statement_is_used() {
    for dialect in ["postgres", "sqlite"] {
        let code: String = std::fs::read_dir(folder(dialect).parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        for name in names(dialect) {
            assert!(
                code.contains(&format!("include_str!(\"sql/{name}\")")),
                "nothing runs {dialect}/sql/{name}"
            );
        }
    }
}

async fn every_statement_is_understood(db: &Database, dialect: &str) {
    let mut side = db.another_side().await;
    for path in sql_files(&folder(dialect)) {
        let sql = AssertSqlSafe(std::fs::read_to_string(&path).unwrap()).into_sql_str();
        let prepared = match &mut side {
            Side::Sqlite(connection) => connection.prepare(sql).await.map(drop),
            Side::Postgres(connection) => connection.prepare(sql).await.map(drop),
        };
        prepared.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

#[tokio::test]
async fn sqlite_understands_every_statement() {
    every_statement_is_understood(&Database::sqlite().await, "sqlite").await;
}

#[tokio::test]
async fn postgres_understands_every_statement() {
    every_statement_is_understood(&Database::postgres().await, "postgres").await;
}

/// 20,000 runs to claim from, as many that are not due, and as many behind one key.
async fn backlog(db: &Database) {
    db.insert_many(20_000, "priority, queue_name", "n % 7, CASE n % 3 WHEN 0 THEN 'mail' ELSE 'default' END")
        .await;
    db.insert_many(20_000, "run_after", &db.now(3600.0)).await;
    db.insert_many(20_000, "lock_key", "'busy'").await;
}

#[tokio::test]
async fn in_postgres_a_claim_follows_its_index() {
    let db = Database::postgres().await;
    backlog(&db).await;
    let sql = std::fs::read_to_string(folder("postgres").join("claim.sql")).unwrap();
    let Side::Postgres(mut connection) = db.another_side().await else { unreachable!() };
    // Before and after the table's statistics, planned for these values and planned for any.
    for (statistics, mode) in [("", "auto"), ("ANALYZE task_runs", "auto"), ("", "force_generic_plan")] {
        connection.execute(AssertSqlSafe(statistics.to_owned())).await.unwrap();
        connection.execute(AssertSqlSafe(format!("SET plan_cache_mode = {mode}"))).await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        let plan: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN (ANALYZE, TIMING OFF) {sql}")))
                .bind(vec!["default".to_owned(), "mail".to_owned(), "none".to_owned()])
                .bind(50_i64)
                .bind("w")
                .bind(Uuid::new_v4())
                .bind(15.0_f64)
                .fetch_all(&mut *transaction)
                .await
                .unwrap();
        transaction.rollback().await.unwrap();
        let plan = plan.join("\n");
        let why = format!("{statistics} {mode}\n{plan}");
        assert!(plan.contains("using reproq_task_runs_ready on task_runs"), "{why}");
        assert!(!plan.contains("Seq Scan on task_runs"), "{why}");
        assert!(!plan.contains("Bitmap Heap Scan on task_runs"), "{why}");
        assert!(
            plan.lines().all(|line| !line.contains("rows=20000") && !line.contains("actual rows=13")),
            "{why}"
        );
    }
}

#[tokio::test]
async fn in_sqlite_a_claim_follows_its_index() {
    let db = Database::sqlite().await;
    backlog(&db).await;
    for (file, index) in [
        ("claim_visit.sql", "reproq_task_runs_ready"),
        ("claim_keyed_visit.sql", "reproq_task_runs_keyed"),
        ("glance.sql", "reproq_task_runs_due"),
        ("heartbeat.sql", "reproq_task_runs_running"),
        ("claim.sql", "PRIMARY KEY"),
        ("claim_keyed.sql", "reproq_task_runs_lock"),
        ("finish.sql", "PRIMARY KEY"),
        ("promote_due.sql", "reproq_task_runs_due"),
    ] {
        let sql = std::fs::read_to_string(folder("sqlite").join(file)).unwrap();
        let plan: Vec<String> = db
            .rows(&format!("EXPLAIN QUERY PLAN {sql}"))
            .await
            .into_iter()
            .filter_map(|mut row| row.pop()?)
            .collect();
        assert!(plan.iter().any(|line| line.contains(index)), "{file}\n{}", plan.join("\n"));
        for table in ["task_runs", "r", "h", "x", "y"] {
            assert!(!plan.iter().any(|line| line == &format!("SCAN {table}")), "{file}\n{}", plan.join("\n"));
        }
    }
}

async fn a_backlog_costs_a_claim_nothing(db: &Database) {
    backlog(db).await;
    let (store, worker) = (db.store().await, worker("w", &["default", "mail"]));
    let mut times = Vec::new();
    for _ in 0..9 {
        let start = std::time::Instant::now();
        assert_eq!(claim(&*store, &worker, 10).await.len(), 10);
        times.push(start.elapsed());
    }
    times.sort();
    assert!(times[4] < Duration::from_millis(100), "a claim of ten took {:?}", times[4]);
}

#[tokio::test]
async fn in_postgres_a_backlog_costs_a_claim_nothing() {
    a_backlog_costs_a_claim_nothing(&Database::postgres().await).await;
}

#[tokio::test]
async fn in_sqlite_a_backlog_costs_a_claim_nothing() {
    a_backlog_costs_a_claim_nothing(&Database::sqlite().await).await;
}
