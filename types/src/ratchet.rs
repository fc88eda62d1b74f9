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
