//! Cuts of the simulated network, counted, so that overlapping faults do not mend each other's.
//!
//! Invariant: a link carries packets if and only if no cut of it is left.
//!
//! Not here: who is cut from whom (`strike`).

use std::collections::BTreeMap;

use madsim::{net::NetSim, task::NodeId};
use parking_lot::Mutex;

/// A direction between two machines.
pub type Way = (NodeId, NodeId);

/// The cuts of a run.
#[derive(Debug, Default)]
pub struct Links(Mutex<BTreeMap<Way, u32>>);

impl Links {
    /// Cuts some ways.
    pub fn cut(&self, ways: &[Way]) {
        let mut cuts = self.0.lock();
        for (from, to) in ways {
            let count = cuts.entry((*from, *to)).or_default();
            *count += 1;
            if *count == 1 {
                NetSim::current().clog_link(*from, *to);
            }
        }
    }

    /// Takes one cut away from each of these ways.
    pub fn mend(&self, ways: &[Way]) {
        let mut cuts = self.0.lock();
        for way in ways {
            let Some(count) = cuts.get_mut(way) else { continue };
            *count -= 1;
            if *count == 0 {
                cuts.remove(way);
                NetSim::current().unclog_link(way.0, way.1);
            }
        }
    }
}

/// Both directions between everybody of one side and everybody of the other.
pub fn between(one: &[NodeId], other: &[NodeId]) -> Vec<Way> {
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b)));
    pairs.filter(|(a, b)| a != b).flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}
