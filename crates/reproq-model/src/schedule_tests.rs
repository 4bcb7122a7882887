use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::spec;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 2026-07-01T00:00:00Z.
const T: i64 = 1_782_864_000 * SECOND;

fn schedule(cron_expr: &str, next_run_at: i64) -> Schedule {
    Schedule {
        name: "nightly".to_owned(),
        cron_expr: cron_expr.to_owned(),
        timezone: "UTC".to_owned(),
        catch_up: "latest".to_owned(),
        catch_up_limit: 100,
        overlap: "allow".to_owned(),
        next_run_at,
        enabled: true,
        task_path: "myapp.tasks.noop".to_owned(),
        payload: "{}".to_owned(),
        queue_name: "default".to_owned(),
        max_attempts: 3,
        ..Schedule::default()
    }
}

fn every(seconds: i32, next_run_at: i64) -> Schedule {
    Schedule { every_seconds: Some(seconds), ..schedule("", next_run_at) }
}

fn catching_up(schedule: &Schedule, how: &str, limit: i32) -> Schedule {
    Schedule { catch_up: how.to_owned(), catch_up_limit: limit, ..schedule.clone() }
}

#[expect(clippy::unnecessary_wraps, reason = "as plans have it")]
fn missed(first: i64, until: i64, count: i32) -> Option<Missed> {
    Some(Missed { first, until, count, at_least: false })
}

mod planning {
    use super::*;

    #[test]
    fn a_tick_on_time_fires_and_the_next_one_follows() {
        let hourly = schedule("0 * * * *", T);
        let found = plan(&hourly, T + 5).unwrap();
        assert_eq!(found, Plan { ticks: vec![T], missed: None, next: T + HOUR });
        let found = plan(&every(90, T), T + 5).unwrap();
        assert_eq!(found, Plan { ticks: vec![T], missed: None, next: T + 90 * SECOND });
    }

    #[test]
    fn a_time_that_somebody_has_set_fires_and_the_expression_goes_on_from_there() {
        let at = T + 7 * MINUTE + 33;
        let found = plan(&schedule("0 * * * *", at), at + SECOND).unwrap();
        assert_eq!(found, Plan { ticks: vec![at], missed: None, next: T + HOUR });
    }

    #[test]
    fn what_is_not_due_does_not_fire() {
        let found = plan(&schedule("0 * * * *", T + 1), T).unwrap();
        assert_eq!(found, Plan { next: T + 1, ..Plan::default() });
    }

    #[test]
    fn of_what_nobody_saw_the_latest_runs_and_the_rest_is_one_word() {
        let hourly = schedule("0 * * * *", T);
        let found = plan(&hourly, T + 5 * HOUR + 1).unwrap();
        assert_eq!(found.ticks, [T + 5 * HOUR]);
        assert_eq!(found.missed, missed(T, T + 4 * HOUR, 5));
        assert_eq!(found.next, T + 6 * HOUR);
        assert_eq!(plan(&every(3600, T), T + 5 * HOUR + 1).unwrap(), found);
    }

    #[test]
    fn all_are_made_up_for_up_to_the_limit() {
        for schedule in [schedule("0 * * * *", T), every(3600, T)] {
            let found = plan(&catching_up(&schedule, "all", 100), T + 3 * HOUR).unwrap();
            assert_eq!(found.ticks, [T, T + HOUR, T + 2 * HOUR, T + 3 * HOUR]);
            assert_eq!(found.missed, None);
            let found = plan(&catching_up(&schedule, "all", 2), T + 3 * HOUR).unwrap();
            assert_eq!(found.ticks, [T + 2 * HOUR, T + 3 * HOUR]);
            assert_eq!(found.missed, missed(T, T + HOUR, 2));
        }
    }

    #[test]
    fn none_are_made_up_for_unless_the_last_has_only_just_come() {
        for schedule in [schedule("0 * * * *", T), every(3600, T)] {
            let none = catching_up(&schedule, "none", 100);
            let found = plan(&none, T + 2 * HOUR + GRACE + 1).unwrap();
            assert_eq!((found.ticks, found.missed), (vec![], missed(T, T + 2 * HOUR, 3)));
            let found = plan(&none, T + 2 * HOUR + GRACE).unwrap();
            assert_eq!((found.ticks, found.missed), (vec![T + 2 * HOUR], missed(T, T + HOUR, 2)));
            let found = plan(&none, T + 1).unwrap();
            assert_eq!((found.ticks, found.missed), (vec![T], None));
        }
    }

    #[test]
    fn what_was_edited_counts_from_now() {
        let edited = Schedule { rebase: true, ..schedule("0 * * * *", T) };
        assert_eq!(plan(&edited, T + 90 * MINUTE).unwrap(), Plan { next: T + 2 * HOUR, ..Plan::default() });
        let edited = Schedule { rebase: true, ..every(90, T) };
        let found = plan(&edited, T + HOUR).unwrap();
        assert_eq!(found, Plan { next: T + HOUR + 90 * SECOND, ..Plan::default() });
        let anchored = Schedule { start_at: Some(T + 10), ..edited };
        assert_eq!(plan(&anchored, T + HOUR).unwrap().next, T + 10 + 40 * 90 * SECOND);
    }

    #[test]
    fn what_was_broken_and_is_mended_counts_from_now() {
        let mended = Schedule { problem: Some("was".to_owned()), ..schedule("0 * * * *", T) };
        assert_eq!(plan(&mended, T + 90 * MINUTE).unwrap(), Plan { next: T + 2 * HOUR, ..Plan::default() });
        // Whoever mends it may say when it is to run.
        assert_eq!(plan(&mended, T + 1).unwrap().ticks, [T]);
    }

    #[test]
    fn nothing_comes_before_the_start_and_after_the_end() {
        let early = Schedule { start_at: Some(T + 90 * MINUTE), ..schedule("0 * * * *", T) };
        assert_eq!(plan(&early, T + 1).unwrap(), Plan { next: T + 2 * HOUR, ..Plan::default() });
        let starting = Schedule { start_at: Some(T + 2 * HOUR), ..schedule("0 * * * *", T) };
        assert_eq!(plan(&starting, T + 1).unwrap().next, T + 2 * HOUR, "the start is a time of it");
        let starting = Schedule { start_at: Some(T + 5), ..every(60, T) };
        assert_eq!(plan(&starting, T + 1).unwrap().next, T + 5);
        let ending = Schedule { end_at: Some(T + HOUR), ..schedule("0 * * * *", T) };
        assert_eq!(plan(&ending, T + 1).unwrap().next, T + HOUR, "the end is a time of it");
        let found = plan(&ending, T + 5 * HOUR).unwrap();
        assert_eq!(found, Plan { ticks: vec![T + HOUR], missed: missed(T, T, 1), next: NEVER });
        let over = Schedule { next_run_at: T + 2 * HOUR, ..ending };
        assert_eq!(plan(&over, T + 3 * HOUR).unwrap(), Plan { next: NEVER, ..Plan::default() });
    }

    #[test]
    fn every_second_of_a_month_is_no_trouble() {
        let now = T + 30 * DAY;
        for how in ["none", "latest", "all"] {
            let found = plan(&catching_up(&every(1, T), how, 3), now).unwrap();
            assert_eq!(found.next, now + SECOND);
            assert!(found.missed.unwrap().count > 2_591_990);
            let found = plan(&catching_up(&schedule("* * * * * *", T), how, 3), now).unwrap();
            let wanted = if how == "all" { 3 } else { 1 };
            let ticks: Vec<i64> = (0..wanted).rev().map(|back| now - back * SECOND).collect();
            assert_eq!((found.ticks, found.next), (ticks, now + SECOND));
            let missed = found.missed.unwrap();
            assert_eq!((missed.first, missed.until), (T, now - wanted * SECOND));
            assert!(missed.at_least && missed.count > 9_990);
        }
    }

    #[test]
    fn a_row_that_makes_no_sense_is_told() {
        let good = schedule("0 * * * *", T);
        for (broken, part) in [
            (schedule("61 * * * *", T), "61 is outside"),
            (schedule("", T), "neither"),
            (Schedule { every_seconds: Some(5), ..good.clone() }, "empty one of them"),
            (every(0, T), "the least is 1"),
            (every(-5, T), "the least is 1"),
            (Schedule { timezone: "Mars".to_owned(), ..good.clone() }, "no time zone"),
            (Schedule { overlap: "x".to_owned(), ..good.clone() }, "queue_one"),
            (Schedule { catch_up: "x".to_owned(), ..good.clone() }, "latest"),
        ] {
            let told = plan(&broken, T).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
        for (payload, part) in [
            ("3", "single value"),
            ("{\"args\": 1}", "no array"),
            ("{\"kwargs\": []}", "no object"),
            ("{", "cannot be read"),
        ] {
            let told =
                RunTemplate::of(&Schedule { payload: payload.to_owned(), ..good.clone() }).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
        let told = RunTemplate::of(&Schedule { task_path: " ".to_owned(), ..good.clone() }).unwrap_err();
        assert!(told.contains("task_path"));
        let told =
            RunTemplate::of(&Schedule { options: Some("{\"timeout_seconds\":\"long\"}".to_owned()), ..good })
                .unwrap_err();
        assert!(told.contains("options_json"));
    }
}

#[test]
fn the_next_times_are_those_that_a_look_would_find() {
    let hourly = schedule("0 * * * *", T + 7);
    assert_eq!(upcoming(&hourly, T, 3).unwrap(), [T + 7, T + HOUR, T + 2 * HOUR]);
    let edited = Schedule { rebase: true, ..hourly.clone() };
    assert_eq!(upcoming(&edited, T + HOUR, 2).unwrap(), [T + 2 * HOUR, T + 3 * HOUR]);
    let ending = Schedule { end_at: Some(T + HOUR), ..hourly.clone() };
    assert_eq!(upcoming(&ending, T, 3).unwrap(), [T + 7, T + HOUR]);
    for none in [Schedule { enabled: false, ..hourly.clone() }, schedule("0 * * * *", NEVER)] {
        assert_eq!(upcoming(&none, T, 3).unwrap(), [0; 0]);
    }
    assert_eq!(upcoming(&every(90, T), T, 2).unwrap(), [T, T + 90 * SECOND]);
}

proptest! {
    #[test]
    fn each_time_is_seen_to_once_whenever_somebody_looks(
        expression in prop::sample::select(vec!["*/7 * * * *", "30 2 * * *", "0 */3 * * *", "0 12 * * MON"]),
        how in prop::sample::select(vec!["none", "latest", "all"]),
        looks in prop::collection::vec(1_i64..2 * DAY, 1..30),
    ) {
        let mut schedule = catching_up(&schedule(expression, T), how, 5);
        schedule.timezone = "Europe/Prague".to_owned();
        let rhythm = Rhythm::of(&schedule).unwrap();
        schedule.next_run_at = rhythm.next_after(T, T).unwrap();
        let (mut now, mut seen) = (T, 0);
        for look in looks {
            now += look;
            let found = plan(&schedule, now).unwrap();
            prop_assert!(found.next > now);
            prop_assert!(found.ticks.iter().all(|tick| *tick <= now && *tick >= schedule.next_run_at));
            prop_assert!(found.ticks.is_sorted() && found.ticks.len() <= 5);
            if let Some(missed) = &found.missed {
                prop_assert!(found.ticks.first().is_none_or(|tick| *tick > missed.until));
                prop_assert!(missed.first <= missed.until);
            }
            seen += found.ticks.len() + found.missed.map_or(0, |missed| usize::try_from(missed.count).unwrap());
            schedule.next_run_at = found.next;
        }
        let mut at = T;
        let mut came = 0;
        while let Some(next) = rhythm.next_after(at, T).filter(|next| *next <= now) {
            at = next;
            came += 1;
        }
        prop_assert_eq!(seen, came);
    }

    #[test]
    fn no_row_does_harm(
        every_seconds in prop::option::of(any::<i32>()), next_run_at in -62_000_000_000_000_000..NEVER,
        now in 0..NEVER / 3, limit in any::<i32>(), start in prop::option::of(0..NEVER), end in prop::option::of(0..NEVER),
    ) {
        let row = Schedule {
            every_seconds, start_at: start, end_at: end, catch_up: "all".to_owned(), catch_up_limit: limit,
            ..schedule(if every_seconds.is_some() { "" } else { "*/5 * * * *" }, next_run_at)
        };
        if let Ok(found) = plan(&row, now) {
            prop_assert!(found.next > now && found.next <= NEVER && found.ticks.len() <= MOST_AT_ONCE);
        }
    }

    #[test]
    fn jitter_is_within_its_bounds_and_the_same_for_the_same_tick(jitter in 1_i32..100_000, at in 0..NEVER / 3) {
        let row = Schedule { jitter_seconds: jitter, ..schedule("0 * * * *", T) };
        let run = RunTemplate::of(&row).unwrap().run(at);
        let late = run.run_after.unwrap() - at;
        prop_assert!((0..i64::from(jitter) * SECOND).contains(&late));
        prop_assert_eq!(run, RunTemplate::of(&row).unwrap().run(at));
    }
}

#[test]
fn jitter_spreads() {
    let row = Schedule { jitter_seconds: 60, ..schedule("0 * * * *", T) };
    let template = RunTemplate::of(&row).unwrap();
    let late: Vec<i64> =
        (0..200).map(|hour| T + hour * HOUR).map(|at| template.run(at).run_after.unwrap() - at).collect();
    assert!(late.iter().any(|late| *late < 10 * SECOND) && late.iter().any(|late| *late > 50 * SECOND));
    assert_eq!(template.run_now(T).run_after, None, "whoever wants it now wants it now");
}

#[test]
fn a_run_has_what_the_task_asks_for() {
    let options = r#"{"task_path":"myapp.tasks.noop","payload":{},"timeout_seconds":60,"fairness_key":"f","rate_key":"key:r","rate_per_second":0.5,
        "rate_burst":3,"over_limit":1,"expires_in_seconds":1.5,"backend_alias":"b","unknown":1}"#;
    let row = Schedule { options: Some(options.to_owned()), priority: 7, ..schedule("0 * * * *", T) };
    let run = RunTemplate::of(&row).unwrap().run(T);
    assert_eq!((run.fairness_key.as_deref(), run.rate_key.as_deref()), (Some("f"), Some("key:r")));
    assert_eq!((run.rate_per_second, run.rate_burst, run.over_limit), (Some(0.5), Some(3), 1));
    assert_eq!((run.expires_in_seconds, run.backend_alias.as_str()), (Some(1.5), "b"));
    assert_eq!((run.timeout_seconds, run.priority, run.run_after), (60, 7, None));
}

#[test]
fn every_vector_of_the_contract_is_made_as_agreed() {
    let vectors: Vec<Value> =
        serde_json::from_str(include_str!("../../../contracts/schedule_vectors.json")).unwrap();
    assert!(vectors.len() > 15);
    for vector in vectors {
        let row = &vector["schedule"];
        let text = |key: &str| row[key].as_str().map(str::to_owned);
        let whole = |key: &str| i32::try_from(row[key].as_i64().unwrap()).unwrap();
        let schedule = Schedule {
            name: text("name").unwrap(),
            task_path: text("task_path").unwrap(),
            payload: row["payload_json"].to_string(),
            options: Some(&row["options_json"]).filter(|value| !value.is_null()).map(Value::to_string),
            queue_name: text("queue_name").unwrap(),
            priority: whole("priority"),
            max_attempts: whole("max_attempts"),
            concurrency_key: text("concurrency_key"),
            concurrency_limit: whole("concurrency_limit"),
            overlap: text("overlap").unwrap(),
            ..schedule("0 * * * *", T)
        };
        let at = chrono::DateTime::parse_from_rfc3339(vector["scheduled_at"].as_str().unwrap()).unwrap();
        let run = RunTemplate::of(&schedule).unwrap().run(at.timestamp_micros());
        assert_eq!(run.spec_json, vector["canonical"].as_str().unwrap(), "{}", vector["name"]);
        assert_eq!(run.spec_hash, vector["sha256"].as_str().unwrap(), "{}", vector["name"]);
        assert_eq!(spec::canonical(&run.spec_json).unwrap(), run.spec_json, "{}", vector["name"]);
    }
}
