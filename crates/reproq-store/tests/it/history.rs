//! What stays of attempts: how each ended, what it printed, how far it said that it was.

use std::time::Duration;

use reproq_model::{Epoch, RunId, RunStatus, Transition};
use reproq_store::{
    AttemptLog, ClaimedRun, Fence, LogPlace, LogStep, Operator, ProgressUpdate, RunFacts, RunLogs, Stream,
};
use serde_json::Value;

use crate::database::{
    Database, both, claim, claim_one, ending, failed, finish, other, released, retried, returned, to, within,
    worker,
};

const FIRST: LogStep = LogStep { id: RunId(0), epoch: Epoch(0) };
const DAY: Duration = Duration::from_hours(24);

fn recorded(transition: Transition, record: &str) -> Transition {
    Transition { record: Some(record.to_owned()), ..transition }
}

fn log(run: &ClaimedRun, chunks: &str, bytes: u64) -> AttemptLog {
    AttemptLog {
        id: run.id,
        epoch: run.epoch,
        attempt: run.attempts,
        chunks: chunks.to_owned(),
        bytes,
        dropped: 0,
    }
}

fn progress(run: &ClaimedRun, text: &str) -> ProgressUpdate {
    ProgressUpdate { id: run.id, epoch: run.epoch, progress: text.to_owned() }
}

async fn facts(operator: &dyn Operator, id: RunId) -> RunFacts {
    operator.run(id).await.unwrap().unwrap()
}

async fn all_logs(operator: &dyn Operator, id: RunId) -> RunLogs {
    operator.logs(id, None, LogPlace::START).await.unwrap().unwrap()
}

async fn progress_of(operator: &dyn Operator, id: RunId) -> Option<Value> {
    facts(operator, id).await.progress.map(|text| serde_json::from_str(&text).unwrap())
}

both! {
    async fn each_attempt_leaves_its_record(db: &Database) {
        let (store, operator, worker) = (db.store().await, db.operator().await, worker("w", &["default"]));
        let id = db.ready().await;
        let first = claim_one(&*store, &worker).await;
        let record = r#"{"attempt":1,"epoch":1,"worker":"w","pid":7,"outcome":"crashed","exit":"signal 11"}"#;
        assert!(finish(&*store, &worker, &first, recorded(retried(Duration::ZERO), record)).await);
        let second = claim_one(&*store, &worker).await;
        assert!(finish(&*store, &worker, &second, recorded(returned("1"), r#"{"attempt":2,"outcome":"x\u0000\ud800"}"#)).await);
        let run = facts(&*operator, id).await;
        let ended = run.attempts_ended();
        assert_eq!(ended.iter().map(|one| one.attempt).collect::<Vec<_>>(), [Some(1), Some(2)]);
        assert_eq!((ended[0].outcome.as_deref(), ended[0].exit.as_deref(), ended[0].pid), (Some("crashed"), Some("signal 11"), Some(7)));
        assert_eq!(ended[1].outcome.as_deref(), Some("x\u{FFFD}\u{FFFD}"));
        for (one, claimed) in ended.iter().zip([first, second]) {
            assert_eq!(one.started_at, Some(claimed.last_attempted_at));
            assert!(one.ended_at >= one.started_at && one.ended_at <= Some(run.now + 1000), "{one:?}");
        }
    }

    async fn an_ending_without_a_record_leaves_the_history_as_it_is(db: &Database) {
        let (store, operator, worker) = (db.store().await, db.operator().await, worker("w", &["default"]));
        let id = db.insert("attempts_json", r#"'[{"attempt":9}]'"#).await;
        let run = claim_one(&*store, &worker).await;
        assert!(finish(&*store, &worker, &run, failed("no")).await);
        let ended = facts(&*operator, id).await.attempts_ended();
        assert_eq!(ended.iter().map(|one| one.attempt).collect::<Vec<_>>(), [Some(9)]);
    }

    async fn the_newest_fifty_are_kept(db: &Database) {
        let (store, operator, worker) = (db.store().await, db.operator().await, worker("w", &["default"]));
        let entries: Vec<String> = (1..=49).map(|n| format!(r#"{{"attempt":{n}}}"#)).collect();
        let id = db.insert("attempts_json", &format!("'[{}]'", entries.join(","))).await;
        for number in 50..=52 {
            let run = claim_one(&*store, &worker).await;
            assert!(finish(&*store, &worker, &run, recorded(retried(Duration::ZERO), &format!(r#"{{"attempt":{number}}}"#))).await);
        }
        let ended = facts(&*operator, id).await.attempts_ended();
        assert_eq!(ended.iter().filter_map(|one| one.attempt).collect::<Vec<_>>(), (3..=52).collect::<Vec<_>>());
    }

    async fn a_history_that_makes_no_sense_keeps_no_run_from_ending(db: &Database) {
        let (store, worker) = (db.store().await, worker("w", &["default"]));
        for (history, last_attempt) in [(r#"{"a":1}"#, "last_attempted_at"), ("5", "last_attempted_at"), ("null", "last_attempted_at"), ("[]", "NULL")] {
            let id = db.insert("attempts_json", &format!("'{history}'")).await;
            let run = claim_one(&*store, &worker).await;
            db.execute(&format!("UPDATE task_runs SET last_attempted_at = {last_attempt} WHERE result_id = {id}")).await;
            assert!(finish(&*store, &worker, &run, recorded(returned("1"), "{}")).await, "{history}");
        }
    }

    async fn progress_is_shown_while_its_attempt_runs_and_by_nobody_else(db: &Database) {
        let (store, operator, owner) = (db.store().await, db.operator().await, worker("w", &["default"]));
        let id = db.ready().await;
        let run = claim_one(&*store, &owner).await;
        assert_eq!(progress_of(&*operator, id).await, None);
        let said = [progress(&run, r#"{"current":3,"total":10,"message":"a\u0000b"}"#)];
        assert_eq!(store.show_progress(owner.incarnation, &said).await.unwrap(), 1);
        let shown = progress_of(&*operator, id).await.unwrap();
        assert_eq!((&shown["current"], &shown["total"], &shown["message"]), (&3.into(), &10.into(), &"a\u{FFFD}b".into()));
        sqlx::types::chrono::DateTime::parse_from_rfc3339(shown["at"].as_str().unwrap()).unwrap();

        let later = [progress(&run, r#"{"current":4}"#)];
        assert_eq!(store.show_progress(other().incarnation, &later).await.unwrap(), 0, "another worker");
        let stale = ProgressUpdate { epoch: Epoch(0), ..later[0].clone() };
        assert_eq!(store.show_progress(owner.incarnation, &[stale]).await.unwrap(), 0, "an earlier claim");
        assert!(finish(&*store, &owner, &run, returned("1")).await);
        assert_eq!(store.show_progress(owner.incarnation, &later).await.unwrap(), 0, "it has ended");
        assert_eq!(progress_of(&*operator, id).await.unwrap()["current"], 3, "the last word stays");
    }

    async fn what_waits_again_has_made_no_progress(db: &Database) {
        let (store, operator, owner) = (db.store().await, db.operator().await, worker("w", &["default"]));
        let id = db.ready().await;
        for transition in [retried(Duration::ZERO), released()] {
            let run = claim_one(&*store, &owner).await;
            assert_eq!(store.show_progress(owner.incarnation, &[progress(&run, "{}")]).await.unwrap(), 1);
            assert!(finish(&*store, &owner, &run, transition).await);
            assert_eq!(progress_of(&*operator, id).await, None);
        }
        let run = claim_one(&*store, &owner).await;
        assert_eq!(store.show_progress(owner.incarnation, &[progress(&run, "{}")]).await.unwrap(), 1);
        assert!(finish(&*store, &owner, &run, failed("no")).await);
        assert!(progress_of(&*operator, id).await.is_some());
        operator.retry(&[id]).await.unwrap();
        assert_eq!(progress_of(&*operator, id).await, None);
    }

    async fn logs_are_stored_together_and_read_by_attempt(db: &Database) {
        let (store, operator, worker) = (db.store().await, db.operator().await, worker("w", &["default"]));
        let id = db.ready().await;
        assert_eq!(all_logs(&*operator, id).await, RunLogs { status: RunStatus::Ready, attempts: 0, logs_uri: None, logs: vec![] });
        let first = claim_one(&*store, &worker).await;
        assert!(finish(&*store, &worker, &first, retried(Duration::ZERO)).await);
        let second = claim_one(&*store, &worker).await;
        let logs = [
            AttemptLog { dropped: 9, ..log(&second, r#"[["o","two\u0000"]]"#, 4) },
            log(&first, r#"[["o","a"],["e","b"]]"#, 2),
            AttemptLog { id: RunId(id.0 + 1), ..log(&first, "[]", 1) },
        ];
        assert_eq!(store.keep_logs(&logs).await.unwrap(), 2, "a run that does not exist has no log");
        let run = all_logs(&*operator, id).await;
        assert_eq!((run.status, run.attempts), (RunStatus::Running, 2));
        let [one, two] = run.logs.as_slice() else { panic!("{run:?}") };
        assert_eq!((one.epoch, one.attempt, one.bytes, one.dropped), (Epoch(1), 1, 2, 0));
        assert_eq!(one.chunks, [(Stream::Stdout, "a".to_owned()), (Stream::Stderr, "b".to_owned())]);
        assert_eq!((two.epoch, two.attempt, two.bytes, two.dropped), (Epoch(2), 2, 4, 9));
        let only = operator.logs(id, Some(2), LogPlace::START).await.unwrap().unwrap();
        assert_eq!(only.logs.iter().collect::<Vec<_>>(), [two]);
        let none = operator.logs(id, Some(3), LogPlace::START).await.unwrap().unwrap();
        assert_eq!(none.logs, []);
        assert_eq!(operator.logs(RunId(id.0 + 1), None, LogPlace::START).await.unwrap(), None);
        assert_eq!(store.keep_logs(&[]).await.unwrap(), 0);
    }

    async fn a_log_grows_and_never_shrinks(db: &Database) {
        let (store, operator, worker) = (db.store().await, db.operator().await, worker("w", &["default"]));
        let id = db.ready().await;
        let run = claim_one(&*store, &worker).await;
        assert_eq!(store.keep_logs(&[log(&run, r#"[["o","a"]]"#, 1), log(&run, r#"[["o","abc"]]"#, 3)]).await.unwrap().min(1), 1);
        let place = LogPlace { epoch: run.epoch, bytes: 3 };
        assert_eq!(operator.logs(id, None, place).await.unwrap().unwrap().logs, [], "it has been read");
        assert_eq!(store.keep_logs(&[log(&run, r#"[["o","ab"]]"#, 2)]).await.unwrap(), 0, "a look that comes late");
        let grown = AttemptLog { dropped: 2, ..log(&run, r#"[["o","cd"]]"#, 2) };
        assert_eq!(store.keep_logs(&[grown]).await.unwrap(), 1);
        let news = operator.logs(id, None, place).await.unwrap().unwrap().logs;
        assert_eq!((news.len(), news[0].bytes, news[0].dropped), (1, 2, 2));
        assert_eq!(operator.logs(id, None, LogPlace { epoch: run.epoch, bytes: 4 }).await.unwrap().unwrap().logs, []);
    }

    async fn logs_go_with_their_run_or_when_they_are_old(db: &Database) {
        let (store, operator, worker) = (db.store().await, db.operator().await, worker("w", &["default"]));
        db.insert_many(4, "", "").await;
        let runs = claim(&*store, &worker, 4).await;
        let logs: Vec<AttemptLog> = runs.iter().map(|run| log(run, "[]", 1)).collect();
        assert_eq!(store.keep_logs(&logs).await.unwrap(), 4);
        db.execute(&format!("DELETE FROM task_runs WHERE result_id = {}", runs[0].id)).await;
        assert_eq!(db.number("SELECT count(*) FROM reproq_attempt_logs").await, 3);
        db.execute("INSERT INTO reproq_attempt_logs (result_id, epoch, attempt, chunks) VALUES (999, 1, 1, '[]')").await;
        let old = db.now(-2.0 * DAY.as_secs_f64());
        db.execute(&format!("UPDATE reproq_attempt_logs SET updated_at = {old} WHERE result_id = {}", runs[1].id)).await;
        for (dry_run, left) in [(true, 4), (false, 2)] {
            let step = operator.prune_logs_step(DAY, FIRST, 100, dry_run).await.unwrap();
            assert_eq!((step.pruned, step.last), (2, Some(LogStep { id: RunId(999), epoch: Epoch(1) })));
            assert_eq!(db.number("SELECT count(*) FROM reproq_attempt_logs").await, left);
            let rest = operator.prune_logs_step(DAY, step.last.unwrap(), 100, dry_run).await.unwrap();
            assert_eq!((rest.pruned, rest.last), (0, None));
        }
        let limited = operator.prune_logs_step(Duration::ZERO, FIRST, 1, false).await.unwrap();
        assert_eq!(limited.pruned, 1);
        assert_eq!(db.count("TRUE").await, 3, "runs stay");
    }
}

/// SQLite has no row locks.
#[tokio::test]
async fn neither_logs_nor_progress_wait_for_a_run_that_somebody_holds() {
    let db = Database::postgres().await;
    let (store, worker) = (db.store().await, worker("w", &["default"]));
    db.insert_many(2, "", "").await;
    let runs = claim(&*store, &worker, 2).await;
    let mut holder = db.another_side().await;
    holder
        .rows(&format!("BEGIN; SELECT 1 FROM task_runs WHERE result_id = {} FOR UPDATE", runs[0].id))
        .await
        .unwrap();
    let soon = Duration::from_secs(2);
    let logs: Vec<AttemptLog> = runs.iter().map(|run| log(run, "[]", 1)).collect();
    assert_eq!(within(soon, "logs", store.keep_logs(&logs)).await.unwrap(), 2);
    let said: Vec<ProgressUpdate> = runs.iter().map(|run| progress(run, "{}")).collect();
    assert_eq!(within(soon, "progress", store.show_progress(worker.incarnation, &said)).await.unwrap(), 1);
    holder.rows("ROLLBACK").await.unwrap();
    let fence = Fence::Owner(worker.incarnation);
    let endings: Vec<_> = runs.iter().map(|run| ending(run, to(RunStatus::Successful))).collect();
    assert_eq!(store.finish(fence, &endings).await.unwrap().written, 2);
}
