//! Who lives on this machine: each start of a worker holds the lock of a file, together with everything that it has started.
//!
//! The kernel lets go of such a lock when the last process that has inherited it is gone. So whoever gets the lock of another's
//! file knows that neither that worker nor anything that it ran exists any more, and need not wait for its lease. Where there is
//! no such file, or somebody has removed it, the lease is waited for.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Error, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use reproq_model::{Incarnation, spec};
use rustix::fs::OFlags;
use rustix::io::{FdFlags, fcntl_setfd};

/// The ending of the files' names; what is before it is the incarnation.
const ENDING: &str = "lock";

/// This worker's file.
#[derive(Debug)]
pub(crate) struct Presence {
    path: PathBuf,
    /// Inherited by all that this process starts.
    _lock: File,
}

/// A start of a worker that has ended, with all of its processes, without having removed its file. Nobody else sees to it
/// as long as this value lives.
#[derive(Debug)]
pub(crate) struct Dead {
    pub(crate) incarnation: Incarnation,
    path: PathBuf,
    _lock: File,
}

impl Presence {
    /// Makes it known that this start of a worker lives. `database` is what workers of the same database call it.
    pub(crate) fn show(database: &str, incarnation: Incarnation) -> io::Result<Self> {
        Self::show_in(&runtime_folder(), database, incarnation)
    }

    fn show_in(base: &Path, database: &str, incarnation: Incarnation) -> io::Result<Self> {
        let ours = base.join(format!("reproq-{}", rustix::process::geteuid().as_raw()));
        make_private(&ours)?;
        let folder = ours.join(&spec::hash(&format!("{}\n{database}", boot_id()))[..32]);
        make_private(&folder)?;
        // Under another name until it is locked: nobody must take it for a dead one's.
        let unfinished = folder.join(format!("{incarnation}.new"));
        let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        lock.try_lock().map_err(Error::from)?;
        fcntl_setfd(lock.as_fd(), FdFlags::empty())?;
        let path = folder.join(format!("{incarnation}.{ENDING}"));
        fs::rename(&unfinished, &path)?;
        Ok(Self { path, _lock: lock })
    }

    /// This start has ended, and owns nothing any more.
    pub(crate) fn leave(&self) {
        remove(&self.path);
    }

    /// The others that are gone.
    pub(crate) fn dead(&self) -> io::Result<Vec<Dead>> {
        let folder = self.path.parent().unwrap_or_else(|| Path::new("/"));
        let entries = fs::read_dir(folder)?;
        let others = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| *path != self.path);
        Ok(others.filter_map(|path| dead(&path)).collect())
    }
}

impl Dead {
    /// Everything that it owned has been seen to.
    pub(crate) fn bury(self) {
        remove(&self.path);
    }
}

/// Whether nobody holds the file, and which start of a worker it was. What is not a file of ours is nobody's.
fn dead(path: &Path) -> Option<Dead> {
    let name = path.file_stem().filter(|_| path.extension() == Some(OsStr::new(ENDING)))?;
    let incarnation = Incarnation(uuid::Uuid::try_parse(name.to_str()?).ok()?);
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let lock = OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(path).ok()?;
    match lock.try_lock() {
        Ok(()) => Some(Dead { incarnation, path: path.to_owned(), _lock: lock }),
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
    }
}

/// Where what lives as long as processes do belongs.
fn runtime_folder() -> PathBuf {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    given.filter(|path| path.is_absolute() && path.is_dir()).unwrap_or_else(std::env::temp_dir)
}

/// A folder that several machines share must not make one speak for the others. Empty where the system does not tell.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// Makes a folder that only this user can use; fails if it is there and is anything else.
fn make_private(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        other => return other,
    }
    let is_private = |found: &Metadata| {
        let nothing_for_others = found.mode().is_multiple_of(0o100);
        found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && nothing_for_others
    };
    if is_private(&fs::symlink_metadata(folder)?) {
        return Ok(());
    }
    let what = format!("{} is not a folder that only this user can use; remove it", folder.display());
    Err(Error::new(ErrorKind::PermissionDenied, what))
}

fn remove(path: &Path) {
    // Somebody who cleans up may have been faster.
    if let Err(error) = fs::remove_file(path).or_else(|error| match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }) {
        tracing::warn!(path = %path.display(), %error, "a file cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn shown(base: &Path, database: &str) -> Presence {
        Presence::show_in(base, database, Incarnation::random()).unwrap()
    }

    fn found(presence: &Presence) -> Vec<Dead> {
        presence.dead().unwrap()
    }

    #[test]
    fn one_that_lives_or_has_left_is_not_dead() {
        let base = tempfile::tempdir().unwrap();
        let (here, living, leaving) =
            (shown(base.path(), "db"), shown(base.path(), "db"), shown(base.path(), "db"));
        leaving.leave();
        assert!(found(&here).is_empty());
        drop(living);
        assert_eq!(found(&here).len(), 1);
    }

    #[test]
    fn the_dead_are_seen_to_by_one_and_then_gone() {
        let base = tempfile::tempdir().unwrap();
        let (here, there) = (shown(base.path(), "db"), shown(base.path(), "db"));
        let incarnation = Incarnation::random();
        drop(Presence::show_in(base.path(), "db", incarnation).unwrap());
        let mut dead = found(&here);
        assert_eq!(dead.iter().map(|dead| dead.incarnation).collect::<Vec<_>>(), [incarnation]);
        assert!(found(&there).is_empty(), "somebody sees to it");
        dead.pop().unwrap().bury();
        assert!(found(&there).is_empty());
    }

    #[test]
    fn another_database_has_other_workers() {
        let base = tempfile::tempdir().unwrap();
        let here = shown(base.path(), "db");
        drop(shown(base.path(), "another"));
        assert!(found(&here).is_empty());
    }

    #[test]
    fn whatever_else_lies_there_is_nobody() {
        let base = tempfile::tempdir().unwrap();
        let here = shown(base.path(), "db");
        let folder = here.path.parent().unwrap();
        let lock = || folder.join(format!("{}.{ENDING}", Incarnation::random()));
        fs::write(folder.join("notes.lock"), "").unwrap();
        fs::write(folder.join(format!("{}.new", Incarnation::random())), "").unwrap();
        fs::create_dir(lock()).unwrap();
        symlink("/dev/null", lock()).unwrap();
        assert!(found(&here).is_empty());
    }

    #[test]
    fn a_folder_that_others_can_use_is_not_used() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join(format!("reproq-{}", rustix::process::geteuid().as_raw()));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = Presence::show_in(base.path(), "db", Incarnation::random()).unwrap_err();
        assert!(refused.to_string().contains("remove it"), "{refused}");
        fs::remove_dir(&folder).unwrap();
        symlink(base.path(), &folder).unwrap();
        assert!(Presence::show_in(base.path(), "db", Incarnation::random()).is_err());
    }
}
