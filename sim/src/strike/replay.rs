//! A message between peers that comes again.
//!
//! The message is a push that carries nothing, signed with the sender's own key. Once it has been heard, its
//! receiver must refuse it: at once, and after a restart. What must not succeed is asserted on the spot.
//!
//! Not here: what else a message must show (`federation::sealed`, with its own tests).

use std::{path::Path, sync::Arc, time::Duration};

use federation::{driver::named, sealed};
use hivemem::identity::Keyring;
use prost::Message;
use runtime::{
    clock::{self, Instant},
    disk::{DiskRef, faulty::Loss},
};
use types::{Reason, Reject, VersionVector};
use wire::{
    client::{Channel, ChannelTimes},
    errors::reject_from_status,
    v1::{SyncHeader, SyncPurpose, SyncPush, SyncQuestion, sync_peer_client::SyncPeerClient},
};

use super::Blow;
use crate::world::{API_KEY, fleet::Host, peers::PeersWorld};

/// Times of the connection that the messages come on.
const TIMES: ChannelTimes = ChannelTimes {
    connect: Duration::from_secs(1),
    call: Duration::from_secs(3),
    keep_alive_interval: Duration::from_secs(2),
    keep_alive_timeout: Duration::from_secs(2),
};
/// Longest wait for a receiver that restarts.
const PATIENCE: Duration = Duration::from_secs(10);

/// A message of one peer for another, with this nonce and a header that may be changed.
pub(crate) fn message(
    world: &PeersWorld,
    (from, to): (&Host, &Host),
    nonce: String,
    change: impl FnOnce(&mut SyncHeader),
) -> Option<SyncQuestion> {
    let disk: DiskRef = Arc::new(from.disk.clone());
    let identity = Keyring::new(disk, Path::new("data")).load().ok()??;
    let (me, to) = (world.row_of(&from.name)?.node, world.row_of(&to.name)?.node);
    let (purpose, now_ms) = (SyncPurpose::Push, clock::now_unix_ms());
    let mut header = sealed::header(purpose, to.parse().ok()?, now_ms, &VersionVector::default());
    change(&mut header);
    let push = SyncPush { header: Some(header), operations: Vec::new(), proofs: Vec::new() };
    Some(sealed::question(&identity, me.parse().ok()?, push.encode_to_vec(), nonce))
}

/// Has a peer hear a message.
///
/// # Errors
/// Why it does not take it.
pub(crate) async fn send(to: &Host, message: &SyncQuestion) -> Result<(), Reject> {
    let channel = Channel::new(to.address().parse()?, TIMES);
    let mut request = named(message.clone());
    // What the peers' doors ask for.
    request.metadata_mut().insert("x-api-key", API_KEY.parse().expect("visible characters"));
    let asked = async { SyncPeerClient::new(channel).push(request).await };
    match clock::timeout(TIMES.call, asked).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(reject_from_status(&status)),
        Err(_) => Err(Reject::new(Reason::DeadlineExceeded, "no answer")),
    }
}

/// Sends it until the receiver says something of it. It must refuse it for one reason.
async fn is_refused(to: &Host, message: &SyncQuestion) -> bool {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match send(to, message).await {
            Ok(()) => panic!("replayed_message: {} heard a message twice", to.name),
            Err(reject) if reject.reason == Reason::NonceReplay => return true,
            Err(_) => clock::sleep(Duration::from_millis(100)).await,
        }
    }
    false
}

pub(super) async fn carry_out(blow: &mut Blow, world: &PeersWorld) {
    let (Some(from), Some(to)) = (blow.host(), blow.host()) else { return };
    if from.name == to.name {
        return;
    }
    let nonce = format!("again-{:016x}", blow.draw.bits());
    let Some(message) = message(world, (&from, &to), nonce, |_| {}) else { return };
    if send(&to, &message).await.is_err() || !is_refused(&to, &message).await {
        return;
    }
    let fault = blow.begin(&[&to.name]);
    match blow.draw.percent(50) {
        true => to.crash(),
        false => {
            to.disk.power_loss(Loss::LOSSY[blow.draw.place(4)]);
            to.off();
        }
    }
    is_refused(&to, &message).await;
    blow.over(fault);
}
