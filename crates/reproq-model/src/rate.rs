//! Rates: the generic cell rate algorithm. A rate's whole state is one moment, its theoretical arrival time (`tat`): when the
//! last start admitted would have come, had all come at an even pace. It only moves forward, and only by what is admitted,
//! so any window of `w` seconds holds at most `burst + rate * w` starts, whoever asks and however often.

/// Starts per second, with a burst.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Starts per second, above 0.
    pub per_second: f64,
    /// Starts at the same moment after a rest, 1 at least.
    pub burst: i32,
}

impl Rate {
    /// None: it limits nothing, as the earlier system has it for a rate or a burst of 0 or less.
    #[must_use]
    pub fn new(per_second: f64, burst: i32) -> Option<Self> {
        (per_second > 0.0 && per_second.is_finite() && burst > 0).then_some(Self { per_second, burst })
    }

    /// How many starts it admits at `now`. Both moments in microseconds since 1970; no `tat`: nothing was admitted lately.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a span of more than 2^53 microseconds is 285 years")]
    pub fn available(self, tat: Option<i64>, now: i64) -> u32 {
        let debt = (tat.unwrap_or(now).max(now) - now) as f64 * self.per_second / 1e6;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates, as it should"
        )]
        let whole = (f64::from(self.burst) - debt).floor().max(0.0) as u32;
        whole
    }

    /// The `tat` after `count` starts at `now`. Rounded up, so that what is lost to rounding is never a start too many.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, as it should")]
    pub fn after(self, tat: Option<i64>, now: i64, count: u32) -> i64 {
        let span = (f64::from(count) * 1e6 / self.per_second).ceil() as i64;
        tat.unwrap_or(now).max(now).saturating_add(span)
    }

    /// The `tat` of a rate that takes the place of `before`: as many starts as that was ahead, at this one's pace.
    #[must_use]
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as above")]
    pub fn take_over(self, before: Self, tat: Option<i64>, now: i64) -> Option<i64> {
        let starts_ahead = (tat? - now).max(0) as f64 * before.per_second;
        Some(now.saturating_add((starts_ahead / self.per_second).ceil() as i64))
    }

    /// When the next start is admitted, microseconds since 1970: in the past or at `now` when one is admitted already.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, as it should")]
    pub fn next_at(self, tat: Option<i64>, now: i64) -> i64 {
        let ahead = (f64::from(self.burst - 1) * 1e6 / self.per_second).floor() as i64;
        tat.unwrap_or(now).saturating_sub(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_800_000_000_000_000;

    #[test]
    fn after_a_rest_a_burst_is_there_and_no_more() {
        let rate = Rate::new(2.0, 5).unwrap();
        assert_eq!(rate.available(None, NOW), 5);
        let tat = rate.after(None, NOW, 5);
        assert_eq!(rate.available(Some(tat), NOW), 0);
        assert_eq!(rate.available(Some(tat), NOW + 500_000), 1);
        assert_eq!(rate.available(Some(tat), NOW + 3_600_000_000), 5);
    }

    #[test]
    fn the_next_start_is_when_one_is_available() {
        let rate = Rate::new(4.0, 2).unwrap();
        let tat = rate.after(None, NOW, 2);
        let next = rate.next_at(Some(tat), NOW);
        assert_eq!(next, NOW + 250_000);
        assert_eq!((rate.available(Some(tat), next - 1), rate.available(Some(tat), next)), (0, 1));
    }

    #[test]
    fn a_new_rate_forgives_no_start_and_adds_none() {
        let (slow, fast) = (Rate::new(0.001, 3).unwrap(), Rate::new(100.0, 10).unwrap());
        let tat = fast.take_over(slow, Some(slow.after(None, NOW, 3)), NOW);
        assert_eq!(fast.available(tat, NOW), 7);
        let back = slow.take_over(fast, tat, NOW);
        assert_eq!(slow.available(back, NOW), 0);
    }

    #[test]
    fn a_rate_of_nothing_is_no_rate() {
        assert_eq!(Rate::new(0.0, 5), None);
        assert_eq!(Rate::new(1.0, 0), None);
        assert_eq!(Rate::new(f64::NAN, 5), None);
    }

    proptest! {
        /// Asked at random moments for random numbers, whatever it grants stays within every window.
        #[test]
        fn no_window_holds_more_than_its_share(
            per_second in 0.05..5000.0_f64,
            burst in 1..50_i32,
            asks in prop::collection::vec((0..2_000_000_i64, 0..40_u32), 1..60),
        ) {
            let rate = Rate::new(per_second, burst).unwrap();
            let (mut tat, mut now, mut starts) = (None, NOW, Vec::new());
            for (pause, wanted) in asks {
                now += pause;
                let granted = wanted.min(rate.available(tat, now));
                if granted > 0 {
                    tat = Some(rate.after(tat, now, granted));
                    starts.push((now, granted));
                }
            }
            for first in 0..starts.len() {
                let mut count = 0;
                for (at, granted) in &starts[first..] {
                    count += granted;
                    let window = f64::from(u32::try_from(at - starts[first].0).unwrap()) / 1e6;
                    prop_assert!(f64::from(count) <= f64::from(burst) + per_second * window + 1e-6);
                }
            }
        }
    }
}
