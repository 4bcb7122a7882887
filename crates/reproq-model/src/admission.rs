//! Which of the waiting runs with keys may start now. Pure: the store brings the candidates and the facts about their keys,
//! read under the keys' locks, and writes what is decided here. Both engines decide by this one function.
//!
//! Groups (a fairness key, else the concurrency key, else the lock, else the rate) take turns: each gets one run per turn,
//! whichever worker's turn it is, so a group with a hundred thousand runs delays one with a single run by one batch. Within a
//! turn, and within a group, priority and age decide.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::RunId;
use crate::rate::Rate;

/// What happens to a run whose concurrency key is full when its turn comes: `task_runs.over_limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverLimit {
    /// It waits.
    #[default]
    Wait,
    /// It is cancelled.
    Discard,
    /// It is cancelled if a later one like it waits: only the latest is kept.
    Replace,
}

impl OverLimit {
    /// As the database has it. What is unknown waits: nothing is lost by that.
    #[must_use]
    pub const fn from_column(value: i16) -> Self {
        match value {
            1 => Self::Discard,
            2 => Self::Replace,
            _ => Self::Wait,
        }
    }
}

/// What a claim says about a run that it brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It starts.
    Start,
    /// It ends: its time is over.
    Expired,
    /// It ends: its key is full, and it was not to wait.
    Discarded,
    /// It ends: its key is full, and a later one waits in its place.
    Replaced,
}

/// A waiting run with keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The run.
    pub id: RunId,
    /// Its place in line.
    pub claim_key: i64,
    /// The group that takes turns.
    pub group: String,
    /// Everything that can hold it back, as one name: runs with the same one stand in one line.
    pub line: String,
    /// Its lock.
    pub lock: Option<String>,
    /// Its concurrency key.
    pub concurrency: Option<String>,
    /// The limit that the run itself names; 0: none.
    pub own_limit: i32,
    /// Names of all rates that count it, whether they exist or not.
    pub rates: Vec<String>,
    /// The rate that the run itself names, if it does.
    pub own_rate: Option<(String, Option<Rate>)>,
    /// What to do when its concurrency key is full.
    pub over_limit: OverLimit,
    /// Whether no run that was enqueued later, and can still start, waits behind the same keys.
    pub is_latest: bool,
    /// Whether its time is over.
    pub expired: bool,
}

/// A rate that exists, and how far it is used up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateState {
    /// The rate.
    pub rate: Rate,
    /// Its theoretical arrival time.
    pub tat: Option<i64>,
    /// Whether it was made for a rate that runs name; otherwise an operator has set it.
    pub stated: bool,
}

/// What is known about the keys of the candidates.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The present, microseconds since 1970, later than the locking of all keys.
    pub now: i64,
    /// Locks that running runs hold.
    pub locks: HashSet<String>,
    /// Slot numbers that running runs hold, by concurrency key.
    pub slots: HashMap<String, HashSet<i32>>,
    /// Limits by concurrency key.
    pub limits: HashMap<String, i32>,
    /// Rates in force, by name.
    pub rates: HashMap<String, RateState>,
    /// What runs have said about a rate, by name.
    pub stated: HashMap<String, Option<Rate>>,
    /// Names of rates that an operator has switched off, whatever runs say.
    pub switched_off: HashSet<String>,
}

/// A decision about one candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// The run.
    pub id: RunId,
    /// The slot that it holds: from 1 under a limit; below 0 it only marks that the run holds its keys.
    pub slot_no: i32,
    /// What is to become of it.
    pub verdict: Verdict,
}

/// What one round decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    /// In the order of the decisions.
    pub admitted: Vec<Admitted>,
    /// Whether every group that could start something has had its turn.
    pub turn_is_over: bool,
    /// When the first run that only a rate holds back may start, microseconds since 1970.
    pub again_at: Option<i64>,
}

/// The groups that have had a run in the present turn. A worker keeps it from claim to claim.
pub type Served = HashSet<String>;

/// Decides about `candidates`, of which at most `room` may start. `another_turn` says whether a group may have a second run when
/// all have had theirs; otherwise there are other groups to look at first.
pub fn admit(
    candidates: &[Candidate],
    facts: &Facts,
    room: usize,
    another_turn: bool,
    served: &mut Served,
) -> Admission {
    let mut book = Book::open(facts);
    let mut admission = Admission::default();
    let mut groups = groups(candidates.iter().filter(|candidate| {
        if candidate.expired {
            admission.admitted.push(candidate.ends(Verdict::Expired));
        }
        !candidate.expired
    }));
    let mut started = 0;
    while started < room {
        let before = started;
        groups.retain(|_, line| !line.is_empty());
        let mut turn: Vec<&str> = groups.keys().copied().filter(|group| !served.contains(*group)).collect();
        turn.sort_by_key(|group| groups[group].front().map(|first| (first.claim_key, first.id)));
        for group in turn {
            let next = groups.get_mut(group).and_then(|line| book.next(line, &mut admission.admitted));
            if let Some(admitted) = next {
                admission.admitted.push(admitted);
                served.insert(group.to_owned());
                started += 1;
                if started == room {
                    break;
                }
            }
        }
        if started == before {
            // Nobody is left in this turn.
            admission.turn_is_over = true;
            if served.is_empty() || !another_turn || groups.values().all(VecDeque::is_empty) {
                break;
            }
            served.clear();
        }
    }
    if admission.turn_is_over {
        served.clear();
    }
    for line in groups.values() {
        admission.admitted.extend(line.iter().filter_map(|waiting| book.over(waiting)));
    }
    admission.again_at = book.again_at;
    admission
}

fn groups<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> HashMap<&'a str, VecDeque<&'a Candidate>> {
    let mut sorted: Vec<&Candidate> = candidates.collect();
    sorted.sort_by_key(|candidate| (candidate.claim_key, candidate.id));
    let mut groups: HashMap<&str, VecDeque<&Candidate>> = HashMap::new();
    for candidate in sorted {
        groups.entry(&candidate.group).or_default().push_back(candidate);
    }
    groups
}

impl Candidate {
    fn ends(&self, verdict: Verdict) -> Admitted {
        Admitted { id: self.id, slot_no: 0, verdict }
    }

    /// The names of everything that has to be locked before this run may be decided about.
    pub fn locked_names(&self) -> impl Iterator<Item = String> {
        let lock = self.lock.iter().map(|key| format!("lock:{key}"));
        let concurrency = self.concurrency.iter().map(|key| format!("concurrency:{key}"));
        let rate = self.own_rate.iter().map(|(name, _)| format!("rate:{name}"));
        lock.chain(concurrency).chain(rate)
    }
}

impl Facts {
    /// The limit of a concurrency key: what is known of it, else what the run says. None: no limit.
    #[must_use]
    pub fn limit(&self, key: &str, own: i32) -> Option<usize> {
        let limit = self.limits.get(key).copied().unwrap_or(own);
        usize::try_from(limit).ok().filter(|limit| *limit > 0)
    }

    /// The rates that count a candidate, with their state: an operator's word, else the latest that runs have said, else its own.
    #[must_use]
    pub fn rates_of(&self, candidate: &Candidate) -> Vec<(String, RateState)> {
        let own = candidate.own_rate.as_ref().filter(|(name, _)| {
            !self.switched_off.contains(name) && self.rates.get(name).is_none_or(|state| state.stated)
        });
        let mut found: Vec<(String, RateState)> = candidate
            .rates
            .iter()
            .filter(|name| own.is_none_or(|(own, _)| own != *name))
            .filter_map(|name| {
                self.rates.get(name).filter(|state| !state.stated).map(|state| (name.clone(), *state))
            })
            .collect();
        if let Some((name, said)) = own
            && let Some(rate) = self.stated.get(name).copied().unwrap_or(*said)
        {
            let tat = self.rates.get(name).and_then(|state| rate.take_over(state.rate, state.tat, self.now));
            found.push((name.clone(), RateState { rate, tat, stated: true }));
        }
        found
    }
}

/// The facts, and what has been decided on top of them.
struct Book<'a> {
    facts: &'a Facts,
    locks: HashSet<&'a str>,
    slots: HashMap<&'a str, HashSet<i32>>,
    charged: HashMap<String, u32>,
    /// The latest run that starts, by line.
    started: HashMap<&'a str, RunId>,
    again_at: Option<i64>,
}

impl<'a> Book<'a> {
    fn open(facts: &'a Facts) -> Self {
        Self {
            facts,
            locks: facts.locks.iter().map(String::as_str).collect(),
            slots: facts.slots.iter().map(|(key, numbers)| (key.as_str(), numbers.clone())).collect(),
            charged: HashMap::new(),
            started: HashMap::new(),
            again_at: None,
        }
    }

    /// Takes runs off the line until one may start. Those passed over are blocked, and stay so: in one round keys are only taken.
    fn next(&mut self, line: &mut VecDeque<&'a Candidate>, dropped: &mut Vec<Admitted>) -> Option<Admitted> {
        while let Some(candidate) = line.pop_front() {
            if let Some(admitted) = self.start(candidate) {
                return Some(admitted);
            }
            dropped.extend(self.over(candidate));
        }
        None
    }

    fn start(&mut self, candidate: &'a Candidate) -> Option<Admitted> {
        if candidate.lock.as_deref().is_some_and(|lock| self.locks.contains(lock)) || self.is_full(candidate)
        {
            return None;
        }
        let rates = self.facts.rates_of(candidate);
        if let Some(at) = rates.iter().filter_map(|(name, state)| self.full_until(name, state)).max() {
            self.again_at = Some(self.again_at.map_or(at, |known| known.min(at)));
            return None;
        }
        for (name, _) in rates {
            *self.charged.entry(name).or_default() += 1;
        }
        self.locks.extend(candidate.lock.as_deref());
        let latest = self.started.entry(&candidate.line).or_insert(candidate.id);
        *latest = candidate.id.max(*latest);
        Some(Admitted { id: candidate.id, slot_no: self.take_slot(candidate), verdict: Verdict::Start })
    }

    /// When the rate admits another start, if it does not now.
    fn full_until(&self, name: &str, state: &RateState) -> Option<i64> {
        let charged = self.charged.get(name).copied().unwrap_or(0);
        // Not by the `tat` after what is charged: that is rounded up, and the last start of the burst would have to wait.
        if state.rate.available(state.tat, self.facts.now) > charged {
            return None;
        }
        let tat = match charged {
            0 => state.tat,
            charged => Some(state.rate.after(state.tat, self.facts.now, charged)),
        };
        Some(state.rate.next_at(tat, self.facts.now))
    }

    fn is_full(&self, candidate: &Candidate) -> bool {
        candidate.concurrency.as_deref().is_some_and(|key| {
            let taken = self.slots.get(key).map_or(0, HashSet::len);
            self.facts.limit(key, candidate.own_limit).is_some_and(|limit| taken >= limit)
        })
    }

    /// The smallest free number under a limit, else one that nobody else can have.
    fn take_slot(&mut self, candidate: &'a Candidate) -> i32 {
        let unique = -i32::try_from(candidate.id.0 % i64::from(i32::MAX)).unwrap_or(0) - 1;
        let Some(key) = candidate.concurrency.as_deref() else { return unique };
        let taken = self.slots.entry(key).or_default();
        let limited = self.facts.limit(key, candidate.own_limit).is_some();
        let number = if limited { (1..=i32::MAX).find(|number| !taken.contains(number)) } else { None };
        let number = number.unwrap_or(unique);
        taken.insert(number);
        number
    }

    /// Whether a later run waits in its place. If one of them starts now, the next round will know whether others are left.
    fn is_replaced(&self, candidate: &Candidate) -> bool {
        let one_starts =
            self.started.get(candidate.line.as_str()).is_some_and(|latest| *latest > candidate.id);
        !candidate.is_latest && !one_starts && self.is_full(candidate)
    }

    /// What becomes of a run that has not been started, if it is not to wait.
    fn over(&self, candidate: &Candidate) -> Option<Admitted> {
        match candidate.over_limit {
            OverLimit::Discard if self.is_full(candidate) => Some(candidate.ends(Verdict::Discarded)),
            OverLimit::Replace if self.is_replaced(candidate) => Some(candidate.ends(Verdict::Replaced)),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
