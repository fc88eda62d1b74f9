//! Identifiers: nodes, memories, links and operations.
//!
//! Invariants: an id is opaque and never reused; a [`MemoryId`] is a UUIDv7, so ids sort by birth.
//!
//! Not here: drawing them (the caller passes the UUID; `runtime::random` makes it).

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{Invalid, limits::ID_PREFIX_MIN};

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The 16 bytes that are stored and hashed.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Reads the 16 stored bytes.
            ///
            /// # Errors
            /// [`Invalid`] when there are not exactly 16 of them.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, Invalid> {
                Uuid::from_slice(bytes).map(Self).map_err(|_| {
                    Invalid::new($field, format!("an id has 16 bytes, got {}", bytes.len()))
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                Uuid::try_parse(text).map(Self).map_err(|_| {
                    Invalid::new($field, format!("{text:?} is not a UUID"))
                })
            }
        }
    };
}

uuid_id!(
    /// A node, for life: drawn once when its store is created.
    NodeId,
    "node_id"
);
uuid_id!(
    /// A memory (UUIDv7).
    MemoryId,
    "id"
);
uuid_id!(
    /// A link between two memories (UUIDv7).
    LinkId,
    "link_id"
);

/// Domain of the digests by which a node's other names are known.
const LIFE: &[u8] = b"hivemem life v1\0";

impl NodeId {
    /// What all other names of this node begin with.
    pub fn lives(self) -> [u8; 12] {
        let digest = Sha256::new_with_prefix(LIFE).chain_update(self.as_bytes()).finalize();
        let mut lives = [0; 12];
        lives.copy_from_slice(&digest[..12]);
        lives
    }

    /// Another name under which this node may speak: a digest of its own, and a number.
    pub fn life(self, number: u32) -> Self {
        let mut bytes = [0; 16];
        bytes[..12].copy_from_slice(&self.lives());
        bytes[12..].copy_from_slice(&number.to_be_bytes());
        Self(Uuid::from_bytes(bytes))
    }

    /// Whether a feed of that name is this node's.
    pub fn speaks_as(self, origin: Self) -> bool {
        self == origin || origin.as_bytes().starts_with(&self.lives())
    }
}

/// The name of an operation: the `seq`-th that `origin` made, counted from 1 without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId {
    /// Node that made the operation.
    pub origin: NodeId,
    /// Its place in that node's sequence, from 1.
    pub seq: u64,
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.origin, self.seq)
    }
}

/// A memory named by its whole id or by a prefix that fits only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdRef {
    /// The whole id.
    Full(MemoryId),
    /// At least [`ID_PREFIX_MIN`] lower-case hexadecimal digits, without hyphens.
    Prefix(String),
}

impl IdRef {
    /// Smallest and greatest id that the reference fits.
    pub fn range(&self) -> (MemoryId, MemoryId) {
        match self {
            IdRef::Full(id) => (*id, *id),
            IdRef::Prefix(digits) => {
                let bits = 4 * digits.len() as u32;
                let head = u128::from_str_radix(digits, 16).unwrap_or(0);
                let low = head.checked_shl(128 - bits).unwrap_or(0);
                let high = low | u128::MAX.checked_shr(bits).unwrap_or(0);
                (MemoryId(Uuid::from_u128(low)), MemoryId(Uuid::from_u128(high)))
            }
        }
    }
}

impl FromStr for IdRef {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits: String = text.chars().filter(|c| *c != '-').collect::<String>().to_lowercase();
        if !digits.chars().all(|c| c.is_ascii_hexdigit()) || digits.len() > 32 {
            return Err(Invalid::new(
                "id",
                format!("{text:?} is neither a UUID nor a prefix of one"),
            ));
        }
        match digits.len() {
            32 => text.parse().map(IdRef::Full),
            n if n < ID_PREFIX_MIN => Err(Invalid::new(
                "id",
                format!("a prefix needs at least {ID_PREFIX_MIN} hexadecimal digits, got {n}"),
            )),
            _ => Ok(IdRef::Prefix(digits)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_known_by_all_its_names() {
        let [one, two] = [1, 2].map(|number| NodeId(Uuid::from_u128(number)));
        assert!(one.speaks_as(one) && one.speaks_as(one.life(7)) && !one.speaks_as(two));
        assert!(!two.speaks_as(one.life(7)) && one.life(7) != one.life(8));
    }

    #[test]
    fn a_prefix_covers_exactly_the_ids_that_start_with_it() {
        let id: MemoryId = "0192aabb-ccdd-7eef-8011-223344556677".parse().expect("a UUID");
        let (low, high) = "0192-aabb".parse::<IdRef>().expect("a prefix").range();
        assert!(low <= id && id <= high);
        let (low, high) = "0192aabc".parse::<IdRef>().expect("a prefix").range();
        assert!(id < low && id < high);
        assert_eq!(id.to_string().parse::<IdRef>().expect("whole").range(), (id, id));
    }

    #[test]
    fn bad_references_are_named() {
        for bad in ["", "abc", "xyz12345", "0192aabb-ccdd-7eef-8011-2233445566778"] {
            assert_eq!(bad.parse::<IdRef>().expect_err(bad).field, "id");
        }
    }
}
