//! `reproq limit`: rates, and how many runs of a key run at the same time.

use std::process::ExitCode;

use clap::ArgMatches;
use reproq_config::Resolved;
use reproq_store::{KeyWord, RateRow};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::{asked, output, wiring};

/// Keys that limit how many run at the same time.
const CONCURRENCY: &str = "concurrency:";

/// An operator's word: it counts before whatever enqueues state.
pub fn set(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let key = asked::text(flags, "key").unwrap_or_default();
    if let Some(max) = flags.get_one::<i32>("max").copied() {
        check_limit_key(key)?;
        wiring::operate(config, async |operator| Ok(operator.set_limit(key, max).await?))?;
        let text = if max == 0 { "no limit".to_owned() } else { format!("{max} at the same time") };
        say(flags, &json!({"key": key, "max": max}), &format!("{key}: {text}"));
    } else {
        check_rate_key(key)?;
        let rate = flags.get_one("rate").copied().unwrap_or(0.0);
        let burst = flags.get_one("burst").copied().unwrap_or(1);
        wiring::operate(config, async |operator| Ok(operator.set_rate(key, rate, burst).await?))?;
        let text =
            if rate > 0.0 { format!("{rate} per second, burst {burst}") } else { "no limit".to_owned() };
        say(flags, &json!({"key": key, "rate": rate, "burst": burst}), &format!("{key}: {text}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What counts: rates in the earlier system's columns, then limits.
pub fn ls(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let (rates, words) = wiring::operate(config, async |operator| {
        Ok((operator.rates(None).await?, operator.key_words(None).await?))
    })?;
    let rates: Vec<Listed> = rates.iter().map(|rate| effective(rate, &words)).collect();
    let limits: Vec<&KeyWord> = words.iter().filter(|word| word.key.starts_with(CONCURRENCY)).collect();
    if flags.get_flag("json") {
        output::print(&as_object(&rates, &limits).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    output::print("Key\tTokens/s\tBurst\tCurrent\tLastRefill");
    for rate in &rates {
        let refill = output::moment(rate.refilled_at);
        output::print(&format!(
            "{}\t{}\t{}\t{:.2}\t{refill}",
            rate.key, rate.per_second, rate.burst, rate.current
        ));
    }
    if !limits.is_empty() {
        output::print("\nKey\tMax\tBy");
    }
    for limit in limits {
        output::print(&format!("{}\t{}\t{}", limit.key, limit.amount, by(limit.pinned)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Back to what the code states.
pub fn rm(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let key = asked::text(flags, "key").unwrap_or_default();
    let removed = wiring::operate(config, async |operator| Ok(operator.remove_limit(key).await?))?;
    say(flags, &json!({"key": key, "removed": removed}), &format!("{removed} removed"));
    Ok(ExitCode::SUCCESS)
}

/// A rate as it counts now.
#[derive(Debug, PartialEq)]
struct Listed {
    key: String,
    per_second: f64,
    burst: i32,
    /// Starts that it would admit at this moment.
    current: f64,
    refilled_at: i64,
    by_operator: bool,
}

/// The row of a rate that the code states holds its state; what it is, the latest word says.
#[expect(clippy::cast_precision_loss, reason = "shown with two decimals")]
fn effective(row: &RateRow, words: &[KeyWord]) -> Listed {
    let word = words.iter().find(|word| row.stated && word.key == row.key);
    let (per_second, burst) = word.map_or((row.per_second, row.burst), |word| (word.amount, word.burst));
    let debt = (row.tat.unwrap_or(row.now).max(row.now) - row.now) as f64 / 1e6 * per_second;
    Listed {
        key: row.key.clone(),
        per_second,
        burst,
        current: (f64::from(burst) - debt).max(0.0),
        refilled_at: row.refilled_at,
        by_operator: !row.stated,
    }
}

fn as_object(rates: &[Listed], limits: &[&KeyWord]) -> Value {
    let rates: Vec<Value> = rates
        .iter()
        .map(|rate| {
            json!({
                "key": rate.key, "rate": rate.per_second, "burst": rate.burst, "current": rate.current,
                "by": by(rate.by_operator), "last_refilled_at": output::moment(rate.refilled_at),
            })
        })
        .collect();
    let limits: Vec<Value> = limits
        .iter()
        .map(|word| json!({"key": word.key, "max": word.amount, "by": by(word.pinned)}))
        .collect();
    json!({"rates": rates, "limits": limits})
}

const fn by(operator: bool) -> &'static str {
    if operator { "operator" } else { "code" }
}

fn say(flags: &ArgMatches, object: &Value, text: &str) {
    output::print(&if flags.get_flag("json") { object.to_string() } else { text.to_owned() });
}

/// A key that nothing asks for would limit nothing, silently.
fn check_rate_key(key: &str) -> Result<(), Failure> {
    let known =
        ["queue:", "task:", "key:"].iter().any(|prefix| key.len() > prefix.len() && key.starts_with(prefix));
    if known || key == "global" {
        return Ok(());
    }
    Err(Failure::refused(
        format!("no start is counted under the key {key:?}"),
        Some("a rate's key is global, queue:<name>, task:<path>, or key:<key> for a key from a task's arguments".to_owned()),
    ))
}

fn check_limit_key(key: &str) -> Result<(), Failure> {
    if key.strip_prefix(CONCURRENCY).is_some_and(|key| !key.is_empty()) {
        return Ok(());
    }
    Err(Failure::refused(
        format!("{key:?} is no key of a concurrency limit"),
        Some(format!("write --key {CONCURRENCY}<concurrency key>, or --rate for a rate")),
    ))
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "small whole numbers")]
mod tests {
    use super::*;

    fn row(tat: Option<i64>, stated: bool) -> RateRow {
        RateRow {
            key: "key:a".to_owned(),
            per_second: 2.0,
            burst: 5,
            stated,
            tat,
            refilled_at: 0,
            now: 10_000_000,
        }
    }

    #[test]
    fn what_a_rate_would_admit_now_follows_from_its_state() {
        let current = |tat| effective(&row(tat, false), &[]).current;
        assert_eq!([None, Some(0), Some(11_000_000), Some(99_000_000)].map(current), [5.0, 5.0, 3.0, 0.0]);
    }

    #[test]
    fn the_latest_word_counts_for_a_rate_that_the_code_states() {
        let words = [KeyWord { key: "key:a".to_owned(), amount: 9.0, burst: 1, pinned: false }];
        assert_eq!(effective(&row(None, true), &words).per_second, 9.0);
        assert_eq!(effective(&row(None, false), &words).per_second, 2.0, "an operator's stands");
    }

    #[test]
    fn a_key_that_would_limit_nothing_is_refused() {
        for key in ["global", "queue:mail", "task:shop.tasks.send", "key:a"] {
            check_rate_key(key).unwrap();
        }
        for key in ["", "mail", "queue:", "concurrency:a"] {
            check_rate_key(key).unwrap_err();
        }
        check_limit_key("concurrency:a").unwrap();
        check_limit_key("a").unwrap_err();
    }
}
