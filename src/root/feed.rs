//! What has happened, for whoever waits for it.
//!
//! Invariant: the index grows with every entry whose effects were told, and with every step of the
//! member that told none (a received snapshot); waiting for a change of it misses nothing that the
//! state shows.
//!
//! Not here: the state itself.

use std::sync::Arc;

use consensus::machine::Effect;
use tokio::sync::{broadcast, watch};

/// Effects kept for watchers that lag.
const KEPT: usize = 1024;

/// The effects of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Index of the entry.
    pub index: u64,
    /// What it did, in order.
    pub effects: Vec<Effect>,
}

/// Where the group tells and watchers listen. Clones are one and the same.
#[derive(Clone, Debug)]
pub struct Feed {
    applied: watch::Sender<u64>,
    happened: broadcast::Sender<Arc<Happened>>,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self { applied: watch::Sender::new(0), happened: broadcast::Sender::new(KEPT) }
    }

    /// An entry did this.
    pub(super) fn tell(&self, index: u64, effects: Vec<Effect>) {
        // Nobody may be listening.
        let _ = self.happened.send(Arc::new(Happened { index, effects }));
        self.reached(index);
    }

    /// The state contains everything up to `index`.
    pub(super) fn reached(&self, index: u64) {
        self.applied.send_if_modified(|applied| {
            let later = index > *applied;
            *applied = (*applied).max(index);
            later
        });
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    pub(super) fn happenings(&self) -> broadcast::Receiver<Arc<Happened>> {
        self.happened.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use consensus::machine::Effect;

    use super::*;

    #[test]
    fn watchers_hear_effects_in_order_and_the_index_never_goes_back() {
        let feed = Feed::new();
        let (mut heard, changes) = (feed.happenings(), feed.changes());
        feed.tell(3, vec![Effect::RulesChanged { version: 3 }]);
        feed.reached(9);
        feed.tell(7, vec![Effect::RulesChanged { version: 7 }]);
        assert_eq!(*changes.borrow(), 9);
        assert_eq!(heard.try_recv().expect("the first").index, 3);
        assert_eq!(heard.try_recv().expect("the second").index, 7);
        for index in 10..10 + 2 * KEPT as u64 {
            feed.tell(index, Vec::new());
        }
        let lagged = heard.try_recv().expect_err("too far behind");
        assert!(matches!(lagged, broadcast::error::TryRecvError::Lagged(_)), "{lagged:?}");
    }
}
