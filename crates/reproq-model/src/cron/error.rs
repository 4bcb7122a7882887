//! What is wrong with a cron expression, and what would be right.

use thiserror::Error;

/// An expression or a zone that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CronError {
    /// Nothing, or only a zone.
    #[error(
        "the cron expression is empty; write five fields, as in \"0 3 * * *\", or @hourly, @daily, @weekly, @monthly, @yearly"
    )]
    Empty,
    /// Nobody writes such an expression.
    #[error("the cron expression has {length} characters; at most {longest} are accepted")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The longest that is read.
        longest: usize,
    },
    /// Too few or too many.
    #[error(
        "the cron expression {expression:?} has {count} field{}; it takes five (minute, hour, day of month, month, day of week), or six with seconds first", if *.count == 1 { "" } else { "s" }
    )]
    Count {
        /// As written.
        expression: String,
        /// Fields in it.
        count: usize,
    },
    /// Something that begins with `@`.
    #[error("{name:?} is no known time; @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually are{}", if .name.starts_with("@every") { " (for every N seconds, leave the cron expression empty and set every_seconds)" } else { "" })]
    Nickname {
        /// As written.
        name: String,
    },
    /// One of the fields.
    #[error("the {field} field of the cron expression says {text:?}: {problem}; it takes {accepted}")]
    Field {
        /// Which one.
        field: &'static str,
        /// As written.
        text: String,
        /// What is wrong.
        problem: String,
        /// What would be right.
        accepted: &'static str,
    },
    /// The parts are right and the whole is not.
    #[error("the cron expression {expression:?} cannot be used: {problem}")]
    Expression {
        /// As written.
        expression: String,
        /// In the evaluator's words.
        problem: String,
    },
    /// As the 31st of February.
    #[error("the cron expression {expression:?} names a day that no year has, so it would never run")]
    Never {
        /// As written.
        expression: String,
    },
    /// No such zone.
    #[error("there is no time zone {name:?}{}; use a name of the IANA database, as in Europe/Prague or UTC",
        .meant.map(|meant| format!(" (did you mean {meant}?)")).unwrap_or_default())]
    Zone {
        /// As written.
        name: String,
        /// The zone that has this name in other letters.
        meant: Option<&'static str>,
    },
}
