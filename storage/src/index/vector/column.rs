//! Fixed-size arrays that one writer fills while readers read what was published, and bit sets to publish with.
//!
//! Invariant (INV-VECTOR-PUBLISH): a range of a column is written once, before the slot's bit is set with release order;
//! a reader touches a range only after it saw the bit with acquire order; a published range never changes. So readers
//! need no lock, and a new row is visible to the very next search.
//!
//! Not here: who the one writer is. The index's writer lock sees to that.

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use runtime::disk::Mapping;

// Columns are used in place from files written little-endian.
const _: () = assert!(cfg!(target_endian = "little"), "the vector files are little-endian");

/// The bytes of a file: mapped, or read whole where the disk cannot map. They stay where they are while it lives.
pub(super) type FileBytes = Arc<Mapping>;

/// Numbers that a column may hold: every bit pattern is a value, zero bits are zero.
///
/// # Safety
/// Only for plain integers.
pub(super) unsafe trait Plain: Copy + Default + Send + Sync + 'static {}
// SAFETY: a plain integer.
unsafe impl Plain for u16 {}
// SAFETY: a plain integer.
unsafe impl Plain for u64 {}

enum Owner<T> {
    Memory(
        #[expect(dead_code, reason = "keeps the memory that `start` points into")]
        Box<[UnsafeCell<T>]>,
    ),
    File(#[expect(dead_code, reason = "keeps the bytes that `start` points into")] FileBytes),
}

/// An array in memory, writable range by range, or in a file, read-only.
pub(super) struct Column<T> {
    start: NonNull<T>,
    len: usize,
    owner: Owner<T>,
}

// SAFETY: shared reads and the one writer follow INV-VECTOR-PUBLISH, which the unsafe methods demand of their callers.
unsafe impl<T: Plain> Send for Column<T> {}
// SAFETY: as above.
unsafe impl<T: Plain> Sync for Column<T> {}

impl<T: Plain> Column<T> {
    /// An array of zeros. The system gives the memory page by page as it is written.
    pub(super) fn zeroed(len: usize) -> Self {
        let cells = Box::into_raw(vec![T::default(); len].into_boxed_slice());
        // SAFETY: `UnsafeCell<T>` has the layout of `T`, and the box was just released by `into_raw`.
        let cells = unsafe { Box::from_raw(cells as *mut [UnsafeCell<T>]) };
        let start = NonNull::from(&*cells).cast();
        Self { start, len, owner: Owner::Memory(cells) }
    }

    /// The `len` numbers at byte `offset` of a file; `None` if they do not lie inside it. Copied if not aligned.
    pub(super) fn in_file(file: &FileBytes, offset: usize, len: usize) -> Option<Self> {
        let end = offset.checked_add(len.checked_mul(size_of::<T>())?)?;
        let bytes = file.get(offset..end)?;
        // SAFETY: every bit pattern is a value of a plain integer.
        let (head, numbers, _) = unsafe { bytes.align_to::<T>() };
        if head.is_empty() {
            let start = NonNull::from(numbers).cast();
            return Some(Self { start, len, owner: Owner::File(Arc::clone(file)) });
        }
        let copy = Self::zeroed(len);
        // SAFETY: the copy has `len` numbers, is not shared yet, and does not overlap the file.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                copy.start.as_ptr().cast::<u8>(),
                bytes.len(),
            );
        }
        Some(copy)
    }

    /// Whether ranges can be written.
    pub(super) fn is_writable(&self) -> bool {
        matches!(self.owner, Owner::Memory(_))
    }

    /// The numbers `at..at + len`.
    ///
    /// # Safety
    /// The range was published (INV-VECTOR-PUBLISH), or the caller is the one writer, or nobody writes.
    #[inline(always)]
    pub(super) unsafe fn range(&self, at: usize, len: usize) -> &[T] {
        assert!(at + len <= self.len, "range {at}+{len} of {}", self.len);
        // SAFETY: inside the array by the assertion; not written while it is read by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at), len) }
    }

    /// Asks the processor to fetch the number at `at`. Any position will do; nothing is read.
    #[inline(always)]
    pub(super) fn prefetch(&self, at: usize) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing and cannot fault; the address is only computed.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.start.as_ptr().wrapping_add(at).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// Writes numbers from `at` on.
    ///
    /// # Safety
    /// The caller is the one writer, the column is writable, and no reader has been shown any of the range.
    pub(super) unsafe fn write(&self, at: usize, numbers: &[T]) {
        assert!(self.is_writable() && at + numbers.len() <= self.len, "write outside the column");
        // SAFETY: inside the array; memory that only this writer touches until it is published.
        unsafe {
            std::ptr::copy_nonoverlapping(
                numbers.as_ptr(),
                self.start.as_ptr().add(at),
                numbers.len(),
            );
        }
    }

    /// The bytes of the whole column, for writing to a file.
    ///
    /// # Safety
    /// As for [`Column::range`], for the whole column.
    pub(super) unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: inside the array; plain integers have no padding.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.len * size_of::<T>()) }
    }
}

/// A set of positions that grows and shrinks while others read it.
pub(super) struct SlotBits {
    words: Box<[AtomicU64]>,
}

impl SlotBits {
    /// The empty set over `0..len`.
    pub(super) fn new(len: u32) -> Self {
        Self { words: (0..len.div_ceil(64)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// A set from ready words.
    pub(super) fn from_words(words: impl Iterator<Item = u64>) -> Self {
        Self { words: words.map(AtomicU64::new).collect() }
    }

    /// The word at `index`; zero beyond the end. What was published before a bit was set is visible after.
    #[inline(always)]
    pub(super) fn word(&self, index: usize) -> u64 {
        self.words.get(index).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// All words.
    pub(super) fn words(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.words.len()).map(|index| self.word(index))
    }

    /// Whether `at` is in the set.
    #[inline(always)]
    pub(super) fn contains(&self, at: u32) -> bool {
        self.word((at / 64) as usize) >> (at % 64) & 1 == 1
    }

    /// Publishes `at`; everything written before is visible to whoever sees it. Returns whether it is new.
    pub(super) fn insert(&self, at: u32) -> bool {
        let bit = 1 << (at % 64);
        self.words[(at / 64) as usize].fetch_or(bit, Ordering::AcqRel) & bit == 0
    }

    /// Takes `at` out; whether it was in.
    pub(super) fn remove(&self, at: u32) -> bool {
        let bit = 1 << (at % 64);
        match self.words.get((at / 64) as usize) {
            Some(word) => word.fetch_and(!bit, Ordering::AcqRel) & bit != 0,
            None => false,
        }
    }

    /// Takes out of the word at `index` what is not in `keep`.
    pub(super) fn intersect(&self, index: usize, keep: u64) {
        if let Some(word) = self.words.get(index) {
            word.fetch_and(keep, Ordering::AcqRel);
        }
    }

    /// How many positions are in the set.
    pub(super) fn count(&self) -> u32 {
        self.words().map(u64::count_ones).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_in_a_file_is_read_in_place_or_copied_when_misaligned() {
        let numbers: Vec<u8> = [1u64, 2, 3].iter().flat_map(|n| n.to_le_bytes()).collect();
        let mut shifted = vec![0u8; 1];
        shifted.extend_from_slice(&numbers);
        for (bytes, offset) in [(numbers, 0), (shifted, 1)] {
            let file: FileBytes = Arc::new(Mapping::copied(&bytes));
            let column = Column::<u64>::in_file(&file, offset, 3).expect("inside the file");
            // SAFETY: nobody writes.
            assert_eq!(unsafe { column.range(0, 3) }, [1, 2, 3]);
            assert!(Column::<u64>::in_file(&file, offset, 4).is_none());
            assert!(Column::<u64>::in_file(&file, usize::MAX, 1).is_none());
        }
    }

    #[test]
    fn published_rows_are_whole_for_a_concurrent_reader() {
        let rows = Arc::new((Column::<u64>::zeroed(64 * 8), SlotBits::new(64)));
        let reader = {
            let rows = Arc::clone(&rows);
            move || {
                let mut seen = 0;
                while seen < 64 {
                    seen = rows.1.count();
                    for at in (0..64).filter(|at| rows.1.contains(*at)) {
                        // SAFETY: the bit was seen.
                        let row = unsafe { rows.0.range(at as usize * 8, 8) };
                        assert_eq!(row, [u64::from(at) + 1; 8]);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            let handle = scope.spawn(reader);
            for at in 0..64u32 {
                // SAFETY: this is the one writer and the bit is not set yet.
                unsafe { rows.0.write(at as usize * 8, &[u64::from(at) + 1; 8]) };
                assert!(rows.1.insert(at));
            }
            handle.join().expect("the reader saw whole rows");
        });
        assert!(!rows.1.insert(5) && rows.1.remove(5) && !rows.1.remove(5));
        assert_eq!(rows.1.count(), 63);
    }
}
