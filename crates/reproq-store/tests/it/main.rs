//! What every store must do, proven on both databases. One suite: a test that holds for one engine only says why.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in a test they are assertions")]

mod admission;
mod cancel;
mod claim;
mod database;
mod dedupe;
mod due;
mod explain;
mod finish;
mod graph;
mod history;
mod keyed;
mod lease;
mod mutants;
mod operate;
mod prune;
mod queues;
mod race;
mod registry;
mod schedules;
mod sequences;
mod statements;
mod together;
mod workflows;
