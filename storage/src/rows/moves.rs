//! What is told to those who wait for a store to change.
//!
//! Invariant: a position never goes back, whoever tells of it.
//!
//! Not here: what has changed (`read::changes`).

use tokio::sync::watch;

/// Signals of a store. Clones share them.
#[derive(Clone)]
pub(crate) struct Moves {
    position: watch::Sender<u64>,
    agents: watch::Sender<u64>,
}

impl Moves {
    /// Signals of a store whose last commit has this position.
    pub(crate) fn from(position: u64) -> Self {
        Self { position: watch::Sender::new(position), agents: watch::Sender::new(0) }
    }

    /// Everything up to this position can be read.
    pub(crate) fn to(&self, position: u64) {
        self.position.send_if_modified(|known| {
            let is_new = position > *known;
            *known = position.max(*known);
            is_new
        });
    }

    /// Registered agents are not what they were.
    pub(crate) fn agents_changed(&self) {
        self.agents.send_modify(|count| *count += 1);
    }

    /// The position of the last commit that is known of.
    pub(crate) fn known(&self) -> u64 {
        *self.position.borrow()
    }

    /// The same, and a signal when it moves.
    pub(crate) fn position(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }

    /// A number that moves with the registered agents.
    pub(crate) fn agents(&self) -> watch::Receiver<u64> {
        self.agents.subscribe()
    }
}
