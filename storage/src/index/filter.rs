//! Which slots a query may see.
//!
//! INV-AUDIENCE: no search, count or set of slots exists without a set of audiences; [`Filter::new`] demands one and
//! nothing can take it out again. An empty set sees nothing.
//!
//! A filter is evaluated two ways with one meaning: a chunk at a time into a bitmap ([`Filter::retain`]), each column
//! deciding by its bounds where it can, and slot by slot ([`Filter::admits`]) for searches that touch few.

use super::attributes::chunk::{CHUNK_WORDS, Chunk, Field};

/// A set of interned ids, fast to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdSet {
    /// Sorted, none twice.
    ids: Vec<u32>,
    /// Bit per id when the largest id is small enough; interned ids are given out densely.
    bits: Vec<u64>,
}

/// Ids below this are held as bits (512 KB at most); larger ones are searched for.
const BITS_BOUND: u32 = 1 << 22;

/// Up to this many ids are compared one by one, many slots at a time; more are looked up slot by slot.
const FEW_IDS: usize = 16;

impl IdSet {
    /// A set of ids in any order.
    pub fn new(mut ids: Vec<u32>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        let mut bits = Vec::new();
        if let Some(last) = ids.last().filter(|last| **last < BITS_BOUND) {
            bits.resize(*last as usize / 64 + 1, 0);
            for id in &ids {
                bits[*id as usize / 64] |= 1 << (id % 64);
            }
        }
        Self { ids, bits }
    }

    /// Whether the id is in the set.
    #[inline]
    pub fn contains(&self, id: u32) -> bool {
        if self.bits.is_empty() {
            self.ids.binary_search(&id).is_ok()
        } else {
            self.bits.get(id as usize / 64).is_some_and(|word| word >> (id % 64) & 1 == 1)
        }
    }

    /// The ids, ascending.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Clears the bits of slots whose value in `field` is not in the set.
    fn retain(&self, chunk: &Chunk, field: Field, mask: &mut [u64]) {
        let column = chunk.column(field);
        if self.ids.len() <= FEW_IDS {
            let ids: Vec<i64> = self.ids.iter().map(|id| i64::from(*id)).collect();
            column.retain_any(mask, &ids);
        } else {
            // Id columns hold what was a u32, so the narrowing keeps every bit.
            column.retain(mask, |id| self.contains(id as u32));
        }
    }
}

impl FromIterator<u32> for IdSet {
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> Self {
        Self::new(ids.into_iter().collect())
    }
}

/// The audiences the asker belongs to, by interned id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audiences(IdSet);

impl Audiences {
    /// The audiences whose memories may be seen; none means that nothing may.
    pub fn new(ids: Vec<u32>) -> Self {
        Self(IdSet::new(ids))
    }

    /// The ids, ascending.
    pub fn ids(&self) -> &[u32] {
        self.0.ids()
    }
}

/// A closed interval of instants in milliseconds since the epoch.
type Window = (i64, i64);

const ALWAYS: Window = (i64::MIN, i64::MAX);

/// What a slot must satisfy to be seen. Conditions not set are not asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    audiences: Audiences,
    now_ms: i64,
    as_of_ms: Option<i64>,
    namespaces: Option<IdSet>,
    authors: Option<IdSet>,
    kinds: Option<u32>,
    tiers: Option<u8>,
    tags_all: Vec<u32>,
    tags_any: Option<IdSet>,
    created_ms: Window,
    updated_ms: Window,
    min_priority: u8,
    min_confidence_permille: u16,
    flags_required: u8,
    flags_refused: u8,
}

impl Filter {
    /// Everything these audiences may see that is not expired and holds at `now_ms`.
    pub fn new(audiences: Audiences, now_ms: i64) -> Self {
        Self {
            audiences,
            now_ms,
            as_of_ms: Some(now_ms),
            namespaces: None,
            authors: None,
            kinds: None,
            tiers: None,
            tags_all: Vec::new(),
            tags_any: None,
            created_ms: ALWAYS,
            updated_ms: ALWAYS,
            min_priority: 0,
            min_confidence_permille: 0,
            flags_required: 0,
            flags_refused: 0,
        }
    }

    /// What held at `as_of_ms` instead of now. Expiry is still judged by now: what is gone is gone.
    #[must_use]
    pub fn as_of(mut self, as_of_ms: i64) -> Self {
        self.as_of_ms = Some(as_of_ms);
        self
    }

    /// Whatever its validity.
    #[must_use]
    pub fn any_validity(mut self) -> Self {
        self.as_of_ms = None;
        self
    }

    /// Only these namespaces (the caller adds ancestors).
    #[must_use]
    pub fn namespaces(mut self, ids: impl IntoIterator<Item = u32>) -> Self {
        self.namespaces = Some(ids.into_iter().collect());
        self
    }

    /// Only these authors.
    #[must_use]
    pub fn authors(mut self, ids: impl IntoIterator<Item = u32>) -> Self {
        self.authors = Some(ids.into_iter().collect());
        self
    }

    /// Only kinds whose bit is set.
    #[must_use]
    pub fn kinds(mut self, mask: u32) -> Self {
        self.kinds = Some(mask);
        self
    }

    /// Only tiers whose bit is set.
    #[must_use]
    pub fn tiers(mut self, mask: u8) -> Self {
        self.tiers = Some(mask);
        self
    }

    /// Only memories with every one of these tags.
    #[must_use]
    pub fn all_tags(mut self, ids: impl IntoIterator<Item = u32>) -> Self {
        self.tags_all = ids.into_iter().collect();
        self
    }

    /// Only memories with at least one of these tags.
    #[must_use]
    pub fn any_tag(mut self, ids: impl IntoIterator<Item = u32>) -> Self {
        self.tags_any = Some(ids.into_iter().collect());
        self
    }

    /// Only memories made in this closed interval.
    #[must_use]
    pub fn created_between(mut self, from_ms: i64, to_ms: i64) -> Self {
        self.created_ms = (from_ms, to_ms);
        self
    }

    /// Only memories last changed in this closed interval.
    #[must_use]
    pub fn updated_between(mut self, from_ms: i64, to_ms: i64) -> Self {
        self.updated_ms = (from_ms, to_ms);
        self
    }

    /// Only this priority or a higher one.
    #[must_use]
    pub fn min_priority(mut self, priority: u8) -> Self {
        self.min_priority = priority;
        self
    }

    /// Only this confidence or a higher one.
    #[must_use]
    pub fn min_confidence_permille(mut self, permille: u16) -> Self {
        self.min_confidence_permille = permille;
        self
    }

    /// Only memories that have all the flags of `required` and none of `refused`.
    #[must_use]
    pub fn flags(mut self, required: u8, refused: u8) -> Self {
        (self.flags_required, self.flags_refused) = (required, refused);
        self
    }

    /// Clears the bits of `mask` whose slots may not be seen. Cheap and selective columns come first; nothing more is
    /// asked once no bit is left.
    pub(crate) fn retain(&self, chunk: &Chunk, mask: &mut [u64; CHUNK_WORDS]) {
        self.audiences.0.retain(chunk, Field::Audience, mask);
        if let Some(namespaces) = &self.namespaces {
            namespaces.retain(chunk, Field::Namespace, mask);
        }
        let column = |field| chunk.column(field);
        column(Field::CreatedMs).retain_between(mask, self.created_ms.0, self.created_ms.1);
        column(Field::UpdatedMs).retain_between(mask, self.updated_ms.0, self.updated_ms.1);
        if mask.iter().all(|word| *word == 0) {
            return;
        }
        if let Some(kinds) = self.kinds {
            column(Field::Kind).retain(mask, |kind| bit(kinds, kind));
        }
        if let Some(tiers) = self.tiers {
            column(Field::Tier).retain(mask, |tier| bit(tiers.into(), tier));
        }
        if let Some(authors) = &self.authors {
            authors.retain(chunk, Field::Author, mask);
        }
        if let Some(as_of) = self.as_of_ms {
            column(Field::ValidFromMs).retain_between(mask, i64::MIN, as_of);
            retain_open_or_after(chunk, Field::ValidUntilMs, as_of, mask);
        }
        retain_open_or_after(chunk, Field::ExpiresAtMs, self.now_ms, mask);
        let (priority, confidence) = (self.min_priority, self.min_confidence_permille);
        column(Field::Priority).retain_between(mask, priority.into(), i64::MAX);
        column(Field::ConfidencePermille).retain_between(mask, confidence.into(), i64::MAX);
        if self.flags_required | self.flags_refused != 0 {
            column(Field::Flags).retain(mask, |flags| self.flags_fit(flags));
        }
        if !self.tags_all.is_empty() || self.tags_any.is_some() {
            for_each_bit(mask, |index| self.tags_fit(chunk.tags(index)));
        }
    }

    /// Whether one slot may be seen; the same answer as [`Filter::retain`] gives for it.
    pub(crate) fn admits(&self, chunk: &Chunk, index: usize) -> bool {
        let get = |field| chunk.get(field, index);
        let within = |field, window: Window| window.0 <= get(field) && get(field) <= window.1;
        let open_or_after = |field, instant: i64| get(field) == 0 || instant < get(field);
        let in_set = |set: &Option<IdSet>, field| {
            set.as_ref().is_none_or(|set| set.contains(get(field) as u32))
        };
        self.audiences.0.contains(get(Field::Audience) as u32)
            && in_set(&self.namespaces, Field::Namespace)
            && in_set(&self.authors, Field::Author)
            && self.kinds.is_none_or(|kinds| bit(kinds, get(Field::Kind)))
            && self.tiers.is_none_or(|tiers| bit(tiers.into(), get(Field::Tier)))
            && within(Field::CreatedMs, self.created_ms)
            && within(Field::UpdatedMs, self.updated_ms)
            && self.as_of_ms.is_none_or(|as_of| {
                get(Field::ValidFromMs) <= as_of && open_or_after(Field::ValidUntilMs, as_of)
            })
            && open_or_after(Field::ExpiresAtMs, self.now_ms)
            && get(Field::Priority) >= self.min_priority.into()
            && get(Field::ConfidencePermille) >= self.min_confidence_permille.into()
            && self.flags_fit(get(Field::Flags))
            && self.tags_fit(chunk.tags(index))
    }

    fn flags_fit(&self, flags: i64) -> bool {
        let required = i64::from(self.flags_required);
        flags & required == required && flags & i64::from(self.flags_refused) == 0
    }

    fn tags_fit(&self, tags: &[u32]) -> bool {
        self.tags_all.iter().all(|tag| tags.binary_search(tag).is_ok())
            && self.tags_any.as_ref().is_none_or(|any| tags.iter().any(|tag| any.contains(*tag)))
    }
}

/// Bit `at` of a mask; a code beyond the mask's width is not in it.
fn bit(mask: u32, at: i64) -> bool {
    u32::try_from(at).ok().and_then(|at| mask.checked_shr(at)).is_some_and(|rest| rest & 1 == 1)
}

/// Keeps the slots whose end is open (0) or lies after `instant`.
fn retain_open_or_after(chunk: &Chunk, field: Field, instant: i64, mask: &mut [u64]) {
    let column = chunk.column(field);
    if (column.low() == 0 && column.high() == 0) || instant < column.low() && column.low() > 0 {
        return;
    }
    column.retain(mask, |end| end == 0 || instant < end);
}

/// Clears the set bits for which `keep` says no.
fn for_each_bit(mask: &mut [u64], keep: impl Fn(usize) -> bool) {
    for (at, word) in mask.iter_mut().enumerate() {
        let mut left = *word;
        while left != 0 {
            let bit = left.trailing_zeros() as usize;
            left &= left - 1;
            if !keep(at * 64 + bit) {
                *word &= !(1 << bit);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::index::attributes::{Attributes, tests::attributes};

    /// What a filter says, kept apart from it so that a test can judge by plain comparison.
    pub(crate) type Plan = (
        (Vec<u32>, i64, Option<Option<i64>>, Option<Vec<u32>>, Option<Vec<u32>>),
        (Option<u32>, Option<u8>, Vec<u32>, Option<Vec<u32>>),
        ((i64, i64), (i64, i64), u8, u16, (u8, u8)),
    );

    pub(crate) fn plan() -> impl Strategy<Value = Plan> {
        let ids = |bound: u32| proptest::collection::vec(0..bound, 0..4);
        let maybe = |bound: u32| proptest::option::of(proptest::collection::vec(0..bound, 0..4));
        let time = || prop_oneof![0i64..20, Just(1_700_000_000_000), Just(1_700_000_000_001)];
        let window = || prop_oneof![3 => Just(ALWAYS), 1 => (0i64..20, 0i64..20)];
        let validity = proptest::option::weighted(0.3, proptest::option::of(time()));
        (
            (
                prop_oneof![4 => ids(6), 1 => Just((2..40).collect())],
                time(),
                validity,
                maybe(6),
                maybe(4),
            ),
            (
                proptest::option::weighted(0.3, any::<u32>()),
                proptest::option::weighted(0.3, 0u8..8),
                proptest::collection::vec(0u32..8, 0..2),
                proptest::option::weighted(0.3, ids(8)),
            ),
            (
                window(),
                window(),
                0u8..8,
                0u16..800,
                prop_oneof![3 => Just((0u8, 0u8)), 1 => (0u8..4, 0u8..4)],
            ),
        )
    }

    pub(crate) fn filter((a, b, c): &Plan) -> Filter {
        let mut filter = Filter::new(Audiences::new(a.0.clone()), a.1);
        match a.2 {
            None => {}
            Some(None) => filter = filter.any_validity(),
            Some(Some(as_of)) => filter = filter.as_of(as_of),
        }
        if let Some(namespaces) = &a.3 {
            filter = filter.namespaces(namespaces.iter().copied());
        }
        if let Some(authors) = &a.4 {
            filter = filter.authors(authors.iter().copied());
        }
        if let Some(kinds) = b.0 {
            filter = filter.kinds(kinds);
        }
        if let Some(tiers) = b.1 {
            filter = filter.tiers(tiers);
        }
        if let Some(any) = &b.3 {
            filter = filter.any_tag(any.iter().copied());
        }
        filter
            .all_tags(b.2.iter().copied())
            .created_between(c.0.0, c.0.1)
            .updated_between(c.1.0, c.1.1)
            .min_priority(c.2)
            .min_confidence_permille(c.3)
            .flags(c.4.0, c.4.1)
    }

    /// The meaning of a plan, written without the index.
    pub(crate) fn visible((a, b, c): &Plan, row: &Attributes) -> bool {
        let as_of = a.2.unwrap_or(Some(a.1));
        a.0.contains(&row.audience)
            && (row.expires_at_ms == 0 || a.1 < row.expires_at_ms)
            && as_of.is_none_or(|t| {
                row.valid_from_ms <= t && (row.valid_until_ms == 0 || t < row.valid_until_ms)
            })
            && a.3.as_ref().is_none_or(|all| all.contains(&row.namespace))
            && a.4.as_ref().is_none_or(|all| all.contains(&row.author))
            && b.0.is_none_or(|kinds| kinds & (1 << row.kind) != 0)
            && b.1.is_none_or(|tiers| tiers & (1 << row.tier) != 0)
            && b.2.iter().all(|tag| row.tags.contains(tag))
            && b.3.as_ref().is_none_or(|any| any.iter().any(|tag| row.tags.contains(tag)))
            && (c.0.0..=c.0.1).contains(&row.created_ms)
            && (c.1.0..=c.1.1).contains(&row.updated_ms)
            && row.priority >= c.2
            && row.confidence_permille >= c.3
            && row.flags & c.4.0 == c.4.0
            && row.flags & c.4.1 == 0
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn both_evaluations_mean_what_the_plan_says(
            rows in proptest::collection::vec(attributes(), 1..150),
            plan in plan(),
        ) {
            let mut chunk = Chunk::default();
            for (rowid, row) in (1..).zip(&rows) {
                chunk.push(rowid, row);
            }
            let filter = filter(&plan);
            let mut mask = [0u64; CHUNK_WORDS];
            for index in 0..rows.len() {
                mask[index / 64] |= 1 << (index % 64);
            }
            filter.retain(&chunk, &mut mask);
            for (index, row) in rows.iter().enumerate() {
                let expected = visible(&plan, row);
                prop_assert_eq!(filter.admits(&chunk, index), expected);
                prop_assert_eq!(mask[index / 64] >> (index % 64) & 1 == 1, expected);
            }
        }

        #[test]
        fn id_sets_agree_with_plain_search(ids in proptest::collection::vec(prop_oneof![0u32..200, any::<u32>()], 0..20), asked in 0u32..300) {
            let set = IdSet::new(ids.clone());
            prop_assert_eq!(set.contains(asked), ids.contains(&asked));
            prop_assert!(ids.iter().all(|id| set.contains(*id)));
        }
    }

    #[test]
    fn no_audience_sees_nothing() {
        let mut chunk = Chunk::default();
        chunk.push(1, &Attributes::default());
        let filter = Filter::new(Audiences::new(Vec::new()), 0);
        assert!(!filter.admits(&chunk, 0));
        let mut mask = [1; CHUNK_WORDS];
        filter.retain(&chunk, &mut mask);
        assert_eq!(mask, [0; CHUNK_WORDS]);
    }
}
