//! The recall index: everything recall needs in memory, derived from SQLite and never the truth itself.
//!
//! Losing it costs a rebuild and nothing else. A memory occupies one *slot*, a dense `u32` given out in the order of
//! arrival; attributes, postings and vectors all speak of slots, and a slot leads back to the row.
//!
//! Not here: SQL, threads, clocks. The caller decides when work is done and on which thread.
//!
//! | part | what |
//! |---|---|
//! | [`recall_index`] | one writer, many readers |
//! | [`serving`] | words and vectors kept in step over one assignment of slots |
//! | [`snapshot`] | an immutable state: search, set of visible slots, explain |
//! | [`filter`], [`attributes`] | who may see what, and the columns it is decided by |
//! | [`text`], [`lexical`] | from text to terms; postings and ranking |
//! | [`persist`] | generations on disk, checked and mapped on open |
//! | [`vector`] | nearest vectors of one embedding space, with files and upkeep of its own |

pub mod attributes;
pub mod bitmap;
pub mod filter;
pub(crate) mod hash;
pub mod lexical;
pub mod persist;
pub mod recall_index;
pub(crate) mod rows;
pub mod serving;
pub mod snapshot;
pub mod text;
pub mod vector;
pub(crate) mod writer;

pub use attributes::Attributes;
pub use bitmap::{Allowed, Bitmap};
pub use filter::{Audiences, Filter, IdSet};
pub use lexical::{explain::TermScore, search::Scratch};
pub use persist::{IndexFolder, Loaded, Opened, Save, Saved, StoreIdentity};
pub use recall_index::RecallIndex;
pub use serving::{Serving, Unembedded};
pub use snapshot::{Hit, Snapshot};
pub use text::{
    prepare::{Prepared, prepare},
    query::{Phrase, Query, QueryTerm},
};
pub use writer::{Applied, ApplyError, Change};

/// A dense position in the index. Never reused; a changed memory gets a new one and the old one is dead.
pub type Slot = u32;

#[cfg(test)]
mod tests;
