//! The keyed lane, as far as it is the same in both engines: what a round asks for, and what it remembers.
//!
//! A round visits combinations of keys, thinks about what could start without locking anything, locks only the keys of that,
//! looks again, and decides. Both decisions are `reproq_model::admission`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use reproq_model::RunId;
use reproq_model::admission::{
    Admission, Admitted, Candidate, Facts, OverLimit, RateState, Served, Verdict, admit,
};
use reproq_model::rate::Rate;

use crate::rows::micros;
use crate::{Claim, ClaimedRun};

/// How many combinations of keys one round visits for each run that there is room for, and the least and the most of them; they
/// are shared by the queues, and the next round goes on behind them.
const VISITS_PER_RUN: u32 = 16;
const VISITS: (u32, u32) = (48, 200);
/// How many combinations of one group, if their locks are free: as many as may be worth starting at once.
pub(crate) const VISITS_PER_GROUP: i32 = 8;
/// How many runs behind one combination are looked at: more than the usual limit, few enough that a round stays small.
const RUNS_PER_VISIT: (u32, u32) = (4, 16);

/// How many groups of queues are remembered: more than a worker lists, so that what is forgotten has long been without runs.
const GROUPS: usize = 256;

/// What a worker remembers of the keyed lane, for each group of queues that it claims from: groups that take turns in being
/// asked must not end each other's turns, nor lose each other's places.
#[derive(Default)]
pub(crate) struct KeyedLanes(Vec<(Vec<String>, KeyedLane)>);

impl KeyedLanes {
    /// The lane of these queues. A queue is in one group only, but a group's queues may come and go: one in common is enough.
    pub(crate) fn of(&mut self, queues: &[String]) -> &mut KeyedLane {
        let same = self.0.iter().position(|(known, _)| known == queues);
        let place = same.or_else(|| {
            self.0.iter().position(|(known, _)| queues.iter().any(|queue| known.contains(queue)))
        });
        let lane = place.map(|place| self.0.remove(place).1).unwrap_or_default();
        if self.0.len() >= GROUPS {
            self.0.pop();
        }
        self.0.insert(0, (queues.to_vec(), lane));
        &mut self.0[0].1
    }
}

/// What a worker remembers of one group's keyed lane from round to round.
#[derive(Default)]
pub(crate) struct KeyedLane {
    /// By queue: the combination after which the next round goes on.
    cursors: HashMap<String, String>,
    served: Served,
}

/// What one round found.
pub(crate) struct Visit {
    pub(crate) candidates: Vec<Candidate>,
    /// For queues with more combinations than the round visited.
    pub(crate) next_cursors: HashMap<String, String>,
}

/// How far a round looks.
pub(crate) struct Reach {
    pub(crate) visits_per_queue: i64,
    pub(crate) runs_per_visit: i64,
}

impl Reach {
    pub(crate) fn of(queues: &[String], room: u32) -> Self {
        let visits = i64::from(room.saturating_mul(VISITS_PER_RUN).clamp(VISITS.0, VISITS.1));
        Self {
            visits_per_queue: (visits / i64::try_from(queues.len()).unwrap_or(i64::MAX).max(1)).max(1),
            runs_per_visit: i64::from(room.clamp(RUNS_PER_VISIT.0, RUNS_PER_VISIT.1)),
        }
    }
}

/// What could start, before anything is locked.
pub(crate) struct Plan {
    pub(crate) picks: Vec<Candidate>,
    turn_is_over: bool,
    again_in: Option<Duration>,
}

impl KeyedLane {
    pub(crate) fn cursor(&self, queue: &str) -> &str {
        self.cursors.get(queue).map_or("", String::as_str)
    }

    /// Whether all combinations of keys are in sight at once.
    fn sees_all(&self, visit: &Visit) -> bool {
        self.cursors.is_empty() && visit.next_cursors.is_empty()
    }

    /// Picks more than there is room for: some keys may be in other claimers' hands. `without`: names that are.
    pub(crate) fn plan(&self, visit: &Visit, facts: &Facts, room: u32, without: &HashSet<String>) -> Plan {
        let reachable: Vec<Candidate> = visit
            .candidates
            .iter()
            .filter(|candidate| {
                without.is_empty() || !candidate.locked_names().any(|name| without.contains(&name))
            })
            .cloned()
            .collect();
        let spare = if without.is_empty() { 0 } else { room as usize + 8 };
        let admission =
            admit(&reachable, facts, room as usize + spare, self.sees_all(visit), &mut self.served.clone());
        let picked: HashSet<RunId> = admission.admitted.iter().map(|admitted| admitted.id).collect();
        let picks = reachable.into_iter().filter(|candidate| picked.contains(&candidate.id)).collect();
        Plan { picks, turn_is_over: admission.turn_is_over, again_in: again_in(&admission, facts) }
    }

    /// Decides about what could be locked, by facts that are younger than the locks.
    pub(crate) fn decide(
        &mut self,
        visit: &Visit,
        plan: &Plan,
        within: &[Candidate],
        facts: &Facts,
        room: u32,
    ) -> Admission {
        let mut served = self.served.clone();
        let admission =
            admit(within, facts, room as usize, plan.turn_is_over && self.sees_all(visit), &mut served);
        if plan.turn_is_over {
            self.served = served;
        } else {
            // Others still wait for their turn, whatever it looks like among these few.
            let group = |admitted: &Admitted| within.iter().find(|candidate| candidate.id == admitted.id);
            let started = admission.admitted.iter().filter(|admitted| admitted.verdict == Verdict::Start);
            self.served.extend(started.filter_map(group).map(|candidate| candidate.group.clone()));
        }
        admission
    }

    /// Ends a round. Returns whether there are keys that it has not looked at.
    pub(crate) fn move_on(&mut self, visit: Visit, turn_is_over: bool) -> bool {
        if !turn_is_over {
            return false;
        }
        self.served.clear();
        self.cursors = visit.next_cursors;
        !self.cursors.is_empty()
    }
}

impl Plan {
    pub(crate) const fn turn_is_over(&self) -> bool {
        self.turn_is_over
    }

    pub(crate) const fn again_in(&self) -> Option<Duration> {
        self.again_in
    }
}

/// How long until a rate lets another run start.
pub(crate) fn again_in(admission: &Admission, facts: &Facts) -> Option<Duration> {
    // Never nothing at all: a rate that is a microsecond short must not make the worker spin.
    admission.again_at.map(|at| micros(at - facts.now).max(Duration::from_millis(1)))
}

/// A candidate's row, before its names are put together.
pub(crate) struct Waiting {
    pub(crate) id: i64,
    pub(crate) claim_key: i64,
    pub(crate) group: String,
    pub(crate) line: Option<String>,
    pub(crate) queue_name: String,
    pub(crate) task_path: String,
    pub(crate) lock: Option<String>,
    pub(crate) concurrency: Option<String>,
    pub(crate) own_limit: i32,
    pub(crate) rate_key: Option<String>,
    pub(crate) rate_per_second: Option<f64>,
    pub(crate) rate_burst: Option<i32>,
    pub(crate) over_limit: i16,
    pub(crate) is_latest: bool,
    pub(crate) expired: bool,
}

impl From<Waiting> for Candidate {
    fn from(row: Waiting) -> Self {
        let mut rates =
            vec!["global".to_owned(), format!("queue:{}", row.queue_name), format!("task:{}", row.task_path)];
        let own_rate = row.rate_key.map(|name| {
            if !rates.contains(&name) {
                rates.push(name.clone());
            }
            (
                name,
                row.rate_per_second
                    .and_then(|per_second| Rate::new(per_second, row.rate_burst.unwrap_or(1).max(1))),
            )
        });
        Self {
            id: RunId(row.id),
            claim_key: row.claim_key,
            line: row.line.unwrap_or_else(|| row.group.clone()),
            group: row.group,
            lock: row.lock,
            concurrency: row.concurrency,
            own_limit: row.own_limit,
            rates,
            own_rate,
            over_limit: OverLimit::from_column(row.over_limit),
            is_latest: row.is_latest,
            expired: row.expired,
        }
    }
}

/// What to ask the database about, for some candidates. Sorted, and each once.
pub(crate) struct Names {
    pub(crate) locks: Vec<String>,
    pub(crate) concurrency: Vec<String>,
    /// In `reproq_key_limits`.
    pub(crate) words: Vec<String>,
    pub(crate) own_rates: Vec<String>,
    pub(crate) rates: Vec<String>,
    /// Of the locks that a claimer takes.
    pub(crate) to_lock: Vec<String>,
}

impl Names {
    pub(crate) fn of(candidates: &[Candidate]) -> Self {
        let concurrency = sorted(candidates.iter().filter_map(|candidate| candidate.concurrency.clone()));
        let own_rates =
            sorted(candidates.iter().filter_map(|candidate| Some(candidate.own_rate.as_ref()?.0.clone())));
        Self {
            locks: sorted(candidates.iter().filter_map(|candidate| candidate.lock.clone())),
            words: concurrency.iter().map(|key| limit_name(key)).chain(own_rates.iter().cloned()).collect(),
            rates: sorted(candidates.iter().flat_map(|candidate| candidate.rates.iter().cloned())),
            to_lock: sorted(candidates.iter().flat_map(Candidate::locked_names)),
            concurrency,
            own_rates,
        }
    }
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The name of a concurrency key in `reproq_key_limits`.
fn limit_name(key: &str) -> String {
    format!("concurrency:{key}")
}

/// One row of `key_facts.sql`.
pub(crate) struct Fact {
    pub(crate) about: String,
    pub(crate) key: Option<String>,
    pub(crate) number: Option<i64>,
    pub(crate) amount: Option<f64>,
}

/// One row of `rates.sql`.
pub(crate) struct RateRow {
    pub(crate) key: String,
    pub(crate) per_second: f64,
    pub(crate) burst: i32,
    pub(crate) tat: Option<i64>,
    pub(crate) stated: bool,
}

/// Puts what the database said in order.
pub(crate) fn facts(rows: Vec<Fact>, rates: Vec<RateRow>) -> Facts {
    let mut facts = Facts::default();
    for row in rates {
        if let Some(rate) = Rate::new(row.per_second, row.burst) {
            facts.rates.insert(row.key, RateState { rate, tat: row.tat, stated: row.stated });
        }
    }
    for row in rows {
        let key = row.key.unwrap_or_default();
        let number = row.number.unwrap_or_default();
        match row.about.as_str() {
            "now" => facts.now = number,
            "lock" => drop(facts.locks.insert(key)),
            "slot" => drop(facts.slots.entry(key).or_default().insert(saturated(number))),
            "off" => drop(facts.switched_off.insert(key)),
            _ => {
                let amount = row.amount.unwrap_or_default();
                if let Some(key) = key.strip_prefix("concurrency:") {
                    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, as it should")]
                    facts.limits.insert(key.to_owned(), amount as i32);
                } else {
                    facts.stated.insert(key, Rate::new(amount, saturated(number).max(1)));
                }
            }
        }
    }
    facts
}

fn saturated(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// What a rate has become by a claim.
pub(crate) struct Charge {
    pub(crate) name: String,
    pub(crate) rate: Rate,
    pub(crate) tat: i64,
    /// How many starts are left at this moment.
    pub(crate) tokens: u32,
}

/// The charges for what was started, by name.
pub(crate) fn charges(started: &[RunId], candidates: &[Candidate], facts: &Facts) -> Vec<Charge> {
    let mut counts: HashMap<String, (RateState, u32)> = HashMap::new();
    for candidate in candidates.iter().filter(|candidate| started.contains(&candidate.id)) {
        for (name, state) in facts.rates_of(candidate) {
            counts.entry(name).or_insert((state, 0)).1 += 1;
        }
    }
    let mut charges: Vec<Charge> = counts
        .into_iter()
        .map(|(name, (state, count))| {
            let tat = state.rate.after(state.tat, facts.now, count);
            Charge { name, rate: state.rate, tat, tokens: state.rate.available(Some(tat), facts.now) }
        })
        .collect();
    charges.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    charges
}

/// Says of each claimed run what admission has decided.
pub(crate) fn with_verdicts(mut claim: Claim, admission: &Admission) -> Claim {
    for run in &mut claim.runs {
        let decided = admission.admitted.iter().find(|admitted| admitted.id == run.id);
        if let Some(admitted) = decided.filter(|admitted| admitted.verdict != Verdict::Start) {
            run.verdict = admitted.verdict;
        }
    }
    claim
}

/// The runs that really start.
pub(crate) fn started(runs: &[ClaimedRun], admission: &Admission) -> Vec<RunId> {
    let starts = |id| {
        admission.admitted.iter().any(|admitted| admitted.id == id && admitted.verdict == Verdict::Start)
    };
    runs.iter().map(|run| run.id).filter(|id| starts(*id)).collect()
}
