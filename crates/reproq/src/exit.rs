//! Failures as the user meets them: what, why, what to do, and a code that scripts can rely on.

use std::process::ExitCode;

use reproq_config::ConfigError;
use reproq_model::RunId;
use reproq_store::StoreError;
use reproq_worker::WorkerError;

use crate::output;

/// Something went wrong.
const FAILURE: u8 = 1;
/// The command line or the configuration is wrong.
const USAGE: u8 = 2;
/// The database cannot be reached.
const DATABASE: u8 = 5;
/// The database has no schema of Reproq, or another one.
const SCHEMA: u8 = 6;
/// Work was left for the leases to recover, because the database was away (`EX_TEMPFAIL`).
pub const UNWRITTEN: u8 = 75;
/// Stopped by the third signal.
pub const ABANDONED: u8 = 130;

/// A failure, ready to be told.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    what: String,
    hint: Option<String>,
}

impl Failure {
    /// Tells the user and gives the process's code.
    pub fn report(self) -> ExitCode {
        output::complain(&format!("reproq: {}", self.what));
        if let Some(hint) = self.hint {
            output::complain(&format!("  {hint}"));
        }
        ExitCode::from(self.code)
    }

    /// What was asked for cannot be done.
    pub fn refused(what: impl Into<String>, hint: Option<String>) -> Self {
        Self { code: FAILURE, what: what.into(), hint }
    }

    /// What was asked for makes no sense.
    pub fn usage(what: impl Into<String>) -> Self {
        Self { code: USAGE, what: what.into(), hint: None }
    }

    /// There is no run of that id.
    pub fn no_run(id: RunId) -> Self {
        let hint = "it may have been pruned, or live in another database (--dsn, manage.py's --database)";
        Self::refused(format!("there is no run {id}"), Some(hint.to_owned()))
    }

    /// A failure of the machine or of this program.
    pub fn system(what: &str, error: &std::io::Error) -> Self {
        Self { code: FAILURE, what: format!("{what}: {error}"), hint: None }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = error.hint();
        let mut what = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            what = format!("{what}: {inner}");
            source = inner.source();
        }
        Self { code: USAGE, what, hint: Some(hint) }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Unavailable(_) | StoreError::Unwilling { .. } => DATABASE,
            StoreError::Schema(_) => SCHEMA,
            StoreError::BadAddress(_) => USAGE,
            StoreError::Refused { .. } | StoreError::FileInUse { .. } | StoreError::File { .. } => FAILURE,
        };
        Self { code, what: error.to_string(), hint: None }
    }
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Self {
        match error {
            WorkerError::Store(error) => error.into(),
            WorkerError::Executor(error) => Self { code: FAILURE, what: error.to_string(), hint: None },
        }
    }
}
