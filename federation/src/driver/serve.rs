//! What other nodes ask of this one.
//!
//! Invariant: `DRV-7` a question is answered only to a member that signed it, for this node, now, and never
//! before: `SEA-1`, `SEA-2`.
//!
//! Not here: routes and bounds (the node's doors).

use prost::Message;
use runtime::clock;
use tonic::{Request, Response, Status};
use types::{NodeId, OpId, Reason, Reject};
use wire::{
    errors::status,
    v1::{
        SyncAnswer, SyncHeader, SyncJudged, SyncPurpose, SyncPush, SyncQuestion, SyncResult,
        SyncSince, SyncTold, SyncVerdict,
        sync_peer_server::{SyncPeer, SyncPeerServer},
    },
};

use super::{Federation, ask::MESSAGE_BYTES_MAX};
use crate::{
    convert,
    engine::Input,
    exchange::{Fate, OPERATIONS_MAX, Once, Taken},
    members::Member,
    sealed::{self, Asked},
};

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

fn verdict((id, fate): (OpId, Fate)) -> SyncVerdict {
    match fate {
        Fate::Applied => convert::told_verdict(id, SyncResult::Applied, None),
        Fate::Known => convert::told_verdict(id, SyncResult::Known, None),
        Fate::Hidden => convert::told_verdict(id, SyncResult::Hidden, None),
        Fate::Refused(reject) => convert::told_verdict(id, SyncResult::Refused, Some(&reject)),
    }
}

/// What a question has to show before it is answered.
struct Heard {
    asked: Asked,
    once: Once,
}

impl Peer {
    fn heed(
        &self,
        question: &SyncQuestion,
        header: Option<&SyncHeader>,
        purpose: SyncPurpose,
        peer: NodeId,
    ) -> Result<Heard, Reject> {
        let me = self.0.0.exchange.me;
        let asked = sealed::heed(header, purpose, me, clock::now_unix_ms())?;
        let nonce = sealed::nonce_key(&question.nonce);
        let once = Once { peer, nonce, until_ms: asked.until_ms };
        Ok(Heard { asked, once })
    }

    async fn pushed(&self, question: &SyncQuestion) -> Result<Vec<u8>, Reject> {
        let members = self.0.members();
        let from: &Member = sealed::asker(&members, question)?;
        let push = SyncPush::decode(&*question.body).map_err(unreadable)?;
        let heard = self.heed(question, push.header.as_ref(), SyncPurpose::Push, from.node)?;
        let exchange = &self.0.0.exchange;
        let taken =
            exchange.take(&members, from, push.operations, &push.proofs, Some(heard.once)).await?;
        let Taken { fates, behind, covers } = taken;
        let vector = heard.asked.covers;
        self.0.happened(Input::Heard { peer: from.node, vector }).await;
        let verdicts = fates.into_iter().map(verdict).collect();
        Ok(SyncJudged { covers: convert::covered(&covers), verdicts, behind }.encode_to_vec())
    }

    async fn asked(&self, question: &SyncQuestion) -> Result<Vec<u8>, Reject> {
        let members = self.0.members();
        let from: &Member = sealed::asker(&members, question)?;
        let since = SyncSince::decode(&*question.body).map_err(unreadable)?;
        let heard = self.heed(question, since.header.as_ref(), SyncPurpose::Since, from.node)?;
        let exchange = &self.0.0.exchange;
        exchange.once(heard.once).await?;
        let covers = convert::covered(&exchange.covers().await?);
        let items_max = since.operations_max.clamp(1, OPERATIONS_MAX);
        let has = heard.asked.covers;
        let (operations, proofs, more) = exchange.tell(from, has.clone(), items_max).await?;
        self.0.happened(Input::Heard { peer: from.node, vector: has }).await;
        Ok(SyncTold { covers, operations, proofs, more }.encode_to_vec())
    }

    fn sealed(
        &self,
        question: &SyncQuestion,
        body: Result<Vec<u8>, Reject>,
    ) -> Result<Response<SyncAnswer>, Status> {
        let body = body.map_err(|refused| status(&refused))?;
        let identity = &*self.0.0.exchange.identity;
        Ok(Response::new(sealed::answer(identity, &question.nonce, body)))
    }
}

#[tonic::async_trait]
impl SyncPeer for Peer {
    async fn push(&self, request: Request<SyncQuestion>) -> Result<Response<SyncAnswer>, Status> {
        let question = request.into_inner();
        let body = self.pushed(&question).await;
        self.sealed(&question, body)
    }

    async fn since(&self, request: Request<SyncQuestion>) -> Result<Response<SyncAnswer>, Status> {
        let question = request.into_inner();
        let body = self.asked(&question).await;
        self.sealed(&question, body)
    }
}
