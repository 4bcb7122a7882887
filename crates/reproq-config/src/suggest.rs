//! "Did you mean": the known name that is nearest to an unknown one.

/// Names less alike than this are not offered: a wrong suggestion is worse than none.
const ALIKE: f64 = 0.72;

/// The candidate most like `unknown`, if any is like it.
///
/// A dotted candidate is also compared by its last part, so that `concurrency` finds `worker.concurrency`.
pub(crate) fn nearest<'a>(unknown: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (likeness(unknown, candidate), candidate))
        .filter(|(score, _)| *score >= ALIKE)
        .fold(None, |best: Option<(f64, &str)>, next| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        })
        .map(|(_, candidate)| candidate)
}

fn likeness(unknown: &str, candidate: &str) -> f64 {
    let whole = strsim::normalized_damerau_levenshtein(unknown, candidate);
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let parts = strsim::normalized_damerau_levenshtein(&last(unknown), &last(candidate));
    // A match of the last part alone ranks below a match of the whole name.
    whole.max(parts * 0.99)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["dsn", "worker.concurrency", "worker.queues", "metrics.auth_token"];

    fn find(unknown: &str) -> Option<&'static str> {
        nearest(unknown, KEYS.into_iter())
    }

    #[test]
    fn finds_a_misspelt_key() {
        assert_eq!(find("worker.concurency"), Some("worker.concurrency"));
    }

    #[test]
    fn finds_a_key_in_the_wrong_section() {
        assert_eq!(find("concurrency"), Some("worker.concurrency"));
        assert_eq!(find("beat.queues"), Some("worker.queues"));
    }

    #[test]
    fn stays_silent_when_nothing_is_alike() {
        assert_eq!(find("worker.colour"), None);
    }
}
