//! Last-writer-wins registers and the total order that decides them.
//!
//! Source: Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated Data
//! Types" (2011), §3.2.1.
//!
//! Invariants: `LWW-1` the order `(fence, hlc, origin)` is total over distinct operations, so a tie
//! cannot be broken by arrival; `LWW-2` offering values in any order, any number of times, leaves
//! the same register.
//!
//! Not here: which fields are registers (`record`).

use crate::{Hlc, NodeId, planted};

/// The place of a write in the order of all writes. The derived order compares the fields from top
/// to bottom: a guarded write beats every unguarded one, and a paused lock holder loses for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Fencing token of the lock the write was made under; 0 without one.
    pub fence: u64,
    /// When.
    pub hlc: Hlc,
    /// By whom; breaks ties, because one origin never issues an HLC twice.
    pub origin: NodeId,
}

/// A value and the write that set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register<T> {
    /// Current value.
    pub value: T,
    /// The write that set it.
    pub stamp: Stamp,
}

impl<T> Register<T> {
    /// A register set by `stamp`.
    pub fn new(value: T, stamp: Stamp) -> Self {
        Self { value, stamp }
    }

    /// Takes `value` if `stamp` is the greater; says whether it did.
    pub fn offer(&mut self, value: T, stamp: Stamp) -> bool {
        let tie = stamp.hlc.wall_ms() == self.stamp.hlc.wall_ms();
        let wins = stamp > self.stamp || (tie && planted::is_on("tie-by-arrival"));
        if wins {
            *self = Self { value, stamp };
        }
        wins
    }

    /// Joins two copies of one register.
    pub fn join(&mut self, other: Self) {
        self.offer(other.value, other.stamp);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary;

    /// A register written by the operation with this stamp; one operation writes one value.
    fn written(stamp: Stamp) -> Register<String> {
        Register::new(format!("{stamp:?}"), stamp)
    }

    proptest! {
        #![proptest_config(arbitrary::laws())]

        #[test]
        fn the_order_is_total_and_compares_fence_then_time_then_origin(
            a in arbitrary::stamp(),
            b in arbitrary::stamp(),
        ) {
            let key = |s: Stamp| (s.fence, s.hlc.as_u64(), *s.origin.as_bytes());
            prop_assert_eq!(a.cmp(&b), key(a).cmp(&key(b)), "LWW-1");
            prop_assert_eq!(a == b, a.cmp(&b).is_eq(), "LWW-1");
        }

        #[test]
        fn the_greatest_write_stays_in_any_order_and_number(
            stamps in prop::collection::vec(arbitrary::stamp(), 1..10),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let mut register = written(stamps[0]);
            for stamp in order.iter().map(|at| at.get(&stamps)).chain(&stamps) {
                let before = register.stamp;
                let taken = register.offer(written(*stamp).value, *stamp);
                prop_assert_eq!(taken, *stamp > before);
            }
            let greatest = stamps.iter().max().expect("at least one");
            prop_assert_eq!(register, written(*greatest), "LWW-2");
        }

        #[test]
        fn the_join_is_a_semilattice(
            a in arbitrary::stamp(),
            b in arbitrary::stamp(),
            c in arbitrary::stamp(),
        ) {
            let join = |mut x: Register<String>, y: Register<String>| { x.join(y); x };
            let (a, b, c) = (written(a), written(b), written(c));
            prop_assert_eq!(join(a.clone(), a.clone()), a.clone());
            prop_assert_eq!(join(a.clone(), b.clone()), join(b.clone(), a.clone()));
            prop_assert_eq!(
                join(join(a.clone(), b.clone()), c.clone()),
                join(a, join(b, c))
            );
        }
    }

    #[test]
    fn a_guarded_write_beats_a_later_unguarded_one() {
        let at =
            |fence, ms| Stamp { fence, hlc: Hlc::new(ms, 0), origin: NodeId(uuid::Uuid::nil()) };
        let mut register = Register::new("guarded", at(1, 10));
        assert!(!register.offer("later", at(0, 99)));
        assert!(register.offer("next holder", at(2, 5)));
    }
}
