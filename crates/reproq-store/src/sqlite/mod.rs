//! SQLite: one writer at a time, one worker process per file.
//!
//! Reads decide whether there is anything to write, so an idle worker never takes the file's write lock. Everything that
//! must be decided and done together is one statement.

mod cancel;
mod claim;
mod claim_keyed;
mod explain;
mod finish;
mod inspect;
mod lease;
mod limits;
mod link;
mod listen;
mod logs;
mod operate;
mod operator;
mod prune;
mod queues;
mod registry;
mod schedules;
mod workflow_operate;
mod workflow_sweep;
mod workflows;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use reproq_model::{Epoch, Incarnation, RunId, WorkflowId};
use tokio::sync::Mutex;

use self::link::Link;
use self::listen::FileWatch;
use crate::keyed::KeyedLanes;
use crate::{
    Advanced, AttemptLog, Cancelled, Claim, ClaimRequest, Ending, ExpiredRun, Fence, Finished, Glance,
    OwnedRun, ProgressUpdate, QueueDepth, Registration, Store, StoreError, Wake, WorkerSeen, Workflows,
};

/// The queue in a SQLite file.
pub struct SqliteStore {
    link: Link,
    path: PathBuf,
    /// Held while a worker is registered: a second one is refused.
    file_lock: Mutex<Option<File>>,
    watch: Mutex<Option<FileWatch>>,
    /// What the connection said last about the commits of others.
    data_version: Mutex<Option<i64>>,
    keyed_lanes: Mutex<KeyedLanes>,
}

impl SqliteStore {
    /// Opens the file, which must exist: `manage.py migrate` makes it.
    pub async fn connect(path: &Path) -> Result<Self, StoreError> {
        if !path.is_file() {
            let what = format!("{} does not exist; run `python manage.py migrate` first", path.display());
            return Err(StoreError::BadAddress(what));
        }
        let store = Self {
            link: Link::new(path),
            path: path.to_owned(),
            file_lock: Mutex::new(None),
            watch: Mutex::new(None),
            data_version: Mutex::new(None),
            keyed_lanes: Mutex::default(),
        };
        store.link.probe().await?;
        Ok(store)
    }
}

#[async_trait(?Send)]
impl Store for SqliteStore {
    async fn check_schema(&self) -> Result<(), StoreError> {
        registry::check_schema(self).await
    }

    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, StoreError> {
        claim::claim(self, request).await
    }

    async fn claim_keyed(&self, request: &ClaimRequest<'_>) -> Result<Claim, StoreError> {
        claim_keyed::claim_keyed(self, request).await
    }

    async fn queue_names(&self) -> Result<Vec<String>, StoreError> {
        queues::names(self).await
    }

    async fn promote_due(&self, queues: &[String]) -> Result<Glance, StoreError> {
        claim::promote_due(self, queues).await
    }

    async fn finish(&self, fence: Fence, endings: &[Ending]) -> Result<Finished, StoreError> {
        finish::finish(self, fence, endings).await
    }

    async fn keep_logs(&self, logs: &[AttemptLog]) -> Result<u64, StoreError> {
        logs::keep(self, logs).await
    }

    async fn show_progress(&self, owner: Incarnation, said: &[ProgressUpdate]) -> Result<u64, StoreError> {
        logs::show_progress(self, owner, said).await
    }

    async fn heartbeat(&self, worker: &Registration, lease: Duration) -> Result<Vec<OwnedRun>, StoreError> {
        lease::heartbeat(self, worker, lease).await
    }

    async fn expired(&self, worker: &Registration, limit: u32) -> Result<Vec<ExpiredRun>, StoreError> {
        lease::expired(self, worker, limit).await
    }

    async fn held_by(&self, incarnation: Incarnation, limit: u32) -> Result<Vec<ExpiredRun>, StoreError> {
        lease::held_by(self, incarnation, limit).await
    }

    async fn register(&self, worker: &Registration) -> Result<(), StoreError> {
        registry::register(self, worker).await
    }

    async fn deregister(&self, worker: &Registration) -> Result<(), StoreError> {
        registry::deregister(self, worker).await
    }

    /// Nothing to say: enqueues wake the worker by writing to the file.
    async fn forget(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        registry::forget(self, incarnation).await
    }

    async fn set_wants_wake(&self, _: &Registration, _: bool) -> Result<(), StoreError> {
        Ok(())
    }

    async fn woken(&self) -> Result<Wake, StoreError> {
        listen::woken(self).await
    }

    async fn cancel(&self, runs: &[RunId]) -> Result<Vec<Cancelled>, StoreError> {
        cancel::cancel(self, runs).await
    }

    async fn cancellations(&self, worker: &Registration) -> Result<Vec<(RunId, Epoch)>, StoreError> {
        cancel::cancellations(self, worker).await
    }

    async fn set_priority_aging(&self, seconds: f64) -> Result<(), StoreError> {
        registry::set_priority_aging(self, seconds).await
    }

    async fn depths(&self) -> Result<Vec<QueueDepth>, StoreError> {
        inspect::depths(self).await
    }

    async fn workers(&self) -> Result<Vec<WorkerSeen>, StoreError> {
        inspect::workers(self).await
    }
}

#[async_trait(?Send)]
impl Workflows for SqliteStore {
    async fn advance(&self) -> Result<Advanced, StoreError> {
        workflows::advance(self).await
    }

    async fn sweep_workflows(&self, quiet: Duration) -> Result<Vec<WorkflowId>, StoreError> {
        workflow_sweep::sweep(self, quiet).await
    }
}
