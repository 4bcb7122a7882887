//! What bounds one attempt: its time, which it may ask to be extended, and its memory.

use std::time::{Duration, Instant};

use reproq_model::AttemptEnd;
use reproq_model::wire::{Note, NoteKind};
use tokio::time::{sleep, sleep_until};

use crate::executor::memory;

/// How often the memory of an attempt is looked at that has a bound.
const LOOK: Duration = Duration::from_millis(50);

/// Every so many looks, what it has started is looked at, too.
const TREE_LOOK: u32 = 10;

/// The bounds of one attempt, and what it has used of them.
pub(crate) struct Watch {
    began: Instant,
    until: Instant,
    /// How long it may take, extensions included.
    ceiling: Duration,
    max_memory: Option<u64>,
}

/// A bound that is exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Time,
    Memory { limit: u64, used: u64 },
}

impl Watch {
    /// Begins now. `timeout` may be extended up to `ceiling`.
    pub(crate) fn new(timeout: Duration, ceiling: Duration, max_memory: Option<u64>) -> Self {
        let began = Instant::now();
        Self { began, until: began + timeout, ceiling, max_memory }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How much time is left.
    pub(crate) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Takes in what the attempt says of its bounds.
    pub(crate) fn hear(&mut self, note: &Note) {
        match note.kind {
            NoteKind::Extend => {
                let most = self.ceiling.as_secs_f64();
                // Nonsense (NaN, below zero) is no extension.
                let wanted = note.seconds.unwrap_or_default().clamp(0.0, most);
                let wanted = Duration::try_from_secs_f64(wanted).unwrap_or_default();
                self.until = self.until.max((Instant::now() + wanted).min(self.began + self.ceiling));
            }
            NoteKind::Limits => self.max_memory = note.max_memory_bytes.or(self.max_memory),
            NoteKind::Progress | NoteKind::Blocked => {}
        }
    }

    /// Returns when a bound is exceeded by the attempt that this process works on.
    pub(crate) async fn exceeded(&self, pid: Option<i32>) -> Exceeded {
        let (Some(limit), Some(pid)) = (self.max_memory, pid) else {
            sleep_until(self.until.into()).await;
            return Exceeded::Time;
        };
        for look in 0_u32.. {
            if self.left().is_zero() {
                break;
            }
            // What the process itself uses is cheap to know; for what it has started, all processes have to be looked at.
            let alone = look % TREE_LOOK != 0;
            let used = if alone { memory::of_process(pid) } else { memory::of_tree(pid) };
            if used > limit {
                return Exceeded::Memory { limit, used };
            }
            sleep(LOOK.min(self.left())).await;
        }
        Exceeded::Time
    }

    /// How the attempt ends that has exceeded it.
    pub(crate) fn end(&self, exceeded: Exceeded) -> AttemptEnd {
        match exceeded {
            Exceeded::Time => {
                AttemptEnd::TimedOut { limit: self.until.saturating_duration_since(self.began) }
            }
            Exceeded::Memory { limit, used } => {
                AttemptEnd::MemoryLimit { limit_bytes: limit, used_bytes: used }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Note {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_extension_moves_the_end_and_never_back_nor_beyond_the_ceiling() {
        let hour = Duration::from_hours(1);
        let mut watch = Watch::new(Duration::from_secs(10), hour, None);
        let extend = |watch: &mut Watch, seconds: &str| {
            watch.hear(&note(&format!(
                r#"{{"type":"extend","result_id":"1","epoch":1,"seconds":{seconds}}}"#
            )));
            watch.left().as_secs_f64()
        };
        assert!((59.0..=60.0).contains(&extend(&mut watch, "60")));
        assert!((59.0..=60.0).contains(&extend(&mut watch, "1")), "never back");
        assert!((59.0..=60.0).contains(&extend(&mut watch, "-5")), "nonsense changes nothing");
        let most = extend(&mut watch, "1e300");
        assert!((3599.0..=3600.0).contains(&most), "{most}");
    }

    #[tokio::test]
    async fn a_process_beyond_its_memory_is_found_and_one_within_it_ends_with_its_time() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let mut watch = Watch::new(Duration::from_millis(120), Duration::from_secs(1), None);
        watch.hear(&note(r#"{"type":"limits","result_id":"1","epoch":1,"max_memory_bytes":1}"#));
        assert!(
            matches!(watch.exceeded(Some(pid)).await, Exceeded::Memory { limit: 1, used } if used > 1 << 19)
        );
        let watch = Watch::new(Duration::from_millis(120), Duration::from_secs(1), Some(1 << 50));
        assert_eq!(watch.exceeded(Some(pid)).await, Exceeded::Time);
    }
}
