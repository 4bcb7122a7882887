//! `reproq pause` and `reproq resume`, of a queue or a task.

use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use reproq_config::Resolved;
use reproq_store::{Control, Scope};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::{asked, output, wiring};

/// Holds back what has not started; takes effect on running workers within a second.
pub fn pause(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let scope = scope(flags);
    let span = flags.try_get_one::<Duration>("for").ok().flatten().copied();
    let control = wiring::operate(config, async |operator| {
        operator.pause(scope, asked::text(flags, "reason"), span).await?;
        Ok(operator.controls().await?.into_iter().find(|control| concerns(control, scope)))
    })?;
    let resume_at = control.as_ref().and_then(|control| control.resume_at);
    if flags.get_flag("json") {
        output::print(&control.as_ref().map_or(Value::Null, as_object).to_string());
    } else {
        let until = resume_at
            .map_or_else(|| "until it is resumed".to_owned(), |at| format!("until {}", output::moment(at)));
        output::print(&format!("{} is paused {until}", name(scope)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets it go on at once.
pub fn resume(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let scope = scope(flags);
    let was_paused = wiring::operate(config, async |operator| Ok(operator.resume(scope).await?))?;
    if flags.get_flag("json") {
        let (kind, name) = parts(scope);
        output::print(&json!({kind: name, "paused": false, "was_paused": was_paused}).to_string());
    } else {
        let what = if was_paused { "is resumed" } else { "was not paused" };
        output::print(&format!("{} {what}", name(scope)));
    }
    Ok(ExitCode::SUCCESS)
}

/// A pause, for programs.
pub fn as_object(control: &Control) -> Value {
    json!({
        if control.is_task { "task" } else { "queue" }: control.name, "paused": true, "reason": control.reason,
        "paused_at": control.paused_at.map(output::moment), "resume_at": control.resume_at.map(output::moment),
    })
}

fn scope(flags: &ArgMatches) -> Scope<'_> {
    let task = flags.try_get_one::<String>("task").ok().flatten();
    task.map_or_else(
        || Scope::Queue(asked::text(flags, "queue").unwrap_or_default()),
        |task| Scope::Task(task),
    )
}

const fn parts(scope: Scope<'_>) -> (&'static str, &str) {
    match scope {
        Scope::Queue(name) => ("queue", name),
        Scope::Task(name) => ("task", name),
    }
}

fn name(scope: Scope<'_>) -> String {
    let (kind, name) = parts(scope);
    format!("{kind} {name}")
}

fn concerns(control: &Control, scope: Scope<'_>) -> bool {
    match scope {
        Scope::Queue(name) => !control.is_task && control.name == name,
        Scope::Task(name) => control.is_task && control.name == name,
    }
}
