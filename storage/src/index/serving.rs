//! Words and vectors over one assignment of slots.
//!
//! The two indexes are written, opened and replaced apart; this is where they are kept in step. A reader that combines
//! them takes one [`Serving`] for the whole query: slots of two lineages must never meet.
//!
//! INV-SLOT-ONCE: a slot never means two memories. After a crash the files of the two indexes may show different
//! moments, and a slot given out since the older of them was written will be given out again; [`Serving::align`] skips
//! every slot either of them has ever seen.
//!
//! Not here: how the two rankings are fused.

use super::{
    bitmap::Bitmap,
    recall_index::RecallIndex,
    vector::{VectorError, VectorIndex},
    writer::{Applied, ApplyError, Change},
};

/// Both halves of recall. Swap it as a whole.
pub struct Serving {
    /// Attributes and postings; gives the slots out.
    pub recall: RecallIndex,
    /// Vectors by slot; `None` when the node embeds nothing.
    pub vectors: Option<VectorIndex>,
}

/// A row whose vector was refused. The memory is found by its words alone.
#[derive(Debug)]
pub struct Unembedded {
    /// The row.
    pub rowid: i64,
    /// Why.
    pub error: VectorError,
}

impl Serving {
    /// Applies the changes of one commit to both halves. `vector_of` gives a row's vector where one is known; a vector
    /// that comes later is added by [`Serving::add_vector`].
    ///
    /// # Errors
    /// As [`RecallIndex::apply`]: nothing was applied.
    pub fn apply<'v>(
        &self,
        position: u64,
        changes: Vec<Change>,
        vector_of: impl Fn(i64) -> Option<&'v [f32]>,
    ) -> Result<Vec<Unembedded>, ApplyError> {
        let applied = self.recall.apply(position, changes)?;
        Ok(match &self.vectors {
            Some(vectors) => follow(vectors, &applied, vector_of),
            None => Vec::new(),
        })
    }

    /// Fills both halves with rows from before they were begun; see [`RecallIndex::feed`].
    ///
    /// # Errors
    /// Slots ran out: nothing was applied.
    pub fn feed<'v>(
        &self,
        changes: Vec<Change>,
        vector_of: impl Fn(i64) -> Option<&'v [f32]>,
    ) -> Result<Vec<Unembedded>, ApplyError> {
        let applied = self.recall.feed(changes)?;
        Ok(match &self.vectors {
            Some(vectors) => follow(vectors, &applied, vector_of),
            None => Vec::new(),
        })
    }

    /// Adds the vector of a row that was embedded after it was stored. Whether it was new: a row that is gone, or has a
    /// vector for its present text, takes none.
    ///
    /// # Errors
    /// The vector does not fit the space.
    pub fn add_vector(&self, rowid: i64, vector: &[f32]) -> Result<bool, VectorError> {
        match (&self.vectors, self.recall.slot_of(rowid)) {
            (Some(vectors), Some(slot)) => vectors.add(slot, vector),
            _ => Ok(false),
        }
    }

    /// Brings two halves that were opened from disk together, before anything is applied: no slot is given out that
    /// the vectors know from before, vectors of dead slots go, and the rows that lack a vector are named.
    ///
    /// # Errors
    /// Slots ran out.
    pub fn align(&self) -> Result<Vec<i64>, ApplyError> {
        let Some(vectors) = &self.vectors else { return Ok(Vec::new()) };
        self.recall.skip_to(vectors.end())?;
        vectors.retain(&self.living());
        Ok(self.rows_without_vector())
    }

    /// The rows that have no vector: to be embedded, or read from the store and added.
    pub fn rows_without_vector(&self) -> Vec<i64> {
        let Some(vectors) = &self.vectors else { return Vec::new() };
        let snapshot = self.recall.snapshot();
        let missing = vectors.missing(&snapshot.living());
        missing.iter().filter_map(|slot| snapshot.rowid(slot)).collect()
    }

    fn living(&self) -> Bitmap {
        self.recall.snapshot().living()
    }
}

/// Makes a vector index follow what a batch did to the slots.
fn follow<'v>(
    vectors: &VectorIndex,
    applied: &Applied,
    vector_of: impl Fn(i64) -> Option<&'v [f32]>,
) -> Vec<Unembedded> {
    let mut refused = Vec::new();
    for (slot, rowid) in &applied.placed {
        if let Some(Err(error)) = vector_of(*rowid).map(|vector| vectors.add(*slot, vector)) {
            refused.push(Unembedded { rowid: *rowid, error });
        }
    }
    for slot in &applied.retired {
        vectors.remove(*slot);
    }
    refused
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use runtime::disk::faulty::{FaultyDisk, Loss};

    use super::*;
    use crate::index::{
        Attributes, Audiences, Filter, IndexFolder, Opened, prepare,
        vector::{SearchMode, Space, VectorConfig},
    };

    fn put(rowid: i64) -> Change {
        let prepared = prepare(&format!("row{rowid}"), "", []);
        Change::Put { rowid, attributes: Attributes::default(), prepared }
    }

    /// A direction of its own for each of a few rows.
    fn direction(rowid: i64) -> Vec<f32> {
        (0..8).map(|axis| if axis == rowid % 8 { 1.0 } else { 0.0 }).collect()
    }

    fn vectors(disk: &FaultyDisk) -> VectorIndex {
        let space = Space { model: "test".to_owned(), version: "1".to_owned(), dimension: 8 };
        let config = VectorConfig { lineage: 5, ..VectorConfig::default() };
        VectorIndex::open(space, config, Arc::new(disk.clone()), PathBuf::from("vectors")).unwrap()
    }

    fn nearest(serving: &Serving, rowid: i64) -> Option<i64> {
        let snapshot = serving.recall.snapshot();
        let allowed = snapshot.prefilter(&Filter::new(Audiences::new(vec![0]), 0));
        let vectors = serving.vectors.as_ref()?;
        let answer = vectors.search(&direction(rowid), 1, &allowed, SearchMode::Auto).unwrap();
        answer.hits.first().and_then(|hit| snapshot.rowid(hit.slot))
    }

    fn apply(serving: &Serving, position: u64, changes: Vec<Change>) {
        let known: Vec<Vec<f32>> = (0..8).map(direction).collect();
        let refused =
            serving.apply(position, changes, |rowid| known.get(rowid as usize).map(Vec::as_slice));
        assert!(refused.unwrap().is_empty());
    }

    #[test]
    fn edits_and_removals_reach_both_halves() {
        let serving =
            Serving { recall: RecallIndex::new(5), vectors: Some(vectors(&FaultyDisk::new(1))) };
        apply(&serving, 1, (0..4).map(put).collect());
        assert_eq!(nearest(&serving, 2), Some(2));
        apply(&serving, 2, vec![put(2), Change::Remove { rowid: 1 }]);
        assert_eq!(nearest(&serving, 2), Some(2));
        assert_ne!(nearest(&serving, 1), Some(1));
        assert_eq!(serving.vectors.as_ref().map(|vectors| vectors.stats().live), Some(3));
        apply(&serving, 3, vec![put(9)]);
        assert_eq!(serving.rows_without_vector(), [9]);
        assert!(serving.add_vector(9, &direction(1)).unwrap());
        assert_eq!(nearest(&serving, 1), Some(9));
        assert!(!serving.add_vector(1, &direction(1)).unwrap());
    }

    #[test]
    fn a_slot_the_vectors_remember_is_never_given_to_another_memory() {
        let disk = FaultyDisk::new(1);
        let folder = || IndexFolder::new(Arc::new(disk.clone()), PathBuf::from("words"), [3; 16]);
        let serving = Serving { recall: RecallIndex::new(5), vectors: Some(vectors(&disk)) };
        apply(&serving, 1, vec![put(0)]);
        folder().save(serving.recall.snapshot()).unwrap();
        apply(&serving, 2, vec![put(1), put(2)]);
        let index = serving.vectors.as_ref().unwrap();
        // The first call marks what changed, the second finds it at rest and writes it.
        while index.maintain(1_000_000).unwrap() {}
        while index.maintain(1_000_000).unwrap() {}
        index.flush().unwrap();
        disk.power_loss(Loss::All);

        let Opened::Loaded(loaded) = folder().open(2) else { panic!("the words were saved") };
        let again = Serving { recall: loaded.index, vectors: Some(vectors(&disk)) };
        assert_eq!(again.vectors.as_ref().map(VectorIndex::end), Some(3), "the vectors are ahead");
        assert_eq!(again.align().unwrap(), Vec::<i64>::new());
        // The changes since come in another order than before the crash.
        apply(&again, 2, vec![put(2), put(1)]);
        for rowid in 0..3 {
            assert_eq!(nearest(&again, rowid), Some(rowid));
        }
    }
}
