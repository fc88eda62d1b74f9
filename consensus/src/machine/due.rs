//! Deadlines in order: what ends next, without looking at everything that could.
//!
//! Invariant: a deadline is reached when the time equals it. What is due comes in the order of
//! deadlines, equal ones by name, so that every member ends things in the same order.
//!
//! Not here: what the ends mean. This is derived from the state and never stands in a snapshot.

use std::collections::BTreeSet;

/// Things by their deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due<T: Ord>(BTreeSet<(u64, T)>);

impl<T: Ord> Default for Due<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Ord + Clone> Due<T> {
    pub fn insert(&mut self, at_ms: u64, thing: T) {
        self.0.insert((at_ms, thing));
    }

    pub fn remove(&mut self, at_ms: u64, thing: &T) {
        self.0.remove(&(at_ms, thing.clone()));
    }

    /// Takes out what is due at `now_ms`.
    pub fn take(&mut self, now_ms: u64) -> Vec<T> {
        let mut due = Vec::new();
        while self.next_ms().is_some_and(|at| is_reached(at, now_ms)) {
            due.extend(self.0.pop_first().map(|(_, thing)| thing));
        }
        due
    }

    /// When the next is due.
    pub fn next_ms(&self) -> Option<u64> {
        self.0.first().map(|(at, _)| *at)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Whether a deadline has come.
pub(super) fn is_reached(deadline_ms: u64, now_ms: u64) -> bool {
    deadline_ms <= now_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_in_order_and_once() {
        let mut due = Due::default();
        for (at, name) in [(30, 'a'), (10, 'z'), (20, 'b'), (10, 'c')] {
            due.insert(at, name);
        }
        due.remove(20, &'b');
        assert_eq!(due.next_ms(), Some(10));
        assert_eq!(due.take(9), []);
        assert_eq!(due.take(30), ['c', 'z', 'a'], "a deadline is reached when the time equals it");
        assert_eq!((due.take(100), due.len()), (vec![], 0));
    }
}
