//! What running attempts print and say, stored about once a second, so that it can be read before they end.

use std::rc::Rc;
use std::time::Duration;

use reproq_store::{Registration, Store, StoreError};
use tokio::time::sleep;

use crate::live::Live;
use crate::telemetry;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// The most runs in one statement.
const MOST: usize = 100;
/// About the most bytes of output in one statement: endings wait meanwhile. The rest has its turn at the next look.
const MOST_BYTES: usize = 1024 * 1024;

/// Stores, for ever, what is new.
pub(crate) async fn show(store: Rc<dyn Store>, registration: Rc<Registration>, live: Rc<Live>) {
    loop {
        sleep(PAUSE).await;
        let logs = live.printed(MOST, MOST_BYTES);
        if !logs.is_empty() {
            match store.keep_logs(&logs).await {
                Ok(_) => live.settled(&logs),
                Err(error) => {
                    telemetry::store_failed("keep_logs", &error);
                    // What is refused now is refused again.
                    if let StoreError::Refused { .. } = error {
                        live.settled(&logs);
                    }
                }
            }
        }
        let said = live.take_said(MOST);
        if !said.is_empty()
            && let Err(error) = store.show_progress(registration.incarnation, &said).await
        {
            telemetry::store_failed("show_progress", &error);
            if !matches!(error, StoreError::Refused { .. }) {
                live.say_again(said);
            }
        }
    }
}
