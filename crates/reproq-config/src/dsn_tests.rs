//! Tests of `dsn.rs`.

use super::*;

fn sqlite_path(text: &str) -> String {
    match Dsn::parse(text).unwrap().target() {
        Target::Sqlite(path) => path.display().to_string(),
        Target::Postgres(_) => panic!("{text} was read as PostgreSQL"),
    }
}

#[test]
fn both_postgres_spellings_keep_the_url_as_written() {
    for text in ["postgres://u:p@h:5432/db?sslmode=require", "postgresql://u:p@h:5432/db"] {
        let dsn = Dsn::parse(text).unwrap();
        assert_eq!(dsn.engine(), Engine::Postgres);
        assert!(matches!(dsn.target(), Target::Postgres(url) if url == text));
    }
    assert!(Dsn::parse("postgres:///db?host=/run/postgresql").is_ok());
}

#[test]
fn sqlite_spellings_name_a_file() {
    assert_eq!(sqlite_path("sqlite:///srv/db.sqlite3"), "/srv/db.sqlite3");
    assert_eq!(sqlite_path("sqlite:////srv/db.sqlite3"), "/srv/db.sqlite3");
    assert_eq!(sqlite_path("sqlite://data/db"), "data/db");
    assert_eq!(sqlite_path("sqlite:///srv/my%20db"), "/srv/my db");
    assert_eq!(sqlite_path("/srv/50%20off.sqlite3"), "/srv/50%20off.sqlite3");
    assert_eq!(sqlite_path("app.db"), "app.db");
}

#[test]
fn a_relative_file_is_resolved_against_a_directory() {
    let dsn = Dsn::parse("app.db").unwrap().resolved_against(Path::new("/srv"));
    assert_eq!(dsn.to_string(), "sqlite:///srv/app.db");
    let dsn = Dsn::parse("/abs/app.db").unwrap().resolved_against(Path::new("/srv"));
    assert_eq!(dsn.to_string(), "sqlite:///abs/app.db");
}

#[test]
fn the_password_is_masked_in_display_and_debug() {
    let dsn = Dsn::parse("postgres://joe:hunter2@h:5432/db?sslmode=require&password=hunter2").unwrap();
    assert_eq!(dsn.to_string(), "postgres://joe:****@h:5432/db?sslmode=require&password=****");
    assert!(!format!("{dsn:?}").contains("hunter2"));
    assert!(dsn.has_password());
    assert!(!Dsn::parse("postgres://joe@h/db").unwrap().has_password());
    assert!(Dsn::parse("postgres://joe@h/db?password=x").unwrap().has_password());
}

#[test]
fn a_reserved_character_in_the_password_is_reported_not_misread() {
    for text in [
        "postgres://u:12#4@h/db",
        "postgres://u:12/4@h/db",
        "postgres://u:12?4@h/db",
        "postgres://u@corp:12#4@h/db",
        "postgres://u@corp:12/4@h/db",
        "postgres://u:p@h/d#b",
    ] {
        assert_eq!(Dsn::parse(text), Err(DsnError::Unescaped), "{text}");
    }
    assert!(matches!(Dsn::parse("postgres://u:hunter2#4@h/db"), Err(DsnError::Url(_))));
    assert!(Dsn::parse("postgres://u%40corp:1%232@h/db?options=-c%20x").is_ok());
    assert!(DsnError::Unescaped.hint().contains("%23"));
}

#[test]
fn other_forms_are_refused_with_the_form_to_write() {
    for (text, expected) in [
        ("host=h dbname=d password=hunter2", DsnError::KeywordForm),
        ("host=h dbname=app.db", DsnError::KeywordForm),
        ("mysql://u:hunter2@h/db", DsnError::Scheme("mysql".to_owned())),
        ("hunter2", DsnError::Shape),
        ("user:hunter2@h://x", DsnError::Shape),
        ("postgres://u:hunter2@a,b/db", DsnError::SeveralHosts),
        ("sqlite://:memory:", DsnError::Memory),
        ("sqlite::memory:", DsnError::Memory),
        ("sqlite://", DsnError::NoFile),
        ("sqlite:///a.db?mode=ro", DsnError::SqliteParameters),
        ("sqlite:///a%zz.db", DsnError::Url("bad percent-encoding".to_owned())),
    ] {
        let problem = Dsn::parse(text).unwrap_err();
        assert_eq!(problem, expected, "{text}");
        assert!(!problem.to_string().contains("hunter2") && !problem.hint().contains("hunter2"), "{text}");
        assert!(problem.hint().contains("://"), "{text}");
    }
}
