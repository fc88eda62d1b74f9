//! What the log knows without asking the disk: everything accepted, written or not.
//!
//! Invariants: `LOG-16` an entry is readable as soon as it was accepted. An entry that does not stand
//! in a segment yet keeps its payload here; of the others, the newest do, within a bound.
//!
//! Not here: reading the disk (`read`).

use std::ops::Range;

use bytes::Bytes;

use super::{
    LogError, LogOptions, Vote, id::EntryId, journal::Written, place::Place, record::Change,
    slots::Slots,
};

/// Where an entry's payload is: in memory, on the disk or in both.
#[derive(Clone, Debug)]
struct Slot {
    payload: Option<Bytes>,
    place: Option<Place>,
}

/// Where a reader finds an entry.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Memory(Bytes),
    Disk(Place),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Memory {
    slots: Slots<Slot>,
    vote: Option<Vote>,
    cache_bytes_max: u64,
    cached_bytes: u64,
    /// Payloads of entries before this index have been let go.
    cached_from: u64,
    poisoned: Option<String>,
}

impl Memory {
    pub(super) fn new(
        loaded: Slots<(Bytes, Place)>,
        vote: Option<Vote>,
        options: &LogOptions,
    ) -> Self {
        let mut slots = Slots::new(loaded.bounds());
        let mut cached_bytes = 0;
        for (id, (payload, place)) in loaded.into_items() {
            cached_bytes += payload.len() as u64;
            slots.push_loaded(id, Slot { payload: Some(payload), place: Some(place) });
        }
        let cache_bytes_max = options.cache_bytes;
        let mut memory =
            Self { slots, vote, cache_bytes_max, cached_bytes, cached_from: 0, poisoned: None };
        memory.let_go();
        memory
    }

    pub(super) fn guard(&self) -> Result<(), LogError> {
        match &self.poisoned {
            Some(cause) => Err(LogError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn poison(&mut self, error: &LogError) {
        self.poisoned.get_or_insert_with(|| error.to_string());
    }

    pub(super) fn slots_bounds(&self) -> super::Bounds {
        self.slots.bounds()
    }

    pub(super) fn vote(&self) -> Option<Vote> {
        self.vote
    }

    pub(super) fn set_vote(&mut self, vote: Vote) -> Result<(), LogError> {
        self.guard()?;
        if self.vote.is_some_and(|before| !vote.may_follow(&before)) {
            let problem = format!("the vote {vote:?} must not replace {:?}", self.vote);
            return Err(LogError::refused(problem));
        }
        self.vote = Some(vote);
        Ok(())
    }

    /// Accepts changes: all of them or, with the error, none.
    pub(super) fn accept(&mut self, changes: &[Change]) -> Result<(), LogError> {
        self.guard()?;
        let mut bounds = self.slots.bounds();
        for change in changes {
            bounds = bounds.after(change)?;
        }
        for change in changes {
            let payload = match change {
                Change::Entry { payload, .. } => Some(payload.clone()),
                _ => None,
            };
            self.cached_bytes += payload.as_ref().map_or(0, |p| p.len() as u64);
            let gone = self.gone_with(change);
            self.cached_bytes = self.cached_bytes.saturating_sub(gone);
            self.slots.apply(change, Slot { payload, place: None })?;
            let next = self.slots.bounds().next_index().unwrap_or(0);
            self.cached_from = self.cached_from.min(next);
        }
        Ok(())
    }

    /// Bytes of payloads that `change` throws out of memory.
    fn gone_with(&self, change: &Change) -> u64 {
        let goes = |id: &EntryId| match change {
            Change::Truncate { after } => after.is_none_or(|after| id.index > after.index),
            Change::Purge { upto } => id.index <= upto.index,
            _ => false,
        };
        if !matches!(change, Change::Truncate { .. } | Change::Purge { .. }) {
            return 0;
        }
        let gone = self.slots.items().iter().filter(|(id, _)| goes(id));
        gone.filter_map(|(_, slot)| slot.payload.as_ref()).map(|p| p.len() as u64).sum()
    }

    /// Notes where entries stand now, and lets go of old payloads.
    pub(super) fn written(&mut self, written: &[Written]) {
        for Written { id, place } in written {
            // It may have been cut or purged since it was queued.
            if let Some((found, slot)) = self.slots.get_mut(id.index)
                && found == id
            {
                slot.place = Some(*place);
            }
        }
        self.let_go();
    }

    fn let_go(&mut self) {
        let Some(first) = self.slots.items().front().map(|(id, _)| id.index) else { return };
        self.cached_from = self.cached_from.max(first);
        while self.cached_bytes > self.cache_bytes_max {
            let Some((_, slot)) = self.slots.get_mut(self.cached_from) else { return };
            if slot.place.is_none() {
                return;
            }
            let bytes = slot.payload.take().map_or(0, |payload| payload.len() as u64);
            self.cached_bytes = self.cached_bytes.saturating_sub(bytes);
            self.cached_from += 1;
        }
    }

    /// Where the entries of `range` are, in order: those that live, at most about `max_bytes` of
    /// them but at least one.
    pub(super) fn find(&self, range: Range<u64>, max_bytes: u64) -> Vec<(EntryId, Found)> {
        let first = self.slots.items().front().map_or(u64::MAX, |(id, _)| id.index);
        let (mut index, mut bytes, mut found) = (range.start.max(first), 0, Vec::new());
        while index < range.end && (bytes < max_bytes || found.is_empty()) {
            let Some((id, slot)) = self.slots.get(index) else { break };
            let place = match (&slot.payload, slot.place) {
                (Some(payload), _) => Found::Memory(payload.clone()),
                (None, Some(place)) => Found::Disk(place),
                (None, None) => break,
            };
            bytes += match &place {
                Found::Memory(payload) => payload.len() as u64,
                Found::Disk(place) => place.bytes,
            };
            found.push((*id, place));
            index += 1;
        }
        found
    }

    /// The living entry at an index.
    pub(super) fn id_at(&self, index: u64) -> Option<EntryId> {
        self.slots.get(index).map(|(id, _)| *id)
    }

    /// Whether this very entry still lives.
    pub(super) fn has(&self, id: EntryId) -> bool {
        self.id_at(id.index) == Some(id)
    }

    /// Oldest segment that a living entry stands in.
    pub(super) fn first_segment(&self) -> Option<u64> {
        self.slots.items().front().and_then(|(_, slot)| slot.place).map(|place| place.segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Bounds;

    fn entry(index: u64, bytes: usize) -> Change {
        let id = EntryId { term: 1, index };
        Change::Entry { id, payload: Bytes::from(vec![index as u8; bytes]) }
    }

    fn memory(cache_bytes: u64) -> Memory {
        let options = LogOptions { cache_bytes, ..LogOptions::default() };
        Memory::new(Slots::new(Bounds::default()), None, &options)
    }

    fn write(memory: &mut Memory, range: Range<u64>) {
        let written: Vec<Written> = range
            .map(|index| Written {
                id: EntryId { term: 1, index },
                place: Place { segment: 1, offset: index, bytes: 100 },
            })
            .collect();
        memory.written(&written);
    }

    fn in_memory(memory: &Memory) -> Vec<u64> {
        let found = memory.find(0..u64::MAX, u64::MAX);
        let held = found.iter().filter(|(_, found)| matches!(found, Found::Memory(_)));
        held.map(|(id, _)| id.index).collect()
    }

    #[test]
    fn payloads_go_only_once_they_are_written_and_the_oldest_first() {
        let mut memory = memory(25);
        let changes: Vec<Change> = (0..5).map(|index| entry(index, 10)).collect();
        memory.accept(&changes).unwrap();
        assert_eq!(in_memory(&memory), [0, 1, 2, 3, 4]);
        write(&mut memory, 0..2);
        assert_eq!(in_memory(&memory), [2, 3, 4]);
        write(&mut memory, 2..5);
        assert_eq!(in_memory(&memory), [3, 4]);
        assert_eq!(memory.find(0..5, u64::MAX).len(), 5);
        assert_eq!(memory.find(0..5, 1).len(), 1);
    }

    #[test]
    fn the_account_follows_cuts_and_purges() {
        let mut memory = memory(25);
        let changes: Vec<Change> = (0..5).map(|index| entry(index, 10)).collect();
        memory.accept(&changes).unwrap();
        let id = |index| EntryId { term: 1, index };
        memory.accept(&[Change::Truncate { after: Some(id(3)) }]).unwrap();
        memory.accept(&[Change::Purge { upto: id(0) }]).unwrap();
        assert_eq!(memory.cached_bytes, 30);
        memory.accept(&[Change::Purge { upto: id(9) }]).unwrap();
        assert_eq!((memory.cached_bytes, in_memory(&memory)), (0, vec![]));
        memory.accept(&[entry(10, 10)]).unwrap();
        assert_eq!(in_memory(&memory), [10]);
    }

    #[test]
    fn a_refused_batch_changes_nothing_and_a_vote_never_goes_back() {
        let mut memory = memory(25);
        assert!(memory.accept(&[entry(0, 1), entry(2, 1)]).is_err());
        assert_eq!(memory.slots_bounds(), Bounds::default());
        let vote = |term, committed| Vote { term, member: 2, committed };
        memory.set_vote(vote(3, true)).unwrap();
        assert!(memory.set_vote(vote(3, false)).is_err());
        assert!(memory.set_vote(vote(2, true)).is_err());
        memory.set_vote(vote(4, false)).unwrap();
        let other = |committed| Vote { term: 4, member: 3, committed };
        assert!(memory.set_vote(other(false)).is_err(), "two votes in one term");
        memory.set_vote(other(true)).unwrap();
        assert!(memory.set_vote(vote(4, true)).is_err(), "two winners of one term");
    }
}
