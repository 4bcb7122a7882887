//! Workflows: what a worker does for them. What becomes of members is written down by whoever ends them, in the same transaction;
//! any worker counts it, one at a time for each workflow, and lets go of what waits.

use async_trait::async_trait;

use crate::StoreError;

/// What a worker does for workflows.
#[async_trait(?Send)]
pub trait Workflows {
    /// Counts what has become of members of workflows, and does what follows for those that wait: one transaction, bounded, that
    /// waits for nobody. What it does not come to, because there is more or because somebody holds a row, is done by the next.
    async fn advance(&self) -> Result<Advanced, StoreError>;
}

/// What one [`Workflows::advance`] has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advanced {
    /// Ends, revivals and losses of members that it counted.
    pub counted: u64,
    /// The queues of runs that have become READY.
    pub released: Vec<String>,
    /// Whether more is left than one transaction takes.
    pub more: bool,
    /// Whether something is left because somebody else holds it.
    pub held: bool,
}
