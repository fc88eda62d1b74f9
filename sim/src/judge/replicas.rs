//! What the peers show in the end, as the judges of federations look at it.
//!
//! Invariant: a peer that is lost for good shows nothing, whatever it showed before.
//!
//! Not here: judging.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Case,
    history::{Call, Federation, Seen, What},
    views::Views,
};

/// Memories of one peer, by each of their ids.
pub type Shown<'h> = BTreeMap<&'h str, &'h Seen>;

/// What the peers show in the end.
pub struct Replicas<'h> {
    /// What is known of the federation.
    pub federation: &'h Federation,
    /// The last look at each peer.
    pub shown: BTreeMap<&'h str, Shown<'h>>,
    /// Peers that run in the end and were not looked at.
    pub unseen: BTreeSet<&'h str>,
}

impl<'h> Replicas<'h> {
    /// The replicas of a run; `None` when it has no federation.
    pub fn of(case: &Case<'h>) -> Option<Self> {
        let federation = case.history.header().federation.as_ref()?;
        let mut shown: BTreeMap<&str, Shown<'_>> = BTreeMap::new();
        let mut up: BTreeSet<&str> = BTreeSet::new();
        let mut lost: BTreeSet<&str> = BTreeSet::new();
        for event in case.history.events() {
            match &event.what {
                What::Memories { node, memories } => {
                    let by_id =
                        memories.iter().flat_map(|seen| seen.ids().map(move |id| (id, seen)));
                    shown.insert(node, by_id.collect());
                }
                What::Lost { node } => drop(lost.insert(node.as_str())),
                What::Node { node, up: true } => drop(up.insert(node.as_str())),
                What::Node { node, up: false } => drop(up.remove(node.as_str())),
                _ => {}
            }
        }
        shown.retain(|node, _| !lost.contains(node));
        let unseen = up.into_iter().filter(|n| !lost.contains(n) && !shown.contains_key(n));
        Some(Self { federation, unseen: unseen.collect(), shown })
    }

    /// Whether it was looked at what a run ends with: only then can something be missing.
    pub fn were_seen(&self) -> bool {
        !self.shown.is_empty()
    }
}

/// Memories that somebody asked to delete, under any id that may be theirs, so that they may be gone.
pub fn doomed<'h>(case: &Case<'h>, views: &Views<'h>) -> BTreeSet<&'h str> {
    let deletes = case.requests.iter().filter(|operation| !operation.rejected());
    let of = deletes.filter_map(|operation| match operation.call {
        Call::Delete { id } => Some(id.as_str()),
        _ => None,
    });
    views.with_others(of.collect())
}
