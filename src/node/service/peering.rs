//! The node among its peers: who it is to them, how they stand, what they refuse.
//!
//! Not here: how memories travel (`federation`).

use federation::sealed::{CAPABILITIES, SCHEMA, VERSION};
use serde::{Deserialize, Serialize};
use types::{DeadLetter, NodeId, Reason, Reject};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Caller, Reply, Service, reject};
use crate::{
    node::model::time,
    peers::{Peers, Standing},
};

/// Reads the certificates that the node shows now.
pub type OwnCertificates = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// Who this node is to others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnRowOut {
    /// Its id, a UUID.
    pub node: String,
    /// Its Ed25519 public keys, hexadecimal, the current one first.
    pub public_keys: Vec<String>,
    /// SHA-256 of the certificate that it shows, hexadecimal; none without TLS.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// SHA-256 of the current key in colon-separated hexadecimal, to compare by eye.
    pub fingerprint: String,
}

/// How a peer stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerOut {
    /// What people call it.
    pub name: String,
    /// Its id, a UUID.
    pub node: String,
    /// Where it is reached.
    pub endpoint: Option<String>,
    /// How many of this node's operations it has settled: applied, or refused.
    #[schema(minimum = 0)]
    pub settled: u64,
    /// How many it has not.
    #[schema(minimum = 0)]
    pub lag: u64,
    /// Batches under way to it.
    #[schema(minimum = 0)]
    pub in_flight: u32,
    /// Failures since it last answered.
    #[schema(minimum = 0)]
    pub failures: u32,
    /// Operations that it refuses.
    #[schema(minimum = 0)]
    pub dead_letters: u32,
    /// Of those, how many are tried again only when an operator asks.
    #[schema(minimum = 0)]
    pub quarantined: u32,
    /// When it is asked again (RFC 3339); absent while it answers.
    pub quiet_until: Option<String>,
    /// When it was heard last (RFC 3339); absent before it was.
    pub last_heard: Option<String>,
    /// Its clock less this node's, in milliseconds, when it asked last; the way here counts as well.
    pub clock_offset_ms: Option<i64>,
    /// Version of the messages that it writes; absent before it has asked anything, as what follows.
    #[schema(minimum = 0)]
    pub version: Option<u32>,
    /// Version of its store; 0 if it does not say.
    #[schema(minimum = 0)]
    pub schema: Option<u32>,
    /// What it offers.
    pub capabilities: Vec<String>,
    /// Whether its store or its offers are others than this node's.
    pub drifts: bool,
    /// What went wrong last with a message to it: a code of the error table and one sentence.
    pub trouble: Option<String>,
    /// When that was (RFC 3339).
    pub trouble_at: Option<String>,
}

fn peer_out(peer: Standing) -> PeerOut {
    let quarantined = u32::try_from(peer.quarantined()).unwrap_or(u32::MAX);
    let drifts = peer.seen.drifts();
    let Standing { member, view, seen } = peer;
    let version = seen.version;
    let (trouble_at, trouble) = seen.trouble.unzip();
    PeerOut {
        name: member.name,
        node: member.node.to_string(),
        endpoint: member.endpoint,
        settled: view.settled,
        lag: view.lag,
        in_flight: u32::try_from(view.in_flight).unwrap_or(u32::MAX),
        failures: view.failures,
        dead_letters: u32::try_from(view.letters.len()).unwrap_or(u32::MAX),
        quarantined,
        quiet_until: (view.quiet_until_ms > 0).then(|| time::to_text(view.quiet_until_ms)),
        last_heard: seen.heard_ms.map(time::to_text),
        clock_offset_ms: seen.clock_offset_ms,
        version,
        schema: version.map(|_| seen.schema),
        capabilities: seen.capabilities,
        drifts,
        trouble: trouble.map(|reject| format!("{}: {}", reject.reason, reject.detail)),
        trouble_at: trouble_at.map(time::to_text),
    }
}

/// The peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeersOut {
    /// This node's id, a UUID.
    pub node: String,
    /// How many nodes must have a write, this one among them.
    #[schema(minimum = 1)]
    pub quorum: u32,
    /// This node's operations so far; a peer that has settled as many has all.
    #[schema(minimum = 0)]
    pub position: u64,
    /// Version of the messages that this node writes.
    #[schema(minimum = 0)]
    pub version: u32,
    /// Version of this node's store.
    #[schema(minimum = 0)]
    pub schema: u32,
    /// What this node offers.
    pub capabilities: Vec<String>,
    /// In order of their ids.
    pub items: Vec<PeerOut>,
}

/// An operation of this node that a peer refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterOut {
    /// Name of the peer.
    pub peer: String,
    /// The name under which this node made the operation.
    pub origin: String,
    /// Place of the operation in the feed of that name.
    #[schema(minimum = 1)]
    pub seq: u64,
    /// Why, as the peer said last: a code of the error table.
    pub reason: String,
    /// What the peer said last.
    pub detail: String,
    /// How often it was refused.
    #[schema(minimum = 0)]
    pub tries: u32,
    /// First refusal, Unix milliseconds.
    #[schema(minimum = 0)]
    pub first_ms: u64,
    /// Next try, Unix milliseconds; absent in quarantine.
    pub next_ms: Option<u64>,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLettersOut {
    /// In order of peer and place.
    pub items: Vec<DeadLetterOut>,
}

/// Which dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLettersInput {
    /// Name of the peer; the node id of one that is off the list.
    #[schema(min_length = 1, max_length = 128)]
    pub peer: String,
    /// One operation; without it all of that peer's.
    #[schema(minimum = 1)]
    pub seq: Option<u64>,
}

fn letter_out(peer: &str, letter: DeadLetter) -> DeadLetterOut {
    let DeadLetter { id, reason, detail, tries, first_ms, next_ms } = letter;
    let (peer, reason) = (peer.to_owned(), reason.code().to_owned());
    let (origin, seq) = (id.origin.to_string(), id.seq);
    DeadLetterOut { peer, origin, seq, reason, detail, tries, first_ms, next_ms }
}

impl Service {
    fn need_peers(&self) -> Reply<&Peers> {
        self.peers.as_ref().ok_or_else(|| {
            let detail = "this node has no peers; set federation.peers_file";
            Reject::new(Reason::Unimplemented, detail)
        })
    }

    /// Who this node is to others.
    pub fn own_row(&self) -> OwnRowOut {
        // The certificate may have been replaced since the start.
        OwnRowOut { certificates: (self.own_certificates)(), ..self.own_row.clone() }
    }

    /// How the peers stand.
    ///
    /// # Errors
    /// `unimplemented` without peers.
    pub async fn list_peers(&self) -> Reply<PeersOut> {
        let peers = self.need_peers()?;
        let node = peers.federation().me();
        let feeds = self.store.feeds().await.map_err(reject)?;
        Ok(PeersOut {
            node: node.to_string(),
            quorum: peers.needed(),
            position: feeds.get(&node).map_or(0, |feed| feed.seq),
            version: VERSION,
            schema: SCHEMA,
            capabilities: CAPABILITIES.iter().map(|word| (*word).to_owned()).collect(),
            items: peers.standing().await.into_iter().map(peer_out).collect(),
        })
    }

    /// What peers refuse.
    ///
    /// # Errors
    /// `unimplemented` without peers.
    pub async fn dead_letters(&self) -> Reply<DeadLettersOut> {
        let peers = self.need_peers()?;
        let members = peers.federation().members();
        let letters = peers.federation().letters().await.into_iter();
        let items = letters.map(|(peer, letter)| {
            // One that is off the list has no name any more.
            let name = members.get(peer).map(|member| member.name.clone());
            letter_out(&name.unwrap_or_else(|_| peer.to_string()), letter)
        });
        Ok(DeadLettersOut { items: items.collect() })
    }

    /// Tries them again at once.
    ///
    /// # Errors
    /// `forbidden` for who is no operator, `not_found` for nobody's name.
    pub async fn retry_dead_letters(
        &self,
        caller: &Caller,
        which: &DeadLettersInput,
    ) -> Reply<DeadLettersOut> {
        let (peers, node) = self.peer_of(caller, which)?;
        peers.federation().retry(node, which.seq).await;
        self.dead_letters().await
    }

    /// Gives them up: the peer will not have them.
    ///
    /// # Errors
    /// As [`Service::retry_dead_letters`].
    pub async fn purge_dead_letters(
        &self,
        caller: &Caller,
        which: &DeadLettersInput,
    ) -> Reply<DeadLettersOut> {
        let (peers, node) = self.peer_of(caller, which)?;
        peers.federation().purge(node, which.seq).await;
        self.dead_letters().await
    }

    fn peer_of(&self, caller: &Caller, which: &DeadLettersInput) -> Reply<(&Peers, NodeId)> {
        caller.require_operator()?;
        let peers = self.need_peers()?;
        let members = peers.federation().members();
        let named = members.iter().find(|member| member.name == which.peer);
        let named = named.map(|member| member.node);
        // One that is off the list is called by its id.
        let by_id = || Uuid::try_parse(&which.peer).ok().map(NodeId);
        let node = named.or_else(by_id).ok_or_else(|| {
            Reject::new(Reason::NotFound, format!("no peer is called {:?}", which.peer))
        })?;
        Ok((peers, node))
    }
}
