//! What a child is made for.

use serde_json::{Value, json};

/// How many runs a child works on at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One.
    Alone,
    /// One, after which it ends.
    Once,
    /// So many coroutines, on one event loop.
    Async(u32),
    /// So many functions, each in a thread.
    Threads(u32),
}

impl Shape {
    /// How many.
    pub(super) const fn places(self) -> u32 {
        match self {
            Self::Alone | Self::Once => 1,
            Self::Async(places) | Self::Threads(places) => places,
        }
    }

    /// How they share it; none: there is only one.
    pub(super) const fn shared(self) -> Option<&'static str> {
        match self {
            Self::Alone | Self::Once => None,
            Self::Async(_) => Some("async"),
            Self::Threads(_) => Some("threads"),
        }
    }

    /// The packet that asks the zygote for such a child.
    pub(super) fn request(self, token: u64) -> Value {
        match (self, self.shared()) {
            (Self::Once, _) => json!({"type": "fork", "token": token, "once": true}),
            (_, None) => json!({"type": "fork", "token": token}),
            (_, Some(shared)) => {
                json!({"type": "fork", "token": token, "shared": shared, "places": self.places()})
            }
        }
    }
}
