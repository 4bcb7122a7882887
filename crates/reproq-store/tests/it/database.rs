//! A fresh database of either engine with the package's own schema, a side door into it, and the words the tests share.

use std::env;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use reproq_model::{Incarnation, RunId, RunStatus, Transition};
use reproq_store::{
    Address, ClaimRequest, ClaimedRun, Ending, Fence, Operator, Registration, Store, StoreError,
};
use serde_json::value::RawValue;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _, Row as _, raw_sql};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use url::Url;
use uuid::Uuid;

/// Where `make test` says which server the tests may use.
const SERVER: &str = "REPROQ_TEST_DATABASE_URL";
pub const LEASE: Duration = Duration::from_secs(15);

/// Runs each test on both engines.
macro_rules! both {
    ($(async fn $name:ident($db:ident: &Database) $body:block)+) => {
        $(async fn $name($db: &Database) $body)+
        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name(&$crate::database::Database::sqlite().await).await; })+
        }
        mod postgres {
            $(#[tokio::test] async fn $name() { super::$name(&$crate::database::Database::postgres().await).await; })+
        }
    };
}
pub(crate) use both;

/// A database that ends with its test.
pub struct Database {
    engine: Engine,
    side: Mutex<Side>,
}

enum Engine {
    Sqlite { path: PathBuf, _folder: tempfile::TempDir },
    Postgres { url: String, server: String, name: String },
}

/// A connection besides the store's: the site, an operator, an older client.
pub enum Side {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Database {
    pub async fn sqlite() -> Self {
        let database = Self::bare_sqlite().await;
        database.migrate("sqlite").await;
        database
    }

    pub async fn postgres() -> Self {
        let database = Self::bare_postgres().await;
        database.migrate("postgres").await;
        database
    }

    /// Without a schema.
    pub async fn bare_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sqlite3");
        let side = open_sqlite(&path).await;
        Self { engine: Engine::Sqlite { path, _folder: folder }, side: Mutex::new(Side::Sqlite(side)) }
    }

    /// Without a schema.
    pub async fn bare_postgres() -> Self {
        let server = env::var(SERVER).unwrap_or_else(|_| {
            panic!("{SERVER} is not set: `make test` starts a throwaway PostgreSQL server and sets it")
        });
        let name = format!("reproq_test_{}", Uuid::new_v4().simple());
        let mut admin =
            PgConnection::connect(&server).await.expect("the server that REPROQ_TEST_DATABASE_URL names");
        // Durability is not what these tests are about: no commit waits for the disk.
        for sql in
            [format!("CREATE DATABASE {name}"), format!("ALTER DATABASE {name} SET synchronous_commit = off")]
        {
            raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
        }
        let mut url = Url::parse(&server).unwrap();
        url.set_path(&name);
        let side = PgConnection::connect(url.as_str()).await.unwrap();
        let engine = Engine::Postgres { url: url.to_string(), server, name };
        Self { engine, side: Mutex::new(Side::Postgres(side)) }
    }

    /// Runs the package's files, as `manage.py migrate` does.
    async fn migrate(&self, dialect: &str) {
        for path in sql_files(&repository().join("src/reproq_django/sql").join(dialect)) {
            let text = std::fs::read_to_string(&path).unwrap();
            self.execute(&text.replace("{schema_version}", reproq_store::schema::version())).await;
        }
    }

    /// Runs the file again that gives runs their lanes, as an upgrade does.
    pub async fn upgrade_lanes(&self) {
        let dialect = if self.is_postgres() { "postgres" } else { "sqlite" };
        let path = repository().join("src/reproq_django/sql").join(dialect).join("30_lanes.sql");
        self.execute(&std::fs::read_to_string(path).unwrap()).await;
    }

    pub async fn store(&self) -> Rc<dyn Store> {
        reproq_store::connect(self.address()).await.unwrap()
    }

    pub async fn operator(&self) -> Rc<dyn Operator> {
        reproq_store::connect_operator(self.address()).await.unwrap()
    }

    fn address(&self) -> Address<'_> {
        match &self.engine {
            Engine::Sqlite { path, .. } => Address::Sqlite(path),
            Engine::Postgres { url, .. } => Address::Postgres(url),
        }
    }

    /// One more connection besides the store's.
    pub async fn another_side(&self) -> Side {
        match &self.engine {
            Engine::Sqlite { path, .. } => Side::Sqlite(open_sqlite(path).await),
            Engine::Postgres { url, .. } => Side::Postgres(PgConnection::connect(url).await.unwrap()),
        }
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.engine, Engine::Postgres { .. })
    }

    pub async fn execute(&self, sql: &str) {
        self.side.lock().await.rows(sql).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    }

    pub async fn try_execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        self.side.lock().await.rows(sql).await.map(drop)
    }

    /// Every value as the database's text.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.side.lock().await.rows(sql).await.unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }

    pub async fn text(&self, sql: &str) -> Option<String> {
        self.rows(sql).await.swap_remove(0).swap_remove(0)
    }

    pub async fn number(&self, sql: &str) -> i64 {
        self.text(sql).await.unwrap().parse().unwrap()
    }

    /// One column of one run.
    pub async fn column(&self, id: RunId, column: &str) -> Option<String> {
        self.text(&format!("SELECT {column} FROM task_runs WHERE result_id = {id}")).await
    }

    pub async fn count(&self, condition: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM task_runs WHERE {condition}")).await
    }

    pub async fn status(&self, id: RunId) -> String {
        self.column(id, "status").await.unwrap()
    }

    /// Whether a condition holds for one run.
    pub async fn holds(&self, id: RunId, condition: &str) -> bool {
        self.count(&format!("result_id = {id} AND ({condition})")).await == 1
    }

    /// A raw INSERT that knows nothing of lanes, as an older client makes it. `values` are SQL.
    pub async fn insert(&self, columns: &str, values: &str) -> RunId {
        let (mut columns, mut values) = (columns.to_owned(), values.to_owned());
        if !columns.contains("spec_hash") {
            columns = format!("spec_hash{}{columns}", separator(&columns));
            values = format!("'{:0>64}'{}{values}", Uuid::new_v4().simple(), separator(&values));
        }
        RunId(
            self.number(&format!(
                "INSERT INTO task_runs (spec_json, task_path, {columns}) \
                 VALUES ('{{\"task_path\":\"shop.tasks.send\"}}', 'shop.tasks.send', {values}) RETURNING result_id"
            ))
            .await,
        )
    }

    pub async fn ready(&self) -> RunId {
        self.insert("", "").await
    }

    /// `count` of them in one statement; `values` may use `n`, from 1.
    pub async fn insert_many(&self, count: usize, columns: &str, values: &str) {
        let comma = separator(columns);
        self.execute(&format!(
            "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) \
             INSERT INTO task_runs (spec_json, spec_hash, task_path{comma}{columns}) \
             SELECT '{{}}', CAST(n AS TEXT), 'shop.tasks.send'{comma}{values} FROM s ORDER BY n"
        ))
        .await;
    }

    /// SQL for the present moment, moved by `seconds`.
    pub fn now(&self, seconds: f64) -> String {
        if self.is_postgres() {
            format!("(clock_timestamp() + {seconds} * interval '1 second')")
        } else {
            format!("strftime('%Y-%m-%d %H:%M:%f', 'now', '{seconds:+.3} seconds')")
        }
    }

    /// The worker of these runs has gone silent.
    pub async fn lapse(&self, condition: &str) {
        let past = self.now(-60.0);
        self.execute(&format!(
            "UPDATE task_runs SET leased_until = {past} WHERE status = 'RUNNING' AND {condition}"
        ))
        .await;
    }
}

impl Side {
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, sqlx::Error> {
        let sql = raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(connection) => sql
                .fetch_all(connection)
                .await?
                .iter()
                .map(|row| (0..row.len()).map(|at| row.try_get_unchecked(at)).collect())
                .collect(),
            Self::Postgres(connection) => sql
                .fetch_all(connection)
                .await?
                .iter()
                .map(|row| (0..row.len()).map(|at| row.try_get_unchecked(at)).collect())
                .collect(),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Engine::Postgres { server, name, .. } = &self.engine else { return };
        let (server, sql) = (server.clone(), format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        // A test that fails unwinds inside its own runtime, so this needs another one.
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let mut admin = PgConnection::connect(&server).await?;
                raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await
            })
        });
        let _ = dropped.join();
    }
}

async fn open_sqlite(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off)
        .busy_timeout(Duration::from_secs(10));
    SqliteConnection::connect_with(&options).await.unwrap()
}

const fn separator(columns: &str) -> &'static str {
    if columns.is_empty() { "" } else { ", " }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The `.sql` files of one folder, in name order.
pub fn sql_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    files.sort();
    files
}

/// A start of a worker that serves `queues`.
pub fn worker(worker_id: &str, queues: &[&str]) -> Registration {
    Registration {
        worker_id: worker_id.to_owned(),
        incarnation: Incarnation::random(),
        hostname: "host".to_owned(),
        pid: 4711,
        concurrency: 8,
        queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
        version: "0.2.0",
    }
}

/// A worker other than all others.
pub fn other() -> Registration {
    worker("somebody else", &[])
}

pub async fn claim(store: &dyn Store, worker: &Registration, limit: u32) -> Vec<ClaimedRun> {
    store.claim(&ClaimRequest { worker, queues: &worker.queues, limit, lease: LEASE }).await.unwrap().runs
}

pub async fn claim_one(store: &dyn Store, worker: &Registration) -> ClaimedRun {
    claim(store, worker, 1).await.pop().expect("a run to claim")
}

pub async fn claim_keyed(store: &dyn Store, worker: &Registration, limit: u32) -> Vec<ClaimedRun> {
    store
        .claim_keyed(&ClaimRequest { worker, queues: &worker.queues, limit, lease: LEASE })
        .await
        .unwrap()
        .runs
}

pub fn ids(runs: &[ClaimedRun]) -> Vec<RunId> {
    runs.iter().map(|run| run.id).collect()
}

/// A transition that changes nothing but the state.
pub fn to(status: RunStatus) -> Transition {
    Transition {
        status,
        return_json: None,
        error: None,
        last_error: None,
        delay: Duration::ZERO,
        give_back: false,
        crashed: false,
        metadata: None,
        record: None,
    }
}

pub fn returned(json: &str) -> Transition {
    Transition { return_json: Some(raw(json)), ..to(RunStatus::Successful) }
}

pub fn failed(message: &str) -> Transition {
    Transition {
        error: Some(format!(r#"{{"kind":"app_error","message":"{message}"}}"#)),
        last_error: Some(message.to_owned()),
        ..to(RunStatus::Failed)
    }
}

pub fn retried(delay: Duration) -> Transition {
    Transition {
        error: Some(r#"{"kind":"app_error","message":"not yet"}"#.to_owned()),
        delay,
        ..to(RunStatus::Ready)
    }
}

pub fn released() -> Transition {
    Transition { give_back: true, ..to(RunStatus::Ready) }
}

pub fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

pub fn ending(run: &ClaimedRun, transition: Transition) -> Ending {
    Ending { id: run.id, epoch: run.epoch, transition, logs_uri: None }
}

/// Ends one run as its owner; whether it was written.
pub async fn finish(
    store: &dyn Store,
    worker: &Registration,
    run: &ClaimedRun,
    transition: Transition,
) -> bool {
    try_finish(store, worker, run, transition).await.unwrap()
}

pub async fn try_finish(
    store: &dyn Store,
    worker: &Registration,
    run: &ClaimedRun,
    transition: Transition,
) -> Result<bool, StoreError> {
    store
        .finish(Fence::Owner(worker.incarnation), &[ending(run, transition)])
        .await
        .map(|finished| finished.written == 1)
}

/// What should not take long.
pub async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> T {
    timeout(limit, work).await.unwrap_or_else(|_| panic!("{what} took longer than {limit:?}"))
}

/// A deadline for loops that wait for a condition.
pub fn deadline(limit: Duration) -> Instant {
    Instant::now() + limit
}
