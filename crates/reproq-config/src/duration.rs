//! Durations in Go's syntax (`100ms`, `5s`, `1h30m`), which the existing configuration files use.

use std::fmt::Write as _;
use std::time::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Longer spans overflow Go's own type (about 292 years) and some clocks.
const LONGEST_NANOS: u128 = i64::MAX as u128;

const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("h", 3_600 * NANOS_PER_SECOND),
];

/// Reads a duration: numbers with units (`1h30m`, `1.5s`), or a bare integer, which counts seconds.
///
/// `None` for anything else, negative spans and spans beyond 292 years included.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text.is_empty() {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds: u128 = text.parse().ok()?;
        return from_nanos(seconds.checked_mul(NANOS_PER_SECOND)?);
    }
    let mut rest = text;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let number_ends = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_ends);
        let unit_ends = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_ends);
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *nanos)?)?;
        rest = after;
    }
    from_nanos(total)
}

/// Writes a duration so that [`parse_duration`] reads it back: `1h30m`, `25s`, `50ms`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let (whole, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let mut out = String::new();
    for (amount, unit) in [(whole / 3600, "h"), (whole / 60 % 60, "m"), (whole % 60, "s")] {
        if amount > 0 {
            // Writing to a string cannot fail.
            let _ = write!(out, "{amount}{unit}");
        }
    }
    for (amount, unit) in [(nanos / 1_000_000, "ms"), (nanos / 1_000 % 1_000, "us"), (nanos % 1_000, "ns")] {
        if amount > 0 {
            let _ = write!(out, "{amount}{unit}");
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// `number` (digits with at most one point) times `unit` nanoseconds, cut to whole nanoseconds.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || fraction.len() > 18 {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    let tenths = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    digits(whole)?.checked_mul(unit)?.checked_add(digits(fraction)?.checked_mul(unit)? / tenths)
}

fn from_nanos(nanos: u128) -> Option<Duration> {
    if nanos > LONGEST_NANOS {
        return None;
    }
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_syntax() {
        for (text, millis) in [
            ("100ms", 100),
            ("5s", 5_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            (".5s", 500),
            ("2m", 120_000),
            ("0s", 0),
            ("1000us", 1),
            ("1000µs", 1),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_bare_integer_counts_seconds() {
        assert_eq!(parse_duration("90"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "-5s",
            "5 s",
            "5d",
            "1.5",
            "s",
            ".s",
            "1.2.3s",
            "5s3",
            "99999999999h",
            "9999999999999999999999",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (text, nanos) in [
            ("0s", 0_u64),
            ("50ms", 50_000_000),
            ("1s500ms", 1_500_000_000),
            ("1h", 3_600_000_000_000),
            ("1h1s", 3_601_000_000_000),
            ("1us7ns", 1_007),
        ] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(format_duration(duration), text);
            assert_eq!(parse_duration(text), Some(duration));
        }
    }
}
