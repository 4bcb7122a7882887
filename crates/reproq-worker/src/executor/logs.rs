//! The output of an attempt as a file, in the earlier system's form.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use reproq_store::ClaimedRun;

use super::output::{Captured, Sections};

/// Writes what the attempt has printed, if anything. Returns the file's path.
pub(super) fn write(folder: &Path, run: &ClaimedRun, output: &Captured) -> Option<String> {
    let sections = output.sections();
    if sections.stdout.is_empty() && sections.stderr.is_empty() {
        return None;
    }
    let path = folder.join(format!("task-{}-attempt-{}.log", run.id, run.attempts));
    match write_to(folder, &path, &sections) {
        Ok(()) => Some(path.display().to_string()),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the attempt's output could not be written");
            None
        }
    }
}

/// Output may hold secrets: only the worker's user reads it.
fn write_to(folder: &Path, path: &Path, sections: &Sections) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    for (name, text) in [("STDOUT", &sections.stdout), ("STDERR", &sections.stderr)] {
        if !text.is_empty() {
            write!(file, "{name}:\n{text}\n")?;
        }
    }
    Ok(())
}
