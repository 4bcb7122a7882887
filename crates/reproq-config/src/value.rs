//! From what a layer holds ([`Raw`]) to a checked value of the option's kind ([`Value`]).

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::dsn::Dsn;
use crate::duration::{format_duration, parse_duration};
use crate::options::Kind;
use crate::redact::MASK;

/// A value as a layer holds it: always text from flags and environment, typed from a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Raw {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    List(Vec<String>),
}

/// A value of its option's kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Path(PathBuf),
    Dsn(Dsn),
    Bool(bool),
    Float(f64),
    Int(i64),
    Duration(Duration),
    List(Vec<String>),
}

/// What is wrong with a value, why, and what to do when there is more to say than how to set it.
#[derive(Debug, PartialEq)]
pub(crate) struct Problem {
    pub(crate) problem: String,
    pub(crate) hint: Option<String>,
}

impl Raw {
    /// Empty texts and lists count as unset.
    pub(crate) fn is_empty(&self, kind: &Kind) -> bool {
        match self {
            Self::Text(_) if matches!(kind, Kind::List | Kind::Networks) => self.items().is_empty(),
            Self::Text(text) => text.trim().is_empty(),
            Self::List(items) => items.iter().all(|item| item.trim().is_empty()),
            Self::Int(_) | Self::Float(_) | Self::Bool(_) => false,
        }
    }

    /// The value for a message; of a secret, only the fact that there is one.
    pub(crate) fn shown(&self, secret: bool) -> String {
        if secret { MASK.to_owned() } else { format!("`{}`", self.text()) }
    }

    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.trim().to_owned(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Bool(flag) => flag.to_string(),
            Self::List(items) => items.join(","),
        }
    }

    fn items(&self) -> Vec<String> {
        let items = match self {
            Self::List(items) => items.clone(),
            other => other.text().split(',').map(str::to_owned).collect(),
        };
        let mut kept: Vec<String> = Vec::new();
        for item in items.iter().map(|item| item.trim()).filter(|item| !item.is_empty()) {
            if !kept.iter().any(|known| known == item) {
                kept.push(item.to_owned());
            }
        }
        kept
    }
}

impl Value {
    /// Checks a raw value against the kind of its option.
    pub(crate) fn read(kind: &Kind, raw: &Raw) -> Result<Self, Problem> {
        if let (Raw::List(_), false) = (raw, matches!(kind, Kind::List | Kind::Networks)) {
            return Err(problem("a list is given, one value is expected"));
        }
        let text = raw.text();
        match kind {
            Kind::Text => Ok(Self::Text(text)),
            Kind::Path => Ok(Self::Path(PathBuf::from(text))),
            Kind::Dsn => dsn(&text),
            Kind::Bool => boolean(&text).map(Self::Bool),
            Kind::Float => float(&text).map(Self::Float),
            Kind::List => Ok(Self::List(raw.items())),
            Kind::Int { min, max, why } => int(&text, *min, *max, why).map(Self::Int),
            Kind::Duration { min, why } => duration(&text, *min, why).map(Self::Duration),
            Kind::Choice { allowed, refused } => choice(&text, allowed, refused).map(Self::Text),
            Kind::HostPort => host_port(text).map(Self::Text),
            Kind::Networks => networks(raw.items()).map(Self::List),
        }
    }

    /// The value as a user would write it; a secret is masked.
    pub(crate) fn shown(&self, secret: bool) -> String {
        match self {
            // Shows the address with its password masked.
            Self::Dsn(dsn) => dsn.to_string(),
            _ if secret => MASK.to_owned(),
            Self::Text(text) => text.clone(),
            Self::Path(path) => path.display().to_string(),
            Self::Bool(flag) => flag.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Duration(duration) => format_duration(*duration),
            Self::List(items) => items.join(","),
        }
    }

    /// The value as JSON; a secret is masked.
    pub(crate) fn to_json(&self, secret: bool) -> Json {
        match self {
            _ if secret => json!(self.shown(true)),
            Self::Bool(flag) => json!(flag),
            Self::Float(number) => json!(number),
            Self::Int(number) => json!(number),
            Self::List(items) => json!(items),
            _ => json!(self.shown(false)),
        }
    }
}

fn problem(text: impl Into<String>) -> Problem {
    Problem { problem: text.into(), hint: None }
}

fn dsn(text: &str) -> Result<Value, Problem> {
    Dsn::parse(text)
        .map(Value::Dsn)
        .map_err(|error| Problem { problem: error.to_string(), hint: Some(error.hint().to_owned()) })
}

fn boolean(text: &str) -> Result<bool, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(problem("it must be 1, true, yes or on, or 0, false, no or off")),
    }
}

fn float(text: &str) -> Result<f64, Problem> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(problem("it is not a number")),
    }
}

fn int(text: &str, min: i64, max: i64, why: &str) -> Result<i64, Problem> {
    let number: i64 = text.parse().map_err(|_| problem("it is not a whole number"))?;
    if number < min {
        return Err(problem(format!("it must be at least {min}: {why}")));
    }
    if number > max {
        return Err(problem(format!("it must be at most {max}")));
    }
    Ok(number)
}

fn duration(text: &str, min: Duration, why: &str) -> Result<Duration, Problem> {
    let span = parse_duration(text).ok_or_else(|| {
        problem("it is not a duration; write 100ms, 5s or 1h30m, or a whole number of seconds")
    })?;
    if span < min {
        return Err(problem(format!("it must be at least {}: {why}", format_duration(min))));
    }
    Ok(span)
}

fn choice(text: &str, allowed: &[&str], refused: &[(&str, &str)]) -> Result<String, Problem> {
    let word = text.to_ascii_lowercase();
    if allowed.contains(&word.as_str()) {
        return Ok(word);
    }
    let choices = allowed.join(" or ");
    match refused.iter().find(|(name, _)| *name == word) {
        Some((name, why)) => Err(problem(format!("{name} is refused: {why}; use {choices}"))),
        None => Err(problem(format!("it must be {choices}"))),
    }
}

fn host_port(text: String) -> Result<String, Problem> {
    match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')) => {
            Ok(text)
        }
        _ => Err(problem("it is not an address; write 127.0.0.1:9090, [::1]:9090 or :9090")),
    }
}

fn networks(items: Vec<String>) -> Result<Vec<String>, Problem> {
    match items.iter().find(|item| !is_network(item)) {
        Some(bad) => Err(problem(format!("`{bad}` is no address, network (10.0.0.0/8) or `localhost`"))),
        None => Ok(items),
    }
}

fn is_network(text: &str) -> bool {
    let (address, prefix) =
        text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let fits =
        |longest: u8| prefix.is_none_or(|prefix| prefix.parse::<u8>().is_ok_and(|bits| bits <= longest));
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => fits(32),
        Ok(IpAddr::V6(_)) => fits(128),
        Err(_) => text == "localhost",
    }
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
