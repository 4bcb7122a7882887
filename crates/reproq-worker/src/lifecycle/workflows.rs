//! Workflows: when a member has ended, what waits for it goes on. Any worker does it for all, whoever has ended the member.

use std::rc::Rc;
use std::time::Duration;

use reproq_model::queues::serves;
use reproq_store::{Advanced, Registration, Store};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::telemetry;

/// How long to wait for a word before looking anyway: whoever ended a member may have died before saying so.
const SILENCE: Duration = Duration::from_secs(1);
/// After a look that only counted: members of the same workflow are ending, and to count them together costs less.
const COUNTING: Duration = Duration::from_millis(20);
/// The same, when there was little to count: then whoever waits for the last of them waits less.
const COUNTING_FEW: Duration = Duration::from_millis(2);
/// Between two looks at all that have been quiet.
const SWEEP: Duration = Duration::from_mins(1);
/// Events that are few.
const FEW: u64 = 10;
/// The shortest time between a look that found nothing and the next: on SQLite every commit of anybody is a word.
const REST: Duration = Duration::from_millis(2);
/// How long to leave a workflow alone that somebody else has.
const HELD: Duration = Duration::from_millis(50);

/// Advances workflows, for ever. `ended` is notified when a member may have ended, `released` when this worker has a run to claim.
pub(crate) async fn advance(
    store: Rc<dyn Store>,
    registration: Rc<Registration>,
    ended: Rc<Notify>,
    released: Rc<Notify>,
) {
    loop {
        // Whether it was said or the time has come: look.
        let _ = timeout(SILENCE, ended.notified()).await;
        loop {
            let done = match store.advance().await {
                Ok(done) => done,
                Err(error) => {
                    telemetry::store_failed("advance", &error);
                    break;
                }
            };
            if done.released.iter().any(|queue| serves(&registration.queues, queue)) {
                released.notify_one();
            }
            telemetry::advanced(&done);
            let Some(wait) = pause_after(&done) else { break };
            sleep(wait).await;
        }
        sleep(REST).await;
    }
}

/// Looks, for ever, whether workflows are what their runs say.
pub(crate) async fn sweep(store: Rc<dyn Store>, ended: Rc<Notify>) {
    loop {
        sleep(SWEEP).await;
        match store.sweep_workflows(SWEEP).await {
            Ok(wrong) => {
                telemetry::workflows_repaired(&wrong);
                if !wrong.is_empty() {
                    ended.notify_one();
                }
            }
            Err(error) => telemetry::store_failed("sweep_workflows", &error),
        }
    }
}

/// How long until the next look; none: until somebody says something.
fn pause_after(done: &Advanced) -> Option<Duration> {
    match done {
        Advanced { counted: 0, held: true, .. } => Some(HELD),
        Advanced { more: true, .. } => Some(Duration::ZERO),
        Advanced { counted: 0, .. } => None,
        Advanced { held: true, .. } => Some(HELD),
        Advanced { released, .. } if !released.is_empty() => Some(Duration::ZERO),
        Advanced { counted, .. } if *counted > FEW => Some(COUNTING),
        _ => Some(COUNTING_FEW),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_workflow_is_counted_in_batches_and_a_chain_goes_on_at_once() {
        let done = Advanced { counted: 1, ..Advanced::default() };
        assert_eq!(pause_after(&Advanced::default()), None);
        assert_eq!(pause_after(&done), Some(COUNTING_FEW));
        assert_eq!(pause_after(&Advanced { counted: 500, ..done.clone() }), Some(COUNTING));
        let released = vec!["default".to_owned()];
        assert_eq!(pause_after(&Advanced { released, ..done.clone() }), Some(Duration::ZERO));
        assert_eq!(pause_after(&Advanced { held: true, counted: 0, ..done.clone() }), Some(HELD));
        assert_eq!(pause_after(&Advanced { more: true, held: true, ..done.clone() }), Some(Duration::ZERO));
        let all_held = Advanced { more: true, held: true, counted: 0, ..done };
        assert_eq!(pause_after(&all_held), Some(HELD), "no circle without a rest");
    }
}
