//! Schedules: each tick fires once, whoever looks and however many, and what became of it is known.

use std::time::Duration;

use reproq_model::schedule::{NEVER, Overlap, Plan, RunTemplate, Schedule, plan};
use reproq_model::{RunId, RunStatus};
use reproq_store::{Fired, Store, StoreError, Tick, Wake, Which};
use tokio::time::{sleep, timeout};

use crate::database::{Database, both, claim_keyed, claim_one, deadline, finish, returned, within, worker};

const TIME: &str = "2026-11-28 03:00:00";

impl Database {
    /// A row as the earlier system's client or an operator writes it; `columns` and `values` are SQL.
    async fn schedule(&self, name: &str, cron_expr: &str, next_run_at: &str, columns: &str, values: &str) {
        self.execute(&format!(
            "INSERT INTO periodic_tasks (name, cron_expr, task_path, next_run_at{columns}) \
             VALUES ('{name}', '{cron_expr}', 'shop.tasks.send', {next_run_at}{values})"
        ))
        .await;
    }

    /// One that fires every hour, and is due.
    async fn hourly(&self, columns: &str, values: &str) {
        self.schedule("hourly", "0 * * * *", &self.now(-0.5), columns, values).await;
    }

    async fn ticks(&self, condition: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM periodic_runs WHERE {condition}")).await
    }

    async fn due_again(&self) {
        self.execute(&format!("UPDATE periodic_tasks SET next_run_at = {}", self.now(-0.5))).await;
    }
}

async fn named(store: &dyn Store, name: &str) -> (Schedule, i64) {
    let page = store.schedules(Which::Named(name), "", 1).await.unwrap();
    assert_eq!(page.unreadable, []);
    (page.schedules.into_iter().next().expect("the schedule"), page.now)
}

async fn due(store: &dyn Store) -> Vec<String> {
    let page = store.schedules(Which::Due, "", 100).await.unwrap();
    page.schedules.into_iter().map(|schedule| schedule.name).collect()
}

/// What a scheduler does with one schedule.
async fn fire(store: &dyn Store, schedule: &Schedule, now: i64) -> Result<Fired, StoreError> {
    let plan = plan(schedule, now).unwrap();
    let template = RunTemplate::of(schedule).unwrap();
    let runs = plan.ticks.iter().map(|at| template.run(*at)).collect();
    let overlap = Overlap::of(&schedule.overlap).unwrap();
    store.fire(&Tick { schedule, plan: &plan, runs, overlap }).await
}

/// Reads and fires; the new runs.
async fn look(store: &dyn Store, name: &str) -> Vec<RunId> {
    let (schedule, now) = named(store, name).await;
    match fire(store, &schedule, now).await.unwrap() {
        Fired::Written(runs) => runs,
        Fired::Elsewhere => panic!("nobody else is there"),
    }
}

both! {
    async fn a_tick_is_a_run_and_a_word_about_it(db: &Database) {
        let store = db.store().await;
        db.schedule("nightly", "0 3 * * *", &format!("'{TIME}'"), ", payload_json, queue_name, priority, max_attempts",
            r#", '{"args": [1], "kwargs": {"a": "ž"}}', 'reports', 7, 9"#).await;
        assert_eq!(due(&*store).await, ["nightly"]);
        let (schedule, now) = named(&*store, "nightly").await;
        let at = schedule.next_run_at;
        let Fired::Written(runs) = fire(&*store, &schedule, at + 1).await.unwrap() else { panic!() };
        let [id] = runs[..] else { panic!("{runs:?}") };
        assert!(db.holds(id, "status = 'READY' AND queue_name = 'reports' AND priority = 7 AND max_attempts = 9 AND dedup = 0 AND timeout_seconds = 900").await);
        assert!(db.holds(id, "task_path = 'shop.tasks.send' AND run_after IS NULL AND workflow_id IS NULL AND gate = 0").await);
        let spec = db.column(id, "spec_json").await.unwrap();
        assert_eq!(reproq_model::spec::hash(&spec), db.column(id, "spec_hash").await.unwrap());
        assert!(spec.contains(r#""args":[1]"#) && spec.contains(r#""a":"ž""#), "{spec}");
        assert!(spec.contains(r#""periodic_name":"nightly""#) && spec.contains(r#""scheduled_at":"2026-11-28T03:00:00+00:00""#), "{spec}");
        let ticks = store.ticks("nightly", 10).await.unwrap();
        assert_eq!(ticks.len(), 1);
        assert_eq!((ticks[0].scheduled_at, ticks[0].state.as_str(), ticks[0].result_id), (at, "enqueued", Some(id)));
        assert_eq!((ticks[0].status, ticks[0].count), (Some(RunStatus::Ready), 1));
        let (after, _) = named(&*store, "nightly").await;
        assert_eq!(after.next_run_at, at + 86_400_000_000);
        assert!(after.last_run_at.unwrap() >= now - 1000, "the database's clock says when");
    }

    async fn eight_schedulers_fire_each_tick_once(db: &Database) {
        for number in 0..6 {
            db.schedule(&format!("s{number}"), "0 * * * *", &db.now(-0.5), "", "").await;
        }
        let mut stores = Vec::new();
        for _ in 0..8 {
            stores.push(db.store().await);
        }
        for round in 1..=5 {
            let looks = stores.iter().map(|store| async {
                let mut fired = 0;
                let page = store.schedules(Which::Due, "", 100).await.unwrap();
                for schedule in &page.schedules {
                    fired += match fire(&**store, schedule, page.now).await {
                        Ok(Fired::Written(runs)) => runs.len(),
                        Ok(Fired::Elsewhere) | Err(StoreError::Unwilling { .. }) => 0,
                        Err(error) => panic!("{error}"),
                    };
                }
                fired
            });
            let fired: usize = join_all(looks).await.into_iter().sum();
            assert_eq!(fired, 6, "round {round}");
            assert_eq!(db.count("TRUE").await, 6 * round);
            db.due_again().await;
        }
        assert_eq!(db.ticks("state = 'enqueued'").await, 30);
    }

    async fn what_was_read_must_still_be_so(db: &Database) {
        let store = db.store().await;
        for edit in [
            "payload_json = '[1]'", "cron_expr = '5 * * * *'", "enabled = FALSE", "queue_name = 'other'",
            &format!("next_run_at = {}", db.now(60.0)),
        ] {
            db.hourly("", "").await;
            let (schedule, now) = named(&*store, "hourly").await;
            db.execute(&format!("UPDATE periodic_tasks SET {edit}")).await;
            assert_eq!(fire(&*store, &schedule, now).await.unwrap(), Fired::Elsewhere, "{edit}");
            db.execute("DELETE FROM periodic_tasks").await;
            assert_eq!(fire(&*store, &schedule, now).await.unwrap(), Fired::Elsewhere, "it is gone");
        }
        assert_eq!((db.count("TRUE").await, db.ticks("TRUE").await), (0, 0));
    }

    async fn a_tick_that_was_written_before_has_no_second_run(db: &Database) {
        let store = db.store().await;
        db.schedule("nightly", "0 3 * * *", &format!("'{TIME}'"), "", "").await;
        let (schedule, _) = named(&*store, "nightly").await;
        let just_then = schedule.next_run_at + 1;
        assert!(matches!(fire(&*store, &schedule, just_then).await.unwrap(), Fired::Written(runs) if runs.len() == 1));
        db.execute(&format!("UPDATE periodic_tasks SET next_run_at = '{TIME}'")).await;
        let (schedule, _) = named(&*store, "nightly").await;
        assert_eq!(fire(&*store, &schedule, just_then).await.unwrap(), Fired::Written(Vec::new()));
        assert_eq!((db.count("TRUE").await, db.ticks("TRUE").await), (1, 1));
        assert_eq!(named(&*store, "nightly").await.0.next_run_at, schedule.next_run_at + 86_400_000_000, "and it goes on");
    }

    async fn what_nobody_saw_is_caught_up_with_as_the_schedule_wishes(db: &Database) {
        let store = db.store().await;
        for (how, runs, missed) in [("latest", 1, 1), ("all", 3, 1), ("none", 0, 1)] {
            db.schedule(how, "0 * * * *", &format!("'{TIME}'"), ", catch_up, catch_up_limit", &format!(", '{how}', 3")).await;
            let (schedule, _) = named(&*store, how).await;
            // Half past nine: 3, 4, ... 9 o'clock have come.
            let fired = fire(&*store, &schedule, schedule.next_run_at + 6 * 3_600_000_000 + 1_800_000_000).await.unwrap();
            assert!(matches!(fired, Fired::Written(ids) if ids.len() == runs), "{how}");
            let ticks = store.ticks(how, 10).await.unwrap();
            assert_eq!(ticks.iter().filter(|tick| tick.state == "enqueued").count(), runs, "{how}");
            let words: Vec<_> = ticks.iter().filter(|tick| tick.state == "missed").collect();
            assert_eq!(words.len(), missed, "{how}");
            assert_eq!(words[0].count, 7 - i32::try_from(runs).unwrap(), "{how}");
            assert_eq!((words[0].scheduled_at, words[0].result_id), (schedule.next_run_at, None));
            assert!(words[0].missed_until.unwrap() >= words[0].scheduled_at);
        }
    }

    async fn a_schedule_that_skips_waits_for_its_run(db: &Database) {
        let (store, owner) = (db.store().await, worker("w", &["default"]));
        db.hourly(", overlap", ", 'skip'").await;
        let first = look(&*store, "hourly").await[0];
        for busy in [false, true] {
            db.due_again().await;
            assert!(look(&*store, "hourly").await.is_empty());
            if !busy {
                assert_eq!(claim_one(&*store, &owner).await.id, first);
            }
        }
        let ticks = store.ticks("hourly", 10).await.unwrap();
        assert_eq!(ticks[0].reason.as_deref(), Some(format!("run {first} has not ended").as_str()));
        assert_eq!(db.ticks("state = 'skipped' AND result_id IS NULL").await, 2);
        db.execute("UPDATE task_runs SET status = 'SUCCESSFUL', leased_until = NULL, leased_by = NULL, incarnation = NULL").await;
        db.due_again().await;
        assert_eq!(look(&*store, "hourly").await.len(), 1);
    }

    async fn a_schedule_that_queues_one_has_one_wait_behind_another(db: &Database) {
        let (store, owner) = (db.store().await, worker("w", &["default"]));
        db.hourly(", overlap", ", 'queue_one'").await;
        let first = look(&*store, "hourly").await[0];
        assert!(db.column(first, "lock_key").await.is_some_and(|key| key == "schedule:hourly"));
        let running = claim_keyed(&*store, &owner, 5).await.pop().unwrap();
        db.due_again().await;
        assert_eq!(look(&*store, "hourly").await.len(), 1, "one may wait");
        db.due_again().await;
        assert!(look(&*store, "hourly").await.is_empty(), "a second one may not");
        assert!(claim_keyed(&*store, &owner, 5).await.is_empty(), "it waits for the first");
        assert!(finish(&*store, &owner, &running, returned("1")).await);
        assert_eq!(claim_keyed(&*store, &owner, 5).await.len(), 1);
        assert!(store.ticks("hourly", 1).await.unwrap()[0].reason.as_ref().unwrap().contains("already waits"));
    }

    async fn a_schedule_that_cancels_takes_the_place_of_its_run(db: &Database) {
        let (store, owner) = (db.store().await, worker("w", &["default"]));
        db.hourly(", overlap", ", 'cancel_previous'").await;
        look(&*store, "hourly").await;
        let running = claim_keyed(&*store, &owner, 5).await.pop().unwrap();
        db.due_again().await;
        let waiting = look(&*store, "hourly").await[0];
        assert!(db.holds(running.id, "status = 'RUNNING' AND cancel_requested").await);
        assert!(claim_keyed(&*store, &owner, 5).await.is_empty(), "it starts when the other has ended");
        db.due_again().await;
        let last = look(&*store, "hourly").await[0];
        assert_eq!(db.status(waiting).await, "CANCELLED");
        assert_eq!(db.status(last).await, "READY");
    }

    async fn a_run_now_leaves_the_times_as_they_are(db: &Database) {
        let store = db.store().await;
        db.schedule("nightly", "0 3 * * *", &db.now(3600.0), ", overlap", ", 'queue_one'").await;
        let (schedule, now) = named(&*store, "nightly").await;
        let run = RunTemplate::of(&schedule).unwrap().run_now(now);
        let id = store.run_schedule("nightly", now, &run).await.unwrap();
        assert!(db.holds(id, "status = 'READY' AND lock_key = 'schedule:nightly' AND run_after IS NULL").await);
        assert_eq!(named(&*store, "nightly").await.0, schedule);
        let ticks = store.ticks("nightly", 10).await.unwrap();
        assert_eq!((ticks[0].state.as_str(), ticks[0].result_id, ticks[0].scheduled_at), ("manual", Some(id), now));
    }

    async fn an_edit_is_counted_from_now_and_fires_nothing(db: &Database) {
        let store = db.store().await;
        db.schedule("nightly", "0 3 * * *", &db.now(3600.0), "", "").await;
        assert!(due(&*store).await.is_empty());
        for (edit, least, most) in [
            ("cron_expr = '* * * * *'", 0, 60), ("cron_expr = '', every_seconds = 90", 89, 90), ("every_seconds = 7200", 7199, 7200),
        ] {
            db.execute(&format!("UPDATE periodic_tasks SET {edit}")).await;
            assert_eq!(due(&*store).await, ["nightly"], "{edit}");
            assert!(look(&*store, "nightly").await.is_empty());
            let (schedule, now) = named(&*store, "nightly").await;
            let wait = schedule.next_run_at - now;
            assert!(wait > least * 1_000_000 - 500_000 && wait <= most * 1_000_000, "{edit}: {wait}");
            assert!(!schedule.rebase);
        }
        db.execute("UPDATE periodic_tasks SET enabled = FALSE").await;
        db.execute("UPDATE periodic_tasks SET enabled = TRUE").await;
        assert_eq!(due(&*store).await, ["nightly"], "whoever is back counts from now");
        // An edit that brings a time of its own is taken at its word.
        db.execute("UPDATE periodic_tasks SET rebase = FALSE").await;
        db.execute(&format!("UPDATE periodic_tasks SET cron_expr = '0 0 1 1 *', every_seconds = NULL, next_run_at = {}", db.now(0.0))).await;
        assert_eq!(look(&*store, "nightly").await.len(), 1, "next_run_at = now fires at once");
    }

    async fn a_row_that_makes_no_sense_keeps_no_other_from_firing(db: &Database) {
        let store = db.store().await;
        db.schedule("a", "* * * * *", if db.is_postgres() { "'-infinity'" } else { "'soon'" }, "", "").await;
        db.hourly("", "").await;
        db.execute(if db.is_postgres() { "SELECT 1" } else { "UPDATE periodic_tasks SET next_run_at = '1 o''clock' WHERE name = 'a'" }).await;
        let page = store.schedules(Which::Due, "", 100).await.unwrap();
        assert_eq!(page.unreadable.len(), 1);
        assert!(page.unreadable[0].0 == "a" && page.unreadable[0].1.contains("next_run_at"), "{:?}", page.unreadable);
        assert_eq!(page.schedules.len(), 1);
        assert!(store.note_problem("a", "why").await.unwrap());
        assert!(!store.note_problem("a", "why").await.unwrap(), "it is no news");
        assert_eq!(db.text("SELECT problem FROM periodic_tasks WHERE name = 'a'").await.as_deref(), Some("why"));
        assert_eq!(look(&*store, "hourly").await.len(), 1);
    }

    async fn pages_are_read_one_after_the_other(db: &Database) {
        let store = db.store().await;
        for name in ["c", "a", "b", "ž"] {
            db.schedule(name, "0 * * * *", &db.now(-0.5), "", "").await;
        }
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = store.schedules(Which::Due, &after, 2).await.unwrap();
            seen.extend(page.schedules.into_iter().map(|schedule| schedule.name));
            let Some(more) = page.more_after else { break };
            after = more;
        }
        seen.sort();
        assert_eq!(seen, ["a", "b", "c", "ž"]);
    }

    async fn only_the_newest_ticks_are_kept_and_those_that_others_wait_for(db: &Database) {
        let store = db.store().await;
        db.hourly(", overlap", ", 'skip'").await;
        let first = look(&*store, "hourly").await[0];
        for _ in 0..110 {
            db.due_again().await;
            look(&*store, "hourly").await;
        }
        assert_eq!(db.ticks(&format!("result_id = {first}")).await, 1, "its run has not ended");
        assert!(db.ticks("TRUE").await <= 102);
        db.execute("UPDATE periodic_tasks SET overlap = 'allow'").await;
        db.due_again().await;
        look(&*store, "hourly").await;
        assert_eq!(db.ticks(&format!("result_id = {first}")).await, 0);
        assert!(db.ticks("TRUE").await <= 101);
    }

    async fn the_next_time_is_known_and_the_end_of_times(db: &Database) {
        let store = db.store().await;
        assert_eq!(store.next_tick().await.unwrap(), None);
        db.hourly("", "").await;
        assert_eq!(store.next_tick().await.unwrap(), None, "what is due is not what comes next");
        db.schedule("later", "0 * * * *", &db.now(30.0), "", "").await;
        db.schedule("off", "0 * * * *", &db.now(5.0), ", enabled", ", FALSE").await;
        let wait = store.next_tick().await.unwrap().unwrap();
        assert!(wait > Duration::from_secs(25) && wait <= Duration::from_millis(30_001), "{wait:?}");
        db.execute(&format!("UPDATE periodic_tasks SET end_at = {} WHERE name = 'hourly'", db.now(1.0))).await;
        look(&*store, "hourly").await;
        let (over, _) = named(&*store, "hourly").await;
        assert_eq!(over.next_run_at, NEVER);
        assert_eq!(due(&*store).await, [""; 0]);
        let year = if db.is_postgres() { "extract(year FROM next_run_at AT TIME ZONE 'UTC')::int" } else { "substr(next_run_at, 1, 4)" };
        assert_eq!(db.text(&format!("SELECT {year} FROM periodic_tasks WHERE name = 'hourly'")).await.as_deref(), Some("9999"));
    }

    async fn a_scheduler_is_seen(db: &Database) {
        let store = db.store().await;
        assert_eq!(store.scheduler_silence().await.unwrap(), None);
        for _ in 0..2 {
            store.mark_scheduler().await.unwrap();
            assert!(store.scheduler_silence().await.unwrap().unwrap() < Duration::from_secs(5));
        }
        let past = if db.is_postgres() {
            "to_char((now() - interval '90 s') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"+00:00\"')"
        } else {
            "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now', '-90 seconds')"
        };
        db.execute(&format!("UPDATE reproq_meta SET value = {past} WHERE key = 'scheduler_seen'")).await;
        let silence = store.scheduler_silence().await.unwrap().unwrap();
        assert!(silence > Duration::from_secs(85) && silence < Duration::from_secs(95), "{silence:?}");
    }

    async fn an_operator_says_whether_a_schedule_fires(db: &Database) {
        let store = db.store().await;
        db.hourly("", "").await;
        assert_eq!(store.enable_schedule("hourly", false).await.unwrap(), Some(true));
        assert_eq!(due(&*store).await, [""; 0]);
        assert_eq!(store.enable_schedule("hourly", false).await.unwrap(), Some(false));
        assert_eq!(store.enable_schedule("hourly", true).await.unwrap(), Some(false));
        assert!(named(&*store, "hourly").await.0.rebase, "it counts from now");
        assert_eq!(store.enable_schedule("nobody", true).await.unwrap(), None);
    }

    async fn jitter_and_the_tasks_own_options_reach_the_run(db: &Database) {
        let store = db.store().await;
        let options = r#"{"task_path":"shop.tasks.send","payload":{},"timeout_seconds":60,"expires_in_seconds":90.5,"fairness_key":"f",
            "rate_key":"key:r","rate_per_second":0.5,"rate_burst":3,"over_limit":1,"concurrency_key":"c","concurrency_limit":2,"backend_alias":"b"}"#;
        db.hourly(", jitter_seconds, options_json", &format!(", 600, '{options}'")).await;
        let id = look(&*store, "hourly").await[0];
        assert!(db.holds(id, "timeout_seconds = 60 AND fairness_key = 'f' AND rate_key = 'key:r' AND rate_per_second = 0.5 AND rate_burst = 3").await);
        assert!(db.holds(id, "over_limit = 1 AND concurrency_key = 'c' AND concurrency_limit = 2 AND backend_alias = 'b' AND run_after IS NOT NULL").await);
        assert!(db.holds(id, &format!("expires_at > {} AND expires_at < {}", db.now(80.0), db.now(91.0))).await);
        assert!(db.holds(id, &format!("run_after > {} AND run_after < {}", db.now(-1.0), db.now(600.0))).await);
    }
}

async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut set = futures.map(Box::pin).map(Some).collect::<Vec<_>>();
    let mut done: Vec<Option<T>> = set.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, result) in set.iter_mut().zip(&mut done) {
            if let Some(running) = future
                && let std::task::Poll::Ready(value) = running.as_mut().poll(context)
            {
                *result = Some(value);
                *future = None;
            }
        }
        if set.iter().all(Option::is_none) {
            std::task::Poll::Ready(done.iter_mut().filter_map(Option::take).collect())
        } else {
            std::task::Poll::Pending
        }
    })
    .await
}

/// What this side's clock says decides nothing: a plan is made with the time that the page carries.
#[tokio::test]
async fn the_present_is_the_databases() {
    for db in [Database::sqlite().await, Database::postgres().await] {
        let store = db.store().await;
        db.hourly("", "").await;
        let (_, now) = named(&*store, "hourly").await;
        let theirs = db.now(0.0);
        let near = if db.is_postgres() {
            format!("SELECT abs(extract(epoch FROM {theirs}) * 1000000 - {now})::bigint < 2000000")
        } else {
            format!("SELECT abs((julianday({theirs}) - 2440587.5) * 86400000000.0 - {now}) < 2000000")
        };
        assert!(matches!(db.text(&near).await.as_deref(), Some("t" | "1")));
    }
}

#[tokio::test]
async fn whoever_edits_a_schedule_wakes_the_schedulers() {
    let db = Database::postgres().await;
    let store = db.store().await;
    assert_eq!(store.woken().await.unwrap(), Wake::Either, "the first one is not missed");
    let heard = async || within(Duration::from_secs(5), "the word", store.woken()).await.unwrap();
    db.hourly("", "").await;
    assert_eq!(heard().await, Wake::Schedule);
    db.execute("UPDATE periodic_tasks SET cron_expr = '5 * * * *'").await;
    assert_eq!(heard().await, Wake::Schedule);
    db.execute("SELECT pg_notify('reproq_schedule', 'tick')").await;
    assert_eq!(heard().await, Wake::Tick);
    // A tick moves the schedule on, which is no news to anybody.
    look(&*store, "hourly").await;
    assert!(timeout(Duration::from_millis(300), store.woken()).await.is_err());
}

/// A scheduler that is stopped in the midst of a tick has the schedule in its hands, for a moment.
#[tokio::test]
async fn a_scheduler_that_stops_in_its_transaction_holds_up_nobody() {
    let db = Database::postgres().await;
    let store = db.store().await;
    db.hourly("", "").await;
    db.schedule("other", "0 * * * *", &db.now(-0.5), "", "").await;
    // All that a stopped one has said so far.
    let mut stopped = db.another_side().await;
    stopped.rows("BEGIN; SET LOCAL idle_in_transaction_session_timeout = '1500ms'").await.unwrap();
    stopped.rows("SELECT 1 FROM periodic_tasks WHERE name = 'hourly' FOR NO KEY UPDATE").await.unwrap();
    let (schedule, now) = named(&*store, "hourly").await;
    let fired = within(Duration::from_millis(500), "the look", fire(&*store, &schedule, now)).await.unwrap();
    assert_eq!(fired, Fired::Elsewhere);
    assert_eq!(look(&*store, "other").await.len(), 1, "others fire meanwhile");
    let until = deadline(Duration::from_secs(6));
    while fire(&*store, &schedule, now).await.unwrap() == Fired::Elsewhere {
        assert!(tokio::time::Instant::now() < until, "the stopped one has not been put out");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(db.count("TRUE").await, 2);
}

/// The transaction of a tick brings that bound along: seen from the server, which ends it.
#[tokio::test]
async fn the_bound_is_set_in_the_ticks_transaction() {
    let db = Database::postgres().await;
    let store = db.store().await;
    db.hourly("", "").await;
    db.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.problem := current_setting('idle_in_transaction_session_timeout'); RETURN NEW; END $$; \
         CREATE TRIGGER note BEFORE UPDATE ON periodic_tasks FOR EACH ROW EXECUTE FUNCTION note()",
    )
    .await;
    look(&*store, "hourly").await;
    assert_eq!(db.text("SELECT problem FROM periodic_tasks").await.as_deref(), Some("1500ms"));
    let (schedule, _) = named(&*store, "hourly").await;
    assert_eq!(plan(&schedule, 0).unwrap(), Plan { next: schedule.next_run_at, ..Plan::default() });
}
