//! Turns the store's wake-ups into something the dispatcher can wait for, and survives their loss.

use std::rc::Rc;
use std::time::Duration;

use reproq_store::Store;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::telemetry;

/// Without wake-ups the dispatcher polls; this is how often the wake-ups are tried for again.
const RETRY: Duration = Duration::from_millis(500);

/// Listens for ever.
pub(crate) async fn listen(store: Rc<dyn Store>, wake: Rc<Notify>) {
    loop {
        if let Err(error) = store.woken().await {
            telemetry::store_failed("listen", &error);
            sleep(RETRY).await;
        }
        wake.notify_one();
    }
}
