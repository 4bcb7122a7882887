//! Tests of `value.rs`.

use super::*;

const ONE_TO_NINE: Kind = Kind::Int { min: 1, max: 9, why: "none would run" };
const WORDS: Kind = Kind::Choice { allowed: &["stdin", "file"], refused: &[("inline", "all can see it")] };

fn read(kind: &Kind, text: &str) -> Result<Value, String> {
    Value::read(kind, &Raw::Text(text.to_owned())).map_err(|bad| bad.problem)
}

#[test]
fn numbers_keep_their_bounds_and_say_why() {
    assert_eq!(read(&ONE_TO_NINE, " 9 "), Ok(Value::Int(9)));
    assert_eq!(read(&ONE_TO_NINE, "0"), Err("it must be at least 1: none would run".to_owned()));
    assert_eq!(read(&ONE_TO_NINE, "10"), Err("it must be at most 9".to_owned()));
    assert_eq!(read(&ONE_TO_NINE, "2.5"), Err("it is not a whole number".to_owned()));
    assert_eq!(Value::read(&ONE_TO_NINE, &Raw::Int(3)), Ok(Value::Int(3)));
}

#[test]
fn floats_are_finite() {
    assert_eq!(read(&Kind::Float, "-1.5"), Ok(Value::Float(-1.5)));
    for text in ["nan", "inf", "fast"] {
        assert_eq!(read(&Kind::Float, text), Err("it is not a number".to_owned()), "{text}");
    }
}

#[test]
fn booleans_have_four_spellings_each_in_any_case() {
    for text in ["1", "true", "YES", "on"] {
        assert_eq!(read(&Kind::Bool, text), Ok(Value::Bool(true)), "{text}");
    }
    for text in ["0", "False", "no", "off"] {
        assert_eq!(read(&Kind::Bool, text), Ok(Value::Bool(false)), "{text}");
    }
    assert!(read(&Kind::Bool, "maybe").unwrap_err().contains("true, yes or on"));
    assert_eq!(Value::read(&Kind::Bool, &Raw::Bool(true)), Ok(Value::Bool(true)));
}

#[test]
fn durations_say_how_they_are_written() {
    let kind = Kind::Duration { min: Duration::from_millis(1), why: "it would spin" };
    assert_eq!(read(&kind, "90"), Ok(Value::Duration(Duration::from_secs(90))));
    assert_eq!(Value::read(&kind, &Raw::Int(2)), Ok(Value::Duration(Duration::from_secs(2))));
    assert_eq!(read(&kind, "0s"), Err("it must be at least 1ms: it would spin".to_owned()));
    assert!(read(&kind, "5 minutes").unwrap_err().contains("write 100ms, 5s or 1h30m"));
}

#[test]
fn a_refused_word_says_why_and_what_else() {
    assert_eq!(read(&WORDS, "File"), Ok(Value::Text("file".to_owned())));
    assert_eq!(
        read(&WORDS, "inline"),
        Err("inline is refused: all can see it; use stdin or file".to_owned())
    );
    assert_eq!(read(&WORDS, "pipe"), Err("it must be stdin or file".to_owned()));
}

#[test]
fn lists_are_comma_separated_or_lists_and_drop_repeats() {
    let expected = Ok(Value::List(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(read(&Kind::List, "a, b,,a"), expected);
    let list = Raw::List(vec!["a".to_owned(), " b ".to_owned(), String::new()]);
    assert_eq!(Value::read(&Kind::List, &list).map_err(|bad| bad.problem), expected);
    let bad = Value::read(&Kind::Text, &list).unwrap_err();
    assert_eq!(bad.problem, "a list is given, one value is expected");
}

#[test]
fn addresses_and_networks_are_checked() {
    for text in ["127.0.0.1:9090", "[::1]:9090", ":9090", "localhost:80"] {
        assert!(read(&Kind::HostPort, text).is_ok(), "{text}");
    }
    for text in ["9090", "host:", "host:99999", "::1:9090x"] {
        assert!(read(&Kind::HostPort, text).is_err(), "{text}");
    }
    assert!(read(&Kind::Networks, "10.0.0.0/8, ::1, localhost").is_ok());
    for text in ["10.0.0.0/33", "example.org", "10.0.0/8", "localhost/8"] {
        assert!(read(&Kind::Networks, text).is_err(), "{text}");
    }
}

#[test]
fn blanks_are_empty_and_zero_is_not() {
    for kind in [Kind::Text, Kind::List] {
        assert!(Raw::Text("  ".to_owned()).is_empty(&kind));
        assert!(Raw::List(vec![]).is_empty(&kind) && Raw::List(vec![String::new()]).is_empty(&kind));
        assert!(!Raw::Int(0).is_empty(&kind) && !Raw::Bool(false).is_empty(&kind));
    }
    assert!(Raw::Text(" , ".to_owned()).is_empty(&Kind::List));
    assert!(!Raw::Text(" , ".to_owned()).is_empty(&Kind::Text));
}

#[test]
fn a_secret_is_never_shown() {
    assert_eq!(Raw::Text("hunter2".to_owned()).shown(true), "****");
    assert_eq!(Value::Text("hunter2".to_owned()).shown(true), "****");
    assert_eq!(Value::Text("hunter2".to_owned()).to_json(true), json!("****"));
    let dsn = read(&Kind::Dsn, "postgres://u:hunter2@h/db").unwrap();
    assert_eq!(dsn.shown(true), "postgres://u:****@h/db");
    assert_eq!(dsn.to_json(true), json!("postgres://u:****@h/db"));
}
