//! What can happen to a queue, as values that proptest can make, shrink and print.

use std::time::Duration;

use proptest::prelude::*;
use reproq_model::{AttemptEnd, AttemptFacts, RunStatus, Transition, classify};

use crate::database::{failed, released, returned, to};

pub const QUEUES: [&str; 2] = ["default", "mail"];
pub const TASKS: [&str; 2] = ["shop.tasks.send", "shop.tasks.sync"];
pub const KEYS: [&str; 2] = ["a", "b"];
pub const WORKERS: usize = 3;

/// What a new run asks for.
#[derive(Debug, Clone)]
pub struct Wish {
    pub queue: usize,
    pub task: usize,
    pub lock: Option<usize>,
    /// A key, and the limit that the enqueue states; 0: none.
    pub concurrency: Option<(usize, i32)>,
    pub fairness: Option<usize>,
    /// Its key; its rate admits two starts and then, as far as a test can see, none.
    pub rate: Option<usize>,
    pub over_limit: i16,
    /// The twins that it stands for, and which of them it is.
    pub dedup: Option<(i16, u8)>,
    pub max_attempts: i32,
    pub priority: i32,
}

#[derive(Debug, Clone, Copy)]
pub enum How {
    Return,
    Fail,
    Retry,
    RetryLater,
    Release,
    Cancel,
}

#[derive(Debug, Clone)]
pub enum Move {
    Enqueue(Wish),
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
    Cancel {
        run: usize,
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
    /// The worker is killed and starts again: its runs lapse, and its name has a new incarnation.
    Kill {
        worker: usize,
    },
    Expire {
        run: usize,
    },
    /// Its time comes.
    Due {
        run: usize,
    },
    PauseQueue {
        queue: usize,
        paused: bool,
    },
    PauseTask {
        task: usize,
        paused: bool,
    },
    /// An operator pins a key's limit, or takes his word back.
    PinLimit {
        key: usize,
        limit: Option<i32>,
    },
    /// An operator lets a task (or queue) start so many more and then, as far as a test can see, none; or any number.
    Ration {
        of: Rationed,
        starts: Option<i32>,
    },
    /// An operator tries a failed run again, or runs an ended one anew.
    Retry {
        run: usize,
    },
    Replay {
        run: usize,
    },
}

#[derive(Debug, Clone, Copy)]
pub enum Rationed {
    Task(usize),
    Queue(usize),
    Everything,
}

impl Rationed {
    pub fn name(self) -> String {
        match self {
            Self::Task(task) => format!("task:{}", TASKS[task]),
            Self::Queue(queue) => format!("queue:{}", QUEUES[queue]),
            Self::Everything => "global".to_owned(),
        }
    }
}

impl How {
    /// What a worker writes for a run with `attempts` of `max_attempts` behind it.
    pub fn transition(self, attempts: i32, max_attempts: i32) -> Transition {
        match self {
            Self::Return => returned("1"),
            Self::Fail => failed("no"),
            Self::Retry => again(attempts, max_attempts, Duration::ZERO),
            Self::RetryLater => again(attempts, max_attempts, Duration::from_hours(1)),
            Self::Release => released(),
            Self::Cancel => to(RunStatus::Cancelled),
        }
    }
}

/// The attempt took too long: whether there is another is not for a test to decide.
fn again(attempts: i32, max_attempts: i32, delay: Duration) -> Transition {
    let facts = AttemptFacts {
        attempts,
        max_attempts,
        crash_count: 0,
        spec: "{}",
        worker_id: "w",
        epoch: 0,
        pid: None,
    };
    let end = AttemptEnd::TimedOut { limit: Duration::from_secs(1) };
    Transition { delay, ..classify(end, facts, &mut rand::rng()) }
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        3 => Just(How::Return),
        1 => Just(How::Fail),
        2 => Just(How::Retry),
        1 => Just(How::RetryLater),
        1 => Just(How::Release),
        1 => Just(How::Cancel),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    let key = || prop::option::weighted(0.35, 0..KEYS.len());
    let limited = prop::option::weighted(0.35, (0..KEYS.len(), 0..4_i32));
    let dedup = prop::option::weighted(0.3, (1..=2_i16, 0..3_u8));
    (
        0..QUEUES.len(),
        0..TASKS.len(),
        key(),
        limited,
        key(),
        prop::option::weighted(0.2, 0..KEYS.len()),
        0..3_i16,
        dedup,
        (1..4_i32, -1..=1_i32),
    )
        .prop_map(|(queue, task, lock, concurrency, fairness, rate, over_limit, dedup, numbers)| {
            let (max_attempts, priority) = numbers;
            Wish { queue, task, lock, concurrency, fairness, rate, over_limit, dedup, max_attempts, priority }
        })
}

pub fn moves() -> impl Strategy<Value = Vec<Move>> {
    let run = || any::<prop::sample::Index>().prop_map(|index| index.index(1000));
    let worker = || 0..WORKERS;
    let rationed = prop_oneof![
        (0..TASKS.len()).prop_map(Rationed::Task),
        (0..QUEUES.len()).prop_map(Rationed::Queue),
        Just(Rationed::Everything)
    ];
    let one = prop_oneof![
        8 => wish().prop_map(Move::Enqueue),
        5 => (worker(), 1..5_u32).prop_map(|(worker, limit)| Move::Claim { worker, limit, keyed: false }),
        6 => (worker(), 1..5_u32).prop_map(|(worker, limit)| Move::Claim { worker, limit, keyed: true }),
        7 => (run(), worker(), how()).prop_map(|(claim, by, how)| Move::Finish { claim, by, how }),
        2 => run().prop_map(|run| Move::Cancel { run }),
        2 => run().prop_map(|run| Move::Lapse { run }),
        1 => worker().prop_map(|worker| Move::Heartbeat { worker }),
        2 => how().prop_map(|how| Move::Reclaim { how }),
        1 => worker().prop_map(|worker| Move::Kill { worker }),
        1 => run().prop_map(|run| Move::Expire { run }),
        2 => run().prop_map(|run| Move::Due { run }),
        1 => (0..QUEUES.len(), any::<bool>()).prop_map(|(queue, paused)| Move::PauseQueue { queue, paused }),
        1 => (0..TASKS.len(), any::<bool>()).prop_map(|(task, paused)| Move::PauseTask { task, paused }),
        1 => (0..KEYS.len(), prop::option::of(0..4_i32)).prop_map(|(key, limit)| Move::PinLimit { key, limit }),
        1 => (rationed, prop::option::of(1..4_i32)).prop_map(|(of, starts)| Move::Ration { of, starts }),
        1 => run().prop_map(|run| Move::Retry { run }),
        1 => run().prop_map(|run| Move::Replay { run }),
    ];
    prop::collection::vec(one, 10..80)
}
