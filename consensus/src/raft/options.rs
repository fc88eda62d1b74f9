//! How a group is set up, and what its times mean.
//!
//! Invariant: followers wait one lease and one election timeout before they stand, and a lease is the
//! longest election timeout: a leader that dies is replaced within about twice that.
//!
//! Not here: configuration files (`src/config`).

use std::{sync::Arc, time::Duration};

use openraft::{Config, SnapshotPolicy};
use types::Invalid;

use crate::log::LogOptions;

/// Times and sizes of a group. All members should have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// Silence of a leader before a follower stands: drawn from this range, in milliseconds.
    pub election_ms: (u64, u64),
    /// A leader's heartbeat, in milliseconds; at most a third of the shortest election timeout.
    pub heartbeat_ms: u64,
    /// Least time that a peer has to sync what it was sent, in milliseconds.
    pub append_ms: u64,
    /// Time to send and install a snapshot, in milliseconds.
    pub snapshot_ms: u64,
    /// Entries after which a snapshot is made.
    pub snapshot_every: u64,
    /// Entries kept behind a snapshot for followers that lag a little.
    pub entries_kept: u64,
    /// How far the rates of two members' clocks may be apart, in thousandths; lease reads are safe
    /// within it. `None` switches lease reads off.
    pub lease_drift_permille: Option<u32>,
    /// The log.
    pub log: LogOptions,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            election_ms: (150, 200),
            heartbeat_ms: 50,
            append_ms: 1000,
            snapshot_ms: 30_000,
            snapshot_every: 10_000,
            entries_kept: 2_000,
            lease_drift_permille: None,
            log: LogOptions::default(),
        }
    }
}

impl GroupOptions {
    /// How long after the start of a round that a majority answered its leader may read without
    /// asking: `lease × (1 − d) / (1 + d)`, so that the leader's slow clock and a follower's fast one
    /// still agree that nobody else leads. `None` if lease reads are off.
    pub fn lease(&self) -> Option<Duration> {
        let drift = u64::from(self.lease_drift_permille?.min(999));
        let lease_us = self.election_ms.1.saturating_mul(1000);
        Some(Duration::from_micros(lease_us.saturating_mul(1000 - drift) / (1000 + drift)))
    }

    /// The library's configuration.
    pub(super) fn config(&self, cluster: [u8; 16]) -> Result<Arc<Config>, Invalid> {
        let invalid = |problem: String| Invalid::new("raft", problem);
        if self.heartbeat_ms.saturating_mul(3) > self.election_ms.0 {
            return Err(invalid(format!(
                "a heartbeat every {} ms leaves no room for a lost one before {} ms",
                self.heartbeat_ms, self.election_ms.0
            )));
        }
        let config = Config {
            cluster_name: format!("{:032x}", u128::from_be_bytes(cluster)),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: self.election_ms.0,
            election_timeout_max: self.election_ms.1,
            install_snapshot_timeout: self.snapshot_ms,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.entries_kept,
            enable_pre_vote: Some(true),
            // A restarted leader stands again like everybody else.
            enable_leader_restore: Some(false),
            backoff: "50ms 100ms 200ms ...1s".into(),
            ..Config::default()
        };
        Ok(Arc::new(config.validate().map_err(|error| invalid(error.to_string()))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_shrinks_with_the_drift() {
        let lease = |permille| {
            let options =
                GroupOptions { lease_drift_permille: Some(permille), ..GroupOptions::default() };
            options.lease().unwrap()
        };
        assert_eq!(lease(0), Duration::from_millis(200));
        assert!(lease(10) < lease(0) && lease(500) < Duration::from_millis(84));
        assert!(lease(5000) < Duration::from_millis(1));
        assert_eq!(GroupOptions::default().lease(), None);
    }

    #[test]
    fn times_that_cannot_work_are_refused() {
        let bad = GroupOptions { heartbeat_ms: 60, ..GroupOptions::default() };
        assert!(bad.config([0; 16]).is_err());
        let bad = GroupOptions { election_ms: (300, 200), ..GroupOptions::default() };
        assert!(bad.config([0; 16]).is_err());
        assert!(GroupOptions::default().config([0; 16]).is_ok());
    }
}
