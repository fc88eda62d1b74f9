//! The words every other crate speaks: ids, clocks, the memory record and its join, operations,
//! audit rows, limits and outcomes.
//!
//! Invariants: everything here is a pure function of its arguments. There is no clock, randomness,
//! I/O, thread, `async`, hash-map iteration or floating-point decision in this crate; time, ids and
//! entropy come in as arguments. Bytes that are stored or signed have one encoding, in [`codec`].
//!
//! Not here: how anything is kept (`storage`), moved (`wire`, `federation`) or decided by many
//! (`consensus`).

pub mod agent;
#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;
pub mod audit;
pub mod codec;
pub mod counter;
pub mod dead_letter;
pub mod error;
pub mod feed;
mod fence_guard;
pub mod hlc;
pub mod ids;
pub mod kinds;
pub mod limits;
pub mod link;
pub mod lock;
pub mod memory;
pub mod namespace;
pub mod op;
pub mod outcome;
pub mod planted;
pub mod ratchet;
pub mod record;
pub mod register;
pub mod root_limits;
pub mod rule;
pub mod tags;
pub mod text;
pub mod version_vector;

pub use agent::{Affiliation, AgentId, AgentRecord, Audience};
pub use dead_letter::DeadLetter;
pub use error::{Invalid, Reason, Reject};
pub use feed::{FeedHead, SignedHead};
pub use fence_guard::FenceGuard;
pub use hlc::{Hlc, HlcClock};
pub use ids::{LinkId, MemoryId, NodeId, OpId};
pub use kinds::{Kind, Scope, Tier};
pub use link::{Link, Relation};
pub use memory::{NewMemory, Patch};
pub use namespace::{Namespace, NamespaceGlob};
pub use op::{Op, Payload};
pub use outcome::{Durability, Outcome};
pub use ratchet::Ratchet;
pub use record::{Expiry, Life, Record};
pub use register::{Register, Stamp};
pub use text::{Content, Metadata, Tag, Title};
pub use version_vector::VersionVector;
