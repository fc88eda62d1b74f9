//! Under which name a node speaks after a start.
//!
//! A node that was put back to an earlier time does not know it. If it went on where its disk ends, it would say two
//! things under one name. So it says nothing before it has asked (`docs/adr/0009-lives.md`).
//!
//! Invariants: `DRV-14` a node goes on with its feed only after every peer has said that it has nothing newer of
//! it, and what any of them had has been fetched; else it takes a name that nobody has used. `DRV-15` either way
//! it speaks within [`NAMING`], as long as its store answers.
//!
//! Not here: what keeps pushes of an earlier life out (`starts`), how a store keeps still (`storage`).

use std::time::Duration;

use futures::future;
use runtime::clock::{self, Instant};
use storage::request::{Event, Intent, Life};
use types::{AgentId, FeedHead, NodeId, Reject, SignedHead};

use super::{Federation, ask};
use crate::exchange::refused;

/// How long peers are waited for.
const NAMING: Duration = Duration::from_millis(1500);
/// Pause before a peer is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// Lets the node speak, and says under which name and how far it has got.
///
/// # Errors
/// What the store refuses.
pub(super) async fn settle(federation: &Federation) -> Result<FeedHead, Reject> {
    let exchange = &federation.0.exchange;
    let members = federation.members();
    let me = exchange.me;
    let others = members.iter().filter(|m| m.endpoint.is_some() && m.node != me);
    let before = exchange.store.own_feed().await.map_err(refused)?;
    let deadline = Instant::now() + NAMING;
    let asked = others.map(|member| agrees(federation, member.node, before.origin, deadline));
    let silent = future::join_all(asked).await.into_iter().filter(|agrees| !agrees).count();
    let own = exchange.store.own_feed().await.map_err(refused)?;
    if silent == 0 {
        if own.seq > before.seq {
            let fetched = own.seq - before.seq;
            tracing::warn!(
                fetched,
                "this node was put back: its peers had more of what it had said"
            );
        }
        exchange.settled(vec![Intent::SpeakAs(Life { origin: own.origin, word: None })]).await?;
        return Ok(own);
    }
    let origin = me.life(u32::try_from(runtime::random::below(1 << 32)).unwrap_or_default());
    tracing::info!(%origin, silent, "not every peer says what it has of this node: it takes a new name");
    let signature = exchange.identity.sign(&own.digest());
    let word = (own.seq > 0).then_some(SignedHead { head: own, signature });
    let begun = Event {
        name: format!("life:{origin}"),
        agent: AgentId::node(),
        event_type: "life.begun".to_owned(),
        at_ms: clock::now_unix_ms(),
        payload: origin.as_bytes().to_vec(),
    };
    let life = Life { origin, word };
    exchange.settled(vec![Intent::SpeakAs(life), Intent::Event(Box::new(begun))]).await?;
    exchange.store.own_feed().await.map_err(refused)
}

/// Whether a peer says in time that it has nothing of the feed that is not here; what it has is fetched.
async fn agrees(federation: &Federation, peer: NodeId, origin: NodeId, deadline: Instant) -> bool {
    let asking = async {
        loop {
            match ask::fetch(federation, peer).await {
                Ok(fetched) if fetched.vector.get(origin) <= fetched.here.get(origin) => {
                    return true;
                }
                // It has not even the hashes any more.
                Ok(fetched) if fetched.is_cut => return false,
                Ok(fetched) if fetched.more => {}
                Ok(_) => clock::sleep(PAUSE).await,
                Err(error) => {
                    tracing::debug!(%peer, %error, "a peer does not say what it has of this node");
                    clock::sleep(PAUSE).await;
                }
            }
        }
    };
    clock::timeout_at(deadline, asking).await.unwrap_or(false)
}
