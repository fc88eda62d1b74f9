//! A register with two kinds of writers: explicit writes set it, automatic writes only raise it.
//!
//! A plain register cannot keep "automatic never lowers": whether a raise counts would depend on
//! the value found on arrival, and replicas that see the writes in another order would differ. So
//! raises are remembered beside the set value until a later explicit write overrules them, and the
//! value is read as the greatest of those that stand.
//!
//! Invariants: `RAT-1` [`Ratchet::join`] is commutative, associative and idempotent, and applying
//! the same writes in any order, any number of times, leaves the same ratchet; `RAT-2` a raise never
//! lowers the value; `RAT-3` only raises that can still matter are kept: each is later than the set
//! value, and no other is at least as high and at least as late.
//!
//! Not here: which fields are ratchets (`record`).

use std::collections::BTreeMap;

use crate::{Register, Stamp};

/// A value with an explicit write and the automatic raises since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ratchet<T: Ord> {
    set: Register<T>,
    raises: BTreeMap<T, Stamp>,
}

impl<T: Ord + Copy> Ratchet<T> {
    /// A ratchet set by `stamp`.
    pub fn new(value: T, stamp: Stamp) -> Self {
        Self { set: Register::new(value, stamp), raises: BTreeMap::new() }
    }

    /// Builds a ratchet from its stored parts; raises that cannot matter are dropped (`RAT-3`).
    pub fn from_parts(set: Register<T>, raises: impl IntoIterator<Item = (T, Stamp)>) -> Self {
        let mut ratchet = Self { set, raises: BTreeMap::new() };
        for (value, stamp) in raises {
            ratchet.raise(value, stamp);
        }
        ratchet
    }

    /// The current value.
    pub fn value(&self) -> T {
        let raised = self.raises.last_key_value().map(|(value, _)| *value);
        raised.map_or(self.set.value, |value| value.max(self.set.value))
    }

    /// An explicit write: overrules every earlier write of either kind.
    pub fn set(&mut self, value: T, stamp: Stamp) {
        self.set.offer(value, stamp);
        let floor = self.set.stamp;
        self.raises.retain(|_, stamp| *stamp > floor);
    }

    /// An automatic write: lifts the value to at least `value` unless a later explicit write stands.
    pub fn raise(&mut self, value: T, stamp: Stamp) {
        let overruled = stamp <= self.set.stamp;
        if overruled || self.raises.range(value..).any(|(_, other)| *other >= stamp) {
            return;
        }
        self.raises.retain(|other, at| *other > value || *at > stamp);
        self.raises.insert(value, stamp);
    }

    /// Joins two copies.
    pub fn join(&mut self, other: Self) {
        self.set(other.set.value, other.set.stamp);
        for (value, stamp) in other.raises {
            self.raise(value, stamp);
        }
    }

    /// The stored parts: the explicit write, and the raises that stand, in order of value.
    pub fn parts(&self) -> (&Register<T>, &BTreeMap<T, Stamp>) {
        (&self.set, &self.raises)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary;

    /// Writes with distinct stamps: whether each is a raise, and of what.
    fn writes() -> impl Strategy<Value = Vec<(bool, u8, Stamp)>> {
        let stamps = prop::collection::btree_set(arbitrary::stamp(), 2..12);
        stamps.prop_flat_map(|stamps| {
            let stamps = stamps.into_iter().collect::<Vec<_>>();
            let kinds = prop::collection::vec((any::<bool>(), 0u8..5), stamps.len());
            (kinds, Just(stamps).prop_shuffle()).prop_map(|(kinds, stamps)| {
                kinds.into_iter().zip(stamps).map(|((raise, n), at)| (raise, n, at)).collect()
            })
        })
    }

    fn apply(ratchet: &mut Ratchet<u8>, (raise, value, stamp): (bool, u8, Stamp)) {
        if raise { ratchet.raise(value, stamp) } else { ratchet.set(value, stamp) }
    }

    /// The first write sets; the others follow in the order given.
    fn replay<'a>(writes: impl IntoIterator<Item = &'a (bool, u8, Stamp)>) -> Ratchet<u8> {
        let mut writes = writes.into_iter();
        let (_, value, stamp) = writes.next().expect("a first write");
        let mut ratchet = Ratchet::new(*value, *stamp);
        writes.for_each(|write| apply(&mut ratchet, *write));
        ratchet
    }

    /// The value by definition: the greatest of the last explicit write and the raises after it.
    fn model(writes: &[(bool, u8, Stamp)]) -> u8 {
        let explicit = |n: usize| n == 0 || !writes[n].0;
        let set = (0..writes.len()).filter(|n| explicit(*n)).map(|n| (writes[n].2, writes[n].1));
        let (since, value) = set.max().expect("a first write");
        let raises = writes.iter().skip(1).filter(|write| write.0 && write.2 > since);
        raises.map(|write| write.1).fold(value, u8::max)
    }

    proptest! {
        #![proptest_config(arbitrary::laws())]

        #[test]
        fn order_and_repetition_do_not_matter(
            writes in writes(),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let mut other = Ratchet::new(writes[0].1, writes[0].2);
            order.iter().for_each(|at| apply(&mut other, *at.get(&writes[1..])));
            writes[1..].iter().rev().for_each(|write| apply(&mut other, *write));
            prop_assert_eq!(&other, &replay(&writes), "RAT-1");
            prop_assert_eq!(other.value(), model(&writes));
        }

        #[test]
        fn joining_parts_is_replaying_the_whole(writes in writes(), mask: u16) {
            let part = |bit: bool| {
                let chosen = writes[1..].iter().enumerate().filter(move |(n, _)| {
                    (mask >> (n % 16) & 1 == 1) == bit
                });
                replay(writes.iter().take(1).chain(chosen.map(|(_, write)| write)))
            };
            let (mut left, mut right) = (part(true), part(false));
            left.join(part(false));
            right.join(part(true));
            prop_assert_eq!(&left, &right, "RAT-1");
            prop_assert_eq!(&left, &replay(&writes), "RAT-1");
            right.join(left.clone());
            prop_assert_eq!(left, right, "RAT-1");
        }

        #[test]
        fn a_raise_never_lowers(writes in writes(), value in 0u8..6, stamp in arbitrary::stamp()) {
            let mut ratchet = replay(&writes);
            let before = ratchet.value();
            ratchet.raise(value, stamp);
            prop_assert!(ratchet.value() >= before, "RAT-2");
        }

        #[test]
        fn only_raises_that_can_matter_are_kept(writes in writes()) {
            let ratchet = replay(&writes);
            let (set, raises) = ratchet.parts();
            prop_assert!(raises.values().all(|stamp| *stamp > set.stamp), "RAT-3");
            prop_assert!(
                raises.values().zip(raises.values().skip(1)).all(|(low, high)| low > high),
                "RAT-3"
            );
            let stored = Ratchet::from_parts(set.clone(), raises.iter().map(|(n, at)| (*n, *at)));
            prop_assert_eq!(stored, ratchet);
        }
    }
}
