//! Waiting for peers that take what this node said under an earlier name.
//!
//! A client may ask again for a write that was made before a start (`docs/adr/0009-lives.md`). Its feed is not
//! pushed any more, only fetched; so the operations are sent until enough peers say that they have them.
//!
//! Invariant: `PRS-1` as for every write: a peer counts when it has applied all of the operations, itself.
//!
//! Not here: writes under the present name (`crate::engine`).

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use runtime::clock::{self, Instant};
use storage::answer::Made;
use types::{NodeId, OpId, Reason};

use super::{Federation, NotMet, ask};
use crate::engine::{Short, Verdict};

/// Most operations that are sent at once.
const TOGETHER_MAX: usize = 64;
/// Pause before a peer is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// What a peer has of the operations.
enum Has {
    All,
    Refused(Reason),
}

pub(super) async fn quorum(
    federation: &Federation,
    made: Made,
    needed: usize,
    within: Duration,
) -> Result<usize, NotMet> {
    let Made { origin, first, last } = made;
    let me = federation.0.exchange.me;
    let members = federation.members();
    let peers: Vec<NodeId> = members
        .iter()
        .filter(|member| member.endpoint.is_some() && member.node != me)
        .map(|member| member.node)
        .collect();
    if peers.len() + 1 < needed {
        return Err(NotMet { got: 1, needed, short: Short::TooFewNodes });
    }
    let ids: Vec<OpId> = (first..=last).map(|seq| OpId { origin, seq }).collect();
    let mut asked: FuturesUnordered<_> =
        peers.into_iter().map(|peer| until_it_has(federation, peer, &ids)).collect();
    let deadline = Instant::now() + within;
    let (mut got, mut short) = (1, Short::Timeout);
    while got < needed {
        match clock::timeout_at(deadline, asked.next()).await {
            Ok(Some(Has::All)) => got += 1,
            Ok(Some(Has::Refused(reason))) => short = Short::Refused(reason),
            Ok(None) | Err(_) => return Err(NotMet { got, needed, short }),
        }
    }
    Ok(got)
}

/// Sends the operations to a peer until it has judged all of them.
async fn until_it_has(federation: &Federation, peer: NodeId, ids: &[OpId]) -> Has {
    let mut left: BTreeSet<OpId> = ids.iter().copied().collect();
    loop {
        let together: Vec<OpId> = left.iter().copied().take(TOGETHER_MAX).collect();
        if together.is_empty() {
            return Has::All;
        }
        let judged = ask::send_again(federation, peer, &together).await;
        let mut taken = 0;
        for (id, verdict) in judged.unwrap_or_default() {
            match verdict {
                Verdict::Applied | Verdict::Known => taken += u32::from(left.remove(&id)),
                Verdict::Hidden => return Has::Refused(Reason::Forbidden),
                Verdict::Refused { reason, .. } => return Has::Refused(reason),
            }
        }
        if taken == 0 {
            // It lacks what is before them, and fetches it, or cannot be reached.
            clock::sleep(PAUSE).await;
        }
    }
}
