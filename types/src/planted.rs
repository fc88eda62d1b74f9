//! Bugs that are planted on purpose, to see that each is caught.
//!
//! A build with `--cfg planted` has a hook at the place where each bug would live; [`plant`] switches one
//! of them on for the whole process. In every other build [`is_on`] is a constant `false`, and the hooks
//! are gone.
//!
//! Invariants: `PLN-1` a normal build cannot be told to misbehave; `PLN-2` at most one bug is on, for the
//! life of the process.
//!
//! Not here: running them (`cargo sim mutants`), what they do (the hooks).

#[cfg(planted)]
use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock, PoisonError},
};

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bug {
    /// Its name.
    pub name: &'static str,
    /// What is wrong.
    pub what: &'static str,
    /// The scenario of the simulator that is asked to find it.
    pub scenario: &'static str,
    /// The judges that may be the first to see it; `run` stands for a run that does not come to its end.
    pub judges: &'static [&'static str],
}

macro_rules! bugs {
    ($($name:literal, $scenario:literal, [$($judge:literal),+], $what:literal;)+) => {
        &[$(Bug { name: $name, what: $what, scenario: $scenario, judges: &[$($judge),+] }),+]
    };
}

/// All bugs.
pub const ALL: &[Bug] = bugs! {
    "vote-before-fsync", "elections", ["raft"],
        "a vote is answered before it is on the disk";
    "seen-vote-granted", "elections", ["raft"],
        "a vote that was heard counts as granted";
    "leader-counts-unflushed", "elections", ["raft"],
        "a leader counts its own entry before it is on its disk";
    "prior-term-commit", "elections", ["raft"],
        "a new leader calls entries of earlier terms committed when it sends them";
    "quorum-unsorted", "elections", ["raft"],
        "what one peer acknowledges counts as what any peer has acknowledged";
    "stale-membership-snapshot", "members", ["raft"],
        "every snapshot names the voters of the first one";
    "crc-truncates", "disks", ["raft"],
        "a bad checksum in the middle of the log is taken for a torn end";
    "fsync-retried", "disks", ["raft"],
        "a sync that failed is tried again and believed";
    "purge-before-snapshot", "disks", ["raft", "run"],
        "a snapshot counts as saved before it is durable";
    "lease-wall-clock", "leases", ["sessions"],
        "the root's time goes by the leader's wall clock";
    "lease-unchecked", "leases", ["linearizable"],
        "whoever believes to lead answers reads without asking anybody";
    "read-index-reused", "root", ["linearizable"],
        "a read waits for the index of the read before it";
    "read-before-applied", "root", ["linearizable"],
        "a read does not wait until its member has come to its index";
    "fence-restarts", "snapshots", ["locks", "raft"],
        "fences are counted from the snapshot that a member began with";
    "expired-waiter-granted", "root", ["fairness", "bounded", "run"],
        "the requests of a dead session stay in the queues and are granted";
    "local-clock-in-apply", "root", ["raft"],
        "each member applies entries by its own clock";
    "release-frees-next", "root", ["locks"],
        "a release frees whoever holds the lock";
    "leader-change-shortens-lease", "elections", ["sessions"],
        "a new leader halves what is left of each session";
    "audit-row-outside", "disks", ["chains"],
        "an audit row is written in a transaction of its own, after the change";
    "dedup-lost-in-snapshot", "snapshots", ["exactly_once"],
        "the answers kept for retries are not in the snapshot";
    "copy-not-fenced", "members", ["raft"],
        "a member that was put back from a backup is let in";
    "answer-counts-for-later", "snapshots", ["linearizable", "rules", "locks"],
        "a peer's answer counts for a question that it has not seen yet, and so for a sign of life";
    "cut-before-snapshot", "rejoins", ["raft"],
        "what another leader's snapshot contradicts is cut before the snapshot is durable";
    "discarded-is-rejected", "snapshots", ["linearizable"],
        "an entry that was cut from a leader's log is called rejected, though others may have committed it";
    "quorum-counts-twice", "peers-scopes", ["acknowledged"],
        "the first peer that has a write counts for two";
    "refusal-is-ack", "peers-scopes", ["acknowledged"],
        "a peer that refuses a write counts as one that has it";
    "tie-by-arrival", "peers-ties", ["converge"],
        "of two changes in one millisecond the one that arrives later wins";
    "quorum-read-alone", "peers-restarts", ["acknowledged"],
        "a read of a quorum asks nobody";
    "vector-not-persisted", "peers-restarts", ["acknowledged", "converge", "chains", "run"],
        "how far the feeds of others are covered is forgotten in a restart";
    "nonces-forgotten", "peers-restarts", ["run"],
        "a restart forgets which messages have been heard";
    "hidden-served-as-held", "peers-scopes", ["acknowledged", "converge"],
        "who asks is led past operations that are merely hidden from the one that answers";
    "taken-row-outside", "peers-restarts", ["acknowledged", "chains", "run"],
        "the audit row of another node's operation is written in a transaction of its own, after it";
    "ack-before-fsync", "peers-losses", ["acknowledged"],
        "a peer answers that it has a write before the write is on its disk";
    "out-of-scope-told", "peers-scopes", ["scopes"],
        "an operation is told to a peer that may not see it";
    "creations-overrule", "peers-title", ["updates"],
        "priorities of memories that are shown as one are added, though one of them was changed since";
    "one-of-view-deleted", "peers-title", ["deleted"],
        "a deletion takes only the record whose id the memory is shown under";
    "doubt-forgotten", "snapshots", ["linearizable", "locks"],
        "a try whose end is unknown is forgotten when a later one is turned away";
};

/// The bug of a name.
pub fn bug(name: &str) -> Option<&'static Bug> {
    ALL.iter().find(|bug| bug.name == name)
}

#[cfg(planted)]
static PLANTED: OnceLock<&'static str> = OnceLock::new();

/// Switches a bug on (`PLN-2`); answers whether there is such a one and no other is on.
#[cfg(planted)]
pub fn plant(name: &str) -> bool {
    bug(name).is_some_and(|bug| *PLANTED.get_or_init(|| bug.name) == bug.name)
}

/// Whether a bug is on.
#[cfg(planted)]
pub fn is_on(name: &'static str) -> bool {
    PLANTED.get().is_some_and(|planted| *planted == name)
}

/// Whether a bug is on: never (`PLN-1`).
#[cfg(not(planted))]
#[inline(always)]
pub const fn is_on(_: &'static str) -> bool {
    false
}

/// The value that `who` noted under this bug the time before; its own if there was none or the bug is
/// not on.
#[cfg(planted)]
pub fn before(name: &'static str, who: u64, value: u64) -> u64 {
    static NOTED: Mutex<BTreeMap<u64, u64>> = Mutex::new(BTreeMap::new());
    if !is_on(name) {
        return value;
    }
    let mut noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner);
    noted.insert(who, value).unwrap_or(value)
}

/// The value itself (`PLN-1`).
#[cfg(not(planted))]
#[inline(always)]
pub const fn before(_: &'static str, _: u64, value: u64) -> u64 {
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_nothing_is_on() {
        for (at, one) in ALL.iter().enumerate() {
            assert_eq!(ALL.iter().position(|other| other.name == one.name), Some(at));
            assert!(!is_on(one.name) && before(one.name, 1, at as u64) == at as u64);
        }
        assert!(bug("no-such-bug").is_none());
    }
}
