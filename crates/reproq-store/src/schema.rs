//! Which schema this binary works with. The schema itself belongs to the Django package, `src/reproq_django/sql/`.

use thiserror::Error;

/// The version that the package's SQL writes, from the same file that the package reads.
const VERSION: &str = include_str!("../../../src/reproq_django/sql/schema_version");

/// The version that this binary works with.
#[must_use]
pub fn version() -> &'static str {
    VERSION.trim()
}

/// The database has no schema of Reproq, or another version of it.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum SchemaMismatch {
    /// No tables.
    #[error("the database has no Reproq schema; run `python manage.py migrate` first")]
    Missing,
    /// An older or newer one.
    #[error(
        "the database has Reproq schema {found}, this worker needs {}; {}", version(),
        if older(.found) { "run `python manage.py migrate`" } else { "upgrade reproq-django on this machine" }
    )]
    Other {
        /// What the database says.
        found: String,
    },
}

fn older(found: &str) -> bool {
    found.parse::<u32>().ok() < version().parse::<u32>().ok()
}

/// Compares what the database says with what this binary needs.
pub(crate) fn compare(found: Option<String>) -> Result<(), SchemaMismatch> {
    match found {
        None => Err(SchemaMismatch::Missing),
        Some(found) if found == version() => Ok(()),
        Some(found) => Err(SchemaMismatch::Other { found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_says_which_side_to_upgrade() {
        assert_eq!(compare(Some(version().to_owned())), Ok(()));
        assert!(compare(None).unwrap_err().to_string().contains("manage.py migrate"));
        assert!(compare(Some("0".into())).unwrap_err().to_string().contains("manage.py migrate"));
        assert!(compare(Some("999".into())).unwrap_err().to_string().contains("upgrade reproq-django"));
    }
}
