//! The course of one advance, for both engines: take workflows, count what has become of their runs, do what follows, until nothing
//! follows any more. Always in one transaction: a crash leaves either all of it or the events.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use reproq_model::workflow::{
    OnFailure, Policy, StepCount, StepMove, WorkflowCount, on_failure, status_of, step_move,
};
use reproq_model::{RunId, WorkflowId, WorkflowStatus};

use crate::Advanced;

/// Workflows in one transaction.
pub(crate) const WORKFLOWS: i64 = 50;
/// Events of one workflow that are counted, and runs that are moved by one statement: a tenth of a second.
pub(crate) const BATCH: i64 = 5000;
/// How often in one transaction what was done is looked at for what follows from it.
const ROUNDS: usize = 16;

/// A step of a workflow.
pub(crate) type Place = (WorkflowId, i32);

/// A workflow that this transaction wants.
pub(crate) struct Wanted {
    pub(crate) id: WorkflowId,
    /// None: somebody else has it, or it is not known.
    pub(crate) policy: Option<String>,
    pub(crate) known: bool,
}

/// What has become of a member.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) id: i64,
    pub(crate) place: Place,
    pub(crate) run: i64,
    pub(crate) ended: i32,
    pub(crate) failed: i32,
}

/// The `run` of an event that stands for none: the step is to be looked at again.
pub(crate) const LOOK_AGAIN: i64 = 0;
/// The same, and what was ended for the step's sake is to be revived.
pub(crate) const GO_ON_REVIVING: i64 = -1;

/// The events of one step, together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) ended: i32,
    pub(crate) failed: i32,
    pub(crate) first_bad: Option<i64>,
    /// Whether something bad of the step is so no longer.
    revived: bool,
    go_on_reviving: bool,
}

/// A step after the count.
pub(crate) struct Counted {
    pub(crate) place: Place,
    pub(crate) pending: i32,
    pub(crate) failed: i32,
    pub(crate) culprit: Option<i64>,
}

/// What a statement has moved of what it has seen.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub(crate) seen: i64,
    pub(crate) count: i64,
    pub(crate) queues: Vec<String>,
}

/// A workflow as it stands.
pub(crate) struct Standing {
    pub(crate) id: WorkflowId,
    pub(crate) count: WorkflowCount,
    pub(crate) last_step: Option<i32>,
    /// The run for the case of a failure, while it waits.
    pub(crate) failure_run: Option<RunId>,
}

/// The statements of an engine, in one transaction.
pub(crate) trait Ledger {
    async fn take(&mut self, ids: &[WorkflowId]) -> Result<Vec<Wanted>, sqlx::Error>;
    async fn events(&mut self, ids: &[WorkflowId]) -> Result<Vec<Event>, sqlx::Error>;
    async fn count(&mut self, sums: &BTreeMap<Place, Sum>) -> Result<Vec<Counted>, sqlx::Error>;
    /// Finds the culprits of steps anew.
    async fn culprits(&mut self, places: &[Place]) -> Result<HashMap<Place, Option<i64>>, sqlx::Error>;
    async fn release(&mut self, places: &[Place]) -> Result<Moved, sqlx::Error>;
    /// With the run that each step has failed for.
    async fn fail(&mut self, places: &[(Place, Option<i64>)]) -> Result<Moved, sqlx::Error>;
    async fn revive(&mut self, places: &[Place]) -> Result<Moved, sqlx::Error>;
    /// Leaves events that stand for no run.
    async fn note(&mut self, notes: &BTreeSet<(Place, i64)>) -> Result<(), sqlx::Error>;
    async fn standings(&mut self, ids: &[WorkflowId]) -> Result<Vec<Standing>, sqlx::Error>;
    async fn end(&mut self, ends: &[(WorkflowId, WorkflowStatus)]) -> Result<(), sqlx::Error>;
    /// Runs for the case of a failure: whether each starts, or ends unneeded.
    async fn on_failure(&mut self, runs: &[(RunId, bool)]) -> Result<Moved, sqlx::Error>;
}

/// Advances these workflows, as far as they are free and as one transaction goes.
pub(crate) async fn advance(ledger: &mut impl Ledger, ids: &[WorkflowId]) -> Result<Advanced, sqlx::Error> {
    let wanted = ledger.take(ids).await?;
    let unknown: Vec<WorkflowId> = wanted.iter().filter(|one| !one.known).map(|one| one.id).collect();
    if !unknown.is_empty() {
        // Somebody has deleted the workflow's row: there is nothing to count for.
        ledger.events(&unknown).await?;
    }
    let policies: HashMap<WorkflowId, Policy> =
        wanted.iter().filter_map(|one| Some((one.id, Policy::named(one.policy.as_ref()?)))).collect();
    let held = wanted.iter().any(|one| one.known && one.policy.is_none());
    let mut pass = Pass { policies, done: Advanced { held, ..Advanced::default() }, notes: BTreeSet::new() };
    if pass.policies.is_empty() {
        return Ok(pass.done);
    }
    let taken: Vec<WorkflowId> = pass.policies.keys().copied().collect();
    let mut rounds = 0;
    while rounds < ROUNDS && pass.round(ledger, &taken).await? {
        rounds += 1;
    }
    pass.done.more |= rounds == ROUNDS;
    pass.settle(ledger, &taken).await?;
    if !pass.notes.is_empty() {
        ledger.note(&pass.notes).await?;
    }
    pass.done.released.sort_unstable();
    pass.done.released.dedup();
    Ok(pass.done)
}

struct Pass {
    policies: HashMap<WorkflowId, Policy>,
    done: Advanced,
    notes: BTreeSet<(Place, i64)>,
}

impl Pass {
    /// Counts, and does what follows. Returns whether that may have led to more events, or there were more from the beginning.
    async fn round(&mut self, ledger: &mut impl Ledger, taken: &[WorkflowId]) -> Result<bool, sqlx::Error> {
        let events = ledger.events(taken).await?;
        if events.is_empty() {
            return Ok(false);
        }
        self.done.counted += events.len() as u64;
        let mut again = is_full(events.len(), BATCH);
        let sums = sums(events);
        let mut steps = ledger.count(&sums).await?;
        self.name_culprits(ledger, &sums, &mut steps).await?;
        let (mut revive, mut fail, mut release) = (Vec::new(), Vec::new(), Vec::new());
        for step in &steps {
            let sum = sums.get(&step.place).copied().unwrap_or_default();
            let mended = step.failed <= 0 && (step.failed - sum.failed > 0 || sum.go_on_reviving);
            let mut count = StepCount { pending: step.pending, failed: step.failed, mended };
            let policy = self.policies.get(&step.place.0).copied().unwrap_or(Policy::Fail);
            if step_move(count, policy) == StepMove::Revive {
                revive.push(step.place);
                count.mended = false;
            }
            match step_move(count, policy) {
                StepMove::Release => release.push(step.place),
                StepMove::Fail => fail.push((step.place, step.culprit)),
                StepMove::Revive | StepMove::Nothing => {}
            }
        }
        if !revive.is_empty() {
            let moved = ledger.revive(&revive).await?;
            again |= moved.count > 0;
            self.note(&moved, revive.iter().copied(), GO_ON_REVIVING);
        }
        if !fail.is_empty() {
            let moved = ledger.fail(&fail).await?;
            again |= moved.count > 0;
            self.note(&moved, fail.iter().map(|(place, _)| *place), LOOK_AGAIN);
        }
        if !release.is_empty() {
            let moved = ledger.release(&release).await?;
            self.note(&moved, release.iter().copied(), LOOK_AGAIN);
            self.done.released.extend(moved.queues);
        }
        Ok(again)
    }

    /// A culprit that runs again is one no more, even if its step is still bad.
    async fn name_culprits(
        &self,
        ledger: &mut impl Ledger,
        sums: &BTreeMap<Place, Sum>,
        steps: &mut [Counted],
    ) -> Result<(), sqlx::Error> {
        let doubtful: Vec<Place> = steps
            .iter()
            .filter(|step| step.failed > 0 && sums.get(&step.place).is_some_and(|sum| sum.revived))
            .map(|step| step.place)
            .collect();
        if doubtful.is_empty() {
            return Ok(());
        }
        let found = ledger.culprits(&doubtful).await?;
        for step in steps {
            if let Some(culprit) = found.get(&step.place) {
                step.culprit = *culprit;
            }
        }
        Ok(())
    }

    /// Has steps looked at again of which a statement has not moved all that waits.
    fn note(&mut self, moved: &Moved, places: impl Iterator<Item = Place>, what: i64) {
        let full = moved.seen >= BATCH;
        let passed_over = moved.count < moved.seen;
        if full || passed_over {
            self.notes.extend(places.map(|place| (place, what)));
        }
        self.done.more |= full;
        self.done.held |= passed_over;
    }

    /// Ends workflows whose last step is over, and sees to their runs for the case of a failure.
    async fn settle(&mut self, ledger: &mut impl Ledger, taken: &[WorkflowId]) -> Result<(), sqlx::Error> {
        let (mut ends, mut runs, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for standing in ledger.standings(taken).await? {
            let status = status_of(standing.count);
            if status != standing.count.status {
                ends.push((standing.id, status));
            }
            let Some(run) = standing.failure_run else { continue };
            let starts = match on_failure(status, standing.count) {
                OnFailure::Wait => continue,
                OnFailure::Start => true,
                OnFailure::Discard => false,
            };
            runs.push((run, starts));
            places.extend(standing.last_step.map(|step| (standing.id, step)));
        }
        if !ends.is_empty() {
            ledger.end(&ends).await?;
        }
        if !runs.is_empty() {
            let moved = ledger.on_failure(&runs).await?;
            self.note(&moved, places.into_iter(), LOOK_AGAIN);
            self.done.released.extend(moved.queues);
        }
        Ok(())
    }
}

/// Whether so many are as many as one statement takes.
pub(crate) fn is_full(found: usize, limit: i64) -> bool {
    i64::try_from(found).is_ok_and(|found| found >= limit)
}

/// Events of a run are summed in the order in which they came.
fn sums(mut events: Vec<Event>) -> BTreeMap<Place, Sum> {
    events.sort_unstable_by_key(|event| event.id);
    let mut sums: BTreeMap<Place, Sum> = BTreeMap::new();
    for event in events {
        let sum = sums.entry(event.place).or_default();
        sum.ended += event.ended;
        sum.failed += event.failed;
        sum.revived |= event.failed < 0;
        sum.go_on_reviving |= event.run == GO_ON_REVIVING;
        if event.failed > 0 {
            sum.first_bad.get_or_insert(event.run);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use reproq_model::WorkflowId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_events_of_a_step_are_one_sum() {
        let id = WorkflowId(Uuid::nil());
        let event =
            |number, step, run, ended, failed| Event { id: number, place: (id, step), run, ended, failed };
        let sums = sums(vec![
            event(3, 1, 12, -1, -1),
            event(1, 1, 11, 1, 0),
            event(4, 1, 13, 1, 1),
            event(2, 1, 12, 1, 1),
            event(5, 2, GO_ON_REVIVING, 0, 0),
        ]);
        assert_eq!(
            sums[&(id, 1)],
            Sum { ended: 2, failed: 1, first_bad: Some(12), revived: true, go_on_reviving: false }
        );
        assert_eq!(sums[&(id, 2)], Sum { go_on_reviving: true, ..Sum::default() });
    }
}
