//! The site's own code on the disk, and whether it changes.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::ExecutorError;

/// An editor, or a change of branches, writes more than one file: the last of them counts.
const QUIET: Duration = Duration::from_millis(150);
/// The clock of files is coarser than the system's.
const COARSE: Duration = Duration::from_millis(20);
/// More folders than any site has; somebody's home is no site.
const MOST_FOLDERS: usize = 10_000;
/// What holds no code of the site.
const FOREIGN: [&str; 4] = ["__pycache__", "node_modules", "site-packages", "dist-packages"];

/// Watches the folders of the site's code, each by itself: not the trees, because some of what is in them is large and foreign.
pub(super) struct Sources {
    watcher: RecommendedWatcher,
    news: mpsc::UnboundedReceiver<News>,
    folders: HashSet<PathBuf>,
    /// Written between an import's begin and the watch's.
    found: Option<PathBuf>,
}

enum News {
    At(PathBuf),
    /// Some have got lost.
    Lost,
}

impl Sources {
    pub(super) fn new() -> Result<Self, ExecutorError> {
        let (sender, news) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            for news in told(event) {
                // The worker may have stopped listening.
                let _ = sender.send(news);
            }
        })
        .map_err(|error| ExecutorError::System {
            what: "a watch on the site's code",
            source: std::io::Error::other(error),
        })?;
        Ok(Self { watcher, news, folders: HashSet::new(), found: None })
    }

    /// Watches more folders, with what is below them. What was written since `since` has changed.
    pub(super) fn add(&mut self, roots: &[PathBuf], since: SystemTime) {
        for root in roots {
            let written = self.enter(root, since - COARSE);
            self.found = self.found.take().or(written);
        }
    }

    /// Returns the file that has changed, or one of them, as soon as it has.
    pub(super) async fn changed(&mut self) -> PathBuf {
        if let Some(path) = self.found.take() {
            return path;
        }
        loop {
            // There is no watch any more.
            let Some(news) = self.news.recv().await else { return std::future::pending().await };
            if let Some(path) = self.look(news) {
                return path;
            }
        }
    }

    /// Returns a moment after the last of the changes that belong together.
    pub(super) async fn quiet(&mut self) {
        while timeout(QUIET, self.changed()).await.is_ok() {}
    }

    /// What has changed, if it is code.
    fn look(&mut self, news: News) -> Option<PathBuf> {
        match news {
            News::Lost => Some(PathBuf::from("an unknown file")),
            News::At(path) if is_code(&path) => Some(path),
            News::At(path) if is_foreign(&path) => None,
            News::At(path) if path.is_dir() => self.enter(&path, SystemTime::UNIX_EPOCH),
            // A folder that is gone has taken its code with it.
            News::At(path) => self.folders.remove(&path).then_some(path),
        }
    }

    /// Watches a folder with what is below it; returns a file of it that was written since.
    fn enter(&mut self, root: &Path, since: SystemTime) -> Option<PathBuf> {
        let mut written = None;
        let mut ahead = vec![root.to_owned()];
        while let Some(folder) = ahead.pop() {
            // Before it is looked into, so that nothing is missed in between.
            if !self.watch(&folder) {
                break;
            }
            // What cannot be read cannot be imported either.
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() {
                    if !is_foreign(&path) {
                        ahead.push(path);
                    }
                } else if is_code(&path) && was_written(&entry, since) {
                    written = Some(path);
                }
            }
        }
        written
    }

    /// Whether the folder is watched, or need not be.
    fn watch(&mut self, folder: &Path) -> bool {
        if self.folders.contains(folder) {
            return true;
        }
        let refused = if self.folders.len() >= MOST_FOLDERS {
            Some(format!("there are more than {MOST_FOLDERS} folders"))
        } else {
            match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => None,
                Err(_) if !folder.is_dir() => return true,
                Err(error) => Some(error.to_string()),
            }
        };
        if let Some(why) = &refused {
            tracing::warn!(folder = %folder.display(), why, "changes of some code will not be noticed");
        } else {
            self.folders.insert(folder.to_owned());
        }
        refused.is_none()
    }
}

/// What of an event is worth a look.
fn told(event: notify::Result<Event>) -> Vec<News> {
    let Ok(event) = event else { return vec![News::Lost] };
    if event.need_rescan() {
        return vec![News::Lost];
    }
    let comes_or_goes = match event.kind {
        EventKind::Access(_) => return Vec::new(),
        EventKind::Modify(ModifyKind::Name(_) | ModifyKind::Any) => true,
        EventKind::Modify(_) => false,
        _ => true,
    };
    event.paths.into_iter().filter(|path| comes_or_goes || is_code(path)).map(News::At).collect()
}

fn is_code(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("py")) && !is_hidden(path)
}

/// Editors put their notes into hidden files.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_foreign(folder: &Path) -> bool {
    is_hidden(folder)
        || folder.file_name().is_some_and(|name| FOREIGN.iter().any(|foreign| name == *foreign))
        || folder.join("pyvenv.cfg").exists()
}

fn was_written(entry: &fs::DirEntry, since: SystemTime) -> bool {
    // What is from the future, by another machine's clock, has always been.
    let until = SystemTime::now() + COARSE;
    entry
        .metadata()
        .and_then(|data| data.modified())
        .is_ok_and(|modified| modified >= since && modified <= until)
}
