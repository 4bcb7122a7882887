//! The time line of a zone: where on it a time is that its clocks show.

use chrono::{DateTime, Days, MappedLocalTime, NaiveDateTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};

use super::CronError;

/// No clocks are changed by more than a day, and not twice within four.
const MARGIN: Days = Days::new(2);

#[derive(Debug, Clone, Copy)]
pub(super) struct Line(Tz);

impl Line {
    /// That of the zone with this IANA name.
    pub(super) fn of(name: &str) -> Result<Self, CronError> {
        name.parse().map(Self).map_err(|_| CronError::Zone {
            name: name.to_owned(),
            meant: TZ_VARIANTS.iter().map(|zone| zone.name()).find(|known| known.eq_ignore_ascii_case(name)),
        })
    }

    pub(super) fn zone(self) -> Tz {
        self.0
    }

    /// What the clocks show.
    pub(super) fn clock(self, at: DateTime<Utc>) -> NaiveDateTime {
        at.with_timezone(&self.0).naive_local()
    }

    /// When the clocks show this for the first and for the last time; none: they skip it.
    pub(super) fn places(self, clock: NaiveDateTime) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        match self.0.from_local_datetime(&clock) {
            MappedLocalTime::None => None,
            MappedLocalTime::Single(at) => Some((at.to_utc(), at.to_utc())),
            MappedLocalTime::Ambiguous(one, other) => {
                Some((one.min(other).to_utc(), one.max(other).to_utc()))
            }
        }
    }

    /// When the clocks are put forward over this time, which they skip.
    pub(super) fn gap_end(self, skipped: NaiveDateTime) -> DateTime<Utc> {
        let middle = skipped.and_utc();
        let before = middle.checked_sub_days(MARGIN).unwrap_or(middle);
        let behind = middle.checked_add_days(MARGIN).unwrap_or(middle);
        first_between(before, behind, |at| self.clock(at) > skipped)
    }

    /// When the clocks are put back between two places of the same time.
    pub(super) fn change(self, first: DateTime<Utc>, second: DateTime<Utc>) -> DateTime<Utc> {
        let shift = |at: DateTime<Utc>| self.clock(at) - at.naive_utc();
        first_between(first, second, |at| shift(at) == shift(second))
    }
}

/// The first second after `before` for which `holds`, which does from then on, and at `behind`.
fn first_between(
    mut before: DateTime<Utc>,
    mut behind: DateTime<Utc>,
    holds: impl Fn(DateTime<Utc>) -> bool,
) -> DateTime<Utc> {
    loop {
        let half = TimeDelta::seconds((behind - before).num_seconds() / 2);
        if half.is_zero() {
            return behind;
        }
        let middle = before + half;
        if holds(middle) { behind = middle } else { before = middle }
    }
}
