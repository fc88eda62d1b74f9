//! What other nodes ask of this one over gRPC.
//!
//! Invariant: `DRV-9` a call comes from the node that its `x-peer-id` names, where it names one: the doors let a
//! call in by that name, and the signature must be of the same node.
//!
//! Not here: answers (`answer`), routes and bounds (the node's doors).

use prost::Message;
use tonic::{Request, Response, Status};
use types::{NodeId, Reason, Reject};
use wire::{
    errors::status,
    v1::{
        SyncAnswer, SyncPurpose, SyncPush, SyncQuestion, SyncSince, SyncState,
        sync_peer_server::{SyncPeer, SyncPeerServer},
    },
};

use super::{Federation, PEER_ID, answer::Asking, ask::MESSAGE_BYTES_MAX};

/// The service that other nodes call.
pub struct Peer(Federation);

impl Federation {
    /// The service that other nodes call.
    pub fn server(&self) -> SyncPeerServer<Peer> {
        SyncPeerServer::new(Peer(self.clone()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

fn unreadable(error: prost::DecodeError) -> Reject {
    Reject::new(Reason::Malformed, format!("body: cannot be read: {error}")).with("field", "body")
}

fn read<M: Message + Default>(body: &[u8]) -> Result<M, Reject> {
    M::decode(body).map_err(unreadable)
}

/// `DRV-9`.
fn same_node(request: &Request<SyncQuestion>) -> Result<(), Reject> {
    let Some(named) = request.metadata().get(PEER_ID) else { return Ok(()) };
    let asks = NodeId::from_slice(&request.get_ref().peer).ok().map(|node| node.to_string());
    if named.to_str().ok() == asks.as_deref() {
        return Ok(());
    }
    let detail = format!("{PEER_ID}: names another node than the one that asks");
    Err(Reject::new(Reason::Unauthenticated, detail).with("field", PEER_ID))
}

impl Peer {
    fn sealed(
        &self,
        purpose: SyncPurpose,
        question: &SyncQuestion,
        body: Result<Vec<u8>, Reject>,
    ) -> Result<Response<SyncAnswer>, Status> {
        let body = body.map_err(|refused| status(&refused))?;
        Ok(Response::new(self.0.seal(purpose, &question.nonce, body)))
    }
}

#[tonic::async_trait]
impl SyncPeer for Peer {
    async fn push(&self, request: Request<SyncQuestion>) -> Result<Response<SyncAnswer>, Status> {
        same_node(&request).map_err(|refused| status(&refused))?;
        let question = request.into_inner();
        let judged = self.0.judge(&question, read::<SyncPush>).await;
        self.sealed(SyncPurpose::Push, &question, judged.map(|judged| judged.encode_to_vec()))
    }

    async fn since(&self, request: Request<SyncQuestion>) -> Result<Response<SyncAnswer>, Status> {
        same_node(&request).map_err(|refused| status(&refused))?;
        let question = request.into_inner();
        let asking =
            |body: &[u8]| Ok(Asking { since: read::<SyncSince>(body)?, ..Asking::default() });
        let told = self.0.tell(&question, asking).await;
        self.sealed(SyncPurpose::Since, &question, told.map(|told| told.encode_to_vec()))
    }

    async fn state(&self, request: Request<SyncQuestion>) -> Result<Response<SyncAnswer>, Status> {
        same_node(&request).map_err(|refused| status(&refused))?;
        let question = request.into_inner();
        let stated = self.0.state(&question, read::<SyncState>).await;
        self.sealed(SyncPurpose::State, &question, stated.map(|stated| stated.encode_to_vec()))
    }
}
