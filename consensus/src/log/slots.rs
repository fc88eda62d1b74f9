//! What a sequence of changes leaves behind: the bounds, and one value per living entry.
//!
//! Invariant: `LOG-6` living entries have consecutive indices that end at `bounds.last`; a change
//! that would leave a hole, or take back what was purged or committed, is refused and changes
//! nothing.
//!
//! Both sides of the log use it: the journal with what is written, the shell with what was accepted.
//! Not here: bytes.

use std::collections::VecDeque;

use super::{
    LogError,
    id::{Bounds, EntryId},
    record::Change,
};

/// Bounds and living entries.
#[derive(Clone, Debug)]
pub(super) struct Slots<T> {
    bounds: Bounds,
    items: VecDeque<(EntryId, T)>,
}

impl Bounds {
    /// Whether `change` may follow.
    pub(super) fn admits(&self, change: &Change) -> Result<(), LogError> {
        let refused = |problem: String| Err(LogError::refused(problem));
        match change {
            Change::Entry { id, .. } => match self.next_index() {
                Some(next) if next != id.index => {
                    refused(format!("entry {id} does not follow index {}", next - 1))
                }
                _ => Ok(()),
            },
            Change::Truncate { after } => {
                let next = after.map_or(0, |id| id.index + 1);
                if next < self.first_index() {
                    refused(format!("entry {after:?} is purged, nothing can be cut behind it"))
                } else if let Some(committed) = self.committed.filter(|id| next <= id.index) {
                    refused(format!("entry {committed} is committed and cannot be cut"))
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }

    /// What they are after `change`.
    pub(super) fn after(&self, change: &Change) -> Result<Bounds, LogError> {
        self.admits(change)?;
        let mut bounds = *self;
        match change {
            Change::Entry { id, .. } => bounds.last = Some(*id),
            // Nothing is behind an entry that is not there yet.
            Change::Truncate { after: Some(after) } if self.next_index() <= Some(after.index) => {}
            Change::Truncate { after } => bounds.last = *after,
            Change::Purge { upto } if upto.index >= self.first_index() => {
                bounds.purged = Some(*upto);
                if self.last.is_none_or(|last| last.index < upto.index) {
                    bounds.last = Some(*upto);
                }
            }
            Change::Committed { id } => bounds.committed = *id,
            Change::Purge { .. } | Change::Mark => {}
        }
        Ok(bounds)
    }
}

impl<T> Slots<T> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, items: VecDeque::new() }
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    pub(super) fn items(&self) -> &VecDeque<(EntryId, T)> {
        &self.items
    }

    pub(super) fn into_items(self) -> VecDeque<(EntryId, T)> {
        self.items
    }

    /// Applies one change; an entry is given `value`.
    pub(super) fn apply(&mut self, change: &Change, value: T) -> Result<(), LogError> {
        if let Change::Truncate { after: Some(after) } = change
            && let Some((found, _)) = self.get(after.index)
            && found != after
        {
            return Err(LogError::refused(format!("cut behind {after}, but {found} is there")));
        }
        self.bounds = self.bounds.after(change)?;
        match change {
            Change::Entry { id, .. } => self.items.push_back((*id, value)),
            Change::Truncate { after } => {
                let next = after.map_or(0, |id| id.index + 1);
                while self.items.back().is_some_and(|(id, _)| id.index >= next) {
                    self.items.pop_back();
                }
            }
            Change::Purge { .. } => {
                let first = self.bounds.first_index();
                while self.items.front().is_some_and(|(id, _)| id.index < first) {
                    self.items.pop_front();
                }
            }
            Change::Committed { .. } | Change::Mark => {}
        }
        Ok(())
    }

    /// Adds an entry that the bounds count already; entries are loaded in order.
    pub(super) fn push_loaded(&mut self, id: EntryId, value: T) {
        self.items.push_back((id, value));
    }

    fn position(&self, index: u64) -> Option<usize> {
        let first = self.items.front()?.0.index;
        let position = usize::try_from(index.checked_sub(first)?).ok()?;
        (position < self.items.len()).then_some(position)
    }

    pub(super) fn get(&self, index: u64) -> Option<&(EntryId, T)> {
        self.items.get(self.position(index)?)
    }

    pub(super) fn get_mut(&mut self, index: u64) -> Option<&mut (EntryId, T)> {
        let position = self.position(index)?;
        self.items.get_mut(position)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn id(index: u64) -> EntryId {
        EntryId { term: 1, index }
    }

    fn entry(index: u64) -> Change {
        Change::Entry { id: id(index), payload: Bytes::new() }
    }

    fn filled(to: u64) -> Slots<()> {
        let mut slots = Slots::new(Bounds::default());
        for index in 0..to {
            slots.apply(&entry(index), ()).unwrap();
        }
        slots
    }

    fn indices(slots: &Slots<()>) -> Vec<u64> {
        slots.items().iter().map(|(id, ())| id.index).collect()
    }

    #[test]
    fn changes_move_both_ends() {
        let mut slots = filled(5);
        slots.apply(&Change::Purge { upto: id(1) }, ()).unwrap();
        slots.apply(&Change::Truncate { after: Some(id(3)) }, ()).unwrap();
        assert_eq!(indices(&slots), [2, 3]);
        assert_eq!(slots.get(3).map(|(id, ())| id.index), Some(3));
        assert!(slots.get(1).is_none() && slots.get(4).is_none());
        slots.apply(&Change::Purge { upto: id(9) }, ()).unwrap();
        assert_eq!(slots.bounds().next_index(), Some(10));
        slots.apply(&Change::Purge { upto: id(4) }, ()).unwrap();
        assert_eq!(slots.bounds().purged, Some(id(9)), "a purge never goes back");
        slots.apply(&entry(10), ()).unwrap();
        assert_eq!(indices(&slots), [10]);
    }

    #[test]
    fn holes_and_taking_back_are_refused() {
        let mut slots = filled(5);
        slots.apply(&Change::Purge { upto: id(1) }, ()).unwrap();
        slots.apply(&Change::Committed { id: Some(id(3)) }, ()).unwrap();
        for bad in [
            entry(6),
            entry(4),
            Change::Truncate { after: Some(id(2)) },
            Change::Truncate { after: Some(id(0)) },
            Change::Truncate { after: Some(EntryId { term: 2, index: 3 }) },
            Change::Truncate { after: None },
        ] {
            assert!(slots.apply(&bad, ()).is_err(), "{bad:?}");
        }
        assert_eq!(indices(&slots), [2, 3, 4]);
        slots.apply(&Change::Truncate { after: Some(id(9)) }, ()).unwrap();
        assert_eq!(slots.bounds().last, Some(id(4)), "nothing is behind the end");
    }
}
