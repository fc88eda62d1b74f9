//! The recall index: everything recall needs in memory, derived from SQLite and never the truth itself.
//!
//! Losing it costs a rebuild and nothing else. A memory occupies one *slot*, a dense `u32` given out in the order of
//! arrival; attributes, postings and vectors all speak of slots, and a slot leads back to the row.
//!
//! Not here: SQL, threads, clocks. The caller decides when work is done and on which thread.

pub mod bitmap;

/// A dense position in the index. Never reused; a changed memory gets a new one and the old one is dead.
pub type Slot = u32;
