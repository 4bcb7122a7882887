//! Standard output is data, standard error is talk. Everything that the program prints comes through here.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use chrono::DateTime;
use reproq_store::Stream;

/// Prints data.
pub fn print(text: &str) {
    // A reader that has gone away (`| head`) is not a failure of ours.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints data as it is, at once; false when its reader has gone away.
pub fn write(text: &str) -> bool {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
}

/// Prints talk.
pub fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Passes a line of another process on, as it is.
pub fn pass_on(stream: Stream, line: &[u8]) {
    // A reader that has gone away is not a failure of ours.
    let _ = match stream {
        Stream::Stdout => std::io::stdout().lock().write_all(line),
        Stream::Stderr => std::io::stderr().lock().write_all(line),
    };
}

/// Whether a person reads the data.
pub fn shows_to_a_person() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether a person reads the talk.
pub fn talks_to_a_person() -> bool {
    std::io::stderr().is_terminal()
}

/// A table with aligned columns; numbers to the right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            rows.iter().map(|row| row[column].chars().count()).chain([head[column].len()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| {
                let number = cell.starts_with(|first: char| first.is_ascii_digit());
                if number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            })
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut head.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// A span of time as people say it.
pub fn span(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0}ms", s * 1000.0),
        s if s < 120.0 => format!("{s:.0}s"),
        s if s < 7200.0 => format!("{:.0}m", s / 60.0),
        s if s < 172_800.0 => format!("{:.0}h", s / 3600.0),
        s => format!("{:.0}d", s / 86_400.0),
    }
}

/// A moment of the database, microseconds since 1970, as RFC 3339 in UTC.
pub fn moment(micros: i64) -> String {
    let time = DateTime::from_timestamp_micros(micros);
    time.map_or_else(|| "-".to_owned(), |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// How far two moments of the database are from each other, as people say it.
pub fn span_between(one: i64, other: i64) -> String {
    span(Duration::from_micros(one.abs_diff(other)).as_secs_f64())
}

/// Seconds from one moment of the database to another; never below 0.
#[expect(clippy::cast_precision_loss, reason = "microseconds of years are exact")]
pub fn seconds_between(from: i64, to: i64) -> f64 {
    (to - from).max(0) as f64 / 1e6
}

/// A text on one line, as a column of a list needs it.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_words_to_the_left() {
        let rows = [vec!["default".to_owned(), "7".to_owned()], vec!["mail".to_owned(), "1200".to_owned()]];
        assert_eq!(table(&["queue", "ready"], &rows), "queue    ready\ndefault      7\nmail      1200");
    }

    #[test]
    fn moments_are_in_utc() {
        assert_eq!(moment(1_900_000_000_900_000), "2030-03-17T17:46:40Z");
    }

    #[test]
    fn spans_read_as_people_say_them() {
        assert_eq!([0.25, 5.0, 600.0, 7200.0, 864_000.0].map(span), ["250ms", "5s", "10m", "2h", "10d"]);
    }
}
