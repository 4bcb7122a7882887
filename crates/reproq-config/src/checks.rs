//! Checks of values that depend on each other.

use std::time::Duration;

use crate::error::ConfigError;
use crate::layers::Layers;

impl Layers {
    /// Refuses values that are right alone and wrong together.
    pub(crate) fn check_pairs(&self) -> Result<(), ConfigError> {
        self.check_heartbeat()?;
        let (shortest, longest) = ("worker.poll_min_backoff", "worker.poll_max_backoff");
        if self.get::<Duration>(longest)? < self.get::<Duration>(shortest)? {
            return self.conflict(
                (shortest, longest),
                "the longest pause between polls is shorter than the shortest",
                format!("raise {longest} or lower {shortest}"),
            );
        }
        let (logs, folder) = ("worker.logs", "worker.logs_dir");
        if self.logs_go_to(&["files", "both"])? && self.logs_dir()?.is_none() {
            return self.conflict(
                (logs, folder),
                "files need a directory to be in",
                format!("set {folder}, or {logs} to database"),
            );
        }
        let (cert, key) = ("metrics.tls_cert", "metrics.tls_key");
        if self.find(cert)?.value.is_some() != self.find(key)?.value.is_some() {
            return self.conflict(
                (cert, key),
                "a certificate and its key are of use together only",
                format!("set both {cert} and {key}, or neither"),
            );
        }
        Ok(())
    }

    fn check_heartbeat(&self) -> Result<(), ConfigError> {
        let (heartbeat, lease) = ("worker.heartbeat_seconds", "worker.lease_seconds");
        let lease_seconds: i64 = self.get(lease)?;
        let heartbeat_seconds: i64 = self.get(heartbeat)?;
        if heartbeat_seconds * 2 < lease_seconds {
            return Ok(());
        }
        self.conflict(
            (heartbeat, lease),
            "the heartbeat must come more than twice per lease, or one that is late loses every task",
            format!(
                "lower {heartbeat} to {} or less, or raise {lease} to {} or more",
                (lease_seconds - 1) / 2,
                heartbeat_seconds * 2 + 1
            ),
        )
    }

    fn conflict(
        &self,
        names: (&'static str, &'static str),
        why: &'static str,
        hint: String,
    ) -> Result<(), ConfigError> {
        let (first, second) = (self.find(names.0)?.described(), self.find(names.1)?.described());
        Err(ConfigError::Conflict { first, second, why, hint })
    }
}
