//! When a failed attempt is tried again.

use std::time::Duration;

use rand::{Rng, RngExt};
use serde::Deserialize;

/// Exponential backoff. The wait before attempt `n + 1` is at most `base * factor^(n - 1)` seconds, never more than `cap`;
/// with `jitter` it is drawn evenly from zero to that bound, so that runs that failed together do not return together.
///
/// A task carries its own in `spec.exec.backoff`; what it leaves out has the default.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// Seconds, bound of the first wait.
    pub base: f64,
    /// Growth from one wait to the next.
    pub factor: f64,
    /// Seconds, bound of every wait.
    pub cap: f64,
    /// Whether waits are spread over the whole range.
    pub jitter: bool,
}

impl Default for Backoff {
    /// 30 s, doubled each time, at most an hour, with full jitter: the earlier system's numbers, plus the jitter.
    fn default() -> Self {
        Self { base: 30.0, factor: 2.0, cap: 3600.0, jitter: true }
    }
}

impl Backoff {
    /// The longest wait after attempt number `attempt` (counted from 1).
    #[must_use]
    pub fn bound(&self, attempt: i32) -> Duration {
        let grown = self.base * self.factor.powi(attempt.max(1) - 1);
        // A factor that overflows, or a base that is not a number, must still wait for a defined time.
        let seconds = if grown.is_finite() { grown.clamp(0.0, self.cap.max(0.0)) } else { self.cap.max(0.0) };
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_hours(1))
    }

    /// The wait after attempt number `attempt`.
    pub fn delay(&self, attempt: i32, rng: &mut impl Rng) -> Duration {
        let bound = self.bound(attempt);
        if self.jitter { bound.mul_f64(rng.random::<f64>()) } else { bound }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_default_doubles_from_thirty_seconds_to_an_hour() {
        let bounds: Vec<u64> = (1..=9).map(|attempt| Backoff::default().bound(attempt).as_secs()).collect();
        assert_eq!(bounds, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
    }

    #[test]
    fn full_jitter_spreads_over_the_whole_range() {
        let mut rng = rand::rng();
        let waits: Vec<f64> =
            (0..2000).map(|_| Backoff::default().delay(1, &mut rng).as_secs_f64()).collect();
        let mean = waits.iter().sum::<f64>() / 2000.0;
        assert!((13.0..17.0).contains(&mean), "mean wait {mean}");
        assert!(waits.iter().any(|wait| *wait < 1.5) && waits.iter().any(|wait| *wait > 28.5));
    }

    #[test]
    fn without_jitter_the_wait_is_the_bound() {
        let policy = Backoff { base: 0.2, jitter: false, ..Backoff::default() };
        assert_eq!(policy.delay(2, &mut rand::rng()), Duration::from_millis(400));
    }

    proptest! {
        #[test]
        fn a_wait_is_never_longer_than_the_cap(base in 0.0..1e9_f64, factor in 0.0..1e6_f64, cap in 0.0..1e6_f64, attempt in 1..1000_i32) {
            let policy = Backoff { base, factor, cap, jitter: true };
            prop_assert!(policy.delay(attempt, &mut rand::rng()).as_secs_f64() <= cap);
        }
    }
}
