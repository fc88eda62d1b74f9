//! Reads that see what a quorum has.
//!
//! With `N` nodes and writes that `W` of them must have, any `N - W + 1` have one among them that has a write which was
//! acknowledged. This node is one; it takes up what `N - W` others cover, and then reads what it has itself.
//!
//! Invariant: `PRS-3` a read of a quorum sees every write that was acknowledged before it began, or is refused.
//!
//! Not here: asking the others (`federation`).

use federation::driver::{Federation, NotMet};
use futures::FutureExt;
use runtime::clock;
use types::{Reason, Reject, planted};

use super::{Peers, short_cause};
use crate::gather::{Gather, NoAnswer, Question};

/// One reader's wish: to be as far as so many nodes.
pub(super) struct Wish(usize);

impl Question for Wish {
    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// Readers that ask at about the same time, together.
pub(super) type Readers = Gather<Wish, Result<usize, NotMet>>;

/// Gathers the readers of a node. A round that has begun is too old for who comes later (`RTH-13`).
pub(super) fn readers(federation: &Federation, within: std::time::Duration) -> Readers {
    let federation = federation.clone();
    Gather::new(1, move |wishes: Vec<Wish>| {
        let federation = federation.clone();
        async move {
            let needed = wishes.iter().map(|wish| wish.0).max().unwrap_or(1);
            let level = federation.level(needed, within).await;
            wishes.iter().map(|_| level).collect()
        }
        .boxed()
    })
}

impl Peers {
    /// How many nodes a read must have asked, this one among them, to meet every quorum of a write.
    pub fn needed_to_read(&self) -> u32 {
        self.nodes().saturating_sub(self.needed()) + 1
    }

    /// Brings this node up to what a quorum has (`PRS-3`).
    ///
    /// # Errors
    /// [`Reason::QuorumNotMet`].
    pub(crate) async fn level(&self, deadline: Option<clock::Instant>) -> Result<(), Reject> {
        let needed = self.needed_to_read();
        if needed <= 1 || planted::is_on("quorum-read-alone") {
            return Ok(());
        }
        // A round may be under way already; the next one is this reader's.
        let latest = clock::Instant::now() + 2 * self.0.within;
        let deadline = deadline.map_or(latest, |deadline| deadline.min(latest));
        let needed = needed as usize;
        let level = match self.0.readers.ask(Wish(needed), deadline).await {
            Ok(level) => level.map(drop),
            Err(NoAnswer::NotAsked | NoAnswer::Open) => {
                Err(NotMet { got: 1, needed, short: federation::engine::Short::Timeout })
            }
        };
        level.map_err(|short| {
            let cause = short_cause(short.short);
            let NotMet { got, needed, .. } = short;
            let detail = format!(
                "{got} of the {needed} nodes that a read of a quorum needs were heard in time ({cause}); \
                 try again, or read with consistency local"
            );
            Reject::new(Reason::QuorumNotMet, detail)
                .with("got", got)
                .with("needed", needed)
                .with("cause", cause)
                .with("retry_after_ms", super::RETRY_AFTER.as_millis())
        })
    }

    /// Asks everybody for what this node lacks, without waiting for them.
    pub(crate) fn hurry(&self) {
        self.federation().hurry(self.0.within);
    }
}
