//! Which queues the worker claims from at this moment: its plan, and for globs what the database has said.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use reproq_model::QueuePlan;
use reproq_store::{Store, StoreError};

/// The least time between two questions for the queues that there are, unless there is reason to doubt the last answer.
const KNOWN: Duration = Duration::from_millis(100);

/// The queues of the plan that are known to exist. One for the whole life of a plan that names them all.
pub(crate) struct Selection {
    plan: QueuePlan,
    selected: Vec<String>,
    asked: Option<Instant>,
    in_doubt: bool,
}

impl Selection {
    /// Only the plain names, until the first [refresh](Self::refresh).
    pub(crate) fn new(plan: QueuePlan) -> Self {
        Self { selected: plan.select(&[]), plan, asked: None, in_doubt: true }
    }

    /// All of them.
    pub(crate) fn queues(&self) -> &[String] {
        &self.selected
    }

    /// The groups that one claim goes through; none if there is nowhere to claim from.
    pub(crate) fn rounds(&self) -> Vec<Vec<String>> {
        self.plan.rounds(&self.selected, &mut rand::rng())
    }

    /// Something has happened that may have brought another queue. Returns whether that matters to the plan.
    pub(crate) fn doubt(&mut self) -> bool {
        self.in_doubt = true;
        self.plan.is_open_ended()
    }

    /// Asks again if the plan is open-ended and the last answer is old; or in doubt, when the claim brought nothing.
    /// Returns whether there is another queue.
    pub(crate) async fn refresh(
        &mut self,
        store: &dyn Store,
        empty_handed: bool,
    ) -> Result<bool, StoreError> {
        let old = self.asked.is_none_or(|asked| asked.elapsed() >= KNOWN);
        if !self.plan.is_open_ended() || !(old || (self.in_doubt && empty_handed)) {
            return Ok(false);
        }
        let selected = self.plan.select(&store.queue_names().await?);
        self.asked = Some(Instant::now());
        self.in_doubt = false;
        let known: HashSet<String> = std::mem::replace(&mut self.selected, selected).into_iter().collect();
        Ok(self.selected.iter().any(|queue| !known.contains(queue)))
    }
}
