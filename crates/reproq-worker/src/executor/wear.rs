//! When a warm child has served long enough.

use std::time::{Duration, Instant};

use super::memory;
use crate::settings::Wear;

/// A look at a child's memory costs as much as a short task: not more often than this.
const LOOK: Duration = Duration::from_millis(50);

/// What a child has been through.
pub(super) struct Service {
    pid: i32,
    since: Instant,
    runs: u64,
    /// Resident bytes after the first run.
    at_first: Option<u64>,
    looked: Instant,
    worn: bool,
}

impl Service {
    pub(super) fn new(pid: i32) -> Self {
        Self { pid, since: Instant::now(), runs: 0, at_first: None, looked: Instant::now(), worn: false }
    }

    /// One more run has ended.
    pub(super) fn count(&mut self) {
        self.runs += 1;
    }

    /// Whether it is to be replaced.
    pub(super) fn is_over(&mut self, bounds: Wear) -> bool {
        self.worn = self.worn
            || bounds.tasks.is_some_and(|most| self.runs >= most)
            || bounds.age.is_some_and(|most| self.since.elapsed() >= most)
            || bounds.growth.is_some_and(|most| self.has_grown(most));
        self.worn
    }

    fn has_grown(&mut self, most: u64) -> bool {
        if self.at_first.is_some() && self.looked.elapsed() < LOOK {
            return false;
        }
        self.looked = Instant::now();
        let now = memory::of_process(self.pid);
        now > *self.at_first.get_or_insert(now) + most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_replaced_after_its_tasks_or_at_its_age() {
        let mut service = Service::new(i32::try_from(std::process::id()).unwrap());
        let tasks = Wear { tasks: Some(2), ..Wear::default() };
        service.count();
        assert!(!service.is_over(tasks) && !service.is_over(Wear::default()));
        service.count();
        assert!(service.is_over(tasks));
        let mut service = Service::new(1);
        assert!(service.is_over(Wear { age: Some(Duration::ZERO), ..Wear::default() }));
        assert!(service.is_over(Wear::default()), "what is worn does not become new");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_child_is_replaced_when_it_has_grown() {
        let mut service = Service::new(i32::try_from(std::process::id()).unwrap());
        let growth = Wear { growth: Some(32 << 20), ..Wear::default() };
        assert!(!service.is_over(growth));
        let leak = vec![1_u8; 64 << 20];
        service.looked = Instant::now().checked_sub(LOOK).unwrap();
        assert!(service.is_over(growth), "{}", leak.len());
    }
}
