//! The worker: claims runs, supervises their execution in Python, and records how they end.
//!
//! One thread. Everything here takes microseconds per run; the work itself happens in the executors' processes.
//!
//! ```text
//! wake ─> dispatcher ── claim ──> slots ──> attempt ──> executor (a child's process)
//!                                             │
//!                                             └─ classify ─> finisher ── one statement per batch ──> store
//! lifecycle: heartbeat (renew, notice loss), cancel (notice cancellation), reclaim (runs of workers that went silent), output (what
//!            running attempts print)
//! ```
//!
//! [`worker`] starts and stops all of it in order; [`dispatcher`] talks to the store and never to a process; [`attempt`]
//! is one run from start to end; [`executor`] knows processes and frames, and no database; [`scheduler`] enqueues what is due of
//! the schedules, in a worker or alone.

mod attempt;
mod attempts;
mod beside;
mod dispatcher;
mod executor;
mod finisher;
mod held;
mod lanes;
mod lifecycle;
mod live;
mod pace;
mod queues;
#[cfg(test)]
mod sample;
mod scheduler;
mod settings;
mod shutdown;
mod slots;
mod telemetry;
mod wake;
mod watch;
mod worker;

pub use executor::ExecutorError;
#[cfg(target_os = "linux")]
pub use executor::serve_guard;
pub use lifecycle::reclaimed_ending;
pub use scheduler::{Look, beat, look_once};
pub use settings::{ExecutorSettings, Settings, Wear};
pub use shutdown::Signals;
pub use worker::{Ended, WorkerError, run};
