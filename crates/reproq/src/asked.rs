//! What an operator may write on the command line, read with clear refusals.

use std::time::Duration;

use chrono::DateTime;
use clap::ArgMatches;
use reproq_config::parse_duration;
use reproq_model::{RunId, RunStatus, WorkflowId};

/// A run's id, with or without the alias of its database in front (`default:12`): which database is asked, the connection
/// has decided.
pub fn run_id(text: &str) -> Result<RunId, String> {
    let number = text.rsplit(':').next().unwrap_or(text);
    number.parse().ok().filter(|id| *id > 0).map(RunId).ok_or_else(|| {
        "no run has such an id: it is a number, as in 12, or an alias and a number, as in default:12"
            .to_owned()
    })
}

/// A workflow's id, with or without dashes, and with or without the alias of its database in front.
pub fn workflow_id(text: &str) -> Result<WorkflowId, String> {
    let id = text.rsplit(':').next().unwrap_or(text);
    id.parse().map_err(|_| {
        "no workflow has such an id: it is 32 hexadecimal digits, with or without dashes".to_owned()
    })
}

/// A span of time: `90s`, `10m`, `1h30m`, `7d`.
pub fn span(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    match days {
        Some(days) => days.checked_mul(86_400).map(Duration::from_secs),
        None => parse_duration(text),
    }
    .filter(|span| *span < Duration::from_hours(100 * 365 * 24))
    .ok_or_else(|| "no span of time; write it as 90s, 10m, 1h30m or 7d".to_owned())
}

/// A moment, in microseconds since 1970.
pub fn moment(text: &str) -> Result<i64, String> {
    DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_micros()).map_err(|error| {
        format!("{error}; write it with its zone, as 2030-01-02T03:04:05Z or 2030-01-02T03:04:05+01:00")
    })
}

/// A rate: starts per second.
pub fn rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && *rate >= 0.0)
        .ok_or_else(|| "a rate is a number of starts per second, as in 5 or 0.5; 0 limits nothing".to_owned())
}

/// A state that runs may be pruned in.
pub fn pruned_status(text: &str) -> Result<RunStatus, String> {
    match text.trim().to_ascii_uppercase().parse() {
        Ok(RunStatus::Running) => Err("RUNNING runs are never pruned; cancel them first".to_owned()),
        Ok(status) => Ok(status),
        Err(error) => Err(format!("{error}: SUCCESSFUL, FAILED, CANCELLED, READY or WAITING")),
    }
}

/// The run that `<id>` or `--id` names; the command line demands one of them.
pub fn the_run(flags: &ArgMatches) -> RunId {
    let id = flags.get_one::<RunId>("run").or_else(|| flags.get_one::<RunId>("id"));
    id.copied().unwrap_or(RunId(0))
}

/// The workflow that the command line demands.
pub fn the_workflow(flags: &ArgMatches) -> WorkflowId {
    flags.get_one::<WorkflowId>("workflow").copied().unwrap_or(WorkflowId::NIL)
}

/// A text that may be absent.
pub fn text<'a>(flags: &'a ArgMatches, name: &str) -> Option<&'a str> {
    flags.get_one::<String>(name).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_may_name_its_database() {
        assert_eq!(run_id("12"), Ok(RunId(12)));
        assert_eq!(run_id("default:12"), Ok(RunId(12)));
        for text in ["", "x", "default:", "-1", "0", "1.5", "12:default"] {
            assert!(run_id(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_workflow_is_named_with_or_without_dashes_and_database() {
        let (plain, dashed) = ("0123456789abcdef0123456789abcdef", "01234567-89ab-cdef-0123-456789abcdef");
        for text in [plain, dashed, "default:01234567-89ab-cdef-0123-456789abcdef"] {
            assert_eq!(workflow_id(text).unwrap().to_string(), dashed, "{text}");
        }
        for text in ["", "12", "default:", "0123456789abcdef0123456789abcdeg"] {
            assert!(workflow_id(text).unwrap_err().contains("dashes"), "{text}");
        }
    }

    #[test]
    fn spans_may_be_days() {
        assert_eq!(span("7d"), Ok(Duration::from_hours(168)));
        assert_eq!(span("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(span("0s"), Ok(Duration::ZERO));
        for text in ["", "d", "-1d", "1.5d", "soon", "99999999d", "18446744073709551615d"] {
            assert!(span(text).unwrap_err().contains("10m"), "{text}");
        }
    }

    #[test]
    fn a_moment_needs_its_zone() {
        assert_eq!(moment("1970-01-01T01:00:01+01:00"), Ok(1_000_000));
        assert!(moment("2030-01-02T03:04:05").unwrap_err().contains("zone"));
    }

    #[test]
    fn running_runs_cannot_be_asked_to_be_pruned() {
        assert_eq!(pruned_status("failed"), Ok(RunStatus::Failed));
        assert!(pruned_status("RUNNING").unwrap_err().contains("cancel"));
        assert!(pruned_status("DONE").unwrap_err().contains("SUCCESSFUL"));
    }
}
