//! What the worker and its guard say to each other: one JSON object per packet.

use serde::{Deserialize, Serialize};

use super::super::launch::Named;

/// From the worker. A token is a number that it has given to nothing else.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Request {
    /// Start a process. Descriptors come with it: stdin if there is one, stdout, stderr, the extra one if there is one.
    Spawn {
        token: u64,
        words: Vec<String>,
        set: Vec<(String, String)>,
        stdin: bool,
        extra: Option<Named>,
        adopts: bool,
    },
    /// Kill what was spawned under this token, with its process group.
    Kill { token: u64 },
    /// Interrupt it, and nothing that it has started.
    Interrupt { token: u64 },
    /// Kill what dead processes have left behind, and say when it is gone.
    Sweep { token: u64 },
    /// Until when what runs may go on without another word: milliseconds of `CLOCK_BOOTTIME`, which runs while the machine sleeps.
    Trust { until: Option<u64> },
}

/// From the guard.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Report {
    /// It is there.
    Ready,
    Spawned {
        token: u64,
        pid: i32,
    },
    SpawnFailed {
        token: u64,
        errno: Option<i32>,
        message: String,
    },
    /// What was spawned has ended, and its process group was killed; `status` as `waitpid` gives it.
    Exited {
        token: u64,
        status: i32,
    },
    /// Nothing is left of what was left behind; so many processes were.
    Swept {
        token: u64,
        killed: u64,
    },
    /// The worker's word was overdue: everything is being killed.
    KilledAll,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_arrive_as_they_were_sent() {
        let spawn = Request::Spawn {
            token: u64::MAX,
            words: vec!["python".to_owned(), "é".to_owned()],
            set: vec![("A".to_owned(), "=".to_owned())],
            stdin: true,
            extra: Some(Named::LastArgument),
            adopts: false,
        };
        for request in [spawn, Request::Sweep { token: 7 }, Request::Trust { until: None }] {
            let text = serde_json::to_vec(&request).unwrap();
            assert_eq!(serde_json::from_slice::<Request>(&text).unwrap(), request);
        }
        let report = Report::Exited { token: 1, status: -1 };
        let text = serde_json::to_vec(&report).unwrap();
        assert_eq!(serde_json::from_slice::<Report>(&text).unwrap(), report);
    }
}
