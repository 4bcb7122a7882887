//! Many at once do at random what `sequences` does one by one: workers claim, end, renew, take back and die, while a site enqueues,
//! cancels, pauses and changes limits. What they hold is counted outside of the database (as in race.rs), and so are the endings.
//!
//! A seed decides what each of them does; how they meet is the scheduler's. `REPROQ_SEEDS` says how many new seeds are tried.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reproq_model::admission::Verdict;
use reproq_model::{AttemptEnd, AttemptFacts, Epoch, RunId, RunStatus, Transition, classify};
use reproq_store::{ClaimRequest, ClaimedRun, Ending, Fence, Operator, Registration};
use tokio::task::{JoinSet, LocalSet, yield_now};
use tokio::time::{Instant, sleep};

use crate::database::{Database, LEASE, deadline, released, returned, worker};
use crate::graph::watch_moves;

/// Seeds that once failed are tried first.
const FAILED_BEFORE: [u64; 2] = [1, 20_261_124];

const QUEUES: [&str; 3] = ["a", "b", "c"];
const WORKERS: usize = 6;
/// Of the task whose starts are counted: per second, and at once. Few, so that it binds on a slow machine too.
const RATE: (f64, i32) = (10.0, 4);
const COUNTED: &str = "shop.tasks.counted";
const LIMITS: std::ops::RangeInclusive<usize> = 1..=3;

/// A limit as an operator moves it. While the order is on its way, the old and the new one may be in force.
struct Limit {
    orders: Vec<usize>,
    /// From here on the orders may be in force.
    since: usize,
}

/// What everybody has seen, outside of the database.
#[derive(Default)]
struct Witness {
    /// The keys of each run, once and for all.
    keys: RefCell<HashMap<RunId, Vec<String>>>,
    held: RefCell<BTreeMap<(RunId, i32), Vec<String>>>,
    holders: RefCell<HashMap<String, usize>>,
    limits: RefCell<HashMap<String, Limit>>,
    claims: RefCell<HashSet<(RunId, i32)>>,
    successes: RefCell<HashSet<RunId>>,
    /// When runs of the counted task began, microseconds.
    counted: RefCell<Vec<i64>>,
    enqueued: Cell<usize>,
    steps: Cell<usize>,
}

impl Witness {
    /// What is to be remembered when a claim begins.
    fn orders(&self) -> HashMap<String, usize> {
        self.limits.borrow().iter().map(|(key, limit)| (key.clone(), limit.since)).collect()
    }

    fn saw(&self, run: &ClaimedRun, orders: &HashMap<String, usize>) {
        assert!(self.claims.borrow_mut().insert((run.id, run.epoch.0)), "claimed twice: {run:?}");
        if run.verdict != Verdict::Start {
            return;
        }
        if run.task_path == COUNTED {
            self.counted.borrow_mut().push(run.last_attempted_at);
        }
        let keys = self.keys.borrow().get(&run.id).cloned().unwrap_or_default();
        for key in &keys {
            let mut holders = self.holders.borrow_mut();
            let count = holders.entry(key.clone()).or_default();
            *count += 1;
            let limits = self.limits.borrow();
            let most = limits.get(key).map_or(1, |limit| *limit.orders[orders[key]..].iter().max().unwrap());
            assert!(*count <= most, "{count} hold {key}, whose limit is {most}: {run:?}");
        }
        self.held.borrow_mut().insert((run.id, run.epoch.0), keys);
    }

    /// Before its ending is sent, or its lease ends.
    fn lets_go(&self, id: RunId, epoch: Epoch) {
        for key in self.held.borrow_mut().remove(&(id, epoch.0)).unwrap_or_default() {
            *self.holders.borrow_mut().get_mut(&key).unwrap() -= 1;
        }
    }

    fn any_held(&self, rng: &mut StdRng) -> Option<(RunId, Epoch)> {
        let held = self.held.borrow();
        let at = (!held.is_empty()).then(|| rng.random_range(0..held.len()))?;
        held.keys().nth(at).map(|(id, epoch)| (*id, Epoch(*epoch)))
    }
}

/// One of those who do something.
struct Actor {
    store: Rc<dyn Operator>,
    db: Rc<Database>,
    witness: Rc<Witness>,
    me: Registration,
    rng: StdRng,
    held: Vec<ClaimedRun>,
}

impl Actor {
    async fn works(&mut self, until: &dyn Fn() -> bool) {
        while !until() {
            match self.rng.random_range(0..20) {
                0..6 => self.claim(false).await,
                6..12 => self.claim(true).await,
                12..16 => self.ends_some().await,
                16 => drop(self.store.heartbeat(&self.me, LEASE).await.unwrap()),
                17 => self.lapse().await,
                18 => self.reclaim().await,
                _ => self.dies().await,
            }
            self.witness.steps.set(self.witness.steps.get() + 1);
            yield_now().await;
        }
    }

    async fn claim(&mut self, keyed: bool) {
        self.store.promote_due(&self.me.queues).await.unwrap();
        let orders = self.witness.orders();
        let limit = self.rng.random_range(1..=4);
        let request = ClaimRequest { worker: &self.me, queues: &self.me.queues, limit, lease: LEASE };
        let claim =
            if keyed { self.store.claim_keyed(&request).await } else { self.store.claim(&request).await };
        let claim = claim.unwrap();
        assert!(claim.unreadable.is_empty());
        for run in &claim.runs {
            self.witness.saw(run, &orders);
        }
        self.held.extend(claim.runs);
    }

    async fn ends_some(&mut self) {
        for _ in 0..self.rng.random_range(0..=self.held.len()) {
            let run = self.held.swap_remove(self.rng.random_range(0..self.held.len()));
            let ending = self.ending_of(&run);
            self.witness.lets_go(run.id, run.epoch);
            self.end(Fence::Owner(self.me.incarnation), run.id, run.epoch, ending).await;
        }
    }

    fn ending_of(&mut self, run: &ClaimedRun) -> Transition {
        let end = match (run.verdict, self.rng.random_range(0..8)) {
            (Verdict::Expired, _) => AttemptEnd::Expired,
            (Verdict::Discarded, _) => AttemptEnd::Discarded,
            (Verdict::Replaced, _) => AttemptEnd::Replaced,
            (Verdict::Start, 0) => AttemptEnd::Cancelled,
            (Verdict::Start, 1 | 2) => AttemptEnd::TimedOut { limit: Duration::from_secs(1) },
            (Verdict::Start, 3) => return released(),
            (Verdict::Start, _) => return returned("1"),
        };
        let facts = AttemptFacts {
            attempts: run.attempts,
            max_attempts: run.max_attempts,
            crash_count: run.crash_count,
            spec: "{}",
            worker_id: "w",
            epoch: 0,
            pid: None,
        };
        Transition { delay: Duration::ZERO, ..classify(end, facts, &mut self.rng) }
    }

    /// Sends the ending until nobody holds the row.
    async fn end(&self, fence: Fence, id: RunId, epoch: Epoch, transition: Transition) -> bool {
        let success = transition.status == RunStatus::Successful;
        let ending = [Ending { id, epoch, transition, logs_uri: None }];
        loop {
            let finished = self.store.finish(fence, &ending).await.unwrap();
            if finished.held.is_empty() {
                let written = finished.written == 1;
                if written && success {
                    assert!(self.witness.successes.borrow_mut().insert(id), "{id} succeeded twice");
                }
                return written;
            }
            yield_now().await;
        }
    }

    /// The lease of some run ends, whose worker does not know.
    async fn lapse(&mut self) {
        if let Some((id, epoch)) = self.witness.any_held(&mut self.rng) {
            self.witness.lets_go(id, epoch);
            self.db.lapse(&format!("result_id = {id} AND epoch = {epoch}")).await;
        }
    }

    async fn reclaim(&mut self) {
        for run in self.store.expired(&self.me, 5).await.unwrap() {
            let facts = AttemptFacts {
                attempts: run.attempts,
                max_attempts: run.max_attempts,
                crash_count: run.crash_count,
                spec: "{}",
                worker_id: &run.worker_id,
                epoch: 0,
                pid: None,
            };
            let transition = classify(AttemptEnd::LeaseExpired, facts, &mut self.rng);
            self.end(Fence::LeaseEnded, run.id, run.epoch, transition).await;
        }
    }

    /// What it ran is lost to it; it starts again under its name.
    async fn dies(&mut self) {
        for run in self.held.drain(..) {
            self.witness.lets_go(run.id, run.epoch);
        }
        self.db.lapse(&format!("leased_by = '{}'", self.me.worker_id)).await;
        self.me = worker(&self.me.worker_id, &QUEUES);
    }

    async fn orders(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.rng.random_range(0..12) {
                0..6 => self.enqueue().await,
                6 | 7 => {
                    let last = i64::try_from(self.witness.enqueued.get()).unwrap();
                    let some = RunId(self.rng.random_range(1..=last.max(1)));
                    self.store.cancel(&[some]).await.unwrap();
                }
                8 => {
                    let paused = self.rng.random();
                    self.pause(paused).await;
                }
                9 | 10 => self.moves_a_limit().await,
                _ => {
                    let past = self.db.now(-1.0);
                    let some = "SELECT min(result_id) FROM task_runs WHERE status = 'READY'";
                    self.db
                        .execute(&format!(
                            "UPDATE task_runs SET expires_at = {past} WHERE result_id = ({some})"
                        ))
                        .await;
                }
            }
            yield_now().await;
        }
        self.pause(false).await;
    }

    async fn enqueue(&mut self) {
        let mut keys = Vec::new();
        let mut columns = "queue_name, over_limit, max_attempts, task_path, spec_json, spec_hash".to_owned();
        let task = if self.rng.random_range(0..4) == 0 { COUNTED } else { "shop.tasks.send" };
        let unique = format!("{} {}", self.me.worker_id, self.rng.random::<u64>());
        let dedup = self.rng.random_range(0..3);
        let hash = if dedup == 0 { unique } else { format!("twin {}", self.rng.random_range(0..4)) };
        let mut values = format!(
            "'{}', {}, {}, '{task}', '{{}}', '{hash}'",
            QUEUES[self.rng.random_range(0..QUEUES.len())],
            self.rng.random_range(0..3),
            self.rng.random_range(1..4),
        );
        let mut with = |column: &str, value: String| {
            columns.extend([", ", column]);
            values.extend([", ", &value]);
        };
        with("dedup", dedup.to_string());
        if self.rng.random_range(0..2) == 0 {
            let lock = format!("l{}", self.rng.random_range(0..3));
            with("lock_key", format!("'{lock}'"));
            keys.push(lock);
        }
        if self.rng.random_range(0..2) == 0 {
            let key = format!("c{}", self.rng.random_range(0..2));
            with("concurrency_key", format!("'{key}'"));
            with("concurrency_limit", "9".to_owned());
            keys.push(key);
        }
        // The keys have to be known before a claim can answer, so the id is ours.
        let id = RunId(i64::try_from(self.witness.enqueued.get() + 1).unwrap());
        self.witness.keys.borrow_mut().insert(id, keys);
        let inserted = self
            .db
            .rows(&format!("INSERT INTO task_runs (result_id, {columns}) VALUES ({id}, {values}) ON CONFLICT DO NOTHING RETURNING 1"))
            .await;
        self.witness.enqueued.set(self.witness.enqueued.get() + inserted.len());
    }

    async fn pause(&self, paused: bool) {
        let answer = if paused { "TRUE" } else { "FALSE" };
        self.db.execute(&format!("INSERT INTO reproq_queue_controls (queue_name, paused) VALUES ('b', {answer}) ON CONFLICT (queue_name) DO UPDATE SET paused = {answer}")).await;
    }

    async fn moves_a_limit(&mut self) {
        let key = format!("c{}", self.rng.random_range(0..2));
        let amount = self.rng.random_range(LIMITS);
        self.witness.limits.borrow_mut().get_mut(&key).unwrap().orders.push(amount);
        self.store.set_limit(&format!("concurrency:{key}"), i32::try_from(amount).unwrap()).await.unwrap();
        let mut limits = self.witness.limits.borrow_mut();
        let limit = limits.get_mut(&key).unwrap();
        limit.since = limit.orders.len() - 1;
    }
}

/// Six workers, until `orders` orders of the site are given and all that they led to is done.
pub async fn all_together(db: Database, seed: u64, orders: usize) -> Rc<Database> {
    watch_moves(&db).await;
    let (db, witness) = (Rc::new(db), Rc::new(Witness::default()));
    let operator = db.operator().await;
    operator.set_rate(&format!("task:{COUNTED}"), RATE.0, RATE.1).await.unwrap();
    for key in ["c0", "c1"] {
        operator.set_limit(&format!("concurrency:{key}"), 2).await.unwrap();
        witness.limits.borrow_mut().insert(key.to_owned(), Limit { orders: vec![2], since: 0 });
    }
    let (local, mut tasks) = (LocalSet::new(), JoinSet::new());
    let over = Rc::new(Cell::new(false));
    for number in 0..=WORKERS {
        let mut actor = Actor {
            store: db.operator().await,
            db: Rc::clone(&db),
            witness: Rc::clone(&witness),
            me: worker(&format!("w{number}"), &QUEUES),
            rng: StdRng::seed_from_u64(seed.wrapping_add(number as u64)),
            held: Vec::new(),
        };
        let over = Rc::clone(&over);
        let _: tokio::task::AbortHandle = tasks.spawn_local_on(
            async move {
                if number == 0 {
                    actor.orders(orders).await;
                    over.set(true);
                } else {
                    actor.works(&|| over.get()).await;
                    actor.drains().await;
                }
            },
            &local,
        );
    }
    local.run_until(tasks.join_all()).await;
    witness.agrees(&db).await;
    db
}

impl Actor {
    /// Ends what it has, takes back what others have left, and goes on until nothing is left to do.
    async fn drains(&mut self) {
        let end = deadline(Duration::from_secs(30));
        loop {
            for run in std::mem::take(&mut self.held) {
                self.witness.lets_go(run.id, run.epoch);
                let ending = self.ending_of(&run);
                self.end(Fence::Owner(self.me.incarnation), run.id, run.epoch, ending).await;
            }
            self.reclaim().await;
            self.claim(false).await;
            self.claim(true).await;
            if self.held.is_empty() && self.db.count("status IN ('READY', 'RUNNING', 'WAITING')").await == 0 {
                return;
            }
            assert!(Instant::now() < end, "{:?}", self.db.rows("SELECT result_id, status, gate, lock_key, concurrency_key, task_path, leased_by, leased_until FROM task_runs WHERE status IN ('READY', 'RUNNING')").await);
            if self.held.is_empty() {
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

impl Witness {
    async fn agrees(&self, db: &Database) {
        assert!(self.held.borrow().is_empty());
        assert_eq!(db.count("TRUE").await, i64::try_from(self.enqueued.get()).unwrap(), "lost or invented");
        assert_eq!(
            db.count("status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') AND finished_at IS NOT NULL").await,
            db.count("TRUE").await
        );
        assert_eq!(
            db.count("slot_no IS NOT NULL OR incarnation IS NOT NULL OR attempts > max_attempts").await,
            0
        );
        let succeeded = i64::try_from(self.successes.borrow().len()).unwrap();
        assert_eq!(db.count("status = 'SUCCESSFUL'").await, succeeded);
        let claims = i64::try_from(self.claims.borrow().len()).unwrap();
        assert_eq!(
            db.number("SELECT COALESCE(sum(epoch), 0) FROM task_runs").await,
            claims,
            "an unknown claim"
        );
        let mut times = self.counted.borrow().clone();
        times.sort_unstable();
        // SQLite tells the time to the millisecond.
        let slack = if db.is_postgres() { 10 } else { 1100 };
        for (first, began) in times.iter().enumerate() {
            for (count, ended) in (1_i32..).zip(&times[first..]) {
                let span = f64::from(i32::try_from(ended - began + slack).unwrap()) / 1e6;
                let most = f64::from(RATE.1) + RATE.0 * span;
                assert!(f64::from(count) <= most, "{count} starts in {span} s");
            }
        }
    }
}

fn every_seed(new: impl AsyncFn() -> Database, orders: usize) {
    let count = std::env::var("REPROQ_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(1);
    let seeds = FAILED_BEFORE.into_iter().chain((0..count).map(|_| rand::rng().random()));
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async { drop(all_together(new().await, seed, orders).await) });
        }));
        assert!(ran.is_ok(), "seed {seed}: add it to FAILED_BEFORE");
    }
}

#[test]
fn in_sqlite_many_at_once_break_no_rule() {
    every_seed(Database::sqlite, 60);
}

#[test]
fn in_postgres_many_at_once_break_no_rule() {
    every_seed(Database::postgres, 250);
}
