//! Connections that are reset from outside.
//!
//! In the real world a reset comes from the network and this is nothing. In the simulator, whose
//! streams are never reset while both ends live, a socket asks its [`Link`] before each use.
//!
//! Invariant: a link is broken for ever once one of its node's resets has come after it was made.
//!
//! Not here: cuts and delays, which the simulator's own network has.

use std::io;

/// Whether a connection is still whole, as far as resets go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    #[cfg(madsim)]
    made: sim::Made,
}

impl Link {
    /// To be asked before each use of the connection.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionReset`].
    #[inline]
    pub fn check(&self) -> io::Result<()> {
        #[cfg(madsim)]
        if self.made.is_broken() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

#[cfg(madsim)]
pub mod sim {
    //! Resets, by node.

    use std::{cell::RefCell, collections::BTreeMap};

    use madsim::task::NodeId;

    thread_local! {
        static RESETS: RefCell<BTreeMap<NodeId, u64>> = const { RefCell::new(BTreeMap::new()) };
    }

    fn resets(node: NodeId) -> u64 {
        RESETS.with_borrow(|resets| resets.get(&node).copied().unwrap_or(0))
    }

    /// Where a connection was made, and after how many resets.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Made {
        node: NodeId,
        after: u64,
    }

    impl Default for Made {
        fn default() -> Self {
            let node = madsim::plugin::node();
            Self { node, after: resets(node) }
        }
    }

    impl Made {
        pub(super) fn is_broken(&self) -> bool {
            resets(self.node) != self.after
        }
    }

    /// Breaks every connection that the node has now. The other ends notice when they use theirs.
    pub fn reset_connections(node: NodeId) {
        RESETS.with_borrow_mut(|resets| *resets.entry(node).or_default() += 1);
    }
}
