//! The name of an entry, and where a log begins and ends.
//!
//! Invariant: ids compare by term, then index, which is the order of Raft.
//!
//! Not here: votes (`vote`) and what an entry means (the state machine).

use std::fmt;

/// Names one entry for ever: two entries with the same id are the same entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// Term of the leader that made it; a term has one leader at most.
    pub term: u64,
    /// Place in the log, counted from 0 without gaps.
    pub index: u64,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of term {}", self.index, self.term)
    }
}

/// Where the log begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Newest entry that a snapshot has made superfluous; entries up to it are gone.
    pub purged: Option<EntryId>,
    /// Newest entry. Where nothing is left behind the purged one, that one.
    pub last: Option<EntryId>,
    /// Newest entry known to be committed. A hint: it may lag behind the truth.
    pub committed: Option<EntryId>,
}

impl Bounds {
    /// Index that the next entry must have; `None` while the log has never had one.
    pub fn next_index(&self) -> Option<u64> {
        self.last.map(|last| last.index + 1)
    }

    /// Index of the first entry that may still be there.
    pub fn first_index(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index + 1)
    }
}
