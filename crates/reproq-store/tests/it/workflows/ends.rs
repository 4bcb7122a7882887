//! What the end of a member does to those that wait.

use reproq_model::{RunId, RunStatus};
use reproq_store::{Fence, Store};
use serde_json::Value;

use super::{CHAIN, CHORD, NESTED, Workflow, advance, run, someone};
use crate::database::{Database, both, claim_one, ending, failed, finish, returned, to};
use crate::graph::watch_moves;

/// How a member may end badly.
#[derive(Debug, Clone, Copy)]
enum Way {
    Fails,
    Expires,
    LosesItsWorker,
    IsCancelledBeforeItStarts,
    IsCancelledWhileItRuns,
    IsDeleted,
    IsEndedByHand,
}

const WAYS: [Way; 7] = [
    Way::Fails,
    Way::Expires,
    Way::LosesItsWorker,
    Way::IsCancelledBeforeItStarts,
    Way::IsCancelledWhileItRuns,
    Way::IsDeleted,
    Way::IsEndedByHand,
];

async fn end_badly(db: &Database, store: &dyn Store, member: RunId, way: Way) {
    let owner = someone();
    match way {
        Way::Fails | Way::Expires => {
            if matches!(way, Way::Expires) {
                db.execute(&format!(
                    "UPDATE task_runs SET expires_at = {} WHERE result_id = {member}",
                    db.now(-1.0)
                ))
                .await;
            }
            let claimed = claim_one(store, &owner).await;
            assert_eq!(claimed.id, member);
            assert!(finish(store, &owner, &claimed, failed("no luck")).await);
        }
        Way::LosesItsWorker => {
            let claimed = claim_one(store, &owner).await;
            db.lapse("1 = 1").await;
            let finished =
                store.finish(Fence::LeaseEnded, &[ending(&claimed, failed("gone"))]).await.unwrap();
            assert!(finished.of_workflows);
        }
        Way::IsCancelledBeforeItStarts => drop(store.cancel(&[member]).await.unwrap()),
        Way::IsCancelledWhileItRuns => {
            let claimed = claim_one(store, &owner).await;
            store.cancel(&[member]).await.unwrap();
            assert!(finish(store, &owner, &claimed, to(RunStatus::Cancelled)).await);
        }
        Way::IsDeleted => db.execute(&format!("DELETE FROM task_runs WHERE result_id = {member}")).await,
        Way::IsEndedByHand => {
            db.execute(&format!("UPDATE task_runs SET status = 'CANCELLED' WHERE result_id = {member}"))
                .await;
        }
    }
}

async fn culprit(db: &Database, workflow: &Workflow, step: i32) -> Option<String> {
    let stored = db.stored(workflow.id);
    db.text(&format!(
        "SELECT culprit FROM reproq_workflow_steps WHERE workflow_id = '{stored}' AND step = {step}"
    ))
    .await
}

both! {
    async fn a_chain_goes_on_run_by_run(db: &Database) {
        watch_moves(db).await;
        let store = db.store().await;
        let chain = db.workflow("fail", &CHAIN).await;
        for at in 0..3 {
            assert_eq!(db.of_workflow(&chain, "status").await, "RUNNING");
            run(&*store, &chain.runs[at..=at], &[]).await;
        }
        assert_eq!(db.of_workflow(&chain, "status").await, "SUCCESSFUL");
        assert_eq!(db.of_workflow(&chain, "success_count").await, "3");
        assert_ne!(db.of_workflow(&chain, "finished_at").await, "");
        assert_eq!(db.number("SELECT count(*) FROM reproq_workflow_events").await, 0);
    }

    async fn a_chord_waits_for_all_its_members(db: &Database) {
        watch_moves(db).await;
        let store = db.store().await;
        let chord = db.workflow("fail", &CHORD).await;
        let owner = someone();
        for left in [2, 1, 0] {
            let member = claim_one(&*store, &owner).await;
            let finished = store.finish(Fence::Owner(owner.incarnation), &[ending(&member, returned("1"))]).await.unwrap();
            assert!(finished.of_workflows);
            let done = advance(&*store).await;
            assert_eq!(done.counted, 1);
            assert_eq!(done.released.is_empty(), left > 0);
        }
        assert_eq!(db.of_workflow(&chord, "status").await, "RUNNING");
        run(&*store, &chord.runs[3..], &[]).await;
        assert_eq!(db.of_workflow(&chord, "status").await, "SUCCESSFUL");
    }

    async fn a_group_ends_with_the_last_of_its_runs(db: &Database) {
        let store = db.store().await;
        let group = db.workflow("fail", &[(1, None), (1, None)]).await;
        let owner = someone();
        for status in ["RUNNING", "SUCCESSFUL"] {
            let member = claim_one(&*store, &owner).await;
            finish(&*store, &owner, &member, returned("1")).await;
            advance(&*store).await;
            assert_eq!(db.of_workflow(&group, "status").await, status);
        }
    }

    async fn a_retry_of_a_member_ends_nothing(db: &Database) {
        let store = db.store().await;
        let chain = db.workflow("fail", &CHAIN).await;
        let owner = someone();
        let member = claim_one(&*store, &owner).await;
        let again = ending(&member, crate::database::retried(std::time::Duration::ZERO));
        assert!(!store.finish(Fence::Owner(owner.incarnation), &[again]).await.unwrap().of_workflows);
        assert_eq!(store.advance().await.unwrap().counted, 0);
        run(&*store, &chain.runs[..1], &[]).await;
        assert_eq!(db.status(chain.runs[1]).await, "READY");
    }

    async fn what_is_nested_waits_for_what_is_before_it_alone(db: &Database) {
        watch_moves(db).await;
        let store = db.store().await;
        let nested = db.workflow("fail", &NESTED).await;
        let [a, b, c, d] = nested.runs[..] else { unreachable!() };
        run(&*store, &[a, c], &[]).await;
        assert_eq!(db.statuses(&[b, d]).await, ["READY", "WAITING"]);
        run(&*store, &[b], &[]).await;
        run(&*store, &[d], &[]).await;
        assert_eq!(db.of_workflow(&nested, "status").await, "SUCCESSFUL");
    }

    async fn whoever_ends_a_member_badly_ends_what_waits_for_it(db: &Database) {
        let store = db.store().await;
        for way in WAYS {
            let chain = db.workflow("fail", &CHAIN).await;
            end_badly(db, &*store, chain.runs[0], way).await;
            advance(&*store).await;
            assert_eq!(db.statuses(&chain.runs[1..]).await, ["FAILED", "FAILED"], "{way:?}");
            assert_eq!(db.of_workflow(&chain, "status").await, "FAILED", "{way:?}");
            assert_eq!(db.of_workflow(&chain, "failure_count").await, "3", "{way:?}");
            assert_eq!(culprit(db, &chain, 3).await, Some(chain.runs[0].to_string()), "{way:?}");
            assert!(db.holds(chain.runs[2], "failed_at IS NOT NULL AND finished_at IS NOT NULL").await, "{way:?}");
        }
    }

    async fn who_is_ended_for_anothers_sake_is_told_whose(db: &Database) {
        watch_moves(db).await;
        let store = db.store().await;
        let chain = db.workflow("fail", &CHAIN).await;
        run(&*store, &chain.runs[..1], &chain.runs[..1]).await;
        let why = format!("shop.tasks.send run {} ended FAILED: no luck", chain.runs[0]);
        for spoilt in &chain.runs[1..] {
            assert_eq!(db.column(*spoilt, "last_error").await.unwrap(), why);
            let errors: Value = serde_json::from_str(&db.column(*spoilt, "errors_json").await.unwrap()).unwrap();
            let entry = &errors[0];
            assert_eq!(entry["kind"], "workflow_failed");
            assert_eq!(entry["message"], why);
            assert_eq!(entry["failed_result_id"], chain.runs[0].0);
            assert!(entry["at"].as_str().unwrap().ends_with("+00:00"));
        }
    }

    async fn a_failure_among_others_spoils_the_callback_at_once_and_lets_the_others_run(db: &Database) {
        watch_moves(db).await;
        let store = db.store().await;
        let nested = db.workflow("fail", &NESTED).await;
        let [a, b, c, d] = nested.runs[..] else { unreachable!() };
        let owner = someone();
        let first = claim_one(&*store, &owner).await;
        assert_eq!(first.id, a);
        finish(&*store, &owner, &first, failed("no luck")).await;
        advance(&*store).await;
        assert_eq!(db.statuses(&[b, c, d]).await, ["FAILED", "READY", "FAILED"]);
        assert_eq!(db.of_workflow(&nested, "status").await, "FAILED", "its last step is over");
        assert_eq!(db.of_workflow(&nested, "failure_count").await, "3");
        run(&*store, &[c], &[]).await;
        assert_eq!(db.of_workflow(&nested, "success_count").await, "1");
        assert_eq!(db.of_workflow(&nested, "status").await, "FAILED");
    }

    async fn a_workflow_that_goes_on_is_what_its_last_step_is(db: &Database) {
        watch_moves(db).await;
        let store = db.store().await;
        for way in WAYS {
            let chord = db.workflow("continue", &[(1, None), (2, Some(1))]).await;
            end_badly(db, &*store, chord.runs[0], way).await;
            advance(&*store).await;
            run(&*store, &chord.runs[1..], &[]).await;
            assert_eq!(db.of_workflow(&chord, "status").await, "SUCCESSFUL", "{way:?}");
            assert_eq!(db.of_workflow(&chord, "failure_count").await, "1", "{way:?}");
        }
        let chord = db.workflow("continue", &CHORD).await;
        run(&*store, &chord.runs[..3], &chord.runs[1..2]).await;
        run(&*store, &chord.runs[3..], &chord.runs[3..]).await;
        assert_eq!(db.of_workflow(&chord, "status").await, "FAILED");
    }

    async fn the_run_for_a_failure_starts_when_all_others_have_ended(db: &Database) {
        watch_moves(db).await;
        let store = db.store().await;
        let (nested, sorry) = db.workflow_with_on_failure("fail", &NESTED).await;
        let [a, _, c, _] = nested.runs[..] else { unreachable!() };
        let owner = someone();
        let first = claim_one(&*store, &owner).await;
        assert_eq!(first.id, a);
        finish(&*store, &owner, &first, failed("no luck")).await;
        advance(&*store).await;
        assert_eq!(db.of_workflow(&nested, "status").await, "FAILED");
        assert_eq!(db.status(sorry).await, "WAITING", "run {c} has not ended");
        run(&*store, &[c], &[]).await;
        run(&*store, &[sorry], &[]).await;
        assert_eq!(db.of_workflow(&nested, "success_count").await, "1", "it is in no count");
    }

    async fn the_run_for_a_failure_is_not_needed_without_one(db: &Database) {
        watch_moves(db).await;
        let store = db.store().await;
        let (chain, sorry) = db.workflow_with_on_failure("fail", &CHAIN).await;
        for at in 0..3 {
            assert_eq!(db.status(sorry).await, "WAITING");
            run(&*store, &chain.runs[at..=at], &[]).await;
        }
        assert_eq!(db.status(sorry).await, "CANCELLED");
        assert_eq!(db.column(sorry, "last_error").await.unwrap(), "the workflow succeeded, so this was not needed");
        let errors: Value = serde_json::from_str(&db.column(sorry, "errors_json").await.unwrap()).unwrap();
        assert_eq!(errors[0]["kind"], "discarded");
    }

    async fn events_of_a_workflow_that_is_gone_are_swept_away(db: &Database) {
        let store = db.store().await;
        let chain = db.workflow("fail", &CHAIN).await;
        db.execute("DELETE FROM workflow_runs").await;
        run(&*store, &chain.runs[..1], &[]).await;
        assert_eq!(db.number("SELECT count(*) FROM reproq_workflow_events").await, 0);
    }
}

#[tokio::test]
async fn in_postgres_a_cancellation_of_a_member_wakes_the_workers() {
    let db = Database::postgres().await;
    let store = db.store().await;
    let chain = db.workflow("fail", &CHAIN).await;
    store.woken().await.unwrap();
    store.cancel(&chain.runs[..1]).await.unwrap();
    let wake = crate::database::within(std::time::Duration::from_secs(2), "the wake-up", store.woken()).await;
    assert_eq!(wake.unwrap(), reproq_store::Wake::Cancel);
}

#[tokio::test]
async fn in_postgres_what_is_released_wakes_a_worker_that_sleeps() {
    let db = Database::postgres().await;
    let (store, sleeper) = (db.store().await, db.store().await);
    let chain = db.workflow("fail", &CHAIN).await;
    let owner = someone();
    sleeper.register(&owner).await.unwrap();
    sleeper.set_wants_wake(&owner, true).await.unwrap();
    sleeper.woken().await.unwrap();
    run(&*store, &chain.runs[..1], &[]).await;
    let wake =
        crate::database::within(std::time::Duration::from_secs(2), "the wake-up", sleeper.woken()).await;
    assert_eq!(wake.unwrap(), reproq_store::Wake::Work);
}
