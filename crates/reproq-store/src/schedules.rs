//! What schedulers do with the queue's database, and what an operator asks about schedules. Any number of schedulers may look at the
//! same time: a tick is written by the one that finds the schedule as it has read it.

use std::time::Duration;

use async_trait::async_trait;
use reproq_model::schedule::{Earlier, Missed, Overlap, Plan, Schedule, ScheduledRun, settle};
use reproq_model::{RunId, RunStatus};

use crate::StoreError;

/// Schedules and their ticks.
#[async_trait(?Send)]
pub trait Schedules {
    /// Schedules as they are now, those behind the name `after`, at most `limit`: which is a page of them, in the order of their names.
    async fn schedules(&self, which: Which<'_>, after: &str, limit: u32) -> Result<Page, StoreError>;

    /// Writes what a look has led to, unless the schedule is no longer what was read, or somebody holds it at this moment: one
    /// transaction, which nobody waits for when this process stops in its midst.
    async fn fire(&self, tick: &Tick<'_>) -> Result<Fired, StoreError>;

    /// A run that somebody wants now, at `now`; the schedule's own times stay as they are.
    async fn run_schedule(&self, name: &str, now: i64, run: &ScheduledRun) -> Result<RunId, StoreError>;

    /// Until the next time of any schedule; those that are due are not asked.
    async fn next_tick(&self) -> Result<Option<Duration>, StoreError>;

    /// Says why a schedule cannot fire; whether that is news.
    async fn note_problem(&self, name: &str, problem: &str) -> Result<bool, StoreError>;

    /// Says that a scheduler has looked.
    async fn mark_scheduler(&self) -> Result<(), StoreError>;

    /// Since any scheduler has said so; none: never.
    async fn scheduler_silence(&self) -> Result<Option<Duration>, StoreError>;

    /// What the newest ticks of a schedule have led to, the newest first.
    async fn ticks(&self, name: &str, limit: u32) -> Result<Vec<TickSeen>, StoreError>;

    /// Lets a schedule fire, or not. What it was before; none: there is no such schedule.
    async fn enable_schedule(&self, name: &str, enabled: bool) -> Result<Option<bool>, StoreError>;
}

/// Which schedules are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// Those that fire and whose time has come, or has to be computed anew.
    Due,
    /// This one.
    Named(&'a str),
    /// Whatever there is.
    All,
}

/// Schedules, and when they were like this.
#[derive(Debug, Default)]
pub struct Page {
    /// The database's present, microseconds since 1970; 0 when there is no schedule.
    pub now: i64,
    /// The schedules.
    pub schedules: Vec<Schedule>,
    /// Names of rows that cannot be read, each with the reason.
    pub unreadable: Vec<(String, String)>,
    /// The last name, if there may be more behind it.
    pub more_after: Option<String>,
}

/// What a look at a schedule has led to.
#[derive(Debug)]
pub struct Tick<'a> {
    /// The schedule as it was read.
    pub schedule: &'a Schedule,
    /// What is due.
    pub plan: &'a Plan,
    /// A run for each of the plan's ticks, in their order.
    pub runs: Vec<ScheduledRun>,
    /// What becomes of them while an earlier one has not ended.
    pub overlap: Overlap,
}

/// What has become of a [`Tick`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fired {
    /// It is written, with these new runs.
    Written(Vec<RunId>),
    /// Somebody else has written it, is about to, or has edited the schedule.
    Elsewhere,
}

/// What a tick has led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TickSeen {
    /// When it was due, microseconds since 1970.
    pub scheduled_at: i64,
    /// `enqueued`, `manual`, `skipped` or `missed`.
    pub state: String,
    /// Its run.
    pub result_id: Option<RunId>,
    /// What the run is now, if there still is one.
    pub status: Option<RunStatus>,
    /// The run's latest failure.
    pub last_error: Option<String>,
    /// How many times it stands for.
    pub count: i32,
    /// The last of these.
    pub missed_until: Option<i64>,
    /// Why it got no run.
    pub reason: Option<String>,
}

/// A row of `periodic_runs` that is to be written.
#[derive(Debug)]
pub(crate) struct TickRow {
    pub(crate) scheduled_at: i64,
    pub(crate) state: &'static str,
    pub(crate) count: i32,
    pub(crate) missed_until: Option<i64>,
    pub(crate) reason: Option<String>,
}

/// How many ticks of a schedule are kept.
pub(crate) const KEPT: i64 = 100;

/// The rows of a tick, those of `runs` first and in their order, and the runs to cancel.
pub(crate) fn rows(tick: &Tick<'_>, earlier: &[Earlier]) -> (Vec<TickRow>, Vec<RunId>) {
    let settled = settle(tick.overlap, earlier, tick.plan.ticks.len());
    let fate = |(at, reason): (&i64, Option<String>)| TickRow {
        scheduled_at: *at,
        state: if reason.is_some() { "skipped" } else { "enqueued" },
        count: 1,
        missed_until: None,
        reason,
    };
    let ticks = tick.plan.ticks.iter().zip(settled.skipped).map(fate);
    (ticks.chain(tick.plan.missed.iter().map(missed)).collect(), settled.cancel)
}

fn missed(missed: &Missed) -> TickRow {
    TickRow {
        scheduled_at: missed.first,
        state: "missed",
        count: missed.count,
        missed_until: Some(missed.until),
        reason: missed.at_least.then(|| format!("more than {} were missed", missed.count)),
    }
}
