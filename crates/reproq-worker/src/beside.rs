//! What is stored beside endings, and before them: what attempts have printed, and their last words about progress. It never holds
//! up an ending: what cannot be stored now waits for the next turn, what cannot be stored at all is dropped.

use reproq_store::{AttemptLog, Fence, ProgressUpdate, Store, StoreError};

use crate::finisher::Spool;
use crate::telemetry;

/// The most logs, and bytes of them, in one statement, unless a single one has more.
const BATCH: usize = 100;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Turns in which the database takes endings and no logs, before those are given up.
const TURNS: u32 = 5;

/// What waits to be stored.
#[derive(Default)]
pub(crate) struct Beside {
    pub(crate) logs: Vec<AttemptLog>,
    pub(crate) said: Vec<ProgressUpdate>,
    turns: u32,
}

impl Beside {
    /// Stores what the database takes now.
    pub(crate) async fn store(&mut self, store: &dyn Store, fence: Fence, spool: &Spool) {
        self.store_said(store, fence).await;
        let mut most = BATCH;
        while !self.logs.is_empty() {
            let count = fitting(&self.logs, most);
            match store.keep_logs(&self.logs[..count]).await {
                Ok(_) => self.turns = 0,
                // One of them is the cause, and is found out alone.
                Err(StoreError::Refused { .. }) if count > 1 => {
                    most = 1;
                    continue;
                }
                Err(error @ StoreError::Refused { .. }) => {
                    telemetry::store_failed("keep_logs", &error);
                    telemetry::logs_lost(count);
                }
                Err(error) => {
                    telemetry::store_failed("keep_logs", &error);
                    self.turns += 1;
                    if self.turns >= TURNS {
                        telemetry::logs_lost(self.logs.len());
                        self.logs.drain(..).for_each(|log| spool.stored(&log));
                        self.turns = 0;
                    }
                    return;
                }
            }
            self.logs.drain(..count).for_each(|log| spool.stored(&log));
        }
    }

    /// Once: it is of use only while the run is this worker's.
    async fn store_said(&mut self, store: &dyn Store, fence: Fence) {
        let said = std::mem::take(&mut self.said);
        if let (Fence::Owner(owner), false) = (fence, said.is_empty())
            && let Err(error) = store.show_progress(owner, &said).await
        {
            telemetry::store_failed("show_progress", &error);
        }
    }
}

/// How many logs go into one statement: one at least.
fn fitting(logs: &[AttemptLog], most: usize) -> usize {
    let mut bytes = 0;
    let within = |log: &&AttemptLog| {
        bytes += log.chunks.len();
        bytes <= BATCH_BYTES
    };
    logs.iter().take(most).take_while(within).count().max(1)
}
