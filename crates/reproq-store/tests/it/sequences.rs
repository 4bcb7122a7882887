//! Any sequence of moves, against a model of a few lines: states, epochs and attempts agree, and no run has two owners.

use std::cell::Cell;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reproq_model::{Epoch, RunId, RunStatus, Transition};
use reproq_store::{Ending, Fence, Registration, Store};
use tokio::runtime::Runtime;

use crate::database::{
    Database, LEASE, claim, claim_keyed, failed, other, released, retried, returned, worker,
};

#[derive(Debug, Clone)]
enum Move {
    Enqueue {
        keyed: bool,
    },
    Claim {
        worker: usize,
        limit: u32,
        keyed: bool,
    },
    /// Ends the claim at this place of all claims ever made, so most are stale. `by` may be another worker.
    Finish {
        claim: usize,
        by: usize,
        how: How,
    },
    Lapse {
        run: usize,
    },
    Heartbeat {
        worker: usize,
    },
    Reclaim {
        how: How,
    },
}

#[derive(Debug, Clone, Copy)]
enum How {
    Return,
    Fail,
    Retry,
    Release,
}

impl How {
    fn transition(self) -> Transition {
        match self {
            Self::Return => returned("1"),
            Self::Fail => failed("no"),
            Self::Retry => retried(Duration::ZERO),
            Self::Release => released(),
        }
    }
}

#[derive(Debug)]
struct Run {
    id: RunId,
    keyed: bool,
    status: RunStatus,
    epoch: i32,
    attempts: i32,
    owner: Option<usize>,
    lapsed: bool,
}

impl Run {
    fn ends(&mut self, how: How) {
        self.status = how.transition().status;
        self.attempts -= i32::from(matches!(how, How::Release));
        self.owner = None;
        self.lapsed = false;
    }
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![Just(How::Return), Just(How::Fail), Just(How::Retry), Just(How::Release)]
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => any::<bool>().prop_map(|keyed| Move::Enqueue { keyed }),
        4 => (0..3_usize, 1..5_u32, any::<bool>()).prop_map(|(worker, limit, keyed)| Move::Claim { worker, limit, keyed }),
        4 => (any::<prop::sample::Index>(), 0..3_usize, how())
            .prop_map(|(claim, by, how)| Move::Finish { claim: claim.index(1000), by, how }),
        2 => (0..20_usize).prop_map(|run| Move::Lapse { run }),
        1 => (0..3_usize).prop_map(|worker| Move::Heartbeat { worker }),
        2 => how().prop_map(|how| Move::Reclaim { how }),
    ];
    prop::collection::vec(one, 10..60)
}

struct Bench<'a> {
    db: &'a Database,
    store: &'a dyn Store,
    workers: [Registration; 3],
    runs: Vec<Run>,
    claims: Vec<(RunId, Epoch)>,
}

impl Bench<'_> {
    fn run(&mut self, id: RunId) -> &mut Run {
        self.runs.iter_mut().find(|run| run.id == id).expect("a run that was enqueued")
    }

    async fn make(&mut self, step: &Move) {
        match *step {
            Move::Enqueue { keyed } => {
                let id = if keyed { self.db.insert("lock_key", "'k'").await } else { self.db.ready().await };
                self.runs.push(Run {
                    id,
                    keyed,
                    status: RunStatus::Ready,
                    epoch: 0,
                    attempts: 0,
                    owner: None,
                    lapsed: false,
                });
            }
            Move::Claim { worker, limit, keyed } => self.claim(worker, limit, keyed).await,
            Move::Finish { claim, by, how } => {
                let Some((id, epoch)) = self.claims.get(claim % self.claims.len().max(1)).copied() else {
                    return;
                };
                let fence = Fence::Owner(self.workers[by].incarnation);
                let written = self.end(fence, id, epoch, how).await;
                let run = self.run(id);
                let expected =
                    run.status == RunStatus::Running && run.epoch == epoch.0 && run.owner == Some(by);
                assert_eq!(written, expected, "{step:?} of {run:?}");
                if expected {
                    run.ends(how);
                }
            }
            Move::Lapse { run } => {
                let Some(run) = self.runs.get_mut(run).filter(|run| run.status == RunStatus::Running) else {
                    return;
                };
                run.lapsed = true;
                self.db.lapse(&format!("result_id = {}", run.id)).await;
            }
            Move::Heartbeat { worker } => {
                let owned = self.store.heartbeat(&self.workers[worker], LEASE).await.unwrap();
                let mut owned: Vec<(RunId, i32)> = owned.iter().map(|run| (run.id, run.epoch.0)).collect();
                owned.sort_unstable();
                let mine = self.runs.iter_mut().filter(|run| run.owner == Some(worker));
                let expected: Vec<(RunId, i32)> = mine
                    .inspect(|run| assert_eq!(run.status, RunStatus::Running))
                    .map(|run| {
                        run.lapsed = false;
                        (run.id, run.epoch)
                    })
                    .collect();
                assert_eq!(owned, expected);
            }
            Move::Reclaim { how } => {
                let mut found = self.store.expired(&other(), 100).await.unwrap();
                found.sort_by_key(|run| run.id);
                let expected: Vec<(RunId, i32)> =
                    self.runs.iter().filter(|run| run.lapsed).map(|run| (run.id, run.epoch)).collect();
                assert_eq!(found.iter().map(|run| (run.id, run.epoch.0)).collect::<Vec<_>>(), expected);
                for lapsed in found {
                    assert!(self.end(Fence::LeaseEnded, lapsed.id, lapsed.epoch, how).await);
                    self.run(lapsed.id).ends(how);
                }
            }
        }
    }

    async fn claim(&mut self, worker: usize, limit: u32, keyed: bool) {
        let me = self.workers[worker].clone();
        let waiting =
            self.runs.iter().filter(|run| run.keyed == keyed && run.status == RunStatus::Ready).count();
        let held = self.runs.iter().any(|run| run.keyed && run.status == RunStatus::Running);
        let (claimed, expected) = if keyed {
            (claim_keyed(self.store, &me, limit).await, if held { 0 } else { waiting.min(1) })
        } else {
            (claim(self.store, &me, limit).await, waiting.min(limit as usize))
        };
        assert_eq!(claimed.len(), expected);
        for run in claimed {
            self.claims.push((run.id, run.epoch));
            let known = self.run(run.id);
            assert_eq!((known.status, known.owner, known.keyed), (RunStatus::Ready, None, keyed));
            known.status = RunStatus::Running;
            known.owner = Some(worker);
            known.epoch += 1;
            known.attempts += 1;
            assert_eq!((run.epoch.0, run.attempts), (known.epoch, known.attempts));
        }
    }

    async fn end(&self, fence: Fence, id: RunId, epoch: Epoch, how: How) -> bool {
        self.store
            .finish(fence, &[Ending { id, epoch, transition: how.transition(), logs_uri: None }])
            .await
            .unwrap()
            .written
            == 1
    }

    async fn agrees(&self) {
        let rows = self
            .db
            .rows("SELECT result_id, status, epoch, attempts, leased_by FROM task_runs ORDER BY result_id")
            .await;
        let found: Vec<String> =
            rows.iter().map(|row| row.iter().flatten().cloned().collect::<Vec<_>>().join(" ")).collect();
        let expected: Vec<String> = self
            .runs
            .iter()
            .map(|run| {
                let owner =
                    run.owner.map(|owner| format!(" {}", self.workers[owner].worker_id)).unwrap_or_default();
                format!("{} {} {} {}{owner}", run.id, run.status, run.epoch, run.attempts)
            })
            .collect();
        assert_eq!(found, expected);
    }
}

fn any_sequence_agrees_with_the_model(runtime: &Runtime, db: &Database, cases: u32) {
    let store = runtime.block_on(db.store());
    let made = Cell::new(0);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    TestRunner::new(config)
        .run(&moves(), |moves| {
            runtime.block_on(async {
                db.execute("DELETE FROM task_runs").await;
                let workers = ["a", "b", "c"].map(|name| worker(name, &["default"]));
                let mut bench = Bench { db, store: &*store, workers, runs: Vec::new(), claims: Vec::new() };
                for step in &moves {
                    bench.make(step).await;
                    made.set(made.get() + 1);
                }
                bench.agrees().await;
            });
            Ok(())
        })
        .unwrap();
    assert!(made.get() > cases as usize * 10);
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn in_sqlite_any_sequence_agrees_with_the_model() {
    let runtime = runtime();
    let db = runtime.block_on(Database::sqlite());
    any_sequence_agrees_with_the_model(&runtime, &db, 24);
}

#[test]
fn in_postgres_any_sequence_agrees_with_the_model() {
    let runtime = runtime();
    let db = runtime.block_on(Database::postgres());
    any_sequence_agrees_with_the_model(&runtime, &db, 24);
}
