//! What a worker does beside its work: keep its leases, notice what it has lost and what is cancelled, take over from those who went silent.

mod cancel;
mod heartbeat;
mod output;
mod presence;
mod reclaim;
mod takeover;
mod workflows;

use std::time::{Duration, Instant};

pub(crate) use cancel::cancel;
pub(crate) use heartbeat::{beat, tell_guard, watch};
pub(crate) use output::show;
pub(crate) use presence::Presence;
pub use reclaim::ending as reclaimed_ending;
pub(crate) use reclaim::reclaim;
pub(crate) use takeover::{take_over, take_over_now};
pub(crate) use workflows::{advance, sweep};

/// How long before a lease's end a worker stops to believe in it: long enough to kill what it has started.
pub(crate) fn margin(lease: Duration) -> Duration {
    (lease / 5).min(Duration::from_secs(3))
}

/// How long a worker may believe in a fresh lease.
pub(crate) fn trust(lease: Duration) -> Duration {
    lease.saturating_sub(margin(lease))
}

/// When what runs under a lease that may be believed in until then must be dead, even if this worker is stopped. A worker that
/// is not stops it before.
pub(crate) fn last_moment(trusted_until: Instant, lease: Duration) -> Instant {
    trusted_until + margin(lease) / 2
}
