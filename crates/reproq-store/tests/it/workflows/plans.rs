//! What the statements of an advance cost: their batch, whatever else the tables hold and whatever the statistics say.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::{CHORD, Workflow};
use crate::database::{Database, Side};
use crate::statements::{SESSION, actual_rows, folder};

/// Each statement, its values for a chord of three with a callback, and how many rows of any table a step of its plan may touch.
const HOT: [(&str, &str, f64); 12] = [
    ("workflow_pick.sql", "('00000000-0000-0000-0000-000000000000', 50)", 50.0),
    ("workflow_take.sql", "('{ID}')", 1.0),
    ("workflow_events.sql", "('{ID}', 5000)", 4.0),
    ("workflow_count.sql", "('{ID}', '{1}', '{1}', '{0}', '{null}')", 1.0),
    ("workflow_release.sql", "('{ID}', '{1}', 5000)", 4.0),
    ("workflow_fail.sql", "('{ID}', '{1}', '{1}', 5000)", 4.0),
    ("workflow_revive.sql", "('{ID}', '{1}', 5000)", 4.0),
    ("workflow_culprits.sql", "('{ID}', '{1}')", 4.0),
    ("workflow_note.sql", "('{ID}', '{1}', '{0}')", 1.0),
    ("workflow_states.sql", "('{ID}')", 1.0),
    ("workflow_end.sql", "('{ID}', '{RUNNING}')", 1.0),
    ("workflow_on_failure.sql", "('{1}', '{f}')", 1.0),
];

/// The same in the chord of ten thousand: what counts and decides must not walk through its members.
const IN_A_CROWD: [(&str, &str, f64); 6] = [
    ("workflow_take.sql", "('{ID}')", 1.0),
    ("workflow_events.sql", "('{ID}', 5000)", 1.0),
    ("workflow_count.sql", "('{ID}', '{1}', '{1}', '{0}', '{null}')", 1.0),
    ("workflow_release.sql", "('{ID}', '{1}', 5000)", 1.0),
    ("workflow_fail.sql", "('{ID}', '{1}', '{1}', 5000)", 1.0),
    ("workflow_states.sql", "('{ID}')", 1.0),
];

async fn cost_their_batch(db: &Database, statements: &[(&str, &str, f64)], of: &Workflow, why: &str) {
    let Side::Postgres(mut connection) = db.another_side().await else { unreachable!() };
    connection.execute(SESSION).await.unwrap();
    for (file, values, most) in statements {
        let sql = std::fs::read_to_string(folder("postgres").join(file)).unwrap();
        let values = values.replace("ID", &of.id.to_string());
        let mut transaction = connection.begin().await.unwrap();
        transaction.execute(AssertSqlSafe(format!("PREPARE hot AS {sql}"))).await.unwrap();
        let explain = AssertSqlSafe(format!("EXPLAIN (ANALYZE, TIMING OFF) EXECUTE hot {values}"));
        let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut *transaction).await.unwrap();
        transaction.rollback().await.unwrap();
        connection.execute("DEALLOCATE hot").await.unwrap();
        let text = format!("{why}: {file}\n{}", plan.join("\n"));
        for line in plan.iter().filter(|line| {
            ["task_runs", "workflow_runs", "reproq_workflow"]
                .iter()
                .any(|table| line.contains(&format!(" on {table}")))
        }) {
            assert!(!line.contains("Seq Scan") && !line.contains("Bitmap"), "{line}\n{text}");
            assert!(actual_rows(line) <= *most, "{line}\n{text}");
        }
        for line in plan.iter().filter_map(|line| line.split("Rows Removed by Filter: ").nth(1)) {
            assert!(line.trim().parse::<f64>().unwrap() <= *most, "{line}\n{text}");
        }
    }
}

/// Two thousand workflows of ten runs of which nine wait, and as many runs again that have nothing to do with any.
async fn crowd(db: &Database) {
    db.execute(
        "INSERT INTO workflow_runs (workflow_id, expected_count, final_step) \
         SELECT md5(n::text)::uuid, 10, 2 FROM generate_series(1, 2000) AS n; \
         INSERT INTO reproq_workflow_steps (workflow_id, step, pending) \
         SELECT md5(n::text)::uuid, s, 5 FROM generate_series(1, 2000) AS n, generate_series(1, 2) AS s",
    )
    .await;
    db.insert_many(
        20_000,
        "workflow_id, step, after_step, status",
        "md5((n % 2000)::text)::uuid, 2, 1, 'WAITING'",
    )
    .await;
    db.insert_many(
        20_000,
        "status, failed_at",
        "CASE n % 2 WHEN 0 THEN 'FAILED' ELSE 'SUCCESSFUL' END, now()",
    )
    .await;
    db.execute(
        "INSERT INTO reproq_workflow_events (workflow_id, step, result_id, ended, failed) \
         SELECT md5((n % 2000)::text)::uuid, 1, n, 0, 0 FROM generate_series(1, 20000) AS n",
    )
    .await;
}

async fn small(db: &Database) -> Workflow {
    let chord = db.workflow("fail", &CHORD).await;
    db.execute(&format!("UPDATE task_runs SET status = 'SUCCESSFUL' WHERE result_id = {}", chord.runs[0]))
        .await;
    chord
}

#[tokio::test]
async fn in_postgres_an_advance_costs_its_batch_whatever_the_statistics_say() {
    let db = Database::postgres().await;
    db.execute("ANALYZE").await;
    let first = small(&db).await;
    cost_their_batch(&db, &HOT, &first, "an empty table").await;
    crowd(&db).await;
    let chord = small(&db).await;
    cost_their_batch(&db, &HOT, &chord, "statistics of an empty table").await;
    db.execute("ANALYZE").await;
    cost_their_batch(&db, &HOT, &chord, "statistics that are right").await;
    cost_their_batch(&db, &HOT, &first, "statistics that are right, another").await;
}

#[tokio::test]
async fn in_postgres_an_advance_does_not_walk_through_a_crowd_of_members() {
    let db = Database::postgres().await;
    crowd(&db).await;
    let chord = db.big_chord("fail", 10_000).await;
    db.end_members(&chord, "SUCCESSFUL", 1).await;
    cost_their_batch(&db, &IN_A_CROWD, &chord, "no statistics").await;
    db.execute("ANALYZE").await;
    cost_their_batch(&db, &IN_A_CROWD, &chord, "statistics that are right").await;
}

#[tokio::test]
async fn in_sqlite_an_advance_follows_its_indexes() {
    let db = Database::sqlite().await;
    db.big_chord("fail", 10_000).await;
    for (file, index) in [
        ("workflow_pick.sql", "reproq_workflow_events_workflow"),
        ("workflow_events.sql", "reproq_workflow_events_workflow"),
        ("workflow_count.sql", "sqlite_autoindex_reproq_workflow_steps_1"),
        ("workflow_totals.sql", "sqlite_autoindex_workflow_runs_1"),
        ("workflow_release.sql", "reproq_task_runs_waiting"),
        ("workflow_fail.sql", "reproq_task_runs_waiting"),
        ("workflow_revive.sql", "reproq_task_runs_workflow"),
        ("workflow_culprits.sql", "reproq_task_runs_workflow"),
        ("workflow_states.sql", "sqlite_autoindex_workflow_runs_1"),
        ("workflow_end.sql", "sqlite_autoindex_workflow_runs_1"),
        ("workflow_on_failure.sql", "PRIMARY KEY"),
        ("workflow_suspects.sql", "reproq_workflow_runs_running"),
    ] {
        let sql = std::fs::read_to_string(folder("sqlite").join(file)).unwrap();
        let plan: Vec<String> = db
            .rows(&format!("EXPLAIN QUERY PLAN {sql}"))
            .await
            .into_iter()
            .filter_map(|mut row| row.pop()?)
            .collect();
        assert!(plan.iter().any(|line| line.contains(index)), "{file}\n{}", plan.join("\n"));
        for table in ["task_runs", "workflow_runs", "reproq_workflow_steps", "r", "x"] {
            assert!(!plan.iter().any(|line| line == &format!("SCAN {table}")), "{file}\n{}", plan.join("\n"));
        }
    }
}
