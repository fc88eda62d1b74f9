//! The log of one node, as its steps add up to it.
//!
//! Invariant: what is below `base` is covered by a snapshot and stands for every entry there.
//!
//! Not here: comparing nodes.

use std::collections::{BTreeMap, BTreeSet};

/// An entry as its node has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) term: u64,
    pub(super) hash: String,
}

/// One node's log and what it says of it.
#[derive(Debug)]
pub(super) struct NodeLog {
    /// Last index covered by a snapshot, and its term if that is known.
    pub(super) base: (u64, Option<u64>),
    entries: BTreeMap<u64, Entry>,
    /// Indexes of what a restart has left, durable or not, where it is not known which of several entries
    /// it is.
    unknown: BTreeSet<u64>,
    /// Index and term of the last entry that the latest restart has found.
    found: (u64, u64),
    /// Greatest index on stable storage.
    pub(super) durable: u64,
    /// Greatest index that it knows to be committed.
    pub(super) committed: u64,
    /// Greatest index that it has applied since it was started; `None` when it just was.
    pub(super) applied: Option<u64>,
    /// Its vote in each term.
    pub(super) votes: BTreeMap<u64, String>,
    /// Memberships by the index of their entry.
    memberships: BTreeMap<u64, Vec<Vec<String>>>,
}

impl Default for NodeLog {
    /// Empty, as before the first entry.
    fn default() -> Self {
        Self {
            base: (0, Some(0)),
            entries: BTreeMap::new(),
            unknown: BTreeSet::new(),
            found: (0, 0),
            durable: 0,
            committed: 0,
            applied: None,
            votes: BTreeMap::new(),
            memberships: BTreeMap::new(),
        }
    }
}

impl NodeLog {
    /// Index of the last entry.
    pub(super) fn last(&self) -> u64 {
        let last = self.entries.keys().next_back().copied().unwrap_or(0);
        last.max(self.base.0).max(self.unknown.last().copied().unwrap_or(0))
    }

    /// The entry at an index, unless a snapshot covers it.
    pub(super) fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get(&index)
    }

    /// Term of the entry at an index, if it is known.
    pub(super) fn term(&self, index: u64) -> Option<u64> {
        if index == self.base.0 {
            return self.base.1;
        }
        if index == self.found.0 && self.unknown.contains(&index) {
            return Some(self.found.1);
        }
        self.entries.get(&index).map(|entry| entry.term)
    }

    /// Whether it has this entry, possibly inside a snapshot.
    pub(super) fn has(&self, index: u64, entry: &Entry) -> bool {
        match self.entries.get(&index) {
            Some(known) => known == entry,
            None => index <= self.base.0 || self.unknown.contains(&index),
        }
    }

    /// Adds an entry; one of another term at its index goes first, with all behind it.
    pub(super) fn append(&mut self, index: u64, entry: Entry) {
        if self.entries.get(&index).is_some_and(|old| *old != entry) {
            self.truncate(index);
        }
        // What followed was of an older leader.
        self.unknown.split_off(&index);
        if index > self.base.0 {
            self.entries.insert(index, entry);
        }
    }

    /// Drops everything from `from` on.
    pub(super) fn truncate(&mut self, from: u64) {
        self.entries.split_off(&from);
        self.memberships.split_off(&from);
        self.unknown.split_off(&from);
        self.durable = self.durable.min(from.saturating_sub(1));
    }

    /// It is back, and its log, or the snapshot where that goes further, ends at `last`. What was durable
    /// is known; what was on its way may be there, or what was to be replaced by it.
    pub(super) fn recover(&mut self, last: u64, term: u64) {
        self.found = (last, term);
        let known = self.durable.min(last);
        self.entries.split_off(&known.saturating_add(1));
        self.memberships.split_off(&last.saturating_add(1));
        self.unknown.split_off(&last.saturating_add(1));
        self.unknown.extend(known.saturating_add(1)..=last);
        self.committed = self.committed.min(known);
        self.durable = last;
        self.applied = None;
    }

    /// A snapshot up to `index` stands for the log.
    pub(super) fn install(&mut self, index: u64, term: u64) {
        if self.term(index).is_some_and(|known| known != term) {
            self.entries.clear();
        }
        self.cover(index, Some(term));
        self.durable = self.durable.max(index);
        self.committed = self.committed.max(index);
        self.applied = Some(index);
    }

    /// The log begins after `index`.
    pub(super) fn purge(&mut self, index: u64) {
        self.cover(index, self.term(index));
    }

    fn cover(&mut self, index: u64, term: Option<u64>) {
        if index >= self.base.0 {
            self.base = (index, term);
            self.entries = self.entries.split_off(&index.saturating_add(1));
            self.unknown = self.unknown.split_off(&index.saturating_add(1));
        }
    }

    /// It follows these voters from `index` on.
    pub(super) fn follow(&mut self, index: u64, voters: Vec<Vec<String>>) {
        self.memberships.insert(index, voters);
    }

    /// The voters that it follows: the latest in its log, committed or not.
    pub(super) fn voters(&self) -> Option<&Vec<Vec<String>>> {
        self.memberships.values().next_back()
    }
}
