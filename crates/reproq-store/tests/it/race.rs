//! Many workers at once. What they hold is counted outside of the database: from the answer of a claim to the sending of
//! its ending, which lies within the time that the database says, so that every overlap seen is a real one.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use reproq_model::RunStatus;
use reproq_store::{Ending, Fence, Registration, Store};
use tokio::task::{JoinSet, LocalSet, yield_now};
use tokio::time::Instant;

use crate::database::{
    Database, LEASE, both, claim, claim_keyed, deadline, ending, retried, returned, to, worker,
};

/// Runs `work` once per worker, all at the same time, each over a store of its own.
async fn at_once<T: 'static, F: Future<Output = T> + 'static>(
    db: &Database,
    workers: usize,
    work: impl Fn(Rc<dyn Store>, Registration) -> F,
) -> Vec<T> {
    let local = LocalSet::new();
    let mut tasks = JoinSet::new();
    for number in 0..workers {
        let future = work(db.store().await, worker(&format!("w{number}"), &["default", "other"]));
        tasks.spawn_local_on(future, &local);
    }
    local.run_until(tasks.join_all()).await
}

/// Columns and values of runs whose keys are in four queues each. Claimers of the same queues would all reach for the same run, and
/// its row alone would keep them apart; those of different ones are kept apart by the key.
pub const LOCKED: (&str, &str) =
    ("lock_key, queue_name", "'k' || CAST(n % 20 AS TEXT), 'q' || CAST(n / 20 % 4 AS TEXT)");
pub const LIMITED: (&str, &str) = (
    "concurrency_key, concurrency_limit, queue_name",
    "'k' || CAST(n % 5 AS TEXT), 3, 'q' || CAST(n / 5 % 4 AS TEXT)",
);

/// Who holds what, by key.
#[derive(Default)]
pub struct Witness {
    holders: RefCell<HashMap<String, usize>>,
    most: RefCell<HashMap<String, usize>>,
    claims: Cell<usize>,
}

impl Witness {
    fn takes(&self, key: &str, limit: usize) {
        let mut holders = self.holders.borrow_mut();
        let count = holders.entry(key.to_owned()).or_default();
        *count += 1;
        assert!(*count <= limit, "{count} hold {key}, whose limit is {limit}");
        let mut most = self.most.borrow_mut();
        let most = most.entry(key.to_owned()).or_default();
        *most = (*most).max(*count);
        self.claims.set(self.claims.get() + 1);
    }

    fn lets_go(&self, key: &str) {
        *self.holders.borrow_mut().get_mut(key).unwrap() -= 1;
    }
}

both! {
    async fn no_run_goes_to_two_claimers(db: &Database) {
        empty_at_once(db, if db.is_postgres() { 2000 } else { 600 }).await;
    }

    async fn a_lock_is_never_held_twice(db: &Database) {
        let total = if db.is_postgres() { 2400 } else { 400 };
        db.insert_many(total, LOCKED.0, LOCKED.1).await;
        let witness = hammer(db, total, 1).await;
        assert_eq!(witness.claims.get(), total);
        assert_eq!(witness.most.borrow().len(), 20);
    }

    async fn a_limit_is_never_exceeded_and_is_reached(db: &Database) {
        let total = if db.is_postgres() { 1200 } else { 400 };
        db.insert_many(total, LIMITED.0, LIMITED.1).await;
        let witness = hammer(db, total, 3).await;
        assert_eq!(witness.claims.get(), total);
        let reached = witness.most.borrow().values().any(|most| *most == 3);
        // SQLite's claimers take turns; keyed.rs shows that they reach a limit.
        assert!(reached || !db.is_postgres(), "{:?}", witness.most.borrow());
    }

    async fn reclaim_and_owner_never_both_end_a_run(db: &Database) {
        let total = if db.is_postgres() { 300 } else { 100 };
        db.insert_many(total, "", "").await;
        let (store, owner) = (db.store().await, worker("owner", &["default"]));
        let runs = claim(&*store, &owner, 1000).await;
        db.lapse("TRUE").await;
        let written = at_once(db, 4, |store, me| {
            let mine = if me.worker_id == "w0" { Fence::Owner(owner.incarnation) } else { Fence::LeaseEnded };
            let endings: Vec<Ending> = runs.iter().map(|run| ending(run, to(RunStatus::Failed))).collect();
            async move {
                let mut written = 0;
                for batch in endings.chunks(20) {
                    written += store.finish(mine, batch).await.unwrap().written;
                }
                written
            }
        })
        .await;
        assert_eq!(written.iter().sum::<u64>(), total as u64, "{written:?}");
    }

    async fn heartbeats_endings_and_claims_do_not_trip_over_each_other(db: &Database) {
        let total = if db.is_postgres() { 1000 } else { 200 };
        db.insert_many(total, "", "").await;
        let done = Rc::new(Cell::new(0));
        let shared = worker("w", &["default"]);
        let end = deadline(Duration::from_secs(20));
        at_once(db, 6, |store, me| {
            let (done, shared) = (Rc::clone(&done), shared.clone());
            async move {
                while done.get() < total {
                    assert!(Instant::now() < end, "{} of {total}", done.get());
                    if ["w0", "w1"].contains(&me.worker_id.as_str()) {
                        // A lease that is always a third gone: every beat writes every row.
                        store.heartbeat(&shared, LEASE * (2 + u32::from(done.get() % 2 == 0))).await.unwrap();
                        store.heartbeat(&shared, LEASE * 9).await.unwrap();
                    } else {
                        let mut runs = claim(&*store, &shared, 40).await;
                        runs.reverse();
                        let again = |id: i64, attempts: i32| id % 3 == 0 && attempts == 1;
                        let endings: Vec<Ending> = runs.iter().map(|run| {
                            ending(run, if again(run.id.0, run.attempts) { retried(Duration::ZERO) } else { returned("1") })
                        }).collect();
                        done.set(done.get() + endings.iter().filter(|ending| ending.transition.status.is_terminal()).count());
                        assert_eq!(finish_in_the_end(&*store, &shared, endings).await, runs.len() as u64);
                    }
                    yield_now().await;
                }
            }
        })
        .await;
        assert_eq!(db.count("status = 'SUCCESSFUL'").await, i64::try_from(total).unwrap());
    }
}

/// Eight claimers take `total` runs that nothing holds back; each run goes to one of them.
pub async fn empty_at_once(db: &Database, total: usize) {
    db.insert_many(total, "queue_name", "CASE n % 2 WHEN 0 THEN 'other' ELSE 'default' END").await;
    let left = Rc::new(Cell::new(total));
    let end = deadline(Duration::from_secs(20));
    let claimed = at_once(db, 8, |store, worker| {
        let left = Rc::clone(&left);
        async move {
            let mut mine = Vec::new();
            while left.get() > 0 {
                assert!(Instant::now() < end, "{} runs were never claimed", left.get());
                let runs = claim(&*store, &worker, 7).await;
                left.set(left.get() - runs.len());
                mine.extend(runs.into_iter().map(|run| (run.id, run.epoch.0, run.attempts)));
                yield_now().await;
            }
            mine
        }
    })
    .await;
    let mut all = claimed.concat();
    all.sort_unstable();
    all.dedup_by_key(|claim| claim.0);
    assert_eq!(all.len(), total);
    assert!(all.iter().all(|(_, epoch, attempts)| (*epoch, *attempts) == (1, 1)));
    assert_eq!(db.count("status = 'RUNNING' AND epoch = 1").await, i64::try_from(total).unwrap());
}

/// Sends endings until nobody holds their rows any more; how many were written.
async fn finish_in_the_end(store: &dyn Store, owner: &Registration, mut endings: Vec<Ending>) -> u64 {
    let mut written = 0;
    while !endings.is_empty() {
        let finished = store.finish(Fence::Owner(owner.incarnation), &endings).await.unwrap();
        written += finished.written;
        endings.retain(|ending| finished.held.contains(&ending.id));
        yield_now().await;
    }
    written
}

/// Twelve claimers, three to each of four queues, claim and end until `total` runs are through.
pub async fn hammer(db: &Database, total: usize, limit: usize) -> Rc<Witness> {
    let keys: HashMap<i64, String> = db
        .rows("SELECT result_id, COALESCE(lock_key, concurrency_key) FROM task_runs")
        .await
        .into_iter()
        .map(|mut row| (row[0].take().unwrap().parse().unwrap(), row[1].take().unwrap()))
        .collect();
    let (keys, witness) = (Rc::new(keys), Rc::new(Witness::default()));
    let end = deadline(Duration::from_secs(25));
    let number = Cell::new(0);
    at_once(db, 12, |store, mut worker| {
        let (keys, witness) = (Rc::clone(&keys), Rc::clone(&witness));
        worker.queues = vec![format!("q{}", number.replace(number.get() + 1) % 4)];
        async move {
            while witness.claims.get() < total {
                assert!(Instant::now() < end, "{} of {total} claims", witness.claims.get());
                let held = claim_keyed(&*store, &worker, 8).await;
                for run in &held {
                    witness.takes(&keys[&run.id.0], limit);
                }
                for _ in 0..3 {
                    yield_now().await;
                }
                for run in &held {
                    witness.lets_go(&keys[&run.id.0]);
                }
                let endings: Vec<Ending> = held.iter().map(|run| ending(run, returned("null"))).collect();
                let written = store.finish(Fence::Owner(worker.incarnation), &endings).await.unwrap().written;
                assert_eq!(written, endings.len() as u64);
            }
        }
    })
    .await;
    assert_eq!(db.count("status = 'SUCCESSFUL'").await, i64::try_from(total).unwrap());
    witness
}
