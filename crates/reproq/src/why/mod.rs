//! Why a run has not started or not ended: facts in, reasons out, the most decisive first. Pure.

mod ended;
mod ready;
mod running;
#[cfg(test)]
mod tests;
mod workflow;

use reproq_model::RunStatus;
use reproq_store::{Explanation, RunFacts};
use serde_json::{Map, Value, json};

use crate::commands::attempts;
use crate::output;

/// One thing that keeps a run from starting or ending, or has ended it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reason {
    /// A word for programs; see the match arms of this module's files.
    pub code: &'static str,
    /// A sentence for people.
    pub text: String,
    /// What to do about it, if anything needs to be done.
    pub advice: Option<String>,
    /// What the sentence says, for programs.
    pub details: Map<String, Value>,
}

impl Reason {
    fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), advice: None, details: Map::new() }
    }

    fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    fn at(self, name: &str, micros: Option<i64>) -> Self {
        self.with(name, micros.map(output::moment))
    }

    /// For programs.
    pub fn as_object(&self) -> Value {
        let mut object = Map::new();
        object.insert("code".to_owned(), self.code.into());
        object.insert("text".to_owned(), self.text.clone().into());
        object.insert("advice".to_owned(), json!(self.advice));
        object.extend(self.details.clone());
        object.into()
    }
}

/// At least one reason, the most decisive first.
pub fn reasons(facts: &Explanation) -> Vec<Reason> {
    match facts.run.status {
        RunStatus::Ready => ready::reasons(facts),
        RunStatus::Waiting => vec![waiting(facts)],
        RunStatus::Running => running::reasons(facts),
        RunStatus::Successful | RunStatus::Failed | RunStatus::Cancelled => vec![ended::reason(facts)],
    }
}

fn waiting(facts: &Explanation) -> Reason {
    let run = &facts.run;
    if let Some(waits) = facts
        .waits_for
        .as_ref()
        .filter(|waits| run.after_step.is_some() || waits.workflow.on_failure == Some(run.id))
    {
        return workflow::waiting(facts, waits);
    }
    // As the earlier system left it.
    let Some(parent) = run.parent_id else {
        let text = format!("it waits for {} more runs of its workflow to end", run.wait_count);
        return Reason::new("waiting_for_workflow", text).with("wait_count", run.wait_count);
    };
    let state = facts.parent_status.map_or("gone", RunStatus::as_str);
    let text = format!("it waits for run {parent}, which is {state}");
    let reason =
        Reason::new("waiting_for_parent", text).with("parent", parent.0).with("parent_status", state);
    match facts.parent_status {
        Some(RunStatus::Failed | RunStatus::Cancelled) => reason.advise(format!(
            "run {parent} will not succeed by itself: `reproq why {parent}`, `reproq triage retry --id {parent}`, or \
             `reproq cancel {}`",
            run.id
        )),
        Some(_) => reason.advise(format!("`reproq why {parent}`")),
        None => reason.advise(format!("nothing will start it; `reproq cancel {}` ends it", run.id)),
    }
}

/// The last entry of the run's errors: its kind, and its message on one line.
fn last_error(run: &RunFacts) -> (String, String) {
    let last = run.last_entry();
    let text = |name: &str| last.get(name).and_then(Value::as_str).map(str::to_owned);
    let message = text("message").or_else(|| run.last_error.clone()).unwrap_or_default();
    let class = text("exception_class").map(|class| format!("{class}: ")).unwrap_or_default();
    (text("kind").unwrap_or_default(), output::one_line(&format!("{class}{message}")))
}

/// Adds how the run's last attempt ended: the error says what, this says where and by what exit code or signal.
fn with_last_attempt(reason: Reason, run: &RunFacts) -> Reason {
    let Some(last) = run.attempts_ended().pop() else { return reason };
    let mut reason = reason.with("attempt", attempts::object(&last));
    let said = |text: &Option<String>| text.as_ref().is_some_and(|text| reason.text.contains(text.as_str()));
    let mut words: Vec<String> = Vec::new();
    if run.status != RunStatus::Successful {
        words.extend(last.outcome.clone());
        words.extend(last.exit.clone().filter(|_| !said(&last.exit)));
    }
    let place = last.worker_id.as_ref().map(|worker| format!("worker {worker}"));
    words.extend(place.filter(|_| !words.is_empty()));
    words.extend(last.pid.map(|pid| format!("pid {pid}")).filter(|_| !words.is_empty()));
    if !words.is_empty() {
        let which =
            last.attempt.map_or_else(|| "the last attempt".to_owned(), |number| format!("attempt {number}"));
        reason.text = format!("{} [{which}: {}]", reason.text, words.join(", "));
        reason.advice =
            reason.advice.map(|advice| format!("{advice}; `reproq logs {}` shows what it printed", run.id));
    }
    reason
}

/// A moment and how far it is.
fn when(micros: i64, now: i64) -> String {
    let span = output::span_between(micros, now);
    let distance = if micros > now { format!("in {span}") } else { format!("{span} ago") };
    format!("{} ({distance})", output::moment(micros))
}
