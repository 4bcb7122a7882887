//! Finds and reads the configuration file: the only file access of this crate.

use std::fs;
use std::path::{Path, PathBuf};

use crate::document::Format;
use crate::error::ConfigError;
use crate::explain::Origin;

/// Looked for in the working directory, in this order, when no file is named.
pub(crate) const NAMES: [&str; 6] =
    ["reproq.yaml", "reproq.yml", "reproq.toml", ".reproq.yaml", ".reproq.yml", ".reproq.toml"];

/// A configuration file that has been read. May hold secrets, hence no `Debug`.
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
    pub(crate) text: String,
}

/// Reads the file that somebody named; it must exist.
pub(crate) fn read_named(name: &Path, origin: &Origin, directory: &Path) -> Result<ConfigFile, ConfigError> {
    let path = directory.join(name);
    let format = Format::of(&path).ok_or_else(|| ConfigError::Extension(path.clone()))?;
    match fs::read_to_string(&path) {
        Ok(text) => Ok(ConfigFile { path, format, text }),
        Err(source) => Err(ConfigError::Unreadable { path, origin: origin.clone(), source }),
    }
}

/// Reads the first file with a known name, if there is one.
pub(crate) fn read_found(directory: &Path) -> Result<Option<ConfigFile>, ConfigError> {
    match NAMES.iter().find(|name| directory.join(name).is_file()) {
        Some(name) => read_named(Path::new(name), &Origin::Default, directory).map(Some),
        None => Ok(None),
    }
}
