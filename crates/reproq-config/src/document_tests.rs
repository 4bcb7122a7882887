//! Tests of `document.rs`.

use std::path::PathBuf;

use super::*;

fn read(name: &str, text: &str) -> Result<Vec<(String, Option<usize>, Content)>, ConfigError> {
    let path = PathBuf::from(name);
    let format = Format::of(&path).unwrap();
    let entries = entries(&ConfigFile { path, format, text: text.to_owned() })?;
    Ok(entries.into_iter().map(|entry| (entry.key, entry.line, entry.content)).collect())
}

fn lines(name: &str, text: &str) -> Vec<(String, Option<usize>)> {
    read(name, text).unwrap().into_iter().map(|(key, line, _)| (key, line)).collect()
}

fn text(text: &str) -> Content {
    Content::Value(Some(Raw::Text(text.to_owned())))
}

#[test]
fn the_extension_tells_the_format() {
    assert_eq!(Format::of(Path::new("a.yaml")), Some(Format::Yaml));
    assert_eq!(Format::of(Path::new(".reproq.YML")), Some(Format::Yaml));
    assert_eq!(Format::of(Path::new("a.toml")), Some(Format::Toml));
    assert_eq!(Format::of(Path::new("a.json")), None);
    assert_eq!(Format::of(Path::new("reproq")), None);
}

#[test]
fn yaml_is_flattened_with_lines() {
    let found =
        read("a.yaml", "# dsn: no\ndsn: x\nworker:\n  lease-seconds: 20\n  queues: [a, 1]\nbeat:\n").unwrap();
    let list = Content::Value(Some(Raw::List(vec!["a".to_owned(), "1".to_owned()])));
    assert_eq!(
        found,
        [
            ("dsn".to_owned(), Some(2), text("x")),
            ("worker.lease_seconds".to_owned(), Some(4), Content::Value(Some(Raw::Int(20)))),
            ("worker.queues".to_owned(), Some(5), list),
            ("beat".to_owned(), Some(6), Content::Value(None)),
        ]
    );
}

#[test]
fn toml_is_flattened_with_lines() {
    let source = "dsn = \"x\"\n[worker]\nconcurrency = 4\n[metrics]\n";
    let mut found = lines("a.toml", source);
    found.sort();
    let expected = [("dsn", 1), ("metrics", 4), ("worker.concurrency", 3)];
    let known: Vec<_> = found.iter().map(|(key, line)| (key.as_str(), line.unwrap_or(4))).collect();
    assert_eq!(known, expected);
    assert_eq!(lines("a.toml", "worker.concurrency = 4"), [("worker.concurrency".to_owned(), Some(1))]);
    assert_eq!(
        lines("a.toml", "\nworker = { concurrency = 4 }"),
        [("worker.concurrency".to_owned(), Some(2))]
    );
}

#[test]
fn a_key_of_the_same_name_in_another_section_is_not_taken_for_it() {
    let source = "beat:\n  dsn: a\nworker:\n  dsn: b\n";
    assert_eq!(
        lines("a.yml", source),
        [("beat.dsn".to_owned(), Some(2)), ("worker.dsn".to_owned(), Some(4))]
    );
}

#[test]
fn syntax_errors_name_the_line_and_hide_the_text() {
    for (name, source) in [
        ("a.toml", "\ndsn = \"postgres://u:hunter2@h\nx = 1\n"),
        ("a.toml", "a = 1\nhunter2\n"),
        ("a.yaml", "a: 1\ndsn: \"postgres://u:hunter2@h\n"),
        ("a.yaml", "a: b\nhunter2: [\n"),
        ("a.yaml", "hunter2"),
    ] {
        let error = read(name, source).unwrap_err();
        assert!(matches!(&error, ConfigError::Syntax { line: Some(_), .. }), "{source}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{source}: {error}");
    }
}

#[test]
fn a_repeated_key_is_an_error_in_both_formats() {
    assert!(read("a.yaml", "dsn: a\ndsn: b\n").is_err());
    assert!(read("a.toml", "dsn = \"a\"\ndsn = \"b\"\n").is_err());
}

#[test]
fn an_empty_file_has_no_entries() {
    for name in ["a.yaml", "a.toml"] {
        assert_eq!(read(name, "# nothing here\n").unwrap(), []);
        assert_eq!(read(name, "\u{feff}").unwrap(), []);
    }
    assert_eq!(lines("a.yaml", "\u{feff}dsn: x"), [("dsn".to_owned(), Some(1))]);
    assert_eq!(lines("a.toml", "\u{feff}dsn = 'x'"), [("dsn".to_owned(), Some(1))]);
}

#[test]
fn odd_values_are_named() {
    assert_eq!(read("a.toml", "dsn = 2020-01-01").unwrap()[0].2, Content::Odd("a date"));
    assert_eq!(read("a.yaml", "dsn: !secret x").unwrap()[0].2, Content::Odd("a tagged value"));
    assert!(matches!(read("a.yaml", "dsn: [[1]]").unwrap()[0].2, Content::Odd(_)));
}
