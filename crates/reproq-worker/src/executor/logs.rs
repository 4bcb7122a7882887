//! The output of an attempt as a file, in the earlier system's form.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use reproq_store::ClaimedRun;

use super::output::Output;

/// Writes what the attempt has printed, if anything, and forgets it. Returns the file's path.
pub(super) fn keep(
    folder: Option<&Path>,
    run: &ClaimedRun,
    stdout: &Output,
    stderr: &Output,
) -> Option<String> {
    let written = folder.and_then(|folder| {
        let (out, err) = (stdout.text(), stderr.text());
        if out.is_empty() && err.is_empty() {
            return None;
        }
        let path = folder.join(format!("task-{}-attempt-{}.log", run.id, run.attempts));
        match write(folder, &path, &out, &err) {
            Ok(()) => Some(path.display().to_string()),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the attempt's output could not be written");
                None
            }
        }
    });
    stdout.clear();
    stderr.clear();
    written
}

/// Output may hold secrets: only the worker's user reads it.
fn write(folder: &Path, path: &Path, out: &str, err: &str) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    if !out.is_empty() {
        write!(file, "STDOUT:\n{out}\n")?;
    }
    if !err.is_empty() {
        write!(file, "STDERR:\n{err}\n")?;
    }
    Ok(())
}
