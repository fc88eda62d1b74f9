//! One attribute of up to a thousand neighbouring slots: values as offsets from a base, in the narrowest width.
//!
//! Neighbours in arrival order resemble each other (times within weeks, few namespaces, one default for most), so a
//! base and one to four bytes hold what would be eight. A column whose values are all equal holds none at all.
//!
//! Invariants: every value is `base + offset` with `offset <= span`; `low <= value <= high` for every value. The
//! bounds may be loose after [`Column::set`], never wrong, so a filter may decide a whole column by them.

use super::chunk::CHUNK_SLOTS;

/// The frame-of-reference encoded values of one attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    low: i64,
    high: i64,
    len: u32,
    offsets: Offsets,
}

/// Values a column is given room for, so that neither growing nor copying it reallocates: the slots of a chunk.
const ROOM: usize = CHUNK_SLOTS as usize;

/// `value - low` in the narrowest unsigned type that holds `high - low`; nothing when all are equal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offsets {
    None,
    One(Vec<u8>),
    Two(Vec<u16>),
    Four(Vec<u32>),
    Eight(Vec<u64>),
}

/// A copy that can be appended to: copies are made to be.
impl Clone for Offsets {
    fn clone(&self) -> Self {
        fn roomy<T: Copy>(all: &[T]) -> Vec<T> {
            let mut copy = Vec::with_capacity(all.len().max(ROOM));
            copy.extend_from_slice(all);
            copy
        }
        match self {
            Self::None => Self::None,
            Self::One(all) => Self::One(roomy(all)),
            Self::Two(all) => Self::Two(roomy(all)),
            Self::Four(all) => Self::Four(roomy(all)),
            Self::Eight(all) => Self::Eight(roomy(all)),
        }
    }
}

impl Offsets {
    /// An empty vector of the width that holds `span`.
    fn with_span(span: u64) -> Self {
        match span {
            0 => Self::None,
            1..=0xff => Self::One(Vec::with_capacity(ROOM)),
            0x100..=0xffff => Self::Two(Vec::with_capacity(ROOM)),
            0x1_0000..=0xffff_ffff => Self::Four(Vec::with_capacity(ROOM)),
            _ => Self::Eight(Vec::with_capacity(ROOM)),
        }
    }

    /// The largest offset this width holds.
    fn limit(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::One(_) => u64::from(u8::MAX),
            Self::Two(_) => u64::from(u16::MAX),
            Self::Four(_) => u64::from(u32::MAX),
            Self::Eight(_) => u64::MAX,
        }
    }

    // The casts below keep every bit: callers check `limit` first.
    fn push(&mut self, offset: u64) {
        match self {
            Self::None => {}
            Self::One(all) => all.push(offset as u8),
            Self::Two(all) => all.push(offset as u16),
            Self::Four(all) => all.push(offset as u32),
            Self::Eight(all) => all.push(offset),
        }
    }

    fn set(&mut self, index: usize, offset: u64) {
        match self {
            Self::None => {}
            Self::One(all) => all[index] = offset as u8,
            Self::Two(all) => all[index] = offset as u16,
            Self::Four(all) => all[index] = offset as u32,
            Self::Eight(all) => all[index] = offset,
        }
    }
}

impl Default for Column {
    fn default() -> Self {
        Self { low: 0, high: 0, len: 0, offsets: Offsets::None }
    }
}

impl Column {
    /// How many values.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// A lower bound of all values.
    pub fn low(&self) -> i64 {
        self.low
    }

    /// An upper bound of all values.
    pub fn high(&self) -> i64 {
        self.high
    }

    /// The value at `index`; the lower bound for an index beyond the end, which no caller asks for.
    #[inline]
    pub fn get(&self, index: usize) -> i64 {
        let offset = match &self.offsets {
            Offsets::None => 0,
            Offsets::One(all) => all.get(index).map_or(0, |offset| u64::from(*offset)),
            Offsets::Two(all) => all.get(index).map_or(0, |offset| u64::from(*offset)),
            Offsets::Four(all) => all.get(index).map_or(0, |offset| u64::from(*offset)),
            Offsets::Eight(all) => all.get(index).copied().unwrap_or(0),
        };
        self.low.wrapping_add_unsigned(offset)
    }

    /// Appends a value, widening the column when the value lies outside what it can hold.
    pub fn push(&mut self, value: i64) {
        if self.len == 0 {
            (self.low, self.high) = (value, value);
        } else {
            self.admit(value);
        }
        self.offsets.push(value.wrapping_sub(self.low) as u64);
        self.len += 1;
    }

    /// Replaces the value at `index`, which must exist.
    pub fn set(&mut self, index: usize, value: i64) {
        self.admit(value);
        self.offsets.set(index, value.wrapping_sub(self.low) as u64);
    }

    /// Makes room for `value` in the bounds and in the width.
    fn admit(&mut self, value: i64) {
        let (low, high) = (self.low.min(value), self.high.max(value));
        let span = high.wrapping_sub(low) as u64;
        if low != self.low || span > self.offsets.limit() {
            let mut wider = Offsets::with_span(span);
            for index in 0..self.len() {
                wider.push(self.get(index).wrapping_sub(low) as u64);
            }
            self.offsets = wider;
        }
        (self.low, self.high) = (low, high);
    }

    /// Clears every bit of `mask` (bit `i` of word `w` is index `64 w + i`) whose value does not satisfy `keep`.
    pub fn retain(&self, mask: &mut [u64], keep: impl Fn(i64) -> bool) {
        let low = self.low;
        match &self.offsets {
            Offsets::None => {
                if !keep(low) {
                    mask.fill(0);
                }
            }
            Offsets::One(all) => sweep(all, mask, |offset| keep(low.wrapping_add(offset.into()))),
            Offsets::Two(all) => sweep(all, mask, |offset| keep(low.wrapping_add(offset.into()))),
            Offsets::Four(all) => sweep(all, mask, |offset| keep(low.wrapping_add(offset.into()))),
            Offsets::Eight(all) => {
                sweep(all, mask, |offset| keep(low.wrapping_add_unsigned(offset)));
            }
        }
    }

    /// [`Column::retain`] for `from..=to`; decided by the bounds alone where they suffice.
    pub fn retain_between(&self, mask: &mut [u64], from: i64, to: i64) {
        if from <= self.low && self.high <= to {
            return;
        }
        let (from, to) = (from.max(self.low), to.min(self.high));
        if from > to {
            mask.fill(0);
            return;
        }
        // In offsets of the column's own width: narrow comparisons are done many at once.
        let from = from.wrapping_sub(self.low) as u64;
        let span = to.wrapping_sub(self.low) as u64 - from;
        match &self.offsets {
            // Equal values lie inside or outside as one, which the bounds have decided.
            Offsets::None => {}
            Offsets::One(all) => {
                sweep(all, mask, |offset| offset.wrapping_sub(from as u8) <= span as u8);
            }
            Offsets::Two(all) => {
                sweep(all, mask, |offset| offset.wrapping_sub(from as u16) <= span as u16);
            }
            Offsets::Four(all) => {
                sweep(all, mask, |offset| offset.wrapping_sub(from as u32) <= span as u32);
            }
            Offsets::Eight(all) => sweep(all, mask, |offset| offset.wrapping_sub(from) <= span),
        }
    }

    /// [`Column::retain`] for a few values.
    pub fn retain_any(&self, mask: &mut [u64], values: &[i64]) {
        let inside = values.iter().filter(|value| (self.low..=self.high).contains(value));
        let wanted: Vec<u64> = inside.map(|value| value.wrapping_sub(self.low) as u64).collect();
        match &self.offsets {
            _ if wanted.is_empty() => mask.fill(0),
            // The only value there is, is wanted.
            Offsets::None => {}
            Offsets::One(all) => sweep_any(all, mask, &wanted, |offset| offset as u8),
            Offsets::Two(all) => sweep_any(all, mask, &wanted, |offset| offset as u16),
            Offsets::Four(all) => sweep_any(all, mask, &wanted, |offset| offset as u32),
            Offsets::Eight(all) => sweep_any(all, mask, &wanted, |offset| offset),
        }
    }

    pub(super) fn parts(&self) -> (i64, i64, u32, &Offsets) {
        (self.low, self.high, self.len, &self.offsets)
    }

    /// Puts a stored column back together; `None` when the parts contradict each other.
    pub(super) fn from_parts(low: i64, high: i64, len: u32, offsets: Offsets) -> Option<Self> {
        let stored = match &offsets {
            Offsets::None => len as usize,
            Offsets::One(all) => all.len(),
            Offsets::Two(all) => all.len(),
            Offsets::Four(all) => all.len(),
            Offsets::Eight(all) => all.len(),
        };
        (stored == len as usize && low <= high).then_some(Self { low, high, len, offsets })
    }

    /// Bytes of heap the values take.
    pub fn heap_bytes(&self) -> usize {
        match &self.offsets {
            Offsets::None => 0,
            Offsets::One(all) => all.capacity(),
            Offsets::Two(all) => all.capacity() * 2,
            Offsets::Four(all) => all.capacity() * 4,
            Offsets::Eight(all) => all.capacity() * 8,
        }
    }
}

/// A word with at least this many candidates is judged whole (no branches), one with fewer bit by bit.
const DENSE_WORD: u32 = 12;

fn sweep<T: Copy>(values: &[T], mask: &mut [u64], keep: impl Fn(T) -> bool) {
    for (word, values) in mask.iter_mut().zip(values.chunks(64)) {
        if *word == 0 {
            continue;
        }
        if let (Ok(values), true) = (<&[T; 64]>::try_from(values), word.count_ones() >= DENSE_WORD)
        {
            *word &= judge(values, &keep);
            continue;
        }
        let mut left = *word;
        while left != 0 {
            let bit = left.trailing_zeros() as usize;
            left &= left - 1;
            if !values.get(bit).is_some_and(|value| keep(*value)) {
                *word &= !(1 << bit);
            }
        }
    }
}

/// The verdicts on 64 values as one word: first a byte each, which compilers turn into wide comparisons, then eight
/// bytes at a time into bits by one multiplication.
fn judge<T: Copy>(values: &[T; 64], keep: &impl Fn(T) -> bool) -> u64 {
    /// Moves the lowest bit of byte `i` to bit `56 + i`.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let verdicts = values.map(|value| u8::from(keep(value)));
    let mut kept = 0;
    for (eight, shift) in verdicts.chunks_exact(8).zip((0..).step_by(8)) {
        let eight = eight.try_into().map_or(0, u64::from_le_bytes);
        kept |= (eight.wrapping_mul(GATHER) >> 56) << shift;
    }
    kept
}

/// [`sweep`] for membership in a few offsets; the usual few are compared side by side.
fn sweep_any<T: Copy + PartialEq>(
    values: &[T],
    mask: &mut [u64],
    wanted: &[u64],
    narrow: impl Fn(u64) -> T,
) {
    /// Repeats the last offset, so that a fixed number of comparisons says the same.
    fn padded<T: Copy, const N: usize>(wanted: &[u64], narrow: impl Fn(u64) -> T) -> [T; N] {
        std::array::from_fn(|at| narrow(wanted[at.min(wanted.len() - 1)]))
    }
    let is_any = |set: &[T], value: T| set.iter().fold(false, |any, one| any | (*one == value));
    match wanted.len() {
        0 => mask.fill(0),
        1..=4 => {
            let set: [T; 4] = padded(wanted, narrow);
            sweep(values, mask, |value| is_any(&set, value));
        }
        5..=16 => {
            let set: [T; 16] = padded(wanted, narrow);
            sweep(values, mask, |value| is_any(&set, value));
        }
        _ => {
            let set: Vec<T> = wanted.iter().map(|offset| narrow(*offset)).collect();
            sweep(values, mask, |value| is_any(&set, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Vec<i64>> {
        prop_oneof![
            proptest::collection::vec(0i64..3, 1..200),
            proptest::collection::vec(1_700_000_000_000i64..1_700_000_900_000, 1..200),
            proptest::collection::vec(
                prop_oneof![Just(0), Just(i64::MAX), Just(i64::MIN), any::<i64>()],
                1..80
            ),
        ]
    }

    proptest! {
        #[test]
        fn holds_what_was_pushed_and_set(all in values(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<i64>()), 0..4)) {
            let mut plain = all.clone();
            let mut column = Column::default();
            all.iter().for_each(|value| column.push(*value));
            for (at, value) in changes {
                let index = at.index(plain.len());
                plain[index] = value;
                column.set(index, value);
            }
            prop_assert_eq!((0..column.len()).map(|i| column.get(i)).collect::<Vec<_>>(), plain.clone());
            prop_assert!(plain.iter().all(|value| column.low() <= *value && *value <= column.high()));
        }

        #[test]
        fn retains_exactly_the_values_in_range(all in values(), a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(), sparse in any::<bool>()) {
            let mut column = Column::default();
            all.iter().for_each(|value| column.push(*value));
            let (x, y) = (all[a.index(all.len())], all[b.index(all.len())]);
            let (from, to) = (x.min(y), x.max(y));
            let start = if sparse { 0x1111_1111_1111_1111u64 } else { u64::MAX };
            let mut mask = vec![start; all.len().div_ceil(64)];
            column.retain_between(&mut mask, from, to);
            for (index, value) in all.iter().enumerate() {
                let had = start >> (index % 64) & 1 == 1;
                let kept = |mask: &[u64]| mask[index / 64] >> (index % 64) & 1 == 1;
                prop_assert_eq!(kept(&mask), had && from <= *value && *value <= to);
            }
        }

        #[test]
        fn retains_exactly_the_wanted_values(
            all in values(),
            wanted in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
            other in any::<i64>(),
            sparse in any::<bool>(),
        ) {
            let mut column = Column::default();
            all.iter().for_each(|value| column.push(*value));
            let mut wanted: Vec<i64> = wanted.iter().map(|at| all[at.index(all.len())]).collect();
            wanted.push(other);
            let start = if sparse { 0x1111_1111_1111_1111u64 } else { u64::MAX };
            let mut by_list = vec![start; all.len().div_ceil(64)];
            let mut by_question = by_list.clone();
            column.retain_any(&mut by_list, &wanted);
            column.retain(&mut by_question, |value| wanted.contains(&value));
            for (index, value) in all.iter().enumerate() {
                let had = start >> (index % 64) & 1 == 1;
                for mask in [&by_list, &by_question] {
                    let kept = mask[index / 64] >> (index % 64) & 1 == 1;
                    prop_assert_eq!(kept, had && wanted.contains(value));
                }
            }
        }
    }
}
