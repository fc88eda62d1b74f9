//! A member makes its start known.
//!
//! At a start, and whenever somebody joins, a member asks everybody who does not remember its start to do so,
//! until all do. The answers tell what starts of others were seen, so that whoever was away hears of
//! them. In a group at rest only the leader talks; without this the others would not know of a restart, and
//! a copy from before it could find them alone.
//!
//! Invariant: nothing is decided here, and nothing waits for it.
//!
//! Not here: what a start is (`boot`).

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use openraft::{
    async_runtime::watch::WatchReceiver, metrics::RaftServerMetrics, network::RaftNetworkFactory,
    type_config::alias::WatchReceiverOf,
};
use runtime::clock;

use super::{
    network::{Answered, Link, Network},
    types::{Member, MemberId, TypeConfig},
};

/// Time between two tries to reach those who do not know this start yet.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) type Metrics = WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>;

/// Introduces this member until it stops taking part.
pub(super) async fn introduce(network: Arc<Network>, mut metrics: Metrics) {
    while !network.boots.is_fenced() {
        drop(metrics.borrow_and_update());
        let strangers = strangers(&network, &metrics);
        let changed = match strangers.is_empty() {
            true => metrics.changed().await.is_ok(),
            false => round(&network, strangers, &mut metrics).await,
        };
        if !changed {
            return;
        }
    }
}

/// Members that do not remember this start.
fn strangers(network: &Network, metrics: &Metrics) -> Vec<(MemberId, Member)> {
    let known_to = network.boots.known_to();
    let metrics = metrics.borrow_watched();
    let members = metrics.membership_config.membership().nodes();
    let strangers = members.filter(|(id, _)| **id != network.me && !known_to.contains(id));
    strangers.map(|(id, member)| (*id, member.clone())).collect()
}

/// Asks all of them once, and rests if not all have answered. Answers whether the member goes on.
///
/// What an answer changes on the disk is written before the member's end is seen, so that nothing is
/// written behind a stop.
async fn round(
    network: &Arc<Network>,
    strangers: Vec<(MemberId, Member)>,
    metrics: &mut Metrics,
) -> bool {
    let asked = strangers.len();
    let mut network = network.clone();
    let mut asking: FuturesUnordered<BoxFuture<'static, (Link, Answered)>> =
        FuturesUnordered::new();
    for (id, member) in strangers {
        let link = network.new_client(id, &member).await;
        asking.push(async move { (link.clone(), link.hello().await) }.boxed());
    }
    let mut answered = 0;
    loop {
        tokio::select! {
            biased;
            answer = asking.next() => match answer {
                None => break,
                Some((link, answer)) => answered += usize::from(link.met(answer).await),
            },
            changed = metrics.changed() => {
                if changed.is_err() {
                    return false;
                }
            }
        }
    }
    if answered == asked {
        return true;
    }
    !matches!(clock::timeout(AGAIN, metrics.changed()).await, Ok(Err(_)))
}
