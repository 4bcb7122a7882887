//! PostgreSQL: many workers, `SKIP LOCKED`, `LISTEN`.
//!
//! Four connections, each for one duty, so that a slow claim never delays a heartbeat: claims, endings, heartbeats with
//! everything small, and the listener. A fifth advances workflows, where there are any.

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

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reproq_model::{Epoch, Incarnation, RunId, WorkflowId};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Mutex;

use self::link::{Link, Route};
use crate::keyed::KeyedLanes;
use crate::{
    Advanced, AttemptLog, Cancelled, Claim, ClaimRequest, Ending, ExpiredRun, Fence, Finished, Glance,
    OwnedRun, ProgressUpdate, QueueDepth, Registration, Store, StoreError, Wake, WorkerSeen, Workflows,
};

/// The queue in a PostgreSQL database.
pub struct PostgresStore {
    claims: Link,
    endings: Link,
    duties: Link,
    workflows: Link,
    listener: Mutex<Option<sqlx::postgres::PgListener>>,
    route: Arc<Route>,
    keyed_lanes: Mutex<KeyedLanes>,
}

impl PostgresStore {
    /// Reads the address; connections are made when first needed, and made again whenever they are lost.
    pub async fn connect(dsn: &str) -> Result<Self, StoreError> {
        let options = Some(dsn)
            // The parser takes any scheme.
            .filter(|dsn| dsn.starts_with("postgres://") || dsn.starts_with("postgresql://"))
            .and_then(|dsn| dsn.parse::<PgConnectOptions>().ok())
            .ok_or_else(|| {
                StoreError::BadAddress(
                    "it is no PostgreSQL URL (postgres://user:password@host:port/name)".to_owned(),
                )
            })?
            .application_name("reproq")
            // PgBouncer refuses it, and the server's own default is exact.
            .extra_float_digits(None)
            .disable_statement_logging();
        let route = Route::new(options);
        let store = Self {
            claims: Link::new(&route),
            endings: Link::new(&route),
            duties: Link::new(&route),
            workflows: Link::new(&route),
            listener: Mutex::new(None),
            route,
            keyed_lanes: Mutex::default(),
        };
        store.duties.probe().await?;
        Ok(store)
    }
}

#[async_trait(?Send)]
impl Store for PostgresStore {
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

    async fn forget(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        registry::forget(self, incarnation).await
    }

    async fn set_wants_wake(&self, worker: &Registration, wants: bool) -> Result<(), StoreError> {
        registry::set_wants_wake(self, worker, wants).await
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
impl Workflows for PostgresStore {
    async fn advance(&self) -> Result<Advanced, StoreError> {
        workflows::advance(self).await
    }

    async fn sweep_workflows(&self, quiet: Duration) -> Result<Vec<WorkflowId>, StoreError> {
        workflow_sweep::sweep(self, quiet).await
    }
}
