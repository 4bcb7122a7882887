//! How far a run is kept apart from others: by its worker, by its queue, by its task.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

use crate::queues;

/// Where an attempt runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// In a warm child, which goes on with the next run.
    #[default]
    Pool,
    /// In a child of its own, forked from the process that has imported the site.
    Fork,
    /// In a Python process of its own, which imports the site itself.
    Process,
}

impl Isolation {
    /// All of them, the fastest first.
    pub const ALL: [Self; 3] = [Self::Pool, Self::Fork, Self::Process];
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pool => "pool",
            Self::Fork => "fork",
            Self::Process => "process",
        })
    }
}

impl FromStr for Isolation {
    type Err = IsolationError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|isolation| isolation.to_string() == word);
        known.ok_or_else(|| IsolationError::Unknown(word.to_owned()))
    }
}

/// Why a list of `queue=isolation` cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IsolationError {
    /// An entry that is not of this form.
    #[error("`{0}` does not say which queue runs how")]
    Form(String),
    /// A word that is none.
    #[error("`{0}` is no way to run tasks")]
    Unknown(String),
}

impl IsolationError {
    /// What to do.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Form(_) => {
                "write a queue or a glob, `=`, and one of pool, fork, process: reports=fork,pdf-*=process"
            }
            Self::Unknown(_) => "it is one of pool, fork, process",
        }
    }
}

/// Which isolation a run gets: its task's, else its queue's, else the worker's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IsolationPlan {
    otherwise: Isolation,
    by_queue: Vec<(String, Isolation)>,
}

impl IsolationPlan {
    /// `entries` are `queue=isolation`, where the queue may be a glob; of several that match, the first counts.
    pub fn parse<S: AsRef<str>>(
        otherwise: Isolation,
        entries: impl IntoIterator<Item = S>,
    ) -> Result<Self, IsolationError> {
        let entry = |text: &str| match text.rsplit_once('=') {
            Some((queue, word)) if !queue.trim().is_empty() => {
                Ok((queue.trim().to_owned(), word.trim().parse()?))
            }
            _ => Err(IsolationError::Form(text.to_owned())),
        };
        let by_queue = entries.into_iter().map(|text| entry(text.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { otherwise, by_queue })
    }

    /// The worker's own.
    #[must_use]
    pub const fn otherwise(&self) -> Isolation {
        self.otherwise
    }

    /// For a run of this queue, whose task wants `task` or does not care.
    #[must_use]
    pub fn of(&self, queue: &str, task: Option<Isolation>) -> Isolation {
        let by_queue = || self.by_queue.iter().find(|(pattern, _)| queues::matches(pattern, queue));
        task.or_else(|| by_queue().map(|(_, isolation)| *isolation)).unwrap_or(self.otherwise)
    }

    /// Whether any run may need the process that has imported the site. Tasks may ask for it at any time, unless the whole
    /// worker does without.
    #[must_use]
    pub fn forks(&self) -> bool {
        self.otherwise != Isolation::Process
            || self.by_queue.iter().any(|(_, isolation)| *isolation != Isolation::Process)
    }

    /// Whether runs get a fork of their own unless their tasks say otherwise, in some queue at least.
    #[must_use]
    pub fn forks_for_each(&self) -> bool {
        self.otherwise == Isolation::Fork
            || self.by_queue.iter().any(|(_, isolation)| *isolation == Isolation::Fork)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_alone_may_be_what_forks_for_each_run() {
        let forks = |otherwise, queues: &[&str]| {
            IsolationPlan::parse(otherwise, queues.iter().copied()).unwrap().forks_for_each()
        };
        assert!(forks(Isolation::Fork, &[]));
        assert!(forks(Isolation::Pool, &["reports=fork"]));
        assert!(!forks(Isolation::Pool, &["reports=process"]));
    }

    #[test]
    fn the_task_comes_before_its_queue_and_the_queue_before_the_worker() {
        let plan =
            IsolationPlan::parse(Isolation::Pool, ["reports=fork", "pdf-*=process", "*-1=pool"]).unwrap();
        assert_eq!(plan.of("default", None), Isolation::Pool);
        assert_eq!(plan.of("reports", None), Isolation::Fork);
        assert_eq!(plan.of("pdf-1", None), Isolation::Process, "the first that matches");
        assert_eq!(plan.of("pdf-1", Some(Isolation::Pool)), Isolation::Pool);
    }

    #[test]
    fn what_says_nothing_is_refused() {
        let refused = |entry: &str| IsolationPlan::parse(Isolation::Pool, [entry]).unwrap_err();
        assert_eq!(refused("reports"), IsolationError::Form("reports".into()));
        assert_eq!(refused("=fork"), IsolationError::Form("=fork".into()));
        assert_eq!(refused("reports=thread"), IsolationError::Unknown("thread".into()));
    }

    #[test]
    fn a_worker_of_processes_needs_nothing_to_fork_from() {
        let plan = |entries: &[&str]| IsolationPlan::parse(Isolation::Process, entries).unwrap();
        assert!(!plan(&[]).forks() && plan(&["mail=pool"]).forks());
    }
}
