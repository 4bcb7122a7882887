//! What can go wrong with the database, by what the caller should do about it.

use thiserror::Error;

/// An error of the store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database cannot be reached, or went away: try again.
    #[error("the database cannot be reached: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The database refused a statement. With most causes a retry helps (a deadlock, a full disk, a lock timeout).
    #[error("the database refused {statement}: {source}")]
    Refused {
        /// The statement's file name.
        statement: &'static str,
        /// The database's words.
        source: sqlx::Error,
    },
    /// The address is not one that this binary understands.
    #[error("the database address cannot be used: {0}")]
    BadAddress(String),
    /// There is no schema, or another one.
    #[error("{0}")]
    Schema(#[from] crate::schema::SchemaMismatch),
    /// Another worker process uses the SQLite file.
    #[error(
        "another worker (pid {pid}) already runs on {path}; a SQLite file has one worker process: raise its --concurrency instead"
    )]
    FileInUse {
        /// The database file.
        path: String,
        /// The other process, as it wrote itself down.
        pid: String,
    },
    /// The file system does not let the worker watch or lock the SQLite file.
    #[error("{what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: String,
        /// The operating system's words.
        source: std::io::Error,
    },
}

impl StoreError {
    /// Sorts an error of `statement`.
    pub(crate) fn of(statement: &'static str, source: sqlx::Error) -> Self {
        match source {
            sqlx::Error::Database(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                Self::Refused { statement, source }
            }
            other => Self::Unavailable(other),
        }
    }

    /// Whether the connection that met this error may still be used.
    pub(crate) fn spares_connection(&self) -> bool {
        matches!(self, Self::Refused { source: sqlx::Error::Database(error), .. } if !is_disconnect(error.as_ref()))
    }
}

/// PostgreSQL's classes 57P (server shuts down, starts up, was told to end the session) and 25006 (became read-only: a
/// failover) arrive as ordinary errors on a connection that is of no more use.
fn is_disconnect(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().is_some_and(|code| code.starts_with("57P") || code == "25006" || code.starts_with("08"))
}
