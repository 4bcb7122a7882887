//! Woken by the file system: a commit of any process appends to the write-ahead log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use sqlx::{Row as _, query};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::SqliteStore;
use crate::{StoreError, Wake};

/// How long to wait for a commit to become visible after its first write, step by step: half a second in all.
const PAUSES: [Duration; 12] = [
    Duration::ZERO,
    Duration::from_micros(250),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
    Duration::from_millis(16),
    Duration::from_millis(64),
    Duration::from_millis(128),
    Duration::from_millis(256),
];

pub(super) struct FileWatch {
    written: Arc<Notify>,
    /// Whether somebody has touched the log, as an enqueue does once others can see its runs.
    told: Arc<AtomicBool>,
    /// How many looks have followed the last news.
    looks: usize,
    /// Watches as long as it lives.
    _watcher: RecommendedWatcher,
}

pub(super) async fn woken(store: &SqliteStore) -> Result<Wake, StoreError> {
    let mut place = store.watch.lock().await;
    let Some(watch) = place.as_mut() else {
        place.replace(watch(&store.path)?);
        has_changed(store).await?;
        // What was committed before the watch began has been missed.
        return Ok(Wake::Either);
    };
    // A commit is written to the log and synced to the disk before others can see it: the news comes first. So each piece of
    // news is followed by a few looks, which go on even after one has found something: that may have been an earlier commit.
    loop {
        let news = watch.written.notified();
        if let Some(pause) = PAUSES.get(watch.looks) {
            tokio::select! {
                () = exactly(*pause) => watch.looks += 1,
                () = news => watch.looks = 0,
            }
        } else {
            news.await;
            watch.looks = 0;
        }
        // A word needs no look, which would cost a start two more changes of threads. The looks after it find the same commit
        // once more; they have to be, because another may be on its way without a word.
        if watch.told.swap(false, Ordering::Relaxed) || has_changed(store).await? {
            return Ok(Wake::Either);
        }
    }
}

/// Tokio's timer counts whole milliseconds, of which the log's flush often takes less than one.
async fn exactly(pause: Duration) {
    if pause.is_zero() || pause >= Duration::from_millis(1) {
        return sleep(pause).await;
    }
    // An error would be that of a runtime which ends.
    let _ = spawn_blocking(move || std::thread::sleep(pause)).await;
}

/// Whether another connection has committed since the last call.
async fn has_changed(store: &SqliteStore) -> Result<bool, StoreError> {
    let now: i64 = store
        .link
        .run("data_version", async |connection| {
            query("PRAGMA data_version").fetch_one(connection).await?.try_get(0)
        })
        .await?;
    let mut seen = store.data_version.lock().await;
    Ok(seen.replace(now) != Some(now))
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
    let (written, told) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (announce, tell) = (Arc::clone(&written), Arc::clone(&told));
    let name = log.file_name().map(ToOwned::to_owned);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return announce.notify_one() };
        if !event.kind.is_access() && event.paths.iter().any(|path| path.file_name() == name.as_deref()) {
            if matches!(event.kind, EventKind::Modify(ModifyKind::Metadata(_))) {
                tell.store(true, Ordering::Relaxed);
            }
            announce.notify_one();
        }
    })
    .map_err(refused)?;
    watcher.watch(&folder, RecursiveMode::NonRecursive).map_err(refused)?;
    Ok(FileWatch { written, told, looks: PAUSES.len(), _watcher: watcher })
}
