//! The one connection to the file.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Mutex;

use crate::StoreError;

/// How long a statement waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The most rows that a statement reads ahead of us.
const ROWS: usize = 512;

pub(super) struct Link {
    options: SqliteConnectOptions,
    connection: Mutex<Option<SqliteConnection>>,
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
        Self { options, connection: Mutex::new(None) }
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
}

/// A duration as SQLite's date functions add it.
pub(super) fn modifier(duration: Duration) -> String {
    format!("+{:.3} seconds", duration.as_secs_f64())
}
