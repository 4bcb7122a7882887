//! `LISTEN`: woken within a millisecond of an enqueue's commit, where the connection allows it.

use sqlx::postgres::{PgListener, PgPoolOptions};

use super::PostgresStore;
use crate::StoreError;

/// The channel that the package's INSERT notifies.
const CHANNEL: &str = "reproq_wake";

pub(super) async fn woken(store: &PostgresStore) -> Result<(), StoreError> {
    let mut place = store.listener.lock().await;
    let mut listener = match place.take() {
        Some(listener) => listener,
        None => listen(store).await.map_err(StoreError::Unavailable)?,
    };
    // `None` is a lost connection: whatever was sent meanwhile is lost too, so it counts as an error and the caller polls.
    let heard = listener.try_recv().await;
    match heard {
        Ok(Some(_)) => {
            *place = Some(listener);
            Ok(())
        }
        Ok(None) => Err(StoreError::Unavailable(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()))),
        Err(error) => Err(StoreError::Unavailable(error)),
    }
}

async fn listen(store: &PostgresStore) -> Result<PgListener, sqlx::Error> {
    // The listener wants a pool; this one never holds more than the listener's own connection.
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(store.options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}
