//! The queue in memory: a list of runs, what operators have ordered, and the rules in a few lines each. It decides what a store may
//! do, not which of several runs it prefers.

use std::collections::HashMap;

use reproq_model::{RunId, RunStatus};

use super::moves::{How, QUEUES, TASKS, WORKERS, Wish};

/// Starts that a run's own rate admits.
const OWN_RATION: i32 = 2;

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, as in the table")]
pub struct Run {
    pub id: RunId,
    pub wish: Wish,
    pub status: RunStatus,
    pub epoch: i32,
    pub attempts: i32,
    pub owner: Option<usize>,
    pub lapsed: bool,
    /// Its owner was killed, and started again as another.
    pub orphaned: bool,
    pub cancel_requested: bool,
    pub expired: bool,
    /// READY, and its time has not come.
    pub scheduled: bool,
    /// In the keyed lane, because its task was paused or rationed when it was met.
    pub diverted: bool,
    /// Holds its keys while it runs: not a run that was claimed to be ended.
    pub holds: bool,
    /// The twins it stands for at this time: 1 until it starts, 2 until it ends.
    pub stands_for: i16,
    pub successes: i32,
}

#[derive(Debug, Default)]
pub struct Model {
    pub runs: Vec<Run>,
    pub paused_queues: [bool; QUEUES.len()],
    pub paused_tasks: [bool; TASKS.len()],
    pub stated: HashMap<usize, i32>,
    pub pinned: HashMap<usize, i32>,
    /// Starts that are left, by the rate's name.
    pub rations: HashMap<String, i32>,
}

impl Run {
    pub fn new(id: RunId, wish: Wish) -> Self {
        let stands_for = wish.dedup.map_or(0, |(mode, _)| mode);
        Self {
            id,
            wish,
            status: RunStatus::Ready,
            epoch: 0,
            attempts: 0,
            owner: None,
            lapsed: false,
            orphaned: false,
            cancel_requested: false,
            expired: false,
            scheduled: false,
            diverted: false,
            holds: false,
            stands_for,
            successes: 0,
        }
    }

    /// What can hold it back: runs with the same stand in one line.
    pub fn line(&self) -> impl PartialEq + use<> {
        let wish = &self.wish;
        let concurrency = wish.concurrency.map(|(key, _)| key);
        (wish.queue, wish.task, wish.lock, concurrency, wish.fairness.or(concurrency), wish.rate)
    }

    pub fn is_keyed(&self) -> bool {
        let wish = &self.wish;
        wish.lock.is_some() || wish.concurrency.is_some() || wish.fairness.is_some() || wish.rate.is_some()
    }

    /// RUNNING -> wherever the ending says.
    pub fn ends(&mut self, how: How, taken_back: bool) {
        let status = how.transition(self.attempts, self.wish.max_attempts).status;
        let cancelled = self.cancel_requested && (status == RunStatus::Ready || taken_back);
        self.status = if cancelled { RunStatus::Cancelled } else { status };
        self.successes += i32::from(self.status == RunStatus::Successful);
        self.attempts -= i32::from(matches!(how, How::Release));
        self.scheduled = self.status == RunStatus::Ready && matches!(how, How::RetryLater);
        self.rests();
    }

    fn rests(&mut self) {
        self.owner = None;
        self.lapsed = false;
        self.orphaned = false;
        self.cancel_requested = false;
        self.diverted = false;
        self.holds = false;
    }

    pub fn starts(&mut self, worker: usize) {
        self.status = RunStatus::Running;
        self.owner = Some(worker);
        self.epoch += 1;
        self.attempts += 1;
        if self.stands_for == 1 {
            self.stands_for = -1;
        }
    }

    pub fn is_owned_by(&self, worker: usize) -> bool {
        self.owner == Some(worker) && !self.orphaned
    }

    pub fn is_active(&self) -> bool {
        !self.status.is_terminal()
    }
}

impl Model {
    pub fn run(&mut self, id: RunId) -> &mut Run {
        self.runs.iter_mut().find(|run| run.id == id).expect("a run that was enqueued")
    }

    pub fn at(&mut self, place: usize) -> Option<&mut Run> {
        let count = self.runs.len();
        (count > 0).then(|| &mut self.runs[place % count])
    }

    /// The run that a new one with this wish would be a duplicate of, by the unique indexes.
    pub fn twin(&self, wish: &Wish) -> Option<&Run> {
        let (mode, which) = wish.dedup?;
        self.runs.iter().find(|run| {
            let counts = if mode == 1 { run.status == RunStatus::Ready } else { run.is_active() };
            run.stands_for == mode && run.wish.dedup == Some((mode, which)) && counts
        })
    }

    fn is_rationed(&self, name: &str) -> bool {
        self.rations.contains_key(name)
    }

    fn diverts(&self, task: usize) -> bool {
        self.paused_tasks[task] || self.is_rationed(&format!("task:{}", TASKS[task]))
    }

    /// What a look at the lanes does before a claim.
    pub fn divert(&mut self) {
        let diverted: Vec<bool> = (0..TASKS.len()).map(|task| self.diverts(task)).collect();
        for run in &mut self.runs {
            if run.status == RunStatus::Ready && !run.scheduled && !run.is_keyed() && diverted[run.wish.task]
            {
                run.diverted = true;
            }
        }
    }

    /// Whether every start of the queue is counted, so that its runs come with the keyed ones.
    fn is_counted(&self, queue: usize) -> bool {
        self.is_rationed("global") || self.is_rationed(&format!("queue:{}", QUEUES[queue]))
    }

    /// Whether a claim from this lane may bring the run at all.
    pub fn is_in_lane(&self, run: &Run, keyed: bool) -> bool {
        let by_keys = run.is_keyed() || run.diverted || self.is_counted(run.wish.queue);
        run.status == RunStatus::Ready
            && !run.scheduled
            && !self.paused_queues[run.wish.queue]
            && !self.paused_tasks[run.wish.task]
            && by_keys == keyed
            && (keyed || !self.diverts(run.wish.task))
    }

    pub fn limit(&self, key: usize) -> Option<usize> {
        let limit = self.pinned.get(&key).or_else(|| self.stated.get(&key)).copied().unwrap_or(0);
        usize::try_from(limit).ok().filter(|limit| *limit > 0)
    }

    pub fn holders_of(&self, key: usize) -> usize {
        self.runs
            .iter()
            .filter(|run| run.holds && run.wish.concurrency.is_some_and(|(held, _)| held == key))
            .count()
    }

    pub fn is_full(&self, run: &Run) -> bool {
        run.wish
            .concurrency
            .is_some_and(|(key, _)| self.limit(key).is_some_and(|limit| self.holders_of(key) >= limit))
    }

    pub fn is_locked(&self, run: &Run) -> bool {
        run.wish
            .lock
            .is_some_and(|lock| self.runs.iter().any(|other| other.holds && other.wish.lock == Some(lock)))
    }

    /// The names of the rates that count this run's start.
    fn rates_of(&self, run: &Run) -> Vec<String> {
        let own = run.wish.rate.map(|key| format!("key:{key}"));
        let operators = [
            "global".to_owned(),
            format!("queue:{}", QUEUES[run.wish.queue]),
            format!("task:{}", TASKS[run.wish.task]),
        ];
        operators.into_iter().filter(|name| self.is_rationed(name)).chain(own).collect()
    }

    fn left_of(&self, name: &str) -> i32 {
        self.rations.get(name).copied().unwrap_or(OWN_RATION)
    }

    /// Whether nothing holds the run back.
    pub fn may_start(&self, run: &Run) -> bool {
        !self.is_full(run)
            && !self.is_locked(run)
            && self.rates_of(run).iter().all(|name| self.left_of(name) > 0)
    }

    /// A run starts that may: it takes its keys.
    pub fn start(&mut self, id: RunId, worker: usize, counted: bool) {
        let run = self.runs.iter().find(|run| run.id == id).expect("a run that was enqueued");
        let names = if counted { self.rates_of(run) } else { Vec::new() };
        for name in names {
            let left = self.left_of(&name) - 1;
            self.rations.insert(name, left);
        }
        let run = self.run(id);
        run.starts(worker);
        run.holds = true;
    }

    /// What must hold of any queue at any time.
    pub fn is_sound(&self) {
        for run in &self.runs {
            assert_eq!(run.owner.is_some(), run.status == RunStatus::Running, "{run:?}");
            assert!(run.attempts <= run.wish.max_attempts && run.attempts >= 0, "its budget: {run:?}");
            assert!(run.successes <= 1, "it succeeded twice: {run:?}");
        }
        assert!(self.runs.iter().filter_map(|run| run.owner).all(|owner| owner < WORKERS));
    }
}
