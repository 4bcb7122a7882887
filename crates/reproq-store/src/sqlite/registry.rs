//! The workers' register, and the facts about the schema.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use reproq_model::Incarnation;
use sqlx::{Connection as _, Row as _, query};

use super::SqliteStore;
use crate::{Registration, StoreError, schema};

pub(super) async fn check_schema(store: &SqliteStore) -> Result<(), StoreError> {
    let found = store
        .link
        .run("schema_version", async |connection| {
            let exists: bool =
                query(include_str!("sql/schema_exists.sql")).fetch_one(&mut *connection).await?.try_get(0)?;
            if !exists {
                return Ok(None);
            }
            let row = query(include_str!("sql/schema_version.sql")).fetch_optional(connection).await?;
            row.map(|row| row.try_get(0)).transpose()
        })
        .await?;
    Ok(schema::compare(found)?)
}

pub(super) async fn register(store: &SqliteStore, worker: &Registration) -> Result<(), StoreError> {
    let mut lock = store.file_lock.lock().await;
    if lock.is_none() {
        *lock = Some(lock_file(&store.path)?);
    }
    let queues = serde_json::Value::from(worker.queues.clone()).to_string();
    store
        .link
        .run("register", async |connection| {
            query(include_str!("sql/register.sql"))
                .bind(&worker.worker_id)
                .bind(worker.incarnation.to_string())
                .bind(&worker.hostname)
                .bind(worker.pid)
                .bind(worker.concurrency)
                .bind(queues)
                .bind(worker.version)
                .execute(connection)
                .await
        })
        .await
        .map(drop)
}

pub(super) async fn deregister(store: &SqliteStore, worker: &Registration) -> Result<(), StoreError> {
    store
        .link
        .run("deregister", async |connection| {
            query(include_str!("sql/deregister.sql"))
                .bind(&worker.worker_id)
                .bind(worker.incarnation.to_string())
                .execute(connection)
                .await
        })
        .await?;
    store.file_lock.lock().await.take();
    Ok(())
}

pub(super) async fn forget(store: &SqliteStore, incarnation: Incarnation) -> Result<(), StoreError> {
    store
        .link
        .run("forget", async |connection| {
            query(include_str!("sql/forget.sql")).bind(incarnation.to_string()).execute(connection).await
        })
        .await
        .map(drop)
}

pub(super) async fn set_priority_aging(store: &SqliteStore, seconds: f64) -> Result<(), StoreError> {
    store
        .link
        .run("set_aging", async |connection| {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            let changed = query(include_str!("sql/set_aging.sql"))
                .bind(seconds.to_string())
                .execute(&mut *transaction)
                .await?;
            if changed.rows_affected() > 0 {
                query(include_str!("sql/reorder_ready.sql")).execute(&mut *transaction).await?;
            }
            transaction.commit().await
        })
        .await
}

/// Takes the file's worker lock; the kernel lets go of it when the process ends, however it ends.
fn lock_file(database: &Path) -> Result<File, StoreError> {
    let path = PathBuf::from(format!("{}-reproq-worker", database.display()));
    let refused = |source| StoreError::File { what: "cannot lock", path: path.display().to_string(), source };
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(refused)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only to say whose it is: what cannot be read is not known.
            let _ = file.read_to_string(&mut pid);
            return Err(StoreError::FileInUse {
                path: database.display().to_string(),
                pid: pid.trim().to_owned(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(refused(source)),
    }
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
    written.map_err(refused)?;
    Ok(file)
}
