//! Postings: which slots have which term, and how strongly.
//!
//! Slots arrive in small segments ([`segment`]), one per batch, which are merged in slices into larger ones
//! ([`merge`], [`tiers`]) until 65,536 slots form one sealed segment. Segments are immutable, so a reader's snapshot
//! is a list of them and never waits. Scores are sums of integers ([`search`]), so they depend neither on the order of
//! additions nor on how the slots happen to be cut into segments.

pub(crate) mod explain;
pub(crate) mod idf;
pub(crate) mod merge;
pub(crate) mod search;
pub(crate) mod segment;
pub(crate) mod tiers;
pub(crate) mod top;
