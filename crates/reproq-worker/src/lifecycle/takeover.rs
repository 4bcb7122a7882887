//! Runs of workers of this machine that were killed: nobody has to wait for their leases.

use std::rc::Rc;
use std::time::Duration;

use reproq_model::AttemptEnd;
use reproq_store::{Ending, Fence, Store, StoreError};
use tokio::time::sleep;

use super::presence::{Dead, Presence};
use super::reclaim::{BATCH, end_all, ending_of};
use crate::telemetry;

/// How often the others of this machine are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Looks, for ever.
pub(crate) async fn take_over(store: Rc<dyn Store>, presence: Rc<Presence>) {
    loop {
        sleep(LOOK).await;
        take_over_now(store.as_ref(), &presence).await;
    }
}

/// Takes over what workers of this machine have left that are certainly gone.
pub(crate) async fn take_over_now(store: &dyn Store, presence: &Presence) {
    let dead = match presence.dead() {
        Ok(dead) => dead,
        Err(error) => return tracing::debug!(%error, "the workers of this machine cannot be looked at"),
    };
    for dead in dead {
        match inherit(store, &dead).await {
            Ok((count, true)) => {
                telemetry::inherited(count);
                dead.bury();
            }
            // Somebody holds a row; what is left is seen to next time.
            Ok((count, false)) => telemetry::inherited(count),
            Err(error) => telemetry::store_failed("take over", &error),
        }
    }
}

/// Ends what a dead worker owned. Returns how many runs that were, and whether nothing is left.
async fn inherit(store: &dyn Store, dead: &Dead) -> Result<(u64, bool), StoreError> {
    let mut count = 0;
    loop {
        let owned = store.held_by(dead.incarnation, BATCH).await?;
        if owned.is_empty() {
            store.forget(dead.incarnation).await?;
            return Ok((count, true));
        }
        let endings: Vec<Ending> = owned.iter().map(|run| ending_of(run, AttemptEnd::WorkerDied)).collect();
        let written = end_all(store, Fence::Owner(dead.incarnation), &endings).await?;
        if written == 0 {
            return Ok((count, false));
        }
        count += written;
    }
}
