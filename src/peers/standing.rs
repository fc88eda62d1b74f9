//! How the peers stand: what the engine knows of each, what they said of themselves, and how writes ended.
//!
//! Invariant: nothing is decided by it; it is for operators.
//!
//! Not here: how it is shown (`node::service::peering`, `telemetry::peers`).

use std::sync::atomic::{AtomicU64, Ordering};

use federation::{
    driver::{Seen, Troubles},
    engine::PeerView,
    members::Member,
};
use runtime::clock;

use super::Peers;
use crate::telemetry::peers::{FederationFigures, PeerFigures};

/// How one peer stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Who it is.
    pub member: Member,
    /// How much it has, as the engine sees it.
    pub view: PeerView,
    /// What it said of itself.
    pub seen: Seen,
}

impl Standing {
    /// Dead letters that wait for an operator.
    pub fn quarantined(&self) -> usize {
        self.view.letters.iter().filter(|letter| letter.next_ms.is_none()).count()
    }

    fn figures(&self, now_ms: u64) -> PeerFigures {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        PeerFigures {
            name: self.member.name.clone(),
            lag: self.view.lag,
            failures: u64::from(self.view.failures),
            letters: self.view.letters.len() as u64,
            clock_offset_seconds: self.seen.clock_offset_ms.map(|ms| ms as f64 / 1000.0),
            silent_seconds: self.seen.heard_ms.map(|at| seconds(now_ms.saturating_sub(at))),
            drifts: self.seen.drifts(),
        }
    }
}

/// How writes ended that wanted a quorum.
#[derive(Debug, Default)]
pub(super) struct Counts {
    partial: AtomicU64,
    not_met: AtomicU64,
}

impl Counts {
    /// A write ended with so many nodes out of all, or without its quorum.
    pub(super) fn ended(&self, got: Option<u32>, nodes: u32) {
        let counter = match got {
            None => &self.not_met,
            Some(got) if got < nodes => &self.partial,
            Some(_) => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Peers {
    /// The peers, in order of their ids.
    pub async fn standing(&self) -> Vec<Standing> {
        let federation = &self.0.federation;
        let members = federation.members();
        let views = federation.peers().await.into_iter();
        let standing = views.filter_map(|view| {
            let member = members.get(view.peer).ok()?.clone();
            let seen = federation.seen(view.peer);
            Some(Standing { member, view, seen })
        });
        standing.collect()
    }

    /// What metrics show.
    pub async fn figures(&self) -> FederationFigures {
        let (standing, now_ms) = (self.standing().await, clock::now_unix_ms());
        let Troubles { retried, refused, quarantined } = self.0.federation.troubles();
        let (counts, traffic) = (&self.0.counts, self.0.federation.traffic());
        FederationFigures {
            retried,
            refused,
            given_up: quarantined,
            waiting: self.0.federation.waiting() as u64,
            quarantined: standing.iter().map(|peer| peer.quarantined() as u64).sum(),
            partial: counts.partial.load(Ordering::Relaxed),
            not_met: counts.not_met.load(Ordering::Relaxed),
            traffic,
            peers: standing.iter().map(|peer| peer.figures(now_ms)).collect(),
        }
    }
}
