//! One connection with one duty, made when needed and thrown away when in doubt.
//!
//! Not a pool: a pool tests what it hands out or takes back with a round trip of its own, and lets one duty starve another.
//!
//! Behind a transaction pooler a connection is another server's with each transaction: nothing may be set for the session, and
//! no statement stays prepared. Such a pooler is found out by what it refuses, and every piece of work becomes a transaction
//! that brings its settings along. That costs round trips, and wake-ups cannot be heard there: the worker polls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
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
/// A batch meets its rows one by one: told of a million rows, the planner would walk all of them to merge ten.
/// The server gives up before this side does: an abandoned statement would go on waiting, and hold what it has.
/// Nor is it shared among processes: a scan that is switched off looks so dear that even an empty table would be.
///
/// Each statement sees what is committed when it begins, whatever the site has made the default: under a stricter isolation a
/// claim fails at a row that another claimer has just taken, where it should pass it over.
const SETTINGS: [(&str, &str); 11] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_mergejoin", "off"),
    ("enable_hashjoin", "off"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("default_transaction_isolation", "read committed"),
    ("statement_timeout", "9s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "30s"),
];

/// `PgBouncer`'s answer to settings in the first message of a session.
const PROTOCOL_VIOLATION: &str = "08P01";
/// A statement that was prepared on another server, or by another client on this one.
const NOT_MY_STATEMENTS: [&str; 2] = ["26000", "42P05"];

/// Where and how connections are made, for all links of a store.
pub(super) struct Route {
    options: PgConnectOptions,
    pooled: AtomicBool,
}

impl Route {
    pub(super) fn new(options: PgConnectOptions) -> Arc<Self> {
        Arc::new(Self { options, pooled: AtomicBool::new(false) })
    }

    /// Whether a transaction pooler is in between, as far as is known.
    pub(super) fn is_pooled(&self) -> bool {
        self.pooled.load(Ordering::Relaxed)
    }

    /// For a session of our own: only where nobody is in between.
    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone().options(SETTINGS)
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        if !self.is_pooled() {
            match self.options().connect().await {
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(PROTOCOL_VIOLATION) => {
                    self.found_pooler(error.message());
                }
                other => return other,
            }
        }
        self.options.clone().statement_cache_capacity(0).connect().await
    }

    fn found_pooler(&self, why: &str) {
        if !self.pooled.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                why,
                "a transaction pooler is in between: this worker polls instead of listening; a direct address is faster"
            );
        }
    }

    /// Looks at an error for the traces of a pooler that did not make itself known.
    fn suspect(&self, error: &StoreError) {
        if let StoreError::Unwilling { source: sqlx::Error::Database(error), .. } = error
            && error.code().is_some_and(|code| NOT_MY_STATEMENTS.contains(&code.as_ref()))
        {
            self.found_pooler(error.message());
        }
    }
}

pub(super) struct Link {
    route: Arc<Route>,
    connection: Mutex<Option<PgConnection>>,
}

impl Link {
    pub(super) fn new(route: &Arc<Route>) -> Self {
        Self { route: Arc::clone(route), connection: Mutex::new(None) }
    }

    /// Fails if no connection can be made.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        self.run("ping", async |connection| connection.ping().await).await
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
            None => {
                deadline(CONNECT_DEADLINE, self.route.connect()).await.map_err(StoreError::Unavailable)?
            }
        };
        let pooled = self.route.is_pooled();
        let whole = async {
            if pooled { in_transaction(&mut connection, work).await } else { work(&mut connection).await }
        };
        let result =
            deadline(STATEMENT_DEADLINE, whole).await.map_err(|error| StoreError::of(statement, error));
        if let Err(error) = &result {
            self.route.suspect(error);
        }
        // A connection that was made before the pooler was found out has statements that are prepared nowhere.
        let keep =
            result.as_ref().err().is_none_or(StoreError::spares_connection) && !(pooled && result.is_err());
        if keep && pooled == self.route.is_pooled() {
            *place = Some(connection);
        }
        result
    }
}

/// One transaction, so that one server does all of the work; nothing is left behind there for the next client to meet.
async fn in_transaction<T>(
    connection: &mut PgConnection,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let settings: Vec<String> =
        SETTINGS.iter().map(|(name, value)| format!("SET LOCAL {name} = '{value}'")).collect();
    let begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED; DEALLOCATE ALL; {}", settings.join("; "));
    connection.execute(AssertSqlSafe(begin)).await?;
    let done = work(connection).await?;
    connection.execute("DEALLOCATE ALL; COMMIT").await?;
    Ok(done)
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
