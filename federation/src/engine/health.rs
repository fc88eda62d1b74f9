//! Whether a peer is worth asking, and when next.
//!
//! Invariant: `FED-7` a peer that does not answer is asked ever more seldom, at most every
//! [`BACK_OFF_MAX_MS`], and at once when it is heard of again.
//!
//! Not here: what it is asked.

use types::NodeId;

/// First pause after a failure, in milliseconds.
pub(super) const BACK_OFF_MS: u64 = 100;
/// Longest pause, in milliseconds.
pub(super) const BACK_OFF_MAX_MS: u64 = 15_000;

/// How a peer has answered lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// Failures since it last answered.
    failures: u32,
    /// Not to be asked before.
    quiet_until_ms: u64,
}

impl Health {
    /// It answered, or asked something itself.
    pub(super) fn heard(&mut self) {
        *self = Self::default();
    }

    /// It did not answer. Peers fail together when the network does, so each waits a little differently.
    pub(super) fn failed(&mut self, peer: NodeId, now_ms: u64) {
        let pause_ms = (BACK_OFF_MS << self.failures.min(16)).min(BACK_OFF_MAX_MS);
        let last = u64::from(peer.as_bytes()[15]);
        let spread_ms = pause_ms / 4 * last / 255;
        self.failures = self.failures.saturating_add(1);
        self.quiet_until_ms = now_ms.saturating_add(pause_ms - spread_ms);
    }

    pub(super) fn may_ask(&self, now_ms: u64) -> bool {
        now_ms >= self.quiet_until_ms
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn quiet_until_ms(&self) -> u64 {
        self.quiet_until_ms
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_an_answer() {
        let peer = NodeId(Uuid::nil());
        let mut health = Health::default();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            health.failed(peer, 1000);
            pauses.push(health.quiet_until_ms() - 1000);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000], "FED-7");
        assert!(!health.may_ask(1000) && health.may_ask(16_000));
        health.heard();
        assert!(health.may_ask(1000));
        health.failed(NodeId(Uuid::max()), 1000);
        assert_eq!(health.quiet_until_ms(), 1075);
    }
}
