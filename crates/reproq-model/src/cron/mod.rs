//! Cron expressions: what they say ([`fields`]) and when that is, in a zone whose clocks are put forward and back.
//!
//! Daylight saving, by one rule for each kind of expression:
//!
//! - *Fixed times* (`30 2 * * *`: neither the minute nor the hour is a wildcard or a step) happen once a day. One that the clocks
//!   skip happens at the end of the gap, one that they repeat happens the first time only.
//! - *Everything else* (`*/15 * * * *`, `30 * * * *`) follows elapsed time: what the clocks skip does not happen, what they repeat
//!   happens twice.
//!
//! The days and times of a pattern are `croner`'s to find, on a clock that is never changed; where these are on the time line is
//! decided here, because its own rules skip no more than two hours and know no list of fixed times.

mod error;
mod fields;
mod line;

pub use error::CronError;

use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Tz;

use self::fields::Fields;
use self::line::Line;

/// The longest expression that is read, in bytes.
const LONGEST: usize = 256;

/// A cron expression in its zone.
#[derive(Debug, Clone)]
pub struct Cron {
    pattern: croner::Cron,
    line: Line,
    follows_elapsed_time: bool,
}

impl Cron {
    /// Reads five fields, or six with seconds first, or a nickname such as `@daily`. A prefix `CRON_TZ=<zone>` comes before
    /// `timezone`, the IANA name of the zone that the expression speaks of.
    ///
    /// Fails with what is wrong and what is accepted; also for a time that never comes, as the 31st of February.
    pub fn parse(expression: &str, timezone: &str) -> Result<Self, CronError> {
        if expression.len() > LONGEST {
            return Err(CronError::TooLong { length: expression.len(), longest: LONGEST });
        }
        let (zone, expression) = own_zone(expression).unwrap_or((timezone, expression));
        let line = Line::of(zone)?;
        let Fields { text, follows_elapsed_time } = fields::read(expression)?;
        let pattern: croner::Cron = text.parse().map_err(|error: croner::errors::CronError| {
            CronError::Expression { expression: expression.to_owned(), problem: error.to_string() }
        })?;
        let cron = Self { pattern, line, follows_elapsed_time };
        if cron.civil(NaiveDateTime::default(), true).is_none() {
            return Err(CronError::Never { expression: expression.to_owned() });
        }
        Ok(cron)
    }

    /// The first time after `micros`, both in microseconds since 1970; none in the calendar's next millennia.
    #[must_use]
    pub fn next_after(&self, micros: i64) -> Option<i64> {
        let after = DateTime::from_timestamp(micros.div_euclid(1_000_000), 0)?;
        let next = if self.follows_elapsed_time { self.next_elapsed(after) } else { self.next_fixed(after) };
        next.map(|next| next.timestamp_micros())
    }

    /// A time as the clocks of the zone show it, ISO 8601 with the offset; empty for one that is in no calendar.
    #[must_use]
    pub fn shown(&self, micros: i64) -> String {
        let time = DateTime::from_timestamp_micros(micros);
        time.map(|time| time.with_timezone(&self.zone()).to_rfc3339()).unwrap_or_default()
    }

    /// The zone that the expression speaks of.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.line.zone()
    }

    /// Each time on the clocks has one place on the time line, in the same order.
    fn next_fixed(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut civil = self.civil(self.line.clock(after), false)?;
        loop {
            let at = self.line.places(civil).map_or_else(|| self.line.gap_end(civil), |(first, _)| first);
            if at > after {
                return Some(at);
            }
            // The clocks show it for the second time.
            civil = self.civil(civil, false)?;
        }
    }

    /// Each time on the clocks has as many places as they show it.
    fn next_elapsed(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let clock = self.line.clock(after);
        let ahead = self.next_shown(clock, false, after);
        // What the clocks have shown is ahead once more when they will be put back to before it.
        let again = match self.line.places(clock) {
            Some((first, second)) if first != second && first == after => {
                let put_back = self.line.change(first, second);
                self.next_shown(self.line.clock(put_back), true, put_back)
            }
            _ => None,
        };
        [ahead, again].into_iter().flatten().min()
    }

    /// The first place after `after`, or at it with `inclusive`, of what the clocks show from `clock` on.
    fn next_shown(
        &self,
        clock: NaiveDateTime,
        inclusive: bool,
        after: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let passed = |at: DateTime<Utc>| at < after || (at == after && !inclusive);
        let mut civil = self.civil(clock, inclusive)?;
        loop {
            match self.line.places(civil) {
                Some((first, _)) if !passed(first) => return Some(first),
                Some((_, second)) if !passed(second) => return Some(second),
                Some(_) => civil = self.civil(civil, false)?,
                None => civil = self.civil(self.line.clock(self.line.gap_end(civil)), true)?,
            }
        }
    }

    /// The pattern's first time after `from`, or at it with `inclusive`, on a clock that is never changed.
    fn civil(&self, from: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
        self.pattern.find_next_occurrence(&from.and_utc(), inclusive).ok().map(|time| time.naive_utc())
    }
}

/// The zone of a prefix `CRON_TZ=<zone> ` (the earlier system's; `TZ=` is the same), and what follows it.
fn own_zone(expression: &str) -> Option<(&str, &str)> {
    let expression = expression.trim_start();
    let rest = expression.strip_prefix("CRON_TZ=").or_else(|| expression.strip_prefix("TZ="))?;
    Some(rest.split_once(char::is_whitespace).unwrap_or((rest, "")))
}

#[cfg(test)]
#[path = "../cron_tests.rs"]
mod tests;
