//! The configuration in force: typed, checked as a whole, immutable.

use std::path::{Path, PathBuf};

use crate::error::ConfigError;
use crate::explain::Explained;
use crate::layers::Layers;
use crate::sections::{BeatConfig, DatabaseConfig, LogConfig, WorkerConfig};
use crate::setting::Setting;

/// What the layers came to.
#[derive(Debug, Clone)]
pub struct Resolved {
    worker: WorkerConfig,
    database: Option<DatabaseConfig>,
    beat: BeatConfig,
    log: LogConfig,
    config_file: Option<PathBuf>,
    explained: Vec<Explained>,
    warnings: Vec<String>,
}

impl Resolved {
    /// Types the gathered settings and checks those that depend on each other.
    pub(crate) fn check(layers: &Layers) -> Result<Self, ConfigError> {
        layers.check_pairs()?;
        Ok(Self {
            worker: layers.worker()?,
            database: layers.database()?,
            beat: layers.beat()?,
            log: layers.log()?,
            config_file: layers.get_unless_unset("config")?,
            explained: layers.settings.iter().map(Setting::explained).collect(),
            warnings: layers.settings.iter().filter_map(Setting::warning).collect(),
        })
    }

    /// Settings of the worker.
    #[must_use]
    pub fn worker(&self) -> &WorkerConfig {
        &self.worker
    }

    /// The database, which a command that needs one asks for here.
    pub fn database(&self) -> Result<&DatabaseConfig, ConfigError> {
        self.database.as_ref().ok_or(ConfigError::NoDatabase)
    }

    /// Settings of the scheduler.
    #[must_use]
    pub fn beat(&self) -> &BeatConfig {
        &self.beat
    }

    /// The same, for the beat command: its database is the scheduler's.
    #[must_use]
    pub fn for_beat(mut self) -> Self {
        self.database = self.beat.database.clone();
        self
    }

    /// Settings of the log.
    #[must_use]
    pub fn log(&self) -> &LogConfig {
        &self.log
    }

    /// The configuration file that was read, if any.
    #[must_use]
    pub fn config_file(&self) -> Option<&Path> {
        self.config_file.as_deref()
    }

    /// Every option with its value in force and its origin, secrets masked.
    #[must_use]
    pub fn explain(&self) -> &[Explained] {
        &self.explained
    }

    /// The JSON form of [`explain`](Self::explain): a list with one object per option.
    #[must_use]
    pub fn explain_json(&self) -> serde_json::Value {
        self.explained.iter().map(Explained::to_json).collect()
    }

    /// What was configured to no effect or at a risk, one line each, for the log at start.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
