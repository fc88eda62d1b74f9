//! The service's vocabulary: what doors hand in and what they render.
//!
//! The JSON form of these structs is the public HTTP and MCP contract; gRPC converts to and from
//! them. Conversion into validated types happens here, once, so that every door refuses the same
//! input with the same words.
//!
//! Invariants: unknown fields are refused; times are RFC 3339 in UTC with milliseconds; nothing here
//! reads a clock.
//!
//! Not here: visibility and authorisation (`service`).

pub mod filter;
pub mod governance;
pub mod graph;
pub mod memory;
pub mod position;
pub mod recall;
pub mod sync;
pub mod time;
pub mod vocabulary;
pub mod write;

pub use filter::{FilterInput, ListInput};
pub use graph::{GraphInput, LinkInput, LinkOut, PathInput, TimelineInput};
pub use memory::{MemoryDraft, MemoryOut, MemoryPatch};
pub use position::{Fresh, MinPosition};
pub use recall::{RecallAnswer, RecallHit, RecallInput};
pub use write::{DurabilityOut, Written};
