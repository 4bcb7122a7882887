//! Woken by the file system: a commit of any process appends to the write-ahead log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::SqliteStore;
use crate::StoreError;

pub(super) struct FileWatch {
    written: Arc<Notify>,
    /// Watches as long as it lives.
    _watcher: RecommendedWatcher,
}

pub(super) async fn woken(store: &SqliteStore) -> Result<(), StoreError> {
    let written = {
        let mut place = store.watch.lock().await;
        match place.as_ref() {
            Some(watch) => Arc::clone(&watch.written),
            None => Arc::clone(&place.insert(watch(&store.path)?).written),
        }
    };
    written.notified().await;
    Ok(())
}

/// Watches the folder and not the log: the log comes and goes with the connections.
fn watch(database: &Path) -> Result<FileWatch, StoreError> {
    let database = std::path::absolute(database).unwrap_or_else(|_| database.to_owned());
    let log = PathBuf::from(format!("{}-wal", database.display()));
    let folder = database.parent().unwrap_or(Path::new("/")).to_owned();
    let refused = |error: notify::Error| StoreError::File {
        what: "cannot watch",
        path: folder.display().to_string(),
        source: std::io::Error::other(error),
    };
    let written = Arc::new(Notify::new());
    let announce = Arc::clone(&written);
    let name = log.file_name().map(ToOwned::to_owned);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return announce.notify_one() };
        if !event.kind.is_access() && event.paths.iter().any(|path| path.file_name() == name.as_deref()) {
            announce.notify_one();
        }
    })
    .map_err(refused)?;
    watcher.watch(&folder, RecursiveMode::NonRecursive).map_err(refused)?;
    Ok(FileWatch { written, _watcher: watcher })
}
