//! The spec of a run: canonical text, its hash, and the few fields that the worker reads.
//!
//! Canonical text is what Python's `json.dumps(sort_keys=True, separators=(",", ":"), ensure_ascii=False)` writes. Numbers
//! keep their spelling (`arbitrary_precision`), so a text survives this side byte for byte.

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::retry::Backoff;

/// The canonical form of a JSON text: keys sorted by code point, no spaces, non-ASCII kept.
pub fn canonical(text: &str) -> Result<String, serde_json::Error> {
    serde_json::from_str::<Value>(text).map(|value| value.to_string())
}

/// SHA-256 of canonical text, as 64 lower-case hex digits: `task_runs.spec_hash`.
#[must_use]
pub fn hash(canonical: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(canonical.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The retry policy that the spec's task asked for, or the default. A malformed one is the default too: a run must not
/// become impossible to end because of how it wants to be retried.
#[must_use]
pub fn backoff(spec: &str) -> Backoff {
    #[derive(Deserialize)]
    struct Exec {
        backoff: Option<Backoff>,
    }
    #[derive(Deserialize)]
    struct Spec {
        exec: Option<Exec>,
    }
    serde_json::from_str::<Spec>(spec).ok().and_then(|spec| spec.exec?.backoff).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: &str = include_str!("../../../contracts/spec_hash.json");
    const CONTRACT_HASH: &str = include_str!("../../../contracts/spec_hash.sha256");

    #[test]
    fn the_contract_text_is_canonical_and_hashes_as_agreed() {
        assert_eq!(canonical(CONTRACT).unwrap(), CONTRACT);
        assert_eq!(hash(CONTRACT), CONTRACT_HASH.trim());
    }

    #[test]
    fn every_vector_of_the_contract_survives_and_hashes_as_agreed() {
        #[derive(Deserialize)]
        struct Vector {
            name: String,
            canonical: String,
            sha256: String,
        }
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../../../contracts/spec_vectors.json")).unwrap();
        assert!(vectors.len() > 20);
        for Vector { name, canonical: text, sha256 } in vectors {
            assert_eq!(canonical(&text).unwrap(), text, "{name}");
            assert_eq!(hash(&text), sha256, "{name}");
        }
    }

    #[test]
    fn keys_are_sorted_and_numbers_keep_their_spelling() {
        let text = r#"{ "é": 1e+20, "b": [1.0, -0.0, 123456789012345678901234567890, 5e-324], "a": "\u017elu\u0165 \u0007" }"#;
        assert_eq!(
            canonical(text).unwrap(),
            "{\"a\":\"žluť \\u0007\",\"b\":[1.0,-0.0,123456789012345678901234567890,5e-324],\"é\":1e+20}"
        );
    }

    #[test]
    fn a_spec_without_a_policy_has_the_default() {
        assert_eq!(backoff(CONTRACT), Backoff::default());
        assert_eq!(backoff("{}"), Backoff::default());
        assert_eq!(backoff(r#"{"exec":{"backoff":"soon"}}"#), Backoff::default());
    }

    #[test]
    fn a_policy_overrides_what_it_names() {
        let policy = backoff(r#"{"exec":{"max_attempts":3,"backoff":{"base":0.5,"jitter":false}}}"#);
        assert_eq!(policy, Backoff { base: 0.5, jitter: false, ..Backoff::default() });
    }
}
