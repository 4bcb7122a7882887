//! Which queues a worker serves, and in which order.

use std::collections::HashSet;
use std::fmt;

use rand::{Rng, RngExt};
use thiserror::Error;

/// How the queues of a worker share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueOrder {
    /// The best run of all queues comes first.
    #[default]
    Merged,
    /// A queue is worked on only while those listed before it have nothing to claim.
    Strict,
    /// Each claim draws which queue comes first; the weights are the odds.
    Weighted,
}

/// The list of a worker's queues: names, globs, exclusions and weights, in the order in which they were written.
///
/// | written | meaning |
/// |---|---|
/// | `mail` | the queue of this name |
/// | `mail-*`, `tmp-?`, `*` | every queue that matches, also later ones; `*` is any text, `?` one character |
/// | `!slow`, `!tmp-*` | never these, whatever else matches them; alone, they are taken away from `*` |
/// | `critical=6`, `mail-*=2` | with this weight; without one it is 1 |
///
/// A queue that several of them match belongs to the first. A queue whose own name starts with `!`, or has `*`, `?` or
/// `=` in it, is written with `?` in place of that character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePlan {
    patterns: Vec<String>,
    listed: Vec<Listed>,
    order: QueueOrder,
}

/// A name or a glob of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    pattern: String,
    weight: u32,
}

/// Why a list of queues makes no plan. The text says what is wrong; [`QueuePlanError::hint`] says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QueuePlanError {
    /// An entry without a name.
    #[error("`{0}` names no queue")]
    NoName(String),
    /// What follows the `=` is no weight.
    #[error("the weight of `{0}` is no whole number from 1 to {max}: with 0 it would never be served", max = u32::MAX)]
    Weight(String),
    /// A weight where weights have no meaning.
    #[error("`{entry}` has a weight, which the {order} order does not use")]
    WeightUnused {
        /// The entry.
        entry: String,
        /// The order that was asked for.
        order: QueueOrder,
    },
    /// An exclusion with a weight.
    #[error("`{0}` excludes a queue, and what is not served has no weight")]
    WeightExcluded(String),
    /// The same name or pattern twice.
    #[error("`{0}` is listed twice")]
    Twice(String),
    /// A name that is listed and excluded.
    #[error("`{name}` is listed, and `!{exclusion}` excludes it")]
    Excluded {
        /// The name.
        name: String,
        /// The pattern that excludes it.
        exclusion: String,
    },
    /// A name behind a glob that matches it, in an order in which places count.
    #[error("`{name}` has no place of its own: `{glob}` is listed before it and matches it")]
    Shadowed {
        /// The name.
        name: String,
        /// The glob.
        glob: String,
    },
    /// Nothing at all.
    #[error("no queue is listed, so the worker would do nothing")]
    Nothing,
}

impl QueuePlan {
    /// Reads a list. Without an order it is [`QueueOrder::Weighted`] if there are weights, else [`QueueOrder::Merged`].
    pub fn parse<S: AsRef<str>>(
        entries: impl IntoIterator<Item = S>,
        order: Option<QueueOrder>,
    ) -> Result<Self, QueuePlanError> {
        let mut plan = Self { patterns: Vec::new(), listed: Vec::new(), order: order.unwrap_or_default() };
        for entry in entries {
            let entry = entry.as_ref().trim();
            let (pattern, weight) = read_entry(entry)?;
            match order {
                None if weight.is_some() => plan.order = QueueOrder::Weighted,
                Some(order @ (QueueOrder::Merged | QueueOrder::Strict)) if weight.is_some() => {
                    return Err(QueuePlanError::WeightUnused { entry: entry.to_owned(), order });
                }
                _ => {}
            }
            if plan.patterns.iter().any(|known| known == pattern) {
                return Err(QueuePlanError::Twice(pattern.to_owned()));
            }
            plan.patterns.push(pattern.to_owned());
            if !pattern.starts_with('!') {
                plan.listed.push(Listed { pattern: pattern.to_owned(), weight: weight.unwrap_or(1) });
            }
        }
        if plan.patterns.is_empty() {
            return Err(QueuePlanError::Nothing);
        }
        if plan.listed.is_empty() {
            plan.listed.push(Listed { pattern: "*".to_owned(), weight: 1 });
        }
        plan.check_names()?;
        Ok(plan)
    }

    /// No name may stand where it can have no effect.
    fn check_names(&self) -> Result<(), QueuePlanError> {
        for (place, listed) in self.listed.iter().enumerate().filter(|(_, listed)| !listed.is_glob()) {
            let name = &listed.pattern;
            if let Some(exclusion) = exclusions(&self.patterns).find(|pattern| matches(pattern, name)) {
                let exclusion = exclusion.to_owned();
                return Err(QueuePlanError::Excluded { name: name.clone(), exclusion });
            }
            let before = self.listed[..place].iter().find(|before| matches(&before.pattern, name));
            if let (Some(before), QueueOrder::Strict | QueueOrder::Weighted) = (before, self.order) {
                let glob = before.pattern.clone();
                return Err(QueuePlanError::Shadowed { name: name.clone(), glob });
            }
        }
        Ok(())
    }

    /// Names, globs and exclusions as they were written, without the weights: what a worker registers.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// How the queues share the worker.
    #[must_use]
    pub fn order(&self) -> QueueOrder {
        self.order
    }

    /// Whether the queues depend on which ones there are.
    #[must_use]
    pub fn is_open_ended(&self) -> bool {
        self.listed.iter().any(Listed::is_glob)
    }

    /// Whether a queue of this name is served.
    #[must_use]
    pub fn matches(&self, queue: &str) -> bool {
        serves(&self.patterns, queue)
    }

    /// The queues to claim from when `existing` are those that hold something: every plain name, and what the globs find,
    /// by name; each in the place of the first entry that matches it.
    #[must_use]
    pub fn select(&self, existing: &[String]) -> Vec<String> {
        let mut existing: Vec<&String> = existing.iter().filter(|queue| self.matches(queue)).collect();
        existing.sort_unstable();
        let mut chosen = HashSet::new();
        let mut selected = Vec::new();
        for listed in &self.listed {
            let found: Vec<&String> = if listed.is_glob() {
                existing.iter().copied().filter(|queue| matches(&listed.pattern, queue)).collect()
            } else {
                vec![&listed.pattern]
            };
            selected.extend(found.into_iter().filter(|queue| chosen.insert(queue.as_str())).cloned());
        }
        selected
    }

    /// The groups of `selected` queues that one claim goes through: it takes from a group only what those before it have
    /// left room for, and the best run first within a group. What a glob has found is one group.
    pub fn rounds(&self, selected: &[String], rng: &mut impl Rng) -> Vec<Vec<String>> {
        let mut groups: Vec<Vec<String>> = match self.order {
            QueueOrder::Merged => vec![selected.to_vec()],
            QueueOrder::Strict => self.grouped(selected).into_iter().map(|(_, group)| group).collect(),
            QueueOrder::Weighted => drawn(self.grouped(selected), rng),
        };
        groups.retain(|group| !group.is_empty());
        groups
    }

    /// The selected queues of each entry, with its weight.
    fn grouped(&self, selected: &[String]) -> Vec<(u32, Vec<String>)> {
        let mut groups: Vec<_> = self.listed.iter().map(|listed| (listed.weight, Vec::new())).collect();
        for queue in selected {
            if let Some(place) = self.listed.iter().position(|listed| matches(&listed.pattern, queue)) {
                groups[place].1.push(queue.clone());
            }
        }
        groups
    }
}

/// All groups in an order drawn without putting back, each time with the weights of those that are left as the odds.
///
/// Exponential waiting times with the weights as rates do that: the first to come is each one with its share.
fn drawn(groups: Vec<(u32, Vec<String>)>, rng: &mut impl Rng) -> Vec<Vec<String>> {
    let mut timed: Vec<(f64, Vec<String>)> = groups
        .into_iter()
        .map(|(weight, group)| (-(1.0 - rng.random::<f64>()).ln() / f64::from(weight), group))
        .collect();
    timed.sort_by(|(left, _), (right, _)| left.total_cmp(right));
    timed.into_iter().map(|(_, group)| group).collect()
}

/// Whether a worker that has registered these [patterns](QueuePlan::patterns) serves a queue of this name.
#[must_use]
pub fn serves(patterns: &[String], queue: &str) -> bool {
    if exclusions(patterns).any(|pattern| matches(pattern, queue)) {
        return false;
    }
    let mut listed = patterns.iter().filter(|pattern| !pattern.starts_with('!')).peekable();
    (listed.peek().is_none() && !patterns.is_empty()) || listed.any(|pattern| matches(pattern, queue))
}

fn exclusions(patterns: &[String]) -> impl Iterator<Item = &str> {
    patterns.iter().filter_map(|pattern| pattern.strip_prefix('!'))
}

/// The pattern, with its `!`, and the weight of one entry.
fn read_entry(entry: &str) -> Result<(&str, Option<u32>), QueuePlanError> {
    let (pattern, weight) = match entry.rsplit_once('=') {
        Some((pattern, weight)) => (pattern.trim_end(), Some(weight.trim())),
        None => (entry, None),
    };
    if pattern.strip_prefix('!').unwrap_or(pattern).is_empty() {
        return Err(QueuePlanError::NoName(entry.to_owned()));
    }
    if weight.is_some() && pattern.starts_with('!') {
        return Err(QueuePlanError::WeightExcluded(entry.to_owned()));
    }
    let read = |text: &str| text.parse().ok().filter(|weight| *weight > 0);
    let weight = weight.map(|text| read(text).ok_or_else(|| QueuePlanError::Weight(entry.to_owned())));
    Ok((pattern, weight.transpose()?))
}

/// Whether all of `name` fits the pattern. Without `*` and `?` a pattern matches itself.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut read) = (0, 0);
    // Where to go on when the text after the last `*` does not fit: that star takes one character more.
    let mut star: Option<(usize, usize)> = None;
    while read < name.len() {
        match pattern.get(at) {
            Some('*') => {
                at += 1;
                star = Some((at, read));
            }
            Some(expected) if *expected == '?' || *expected == name[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((after, from)) = star else { return false };
                (at, read) = (after, from + 1);
                star = Some((after, from + 1));
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

impl Listed {
    fn is_glob(&self) -> bool {
        self.pattern.contains(['*', '?'])
    }
}

impl QueuePlanError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoName(_) | Self::Nothing => {
                "write the queues as names (mail), globs (mail-*) or exclusions (!slow), separated by commas"
            }
            Self::Weight(_) => {
                "write critical=6, or leave the queue out; a queue with = in its name is written with ? in its place"
            }
            Self::WeightUnused { .. } => "remove the weights, or set the order to weighted",
            Self::WeightExcluded(_) => "remove the weight",
            Self::Twice(_) => "keep one of the two",
            Self::Excluded { .. } => "remove the name or the exclusion",
            Self::Shadowed { .. } => "list the name before the glob, or leave it out",
        }
    }
}

impl fmt::Display for QueueOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Merged => "merged",
            Self::Strict => "strict",
            Self::Weighted => "weighted",
        })
    }
}

#[cfg(test)]
#[path = "queues_tests.rs"]
mod tests;
