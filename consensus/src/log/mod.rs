//! The log of the root: what a member has promised and accepted, on its own disk.
//!
//! A folder holds `identity`, `vote` and numbered segments. Layers, each knowing only those below:
//!
//! | file | what |
//! |---|---|
//! | `id`, `options`, `error` | words |
//! | `record`, `segment`, `sealed` | how bytes stand in files |
//! | `slots` | what a sequence of changes leaves behind |
//! | `recover` | reading back after any end |
//! | `journal` | writing, without a thread |
//! | `open` | whose log, and the vote |
//! | `memory`, `read` | what is known without the disk, and reading past it |
//! | `shell` | [`Log`]: the thread, group commit, callbacks |
//!
//! The invariants are `LOG-1` to `LOG-20`, each stated where it is kept. In one sentence: what was
//! acknowledged is there after any crash, a torn tail is cut, and anything else that is wrong refuses
//! instead of guessing.
//!
//! It assumes that a sector that was written before is not spoiled when the bytes behind it are
//! written (power-safe overwrite).
//!
//! Not here: Raft's library (`crate::raft`), snapshots, and what entries mean.

mod error;
mod id;
mod journal;
mod look;
mod memory;
mod open;
mod options;
mod place;
mod read;
mod record;
mod recover;
pub(crate) mod sealed;
mod segment;
mod shell;
mod slots;

#[cfg(test)]
mod tests;

pub use error::LogError;
pub use id::{Bounds, EntryId};
pub use look::{Contents, look, proven_bytes};
pub use open::{Identity, Vote};
pub use options::LogOptions;
pub use read::Reader;
pub use shell::{Done, Log};
