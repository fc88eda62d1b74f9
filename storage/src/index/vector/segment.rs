//! A segment: the rows and sign codes of 16,384 consecutive slots.
//!
//! Invariants: slot `s` lies in segment `s / SEGMENT_ROWS` at row `s % SEGMENT_ROWS`, whether or not its neighbours have
//! vectors; `live ⊆ written`; a row's numbers never change, because a slot's vector never does; a code is that of the
//! row's stored (rounded) numbers, so a code made when the row came equals one made again later.
//!
//! A segment in memory takes rows; one in a file does not and is copied first (INV-VECTOR-PUBLISH then starts anew with
//! the copy). Replacing a segment copies its bit sets: a reader with the old one keeps seeing what was there when its
//! search began.

use std::sync::Arc;

use super::super::Slot;
use super::column::{Column, SlotBits};
use super::kernel::{code_words, padded};
use super::signs::Centre;
use super::space::to_singles;

/// Slots per segment. At 384 dimensions a segment is 12.6 MB: what a crash can cost to read again from SQLite, and what
/// one step of maintenance writes. Fewer under test, so that a few segments are cheap.
pub(super) const SEGMENT_ROWS: u32 = if cfg!(test) { 2_048 } else { 16_384 };

/// 64-bit words of a segment's bit sets.
pub(super) const SEGMENT_WORDS: usize = SEGMENT_ROWS as usize / 64;

/// Segment number and row of a slot.
pub(super) fn locate(slot: Slot) -> (usize, u32) {
    ((slot / SEGMENT_ROWS) as usize, slot % SEGMENT_ROWS)
}

/// Sizes that follow from the dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Numbers per stored row, padding included.
    pub(super) row: usize,
    /// 64-bit words per code.
    pub(super) code: usize,
}

impl Shape {
    /// The shape of rows of `dimension`.
    pub(super) fn of(dimension: u16) -> Self {
        Self { row: padded(dimension), code: code_words(dimension) }
    }

    /// Numbers in a segment's matrix.
    pub(super) fn rows_len(self) -> usize {
        self.row * SEGMENT_ROWS as usize
    }

    /// Words in a segment's codes.
    pub(super) fn codes_len(self) -> usize {
        self.code * SEGMENT_ROWS as usize
    }
}

/// Rows, codes and who of them is there.
pub(super) struct Segment {
    shape: Shape,
    rows: Arc<Column<u16>>,
    codes: Arc<Column<u64>>,
    written: SlotBits,
    live: SlotBits,
}

impl Segment {
    /// An empty segment in memory.
    pub(super) fn empty(shape: Shape) -> Self {
        Self {
            shape,
            rows: Arc::new(Column::zeroed(shape.rows_len())),
            codes: Arc::new(Column::zeroed(shape.codes_len())),
            written: SlotBits::new(SEGMENT_ROWS),
            live: SlotBits::new(SEGMENT_ROWS),
        }
    }

    /// A segment over a file's rows, of which `written` are there. Codes are made if none came along.
    pub(super) fn from_file(
        shape: Shape,
        rows: Column<u16>,
        codes: Option<Column<u64>>,
        written: SlotBits,
        centre: &Centre,
    ) -> Self {
        let live = SlotBits::from_words(written.words());
        let coded = codes.is_some();
        let codes = codes.unwrap_or_else(|| Column::zeroed(shape.codes_len()));
        let segment = Self { shape, rows: Arc::new(rows), codes: Arc::new(codes), written, live };
        if coded { segment } else { segment.recoded(centre) }
    }

    /// A segment of those columns and the rows `written`; what of them was removed here is removed there.
    fn with(&self, written: Vec<u64>, rows: Arc<Column<u16>>, codes: Arc<Column<u64>>) -> Self {
        let live = written.iter().zip(self.live.words()).map(|(written, live)| written & live);
        let live = SlotBits::from_words(live);
        let written = SlotBits::from_words(written.into_iter());
        Self { shape: self.shape, rows, codes, written, live }
    }

    /// This segment, as of now, with codes around another centre.
    pub(super) fn recoded(&self, centre: &Centre) -> Self {
        let written: Vec<u64> = self.written.words().collect();
        let codes = Column::zeroed(self.shape.codes_len());
        let mut singles = vec![0f32; self.shape.row];
        let mut code = vec![0u64; self.shape.code];
        for at in ones(written.iter().copied()) {
            // SAFETY: the row's bit was seen.
            to_singles(unsafe { self.row(at) }, &mut singles);
            centre.encode(&singles, &mut code);
            // SAFETY: the column is new and not shared.
            unsafe { codes.write(at as usize * self.shape.code, &code) };
        }
        self.with(written, Arc::clone(&self.rows), Arc::new(codes))
    }

    /// A copy in memory of this segment as of now. It takes rows.
    pub(super) fn copied(&self) -> Self {
        let written: Vec<u64> = self.written.words().collect();
        let rows = Column::zeroed(self.shape.rows_len());
        let codes = Column::zeroed(self.shape.codes_len());
        for at in ones(written.iter().copied()) {
            let (row, code) = (at as usize * self.shape.row, at as usize * self.shape.code);
            // SAFETY: the row's bit was seen; the new columns are not shared.
            unsafe {
                rows.write(row, self.row(at));
                codes.write(code, self.code(at));
            }
        }
        self.with(written, Arc::new(rows), Arc::new(codes))
    }

    /// This segment served from files that hold its rows. The caller holds the writer lock.
    pub(super) fn sealed(&self, rows: Column<u16>, codes: Column<u64>) -> Self {
        self.with(self.written.words().collect(), Arc::new(rows), Arc::new(codes))
    }

    /// This segment with the codes of another of the same rows. The caller holds the writer lock.
    pub(super) fn coded_like(&self, other: &Self) -> Self {
        let written = self.written.words().collect();
        self.with(written, Arc::clone(&self.rows), Arc::clone(&other.codes))
    }

    /// This segment with codes from a file. The caller holds the writer lock.
    pub(super) fn with_codes(&self, codes: Column<u64>) -> Self {
        self.with(self.written.words().collect(), Arc::clone(&self.rows), Arc::new(codes))
    }

    /// Removes here what was removed from `other` since this was made from it. The caller holds the writer lock.
    pub(super) fn drop_removed(&self, other: &Self) {
        for (word, live) in other.live.words().enumerate() {
            self.live.intersect(word, live);
        }
    }

    /// Whether both hold the same rows.
    pub(super) fn same_rows(&self, other: &Self) -> bool {
        self.written.words().eq(other.written.words())
    }

    /// Whether rows can be added.
    pub(super) fn is_writable(&self) -> bool {
        self.rows.is_writable() && self.codes.is_writable()
    }

    /// Whether the rows are served from a file but the codes are not (they were made anew).
    pub(super) fn has_loose_codes(&self) -> bool {
        !self.rows.is_writable() && self.codes.is_writable()
    }

    /// Whether every row is written.
    pub(super) fn is_full(&self) -> bool {
        self.written.count() == SEGMENT_ROWS
    }

    /// Stores and publishes a row.
    ///
    /// # Safety
    /// The caller holds the writer lock, the segment is writable and the row is not written.
    pub(super) unsafe fn push(&self, at: u32, row: &[u16], code: &[u64]) {
        // SAFETY: not written means not published; the writer lock makes this the one writer.
        unsafe {
            self.rows.write(at as usize * self.shape.row, row);
            self.codes.write(at as usize * self.shape.code, code);
        }
        self.written.insert(at);
        self.live.insert(at);
    }

    /// The numbers of a row.
    ///
    /// # Safety
    /// The row's bit in `written` or `live` of this very segment was seen.
    #[inline(always)]
    pub(super) unsafe fn row(&self, at: u32) -> &[u16] {
        // SAFETY: seen, so published.
        unsafe { self.rows.range(at as usize * self.shape.row, self.shape.row) }
    }

    /// The numbers of a row, if it is there.
    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&[u16]> {
        // SAFETY: the bit is looked at first.
        self.written.contains(at).then(|| unsafe { self.row(at) })
    }

    /// The code of a row.
    ///
    /// # Safety
    /// As for [`Segment::row`].
    #[inline(always)]
    pub(super) unsafe fn code(&self, at: u32) -> &[u64] {
        // SAFETY: seen, so published.
        unsafe { self.codes.range(at as usize * self.shape.code, self.shape.code) }
    }

    /// Hints that a row's code will be read.
    #[inline(always)]
    pub(super) fn prefetch_code(&self, at: u32) {
        self.codes.prefetch(at as usize * self.shape.code);
    }

    /// Hints that a row will be read.
    #[inline(always)]
    pub(super) fn prefetch_row(&self, at: u32) {
        let start = at as usize * self.shape.row;
        // The processor follows on its own once the first lines are on their way.
        for line in 0..4 {
            self.rows.prefetch(start + line * 32);
        }
    }

    /// Rows that may be found.
    pub(super) fn live(&self) -> &SlotBits {
        &self.live
    }

    /// Rows that hold a vector, removed or not.
    pub(super) fn written(&self) -> &SlotBits {
        &self.written
    }

    /// The written rows, ascending.
    pub(super) fn written_rows(&self) -> impl Iterator<Item = u32> + '_ {
        ones(self.written.words())
    }

    /// The matrix column, for writing it to a file.
    pub(super) fn rows(&self) -> &Column<u16> {
        &self.rows
    }

    /// The code column, for writing it to a file.
    pub(super) fn codes(&self) -> &Column<u64> {
        &self.codes
    }
}

/// Positions of the set bits of consecutive words, ascending.
pub(super) fn ones(words: impl Iterator<Item = u64>) -> impl Iterator<Item = u32> {
    words.zip(0u32..).flat_map(|(mut word, index)| {
        std::iter::from_fn(move || {
            let bit = (word != 0).then(|| word.trailing_zeros())?;
            word &= word - 1;
            Some(index * 64 + bit)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::space::to_halves;
    use super::*;

    fn filled(shape: Shape, centre: &Centre, rows: &[(u32, f32)]) -> Segment {
        let segment = Segment::empty(shape);
        for (at, first) in rows {
            let mut singles = vec![0.125f32; shape.row];
            singles[0] = *first;
            let mut code = vec![0; shape.code];
            centre.encode(&singles, &mut code);
            // SAFETY: one thread, each row once.
            unsafe { segment.push(*at, &to_halves(&singles), &code) };
        }
        segment
    }

    #[test]
    fn copying_and_recoding_keep_rows_and_codes() {
        let shape = Shape::of(40);
        let centre = Centre::from_numbers(vec![0.25; 40], 3);
        let segment =
            filled(shape, &centre, &[(0, 0.5), (63, 0.1), (64, 0.9), (SEGMENT_ROWS - 1, 0.2)]);
        segment.live().remove(63);
        let again = segment.recoded(&Centre::origin(40)).recoded(&centre).copied();
        assert_eq!(again.written_rows().collect::<Vec<_>>(), [0, 63, 64, SEGMENT_ROWS - 1]);
        assert_eq!(again.live().count(), 3);
        for at in segment.written_rows() {
            assert_eq!(segment.get(at), again.get(at));
            // SAFETY: the row is written and nobody writes.
            let (before, after) = unsafe { (segment.code(at), again.code(at)) };
            assert_eq!(before, after);
        }
        assert_eq!(segment.get(1), None);
    }

    #[test]
    fn slots_map_to_their_segment() {
        assert_eq!(locate(0), (0, 0));
        assert_eq!(locate(SEGMENT_ROWS - 1), (0, SEGMENT_ROWS - 1));
        assert_eq!(locate(SEGMENT_ROWS), (1, 0));
    }
}
