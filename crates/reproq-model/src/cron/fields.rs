//! The fields of a cron expression: each is checked by itself, so that a mistake is told where it is.

use super::CronError;

/// An expression that has been checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// Six fields, with seconds first.
    pub(super) text: String,
    /// Whether the minute or the hour is a wildcard or a step.
    pub(super) follows_elapsed_time: bool,
}

struct Field {
    name: &'static str,
    least: u16,
    most: u16,
    names: &'static [&'static str],
    accepted: &'static str,
}

const FIELDS: [Field; 6] = [
    Field {
        name: "second",
        least: 0,
        most: 59,
        names: &[],
        accepted: "0-59, *, a-b, */n, and lists with commas",
    },
    Field {
        name: "minute",
        least: 0,
        most: 59,
        names: &[],
        accepted: "0-59, *, a-b, */n, and lists with commas",
    },
    Field {
        name: "hour",
        least: 0,
        most: 23,
        names: &[],
        accepted: "0-23, *, a-b, */n, and lists with commas",
    },
    Field {
        name: "day of month",
        least: 1,
        most: 31,
        names: &[],
        accepted: "1-31, *, a-b, */n, L (the last day), 15W (the weekday next to the 15th), LW, and lists with commas",
    },
    Field {
        name: "month",
        least: 1,
        most: 12,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
        accepted: "1-12, JAN-DEC, *, a-b, */n, and lists with commas",
    },
    Field {
        name: "day of week",
        least: 0,
        most: 7,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
        accepted: "0-7 (0 and 7 are Sunday), SUN-SAT, *, a-b, */n, MON#2 (the second Monday), FRIL (the last Friday), and lists with commas",
    },
];
const MINUTE: usize = 1;
const HOUR: usize = 2;
const DAY_OF_MONTH: usize = 3;
const DAY_OF_WEEK: usize = 5;

/// Checks an expression without its zone.
pub(super) fn read(expression: &str) -> Result<Fields, CronError> {
    let expression = expression.trim();
    let written = if expression.starts_with('@') { nickname(expression)? } else { expression };
    let mut fields: Vec<&str> = written.split_whitespace().collect();
    match fields.len() {
        0 => return Err(CronError::Empty),
        5 => fields.insert(0, "0"),
        6 => {}
        count => return Err(CronError::Count { expression: expression.to_owned(), count }),
    }
    let mut texts = Vec::with_capacity(fields.len());
    for (place, text) in fields.iter().enumerate() {
        texts.push(field(place, text)?);
    }
    let follows_elapsed_time = [MINUTE, HOUR].iter().any(|place| texts[*place].contains(['*', '/']));
    Ok(Fields { text: texts.join(" "), follows_elapsed_time })
}

fn nickname(name: &str) -> Result<&'static str, CronError> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        _ => return Err(CronError::Nickname { name: name.to_owned() }),
    })
}

/// One field as the evaluator takes it: numbers for names, and all ends of ranges written out.
fn field(place: usize, text: &str) -> Result<String, CronError> {
    let field = &FIELDS[place];
    let items: Result<Vec<String>, String> =
        text.to_ascii_uppercase().split(',').map(|part| item(place, part)).collect();
    let items = items.map_err(|problem| CronError::Field {
        field: field.name,
        text: text.to_owned(),
        problem,
        accepted: field.accepted,
    })?;
    // A list with a wildcard in it is the wildcard.
    Ok(if items.iter().any(|item| item == "*") { "*".to_owned() } else { items.join(",") })
}

/// One part of a list.
fn item(place: usize, text: &str) -> Result<String, String> {
    let field = &FIELDS[place];
    if text.is_empty() {
        return Err("a part of the list is empty".to_owned());
    }
    if let Some(special) = special(place, text) {
        return special;
    }
    let (range, step) = match text.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (text, None),
    };
    let step = step.map(|step| step_of(field, step)).transpose()?;
    if matches!(range, "*" | "?") {
        return Ok(step.filter(|step| *step > 1).map_or_else(|| "*".to_owned(), |step| format!("*/{step}")));
    }
    let (first, last) = if let Some((first, last)) = range.split_once('-') {
        (number(field, first)?, last_number(field, last)?)
    } else {
        let first = number(field, range)?;
        // `5/10` is the earlier system's way to say `5-59/10`.
        (first, if step.is_some() { most_of(place) } else { first })
    };
    if first > last {
        return Err(format!(
            "{first} comes after {last}; write two ranges, as in {first}-{},{}-{last}",
            most_of(place),
            field.least
        ));
    }
    // The whole of a clock is no list of fixed times, however it is written.
    if place <= HOUR && (first, last, step.unwrap_or(1)) == (field.least, field.most, 1) {
        return Ok("*".to_owned());
    }
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    Ok(match step {
        None => range,
        Some(_) if first == last => range,
        Some(step) => format!("{range}/{step}"),
    })
}

/// The end of an open range: 7 is 0 once more.
const fn most_of(place: usize) -> u16 {
    if place == DAY_OF_WEEK { 6 } else { FIELDS[place].most }
}

/// What only days know: `L`, `LW`, `15W`, `MON#2`, `FRIL`.
fn special(place: usize, text: &str) -> Option<Result<String, String>> {
    let field = &FIELDS[place];
    if place == DAY_OF_MONTH {
        if matches!(text, "L" | "LW") {
            return Some(Ok(text.to_owned()));
        }
        return text.strip_suffix('W').map(|day| number(field, day).map(|day| format!("{day}W")));
    }
    if place != DAY_OF_WEEK {
        return None;
    }
    if let Some((day, nth)) = text.split_once('#') {
        return Some(match nth {
            "1" | "2" | "3" | "4" | "5" => number(field, day).map(|day| format!("{day}#{nth}")),
            _ => Err(format!("a month has no day number {nth:?} of a week; 1 to 5 are possible")),
        });
    }
    let day = text.strip_suffix('L').filter(|day| !day.is_empty())?;
    Some(number(field, day).map(|day| format!("{day}#L")))
}

fn step_of(field: &Field, text: &str) -> Result<u16, String> {
    let step = digits(text).ok_or_else(|| format!("{text:?} is no step"))?;
    match step {
        0 => Err("a step of 0 would never arrive; steps begin at 1".to_owned()),
        _ if step > field.most => {
            Err(format!("a step of {step} leaves the field, which ends at {}", field.most))
        }
        _ => Ok(step),
    }
}

/// The end of a range: Sunday is there the last day of the week.
fn last_number(field: &Field, text: &str) -> Result<u16, String> {
    if text == "SUN" && field.most == 7 { Ok(7) } else { number(field, text) }
}

fn number(field: &Field, text: &str) -> Result<u16, String> {
    let named = field.names.iter().position(|name| *name == text);
    let named = named.and_then(|place| u16::try_from(place).ok()).map(|place| place + field.least);
    let number = named.or_else(|| digits(text)).ok_or_else(|| format!("{text:?} is no {}", field.name))?;
    if (field.least..=field.most).contains(&number) {
        return Ok(number);
    }
    Err(format!("{number} is outside {}-{}", field.least, field.most))
}

fn digits(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit()))
}
