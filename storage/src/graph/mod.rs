//! Links seen as a graph: neighbourhoods and shortest paths, the same for every backend.
//!
//! Invariants: `GRA-1` an answer depends on the edges alone, never on the order in which they were
//! loaded; `GRA-2` the work is bounded by the number of edges offered, which the caller bounds.
//!
//! Not here: SQL, visibility and validity. A backend offers only edges that the reader may see and
//! that hold at the instant asked for.

mod paths;
mod walk;

use types::{LinkId, MemoryId};

pub use paths::shortest_paths;
pub use walk::{Neighbourhood, Walk};

/// A link reduced to what a walk needs. Walking against its direction is the caller's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// One end.
    pub from: MemoryId,
    /// The other.
    pub to: MemoryId,
    /// The link it stands for.
    pub link: LinkId,
}

impl Edge {
    /// The same link walked the other way.
    pub fn reversed(self) -> Self {
        Self { from: self.to, to: self.from, link: self.link }
    }
}
