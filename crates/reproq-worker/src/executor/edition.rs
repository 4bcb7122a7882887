//! Which state of the site's code a process has imported.

use std::cell::Cell;
use std::rc::Rc;

/// Counts the states of the code that have been imported since the worker's start.
#[derive(Default)]
pub(super) struct Editions {
    newest: Rc<Cell<u64>>,
}

/// One of them.
#[derive(Clone)]
pub(super) struct Edition {
    number: u64,
    newest: Rc<Cell<u64>>,
}

impl Editions {
    pub(super) fn newest(&self) -> Edition {
        Edition { number: self.newest.get(), newest: Rc::clone(&self.newest) }
    }

    /// The one after the newest, which is outdated by nothing until [`Self::advance`] makes it the newest.
    pub(super) fn next(&self) -> Edition {
        Edition { number: self.newest.get() + 1, newest: Rc::clone(&self.newest) }
    }

    pub(super) fn advance(&self) {
        self.newest.set(self.newest.get() + 1);
    }
}

impl Edition {
    /// Whether there is a newer one.
    pub(super) fn is_outdated(&self) -> bool {
        self.number < self.newest.get()
    }
}
