//! `LISTEN`: woken within a millisecond of the commit of an enqueue, a cancellation or a changed schedule, where the connection allows it.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::query;
use tokio::time::timeout;

use super::PostgresStore;
use crate::{StoreError, Wake};

/// After so long without a word the connection is tested.
const SILENCE: Duration = Duration::from_secs(30);
/// How long the test may take.
const ANSWER: Duration = Duration::from_secs(5);

/// The channel that the package's INSERT notifies.
const WORK: &str = "reproq_wake";
/// The channel that a cancellation of a running run notifies.
const CANCEL: &str = "reproq_cancel";
/// The channel that a change of a schedule notifies, or that asks everybody to look at the schedules once.
const SCHEDULE: &str = "reproq_schedule";
/// What it says in the latter case.
const TICK: &str = "tick";

pub(super) async fn woken(store: &PostgresStore) -> Result<Wake, StoreError> {
    if store.route.is_pooled() {
        // Nothing can be heard through a pooler.
        return std::future::pending().await;
    }
    let mut place = store.listener.lock().await;
    let Some(mut listener) = place.take() else {
        place.replace(listen(store).await.map_err(StoreError::Unavailable)?);
        // What was said before has been missed.
        return Ok(Wake::Either);
    };
    // `None` is a lost connection: whatever was sent meanwhile is lost too, so it counts as an error and the caller polls.
    let Ok(heard) = timeout(SILENCE, listener.try_recv()).await else {
        // Nothing was said, or the connection is dead and nobody has told us: asking finds out.
        timeout(ANSWER, query("SELECT 1").execute(&mut listener))
            .await
            .map_err(|_| StoreError::Unavailable(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))?
            .map_err(StoreError::Unavailable)?;
        *place = Some(listener);
        return Ok(Wake::Work);
    };
    match heard {
        Ok(Some(notification)) => {
            *place = Some(listener);
            Ok(match notification.channel() {
                CANCEL => Wake::Cancel,
                SCHEDULE if notification.payload() == TICK => Wake::Tick,
                SCHEDULE => Wake::Schedule,
                _ => Wake::Work,
            })
        }
        Ok(None) => Err(StoreError::Unavailable(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()))),
        Err(error) => Err(StoreError::Unavailable(error)),
    }
}

async fn listen(store: &PostgresStore) -> Result<PgListener, sqlx::Error> {
    // The listener wants a pool; this one never holds more than the listener's own connection.
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(store.route.options());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen_all([WORK, CANCEL, SCHEDULE]).await?;
    Ok(listener)
}
