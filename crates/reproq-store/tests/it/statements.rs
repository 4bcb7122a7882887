//! The statements themselves: every file is sound, both dialects say the same, and a claim costs its batch.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _};

use crate::database::{Database, Side, claim, sql_files, worker};

/// Files that one dialect needs and the other does not.
const POSTGRES_ONLY: [&str; 4] = [
    // SQLite's one writer holds whatever it writes.
    "hold_schedule.sql",
    // SQLite has one writer, so there are no keys and no rates to lock.
    "lock_keys.sql",
    "rates_locked.sql",
    // With SQLite an enqueue wakes the worker by writing to the file.
    "wants_wake.sql",
];
const SQLITE_ONLY: [&str; 19] = [
    // Reads before a write, so that an idle worker never takes the write lock.
    "claim_visit.sql",
    "divert_visit.sql",
    "glance.sql",
    // Writes, and their answers, that are one statement in PostgreSQL.
    "is_enabled.sql",
    "name_run.sql",
    "owned.sql",
    "prune_logs_slice.sql",
    "prune_slice.sql",
    "prune_workflow_steps.sql",
    "prune_workflows_slice.sql",
    "seen.sql",
    "silent_workers.sql",
    "trim_ticks.sql",
    "workflow_blame.sql",
    "workflow_mend_forget.sql",
    "workflow_mend_note.sql",
    "workflow_mend_tell.sql",
    "workflow_mend_totals.sql",
    "workflow_totals.sql",
];

pub fn folder(dialect: &str) -> PathBuf {
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

/// See .cargo/config.toml; whoever builds the binary some other way finds out here.
#[tokio::test]
async fn sqlite_plans_a_statement_once() {
    let db = Database::sqlite().await;
    let options = db.rows("PRAGMA compile_options").await;
    assert!(options.iter().flatten().flatten().any(|option| option == "ENABLE_QPSG"), "{options:?}");
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

/// The statements that a worker runs all the time, with values that make each of them do its work, and how many rows of
/// `task_runs` a single step of their plan may touch: a batch, or a look at what is before it.
const HOT: [(&str, &str, f64); 14] = [
    ("queue_names.sql", "", 8.0),
    ("claim.sql", "('{default,mail,none}', 50, 'w', '00000000-0000-4000-8000-000000000001', 15.0)", 150.0),
    ("claim_keyed_visit.sql", "('{default,mail,none}', '{\"\",\"\",\"\"}', 60, 8, 16, 50)", 160.0),
    ("claim_keyed.sql", "('{1,2,3}', '{1,2,3}', 'w', '00000000-0000-4000-8000-000000000001', 15.0, 0)", 3.0),
    ("key_facts.sql", "('{busy,k1}', '{busy,k2}', '{concurrency:k2}', '{key:a}')", 3.0),
    ("promote_due.sql", "('{default,mail,none}')", 1000.0),
    ("divert.sql", "('{default,mail,none}', 500)", 1500.0),
    ("heartbeat.sql", "('00000000-0000-4000-8000-000000000001', 'w', 15.0)", 1.0),
    (
        "finish.sql",
        "('{1,2,3}', '{1,1,1}', '{FAILED,FAILED,FAILED}', '{null,null,null}', '{null,null,null}', '{null,null,null}', '{0,0,0}', \
          '{f,f,f}', '{f,f,f}', '{null,null,null}', '{null,null,null}', '{null,null,null}', '00000000-0000-4000-8000-000000000001')",
        3.0,
    ),
    ("keep_logs.sql", "('{1,2,3}', '{1,1,1}', '{1,1,1}', '{[],[],[]}', '{1,1,1}', '{0,0,0}')", 3.0),
    (
        "show_progress.sql",
        "('{1,2,3}', '{1,1,1}', '{null,null,null}', '00000000-0000-4000-8000-000000000001')",
        3.0,
    ),
    ("cancellations.sql", "('00000000-0000-4000-8000-000000000001')", 1.0),
    ("expired.sql", "(100, '00000000-0000-4000-8000-000000000001')", 1.0),
    ("held_by.sql", "('00000000-0000-4000-8000-000000000001', 100)", 1.0),
];

/// Runs every hot statement under `session` and looks at what the server did.
async fn plans_cost_their_batch(db: &Database, session: &str, why: &str) {
    let Side::Postgres(mut connection) = db.another_side().await else { unreachable!() };
    connection.execute(AssertSqlSafe(session.to_owned())).await.unwrap();
    for (file, values, most) in HOT {
        let sql = std::fs::read_to_string(folder("postgres").join(file)).unwrap();
        let mut transaction = connection.begin().await.unwrap();
        transaction.execute(AssertSqlSafe(format!("PREPARE hot AS {sql}"))).await.unwrap();
        let plan: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN (ANALYZE, TIMING OFF) EXECUTE hot {values}")))
                .fetch_all(&mut *transaction)
                .await
                .unwrap();
        transaction.rollback().await.unwrap();
        connection.execute("DEALLOCATE hot").await.unwrap();
        let text = format!("{why}: {file}\n{}", plan.join("\n"));
        assert!(
            !text.contains("Seq Scan on task_runs") && !text.contains("Bitmap Heap Scan on task_runs"),
            "{text}"
        );
        assert!(!text.contains("Gather"), "no statement is worth processes of its own\n{text}");
        for line in plan.iter().filter(|line| line.contains(" on task_runs")) {
            assert!(actual_rows(line) <= most, "{line}\n{text}");
        }
        for line in plan.iter().filter_map(|line| line.split("Rows Removed by Filter: ").nth(1)) {
            assert!(line.trim().parse::<f64>().unwrap() <= most, "{line}\n{text}");
        }
    }
}

/// Rows that a node returned over all its loops; 0 if it never ran.
pub fn actual_rows(node: &str) -> f64 {
    let number = |label: &str| -> Option<f64> {
        node.split("actual ").nth(1)?.split(label).nth(1)?.split([' ', ')']).next()?.parse().ok()
    };
    number("rows=").unwrap_or(0.0) * number("loops=").unwrap_or(0.0)
}

/// What the worker's sessions are set to.
pub const SESSION: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; \
    SET enable_mergejoin = off; SET enable_hashjoin = off; SET jit = off; SET max_parallel_workers_per_gather = 0";

#[tokio::test]
async fn in_postgres_every_hot_statement_costs_its_batch_whatever_the_statistics_say() {
    let db = Database::postgres().await;
    plans_cost_their_batch(&db, SESSION, "an empty table").await;
    db.execute("ANALYZE task_runs").await;
    backlog(&db).await;
    plans_cost_their_batch(&db, SESSION, "statistics of an empty table").await;
    db.execute("ANALYZE task_runs").await;
    plans_cost_their_batch(&db, SESSION, "statistics that are right").await;
    db.execute("DELETE FROM task_runs").await;
    db.insert_many(100, "", "").await;
    plans_cost_their_batch(&db, SESSION, "statistics of a full table").await;
}

/// Nearly every row could be claimed: then a plan that merges a batch with the whole table looks cheap.
#[tokio::test]
async fn in_postgres_every_hot_statement_costs_its_batch_when_everything_waits() {
    let db = Database::postgres().await;
    db.insert_many(2_000, "status", "'SUCCESSFUL'").await;
    db.insert_many(20_000, "", "").await;
    db.execute("ANALYZE task_runs").await;
    plans_cost_their_batch(&db, SESSION, "everything waits").await;
}

#[tokio::test]
async fn in_postgres_every_hot_statement_costs_its_batch_among_millions() {
    let db = Database::postgres().await;
    let rows = |columns: &str, values: &str| {
        format!(
            "INSERT INTO task_runs (spec_json, spec_hash, task_path, {columns}) \
             SELECT '{{}}', n::text, 'shop.tasks.send', {values} FROM generate_series(1, 1000000) AS n"
        )
    };
    // The triggers' work done beforehand: a million times is too often for a test.
    db.execute(&format!(
        "ALTER TABLE task_runs SET UNLOGGED; SET session_replication_role = replica; {}; {}; {}; SET session_replication_role = origin",
        // First: what is before the rows that a statement wants must not be walked through.
        rows("status, finished_at", "'SUCCESSFUL', now()"),
        rows("claim_key, gate", "n, 0"),
        rows("claim_key, gate, run_after", "n, 1, now() + n * interval '1 second' + interval '1 hour'"),
    ))
    .await;
    db.insert_many(20_000, "lock_key", "'busy'").await;
    plans_cost_their_batch(&db, SESSION, "millions, no statistics").await;
    db.execute("ANALYZE task_runs").await;
    plans_cost_their_batch(&db, SESSION, "millions").await;
}

#[tokio::test]
async fn in_sqlite_a_claim_follows_its_index() {
    let db = Database::sqlite().await;
    backlog(&db).await;
    for (file, index) in [
        ("claim_visit.sql", "reproq_task_runs_ready"),
        ("claim_keyed_visit.sql", "reproq_task_runs_visit"),
        ("glance.sql", "reproq_task_runs_due"),
        ("heartbeat.sql", "reproq_task_runs_running"),
        ("cancellations.sql", "reproq_task_runs_running"),
        ("held_by.sql", "reproq_task_runs_running"),
        ("claim.sql", "PRIMARY KEY"),
        ("claim_keyed.sql", "PRIMARY KEY"),
        ("key_facts.sql", "reproq_task_runs_lock"),
        ("key_facts.sql", "reproq_task_runs_slot"),
        ("key_facts.sql", "reproq_key_limits_key"),
        ("divert_visit.sql", "reproq_task_runs_ready"),
        ("divert.sql", "PRIMARY KEY"),
        ("finish.sql", "PRIMARY KEY"),
        ("show_progress.sql", "PRIMARY KEY"),
        ("keep_logs.sql", "PRIMARY KEY"),
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

/// The statement is the package's, with names for its parameters.
async fn a_cancellation_reads_no_run_but_those_it_names(
    db: &Database,
    dialect: &str,
    explain: &str,
    given: &str,
) {
    backlog(db).await;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../src/reproq_django/sql").join(dialect);
    let text = std::fs::read_to_string(folder.join("statements/cancel_runs.sql")).unwrap();
    let sql = text.replace("%(result_ids)s", given).replace("%%", "%");
    let plan: Vec<String> =
        db.rows(&format!("{explain} {sql}")).await.into_iter().filter_map(|mut row| row.pop()?).collect();
    let plan = plan.join("\n");
    assert!(!plan.contains("Seq Scan on task_runs") && !plan.contains("SCAN task_runs"), "{plan}");
    assert!(plan.contains("task_runs_pkey") || plan.contains("PRIMARY KEY (rowid=?)"), "{plan}");
}

#[tokio::test]
async fn in_postgres_a_cancellation_reads_no_run_but_those_it_names() {
    let db = Database::postgres().await;
    a_cancellation_reads_no_run_but_those_it_names(&db, "postgres", "EXPLAIN", "'{1,2,3}'").await;
}

#[tokio::test]
async fn in_sqlite_a_cancellation_reads_no_run_but_those_it_names() {
    let db = Database::sqlite().await;
    a_cancellation_reads_no_run_but_those_it_names(&db, "sqlite", "EXPLAIN QUERY PLAN", "'[1,2,3]'").await;
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

#[tokio::test]
async fn in_sqlite_the_names_of_queues_are_read_off_the_indexes() {
    let db = Database::sqlite().await;
    backlog(&db).await;
    let sql = std::fs::read_to_string(folder("sqlite").join("queue_names.sql")).unwrap();
    let plan: Vec<String> = db
        .rows(&format!("EXPLAIN QUERY PLAN {sql}"))
        .await
        .into_iter()
        .filter_map(|mut row| row.pop()?)
        .filter(|line| line.contains("task_runs"))
        .collect();
    // The first queue of a lane has nothing before it to search from: its scan stops at the first entry.
    for index in ["reproq_task_runs_ready", "reproq_task_runs_visit"] {
        assert!(plan.contains(&format!("SCAN task_runs USING COVERING INDEX {index}")), "{plan:?}");
        assert!(plan.contains(&format!("SEARCH r USING COVERING INDEX {index} (queue_name>?)")), "{plan:?}");
    }
    assert_eq!(plan.len(), 4, "{plan:?}");
}
