//! The vocabulary and the arithmetic of Reproq: pure values, no I/O, no clock, no async.
//!
//! | word | meaning |
//! |---|---|
//! | task | a function that a site has registered with `django.tasks` |
//! | run | one enqueued call of a task: a row of `task_runs` |
//! | attempt | one try at a run; a run has as many as its retry budget allows |
//! | epoch | the number of a run's claims; with the run's id it names one attempt and fences all others |
//! | lease | how long a worker owns what it claimed, unless it renews |
//! | slot | room for one attempt at a time in a worker |
//! | worker | the process that claims runs and supervises executors |
//! | executor | the Python side of an attempt: a warm child, or one process per attempt |
//! | incarnation | one start of a worker; a restart under the same name is another one |
//! | schedule | a rule that makes runs at given times |
//! | workflow | runs that wait for each other: chains, groups, chords |
//! | step | runs of a workflow that must all have ended before others start |
//!
//! Reading order: [`status`] (what a run can be), [`outcome`] (how an attempt ends and what follows), [`retry`], [`spec`];
//! then [`queues`] (which of them a worker serves), [`isolation`] (where they run), [`admission`] (which keyed runs may start) and [`rate`];
//! [`workflow`] (what follows from the end of a member).

pub mod admission;
pub mod allow;
mod attempt_end;
pub mod cron;
pub mod ids;
pub mod isolation;
pub mod outcome;
pub mod queues;
pub mod rate;
mod record;
pub mod retry;
pub mod schedule;
pub mod spec;
pub mod status;
pub mod wire;
pub mod workflow;

pub use allow::AllowList;
pub use ids::{Epoch, Incarnation, RunId, WorkflowId};
pub use isolation::{Isolation, IsolationError, IsolationPlan};
pub use outcome::{AttemptEnd, AttemptFacts, Transition, classify};
pub use queues::{QueueOrder, QueuePlan, QueuePlanError};
pub use rate::Rate;
pub use retry::Backoff;
pub use status::RunStatus;
pub use workflow::WorkflowStatus;
