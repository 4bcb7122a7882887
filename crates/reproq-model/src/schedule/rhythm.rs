//! The times of a schedule, without its beginning and its end.

use std::collections::VecDeque;

use chrono::DateTime;

use super::Schedule;
use crate::cron::Cron;

/// How many times are counted one by one. Whoever has missed more than that wants no exact number.
const COUNTED: usize = 10_000;
const SECOND: i64 = 1_000_000;

/// When a schedule comes.
#[derive(Debug, Clone)]
pub enum Rhythm {
    /// As a cron expression says.
    Cron(Box<Cron>),
    /// Every so many microseconds.
    Every(i64),
}

/// Times of a schedule that have come.
#[derive(Debug)]
pub(super) struct Due {
    /// The newest of them, ascending.
    pub(super) newest: Vec<i64>,
    /// The last before these.
    pub(super) before_newest: Option<i64>,
    /// The last of all.
    pub(super) last: i64,
    /// How many they are.
    pub(super) count: i64,
    /// Whether there are more than were counted.
    pub(super) at_least: bool,
}

impl Rhythm {
    /// That of a row. Fails with what is wrong with it.
    pub fn of(schedule: &Schedule) -> Result<Self, String> {
        let has_expression = !schedule.cron_expr.trim().is_empty();
        match schedule.every_seconds {
            None if has_expression => Cron::parse(&schedule.cron_expr, &schedule.timezone)
                .map(|cron| Self::Cron(Box::new(cron)))
                .map_err(|error| error.to_string()),
            None => Err("it has neither a cron expression nor every_seconds; set one of them".to_owned()),
            Some(_) if has_expression => {
                Err("it has a cron expression and every_seconds; empty one of them".to_owned())
            }
            Some(seconds) if seconds < 1 => Err(format!("every_seconds is {seconds}; the least is 1")),
            Some(seconds) => Ok(Self::Every(i64::from(seconds) * SECOND)),
        }
    }

    /// The first time after `at`; of even spans, counted from `anchor`.
    #[must_use]
    pub fn next_after(&self, at: i64, anchor: i64) -> Option<i64> {
        match self {
            Self::Cron(cron) => cron.next_after(at),
            Self::Every(span) => Some(anchor + ((at - anchor).div_euclid(*span) + 1) * span),
        }
    }

    /// A time as the clocks show it that the schedule goes by, ISO 8601 with the offset.
    #[must_use]
    pub fn shown(&self, micros: i64) -> String {
        match self {
            Self::Cron(cron) => cron.shown(micros),
            Self::Every(_) => {
                DateTime::from_timestamp_micros(micros).map(|time| time.to_rfc3339()).unwrap_or_default()
            }
        }
    }

    /// What has come from `first`, which is a time of it or was made one, to `until`; the newest `wanted` one by one.
    pub(super) fn due(&self, first: i64, until: i64, wanted: usize) -> Due {
        match self {
            Self::Cron(cron) => due_of_cron(cron, first, until, wanted),
            Self::Every(span) => {
                let count = (until - first) / span + 1;
                let shown = count.min(i64::try_from(wanted).unwrap_or(i64::MAX));
                let at = |number: i64| first + number * span;
                Due {
                    newest: (count - shown..count).map(at).collect(),
                    before_newest: (count > shown).then(|| at(count - shown - 1)),
                    last: at(count - 1),
                    count,
                    at_least: false,
                }
            }
        }
    }
}

fn due_of_cron(cron: &Cron, first: i64, until: i64, wanted: usize) -> Due {
    let mut newest = VecDeque::from([first]);
    let mut count = 1;
    let mut at = first;
    let mut at_least = false;
    while let Some(next) = cron.next_after(at).filter(|next| *next <= until) {
        if count == COUNTED {
            at_least = true;
            break;
        }
        at = next;
        count += 1;
        newest.push_back(next);
        if newest.len() > wanted + 1 {
            newest.pop_front();
        }
    }
    if at_least {
        newest = newest_by_halves(cron, first, until, wanted + 1);
    }
    let before_newest = if newest.len() > wanted { newest.pop_front() } else { None };
    let last = newest.back().copied().unwrap_or(first);
    Due {
        newest: newest.into(),
        before_newest,
        last,
        count: i64::try_from(count).unwrap_or(i64::MAX),
        at_least,
    }
}

fn newest_by_halves(cron: &Cron, first: i64, until: i64, wanted: usize) -> VecDeque<i64> {
    let mut newest = VecDeque::new();
    let mut until = until;
    while newest.len() < wanted && until >= first {
        let last = last_by_halves(cron, first, until);
        newest.push_front(last);
        until = last - 1;
    }
    newest
}

/// The last time not after `until`. There is one after a moment or there is none: so halving finds the last such moment.
fn last_by_halves(cron: &Cron, first: i64, until: i64) -> i64 {
    let next = |at| cron.next_after(at).filter(|next| *next <= until);
    let (mut before, mut behind) = (first, until);
    while behind - before > SECOND {
        let middle = i64::midpoint(before, behind);
        if next(middle).is_some() { before = middle } else { behind = middle }
    }
    next(before).unwrap_or(first)
}
