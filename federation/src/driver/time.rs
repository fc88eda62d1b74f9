//! Whether this node's clock may be believed: what peers say of it, and whether it was set since.
//!
//! What is stamped with a time of the future is refused by peers until that time has come, also after the clock was
//! set right. So a node does not stamp anything while its peers refuse it for its clock, nor after its clock has jumped,
//! until one of them takes its time again.
//!
//! Invariants: `DRV-16` no operation gets a time that differs by more than [`CLOCK_SKEW_MAX_MS`] from what followed
//! from the time that a peer took last, where a peer must have it, or while all peers that answer refuse this node's time.
//!
//! Not here: refusing others for their clocks (`crate::sealed`, `crate::admit`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future;
use parking_lot::Mutex;
use runtime::clock::{self, Instant};
use types::{NodeId, Reason, Reject, limits::CLOCK_SKEW_MAX_MS};

use super::{Federation, ask};

/// How long peers are asked for what they think of the time.
const ASKING: Duration = Duration::from_millis(1500);
/// Shortest time between two such questions.
const PAUSE: Duration = Duration::from_secs(1);

/// A time of this node's that a peer took.
#[derive(Clone, Copy, Debug)]
struct Taken {
    at: Instant,
    unix_ms: u64,
}

/// What peers think of this node's time.
#[derive(Debug, Default)]
struct Opinions {
    taken: Option<Taken>,
    /// Peers that took it when they were asked last.
    take: BTreeSet<NodeId>,
    /// Peers that refused it then, and how far apart the clocks were, in milliseconds, if they said.
    refuse: BTreeMap<NodeId, Option<u64>>,
}

impl Opinions {
    /// How far the clock has moved besides as time passes, since its time was taken, in milliseconds.
    fn jumped_ms(&self, now: Instant, unix_ms: u64) -> u64 {
        let Some(taken) = self.taken else { return 0 };
        let passed = now.saturating_duration_since(taken.at).as_millis();
        let expected = taken.unix_ms.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX));
        unix_ms.abs_diff(expected)
    }

    /// Whether something may be stamped with this time (`DRV-16`); `peers` of the nodes' peers must be able to
    /// take it.
    fn check(&self, now: Instant, unix_ms: u64, peers: (usize, usize)) -> Result<(), Reject> {
        let (needed, all) = peers;
        let too_few = !self.refuse.is_empty() && all.saturating_sub(self.refuse.len()) < needed;
        let alone = !self.refuse.is_empty() && self.take.is_empty();
        if too_few || alone {
            let apart = self.refuse.values().flatten().next();
            let apart = apart.map_or(String::new(), |ms| format!(" by {ms} ms"));
            let refusing = self.refuse.len();
            let detail = format!(
                "{refusing} of {all} peers refuse this node because its clock differs from theirs{apart}: set the \
                 clock; nothing was written"
            );
            return Err(Reject::new(Reason::ClockSkew, detail));
        }
        // Where nobody else needs to have it there may be nobody to ask.
        let jumped_ms = if needed == 0 { 0 } else { self.jumped_ms(now, unix_ms) };
        if jumped_ms > CLOCK_SKEW_MAX_MS {
            let detail = format!(
                "this node's clock has jumped by {jumped_ms} ms, and no peer has taken its time since; nothing was \
                 written"
            );
            return Err(Reject::new(Reason::ClockSkew, detail).with("jumped_ms", jumped_ms));
        }
        Ok(())
    }
}

/// What is known of this node's clock.
#[derive(Default)]
pub(super) struct Times {
    opinions: Mutex<Opinions>,
    /// When peers were asked last.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Times {
    /// A peer answered what was sent at this time.
    pub(super) fn taken(&self, peer: NodeId, at: Instant, unix_ms: u64) {
        let mut opinions = self.opinions.lock();
        opinions.refuse.remove(&peer);
        opinions.take.insert(peer);
        opinions.taken = Some(Taken { at, unix_ms });
    }

    /// A peer did not answer, or refused.
    pub(super) fn failed(&self, peer: NodeId, error: &Reject) {
        let mut opinions = self.opinions.lock();
        opinions.take.remove(&peer);
        if error.reason == Reason::ClockSkew {
            let apart_ms = error.fact("apart_ms").and_then(|ms| ms.parse().ok());
            opinions.refuse.insert(peer, apart_ms);
        }
    }

    /// A peer is none any more.
    pub(super) fn left(&self, peer: NodeId) {
        let mut opinions = self.opinions.lock();
        opinions.take.remove(&peer);
        opinions.refuse.remove(&peer);
    }
}

impl Federation {
    /// The time to stamp a write with, Unix milliseconds, where so many nodes must have it, this one among
    /// them. Peers are asked when it is in doubt.
    ///
    /// # Errors
    /// [`Reason::ClockSkew`] (`DRV-16`).
    pub async fn time(&self, needed: usize) -> Result<u64, Reject> {
        if let Ok(unix_ms) = self.checked(needed) {
            return Ok(unix_ms);
        }
        let times = &self.0.times;
        // Whoever waited for another one's question has its answers.
        let mut asked = times.asked.lock().await;
        if asked.is_none_or(|at| at.elapsed() >= PAUSE) {
            let members = self.members();
            let me = self.0.exchange.me;
            let peers = members.iter().filter(|m| m.endpoint.is_some() && m.node != me);
            let asking = future::join_all(peers.map(|member| ask::fetch(self, member.node)));
            // What they answer is noted as for every question.
            let _ = clock::timeout(ASKING, asking).await;
            *asked = Some(Instant::now());
        }
        drop(asked);
        self.checked(needed)
    }

    fn checked(&self, needed: usize) -> Result<u64, Reject> {
        let me = self.0.exchange.me;
        let members = self.members();
        let all = members.iter().filter(|m| m.endpoint.is_some() && m.node != me).count();
        let (now, unix_ms) = (Instant::now(), clock::now_unix_ms());
        let opinions = self.0.times.opinions.lock();
        opinions.check(now, unix_ms, (needed.saturating_sub(1), all)).map(|()| unix_ms)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn peer(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn skewed() -> Reject {
        Reject::new(Reason::ClockSkew, "apart").with("apart_ms", 3_600_000)
    }

    #[test]
    fn a_time_that_peers_refuse_stamps_nothing() {
        let (times, now) = (Times::default(), Instant::now());
        let check = |needed| times.opinions.lock().check(now, NOW_MS, (needed, 2));
        assert_eq!(check(1), Ok(()), "nobody has said anything");
        times.failed(peer(1), &skewed());
        let refused = check(1).expect_err("DRV-16: nobody takes it");
        assert!(refused.detail.contains("3600000 ms"), "{refused}");
        times.taken(peer(2), now, NOW_MS);
        assert_eq!(check(1), Ok(()), "one takes it, and one is enough");
        assert!(check(2).is_err(), "DRV-16");
        times.taken(peer(1), now, NOW_MS);
        assert_eq!(check(2), Ok(()));
        times.failed(peer(2), &Reject::new(Reason::DeadlineExceeded, "no answer"));
        assert_eq!(check(2), Ok(()), "silence is no opinion");
        times.failed(peer(1), &skewed());
        assert!(check(1).is_err());
        times.left(peer(1));
        assert_eq!(check(1), Ok(()));
    }

    #[test]
    fn a_clock_that_jumps_stamps_nothing_until_a_peer_takes_its_time() {
        let (times, now) = (Times::default(), Instant::now());
        times.taken(peer(1), now, NOW_MS);
        let later = now + Duration::from_secs(60);
        let check = |unix_ms| times.opinions.lock().check(later, unix_ms, (1, 2));
        assert_eq!(check(NOW_MS + 60_000 + CLOCK_SKEW_MAX_MS), Ok(()));
        for unix_ms in [NOW_MS + 60_001 + CLOCK_SKEW_MAX_MS, NOW_MS + 59_999 - CLOCK_SKEW_MAX_MS] {
            let jumped = check(unix_ms).expect_err("DRV-16");
            assert_eq!(jumped.fact("jumped_ms"), Some("300001"));
        }
        times.taken(peer(1), later, NOW_MS + 3_600_000);
        assert_eq!(check(NOW_MS + 3_600_000), Ok(()));
    }
}
