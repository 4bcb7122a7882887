//! One connection with one duty, made when needed and thrown away when in doubt.
//!
//! Not a pool: a pool tests what it hands out or takes back with a round trip of its own, and lets one duty starve another.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::StoreError;

/// A host that does not answer is as good as down after this long.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// No statement of ours is long; a half-open connection would otherwise wait for the kernel's quarter of an hour.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(10);

/// What every session of ours is set to.
///
/// Each statement has one good plan, along its index, whatever the statistics say: it is made once (planning a claim takes
/// five times as long as the claim), never as a scan of the table, and never compiled, which takes longer than to run it.
/// The server gives up before this side does: an abandoned statement would go on waiting, and hold what it has.
const SESSION: &str = "\
    SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off; \
    SET statement_timeout = '9s'; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '30s'";

pub(super) struct Link {
    options: PgConnectOptions,
    connection: Mutex<Option<PgConnection>>,
}

impl Link {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, connection: Mutex::new(None) }
    }

    /// Fails if no connection can be made.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        self.run("ping", async |connection| connection.ping().await).await
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        connection.execute(SESSION).await?;
        Ok(connection)
    }

    /// Runs `work` on the connection. The connection is out of its place meanwhile: if this future is dropped half-way,
    /// it is dropped too, and nobody meets the rest of an answer that was not for them.
    pub(super) async fn run<T>(
        &self,
        statement: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let mut place = self.connection.lock().await;
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => deadline(CONNECT_DEADLINE, self.connect()).await.map_err(StoreError::Unavailable)?,
        };
        let result = deadline(STATEMENT_DEADLINE, work(&mut connection))
            .await
            .map_err(|error| StoreError::of(statement, error));
        if result.as_ref().err().is_none_or(StoreError::spares_connection) {
            *place = Some(connection);
        }
        result
    }
}

async fn deadline<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        Err(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("no answer within {} s", limit.as_secs()),
        )))
    })
}
