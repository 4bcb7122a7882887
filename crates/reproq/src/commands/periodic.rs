//! `reproq periodic`: what schedules there are, what came of them, and what an operator orders.

use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use reproq_config::Resolved;
use reproq_model::schedule::{NEVER, Rhythm, RunTemplate, Schedule, upcoming};
use reproq_store::{Operator, Page, TickSeen, Which};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::{asked, output, wiring};

/// Schedules that are read at the same time.
const PAGE: u32 = 500;
/// Next times that are shown.
const NEXT: usize = 5;
/// After so long without a word there is no scheduler: six of the marks that each leaves.
const SILENT: Duration = Duration::from_mins(1);

/// All schedules, and whether anybody runs them.
pub fn list(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let (pages, silence) = wiring::operate(config, async |operator| {
        Ok((all(operator).await?, operator.scheduler_silence().await?))
    })?;
    let schedules = || pages.iter().flat_map(|page| page.schedules.iter().map(|row| (row, page.now)));
    let unreadable = || pages.iter().flat_map(|page| &page.unreadable);
    let warning = warning(schedules().filter(|(row, _)| row.enabled).count(), silence);
    if flags.get_flag("json") {
        let broken = unreadable().map(|(name, problem)| json!({"name": name, "problem": problem}));
        let rows: Vec<Value> = schedules().map(|(row, now)| as_object(row, now)).chain(broken).collect();
        let silent = silence.map(|silence| silence.as_secs_f64());
        output::print(&json!({"schedules": rows, "scheduler_silent_seconds": silent}).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows: Vec<Vec<String>> = schedules().map(|(row, now)| line(row, now)).collect();
    rows.extend(unreadable().map(|(name, problem)| {
        [vec![name.clone()], vec!["-".to_owned(); 4], vec![format!("broken: {problem}")]].concat()
    }));
    if rows.is_empty() {
        output::print("there are no schedules");
    } else {
        output::print(&output::table(&["schedule", "when", "task", "next", "last", ""], &rows));
    }
    if let Some(warning) = &warning {
        output::complain(warning);
    }
    Ok(ExitCode::SUCCESS)
}

/// One schedule, whole.
pub fn show(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let name = asked::text(flags, "name").unwrap_or_default();
    let limit = flags.get_one::<u32>("limit").copied().unwrap_or(10);
    let (schedule, now, ticks) = wiring::operate(config, async |operator| {
        let (schedule, now) = named(operator, name).await?;
        Ok((schedule, now, operator.ticks(name, limit).await?))
    })?;
    if flags.get_flag("json") {
        let mut object = as_object(&schedule, now);
        let missed: i32 = ticks.iter().filter(|tick| tick.state == "missed").map(|tick| tick.count).sum();
        object["ticks"] = ticks.iter().map(tick_object).collect();
        object["missed"] = missed.into();
        output::print(&object.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let last = |at: Option<i64>| at.map_or_else(|| "never".to_owned(), output::moment);
    output::print(&format!(
        "{name}: {}\ncalls {} in queue {}\nlast fired: {}\n{}",
        when(&schedule),
        schedule.task_path,
        schedule.queue_name,
        last(schedule.last_run_at),
        next_words(&schedule, now),
    ));
    let rows: Vec<Vec<String>> = ticks.iter().map(tick_line).collect();
    if !rows.is_empty() {
        output::print(&format!("\n{}", output::table(&["tick", "led to", "run", "run is", ""], &rows)));
    }
    Ok(ExitCode::SUCCESS)
}

/// A run now, whatever the schedule says.
pub fn run_now(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let name = asked::text(flags, "name").unwrap_or_default();
    let id = wiring::operate(config, async |operator| {
        let (schedule, now) = named(operator, name).await?;
        let template = RunTemplate::of(&schedule).map_err(|problem| refused(&schedule.name, &problem))?;
        Ok(operator.run_schedule(name, now, &template.run_now(now)).await?)
    })?;
    if flags.get_flag("json") {
        output::print(&json!({"name": name, "result_id": id}).to_string());
    } else {
        output::print(&format!("{name} enqueued as run {id}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets it fire, or not.
pub fn enable(config: &Resolved, flags: &ArgMatches, enabled: bool) -> Result<ExitCode, Failure> {
    let name = asked::text(flags, "name").unwrap_or_default();
    let before =
        wiring::operate(config, async |operator| Ok(operator.enable_schedule(name, enabled).await?))?;
    let before = before.ok_or_else(|| unknown(name))?;
    if flags.get_flag("json") {
        output::print(&json!({"name": name, "enabled": enabled, "was_enabled": before}).to_string());
    } else {
        let word = if enabled { "enabled" } else { "disabled" };
        output::print(&format!("{name} is {word}{}", if before == enabled { ", as it was" } else { "" }));
    }
    Ok(ExitCode::SUCCESS)
}

/// How many schedules are to fire, and what to say when nobody sees to it.
pub async fn look(operator: &dyn Operator) -> Result<(usize, Option<String>), Failure> {
    let enabled =
        all(operator).await?.iter().flat_map(|page| &page.schedules).filter(|row| row.enabled).count();
    Ok((enabled, warning(enabled, operator.scheduler_silence().await?)))
}

fn warning(enabled: usize, silence: Option<Duration>) -> Option<String> {
    let since = match silence {
        Some(silence) if silence <= SILENT => return None,
        Some(silence) => format!("for {}", output::span(silence.as_secs_f64())),
        None => "so far".to_owned(),
    };
    (enabled > 0).then(|| {
        format!("{enabled} schedules are enabled and no scheduler has looked {since}: start a worker with --beat, or `reproq beat`")
    })
}

async fn all(operator: &dyn Operator) -> Result<Vec<Page>, Failure> {
    let mut pages: Vec<Page> = Vec::new();
    loop {
        let after = pages.last().and_then(|page| page.more_after.clone());
        if after.is_none() && !pages.is_empty() {
            return Ok(pages);
        }
        pages.push(operator.schedules(Which::All, after.as_deref().unwrap_or_default(), PAGE).await?);
    }
}

async fn named(operator: &dyn Operator, name: &str) -> Result<(Schedule, i64), Failure> {
    let mut page = operator.schedules(Which::Named(name), "", 1).await?;
    if let Some((name, problem)) = page.unreadable.first() {
        return Err(refused(name, problem));
    }
    page.schedules.pop().map(|schedule| (schedule, page.now)).ok_or_else(|| unknown(name))
}

fn refused(name: &str, problem: &str) -> Failure {
    let hint = Some("mend it in the admin, or in the code that declares it".to_owned());
    Failure::refused(format!("schedule {name}: {problem}"), hint)
}

fn unknown(name: &str) -> Failure {
    let hint = Some("`reproq periodic list` shows those that there are".to_owned());
    Failure::refused(format!("there is no schedule {name:?} in this database"), hint)
}

fn when(schedule: &Schedule) -> String {
    match schedule.every_seconds {
        Some(seconds) => format!("every {}", output::span(f64::from(seconds))),
        None if schedule.cron_expr.contains("TZ=") => schedule.cron_expr.clone(),
        None => format!("{} ({})", schedule.cron_expr, schedule.timezone),
    }
}

/// What is wrong with it, if anything: what a scheduler has found, or would find.
fn problem(schedule: &Schedule) -> Option<String> {
    let found = || Rhythm::of(schedule).err().or_else(|| RunTemplate::of(schedule).err());
    found().or_else(|| schedule.problem.clone())
}

fn line(schedule: &Schedule, now: i64) -> Vec<String> {
    let next = upcoming(schedule, now, 1).unwrap_or_default();
    let time = |at: Option<i64>| at.map_or_else(|| "-".to_owned(), output::moment);
    let note = match problem(schedule) {
        _ if !schedule.enabled => "disabled".to_owned(),
        Some(problem) => format!("broken: {}", output::one_line(&problem)),
        None => String::new(),
    };
    vec![
        schedule.name.clone(),
        when(schedule),
        schedule.task_path.clone(),
        time(next.first().copied()),
        time(schedule.last_run_at),
        note,
    ]
}

fn next_words(schedule: &Schedule, now: i64) -> String {
    let times = match (Rhythm::of(schedule), problem(schedule)) {
        _ if !schedule.enabled => return "disabled".to_owned(),
        (Ok(rhythm), None) => upcoming(schedule, now, NEXT)
            .unwrap_or_default()
            .iter()
            .map(|at| rhythm.shown(*at))
            .collect::<Vec<_>>(),
        (_, problem) => return format!("broken: {}", problem.unwrap_or_default()),
    };
    if times.is_empty() {
        "it does not come again".to_owned()
    } else {
        format!("next: {}", times.join("\n      "))
    }
}

fn as_object(schedule: &Schedule, now: i64) -> Value {
    let next: Vec<String> = match Rhythm::of(schedule) {
        Ok(rhythm) => {
            let times = upcoming(schedule, now, NEXT).unwrap_or_default();
            times.iter().map(|at| rhythm.shown(*at)).collect()
        }
        Err(_) => Vec::new(),
    };
    let moment = |at: Option<i64>| at.filter(|at| *at < NEVER).map(output::moment);
    json!({
        "name": schedule.name, "enabled": schedule.enabled, "cron_expr": schedule.cron_expr, "timezone": schedule.timezone,
        "every_seconds": schedule.every_seconds, "task_path": schedule.task_path, "queue": schedule.queue_name,
        "catch_up": schedule.catch_up, "overlap": schedule.overlap, "jitter_seconds": schedule.jitter_seconds,
        "start_at": moment(schedule.start_at), "end_at": moment(schedule.end_at),
        "next_run_at": moment(Some(schedule.next_run_at)), "last_run_at": moment(schedule.last_run_at),
        "next": next, "problem": problem(schedule),
    })
}

fn tick_object(tick: &TickSeen) -> Value {
    json!({
        "scheduled_at": output::moment(tick.scheduled_at), "state": tick.state, "result_id": tick.result_id,
        "status": tick.status.map(|status| status.to_string()), "last_error": tick.last_error, "count": tick.count,
        "missed_until": tick.missed_until.map(output::moment), "reason": tick.reason,
    })
}

fn tick_line(tick: &TickSeen) -> Vec<String> {
    let dash = || "-".to_owned();
    let status = match (tick.status, tick.result_id) {
        (Some(status), _) => status.to_string(),
        (None, Some(_)) => "gone".to_owned(),
        (None, None) => dash(),
    };
    let missed = tick.missed_until.map(|until| format!("{} until {}", tick.count, output::moment(until)));
    let note = missed.or_else(|| tick.reason.clone()).or_else(|| tick.last_error.clone()).unwrap_or_default();
    vec![
        output::moment(tick.scheduled_at),
        tick.state.clone(),
        tick.result_id.map_or_else(dash, |id| id.to_string()),
        status,
        output::one_line(&note),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_missed_where_there_is_nothing_to_do() {
        assert_eq!(warning(0, None), None);
        assert_eq!(warning(3, Some(Duration::from_secs(20))), None);
        assert!(warning(3, None).unwrap().contains("no scheduler has looked so far"));
        assert!(warning(3, Some(Duration::from_hours(1))).unwrap().contains("for 60m"));
    }
}
