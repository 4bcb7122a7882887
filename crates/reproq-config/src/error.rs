//! Why a configuration is refused. Messages are lower-case fragments that fit after "failed to"; each error has
//! a [hint](ConfigError::hint) that says what to do. None shows a secret.

use std::io;
use std::path::PathBuf;

use crate::dsn::DsnError;
use crate::explain::Origin;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was asked for cannot be read.
    #[error("read the configuration file {} ({origin})", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Who asked for it.
        origin: Origin,
        /// What the operating system said.
        source: io::Error,
    },
    /// The extension is none of the known formats.
    #[error("read the configuration file {}: its extension names no known format", .0.display())]
    Extension(PathBuf),
    /// The file is not valid YAML or TOML.
    #[error("read the configuration file {}: {problem}", at(path, *line))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, when known.
        line: Option<usize>,
        /// What the parser said, without the text of the file.
        problem: String,
    },
    /// A key that no option has.
    #[error("accept `{key}` in {}: no such key", at(path, *line))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, when known.
        line: Option<usize>,
        /// The key path.
        key: String,
        /// The known key that is most like it.
        suggestion: Option<&'static str>,
    },
    /// The same option twice in one file, once with hyphens and once with underscores.
    #[error("accept `{key}` in {}: it is set twice", at(path, *line))]
    RepeatedKey {
        /// The file.
        path: PathBuf,
        /// The line, when known.
        line: Option<usize>,
        /// The key path.
        key: String,
    },
    /// A flag that no option has.
    #[error("accept --{flag}: no such flag")]
    UnknownFlag {
        /// The flag, without dashes.
        flag: String,
        /// The known flag that is most like it.
        suggestion: Option<&'static str>,
    },
    /// A value that the option does not take.
    #[error("use {} as {} ({}): {}", .0.shown, .0.name, .0.origin, .0.problem)]
    Value(Box<BadValue>),
    /// Two values that do not go together.
    #[error("combine {first} with {second}: {why}")]
    Conflict {
        /// One value, with its name and origin.
        first: String,
        /// The other one.
        second: String,
        /// Why they do not go together.
        why: &'static str,
        /// What to do.
        hint: String,
    },
    /// No layer names a database.
    #[error("find the database: no address is configured")]
    NoDatabase,
    /// The table of options and the code that reads it disagree: a bug, which a test rules out.
    #[error("read the option {0}: the table of options does not fit its reader (this is a bug in reproq)")]
    Table(&'static str),
}

/// A value that its option does not take.
#[derive(Debug)]
pub struct BadValue {
    /// The option.
    pub name: &'static str,
    /// Where the value comes from.
    pub origin: Origin,
    /// The value as it may be shown.
    pub shown: String,
    /// What is wrong, and why.
    pub problem: String,
    /// What to do.
    pub hint: String,
}

impl ConfigError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                "check the path and the permissions, or unset --config and REPROQ_CONFIG".to_owned()
            }
            Self::Extension(_) => "rename it to end in .yaml, .yml or .toml".to_owned(),
            Self::Syntax { .. } => {
                "correct the file; `key: value` is YAML and `key = value` is TOML".to_owned()
            }
            Self::UnknownKey { suggestion: Some(known), .. } => format!("did you mean `{known}`?"),
            Self::UnknownKey { .. } => "remove it; `reproq config --explain` lists all keys".to_owned(),
            Self::RepeatedKey { .. } => "keep one of the two spellings".to_owned(),
            Self::UnknownFlag { suggestion: Some(known), .. } => format!("did you mean --{known}?"),
            Self::UnknownFlag { .. } => "remove it; --help lists all flags".to_owned(),
            Self::Value(bad) => bad.hint.clone(),
            Self::Conflict { hint, .. } => hint.clone(),
            Self::NoDatabase => format!(
                "set DATABASE_URL, --dsn or `dsn` in the configuration file; {}",
                DsnError::Shape.hint()
            ),
            Self::Table(name) => format!("please report it; leaving {name} unset may help"),
        }
    }
}

fn at(path: &std::path::Path, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("{}, line {line}", path.display()),
        None => path.display().to_string(),
    }
}
