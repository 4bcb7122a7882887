//! What can go wrong with the database, by what the caller should do about it.

use sqlx::error::DatabaseError;
use thiserror::Error;

/// An error of the store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database cannot be reached, or went away: try again.
    #[error("the database cannot be reached: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The database would not, for a reason that passes: a lock, a deadlock, a full disk, a failover. Try again.
    #[error("the database would not {statement}: {source}")]
    Unwilling {
        /// The statement's file name.
        statement: &'static str,
        /// The database's words.
        source: sqlx::Error,
    },
    /// The database refused what it was given, and always will.
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
        match &source {
            sqlx::Error::Database(error) if is_about_data(error.as_ref()) => {
                Self::Refused { statement, source }
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Refused { statement, source },
            sqlx::Error::Database(_) => Self::Unwilling { statement, source },
            _ => Self::Unavailable(source),
        }
    }

    /// Whether the database has ended one of several statements that waited for each other in a circle.
    pub(crate) fn is_deadlock(&self) -> bool {
        matches!(self, Self::Unwilling { source: sqlx::Error::Database(error), .. } if error.code().as_deref() == Some("40P01"))
    }

    /// Whether the connection that met this error may still be used.
    pub(crate) fn spares_connection(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Unwilling { source: sqlx::Error::Database(error), .. } => passes(error.as_ref()),
            _ => false,
        }
    }
}

/// SQLite's primary result code, which the extended one carries in its lowest byte. PostgreSQL's codes have five characters.
fn sqlite_code(error: &dyn DatabaseError) -> Option<u32> {
    let code = error.code().filter(|code| code.len() < 5)?;
    code.parse::<u32>().ok().map(|code| code & 0xff)
}

/// PostgreSQL: data exception, constraint, program limit. SQLite: TOOBIG, CONSTRAINT, MISMATCH.
fn is_about_data(error: &dyn DatabaseError) -> bool {
    match sqlite_code(error) {
        Some(code) => matches!(code, 18..=20),
        None => {
            error.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
        }
    }
}

/// What is over with the next try on the same connection. PostgreSQL: serialisation and deadlock, object in use, cancelled by
/// a timeout. SQLite: BUSY, LOCKED. After anything else (a shutdown, a failover, a plan that a pooler has lost) a new
/// connection is the better guess.
fn passes(error: &dyn DatabaseError) -> bool {
    match sqlite_code(error) {
        Some(code) => matches!(code, 5 | 6),
        None => {
            error.code().is_some_and(|code| ["40", "55", "57014"].iter().any(|class| code.starts_with(class)))
        }
    }
}
