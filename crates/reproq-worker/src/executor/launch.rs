//! What a process that the worker wants started is to be like.

use std::os::fd::OwnedFd;
use std::path::Path;

/// How a process learns the number of the descriptor that it gets beside the standard ones.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Named {
    /// As its last argument.
    LastArgument,
    /// In this variable of its environment.
    Variable(String),
}

/// What no process of the site finds in its environment: it knows its own database.
pub(super) const SECRET: &str = "REPROQ_DATABASE_URL";

/// A process to be started. It leads a session of its own, and the kernel kills it when whoever has started it dies.
pub(super) struct Launch {
    /// The program and its arguments.
    pub(super) words: Vec<String>,
    /// What its environment has beyond the worker's.
    pub(super) set: Vec<(String, String)>,
    /// None: nothing to read.
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// One more descriptor.
    pub(super) extra: Option<(OwnedFd, Named)>,
    /// Whether what it starts stays below it when the processes between them end.
    pub(super) adopts: bool,
}

/// A path as an argument.
pub(super) fn word(path: &Path) -> std::io::Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let what = format!("{} is not valid Unicode; give it another name", path.display());
        std::io::Error::new(std::io::ErrorKind::InvalidInput, what)
    })
}
