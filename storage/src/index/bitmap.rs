//! Sets of slots: a growable bitmap, and the counted set of slots a query may see.
//!
//! Invariants: bits at or beyond `len` are zero, so counting and walking never need to mask; `Allowed::count` is the
//! number of set bits, computed once when the set is frozen.
//!
//! Not here: how the set is found (that is the filter's work). No compression: one bit per slot is 125 KB at a million.

use super::Slot;

const WORD_BITS: u32 = u64::BITS;

/// A set of slots below a fixed bound, one bit each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bitmap {
    words: Vec<u64>,
    len: u32,
}

impl Bitmap {
    /// An empty set over the slots `0..len`.
    pub fn new(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(WORD_BITS) as usize], len }
    }

    /// The set of all slots `0..len`.
    pub fn full(len: u32) -> Self {
        let mut all = Self { words: vec![u64::MAX; len.div_ceil(WORD_BITS) as usize], len };
        let tail = len % WORD_BITS;
        if tail != 0
            && let Some(last) = all.words.last_mut()
        {
            *last = (1 << tail) - 1;
        }
        all
    }

    /// A set from ready words, bit `i` of word `w` being slot `64 w + i`. Bits at or beyond `len` are dropped and
    /// missing words are zero.
    pub fn from_words(mut words: Vec<u64>, len: u32) -> Self {
        words.resize(len.div_ceil(WORD_BITS) as usize, 0);
        let tail = len % WORD_BITS;
        if tail != 0
            && let Some(last) = words.last_mut()
        {
            *last &= (1 << tail) - 1;
        }
        Self { words, len }
    }

    /// The bound: slots `0..len` can be members.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether no slot is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Raises the bound to `len`; new slots are absent. A smaller `len` changes nothing.
    pub fn grow(&mut self, len: u32) {
        if len > self.len {
            self.words.resize(len.div_ceil(WORD_BITS) as usize, 0);
            self.len = len;
        }
    }

    /// Adds a slot. A slot at or beyond the bound raises it.
    pub fn insert(&mut self, slot: Slot) {
        self.grow(slot.saturating_add(1));
        if let Some(word) = self.words.get_mut((slot / WORD_BITS) as usize) {
            *word |= 1 << (slot % WORD_BITS);
        }
    }

    /// Takes a slot out; whether it was in.
    pub fn remove(&mut self, slot: Slot) -> bool {
        let bit = 1 << (slot % WORD_BITS);
        match self.words.get_mut((slot / WORD_BITS) as usize) {
            Some(word) if *word & bit != 0 => {
                *word &= !bit;
                true
            }
            _ => false,
        }
    }

    /// Whether the slot is in the set; slots beyond the bound are not.
    #[inline]
    pub fn contains(&self, slot: Slot) -> bool {
        self.words
            .get((slot / WORD_BITS) as usize)
            .is_some_and(|word| word >> (slot % WORD_BITS) & 1 == 1)
    }

    /// How many slots are in the set.
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// The words, bit `i` of word `w` being slot `64 w + i`.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The slots of the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.words
            .iter()
            .zip(0u32..)
            .flat_map(|(word, index)| Ones { word: *word }.map(move |bit| index * WORD_BITS + bit))
    }
}

/// The set bits of one word, lowest first.
struct Ones {
    word: u64,
}

impl Iterator for Ones {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.word == 0 {
            return None;
        }
        let bit = self.word.trailing_zeros();
        self.word &= self.word - 1;
        Some(bit)
    }
}

/// The slots one query may see, with their number known: the number decides between an exact scan and a graph search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    bits: Bitmap,
    count: u32,
}

impl Allowed {
    /// Freezes a set and counts it.
    pub fn new(bits: Bitmap) -> Self {
        let count = bits.count();
        Self { bits, count }
    }

    /// Whether the query may see the slot. Slots beyond the bound (newer than the set) may not be seen.
    #[inline]
    pub fn contains(&self, slot: Slot) -> bool {
        self.bits.contains(slot)
    }

    /// How many slots may be seen.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The bound: the number of slots that existed when the set was found.
    pub fn len(&self) -> u32 {
        self.bits.len()
    }

    /// Whether nothing may be seen.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The slots, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.bits.iter()
    }

    /// The set itself.
    pub fn bits(&self) -> &Bitmap {
        &self.bits
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn full_sets_keep_the_bits_beyond_the_bound_clear() {
        for len in [0, 1, 63, 64, 65, 128, 130] {
            let all = Bitmap::full(len);
            assert_eq!(all.count(), len);
            assert!(!all.contains(len));
            assert_eq!(Bitmap::from_words(vec![u64::MAX; 4], len), all);
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(ops in proptest::collection::vec((0u32..500, any::<bool>()), 0..200)) {
            let mut bits = Bitmap::new(100);
            let mut set = BTreeSet::new();
            for (slot, add) in ops {
                if add {
                    bits.insert(slot);
                    set.insert(slot);
                } else {
                    prop_assert_eq!(bits.remove(slot), set.remove(&slot));
                }
            }
            prop_assert_eq!(bits.iter().collect::<Vec<_>>(), set.iter().copied().collect::<Vec<_>>());
            prop_assert!((0..600).all(|slot| bits.contains(slot) == set.contains(&slot)));
            let allowed = Allowed::new(bits);
            prop_assert_eq!(allowed.count() as usize, set.len());
            prop_assert_eq!(allowed.is_empty(), set.is_empty());
        }
    }
}
