//! From a SQLite rowid to the slot that stands for the row now.
//!
//! SQLite gives rowids out densely, so pages of a thousand slots in an ordered map cost four bytes per row; ids far
//! apart cost a page each and still work.

use std::collections::BTreeMap;

use super::Slot;

const PAGE_ROWS: i64 = 1024;
/// No slot stands for the row.
const ABSENT: Slot = Slot::MAX;

/// The current slot of every row.
#[derive(Debug, Default)]
pub(crate) struct SlotByRow {
    pages: BTreeMap<i64, Box<[Slot]>>,
}

impl SlotByRow {
    pub(crate) fn get(&self, rowid: i64) -> Option<Slot> {
        let slot =
            self.pages.get(&rowid.div_euclid(PAGE_ROWS))?[rowid.rem_euclid(PAGE_ROWS) as usize];
        (slot != ABSENT).then_some(slot)
    }

    /// Sets the slot of a row; the slot it had.
    pub(crate) fn insert(&mut self, rowid: i64, slot: Slot) -> Option<Slot> {
        let page = self
            .pages
            .entry(rowid.div_euclid(PAGE_ROWS))
            .or_insert_with(|| vec![ABSENT; PAGE_ROWS as usize].into_boxed_slice());
        let old = std::mem::replace(&mut page[rowid.rem_euclid(PAGE_ROWS) as usize], slot);
        (old != ABSENT).then_some(old)
    }

    /// Forgets a row; the slot it had.
    pub(crate) fn remove(&mut self, rowid: i64) -> Option<Slot> {
        self.get(rowid)?;
        self.insert(rowid, ABSENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_slot_of_any_rowid() {
        let mut rows = SlotByRow::default();
        for rowid in [0, 1, 1023, 1024, -1, i64::MIN, i64::MAX] {
            assert_eq!(rows.insert(rowid, 7), None);
            assert_eq!(rows.insert(rowid, 8), Some(7));
            assert_eq!(rows.get(rowid), Some(8));
        }
        assert_eq!(rows.remove(1), Some(8));
        assert_eq!((rows.remove(1), rows.get(1), rows.get(2)), (None, None, None));
        assert_eq!(rows.get(i64::MIN), Some(8));
    }
}
