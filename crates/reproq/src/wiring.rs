//! Parts made from the configuration.

use std::rc::Rc;

use reproq_config::{Aging, DatabaseConfig, PayloadMode, Resolved, Target, WorkerConfig};
use reproq_model::AllowList;
use reproq_store::{Address, Operator, Store};
use reproq_worker::{ExecutorSettings, Settings, Wear};
use tokio::runtime::{Builder, Runtime};

use crate::exit::Failure;

/// So many seconds of waiting weigh as much as one point of priority when aging is off: ten years.
const NO_AGING: f64 = 10.0 * 365.0 * 86_400.0;

/// The worker's one thread.
pub fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::system("the runtime could not start", &error))
}

/// The queue's database.
pub async fn store(config: &Resolved) -> Result<Rc<dyn Store>, Failure> {
    Ok(reproq_store::connect(address(config)?).await?)
}

/// Runs `work` on the queue's database, once its schema has been checked.
pub fn operate<T>(
    config: &Resolved,
    work: impl AsyncFnOnce(&dyn Operator) -> Result<T, Failure>,
) -> Result<T, Failure> {
    runtime()?.block_on(async {
        let operator = reproq_store::connect_operator(address(config)?).await?;
        operator.check_schema().await?;
        work(&*operator).await
    })
}

fn address(config: &Resolved) -> Result<Address<'_>, Failure> {
    Ok(match config.database()?.dsn.target() {
        Target::Postgres(url) => Address::Postgres(url),
        Target::Sqlite(path) => Address::Sqlite(path),
    })
}

/// What the worker is to do.
pub fn settings(config: &Resolved) -> Result<Settings, Failure> {
    let worker = config.worker();
    Ok(Settings {
        worker_id: worker.worker_id.clone(),
        process_role: worker.process_role.clone(),
        hostname: hostname(),
        database: config.database()?.dsn.to_string(),
        queues: worker.queues.clone(),
        concurrency: u32::try_from(worker.concurrency).unwrap_or(u32::MAX),
        lease: worker.lease,
        heartbeat: worker.heartbeat,
        reclaim_interval: worker.reclaim_interval,
        beat: worker.beat.then_some(config.beat().interval),
        poll_min: worker.poll_min,
        poll_max: worker.poll_max,
        exec_timeout: worker.exec_timeout,
        shutdown_timeout: worker.shutdown_timeout,
        cancel_grace: worker.cancel_grace,
        max_payload_bytes: worker.max_payload_bytes,
        allow: AllowList::new(&worker.allowed_task_modules),
        priority_aging_seconds: match worker.aging {
            Aging::FromDatabase => None,
            Aging::Off => Some(NO_AGING),
            Aging::SecondsPerPoint(seconds) => Some(seconds),
        },
        executor: executor(worker, config.database()?),
    })
}

fn executor(worker: &WorkerConfig, database: &DatabaseConfig) -> ExecutorSettings {
    ExecutorSettings {
        isolation: worker.isolation.clone(),
        async_concurrency: u32::try_from(worker.async_concurrency).unwrap_or(u32::MAX),
        threads: u32::try_from(worker.threads).unwrap_or(u32::MAX),
        wear: Wear {
            tasks: worker.max_tasks_per_child,
            growth: worker.max_child_growth,
            age: worker.max_child_age,
        },
        max_task_memory: worker.max_task_memory,
        reload: worker.reload,
        python: worker.python_bin.clone(),
        module: worker.executor_module.clone(),
        payload_in_file: worker.payload_mode == PayloadMode::File,
        db_alias: database.alias.clone(),
        allowed_modules: worker.allowed_task_modules.join(","),
        max_log_bytes: worker.max_log_bytes,
        logs_in_database: worker.logs_in_database,
        logs_dir: worker.logs_dir.clone(),
    }
}

fn hostname() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}
