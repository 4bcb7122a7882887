//! Where the output of attempts goes, and how much of it.

use std::path::PathBuf;

use crate::error::ConfigError;
use crate::layers::Layers;

/// Larger ones are of the time when output was only written to files.
const LARGEST: usize = 16 << 20;

impl Layers {
    /// Whether `worker.logs` is one of these words. Without a word, a directory says that files are wanted as well.
    pub(crate) fn logs_go_to(&self, words: &[&str]) -> Result<bool, ConfigError> {
        let has_folder = self.logs_dir()?.is_some();
        let unset = if has_folder { "both" } else { "database" };
        let word = self.get_unless_unset::<String>("worker.logs")?;
        let word = word.as_deref().unwrap_or(unset);
        Ok(words.contains(&word))
    }

    /// The directory, absolute, if one is named.
    pub(crate) fn logs_dir(&self) -> Result<Option<PathBuf>, ConfigError> {
        let logs_dir = self.get_unless_unset::<PathBuf>("worker.logs_dir")?;
        Ok(logs_dir.map(|logs_dir| self.directory.join(logs_dir)))
    }

    /// The bound of today; else what an earlier version kept of the stream of which it kept more.
    pub(crate) fn max_log_bytes(&self) -> Result<usize, ConfigError> {
        if let Some(bytes) = self.get_unless_unset("worker.max_log_bytes")? {
            return Ok(bytes);
        }
        let stdout: usize = self.get("worker.max_stdout_bytes")?;
        Ok(stdout.max(self.get("worker.max_stderr_bytes")?).min(LARGEST))
    }
}
