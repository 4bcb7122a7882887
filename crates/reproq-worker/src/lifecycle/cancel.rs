//! Cancellations of what runs here: looked for when somebody says that there is one, and from time to time.

use std::rc::Rc;
use std::time::Duration;

use reproq_store::{Registration, Store};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::attempts::Attempts;
use crate::telemetry;

/// How long to wait for a word before looking anyway: with the pause below, there is a look per second.
const SILENCE: Duration = Duration::from_millis(900);
/// The shortest time between two looks, however often somebody says something: on SQLite every enqueue does.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells attempts to stop, for ever. `asked` is notified when the database says that there may be something.
pub(crate) async fn cancel(
    store: Rc<dyn Store>,
    registration: Rc<Registration>,
    attempts: Rc<Attempts>,
    asked: Rc<Notify>,
) {
    loop {
        // Whether it was said or the time has come: look.
        let _ = timeout(SILENCE, asked.notified()).await;
        if !attempts.held.is_empty() {
            match store.cancellations(&registration).await {
                Ok(runs) => attempts.held.cancel(&runs),
                Err(error) => telemetry::store_failed("cancellations", &error),
            }
        }
        sleep(PAUSE).await;
    }
}
