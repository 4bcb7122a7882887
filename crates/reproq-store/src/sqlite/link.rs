//! The one connection to the file.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, query};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::StoreError;

/// How long a statement waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it waits, and tries again, where tasks wait for it.
const SHORT_BUSY_TIMEOUT: Duration = Duration::from_millis(1);
/// Who has met another writer gives way for so long.
const LATELY: Duration = Duration::from_millis(100);
/// What the others get before each transaction then.
const TURN: Duration = Duration::from_millis(2);
/// The most rows that a statement reads ahead of us.
const ROWS: usize = 512;

pub(super) struct Link {
    options: SqliteConnectOptions,
    connection: Mutex<Option<SqliteConnection>>,
    /// When another process had the write lock, last, as far as a statement that tasks wait for has met it.
    met_writer: Mutex<Option<Instant>>,
}

impl Link {
    pub(super) fn new(path: &Path) -> Self {
        // WAL lets the site read while the worker writes; FULL makes an acknowledged ending survive a power cut.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            // A batch of claimed rows: the connection's thread and ours would otherwise take turns every fifty.
            .row_buffer_size(ROWS)
            .statement_cache_capacity(64)
            .disable_statement_logging();
        Self { options, connection: Mutex::new(None), met_writer: Mutex::new(None) }
    }

    /// Fails if the file is no database.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        self.run("ping", async |connection| connection.ping().await).await
    }

    /// Runs `work` on the connection, which is out of its place meanwhile: a future dropped half-way drops it too.
    pub(super) async fn run<T>(
        &self,
        statement: &'static str,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let mut place = self.connection.lock().await;
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(StoreError::Unavailable)?,
        };
        let result = work(&mut connection).await.map_err(|error| StoreError::of(statement, error));
        if result.as_ref().err().is_none_or(StoreError::spares_connection) {
            *place = Some(connection);
        }
        result
    }

    /// The same for the statements that tasks wait for, each a transaction of its own: `work` begins again when another process
    /// has the write lock. SQLite itself would wait longer and longer between its tries, up to a tenth of a second, and miss the
    /// moments between the commits of a site that enqueues one task after the other. [`Self::give_way`] comes first.
    pub(super) async fn run_soon<T>(
        &self,
        statement: &'static str,
        work: impl AsyncFn(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let patience = Instant::now() + BUSY_TIMEOUT;
        self.run(statement, async |connection| {
            set_busy_timeout(connection, SHORT_BUSY_TIMEOUT).await?;
            let result = loop {
                match work(connection).await {
                    Err(error) if is_busy(&error) && Instant::now() < patience => {
                        *self.met_writer.lock().await = Some(Instant::now());
                    }
                    result => break result,
                }
            };
            set_busy_timeout(connection, BUSY_TIMEOUT).await?;
            result
        })
        .await
    }

    /// Leaves the write lock to others for a moment if one of them has lately been met there: who asks again at once gets it each
    /// time, and a site would wait longer and longer. Meanwhile there is more to do with one transaction.
    pub(super) async fn give_way(&self) {
        if self.met_writer.lock().await.is_some_and(|at| at.elapsed() < LATELY) {
            sleep(TURN).await;
        }
    }
}

async fn set_busy_timeout(connection: &mut SqliteConnection, timeout: Duration) -> Result<(), sqlx::Error> {
    let pragma = match timeout {
        SHORT_BUSY_TIMEOUT => "PRAGMA busy_timeout = 1",
        _ => "PRAGMA busy_timeout = 5000",
    };
    query(pragma).execute(connection).await.map(drop)
}

/// Whether another process has the write lock.
fn is_busy(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if crate::error::sqlite_code(error.as_ref()) == Some(5))
}

/// A duration as SQLite's date functions add it.
pub(super) fn modifier(duration: Duration) -> String {
    format!("+{:.3} seconds", duration.as_secs_f64())
}
