//! Which queues the worker claims from at this moment: its plan, and for globs what the database has said.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use reproq_model::QueuePlan;

/// The least time between two questions for the queues that there are, unless there is reason to doubt the last answer.
const KNOWN: Duration = Duration::from_millis(100);

/// The queues of the plan that are known to exist; for a plan that names them all, always the same.
pub(crate) struct Selection {
    plan: QueuePlan,
    selected: Vec<String>,
    asked: Option<Instant>,
    in_doubt: bool,
}

impl Selection {
    /// Only the plain names, until something has been [learnt](Self::learn).
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

    /// Whether it is time to ask which queues there are: the last answer is old, or in doubt and the claim brought nothing.
    pub(crate) fn should_ask(&self, now: Instant, empty_handed: bool) -> bool {
        let old = self.asked.is_none_or(|asked| now.duration_since(asked) >= KNOWN);
        self.plan.is_open_ended() && (old || (self.in_doubt && empty_handed))
    }

    /// Takes note of the queues that there are. Returns whether that brings another one.
    pub(crate) fn learn(&mut self, existing: &[String], now: Instant) -> bool {
        self.asked = Some(now);
        self.in_doubt = false;
        let selected = self.plan.select(existing);
        let known: HashSet<String> = std::mem::replace(&mut self.selected, selected).into_iter().collect();
        self.selected.iter().any(|queue| !known.contains(queue))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(queues: &str) -> Selection {
        Selection::new(QueuePlan::parse(queues.split(','), None).unwrap())
    }

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_plan_of_names_never_asks_and_claims_once_per_round() {
        let mut selection = selection("a,b");
        assert!(!selection.doubt() && !selection.should_ask(Instant::now(), true));
        assert_eq!(selection.rounds(), [names("a b")]);
    }

    #[test]
    fn an_open_ended_plan_asks_at_first_and_then_ten_times_a_second() {
        let (mut selection, start) = (selection("a,mail-*"), Instant::now());
        assert!(selection.should_ask(start, false));
        assert!(selection.learn(&names("mail-1 other"), start));
        assert_eq!(selection.queues(), ["a", "mail-1"]);
        assert!(!selection.should_ask(start + Duration::from_millis(99), true));
        assert!(selection.should_ask(start + Duration::from_millis(100), false));
    }

    #[test]
    fn in_doubt_it_asks_at_once_but_not_while_there_is_work() {
        let (mut selection, start) = (selection("*"), Instant::now());
        selection.learn(&[], start);
        assert!(selection.doubt());
        assert!(!selection.should_ask(start, false));
        assert!(selection.should_ask(start, true));
        selection.learn(&[], start);
        assert!(!selection.should_ask(start, true), "the answer has settled it");
    }

    #[test]
    fn only_a_queue_more_is_news() {
        let (mut selection, now) = (selection("*"), Instant::now());
        assert!(selection.rounds().is_empty(), "nowhere to claim from");
        assert!(selection.learn(&names("a b"), now));
        assert!(!selection.learn(&names("b a"), now) && !selection.learn(&names("b"), now));
        assert!(selection.learn(&names("b a"), now));
    }
}
