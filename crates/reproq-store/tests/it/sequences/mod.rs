//! Any sequence of what can happen to a queue, on both engines, against a model in memory.
//!
//! After each step the books agree (states, epochs, attempts, owners), and what must never be is looked for: two successes of a
//! run (I2), two holders of a lock (I3), more holders of a key than its limit or a slot beyond it (I4), more starts than a rate
//! admits (I5), two active twins (I8), more attempts than the budget (I9), a re-execution that no move explains (I10: the epochs
//! agree), a claim of what is paused or not due, one that leaves free runs although it has room (I11) or prefers the worse one in
//! a line, an epoch that does not rise (I13) and a move that the graph of states does not know (I14, both by a trigger). At the
//! end everything is let go and drained: each run ends in one state (I1), nothing runs and nothing is held (I12).
//! I6 and I7 are about workflows and schedules, which the store does not have yet. together.rs does the same with many at once,
//! and mutants.rs shows that these checks see what they look for. `REPROQ_SEQUENCES` says how many sequences.

mod model;
mod moves;

use std::cell::Cell;
use std::collections::HashMap;

use proptest::test_runner::{Config, FailurePersistence, FileFailurePersistence, TestRunner};
use reproq_model::admission::Verdict;
use reproq_model::{Epoch, RunId, RunStatus};
use reproq_store::{ClaimRequest, ClaimedRun, Ending, Fence, Operator, Registration, Replayed, RetryAnswer};
use tokio::runtime::Runtime;

use self::model::{Model, Run};
use self::moves::{How, KEYS, Move, QUEUES, TASKS, WORKERS, Wish, moves};
use crate::database::{Database, LEASE, other, worker};
use crate::graph::watch_moves;

struct Bench<'a> {
    db: &'a Database,
    store: &'a dyn Operator,
    workers: Vec<Registration>,
    model: Model,
    claims: Vec<(RunId, Epoch)>,
}

fn start_of(worker_number: usize) -> Registration {
    worker(&format!("w{worker_number}"), &QUEUES)
}

impl Bench<'_> {
    async fn make(&mut self, step: &Move) {
        match *step {
            Move::Enqueue(ref wish) => self.enqueue(wish).await,
            Move::Claim { worker, limit, keyed } => {
                self.claim(worker, limit, keyed).await;
            }
            Move::Finish { claim, by, how } => self.finish(claim, by, how).await,
            Move::Cancel { run } => self.cancel(run).await,
            Move::Lapse { run } => {
                let Some(run) = self.model.at(run).filter(|run| run.status == RunStatus::Running) else {
                    return;
                };
                run.lapsed = true;
                self.db.lapse(&format!("result_id = {}", run.id)).await;
            }
            Move::Heartbeat { worker } => self.heartbeat(worker).await,
            Move::Reclaim { how } => self.reclaim(how).await,
            Move::Kill { worker } => {
                let condition = format!("leased_by = '{}'", self.workers[worker].worker_id);
                self.db.lapse(&condition).await;
                self.workers[worker] = start_of(worker);
                for run in self.model.runs.iter_mut().filter(|run| run.owner == Some(worker)) {
                    run.lapsed = true;
                    run.orphaned = true;
                }
            }
            Move::Expire { run } => {
                let past = self.db.now(-5.0);
                let Some(run) = self.model.at(run).filter(|run| run.status == RunStatus::Ready) else {
                    return;
                };
                run.expired = true;
                let id = run.id;
                self.set(id, &format!("expires_at = {past}")).await;
            }
            Move::Due { run } => {
                let past = self.db.now(-5.0);
                let Some(run) = self.model.at(run).filter(|run| run.scheduled) else { return };
                run.scheduled = false;
                let id = run.id;
                self.set(id, &format!("run_after = {past}")).await;
            }
            Move::PauseQueue { queue, paused } => {
                self.model.paused_queues[queue] = paused;
                self.control("reproq_queue_controls", "queue_name", QUEUES[queue], paused).await;
            }
            Move::PauseTask { task, paused } => {
                self.model.paused_tasks[task] = paused;
                self.control("reproq_task_controls", "task_path", TASKS[task], paused).await;
            }
            Move::PinLimit { key, limit } => {
                let name = format!("concurrency:{}", KEYS[key]);
                if let Some(limit) = limit {
                    self.store.set_limit(&name, limit).await.unwrap();
                    self.model.pinned.insert(key, limit);
                } else {
                    self.store.remove_limit(&name).await.unwrap();
                    self.model.pinned.remove(&key);
                }
            }
            Move::Ration { of, starts } => {
                if let Some(starts) = starts {
                    self.store.set_rate(&of.name(), 1e-9, starts).await.unwrap();
                    self.model.rations.insert(of.name(), starts);
                } else {
                    self.store.remove_limit(&of.name()).await.unwrap();
                    self.model.rations.remove(&of.name());
                }
            }
            Move::Retry { run } => self.retry(run).await,
            Move::Replay { run } => self.replay(run).await,
        }
    }

    async fn set(&self, id: RunId, what: &str) {
        self.db.execute(&format!("UPDATE task_runs SET {what} WHERE result_id = {id}")).await;
    }

    async fn control(&self, table: &str, column: &str, name: &str, paused: bool) {
        let paused = if paused { "TRUE" } else { "FALSE" };
        self.db
            .execute(&format!(
                "INSERT INTO {table} ({column}, paused) VALUES ('{name}', {paused}) ON CONFLICT ({column}) DO UPDATE SET paused = {paused}"
            ))
            .await;
    }

    async fn enqueue(&mut self, wish: &Wish) {
        let text = |key: Option<usize>| key.map_or("NULL".to_owned(), |key| format!("'{}'", KEYS[key]));
        let (mode, hash) =
            wish.dedup.map_or((0, String::new()), |(mode, which)| (mode, format!("twin {mode} {which}")));
        let hash = if hash.is_empty() { format!("alone {}", self.model.runs.len()) } else { hash };
        let (concurrency, limit) = wish.concurrency.map_or((None, 0), |(key, limit)| (Some(key), limit));
        let rate =
            wish.rate.map_or("NULL, NULL, NULL".to_owned(), |key| format!("'key:{key}', 0.000000001, 2"));
        let sql = format!(
            "INSERT INTO task_runs (spec_json, spec_hash, queue_name, task_path, lock_key, concurrency_key, concurrency_limit, \
             fairness_key, rate_key, rate_per_second, rate_burst, over_limit, dedup, max_attempts, priority) \
             VALUES ('{{}}', '{hash}', '{}', '{}', {}, {}, {limit}, {}, {rate}, {}, {mode}, {}, {}) ON CONFLICT DO NOTHING RETURNING result_id",
            QUEUES[wish.queue],
            TASKS[wish.task],
            text(wish.lock),
            text(concurrency),
            text(wish.fairness),
            wish.over_limit,
            wish.max_attempts,
            wish.priority,
        );
        let answer = self.db.rows(&sql).await;
        assert_eq!(answer.is_empty(), self.model.twin(wish).is_some(), "{wish:?}");
        let Some(id) = answer.into_iter().next().and_then(|mut row| row.pop().flatten()) else { return };
        if let Some((key, limit)) = wish.concurrency.filter(|(_, limit)| *limit > 0) {
            self.model.stated.insert(key, limit);
        }
        self.model.runs.push(Run::new(RunId(id.parse().unwrap()), wish.clone()));
    }

    /// One look and one claim, as a worker does it. Returns how many runs came.
    async fn claim(&mut self, by: usize, limit: u32, keyed: bool) -> usize {
        let me = self.workers[by].clone();
        self.store.promote_due(&me.queues).await.unwrap();
        self.model.divert();
        let places = self.places().await;
        let request = ClaimRequest { worker: &me, queues: &me.queues, limit, lease: LEASE };
        let (claim, room) = if keyed {
            (self.store.claim_keyed(&request).await.unwrap(), limit as usize)
        } else {
            let open = self.model.runs.iter().filter(|run| self.model.is_in_lane(run, false)).count();
            let claim = self.store.claim(&request).await.unwrap();
            assert_eq!(claim.runs.len(), open.min(limit as usize), "of {open} runs that nothing holds back");
            (claim, limit as usize)
        };
        assert!(claim.unreadable.is_empty());
        let starts = claim.runs.iter().filter(|run| run.verdict == Verdict::Start).count();
        assert!(starts <= room, "{starts} starts for {room} slots");
        for run in claim.runs.iter().filter(|run| run.verdict == Verdict::Start) {
            self.starts(by, keyed, run);
        }
        for run in claim.runs.iter().filter(|run| run.verdict != Verdict::Start) {
            self.ends_at_once(by, keyed, run);
        }
        let left: Vec<&Run> =
            self.model.runs.iter().filter(|run| self.model.is_in_lane(run, keyed)).collect();
        if claim.runs.len() < room && !claim.more {
            for run in &left {
                assert!(!self.model.may_start(run), "nothing holds this run back: {run:?}");
            }
        }
        for started in claim.runs.iter().filter(|run| run.verdict == Verdict::Start) {
            let run = self.model.runs.iter().find(|run| run.id == started.id).expect("it has been booked");
            for waiting in left.iter().filter(|waiting| !keyed || waiting.line() == run.line()) {
                assert!(places[&run.id] < places[&waiting.id], "{waiting:?} stood before {run:?}");
            }
        }
        self.slots_are_within_limits(&claim.runs).await;
        claim.runs.len()
    }

    /// Where the waiting runs stand in line.
    async fn places(&self) -> HashMap<RunId, (i64, RunId)> {
        let rows = self.db.rows("SELECT result_id, claim_key FROM task_runs WHERE status = 'READY'").await;
        let number = |text: &Option<String>| text.as_ref().unwrap().parse().unwrap();
        rows.iter().map(|row| (RunId(number(&row[0])), (number(&row[1]), RunId(number(&row[0]))))).collect()
    }

    /// Under a limit, what has just started holds a number from 1 to the limit.
    async fn slots_are_within_limits(&self, claimed: &[ClaimedRun]) {
        for run in claimed.iter().filter(|run| run.verdict == Verdict::Start) {
            let known = self.model.runs.iter().find(|known| known.id == run.id).expect("it has been booked");
            let Some(limit) = known.wish.concurrency.and_then(|(key, _)| self.model.limit(key)) else {
                continue;
            };
            let within = format!("slot_no BETWEEN 1 AND {limit}");
            assert!(
                !known.holds || self.db.holds(run.id, &within).await || !known.is_keyed(),
                "{within}: {known:?}"
            );
        }
    }

    /// Books a claimed run that begins; it must have been free to.
    fn starts(&mut self, by: usize, keyed: bool, claimed: &ClaimedRun) {
        self.claims.push((claimed.id, claimed.epoch));
        let run = self.model.runs.iter().find(|run| run.id == claimed.id).expect("a run that was enqueued");
        assert!(self.model.is_in_lane(run, keyed), "{run:?}");
        assert!(!run.expired && (!keyed || self.model.may_start(run)), "{run:?}");
        self.model.start(claimed.id, by, keyed);
        let run = self.model.run(claimed.id);
        assert_eq!((claimed.epoch.0, claimed.attempts), (run.epoch, run.attempts));
    }

    /// Books a claimed run that is to end; there must be a reason for that.
    fn ends_at_once(&mut self, by: usize, keyed: bool, claimed: &ClaimedRun) {
        self.claims.push((claimed.id, claimed.epoch));
        let run = self.model.runs.iter().find(|run| run.id == claimed.id).expect("a run that was enqueued");
        assert!(self.model.is_in_lane(run, keyed), "{run:?}");
        let like_it = |other: &&Run| {
            other.id > run.id && run.line() == other.line() && self.model.is_in_lane(other, keyed)
        };
        let reason = match claimed.verdict {
            Verdict::Start => false,
            Verdict::Expired => run.expired,
            Verdict::Discarded => run.wish.over_limit == 1 && self.model.is_full(run),
            Verdict::Replaced => {
                run.wish.over_limit == 2
                    && self.model.is_full(run)
                    && self.model.runs.iter().any(|other| like_it(&other))
            }
        };
        assert!(reason, "{:?}: {run:?}", claimed.verdict);
        let run = self.model.run(claimed.id);
        run.starts(by);
        assert_eq!((claimed.epoch.0, claimed.attempts), (run.epoch, run.attempts));
    }

    async fn finish(&mut self, claim: usize, by: usize, how: How) {
        let Some((id, epoch)) = self.claims.get(claim % self.claims.len().max(1)).copied() else { return };
        let written = self.end(Fence::Owner(self.workers[by].incarnation), id, epoch, how).await;
        let run = self.model.run(id);
        let expected = run.status == RunStatus::Running && run.epoch == epoch.0 && run.is_owned_by(by);
        assert_eq!(written, expected, "{how:?} by {by} of {run:?}");
        if written {
            run.ends(how, false);
        }
    }

    async fn cancel(&mut self, place: usize) {
        let Some(run) = self.model.at(place) else { return };
        let (id, before) = (run.id, run.status);
        let after = match before {
            RunStatus::Ready | RunStatus::Waiting => RunStatus::Cancelled,
            other => other,
        };
        run.cancel_requested |= before == RunStatus::Running;
        run.status = after;
        run.scheduled = false;
        let answer = self.store.cancel(&[id]).await.unwrap();
        assert_eq!((answer[0].before, answer[0].after), (before, after));
    }

    async fn heartbeat(&mut self, by: usize) {
        let owned = self.store.heartbeat(&self.workers[by], LEASE).await.unwrap();
        let expected = self.model.runs.iter().filter(|run| run.is_owned_by(by)).count();
        assert_eq!(owned.len(), expected);
        for run in &owned {
            let known = self.model.run(run.id);
            assert!(
                known.is_owned_by(by)
                    && known.epoch == run.epoch.0
                    && known.cancel_requested == run.cancel_requested
            );
            known.lapsed = false;
        }
        let cancelled = self.store.cancellations(&self.workers[by]).await.unwrap();
        assert_eq!(cancelled.len(), owned.iter().filter(|run| run.cancel_requested).count());
    }

    async fn reclaim(&mut self, how: How) {
        let mut found = self.store.expired(&other(), 100).await.unwrap();
        found.sort_by_key(|run| run.id);
        let expected: Vec<(RunId, i32)> =
            self.model.runs.iter().filter(|run| run.lapsed).map(|run| (run.id, run.epoch)).collect();
        assert_eq!(found.iter().map(|run| (run.id, run.epoch.0)).collect::<Vec<_>>(), expected);
        for lapsed in found {
            assert!(self.end(Fence::LeaseEnded, lapsed.id, lapsed.epoch, how).await);
            self.model.run(lapsed.id).ends(how, true);
        }
    }

    async fn retry(&mut self, place: usize) {
        let Some(run) = self.model.at(place) else { return };
        let (id, status, wish, mode) = (run.id, run.status, run.wish.clone(), run.stands_for);
        let twin = if mode == 2 {
            self.model.twin(&wish).map(|twin| twin.id).filter(|twin| *twin != id)
        } else {
            None
        };
        let answer = self.store.retry(&[id]).await.unwrap();
        let expected = match (status, twin) {
            (RunStatus::Failed, None) => RetryAnswer::Retried,
            (RunStatus::Failed, Some(twin)) => RetryAnswer::Twin(twin),
            (status, _) => RetryAnswer::Found(status),
        };
        assert_eq!(answer, [(id, expected)]);
        if expected == RetryAnswer::Retried {
            let run = self.model.run(id);
            run.status = RunStatus::Ready;
            run.attempts = 0;
            run.expired = false;
            run.scheduled = false;
            run.diverted = false;
            run.stands_for = if mode == 1 { -1 } else { mode };
        }
    }

    async fn replay(&mut self, place: usize) {
        let Some(run) = self.model.at(place).filter(|run| run.status.is_terminal()) else { return };
        let (id, wish, expired) = (run.id, run.wish.clone(), run.expired);
        let twin = self.model.twin(&wish).map(|twin| twin.id);
        match (self.store.replay(id).await.unwrap(), twin) {
            // As long after its enqueue as the source's expiry, which these moves put before it.
            (Replayed::Made(new), None) => self.model.runs.push(Run { expired, ..Run::new(new, wish) }),
            (Replayed::Twin(found), Some(twin)) => assert_eq!(found, twin),
            (answer, twin) => panic!("{answer:?} where the twin is {twin:?}"),
        }
    }

    async fn end(&self, fence: Fence, id: RunId, epoch: Epoch, how: How) -> bool {
        let run = self.model.runs.iter().find(|run| run.id == id).expect("a run that was enqueued");
        let transition = how.transition(run.attempts, run.wish.max_attempts);
        let ending = Ending { id, epoch, transition, logs_uri: None };
        self.store.finish(fence, &[ending]).await.unwrap().written == 1
    }

    async fn agrees(&self) {
        self.model.is_sound();
        let rows = self
            .db
            .rows("SELECT result_id, status, epoch, attempts, leased_by FROM task_runs ORDER BY result_id")
            .await;
        let found: Vec<String> =
            rows.iter().map(|row| row.iter().flatten().cloned().collect::<Vec<_>>().join(" ")).collect();
        let expected: Vec<String> = self
            .model
            .runs
            .iter()
            .map(|run| {
                let owner = run.owner.map(|owner| format!(" w{owner}")).unwrap_or_default();
                format!("{} {} {} {}{owner}", run.id, run.status, run.epoch, run.attempts)
            })
            .collect();
        assert_eq!(found, expected);
        self.breaks_no_rule().await;
    }

    /// What the table itself must show at any time, whatever the model says.
    async fn breaks_no_rule(&self) {
        let holders = "FROM task_runs WHERE status = 'RUNNING' AND slot_no IS NOT NULL";
        for (what, sql) in [
            ("two holders of a lock", format!("SELECT lock_key {holders} AND lock_key <> '' GROUP BY 1 HAVING count(*) > 1")),
            ("a slot held twice", format!("SELECT concurrency_key {holders} AND concurrency_key <> '' GROUP BY concurrency_key, slot_no HAVING count(*) > 1")),
            ("something held by what does not run", "SELECT result_id FROM task_runs WHERE status <> 'RUNNING' AND (slot_no IS NOT NULL OR leased_by IS NOT NULL OR incarnation IS NOT NULL)".to_owned()),
            ("two twins that wait", "SELECT spec_hash FROM task_runs WHERE dedup = 1 AND status = 'READY' GROUP BY 1 HAVING count(*) > 1".to_owned()),
            ("two active twins", "SELECT spec_hash FROM task_runs WHERE dedup = 2 AND status IN ('READY', 'RUNNING') GROUP BY 1 HAVING count(*) > 1".to_owned()),
            ("an end without its time", "SELECT result_id FROM task_runs WHERE (status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')) <> (finished_at IS NOT NULL)".to_owned()),
        ] {
            assert_eq!(self.db.rows(&sql).await, Vec::<Vec<Option<String>>>::new(), "{what}");
        }
    }

    /// Lets everything go and works it off.
    async fn drains(&mut self) {
        for queue in 0..QUEUES.len() {
            self.make(&Move::PauseQueue { queue, paused: false }).await;
        }
        for task in 0..TASKS.len() {
            self.make(&Move::PauseTask { task, paused: false }).await;
        }
        // Rates that runs name have no way to be let go but an operator's word.
        let own = (0..KEYS.len()).map(|key| format!("key:{key}"));
        for name in self.model.rations.keys().cloned().chain(own).collect::<Vec<_>>() {
            self.store.set_rate(&name, 1e6, 1000).await.unwrap();
            self.model.rations.insert(name, 1000);
        }
        for place in 0..self.model.runs.len() {
            self.make(&Move::Due { run: place }).await;
        }
        self.db.lapse("TRUE").await;
        self.model
            .runs
            .iter_mut()
            .filter(|run| run.status == RunStatus::Running)
            .for_each(|run| run.lapsed = true);
        self.make(&Move::Reclaim { how: How::Retry }).await;
        let mut idle = 0;
        while idle < 2 {
            let first = self.claims.len();
            let came = self.claim(0, 5, false).await + self.claim(0, 5, true).await;
            for claim in first..self.claims.len() {
                self.finish(claim, 0, How::Return).await;
            }
            idle = if came == 0 { idle + 1 } else { 0 };
        }
        for run in &self.model.runs {
            assert!(run.status.is_terminal(), "never ended: {run:?}");
        }
        self.agrees().await;
    }
}

/// Sequences that once failed are tried first.
const FAILED_BEFORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/sequences/failed_before.txt");

fn any_sequence_agrees_with_the_model(runtime: &Runtime, db: &Database) {
    let cases = std::env::var("REPROQ_SEQUENCES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(32);
    let failure_persistence: Option<Box<dyn FailurePersistence>> =
        Some(Box::new(FileFailurePersistence::Direct(FAILED_BEFORE)));
    runtime.block_on(watch_moves(db));
    let config = Config { cases, failure_persistence, max_shrink_iters: 300, ..Config::default() };
    let made = try_sequences(runtime, db, config).unwrap();
    assert!(made > cases as usize * 10);
}

/// How many moves were made, or what went wrong.
pub fn try_sequences(runtime: &Runtime, db: &Database, config: Config) -> Result<usize, String> {
    let made = Cell::new(0);
    let ran = TestRunner::new(config).run(&moves(), |moves| {
        runtime.block_on(async {
            for table in [
                "task_runs",
                "rate_limits",
                "reproq_key_limits",
                "reproq_queue_controls",
                "reproq_task_controls",
            ] {
                db.execute(&format!("DELETE FROM {table}")).await;
            }
            let workers = (0..WORKERS).map(start_of).collect();
            // Another one each time: a store remembers whose turn it is.
            let store = db.operator().await;
            let mut bench =
                Bench { db, store: &*store, workers, model: Model::default(), claims: Vec::new() };
            for step in &moves {
                bench.make(step).await;
                bench.agrees().await;
                made.set(made.get() + 1);
            }
            bench.drains().await;
        });
        Ok(())
    });
    ran.map(|()| made.get()).map_err(|error| error.to_string())
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn in_sqlite_any_sequence_agrees_with_the_model() {
    let runtime = runtime();
    let db = runtime.block_on(Database::sqlite());
    any_sequence_agrees_with_the_model(&runtime, &db);
}

#[test]
fn in_postgres_any_sequence_agrees_with_the_model() {
    let runtime = runtime();
    let db = runtime.block_on(Database::postgres());
    any_sequence_agrees_with_the_model(&runtime, &db);
}
