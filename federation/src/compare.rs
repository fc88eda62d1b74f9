//! Comparing two sets of digests by ranges. Pure.
//!
//! One side asks: so many items in this range, with this sum. The other says that it has the same, or splits the
//! range into parts with their counts and sums, or lists what it has when that is short. Each round costs a
//! few sums for each difference, and there are as many rounds as a tree of that width is deep.
//!
//! Source: Meyer, "Range-Based Set Reconciliation" (2022), §3, with sums of SHA-256 as fingerprints.
//!
//! Invariants: `CMP-1` in the end the asker knows every key whose item differs or is on one side only; `CMP-2`
//! ranges with equal items are never split.
//!
//! Not here: reading digests (`storage`), messages (`exchange`).

use storage::state::{ItemDigest, ItemKey, KeyRange};

/// Parts that a range is split into.
pub const PARTS: usize = 16;
/// A range with no more items than this is listed.
pub const LIST_MAX: usize = 32;
/// Items that are listed to somebody who has nothing in the range.
pub const LIST_TO_NOBODY_MAX: usize = 2048;

/// A range with what stands for its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeSum {
    /// The range.
    pub range: KeyRange,
    /// How many items.
    pub count: u64,
    /// Sum of what stands for each, modulo 2^128.
    pub sum: u128,
}

impl RangeSum {
    /// The sum over these items, which are all there are in the range.
    pub fn of(range: KeyRange, items: &[ItemDigest]) -> Self {
        let sum = items.iter().fold(0u128, |sum, item| sum.wrapping_add(weight(item)));
        Self { range, count: items.len() as u64, sum }
    }
}

/// What stands for an item in a sum.
fn weight(item: &ItemDigest) -> u128 {
    let table = [item.key.table as u8];
    let hash = storage::state::digest(&[&table, &item.key.id, &item.digest.to_be_bytes()]);
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    u128::from_be_bytes(first)
}

/// The part of sorted items that is in a range.
pub fn within<'i>(items: &'i [ItemDigest], range: &KeyRange) -> &'i [ItemDigest] {
    let first = items.partition_point(|item| item.key < range.from);
    let last = match range.to {
        Some(to) => items.partition_point(|item| item.key < to),
        None => items.len(),
    };
    items.get(first..last).unwrap_or(&[])
}

/// What is told of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The same is here.
    Same,
    /// It differs somewhere in these parts, which make up the range.
    Parts(Vec<RangeSum>),
    /// This is all there is.
    List(Vec<ItemDigest>),
}

/// Says how what is here compares with what was asked. `items` are all in the asked range, in order.
pub fn tell(items: &[ItemDigest], asked: &RangeSum) -> Told {
    let mine = RangeSum::of(asked.range, items);
    if mine == *asked {
        return Told::Same;
    }
    let list_max = if asked.count == 0 { LIST_TO_NOBODY_MAX } else { LIST_MAX };
    if items.len() <= list_max {
        return Told::List(items.to_vec());
    }
    let size = items.len().div_ceil(PARTS);
    let firsts: Vec<ItemKey> = items.iter().step_by(size).map(|item| item.key).collect();
    let part = |at: usize| {
        let from = if at == 0 { asked.range.from } else { firsts[at] };
        let to = firsts.get(at + 1).copied().or(asked.range.to);
        let range = KeyRange { from, to };
        RangeSum::of(range, within(items, &range))
    };
    Told::Parts((0..firsts.len()).map(part).collect())
}

/// What differs in a range of which the other side has listed all it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// The other side has something else, or has it alone.
    pub wanted: Vec<ItemKey>,
    /// Only this side has it.
    pub only_here: Vec<ItemKey>,
}

/// Compares a listed range, in order of keys.
pub fn differences(mine: &[ItemDigest], theirs: &[ItemDigest]) -> Differences {
    let mut found = Differences::default();
    for item in theirs {
        let here = mine.binary_search_by_key(&item.key, |mine| mine.key).map(|at| mine[at].digest);
        if here != Ok(item.digest) {
            found.wanted.push(item.key);
        }
    }
    let is_there = |item: &&ItemDigest| theirs.binary_search_by_key(&item.key, |t| t.key).is_ok();
    found.only_here = mine.iter().filter(|item| !is_there(item)).map(|item| item.key).collect();
    found
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use storage::state::Table;

    use super::*;

    type Set = BTreeMap<ItemKey, u64>;

    fn sorted(set: &Set) -> Vec<ItemDigest> {
        set.iter().map(|(key, digest)| ItemDigest { key: *key, digest: *digest }).collect()
    }

    fn key(number: u16) -> ItemKey {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let table = if number.is_multiple_of(7) { Table::Link } else { Table::Memory };
        ItemKey { table, id }
    }

    /// Compares to the end; what differs, and how many ranges and listed items went to and fro.
    fn compare(mine: &Set, theirs: &Set) -> (Differences, usize) {
        let (mine, theirs) = (sorted(mine), sorted(theirs));
        let mut open = vec![KeyRange::ALL];
        let (mut found, mut cost) = (Differences::default(), 0);
        while let Some(range) = open.pop() {
            cost += 1;
            let asked = RangeSum::of(range, within(&mine, &range));
            match tell(within(&theirs, &range), &asked) {
                Told::Same => {}
                Told::List(items) => {
                    cost += items.len();
                    let here = differences(within(&mine, &range), &items);
                    found.wanted.extend(here.wanted);
                    found.only_here.extend(here.only_here);
                }
                Told::Parts(parts) => {
                    cost += parts.len();
                    let differs = |part: &&RangeSum| {
                        RangeSum::of(part.range, within(&mine, &part.range)) != **part
                    };
                    open.extend(parts.iter().filter(differs).map(|part| part.range));
                }
            }
        }
        (found, cost)
    }

    fn set(max: usize) -> impl Strategy<Value = Set> {
        let pairs = prop::collection::vec((any::<u16>(), 0u64..3), 0..max);
        pairs.prop_map(|pairs| pairs.into_iter().map(|(n, digest)| (key(n), digest)).collect())
    }

    proptest! {
        #[test]
        fn every_difference_is_found_and_nothing_else(
            common in set(400),
            left in set(60),
            right in set(60),
        ) {
            let (mut mine, mut theirs) = (common.clone(), common);
            mine.extend(left);
            theirs.extend(right);
            let (found, _) = compare(&mine, &theirs);
            let wanted: BTreeSet<ItemKey> = theirs
                .iter()
                .filter(|(key, digest)| mine.get(key) != Some(digest))
                .map(|(key, _)| *key)
                .collect();
            let only_here: BTreeSet<ItemKey> =
                mine.keys().filter(|key| !theirs.contains_key(key)).copied().collect();
            prop_assert_eq!(found.wanted.len(), wanted.len(), "CMP-1: each once");
            prop_assert_eq!(found.wanted.into_iter().collect::<BTreeSet<_>>(), wanted, "CMP-1");
            prop_assert_eq!(found.only_here.len(), only_here.len(), "CMP-1: each once");
            prop_assert_eq!(found.only_here.into_iter().collect::<BTreeSet<_>>(), only_here);
        }
    }

    #[test]
    fn the_cost_follows_the_difference() {
        let all: Set = (0..20_000).map(|number| (key(number), 1)).collect();
        assert_eq!(compare(&all, &all).1, 1, "CMP-2");
        let mut other = all.clone();
        for number in [3, 5_000, 19_999] {
            other.insert(key(number), 2);
        }
        other.remove(&key(9));
        let (found, cost) = compare(&all, &other);
        assert_eq!((found.wanted.len(), found.only_here.len()), (3, 1));
        assert!(cost < 400, "{cost} for four differences among 20,000");
        assert!(compare(&Set::new(), &all).1 < 21_000, "what is wholly missing is listed at once");
    }
}
