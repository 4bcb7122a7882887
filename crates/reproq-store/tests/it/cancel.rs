//! Cancelling: at once what has not started, by asking what runs, and never what has ended.

use std::pin::pin;
use std::time::Duration;

use reproq_model::{Epoch, RunId, RunStatus};
use reproq_store::{Cancelled, Ending, Fence, Registration, Store, Wake};
use serde_json::Value;
use tokio::time::timeout;

use crate::database::{
    Database, LEASE, both, claim, claim_one, ending, failed, finish, released, retried, returned, to, within,
    worker,
};

const fn became(id: RunId, before: RunStatus, after: RunStatus) -> Cancelled {
    Cancelled { id, before, after }
}

both! {
    async fn what_has_not_started_ends_at_once(db: &Database) {
        let store = db.store().await;
        let ready = db.insert("last_error, return_json", "'of an earlier attempt', 'null'").await;
        let due = db.insert("run_after, attempts", &format!("{}, 2", db.now(3600.0))).await;
        let keyed = db.insert("lock_key", "'k'").await;
        let waiting = db.insert("status", "'WAITING'").await;
        let answer = store.cancel(&[waiting, keyed, due, ready]).await.unwrap();
        let cancelled = RunStatus::Cancelled;
        assert_eq!(answer, [
            became(ready, RunStatus::Ready, cancelled), became(due, RunStatus::Ready, cancelled),
            became(keyed, RunStatus::Ready, cancelled), became(waiting, RunStatus::Waiting, cancelled),
        ]);
        for id in [ready, due, keyed, waiting] {
            assert!(db.holds(id, "status = 'CANCELLED' AND finished_at IS NOT NULL AND failed_at IS NULL AND return_json IS NULL").await);
            assert!(db.holds(id, "last_error = 'the run was cancelled' AND NOT cancel_requested AND incarnation IS NULL AND slot_no IS NULL").await);
            let errors: Value = serde_json::from_str(&db.column(id, "errors_json").await.unwrap()).unwrap();
            assert_eq!((&errors[0]["kind"], &errors[0]["message"]), (&"cancelled".into(), &"the run was cancelled".into()));
            assert_eq!(errors[0]["attempt"], if id == due { 2 } else { 0 });
            let at = errors[0]["at"].as_str().unwrap();
            assert!(sqlx::types::chrono::DateTime::parse_from_rfc3339(at).is_ok(), "{at}");
        }
        assert!(claim(&*store, &worker("w", &["default"]), 10).await.is_empty());
    }

    async fn what_runs_is_asked_and_stays_its_owners(db: &Database) {
        let (store, owner) = (db.store().await, worker("w", &["default"]));
        let id = db.ready().await;
        let run = claim_one(&*store, &owner).await;
        let asked = [became(id, RunStatus::Running, RunStatus::Running)];
        assert!(store.cancellations(&owner).await.unwrap().is_empty());
        assert_eq!(store.cancel(&[id]).await.unwrap(), asked);
        let since = db.column(id, "updated_at").await;
        assert_eq!(store.cancel(&[id]).await.unwrap(), asked, "a second wish is the first");
        assert_eq!(db.column(id, "updated_at").await, since);
        assert!(db.holds(id, "cancel_requested AND epoch = 1 AND leased_by = 'w' AND leased_until IS NOT NULL AND finished_at IS NULL").await);
        assert_eq!(store.cancellations(&owner).await.unwrap(), [(id, Epoch(1))]);
        assert!(store.cancellations(&worker("w", &["default"])).await.unwrap().is_empty(), "another start of it");
        assert!(finish(&*store, &owner, &run, to(RunStatus::Cancelled)).await);
        assert!(store.cancellations(&owner).await.unwrap().is_empty());
    }

    async fn what_has_ended_stays_as_it_is(db: &Database) {
        let (store, owner) = (db.store().await, worker("w", &["default"]));
        let mut expected = Vec::new();
        for (how, status) in [
            (returned("1"), RunStatus::Successful), (failed("no"), RunStatus::Failed), (to(RunStatus::Cancelled), RunStatus::Cancelled),
        ] {
            let id = db.ready().await;
            let run = claim_one(&*store, &owner).await;
            assert!(finish(&*store, &owner, &run, how).await);
            expected.push(became(id, status, status));
        }
        let all = "SELECT * FROM task_runs ORDER BY result_id";
        let before = db.rows(all).await;
        let ids: Vec<RunId> = expected.iter().map(|run| run.id).collect();
        assert_eq!(store.cancel(&ids).await.unwrap(), expected);
        assert_eq!(db.rows(all).await, before);
    }

    async fn nobody_answers_for_runs_that_do_not_exist(db: &Database) {
        let store = db.store().await;
        let id = db.ready().await;
        assert!(store.cancel(&[]).await.unwrap().is_empty());
        let answer = store.cancel(&[RunId(id.0 + 1000), id, id]).await.unwrap();
        assert_eq!(answer, [became(id, RunStatus::Ready, RunStatus::Cancelled)]);
    }

    async fn a_run_whose_end_is_being_written_is_waited_for(db: &Database) {
        let (store, owner) = (db.store().await, worker("w", &["default"]));
        let id = db.ready().await;
        claim_one(&*store, &owner).await;
        let mut other = db.another_side().await;
        other.rows(if db.is_postgres() { "BEGIN" } else { "BEGIN IMMEDIATE" }).await.unwrap();
        other.rows("UPDATE task_runs SET status = 'SUCCESSFUL'").await.unwrap();
        let runs = [id];
        let mut cancelling = pin!(store.cancel(&runs));
        assert!(timeout(Duration::from_millis(200), cancelling.as_mut()).await.is_err(), "it has not waited");
        other.rows("COMMIT").await.unwrap();
        let answer = within(Duration::from_secs(4), "the answer", cancelling).await.unwrap();
        assert_eq!(answer, [became(id, RunStatus::Successful, RunStatus::Successful)]);
        assert!(db.holds(id, "status = 'SUCCESSFUL' AND NOT cancel_requested").await);
    }

    async fn a_cancelled_run_is_not_tried_again(db: &Database) {
        let (store, owner) = (db.store().await, worker("w", &["default"]));
        for how in [retried(Duration::ZERO), retried(Duration::from_mins(1)), released()] {
            let id = db.ready().await;
            let run = claim_one(&*store, &owner).await;
            store.cancel(&[id]).await.unwrap();
            let error = how.error.is_some();
            assert!(finish(&*store, &owner, &run, how).await);
            assert!(db.holds(id, "status = 'CANCELLED' AND finished_at IS NOT NULL AND failed_at IS NULL AND run_after IS NULL").await);
            assert!(db.holds(id, "last_error = 'the run was cancelled' AND NOT cancel_requested AND incarnation IS NULL").await);
            let errors: Value = serde_json::from_str(&db.column(id, "errors_json").await.unwrap()).unwrap();
            assert_eq!(errors.as_array().unwrap().len(), usize::from(error), "what it has raised is kept");
        }
    }

    async fn a_cancelled_run_of_a_silent_worker_ends_when_it_is_taken_back(db: &Database) {
        let store = db.store().await;
        let silent = worker("silent", &["default"]);
        for how in [retried(Duration::ZERO), failed("the last attempt")] {
            let id = db.ready().await;
            let run = claim_one(&*store, &silent).await;
            store.cancel(&[id]).await.unwrap();
            db.lapse("TRUE").await;
            assert_eq!(store.finish(Fence::LeaseEnded, &[ending(&run, how)]).await.unwrap().written, 1);
            assert!(db.holds(id, "status = 'CANCELLED' AND failed_at IS NULL AND finished_at IS NOT NULL AND NOT cancel_requested").await);
            assert_eq!(db.column(id, "last_error").await.as_deref(), Some("the run was cancelled"));
        }
    }

    async fn a_task_that_ends_by_itself_is_not_cancelled(db: &Database) {
        let (store, owner) = (db.store().await, worker("w", &["default"]));
        for (how, status) in [(returned("1"), "SUCCESSFUL"), (failed("no"), "FAILED")] {
            let id = db.ready().await;
            let run = claim_one(&*store, &owner).await;
            store.cancel(&[id]).await.unwrap();
            assert!(finish(&*store, &owner, &run, how).await);
            assert!(db.holds(id, &format!("status = '{status}' AND NOT cancel_requested")).await);
        }
    }

    async fn of_an_ending_and_a_cancellation_at_once_the_answer_says_which_was_first(db: &Database) {
        let (mine, theirs, owner) = (db.store().await, db.store().await, worker("w", &["default"]));
        let mut seen = [0; 2];
        for round in 0..200 {
            let id = db.ready().await;
            let run = claim_one(&*mine, &owner).await;
            let again = round % 2 == 0;
            let how = if again { retried(Duration::ZERO) } else { returned("1") };
            let runs = [id];
            // Each of them is sometimes late by a little.
            let late = [Duration::ZERO, Duration::from_millis(round % 4)];
            let [cancelled_after, ended_after] = if round % 3 == 0 { late } else { [late[1], late[0]] };
            let cancelling = async {
                pause(cancelled_after).await;
                theirs.cancel(&runs).await.unwrap().swap_remove(0)
            };
            let ending_it = async {
                pause(ended_after).await;
                finish_in_the_end(&*mine, &owner, ending(&run, how)).await;
            };
            let (answer, ()) = tokio::join!(cancelling, ending_it);
            let (possible, status) = if again {
                ([(RunStatus::Running, RunStatus::Running), (RunStatus::Ready, RunStatus::Cancelled)], "CANCELLED")
            } else {
                ([(RunStatus::Running, RunStatus::Running), (RunStatus::Successful, RunStatus::Successful)], "SUCCESSFUL")
            };
            let which = possible.iter().position(|which| *which == (answer.before, answer.after));
            seen[which.unwrap_or_else(|| panic!("{answer:?}"))] += 1;
            assert!(db.holds(id, &format!("status = '{status}' AND NOT cancel_requested AND epoch = 1")).await, "{answer:?}");
        }
        assert!(seen[0] > 0 && seen[1] > 0, "nothing raced: {seen:?}");
    }
}

/// A sleep of no time at all would still end with the next tick.
async fn pause(span: Duration) {
    if !span.is_zero() {
        tokio::time::sleep(span).await;
    }
}

async fn finish_in_the_end(store: &dyn Store, owner: &Registration, ending: Ending) {
    let endings = [ending];
    while store.finish(Fence::Owner(owner.incarnation), &endings).await.unwrap().written == 0 {}
}

/// SQLite cannot tell what a commit was about.
#[tokio::test]
async fn only_a_running_run_wakes_its_worker() {
    let db = Database::postgres().await;
    let (store, owner) = (db.store().await, worker("w", &["default"]));
    let id = db.ready().await;
    claim_one(&*store, &owner).await;
    let ready = db.ready().await;
    store.woken().await.unwrap();
    store.cancel(&[ready]).await.unwrap();
    assert!(timeout(Duration::from_millis(200), store.woken()).await.is_err(), "nobody has to be told");
    store.woken().await.unwrap();
    for _ in 0..2 {
        store.cancel(&[id]).await.unwrap();
        let wake = within(Duration::from_secs(2), "the wake-up", store.woken()).await.unwrap();
        assert_eq!(wake, Wake::Cancel);
    }
    assert!(store.heartbeat(&owner, LEASE).await.unwrap()[0].cancel_requested);
}
