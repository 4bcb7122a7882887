//! A directory, an environment and flags to load a configuration from.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::collections::HashMap;
use std::path::PathBuf;

use reproq_config::{ConfigError, Explained, Layers, Origin, Resolved, Target};
use tempfile::TempDir;

pub const DSN: &str = "postgres://joe:hunter2@db/app";

/// Built up by its methods, then loaded.
pub struct Site {
    directory: TempDir,
    env: HashMap<&'static str, String>,
    flags: Vec<(String, String)>,
}

impl Site {
    pub fn new() -> Self {
        Self { directory: TempDir::new().unwrap(), env: HashMap::new(), flags: Vec::new() }
    }

    pub fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.path(name), text).unwrap();
        self
    }

    pub fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.insert(name, value.to_owned());
        self
    }

    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn try_load(&self) -> Result<Resolved, ConfigError> {
        Layers::load(&self.flags, |name| self.env.get(name).cloned(), self.directory.path())
    }

    pub fn load(&self) -> Resolved {
        self.try_load().unwrap_or_else(|error| panic!("failed to {error}; {}", error.hint()))
    }

    /// The message and the hint with which loading fails.
    pub fn refusal(&self) -> (String, String) {
        let error = self.try_load().expect_err("the configuration was accepted");
        let shown = format!("{error} {error:?} {}", error.hint());
        assert!(!shown.contains("hunter2"), "a secret is shown: {shown}");
        (error.to_string(), error.hint())
    }

    pub fn explained(&self, name: &str) -> Explained {
        self.load().explain().iter().find(|explained| explained.name == name).unwrap().clone()
    }

    pub fn origin(&self, name: &str) -> Origin {
        self.explained(name).origin
    }

    /// What the database's address names: the rest of the URL, or the file.
    pub fn host(&self) -> String {
        match self.load().database().unwrap().dsn.target() {
            Target::Postgres(url) => url.trim_start_matches("postgres://").to_owned(),
            Target::Sqlite(path) => path.display().to_string(),
        }
    }
}
