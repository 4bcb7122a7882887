use chrono::NaiveTime;
use proptest::prelude::*;

use super::*;

fn micros(time: &str) -> i64 {
    DateTime::parse_from_rfc3339(time).unwrap().timestamp_micros()
}

fn cron(expression: &str, zone: &str) -> Cron {
    Cron::parse(expression, zone).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

/// The first `count` times after `from`, as the zone's clocks show them.
fn times(expression: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let cron = cron(expression, zone);
    let mut at = micros(from);
    (0..count)
        .map(|_| {
            at = cron.next_after(at).unwrap();
            cron.shown(at)
        })
        .collect()
}

fn problem(expression: &str) -> String {
    Cron::parse(expression, "UTC").unwrap_err().to_string()
}

mod reading {
    use super::*;

    #[test]
    fn all_that_is_accepted_comes_when_it_says() {
        // 2026-07-01 is a Wednesday.
        for (expression, first) in [
            ("* * * * *", "2026-07-01T12:31:00"),
            ("*/15 * * * *", "2026-07-01T12:45:00"),
            ("5/20 * * * *", "2026-07-01T12:45:00"),
            ("0 9-17 * * 1-5", "2026-07-01T13:00:00"),
            ("0,30 8,20 * * *", "2026-07-01T20:00:00"),
            ("0 0 1 jan *", "2027-01-01T00:00:00"),
            ("0 0 * Feb-MAR sun", "2027-02-07T00:00:00"),
            ("0 0 * * 7", "2026-07-05T00:00:00"),
            ("0 0 * * FRI-SUN", "2026-07-03T00:00:00"),
            ("0 0 ? * ?", "2026-07-02T00:00:00"),
            ("0 0 13 * FRI", "2026-07-03T00:00:00"),
            ("0 0 L * *", "2026-07-31T00:00:00"),
            ("0 0 LW * *", "2026-07-31T00:00:00"),
            ("0 0 4W * *", "2026-07-03T00:00:00"),
            ("0 0 * * MON#2", "2026-07-13T00:00:00"),
            ("0 0 * * 5L", "2026-07-31T00:00:00"),
            ("0 0 29 2 *", "2028-02-29T00:00:00"),
            ("*/10 * * * * *", "2026-07-01T12:30:10"),
            ("30 0 3 * * *", "2026-07-02T03:00:30"),
            ("@hourly", "2026-07-01T13:00:00"),
            ("@Daily", "2026-07-02T00:00:00"),
            ("@midnight", "2026-07-02T00:00:00"),
            ("@weekly", "2026-07-05T00:00:00"),
            ("@monthly", "2026-08-01T00:00:00"),
            (" @yearly ", "2027-01-01T00:00:00"),
            ("  0   3 *  *   * ", "2026-07-02T03:00:00"),
        ] {
            let found = times(expression, "UTC", "2026-07-01T12:30:00Z", 1);
            assert_eq!(found, [format!("{first}+00:00")], "{expression}");
        }
    }

    #[test]
    fn a_zone_in_the_expression_comes_first() {
        let from = "2026-07-01T12:00:00Z";
        assert_eq!(times("0 3 * * *", "Europe/Prague", from, 1), ["2026-07-02T03:00:00+02:00"]);
        for prefix in ["CRON_TZ=Asia/Tokyo", "TZ=Asia/Tokyo"] {
            let expression = format!("{prefix} 0 3 * * *");
            assert_eq!(times(&expression, "Europe/Prague", from, 1), ["2026-07-02T03:00:00+09:00"]);
        }
    }

    #[test]
    fn the_next_time_is_later_even_by_less_than_a_second() {
        let every = cron("* * * * * *", "UTC");
        assert_eq!(every.next_after(0), Some(1_000_000));
        assert_eq!(every.next_after(999_999), Some(1_000_000));
        assert_eq!(every.next_after(-1), Some(0));
    }

    #[test]
    fn a_mistake_is_told_where_it_is_with_what_is_accepted() {
        for (expression, parts) in [
            ("", &["empty", "@daily"][..]),
            ("   ", &["empty"]),
            ("CRON_TZ=UTC", &["empty"]),
            ("* * * *", &["4 fields", "five"]),
            ("* * * * * * *", &["7 fields", "six"]),
            ("60 * * * *", &["minute", "\"60\"", "60 is outside 0-59"]),
            ("* 24 * * *", &["hour", "24 is outside 0-23"]),
            ("* * 0 * *", &["day of month", "0 is outside 1-31"]),
            ("* * * 13 *", &["month", "13 is outside 1-12", "JAN-DEC"]),
            ("* * * * 8", &["day of week", "8 is outside 0-7"]),
            ("*/0 * * * *", &["minute", "steps begin at 1"]),
            ("*/90 * * * *", &["minute", "ends at 59"]),
            ("1,,2 * * * *", &["a part of the list is empty"]),
            ("1, * * * *", &["minute", "empty"]),
            ("* 22-2 * * *", &["hour", "22-23,0-2"]),
            ("* * * * FRI-MON", &["day of week", "5-6,0-1"]),
            ("SUN * * * *", &["minute", "\"SUN\" is no minute"]),
            ("* * * * MONDAY", &["day of week", "\"MONDAY\""]),
            ("* * L-3 * *", &["day of month", "L (the last day)"]),
            ("* * * * MON#6", &["1 to 5"]),
            ("+5 * * * *", &["minute", "\"+5\""]),
            ("1-2-3 * * * *", &["minute", "\"2-3\""]),
            ("99999999999999999999 * * * *", &["minute", "is no minute"]),
            ("*/5/5 * * * *", &["minute", "\"5/5\" is no step"]),
            ("\u{0661} * * * *", &["minute"]),
            ("@every 5m", &["@every", "every_seconds", "@hourly"]),
            ("@reboot", &["@reboot", "@daily"]),
            ("0 0 31 2 *", &["no year"]),
            ("0 0 30,31 FEB *", &["no year"]),
        ] {
            let told = problem(expression);
            assert!(parts.iter().all(|part| told.contains(part)), "{expression}: {told}");
        }
        assert!(problem(&"0,".repeat(5_000_000)).contains("at most 256"));
    }

    #[test]
    fn a_zone_that_does_not_exist_is_told() {
        let told = |zone| Cron::parse("* * * * *", zone).unwrap_err().to_string();
        assert!(told("Mars/Olympus").contains("\"Mars/Olympus\"; use a name of the IANA database"));
        assert!(told("europe/prague").contains("did you mean Europe/Prague?"));
        assert!(told("").contains("no time zone \"\""));
        assert!(problem("CRON_TZ=Nowhere * * * * *").contains("Nowhere"));
    }
}

mod clocks_put_forward {
    use super::*;

    #[test]
    fn a_fixed_time_in_the_gap_comes_once_at_its_end() {
        assert_eq!(
            times("30 2 * * *", "Europe/Prague", "2026-03-28T00:00:00Z", 3),
            ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
        );
        assert_eq!(
            times("0 2 * * *", "America/New_York", "2026-03-08T00:00:00Z", 2),
            ["2026-03-08T03:00:00-04:00", "2026-03-09T02:00:00-04:00"]
        );
        // By half an hour.
        assert_eq!(
            times("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2),
            ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"]
        );
    }

    #[test]
    fn several_fixed_times_in_the_gap_come_as_one() {
        assert_eq!(
            times("0,30 2,3 * * *", "Europe/Prague", "2026-03-28T23:00:00Z", 3),
            ["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00", "2026-03-30T02:00:00+02:00"]
        );
    }

    #[test]
    fn a_fixed_time_beside_the_gap_keeps_its_time() {
        assert_eq!(
            times("59 1 * * *", "Europe/Prague", "2026-03-28T12:00:00Z", 1),
            ["2026-03-29T01:59:00+01:00"]
        );
        assert_eq!(
            times("0 3 * * *", "Europe/Prague", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T03:00:00+02:00", "2026-03-30T03:00:00+02:00"]
        );
    }

    #[test]
    fn steps_follow_elapsed_time() {
        assert_eq!(
            times("*/30 * * * *", "Europe/Prague", "2026-03-29T00:15:00Z", 3),
            ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]
        );
        // Within the gap there is nothing to step through.
        assert_eq!(
            times("*/15 2 * * *", "Europe/Prague", "2026-03-29T00:00:00Z", 1),
            ["2026-03-30T02:00:00+02:00"]
        );
        assert_eq!(
            times("*/20 * * * *", "Australia/Lord_Howe", "2026-10-03T15:05:00Z", 3),
            ["2026-10-04T01:40:00+10:30", "2026-10-04T02:40:00+11:00", "2026-10-04T03:00:00+11:00"]
        );
    }

    #[test]
    fn a_day_that_a_zone_left_out_is_a_gap() {
        // Samoa went from the 29th of December 2011 to the 31st.
        assert_eq!(
            times("0 12 * * *", "Pacific/Apia", "2011-12-29T20:00:00Z", 3),
            ["2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"]
        );
        assert_eq!(
            times("0 9 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", 2),
            ["2011-12-31T00:00:00+14:00", "2012-12-30T09:00:00+14:00"]
        );
        assert_eq!(
            times("0 */12 * * *", "Pacific/Apia", "2011-12-30T08:00:00Z", 2),
            ["2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"]
        );
    }
}

mod clocks_put_back {
    use super::*;

    #[test]
    fn a_fixed_time_comes_the_first_time_only() {
        assert_eq!(
            times("30 2 * * *", "Europe/Prague", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
        );
        assert_eq!(
            times("0,30 1 * * *", "America/New_York", "2026-11-01T00:00:00Z", 3),
            ["2026-11-01T01:00:00-04:00", "2026-11-01T01:30:00-04:00", "2026-11-02T01:00:00-05:00"]
        );
        assert_eq!(
            times("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", 2),
            ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"]
        );
    }

    #[test]
    fn whoever_looks_in_the_second_pass_finds_the_next_day() {
        // 02:15 for the second time.
        assert_eq!(
            times("30 2 * * *", "Europe/Prague", "2026-10-25T01:15:00Z", 1),
            ["2026-10-26T02:30:00+01:00"]
        );
    }

    #[test]
    fn steps_come_in_both_passes() {
        assert_eq!(
            times("*/30 * * * *", "Europe/Prague", "2026-10-25T00:00:00Z", 4),
            [
                "2026-10-25T02:30:00+02:00",
                "2026-10-25T02:00:00+01:00",
                "2026-10-25T02:30:00+01:00",
                "2026-10-25T03:00:00+01:00",
            ]
        );
        assert_eq!(
            times("30 * * * *", "America/New_York", "2026-11-01T05:00:00Z", 3),
            ["2026-11-01T01:30:00-04:00", "2026-11-01T01:30:00-05:00", "2026-11-01T02:30:00-05:00"]
        );
        assert_eq!(
            times("*/15 1 * * *", "Australia/Lord_Howe", "2026-04-04T14:20:00Z", 4),
            [
                "2026-04-05T01:30:00+11:00",
                "2026-04-05T01:45:00+11:00",
                "2026-04-05T01:30:00+10:30",
                "2026-04-05T01:45:00+10:30",
            ]
        );
    }
}

#[test]
fn odd_offsets_are_offsets_too() {
    assert_eq!(
        times("0 0 * * *", "Asia/Kathmandu", "2026-06-30T20:00:00Z", 1),
        ["2026-07-02T00:00:00+05:45"]
    );
    assert_eq!(
        times("0 * * * *", "Asia/Kathmandu", "2026-07-01T00:00:00Z", 1),
        ["2026-07-01T06:00:00+05:45"]
    );
}

const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Prague",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
];
const EXPRESSIONS: [&str; 10] = [
    "* * * * *",
    "*/7 * * * *",
    "30 2 * * *",
    "0,15,45 1,2,3 * * *",
    "30 * * * *",
    "0 */2 * * *",
    "10 3 * * SUN",
    "0 2 L * *",
    "*/20 30 1 * * *",
    "15 2 29 3 *",
];

/// All minutes of a stretch of time in which the clocks show what the expression says.
fn by_hand(cron: &Cron, from: i64, until: i64) -> Vec<i64> {
    let mut found = Vec::new();
    let mut second = from.div_euclid(1_000_000) + 1;
    while second <= until.div_euclid(1_000_000) {
        let clock = cron.line.clock(DateTime::from_timestamp(second, 0).unwrap());
        if cron.pattern.is_time_matching(&clock.and_utc()).unwrap() {
            found.push(second * 1_000_000);
        }
        second += 1;
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn elapsed_time_is_what_the_clocks_show_second_by_second(
        zone in prop::sample::select(&ZONES[..]),
        expression in prop::sample::select(vec!["*/7 * * * *", "30 * * * *", "*/15 1,2 * * *", "*/20 */30 1 * * *"]),
        // Around the changes of 2026, a few hours each.
        day in prop::sample::select(vec!["2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-05", "2026-10-04", "2026-02-15"]),
        offset in -54_000_i64..18_000,
    ) {
        let cron = cron(expression, zone);
        let from = (micros(&format!("{day}T00:00:00Z")) / 1_000_000 + offset) * 1_000_000;
        let until = from + 5 * 3_600_000_000;
        let mut found = Vec::new();
        let mut at = from;
        while let Some(next) = cron.next_after(at).filter(|next| *next <= until) {
            found.push(next);
            at = next;
        }
        prop_assert_eq!(found, by_hand(&cron, from, until));
    }

    #[test]
    fn fixed_times_come_once_a_day_whatever_the_clocks_do(
        zone in prop::sample::select(&ZONES[..]),
        hour in 0_u32..24, minute in 0_u32..60,
        start in 946_684_800_i64..2_524_608_000,
    ) {
        let cron = cron(&format!("{minute} {hour} * * *"), zone);
        let mut at = start * 1_000_000;
        let mut days = Vec::new();
        for _ in 0..40 {
            at = cron.next_after(at).unwrap();
            days.push(cron.line.clock(DateTime::from_timestamp_micros(at).unwrap()));
        }
        let wanted = NaiveTime::from_hms_opt(hour, minute, 0).unwrap();
        for pair in days.windows(2) {
            prop_assert_eq!(pair[0].date().succ_opt().unwrap(), pair[1].date());
            prop_assert!(pair[1].time() == wanted || pair[1].time() < wanted + chrono::TimeDelta::hours(1), "{}", pair[1]);
        }
    }

    #[test]
    fn the_next_time_depends_on_nothing_but_the_time(
        zone in prop::sample::select(&ZONES[..]),
        expression in prop::sample::select(&EXPRESSIONS[..]),
        start in 946_684_800_000_000_i64..2_524_608_000_000_000,
        part in 0.0..1.0_f64,
    ) {
        let cron = cron(expression, zone);
        let next = cron.next_after(start).unwrap();
        prop_assert!(next > start);
        prop_assert_eq!(next % 1_000_000, 0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "any moment in between will do")]
        let between = start + ((next - 1 - start) as f64 * part) as i64;
        prop_assert_eq!(cron.next_after(between), Some(next), "from {}", between);
    }

    #[test]
    fn no_text_does_harm(expression in "\\PC{0,40}", zone in "\\PC{0,12}") {
        let _ = Cron::parse(&expression, "UTC");
        let _ = Cron::parse("* * * * *", &zone);
    }

    #[test]
    fn what_looks_like_cron_is_read_or_refused_and_never_stuck(
        fields in prop::collection::vec("[0-9*/,LW#A-Z?-]{1,6}", 5..=6),
        start in 0_i64..4_102_444_800,
    ) {
        if let Ok(cron) = Cron::parse(&fields.join(" "), "Europe/Prague") {
            let next = cron.next_after(start * 1_000_000);
            prop_assert!(next.is_none_or(|next| next > start * 1_000_000));
        }
    }
}
