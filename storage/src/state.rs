//! State as it travels without the operations that made it, and what two stores compare of it.
//!
//! Invariants: `STA-1` two stores that hold the same of an item have the same digest of it; `STA-2` keys are
//! ordered by table, then by the bytes of the id.
//!
//! Not here: how ranges of keys are compared (`federation`), reading and writing (the backend).

use sha2::{Digest, Sha256};
use types::{
    AgentRecord, Link, MemoryId, Namespace, NamespaceGlob, Record, SignedHead, Stamp, VersionVector,
};

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// A memory, a tombstone too.
    Memory = 1,
    /// A link.
    Link = 2,
    /// Another name of an entity.
    Alias = 3,
    /// An agent.
    Agent = 4,
}

impl Table {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Link, Self::Alias, Self::Agent];

    /// The table of a number on the wire.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table as u8 == number)
    }
}

/// Names an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemKey {
    /// What it is.
    pub table: Table,
    /// Its id; of an alias and of an agent, the first half of the SHA-256 of its name.
    pub id: [u8; 16],
}

impl ItemKey {
    /// Before all others.
    pub const FIRST: Self = Self { table: Table::Memory, id: [0; 16] };

    /// The key of a memory.
    pub fn memory(id: MemoryId) -> Self {
        Self { table: Table::Memory, id: *id.as_bytes() }
    }

    /// The key of something that is known by text.
    pub fn named(table: Table, parts: &[&[u8]]) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&digest(parts)[..16]);
        Self { table, id }
    }
}

/// Keys from one on, up to before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first that belongs to it.
    pub from: ItemKey,
    /// The first behind it; `None`: it has no end.
    pub to: Option<ItemKey>,
}

impl KeyRange {
    /// Everything.
    pub const ALL: Self = Self { from: ItemKey::FIRST, to: None };

    /// Whether a key is in it.
    pub fn contains(&self, key: &ItemKey) -> bool {
        *key >= self.from && self.to.is_none_or(|to| *key < to)
    }
}

/// What stands for an item when stores are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemDigest {
    /// Which.
    pub key: ItemKey,
    /// First 8 bytes of a SHA-256 over all of it.
    pub digest: u64,
}

/// SHA-256 over parts, each behind its length.
pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let framed = parts.iter().fold(Sha256::new(), |hash, part| {
        hash.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
    });
    framed.finalize().into()
}

/// One alias of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The entity.
    pub memory: MemoryId,
    /// As it was written.
    pub alias: String,
    /// Whether it was taken away.
    pub removed: bool,
    /// The write that decided.
    pub stamp: Stamp,
}

/// All that is known of an item.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A memory.
    Memory(Box<Record>),
    /// A link.
    Link(Box<Link>),
    /// Another name of an entity.
    Alias(Alias),
    /// An agent.
    Agent(Box<AgentRecord>),
}

/// What is seen of a store: a namespace counts if each list has a pattern that it fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visible(pub Vec<Vec<NamespaceGlob>>);

impl Visible {
    /// Whether a namespace counts.
    pub fn sees(&self, namespace: &Namespace) -> bool {
        self.0.iter().all(|globs| globs.iter().any(|glob| glob.matches(namespace)))
    }

    /// Whether every namespace counts.
    pub fn is_everything(&self) -> bool {
        self.0.iter().all(|globs| globs.iter().any(|glob| glob.as_str() == "**"))
    }

    /// Whether no namespace counts.
    pub fn is_nothing(&self) -> bool {
        self.0.iter().any(Vec::is_empty)
    }
}

/// An item that one store holds and another does not, as far as it takes to say why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Which.
    pub key: ItemKey,
    /// The operations in it: of a memory the last of each origin, of a link none.
    pub vector: VersionVector,
    /// The operation that made it.
    pub created: Stamp,
}

/// Up to where a feed is covered by what was taken as state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoveredFeed {
    /// The head, with its origin's word for it.
    pub word: SignedHead,
    /// Up to here something may have been left out; 0: nothing was.
    pub unseen_seq: u64,
}

/// What may be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forget {
    /// What every member has seen.
    pub stable: VersionVector,
    /// Only what is older than this, Unix milliseconds.
    pub before_ms: u64,
    /// Only tombstones whose last change is behind this position: where the step before has ended.
    pub after: u64,
    /// Most operations, and most tombstones, that one step looks at.
    pub rows_max: u32,
}

/// What one step has forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgot {
    /// Operations.
    pub operations: u64,
    /// Tombstones and removed links.
    pub tombstones: u64,
    /// Where the next step goes on, if there is something left to look at.
    pub next: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_counts_that_fits_every_list() {
        let globs = |texts: &[&str]| texts.iter().map(|t| t.parse().expect("a glob")).collect();
        let both = Visible(vec![globs(&["a/**", "b"]), globs(&["**"])]);
        let namespace = |text: &str| text.parse::<Namespace>().expect("a namespace");
        assert!(both.sees(&namespace("a/x")) && both.sees(&namespace("b")));
        assert!(!both.sees(&namespace("c")) && !both.is_everything() && !both.is_nothing());
        assert!(Visible(vec![globs(&["**"])]).is_everything());
        let none = Visible(vec![globs(&["**"]), Vec::new()]);
        assert!(none.is_nothing() && !none.sees(&namespace("a/x")));
    }

    #[test]
    fn keys_are_ordered_by_table_and_then_by_id() {
        let key = |table, first| ItemKey { table, id: [first; 16] };
        assert!(key(Table::Memory, 9) < key(Table::Link, 0), "STA-2");
        let range = KeyRange { from: key(Table::Memory, 3), to: Some(key(Table::Link, 1)) };
        assert!(range.contains(&key(Table::Memory, 3)) && range.contains(&key(Table::Link, 0)));
        assert!(!range.contains(&key(Table::Link, 1)) && KeyRange::ALL.contains(&ItemKey::FIRST));
        for table in Table::ALL {
            assert_eq!(Table::from_number(table as u8), Some(table));
        }
    }
}
