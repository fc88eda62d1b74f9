//! Life and readiness of the node, as probes at every door report them.
//!
//! Invariant: ready means that a write and a read would work now; whoever knows that they would not
//! says so here, and the probes need no knowledge of their own.
//!
//! Not here: finding out (the node's upkeep) and answering probes (the doors).

use tokio::sync::watch;

/// Where the node is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Opening and recovering its store.
    Starting,
    /// Writes and reads work.
    Ready,
    /// It runs, but writes or reads would fail.
    NotReady {
        /// Why, in one sentence for the operator.
        cause: String,
    },
    /// No new requests; those under way finish.
    Stopping,
}

/// A view of the node's phase. Clones show the same.
#[derive(Clone, Debug)]
pub struct ReadyProbe(watch::Receiver<Phase>);

/// The one who says what the phase is.
#[derive(Debug)]
pub struct PhaseSetter(watch::Sender<Phase>);

/// A phase of its own, at [`Phase::Starting`].
pub fn phase() -> (PhaseSetter, ReadyProbe) {
    let (set, see) = watch::channel(Phase::Starting);
    (PhaseSetter(set), ReadyProbe(see))
}

impl PhaseSetter {
    /// Sets the phase. A node that is stopping stays so.
    pub fn set(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let changes = *now != Phase::Stopping && *now != phase;
            if changes {
                *now = phase;
            }
            changes
        });
    }
}

impl ReadyProbe {
    /// A probe for a node that is ready for as long as it exists, as in-process clients have it.
    pub fn always() -> Self {
        ReadyProbe(watch::channel(Phase::Ready).1)
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        self.0.borrow().clone()
    }

    /// Waits for the phase to change. Never completes when it cannot change any more.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopping_is_final() {
        let (set, see) = phase();
        assert_eq!(see.phase(), Phase::Starting);
        set.set(Phase::Ready);
        assert_eq!(see.clone().phase(), Phase::Ready);
        set.set(Phase::Stopping);
        set.set(Phase::Ready);
        assert_eq!(see.phase(), Phase::Stopping);
        assert_eq!(ReadyProbe::always().phase(), Phase::Ready);
    }
}
