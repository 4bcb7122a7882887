use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::RunStatus;

const fn step(pending: i32, failed: i32) -> StepCount {
    StepCount { pending, failed, mended: false }
}

const fn mended(pending: i32) -> StepCount {
    StepCount { pending, failed: 0, mended: true }
}

#[test]
fn a_step_lets_go_of_what_waits_when_it_is_over() {
    for policy in [Policy::Fail, Policy::Continue] {
        assert_eq!(step_move(step(1, 0), policy), StepMove::Nothing);
        assert_eq!(step_move(step(0, 0), policy), StepMove::Release);
        assert_eq!(step_move(mended(1), policy), StepMove::Revive);
        assert_eq!(step_move(mended(0), policy), StepMove::Revive);
    }
}

#[test]
fn a_failure_spoils_what_waits_at_once_or_not_at_all() {
    for pending in 0..3 {
        assert_eq!(step_move(step(pending, 1), Policy::Fail), StepMove::Fail);
    }
    assert_eq!(step_move(step(1, 1), Policy::Continue), StepMove::Nothing);
    assert_eq!(step_move(step(0, 1), Policy::Continue), StepMove::Release);
}

const fn count(status: WorkflowStatus, ended: (i32, i32), last: Option<(i32, i32)>) -> WorkflowCount {
    WorkflowCount { status, expected: 3, succeeded: ended.0, failed: ended.1, last }
}

#[test]
fn a_workflow_is_what_its_last_step_is() {
    use WorkflowStatus::{Cancelled, Failed, Running, Successful, WaitingCallback};
    for before in [Running, Successful, Failed] {
        assert_eq!(status_of(count(before, (1, 1), Some((1, 0)))), Running, "revived, if it was over");
        assert_eq!(status_of(count(before, (1, 2), Some((0, 1)))), Failed);
        assert_eq!(status_of(count(before, (2, 1), Some((0, 0)))), Successful, "a failure that was let pass");
        assert_eq!(status_of(count(before, (2, 0), None)), Running);
        assert_eq!(status_of(count(before, (2, 1), None)), Failed);
        assert_eq!(status_of(count(before, (3, 0), None)), Successful);
    }
    assert_eq!(status_of(count(Cancelled, (3, 0), Some((0, 0)))), Cancelled);
    assert_eq!(status_of(count(WaitingCallback, (3, 0), None)), WaitingCallback);
}

#[test]
fn the_run_for_a_failure_waits_for_the_last_run_and_starts_only_after_a_failure() {
    use WorkflowStatus::{Cancelled, Failed, Running, Successful};
    let (some, all) = (count(Running, (1, 1), None), count(Running, (1, 2), None));
    assert_eq!(on_failure(Failed, some), OnFailure::Wait);
    assert_eq!(on_failure(Failed, all), OnFailure::Start);
    assert_eq!(on_failure(Successful, all), OnFailure::Discard);
    assert_eq!(on_failure(Running, all), OnFailure::Wait);
    assert_eq!(on_failure(Cancelled, all), OnFailure::Wait);
}

#[test]
fn texts_of_the_database_read_back() {
    for status in WorkflowStatus::ALL {
        assert_eq!(status.as_str().parse(), Ok(status));
    }
    assert_eq!((Policy::named("continue"), Policy::named("?")), (Policy::Continue, Policy::Fail));
}

/// What a tree of chains and groups is made of.
#[derive(Debug, Clone)]
enum Part {
    Run,
    Chain(Vec<Part>),
    Group(Vec<Part>),
}

fn parts() -> impl Strategy<Value = Part> {
    Just(Part::Run).prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Part::Chain),
            prop::collection::vec(inner, 1..4).prop_map(Part::Group),
        ]
    })
}

#[derive(Debug, Clone)]
struct Run {
    step: usize,
    after: Option<usize>,
    status: RunStatus,
    /// Ended for the sake of another.
    spoilt: bool,
}

/// A workflow in memory, which counts late, as a store does.
#[derive(Debug, Default)]
struct World {
    runs: Vec<Run>,
    steps: Vec<(i32, i32)>,
    events: Vec<(usize, i32, i32)>,
}

impl World {
    fn of(part: &Part) -> (Self, usize) {
        let mut world = Self { steps: vec![(0, 0)], ..Self::default() };
        world.place(part, None, 0);
        (world, 0)
    }

    fn place(&mut self, part: &Part, after: Option<usize>, step: usize) {
        match part {
            Part::Run => {
                let status = if after.is_none() { RunStatus::Ready } else { RunStatus::Waiting };
                self.steps[step].0 += 1;
                self.runs.push(Run { step, after, status, spoilt: false });
            }
            Part::Group(parts) => parts.iter().for_each(|part| self.place(part, after, step)),
            Part::Chain(parts) => {
                let mut after = after;
                for (at, part) in parts.iter().enumerate() {
                    let own = if at + 1 == parts.len() {
                        step
                    } else {
                        self.steps.push((0, 0));
                        self.steps.len() - 1
                    };
                    self.place(part, after, own);
                    after = Some(own);
                }
            }
        }
    }

    fn go(&mut self, run: usize, to: RunStatus) {
        let bad = |status| matches!(status, RunStatus::Failed | RunStatus::Cancelled);
        let from = std::mem::replace(&mut self.runs[run].status, to);
        let ended = i32::from(to.is_terminal()) - i32::from(from.is_terminal());
        let failed = i32::from(bad(to)) - i32::from(bad(from));
        if ended != 0 || failed != 0 {
            self.events.push((self.runs[run].step, ended, failed));
        }
    }

    fn advance(&mut self, policy: Policy) {
        while !self.events.is_empty() {
            let mut touched: HashMap<usize, i32> = HashMap::new();
            for (step, ended, failed) in std::mem::take(&mut self.events) {
                touched.entry(step).or_insert(self.steps[step].1);
                self.steps[step].0 -= ended;
                self.steps[step].1 += failed;
            }
            for (step, failed_before) in touched {
                let (pending, failed) = self.steps[step];
                let mut count = StepCount { pending, failed, mended: failed_before > 0 && failed == 0 };
                loop {
                    let next = step_move(count, policy);
                    self.carry_out(step, next);
                    count.mended = false;
                    if next != StepMove::Revive {
                        break;
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, step: usize, next: StepMove) {
        for run in 0..self.runs.len() {
            let Run { after, status, spoilt, step: own } = self.runs[run];
            match next {
                _ if after != Some(step) => {}
                StepMove::Release if status == RunStatus::Waiting => self.go(run, RunStatus::Ready),
                StepMove::Fail if status == RunStatus::Waiting => {
                    self.runs[run].spoilt = true;
                    self.go(run, RunStatus::Failed);
                    self.carry_out(own, StepMove::Fail);
                }
                StepMove::Revive if status == RunStatus::Failed && spoilt => {
                    self.runs[run].spoilt = false;
                    self.go(run, RunStatus::Waiting);
                }
                _ => {}
            }
        }
    }

    fn at(&self, status: RunStatus) -> Vec<usize> {
        (0..self.runs.len()).filter(|run| self.runs[*run].status == status).collect()
    }

    /// Ends runs as `dice` says, and counts now and then, until nothing is left to do.
    fn play(&mut self, policy: Policy, dice: &mut impl Iterator<Item = u8>) {
        loop {
            let ready = self.at(RunStatus::Ready);
            let Some(next) = ready.get(usize::from(dice.next().unwrap_or(0)) % ready.len().max(1)) else {
                if self.events.is_empty() {
                    return;
                }
                self.advance(policy);
                continue;
            };
            if let Some(before) = self.runs[*next].after {
                let (pending, failed) = self.truth(before);
                assert!(pending == 0 && (policy == Policy::Continue || failed == 0), "started too early");
            }
            let dice = dice.next().unwrap_or(255);
            self.go(*next, if dice.is_multiple_of(5) { RunStatus::Failed } else { RunStatus::Successful });
            if dice.is_multiple_of(3) {
                self.advance(policy);
            }
        }
    }

    fn truth(&self, step: usize) -> (i32, i32) {
        let of = |wanted: &dyn Fn(RunStatus) -> bool| {
            self.runs.iter().filter(|run| run.step == step && wanted(run.status)).count()
        };
        let number = |count: usize| i32::try_from(count).unwrap();
        let failed = of(&|status| status == RunStatus::Failed);
        (number(of(&|status| !status.is_terminal())), number(failed))
    }
}

proptest! {
    #[test]
    fn whatever_ends_how_and_is_counted_when_everything_ends_and_counts_are_true(
        part in parts(), go_on in any::<bool>(), dice in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let policy = if go_on { Policy::Continue } else { Policy::Fail };
        let (mut world, last) = World::of(&part);
        let mut dice = dice.into_iter();
        world.play(policy, &mut dice);
        prop_assert!(world.runs.iter().all(|run| run.status.is_terminal()), "{world:?}");
        for step in 0..world.steps.len() {
            prop_assert_eq!(world.steps[step], world.truth(step));
        }
        if go_on {
            prop_assert!(world.runs.iter().all(|run| !run.spoilt));
        }

        // Whoever revives all that has failed by itself gets the whole workflow, in order.
        for run in world.at(RunStatus::Failed) {
            match world.runs[run] {
                Run { spoilt: true, .. } => {}
                Run { after: None, .. } => world.go(run, RunStatus::Ready),
                Run { after: Some(step), .. } => {
                    world.go(run, RunStatus::Waiting);
                    world.events.push((step, 0, 0));
                }
            }
        }
        world.advance(policy);
        world.play(policy, &mut std::iter::repeat(1));
        prop_assert!(world.runs.iter().all(|run| run.status == RunStatus::Successful), "{world:?}");
        prop_assert_eq!(world.steps[last], (0, 0));
    }
}
