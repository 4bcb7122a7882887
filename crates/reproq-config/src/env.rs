//! The one place that reads the process environment.
//!
//! Everything else takes a lookup function, so that tests never touch global state. The names that are looked
//! up are those of the option table.

/// The value of an environment variable of this process.
///
/// Bytes that are not UTF-8 are replaced, so that a damaged value is reported and not taken for an unset one.
#[must_use]
pub fn process_env(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_process_has_and_nothing_else() {
        assert!(process_env("CARGO_MANIFEST_DIR").is_some());
        assert_eq!(process_env("REPROQ_NO_SUCH_VARIABLE"), None);
    }
}
