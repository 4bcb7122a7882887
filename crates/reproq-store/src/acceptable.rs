//! What every database takes. An ending must never be refused for the sake of a character or a number in it.

use std::borrow::Cow;
use std::time::Duration;

/// Text that stands for what cannot be stored.
const REPLACEMENT: &str = "\\ufffd";

/// A wait that both databases can add to a date.
pub(crate) fn wait(asked: Duration) -> Duration {
    const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);
    asked.min(CENTURY)
}

/// JSON text for a column that the database reads: `jsonb` knows neither U+0000 nor half a surrogate pair, and the site
/// could do nothing with either. Return values are kept as text and need none of this.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    let mut kept = String::new();
    let mut done = 0;
    let mut at = 0;
    while let Some(backslash) = text[at..].find('\\').map(|found| at + found) {
        at = backslash + 2;
        let Some(unit) = unit(text, backslash) else { continue };
        at = backslash + 6;
        match unit {
            0xD800..=0xDBFF if self::unit(text, at).is_some_and(|next| (0xDC00..=0xDFFF).contains(&next)) => {
                at += 6;
            }
            0 | 0xD800..=0xDFFF => {
                kept.push_str(&text[done..backslash]);
                kept.push_str(REPLACEMENT);
                done = at;
            }
            _ => {}
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    kept.push_str(&text[done..]);
    Cow::Owned(kept)
}

/// The UTF-16 unit that an escape at `place` spells, if one is there.
fn unit(text: &str, place: usize) -> Option<u16> {
    let digits = text.get(place..place + 6)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_cannot_be_stored_is_replaced_and_all_else_kept() {
        for (given, stored) in [
            (r#"{"a":"\u0000"}"#, r#"{"a":"\ufffd"}"#),
            (r#"["\ud83e\udd80","\\u0000","\\\u0000é"]"#, r#"["\ud83e\udd80","\\u0000","\\\ufffdé"]"#),
            (
                r#"["\ud83e","\udd80\ud83e\u0041","\ud83e\ud83e\udd80"]"#,
                r#"["\ufffd","\ufffd\ufffd\u0041","\ufffd\ud83e\udd80"]"#,
            ),
            (r#"["\n\u00e9\""]"#, r#"["\n\u00e9\""]"#),
        ] {
            assert_eq!(json(given), stored, "{given}");
        }
    }

    proptest! {
        #[test]
        fn ordinary_text_is_not_touched(text in ".*") {
            let text = serde_json::Value::from(text.replace('\0', "")).to_string();
            prop_assert_eq!(json(&text), text.as_str());
        }

        #[test]
        fn whatever_is_json_becomes_json_that_can_be_read(parts in prop::collection::vec("\\\\u(0000|d83e|dd80|0041)|\\\\\\\\|é|x", 0..12)) {
            let text = format!("\"{}\"", parts.concat());
            let read: String = serde_json::from_str(&json(&text)).unwrap();
            prop_assert!(!read.contains('\0'));
        }
    }
}
