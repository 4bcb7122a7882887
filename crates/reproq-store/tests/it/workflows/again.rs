//! Workflows that are run again, or ended as a whole; and what is kept of them.

use std::time::Duration;

use reproq_model::{RunId, RunStatus, WorkflowId, WorkflowStatus};
use reproq_store::{PruneField, PruneWhat, RetryAnswer, WorkflowCancelled};

use super::{CHAIN, CHORD, NESTED, advance, run, someone};
use crate::database::{Database, both, claim_one, failed, finish, returned, to, within};
use crate::graph::watch_moves;

both! {
    async fn whoever_retries_the_culprit_gets_everything_behind_it(db: &Database) {
        watch_moves(db).await;
        let operator = db.operator().await;
        let (chain, sorry) = db.workflow_with_on_failure("fail", &CHAIN).await;
        let [a, b, c] = chain.runs[..] else { unreachable!() };
        // Nobody starts it for now.
        db.execute(&format!("UPDATE task_runs SET run_after = {} WHERE result_id = {sorry}", db.now(3600.0))).await;
        run(&*operator, &[a], &[a]).await;
        assert_eq!(db.of_workflow(&chain, "status").await, "FAILED");
        for spoilt in [b, c] {
            assert_eq!(operator.retry(&[spoilt]).await.unwrap(), [(spoilt, RetryAnswer::Spoilt(Some(a)))]);
            assert_eq!(db.status(spoilt).await, "FAILED");
        }
        assert_eq!(operator.retry(&[a]).await.unwrap(), [(a, RetryAnswer::Retried)]);
        advance(&*operator).await;
        assert_eq!(db.statuses(&chain.runs).await, ["READY", "WAITING", "WAITING"]);
        assert_eq!(db.of_workflow(&chain, "status").await, "RUNNING");
        assert_eq!(db.of_workflow(&chain, "finished_at").await, "");
        assert_eq!(db.of_workflow(&chain, "failure_count").await, "0");
        assert!(db.holds(b, "last_error IS NULL AND failed_at IS NULL AND finished_at IS NULL").await);
        for run_now in [a, b, c] {
            run(&*operator, &[run_now], &[]).await;
        }
        assert_eq!(db.of_workflow(&chain, "status").await, "SUCCESSFUL");
    }

    async fn a_culprit_that_succeeds_before_anybody_counts_lets_its_followers_go(db: &Database) {
        watch_moves(db).await;
        let operator = db.operator().await;
        let chain = db.workflow("fail", &CHAIN).await;
        let [a, b, c] = chain.runs[..] else { unreachable!() };
        run(&*operator, &[a], &[a]).await;
        operator.retry(&[a]).await.unwrap();
        let owner = someone();
        let again = claim_one(&*operator, &owner).await;
        finish(&*operator, &owner, &again, returned("1")).await;
        advance(&*operator).await;
        assert_eq!(db.statuses(&[a, b, c]).await, ["SUCCESSFUL", "READY", "WAITING"]);
    }

    async fn a_failure_that_is_mended_before_anybody_counts_spoils_nothing(db: &Database) {
        let operator = db.operator().await;
        let chain = db.workflow("fail", &CHAIN).await;
        let owner = someone();
        let first = claim_one(&*operator, &owner).await;
        finish(&*operator, &owner, &first, failed("no luck")).await;
        operator.retry(&[first.id]).await.unwrap();
        advance(&*operator).await;
        assert_eq!(db.statuses(&chain.runs).await, ["READY", "WAITING", "WAITING"]);
        assert_eq!(db.of_workflow(&chain, "status").await, "RUNNING");
    }

    async fn of_two_culprits_each_has_to_be_mended(db: &Database) {
        watch_moves(db).await;
        let operator = db.operator().await;
        let nested = db.workflow("fail", &NESTED).await;
        let [a, b, c, d] = nested.runs[..] else { unreachable!() };
        run(&*operator, &[a, c], &[a, c]).await;
        assert_eq!(db.of_workflow(&nested, "failure_count").await, "4");
        operator.retry(&[a]).await.unwrap();
        advance(&*operator).await;
        assert_eq!(db.statuses(&[b, d]).await, ["WAITING", "FAILED"]);
        assert_eq!(operator.retry(&[d]).await.unwrap(), [(d, RetryAnswer::Spoilt(Some(c)))], "a runs again");
        operator.retry(&[c]).await.unwrap();
        advance(&*operator).await;
        assert_eq!(db.statuses(&[b, d]).await, ["WAITING", "WAITING"]);
        run(&*operator, &[a, c], &[]).await;
        run(&*operator, &[b], &[]).await;
        run(&*operator, &[d], &[]).await;
        assert_eq!(db.of_workflow(&nested, "status").await, "SUCCESSFUL");
    }

    async fn a_member_that_failed_by_itself_is_retried_by_itself(db: &Database) {
        let operator = db.operator().await;
        let chain = db.workflow("fail", &CHAIN).await;
        let [a, b, c] = chain.runs[..] else { unreachable!() };
        run(&*operator, &[a], &[]).await;
        run(&*operator, &[b], &[b]).await;
        assert_eq!(operator.retry(&[a, b, c]).await.unwrap(), [
            (a, RetryAnswer::Found(RunStatus::Successful)), (b, RetryAnswer::Retried), (c, RetryAnswer::Spoilt(Some(b))),
        ]);
        advance(&*operator).await;
        assert_eq!(db.statuses(&[b, c]).await, ["READY", "WAITING"]);
    }

    async fn a_workflow_is_cancelled_with_all_its_runs(db: &Database) {
        watch_moves(db).await;
        let operator = db.operator().await;
        let (chord, sorry) = db.workflow_with_on_failure("continue", &CHORD).await;
        let owner = someone();
        let (done, busy) = (claim_one(&*operator, &owner).await, claim_one(&*operator, &owner).await);
        finish(&*operator, &owner, &done, returned("1")).await;
        let answer = operator.cancel_workflow(chord.id).await.unwrap().unwrap();
        assert_eq!(answer, WorkflowCancelled { status: WorkflowStatus::Cancelled, cancelled: 3, requested: 1 });
        advance(&*operator).await;
        assert_eq!(db.statuses(&chord.runs).await, ["SUCCESSFUL", "RUNNING", "CANCELLED", "CANCELLED"]);
        assert!(db.holds(busy.id, "cancel_requested").await);
        finish(&*operator, &owner, &busy, to(RunStatus::Cancelled)).await;
        advance(&*operator).await;
        assert_eq!(db.of_workflow(&chord, "status").await, "CANCELLED");
        assert_eq!(db.of_workflow(&chord, "failure_count").await, "3");
        assert_eq!(db.status(sorry).await, "CANCELLED");
        let again = operator.cancel_workflow(chord.id).await.unwrap().unwrap();
        assert_eq!(again, WorkflowCancelled { status: WorkflowStatus::Cancelled, cancelled: 0, requested: 0 });
        assert_eq!(operator.cancel_workflow(WorkflowId::NIL).await.unwrap(), None);
    }

    async fn a_cancelled_workflow_can_be_run_again(db: &Database) {
        watch_moves(db).await;
        let operator = db.operator().await;
        let (chain, sorry) = db.workflow_with_on_failure("fail", &CHAIN).await;
        operator.cancel_workflow(chain.id).await.unwrap();
        advance(&*operator).await;
        assert_eq!(operator.retry_workflow(chain.id).await.unwrap(), Some(3));
        advance(&*operator).await;
        assert_eq!(db.statuses(&chain.runs).await, ["READY", "WAITING", "WAITING"]);
        assert_eq!(db.status(sorry).await, "WAITING");
        assert_eq!(db.of_workflow(&chain, "status").await, "RUNNING");
        for at in 0..3 {
            run(&*operator, &chain.runs[at..=at], &[]).await;
        }
        assert_eq!(db.of_workflow(&chain, "status").await, "SUCCESSFUL");
        assert_eq!(operator.retry_workflow(chain.id).await.unwrap(), Some(0));
        assert_eq!(db.of_workflow(&chain, "status").await, "SUCCESSFUL");
        assert_eq!(operator.retry_workflow(WorkflowId::NIL).await.unwrap(), None);
    }

    async fn a_failed_workflow_is_run_again_from_where_it_failed(db: &Database) {
        watch_moves(db).await;
        for policy in ["fail", "continue"] {
            let operator = db.operator().await;
            let nested = db.workflow(policy, &NESTED).await;
            let [a, b, c, d] = nested.runs[..] else { unreachable!() };
            run(&*operator, &[a, c], &[a]).await;
            if policy == "continue" {
                run(&*operator, &[b], &[b]).await;
                run(&*operator, &[d], &[d]).await;
            }
            assert_eq!(db.of_workflow(&nested, "status").await, "FAILED");
            let count = operator.retry_workflow(nested.id).await.unwrap();
            assert_eq!(count, Some(if policy == "fail" { 1 } else { 3 }));
            advance(&*operator).await;
            assert_eq!(db.statuses(&nested.runs).await, ["READY", "WAITING", "SUCCESSFUL", "WAITING"], "{policy}");
            for run_now in [a, b, d] {
                run(&*operator, &[run_now], &[]).await;
            }
            assert_eq!(db.of_workflow(&nested, "status").await, "SUCCESSFUL");
        }
    }

    async fn a_run_that_fails_again_at_once_is_retried_once(db: &Database) {
        let operator = db.operator().await;
        let chain = db.workflow("fail", &CHAIN).await;
        run(&*operator, &chain.runs[..1], &chain.runs[..1]).await;
        let fail = "UPDATE task_runs SET status = 'FAILED' WHERE result_id = NEW.result_id";
        let when = "AFTER UPDATE OF status ON task_runs";
        db.execute(&if db.is_postgres() {
            format!(
                "CREATE FUNCTION fail_again() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN {fail}; RETURN NULL; END $$; \
                 CREATE TRIGGER fail_again {when} FOR EACH ROW WHEN (NEW.status = 'READY') EXECUTE FUNCTION fail_again()"
            )
        } else {
            format!("CREATE TRIGGER fail_again {when} WHEN NEW.status = 'READY' BEGIN {fail}; END")
        })
        .await;
        let retry = operator.retry_workflow(chain.id);
        assert_eq!(within(Duration::from_secs(5), "the retry", retry).await.unwrap(), Some(1));
        assert_eq!(db.status(chain.runs[0]).await, "FAILED");
    }

    async fn a_workflow_shows_its_steps_and_culprits(db: &Database) {
        let operator = db.operator().await;
        let chain = db.workflow("fail", &CHAIN).await;
        run(&*operator, &chain.runs[..1], &chain.runs[..1]).await;
        let facts = operator.workflow(chain.id).await.unwrap().unwrap();
        assert_eq!((facts.id, facts.status, facts.expected, facts.failed), (chain.id, WorkflowStatus::Failed, 3, 3));
        let steps: Vec<_> = facts.steps.iter().map(|step| (step.step, step.pending, step.failed)).collect();
        assert_eq!(steps, [(1, 0, 1), (2, 0, 1), (3, 0, 1)]);
        let culprit = facts.steps[2].culprit.as_ref().unwrap();
        assert_eq!((culprit.id, culprit.status), (chain.runs[0], Some(RunStatus::Failed)));
        assert_eq!(culprit.last_error.as_deref(), Some("no luck"));
        let members = operator.workflow_members(chain.id, chain.runs[0], 10).await.unwrap();
        assert_eq!(members.iter().map(|member| member.id).collect::<Vec<_>>(), chain.runs[1..]);
        assert_eq!((members[0].after_step, members[0].step), (Some(1), Some(2)));
        assert_eq!(operator.workflow(WorkflowId::NIL).await.unwrap(), None);
    }

    async fn what_a_run_waits_for_is_told_by_name(db: &Database) {
        let operator = db.operator().await;
        let chord = db.workflow("continue", &CHORD).await;
        let owner = someone();
        let (done, lost) = (claim_one(&*operator, &owner).await, claim_one(&*operator, &owner).await);
        finish(&*operator, &owner, &done, returned("1")).await;
        finish(&*operator, &owner, &lost, failed("no luck")).await;
        advance(&*operator).await;
        let facts = operator.explain(chord.runs[3]).await.unwrap().unwrap();
        assert_eq!((facts.run.workflow_id, facts.run.step, facts.run.after_step), (Some(chord.id), Some(2), Some(1)));
        let waits = facts.waits_for.unwrap();
        assert_eq!(waits.workflow.steps.len(), 1);
        assert_eq!(waits.workflow.steps[0].pending, 1);
        assert_eq!(waits.runs.iter().map(|run| run.id).collect::<Vec<_>>(), [lost.id, chord.runs[2]]);
    }

    async fn results_that_may_be_asked_for_are_not_pruned(db: &Database) {
        let operator = db.operator().await;
        let chain = db.workflow("fail", &CHAIN).await;
        run(&*operator, &chain.runs[..1], &[]).await;
        let what = PruneWhat {
            statuses: vec![RunStatus::Successful], field: PruneField::FinishedAt, older_than: Duration::ZERO, dry_run: false,
        };
        assert_eq!(operator.prune_step(&what, RunId(0), 100).await.unwrap().pruned, 0);
        assert_eq!(operator.prune_workflows_step(None, false).await.unwrap().pruned, 0);
        run(&*operator, &chain.runs[1..2], &[]).await;
        run(&*operator, &chain.runs[2..], &[]).await;
        assert_eq!(operator.prune_workflows_step(None, false).await.unwrap().pruned, 0, "it has runs");
        assert_eq!(operator.prune_step(&what, RunId(0), 100).await.unwrap().pruned, 3);
        let step = operator.prune_workflows_step(None, true).await.unwrap();
        assert_eq!((step.pruned, step.last), (1, Some(chain.id)));
        assert_eq!(operator.prune_workflows_step(None, false).await.unwrap().pruned, 1);
        assert_eq!(operator.prune_workflows_step(step.last, false).await.unwrap().last, None);
        for table in ["workflow_runs", "reproq_workflow_steps", "reproq_workflow_events"] {
            assert_eq!(db.number(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
        }
    }
}
