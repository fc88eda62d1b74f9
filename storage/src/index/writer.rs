//! Applying the store's changes, in order.
//!
//! One writer owns this state. It keeps the newest group and segments and hands out a [`Snapshot`] after each batch;
//! what the snapshot shares is copied on the next write that touches it (a chunk of 1,024 slots, 8 KB of living bits),
//! so a batch costs microseconds however many readers hold old snapshots.
//!
//! Invariants: slots are given out densely in order of arrival; at most one living slot per row; positions only rise.

use std::sync::Arc;

use super::{
    Slot,
    attributes::{
        Attributes,
        group::{GROUP_SLOTS, Group},
    },
    lexical::{segment::Segment, tiers::Tiers},
    rows::SlotByRow,
    snapshot::Snapshot,
    text::prepare::Prepared,
};

/// One change of the store, as the index needs it.
#[derive(Debug, Clone)]
pub enum Change {
    /// A memory is new, or its text changed.
    Put {
        /// Its row.
        rowid: i64,
        /// Its attributes.
        attributes: Attributes,
        /// Its terms, from [`super::text::prepare::prepare`].
        prepared: Prepared,
    },
    /// Only attributes changed: the slot, its postings and its vector stay.
    Restate {
        /// Its row.
        rowid: i64,
        /// Its attributes from now on.
        attributes: Attributes,
    },
    /// The memory is gone.
    Remove {
        /// Its row.
        rowid: i64,
    },
}

impl Change {
    /// The row it is about.
    pub fn rowid(&self) -> i64 {
        match self {
            Change::Put { rowid, .. }
            | Change::Restate { rowid, .. }
            | Change::Remove { rowid } => *rowid,
        }
    }
}

/// What a batch did, for the parts of the index that follow slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// New slots with their rows, ascending by slot. One put twice in the batch appears twice; the first is retired.
    pub placed: Vec<(Slot, i64)>,
    /// Slots that died.
    pub retired: Vec<Slot>,
    /// Rows that a `Restate` or `Remove` named and the index does not have.
    pub unknown: Vec<i64>,
}

/// Why a batch was not applied. Nothing of it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The batch is not newer than the index.
    #[error("batch at position {got} is not ahead of the index at position {have}")]
    NotAhead {
        /// Position of the index.
        have: u64,
        /// Position of the batch.
        got: u64,
    },
    /// No slots are left; only a rebuild frees them.
    #[error("the index has given out {slots} slots and must be rebuilt")]
    Full {
        /// Slots given out.
        slots: u32,
    },
}

/// Slots are below this, so that arithmetic on ends never overflows and `u32::MAX` can mean "none".
const SLOTS_MAX: u32 = u32::MAX - GROUP_SLOTS;

/// The state behind the write section.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    lineage: u64,
    position: u64,
    slots: u32,
    dead: u32,
    groups: Vec<Arc<Group>>,
    tiers: Tiers,
    rows: SlotByRow,
}

impl Writer {
    /// An empty state whose slots are named by `lineage`.
    pub(crate) fn new(lineage: u64) -> Self {
        Self { lineage, ..Self::default() }
    }

    /// Continues from a state read back from disk; `next_stamp` is above every stamp in it.
    pub(crate) fn resume(snapshot: &Snapshot, next_stamp: u64) -> Self {
        let mut rows = SlotByRow::default();
        for (group, base) in snapshot.groups.iter().zip((0..).step_by(GROUP_SLOTS as usize)) {
            for local in (0..group.len()).filter(|local| group.is_alive(*local)) {
                if let Some(rowid) = group.rowid(local) {
                    rows.insert(rowid, base + local);
                }
            }
        }
        Self {
            lineage: snapshot.lineage,
            position: snapshot.position,
            slots: snapshot.slots,
            dead: snapshot.dead,
            groups: snapshot.groups.clone(),
            tiers: Tiers::restored(snapshot.segments.clone(), next_stamp),
            rows,
        }
    }

    /// The state now. Cheap: it shares everything.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            lineage: self.lineage,
            position: self.position,
            slots: self.slots,
            dead: self.dead,
            groups: self.groups.clone(),
            segments: self.tiers.segments().to_vec(),
        }
    }

    /// Says which state of the store the index shows from now on; never an earlier one.
    pub(crate) fn advance(&mut self, position: u64) {
        self.position = self.position.max(position);
    }

    pub(crate) fn slot_of(&self, rowid: i64) -> Option<Slot> {
        self.rows.get(rowid)
    }

    /// Applies a batch that brings the index to `position`.
    pub(crate) fn apply(
        &mut self,
        position: u64,
        changes: Vec<Change>,
    ) -> Result<Applied, ApplyError> {
        if position <= self.position {
            return Err(ApplyError::NotAhead { have: self.position, got: position });
        }
        self.feed(changes).inspect(|_| self.position = position)
    }

    /// Applies changes without moving the position: rows that are older than it.
    pub(crate) fn feed(&mut self, changes: Vec<Change>) -> Result<Applied, ApplyError> {
        if changes.len() as u64 + u64::from(self.slots) > u64::from(SLOTS_MAX) {
            return Err(ApplyError::Full { slots: self.slots });
        }
        let mut applied = Applied::default();
        let mut batch: Vec<Prepared> = Vec::new();
        for change in changes {
            match change {
                Change::Put { rowid, attributes, prepared } => {
                    let slot = self.place(rowid, attributes.sorted(), &mut applied);
                    batch.push(prepared);
                    if (slot + 1).is_multiple_of(GROUP_SLOTS) {
                        self.post(&mut batch);
                    }
                }
                Change::Restate { rowid, attributes } => match self.rows.get(rowid) {
                    Some(slot) => self.restate(slot, &attributes.sorted()),
                    None => applied.unknown.push(rowid),
                },
                Change::Remove { rowid } => match self.rows.remove(rowid) {
                    Some(slot) => self.retire(slot, &mut applied),
                    None => applied.unknown.push(rowid),
                },
            }
        }
        self.post(&mut batch);
        Ok(applied)
    }

    /// Fills slots with the dead up to `slot`.
    pub(crate) fn skip_to(&mut self, slot: Slot) -> Result<(), ApplyError> {
        if slot > SLOTS_MAX {
            return Err(ApplyError::Full { slots: self.slots });
        }
        while self.slots < slot {
            let stamp = self.tiers.stamp();
            let first = self.slots;
            let end = slot.min((first / GROUP_SLOTS + 1) * GROUP_SLOTS);
            for slot in first..end {
                self.fill(slot, 0, &Attributes::default(), stamp);
                if let Some(group) = self.groups.last_mut() {
                    Arc::make_mut(group).kill(slot % GROUP_SLOTS);
                }
            }
            self.dead += end - first;
            let nothing = vec![Prepared::default(); (end - first) as usize];
            self.tiers.push(Segment::of_batch(first, nothing.iter(), stamp));
        }
        Ok(())
    }

    fn fill(&mut self, slot: Slot, rowid: i64, attributes: &Attributes, stamp: u64) {
        self.slots = slot + 1;
        if slot.is_multiple_of(GROUP_SLOTS) {
            self.groups.push(Arc::default());
        }
        if let Some(group) = self.groups.last_mut() {
            Arc::make_mut(group).push(rowid, attributes, stamp);
        }
    }

    fn place(&mut self, rowid: i64, attributes: Attributes, applied: &mut Applied) -> Slot {
        let slot = self.slots;
        if let Some(old) = self.rows.insert(rowid, slot) {
            self.retire(old, applied);
        }
        let stamp = self.tiers.stamp();
        self.fill(slot, rowid, &attributes, stamp);
        applied.placed.push((slot, rowid));
        slot
    }

    fn restate(&mut self, slot: Slot, attributes: &Attributes) {
        let stamp = self.tiers.stamp();
        if let Some(group) = self.groups.get_mut((slot / GROUP_SLOTS) as usize) {
            Arc::make_mut(group).set(slot % GROUP_SLOTS, attributes, stamp);
        }
    }

    fn retire(&mut self, slot: Slot, applied: &mut Applied) {
        let group = self.groups.get_mut((slot / GROUP_SLOTS) as usize);
        if group.is_some_and(|group| Arc::make_mut(group).kill(slot % GROUP_SLOTS)) {
            self.dead += 1;
            applied.retired.push(slot);
        }
    }

    /// Turns the texts gathered since the last call into a segment that ends at the newest slot.
    fn post(&mut self, batch: &mut Vec<Prepared>) {
        if batch.is_empty() {
            return;
        }
        let first = self.slots - batch.len() as u32;
        let stamp = self.tiers.stamp();
        self.tiers.push(Segment::of_batch(first, batch.iter(), stamp));
        batch.clear();
    }
}
