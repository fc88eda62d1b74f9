//! Tests of the index as a whole, through its public face, and the seeded data they share.

mod faults;
mod files;
mod recall;
mod upkeep;

use std::path::Path;

use runtime::disk::OsDisk;

use super::super::Slot;
use super::super::bitmap::{Allowed, Bitmap};
use super::*;

/// SplitMix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn bell(&mut self) -> f32 {
        (0..3).map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32).sum::<f32>() - 1.5
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Clustered vectors: noise around one of `clusters` centres, all shifted along one common direction.
pub(super) struct Data {
    dimension: u16,
    common: Vec<f32>,
    centres: Vec<Vec<f32>>,
}

impl Data {
    pub(super) fn new(dimension: u16, clusters: usize) -> Self {
        let mut dice = Dice(7);
        let mut vector = || (0..dimension).map(|_| dice.bell()).collect::<Vec<f32>>();
        let common = vector();
        Self { dimension, common, centres: (0..clusters).map(|_| vector()).collect() }
    }

    pub(super) fn vector(&self, seed: u64) -> Vec<f32> {
        let mut dice = Dice(seed);
        let centre = &self.centres[dice.below(self.centres.len() as u64) as usize];
        let pairs = self.common.iter().zip(centre);
        pairs.map(|(common, centre)| common + centre + 0.6 * dice.bell()).collect()
    }

    pub(super) fn space(&self) -> Space {
        Space { model: "test".into(), version: "1".into(), dimension: self.dimension }
    }

    /// Adds the slots, each with the vector of its own seed.
    pub(super) fn fill(&self, index: &VectorIndex, slots: impl Iterator<Item = Slot>) {
        for slot in slots {
            assert!(index.add(slot, &self.vector(u64::from(slot))).unwrap());
        }
    }
}

pub(super) fn settle(index: &VectorIndex) {
    while index.maintain(10_000).unwrap() {}
}

pub(super) fn open(data: &Data, config: VectorConfig, dir: &Path) -> VectorIndex {
    VectorIndex::open(data.space(), config, OsDisk::shared(), dir.join("index")).unwrap()
}

pub(super) fn no_graph() -> VectorConfig {
    VectorConfig { graph_min_rows: u32::MAX, ..VectorConfig::default() }
}

pub(super) fn all(len: u32) -> Allowed {
    Allowed::new(Bitmap::full(len))
}

pub(super) fn every(step: usize, len: u32) -> Allowed {
    let mut bits = Bitmap::new(len);
    (0..len).step_by(step).for_each(|slot| bits.insert(slot));
    Allowed::new(bits)
}

pub(super) fn slots(answer: &Answer) -> Vec<Slot> {
    answer.hits.iter().map(|hit| hit.slot).collect()
}
