//! Pushes and pulls: one message, one answer, and the engine is told what became of it.
//!
//! Invariant: `DRV-6` for every push, retry and pull the engine is told exactly one end.
//!
//! Not here: when to send what (the engine), what the other side does with it (`serve`).

use std::time::Duration;

use prost::Message;
use runtime::{
    clock::{self, Instant},
    span::{self, Kind},
};
use tonic::Request;
use types::{NodeId, OpId, Reason, Reject, VersionVector};
use wire::{
    errors::reject_from_status,
    v1::{
        SyncHeader, SyncJudged, SyncOperation, SyncProof, SyncPurpose, SyncPush, SyncQuestion,
        SyncResult, SyncSince, SyncTold, SyncVerdict, sync_peer_client::SyncPeerClient,
    },
};

use super::{Federation, PEER_ID, traffic::Direction};
use crate::{
    convert,
    engine::{Input, PushId, Verdict},
    exchange::{OPERATIONS_MAX, Telling},
    members::Member,
    sealed,
};

/// Time for one message and its answer.
const MESSAGE: Duration = Duration::from_secs(5);
/// Largest message, in bytes: a batch, and one operation more than fits.
pub(super) const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// Which operations of this node to push.
pub(super) struct Part {
    /// Under which name they were made.
    pub(super) origin: NodeId,
    pub(super) first: u64,
    /// What the peer has of other feeds, when it lacks some of those.
    pub(super) lacks: Option<VersionVector>,
}

/// How a push ended.
enum End {
    Judged(Vec<(OpId, Verdict)>, VersionVector),
    Behind(VersionVector),
    /// The log does not reach back to where it begins; the peer covers this.
    Cut(VersionVector),
}

/// A nonce that nobody can guess and nobody used before.
fn nonce() -> String {
    let mut bytes = [0; 16];
    runtime::random::fill(&mut bytes);
    hex::encode(bytes)
}

/// Sends operations of this node, and in front of them what the peer lacks of others.
pub(super) async fn push(federation: Federation, peer: NodeId, push: PushId, part: Part) {
    let (brings_all, first) = (part.lacks.is_some(), part.first);
    let sent = send_part(&federation, peer, push, part);
    let end = match federation.0.exchange.store.traced(first) {
        None => sent.await,
        Some(traced) => {
            let mut span = traced.span("push", Kind::Client);
            span.set("peer", peer.to_string());
            span::within(span.traced(), sent).await
        }
    };
    let input = match end {
        Ok(End::Judged(verdicts, vector)) => Input::Judged { peer, push, verdicts, vector },
        // What it lacks is not to be had here either, for now.
        Ok(End::Behind(_)) if brings_all => {
            tracing::debug!(%peer, first, "a peer lacks something that is not to be had here");
            Input::Failed { peer, push }
        }
        Ok(End::Behind(vector)) => Input::Behind { peer, push, vector },
        Ok(End::Cut(vector)) => {
            tracing::debug!(%peer, first, "the log does not reach back to where a push begins");
            Input::Cut { peer, push, vector }
        }
        Err(error) => {
            tracing::debug!(%peer, %error, "a push failed");
            federation.0.sightings.failed(peer, &error, clock::now_unix_ms());
            Input::Failed { peer, push }
        }
    };
    federation.happened(input).await;
}

async fn send_part(
    federation: &Federation,
    peer: NodeId,
    push: PushId,
    part: Part,
) -> Result<End, Reject> {
    let members = federation.members();
    let (member, exchange) = (members.get(peer)?, &federation.0.exchange);
    let covers = exchange.covers().await?;
    let mut has = part.lacks.unwrap_or_else(|| covers.clone());
    has = has.iter().filter(|(origin, _)| *origin != part.origin).collect();
    has.raise(part.origin, part.first - 1);
    let Telling { operations, proofs, .. } =
        exchange.tell(&members, member, has, OPERATIONS_MAX).await?;
    let mine = |origin: &[u8]| origin == part.origin.as_bytes();
    let last = operations.iter().filter(|op| mine(&op.origin)).map(|op| op.seq).next_back();
    // With none of this node's own it is still worth sending: the others come first.
    let last = last.unwrap_or(part.first);
    federation.happened(Input::Sized { peer, push, last }).await;
    let is_cut = operations.is_empty();
    let header = federation.header(SyncPurpose::Push, peer, &covers);
    match judged(federation, member, Put::push(header, operations, proofs)).await? {
        // Nothing was sent, to learn where the peer is.
        End::Judged(_, vector) | End::Behind(vector) if is_cut => Ok(End::Cut(vector)),
        end => Ok(end),
    }
}

/// Sends refused operations again.
pub(super) async fn retry(federation: Federation, peer: NodeId, push: PushId, ids: Vec<OpId>) {
    let end = send_once_more(&federation, peer, &ids).await;
    let input = match end {
        Ok(End::Judged(verdicts, vector)) => Input::Judged { peer, push, verdicts, vector },
        Ok(End::Behind(vector)) => Input::Behind { peer, push, vector },
        Ok(End::Cut(_)) => Input::Failed { peer, push },
        Err(error) => {
            tracing::debug!(%peer, %error, "a retry failed");
            federation.0.sightings.failed(peer, &error, clock::now_unix_ms());
            Input::Failed { peer, push }
        }
    };
    federation.happened(input).await;
}

/// Sends operations of this node once more; what the peer did with those that it judged.
pub(super) async fn send_again(
    federation: &Federation,
    peer: NodeId,
    ids: &[OpId],
) -> Result<Vec<(OpId, Verdict)>, Reject> {
    match send_once_more(federation, peer, ids).await? {
        End::Judged(verdicts, _) => Ok(verdicts),
        End::Behind(_) | End::Cut(_) => Ok(Vec::new()),
    }
}

async fn send_once_more(
    federation: &Federation,
    peer: NodeId,
    ids: &[OpId],
) -> Result<End, Reject> {
    let members = federation.members();
    let (member, exchange) = (members.get(peer)?, &federation.0.exchange);
    let operations = exchange.again(member, ids).await?;
    let covers = exchange.covers().await?;
    let header = federation.header(SyncPurpose::Push, peer, &covers);
    judged(federation, member, Put::push(header, operations, Vec::new())).await
}

/// Sends a push and reads what the peer says of it.
async fn judged(federation: &Federation, member: &Member, put: Put) -> Result<End, Reject> {
    let body = match ask(federation, member, put.clone()).await {
        // It knows another start of this node, and learns of this one by a question.
        Err(error) if error.reason == Reason::StaleEpoch => {
            fetch(federation, member.node).await?;
            ask(federation, member, put).await?
        }
        answer => answer?,
    };
    let judged = SyncJudged::decode(&*body).map_err(unreadable)?;
    let vector = convert::vector(&judged.covers)?;
    if judged.verdicts.is_empty() && judged.behind {
        return Ok(End::Behind(vector));
    }
    let verdicts = judged.verdicts.into_iter().map(verdict).collect::<Result<_, _>>()?;
    Ok(End::Judged(verdicts, vector))
}

fn verdict(told: SyncVerdict) -> Result<(OpId, Verdict), Reject> {
    let id = OpId { origin: convert::node(&told.origin, "verdicts.origin")?, seq: told.seq };
    let verdict = match told.result() {
        SyncResult::Applied => Verdict::Applied,
        SyncResult::Known => Verdict::Known,
        SyncResult::Hidden => Verdict::Hidden,
        // What a later version says besides is no acknowledgement either.
        SyncResult::Refused | SyncResult::Unspecified => Verdict::Refused {
            reason: Reason::from_code(&told.reason).unwrap_or(Reason::Internal),
            detail: told.detail,
        },
    };
    Ok((id, verdict))
}

/// Asks a peer what this node lacks, and takes it.
pub(super) async fn pull(federation: Federation, peer: NodeId) {
    let input = match fetch(&federation, peer).await {
        Ok(Fetched { vector, more, is_cut, .. }) => Input::Pulled { peer, vector, more, is_cut },
        Err(error) => {
            tracing::debug!(%peer, %error, "a pull failed");
            federation.0.sightings.failed(peer, &error, clock::now_unix_ms());
            Input::PullFailed { peer }
        }
    };
    federation.happened(input).await;
}

/// What a pull has brought.
pub(super) struct Fetched {
    /// What the peer covers.
    pub(super) vector: VersionVector,
    /// What is covered here now.
    pub(super) here: VersionVector,
    pub(super) more: bool,
    /// Whether its log does not reach back to where this node is.
    pub(super) is_cut: bool,
}

/// Asks a peer once what this node lacks, and takes it.
pub(super) async fn fetch(federation: &Federation, peer: NodeId) -> Result<Fetched, Reject> {
    let members = federation.members();
    let (member, exchange) = (members.get(peer)?, &federation.0.exchange);
    let before = exchange.covers().await?;
    let purpose = SyncPurpose::Since;
    let header = federation.header(purpose, peer, &before);
    let sent_ms = header.sent_ms;
    let since = SyncSince { header: Some(header), operations_max: OPERATIONS_MAX };
    let put = Put { purpose, sent_ms, body: since.encode_to_vec() };
    let told = ask(federation, member, put).await?;
    let told = SyncTold::decode(&*told).map_err(unreadable)?;
    let taken = exchange.take(&members, member, told.operations, &told.proofs, None).await?;
    // Asked again at once, a peer that brought nothing would bring nothing again.
    let came = taken.covers != before;
    if came {
        federation.happened(Input::Covered(taken.covers.clone())).await;
    }
    let (more, is_cut) = (told.more && came, told.is_cut);
    Ok(Fetched { vector: convert::vector(&told.covers)?, here: taken.covers, more, is_cut })
}

pub(super) fn unreadable(error: prost::DecodeError) -> Reject {
    Reject::new(Reason::Malformed, format!("the answer cannot be read: {error}"))
}

/// A question as a call that says whose it is, so that doors know whom to let in.
pub fn named(question: SyncQuestion) -> Request<SyncQuestion> {
    let name =
        NodeId::from_slice(&question.peer).ok().and_then(|node| node.to_string().parse().ok());
    let mut request = Request::new(question);
    if let Some(name) = name {
        request.metadata_mut().insert(PEER_ID, name);
    }
    request
}

/// A question to be put, encoded.
#[derive(Clone)]
pub(super) struct Put {
    pub(super) purpose: SyncPurpose,
    /// The time in its header, Unix milliseconds.
    pub(super) sent_ms: u64,
    pub(super) body: Vec<u8>,
}

impl Put {
    fn push(header: SyncHeader, operations: Vec<SyncOperation>, proofs: Vec<SyncProof>) -> Self {
        let sent_ms = header.sent_ms;
        let body = SyncPush { header: Some(header), operations, proofs }.encode_to_vec();
        Self { purpose: SyncPurpose::Push, sent_ms, body }
    }
}

/// One signed question and its signed answer.
async fn ask(federation: &Federation, member: &Member, put: Put) -> Result<Vec<u8>, Reject> {
    Ok(ask_named(federation, member, put).await?.0)
}

/// As [`ask`]; with the nonce that it was asked under.
pub(super) async fn ask_named(
    federation: &Federation,
    member: &Member,
    put: Put,
) -> Result<(Vec<u8>, String), Reject> {
    let (at, unix_ms) = (Instant::now(), put.sent_ms);
    let asked = ask_once(federation, member, put).await;
    match &asked {
        Ok(_) => federation.0.times.taken(member.node, at, unix_ms),
        Err(error) => federation.0.times.failed(member.node, error),
    }
    asked
}

async fn ask_once(
    federation: &Federation,
    member: &Member,
    put: Put,
) -> Result<(Vec<u8>, String), Reject> {
    let Put { purpose, body, .. } = put;
    let exchange = &federation.0.exchange;
    let nonce = nonce();
    let traffic = &federation.0.traffic;
    traffic.passed(purpose, Direction::Sent, body.len());
    let question: SyncQuestion =
        sealed::question(&*exchange.identity, exchange.me, body, nonce.clone());
    let mut client = SyncPeerClient::new(federation.channel(member)?)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let mut request = named(question);
    request.set_timeout(MESSAGE);
    let answer = async {
        match purpose {
            SyncPurpose::Since => client.since(request).await,
            SyncPurpose::State => client.state(request).await,
            _ => client.push(request).await,
        }
    };
    let answer = clock::timeout(MESSAGE, answer).await.map_err(|_| {
        let detail = format!("{} did not answer within {} s", member.name, MESSAGE.as_secs());
        Reject::new(Reason::DeadlineExceeded, detail)
    })?;
    let answer = answer.map_err(|status| reject_from_status(&status))?;
    let body = sealed::answered(member, &nonce, answer.into_inner())?;
    traffic.received(purpose, body.len());
    federation.0.sightings.answered(member.node, clock::now_unix_ms());
    Ok((body, nonce))
}
