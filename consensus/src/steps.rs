//! The steps of the protocol, told to whoever watches.
//!
//! A judge that compares members needs to see each of them from outside: what its log became, what
//! is durable, what it applied. Each step is a trace event under [`TARGET`] with the fields that its
//! function names; members are named by their number. Unless [`watch`] was called, a step costs one
//! comparison.
//!
//! Invariant: `STP-1` a step is told after it was taken and before anybody is answered because of it, in
//! the order in which this member took its steps; one that was not told accuses nobody.
//!
//! Not here: what is right (the judge), and what operators read (the log).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::log::{EntryId, Vote};

/// Target of the events.
pub const TARGET: &str = "hivemem::steps";

/// The identity of a command that an entry carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The session.
    pub session: u64,
    /// Number within the session.
    pub seq: u64,
    /// Whether the command was executed, rather than recognised.
    pub executed: bool,
}

/// Entries between two looks at the whole state. A state that differs stays different, so looking at some
/// finds it; looking at all would cost more than applying.
const STATE_EVERY: u64 = 16;

/// Whether the whole state is looked at after this entry: the same ones at every member.
pub fn shows_state(index: u64) -> bool {
    index.is_multiple_of(STATE_EVERY)
}

/// What a state machine shows of itself after an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Hash of the whole state, where it was looked at.
    pub state: Option<[u8; 32]>,
    /// The identity of the entry's command, if it had one.
    pub seen: Option<Seen>,
}

/// Whether anybody watches. Not asked of the subscriber: it would have to be asked for every step, and
/// one with a filter for each layer forgets an event after such a question.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// From now on, this process tells its steps.
pub fn watch() {
    WATCHED.store(true, Ordering::Relaxed);
}

/// Whether anybody watches.
pub fn watched() -> bool {
    WATCHED.load(Ordering::Relaxed)
}

macro_rules! tell {
    ($($fields:tt)*) => {
        if watched() {
            tracing::trace!(target: TARGET, $($fields)*);
        }
    };
}

/// The first bytes of a hash, enough to tell two apart.
fn short(hash: &[u8]) -> String {
    hash.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A vote was saved: this member's own lead, or its word for a candidate.
pub(crate) fn voted(me: u64, vote: Vote) {
    let Vote { term, member, committed } = vote;
    match (committed, member == me) {
        (true, true) => tell!(step = "leader", term),
        (true, false) => {}
        (false, _) => tell!(step = "voted", term, member),
    }
}

/// An entry joined the log.
pub(crate) fn appended(id: EntryId, payload: &[u8]) {
    let EntryId { term, index } = id;
    if !watched() {
        return;
    }
    let hash = short(&Sha256::digest(payload));
    tell!(step = "appended", index, term, hash);
}

/// From this entry on, the member follows these voters; two sets while joint.
pub(crate) fn membership(index: u64, configurations: &[BTreeSet<u64>]) {
    if !watched() {
        return;
    }
    let set = |set: &BTreeSet<u64>| set.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    let voters = configurations.iter().map(set).collect::<Vec<_>>().join(";");
    tell!(step = "membership", index, voters);
}

/// Everything from this index on was cut off.
pub(crate) fn truncated(from: u64) {
    tell!(step = "truncated", index = from);
}

/// Entries up to here were given up.
pub(crate) fn purged(upto: u64) {
    tell!(step = "purged", index = upto);
}

/// The member learned, in this term, that everything up to here is committed.
pub(crate) fn committed(index: u64, by_term: u64) {
    tell!(step = "committed", index, term = by_term);
}

/// An entry was applied.
pub(crate) fn applied(id: EntryId, shown: Shown) {
    let EntryId { term, index } = id;
    let state = shown.state.map(|hash| short(&hash)).unwrap_or_default();
    let Seen { session, seq, executed } =
        shown.seen.unwrap_or(Seen { session: 0, seq: 0, executed: false });
    tell!(step = "applied", index, term, hash = state, session, seq, executed);
}

/// The state and the log up to here were replaced by a snapshot.
pub(crate) fn installed(id: EntryId, shown: Shown) {
    let EntryId { term, index } = id;
    let state = shown.state.map(|hash| short(&hash)).unwrap_or_default();
    tell!(step = "snapshot", index, term, hash = state);
}

/// The member is back and found this: its last entry, in the log or in the snapshot, and its vote.
pub(crate) fn recovered(last: Option<EntryId>, vote: Option<Vote>) {
    let EntryId { term, index } = last.unwrap_or_default();
    let vote_term = vote.map_or(0, |vote| vote.term);
    tell!(step = "recovered", index, term, vote_term);
}

/// A session ended without being closed.
pub fn expired(session: u64, index: u64) {
    tell!(step = "expired", session, index);
}

/// A request took its place in the queues.
pub fn queued(session: u64, seq: u64, index: u64) {
    tell!(step = "queued", session, seq, index);
}

/// Appends that are not durable yet, so that a cut in between lowers what their sync proves.
#[derive(Debug, Default)]
pub(crate) struct Unsynced(Mutex<Tickets>);

#[derive(Debug, Default)]
struct Tickets {
    next: u64,
    /// Ticket to the last index that its sync makes durable.
    last: BTreeMap<u64, u64>,
}

impl Unsynced {
    /// An append up to `last` was handed to the log.
    pub(crate) fn begin(&self, last: u64) -> u64 {
        let mut tickets = self.0.lock();
        tickets.next += 1;
        let ticket = tickets.next;
        tickets.last.insert(ticket, last);
        ticket
    }

    /// Everything from `from` on was cut.
    pub(crate) fn cut(&self, from: u64) {
        for last in self.0.lock().last.values_mut() {
            *last = (*last).min(from.saturating_sub(1));
        }
    }

    /// An append was refused.
    pub(crate) fn forget(&self, ticket: u64) {
        self.0.lock().last.remove(&ticket);
    }

    /// The sync of an append has succeeded.
    pub(crate) fn durable(&self, ticket: u64) {
        let last = self.0.lock().last.remove(&ticket);
        if let Some(index) = last {
            tell!(step = "durable", index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_lowers_what_a_pending_sync_proves() {
        let unsynced = Unsynced::default();
        let (first, second) = (unsynced.begin(8), unsynced.begin(12));
        unsynced.cut(10);
        let third = unsynced.begin(11);
        let last = |ticket| unsynced.0.lock().last.get(&ticket).copied();
        assert_eq!((last(first), last(second), last(third)), (Some(8), Some(9), Some(11)));
        unsynced.forget(first);
        unsynced.durable(second);
        assert_eq!((last(first), last(second), last(third)), (None, None, Some(11)));
    }
}
