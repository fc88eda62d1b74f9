//! What a filter may ask about a memory, stored by column for every slot.
//!
//! The index keeps numbers only: names (namespace, audience, author, tag) are interned in SQLite and appear here as
//! their ids. About 40 bytes per memory at a million.
//!
//! Layers: [`column`] one attribute, [`chunk`] 1,024 slots, [`group`] 65,536 slots with the bits of the living.

pub(crate) mod chunk;
pub(crate) mod column;
pub(crate) mod group;
pub(crate) mod stored;

/// The filterable attributes of one memory. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Interned namespace.
    pub namespace: u32,
    /// Interned audience: who may see the memory. The security boundary of every search.
    pub audience: u32,
    /// Interned author.
    pub author: u32,
    /// Kind code, `0..32`.
    pub kind: u8,
    /// Tier code, `0..8`.
    pub tier: u8,
    /// Priority, 1–10.
    pub priority: u8,
    /// Confidence in thousandths, `0..=1000`.
    pub confidence_permille: u16,
    /// Bits the store gives meaning to; a filter can demand or refuse each.
    pub flags: u8,
    /// When the memory was made.
    pub created_ms: i64,
    /// When it last changed.
    pub updated_ms: i64,
    /// From when on its statement holds.
    pub valid_from_ms: i64,
    /// First instant at which it no longer holds; 0 = open.
    pub valid_until_ms: i64,
    /// First instant at which it is gone; 0 = never.
    pub expires_at_ms: i64,
    /// Interned tags, sorted, none twice. [`Attributes::sorted`] makes it so.
    pub tags: Vec<u32>,
}

impl Attributes {
    /// Sorts the tags and drops repeats.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.tags.sort_unstable();
        self.tags.dedup();
        self
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::Attributes;

    /// Attributes with few distinct values each, so that filters hit and miss.
    pub(crate) fn attributes() -> impl Strategy<Value = Attributes> {
        let time = || prop_oneof![Just(0i64), 1i64..20, Just(1_700_000_000_000)];
        let ids = (0u32..6, 0u32..6, 0u32..4, 0u8..14, 0u8..3);
        let rest = (1u8..=10, 0u16..=1000, 0u8..4, proptest::collection::vec(0u32..8, 0..4));
        (ids, rest, (time(), time(), time(), time(), time())).prop_map(
            |(
                (namespace, audience, author, kind, tier),
                (priority, confidence, flags, tags),
                t,
            )| {
                Attributes {
                    namespace,
                    audience,
                    author,
                    kind,
                    tier,
                    priority,
                    confidence_permille: confidence,
                    flags,
                    created_ms: t.0,
                    updated_ms: t.1,
                    valid_from_ms: t.2,
                    valid_until_ms: t.3,
                    expires_at_ms: t.4,
                    tags,
                }
                .sorted()
            },
        )
    }
}
