//! How much clients of peers ask, and of what.
//!
//! Invariant: everything is drawn from the stream given, and printed with the run.
//!
//! Not here: what each errand does.

use crate::workload::draw::Draw;

/// Weights of the errands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// New memories.
    pub store: u64,
    /// Reads of one memory.
    pub read: u64,
    /// Changes of one field.
    pub change: u64,
    /// Deletes.
    pub delete: u64,
    /// New links.
    pub link: u64,
    /// Links taken away.
    pub unlink: u64,
}

impl Mix {
    /// The sum of all weights.
    pub fn total(&self) -> u64 {
        self.store + self.read + self.change + self.delete + self.link + self.unlink
    }
}

/// Everything that decides what clients do, beside what happens to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Seed of the clients' own streams.
    pub seed: u64,
    /// Concurrent clients.
    pub clients: u64,
    /// Weights of the errands.
    pub mix: Mix,
    /// Longest pause between two errands, milliseconds.
    pub think_ms: u64,
    /// Titles that several memories have, so that peers store under one title at the same time.
    pub titles: u64,
    /// New memories of a hundred that are folded into what their author has under one of so many titles.
    pub together_percent: u64,
    /// Memories that a client picks from: the newest so many.
    pub recent: u64,
    /// Most new memories of one client.
    pub stores_max: u64,
    /// Memories that there may be: from then on clients delete the oldest instead of storing more.
    pub keep_max: usize,
    /// Longest time for an answer, milliseconds; the client gives up a second and a half later.
    pub answer_ms: u64,
    /// Requests of a hundred that are asked of another peer too, when nobody can say what became of them.
    pub elsewhere_percent: u64,
    /// Requests of a hundred that are asked twice at once, of the same peer.
    pub twice_percent: u64,
    /// Reads of a hundred that ask for what a quorum has.
    pub quorum_reads_percent: u64,
    /// The peer that may not see the closed namespace, if there is one.
    pub narrow: Option<String>,
    /// Whether some memories are a stranger's, whose operations the peers refuse.
    pub strangers: bool,
}

impl Load {
    /// Draws a load.
    pub fn draw(draw: &mut Draw) -> Self {
        let pick = |draw: &mut Draw, of: [u64; 3]| of[draw.place(3)];
        Self {
            seed: draw.bits(),
            clients: draw.between((3, 8)),
            mix: Mix {
                store: draw.between((20, 50)),
                read: draw.between((15, 40)),
                change: draw.between((15, 40)),
                delete: draw.between((3, 15)),
                link: draw.between((2, 10)),
                unlink: draw.between((1, 5)),
            },
            think_ms: pick(draw, [40, 150, 500]),
            titles: draw.between((2, 6)),
            together_percent: pick(draw, [0, 15, 40]),
            recent: pick(draw, [4, 12, 40]),
            stores_max: draw.between((10, 30)),
            keep_max: usize::MAX,
            answer_ms: pick(draw, [2500, 4000, 4000]),
            elsewhere_percent: draw.between((0, 50)),
            twice_percent: draw.between((0, 10)),
            quorum_reads_percent: draw.between((0, 60)),
            narrow: None,
            strangers: false,
        }
    }

    /// The same with so many clients.
    #[must_use]
    pub fn with_clients(self, clients: u64) -> Self {
        Self { clients, ..self }
    }
}
