//! Schedules: which of their times are due, which of these run, and when the next one is.
//!
//! Times are microseconds since 1970, and the present is the database's. Nothing here takes longer because a schedule has been
//! left alone for long.

mod overlap;
mod rhythm;
mod run;

pub use overlap::{Earlier, Overlap, Settled, settle};
pub use rhythm::Rhythm;
pub use run::{RunTemplate, ScheduledRun};

use self::rhythm::Due;

/// The next time of a schedule that has none: the 31st of December 9999, as every database and calendar has it.
pub const NEVER: i64 = 253_402_214_400_000_000;
/// A tick that is no older than this has not been missed, 60 s.
pub const GRACE: i64 = 60_000_000;
/// The most runs that one look makes up for.
const MOST_AT_ONCE: usize = 1000;

/// A row of `periodic_tasks`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// When, if not every so many seconds: see [`crate::cron::Cron`].
    pub cron_expr: String,
    /// The zone that `cron_expr` speaks of.
    pub timezone: String,
    /// Every so many seconds.
    pub every_seconds: Option<i32>,
    /// Runs start up to so many seconds later.
    pub jitter_seconds: i32,
    /// `none`, `latest` or `all`.
    pub catch_up: String,
    /// How many runs `all` makes up for.
    pub catch_up_limit: i32,
    /// `allow`, `skip`, `queue_one` or `cancel_previous`.
    pub overlap: String,
    /// Not before.
    pub start_at: Option<i64>,
    /// Not after.
    pub end_at: Option<i64>,
    /// Its next time.
    pub next_run_at: i64,
    /// When it has fired last.
    pub last_run_at: Option<i64>,
    /// Whether it fires.
    pub enabled: bool,
    /// Whether `next_run_at` no longer fits what it says.
    pub rebase: bool,
    /// Why it could not fire.
    pub problem: Option<String>,
    /// What it calls.
    pub task_path: String,
    /// With what: JSON text.
    pub payload: String,
    /// The queue of its runs.
    pub queue_name: String,
    /// Their priority.
    pub priority: i32,
    /// Their retry budget.
    pub max_attempts: i32,
    /// Their concurrency key, if the schedule has one of its own.
    pub concurrency_key: Option<String>,
    /// Its limit.
    pub concurrency_limit: i32,
    /// What Python knows of the task: JSON text.
    pub options: Option<String>,
}

/// What a look at a schedule leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Times that get a run, ascending.
    pub ticks: Vec<i64>,
    /// Times that get none, because nobody looked when they came.
    pub missed: Option<Missed>,
    /// The next time, [`NEVER`] if there is none.
    pub next: i64,
}

/// Times that have been missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// The first.
    pub first: i64,
    /// The last.
    pub until: i64,
    /// How many.
    pub count: i32,
    /// Whether these are only as many as were counted.
    pub at_least: bool,
}

/// How many of the times that nobody saw get a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CatchUp {
    None,
    Latest,
    All,
}

/// What is due of a schedule at `now`. Fails, with what is wrong and what to do, when the row makes no sense.
pub fn plan(schedule: &Schedule, now: i64) -> Result<Plan, String> {
    let rhythm = Rhythm::of(schedule)?;
    let catch_up = catch_up(&schedule.catch_up)?;
    Overlap::of(&schedule.overlap)?;
    let first = schedule.next_run_at;
    // What came while it could not fire is not made up for.
    let was_broken = schedule.problem.is_some() && now - first > GRACE;
    if schedule.rebase || was_broken || schedule.start_at.is_some_and(|start| first < start) {
        return Ok(Plan { next: begin(schedule, &rhythm, now), ..Plan::default() });
    }
    let until = schedule.end_at.map_or(now, |end| end.min(now));
    if first > until {
        return Ok(Plan { next: bounded(schedule, Some(first)), ..Plan::default() });
    }
    let wanted = match catch_up {
        CatchUp::None | CatchUp::Latest => 1,
        CatchUp::All => usize::try_from(schedule.catch_up_limit).unwrap_or(0).clamp(1, MOST_AT_ONCE),
    };
    let due = rhythm.due(first, until, wanted);
    let next = bounded(schedule, rhythm.next_after(due.last, due.last));
    let late = catch_up == CatchUp::None && now - due.last > GRACE;
    Ok(split(&due, if late { 0 } else { wanted }, first, next))
}

/// The next times of a schedule that fires, at most `count`. Fails when the row makes no sense.
pub fn upcoming(schedule: &Schedule, now: i64, count: usize) -> Result<Vec<i64>, String> {
    let rhythm = Rhythm::of(schedule)?;
    let fits = !schedule.rebase && schedule.start_at.is_none_or(|start| schedule.next_run_at >= start);
    let first = if fits { schedule.next_run_at } else { begin(schedule, &rhythm, now) };
    let in_time = |at: &i64| *at < NEVER && schedule.end_at.is_none_or(|end| *at <= end);
    let times = std::iter::successors(Some(first), |at| rhythm.next_after(*at, first));
    Ok(times.take_while(in_time).take(if schedule.enabled { count } else { 0 }).collect())
}

/// The first time from now on of what a schedule says now, or from its start on.
fn begin(schedule: &Schedule, rhythm: &Rhythm, now: i64) -> i64 {
    bounded(
        schedule,
        match schedule.start_at {
            Some(start) if start > now => rhythm.next_after(start - 1, start),
            start => rhythm.next_after(now, start.unwrap_or(now)),
        },
    )
}

fn bounded(schedule: &Schedule, next: Option<i64>) -> i64 {
    next.filter(|next| schedule.end_at.is_none_or(|end| *next <= end)).map_or(NEVER, |next| next.min(NEVER))
}

/// The newest `wanted` get a run, those before them are missed.
fn split(due: &Due, wanted: usize, first: i64, next: i64) -> Plan {
    let at = due.newest.len().saturating_sub(wanted);
    let ticks = due.newest[at..].to_vec();
    let until = if at == 0 { due.before_newest } else { due.newest.get(at - 1).copied() };
    let count = due.count - i64::try_from(ticks.len()).unwrap_or_default();
    let missed = until.filter(|_| count > 0).map(|until| Missed {
        first,
        until,
        count: i32::try_from(count).unwrap_or(i32::MAX),
        at_least: due.at_least,
    });
    Plan { ticks, missed, next }
}

fn catch_up(word: &str) -> Result<CatchUp, String> {
    match word {
        "none" => Ok(CatchUp::None),
        "latest" => Ok(CatchUp::Latest),
        "all" => Ok(CatchUp::All),
        _ => Err(format!("catch_up is {word:?}; it may be none, latest or all")),
    }
}

#[cfg(test)]
#[path = "../schedule_tests.rs"]
mod tests;
