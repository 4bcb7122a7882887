//! Turns the store's wake-ups into something that those who are meant can wait for, and survives their loss.

use std::rc::Rc;
use std::time::Duration;

use reproq_store::{Store, Wake};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::telemetry;

/// Without wake-ups everybody polls; this is how often the wake-ups are tried for again.
const RETRY: Duration = Duration::from_millis(500);

/// Listens for ever: `work` is for the dispatcher, `cancel` for whoever looks for cancellations, `workflows` for whoever looks
/// after these, because a cancellation may have ended a member of one.
pub(crate) async fn listen(
    store: Rc<dyn Store>,
    work: Rc<Notify>,
    cancel: Rc<Notify>,
    workflows: Rc<Notify>,
) {
    loop {
        let wake = match store.woken().await {
            Ok(wake) => wake,
            Err(error) => {
                telemetry::store_failed("listen", &error);
                sleep(RETRY).await;
                Wake::Either
            }
        };
        if wake != Wake::Cancel {
            work.notify_one();
        }
        if wake != Wake::Work {
            cancel.notify_one();
            workflows.notify_one();
        }
    }
}
