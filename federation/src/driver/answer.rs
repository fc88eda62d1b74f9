//! Answers to what other nodes ask, whichever door a question came by.
//!
//! Invariants: `DRV-7` a question is answered only to a member that signed it, for this node, now, and never
//! before: `SEA-1`, `SEA-2`; `DRV-8` its body is not read before its signature has been checked.
//!
//! Not here: how a door writes questions and answers (`serve`, and the node's HTTP door).

use runtime::clock;
use types::{NodeId, OpId, Reject, limits::CLOCK_SKEW_MAX_MS};
use wire::v1::{
    SyncAnswer, SyncHeader, SyncJudged, SyncPurpose, SyncPush, SyncQuestion, SyncResult, SyncSince,
    SyncState, SyncStated, SyncTold, SyncVerdict,
};

use super::{Federation, traffic::Direction};
use crate::{
    convert,
    engine::Input,
    exchange::{Fate, OPERATIONS_MAX, Once, Taken, Telling, refused},
    members::{Member, Members},
    sealed::{self, Asked},
};

/// What a member wants to be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asking {
    /// As the message has it.
    pub since: SyncSince,
    /// It has everything that was committed here before this time, Unix milliseconds.
    pub after_ms: Option<u64>,
}

/// What a question has to show before it is answered.
struct Heard {
    asked: Asked,
    once: Once,
    start: u64,
}

fn verdict((id, fate): (OpId, Fate)) -> SyncVerdict {
    match fate {
        Fate::Applied => convert::told_verdict(id, SyncResult::Applied, None),
        Fate::Known => convert::told_verdict(id, SyncResult::Known, None),
        Fate::Hidden => convert::told_verdict(id, SyncResult::Hidden, None),
        Fate::Refused(reject) => convert::told_verdict(id, SyncResult::Refused, Some(&reject)),
    }
}

impl Federation {
    /// Which node answers.
    pub fn me(&self) -> NodeId {
        self.0.exchange.me
    }

    /// Who asks (`SEA-1`).
    fn asker<'m>(
        &self,
        members: &'m Members,
        question: &SyncQuestion,
        purpose: SyncPurpose,
    ) -> Result<&'m Member, Reject> {
        let from = sealed::asker(members, question)?;
        self.0.traffic.received(purpose, question.body.len());
        Ok(from)
    }

    fn heed(
        &self,
        nonce: &str,
        header: Option<&SyncHeader>,
        purpose: SyncPurpose,
        peer: NodeId,
    ) -> Result<Heard, Reject> {
        let now_ms = clock::now_unix_ms();
        // Also one whose clock is too far off: that is when it matters how far.
        if let Some(header) = header {
            self.0.sightings.asked(peer, header, now_ms);
        }
        let asked = sealed::heed(header, purpose, self.me(), now_ms)?;
        let nonce = sealed::nonce_key(nonce);
        let once = Once { peer, nonce, until_ms: asked.until_ms };
        Ok(Heard { asked, once, start: header.map_or(0, |header| header.start) })
    }

    /// Takes what a member pushes, and says of each operation what became of it; `read` reads the body.
    ///
    /// # Errors
    /// Nothing of it was kept: it is not the member's, not for this node, not of this time, or came before;
    /// or its operations are not what their origins have signed.
    pub async fn judge(
        &self,
        question: &SyncQuestion,
        read: impl FnOnce(&[u8]) -> Result<SyncPush, Reject>,
    ) -> Result<SyncJudged, Reject> {
        let members = self.members();
        let from = self.asker(&members, question, SyncPurpose::Push)?;
        let push = read(&question.body)?;
        let header = push.header.as_ref();
        let heard = self.heed(&question.nonce, header, SyncPurpose::Push, from.node)?;
        // Until it is taken (`DRV-13`, `DRV-17`).
        let _turn = self.0.starts.pushes(from.node, heard.start).await?;
        let exchange = &self.0.exchange;
        let once = Some(heard.once);
        let taken = exchange.take(&members, from, push.operations, &push.proofs, once).await?;
        let Taken { fates, behind, covers } = taken;
        // What was passed moves nothing else that the loop could see.
        self.happened(Input::Covered(covers.clone())).await;
        let vector = heard.asked.covers;
        self.happened(Input::Heard { peer: from.node, vector }).await;
        let verdicts = fates.into_iter().map(verdict).collect();
        Ok(SyncJudged { covers: convert::covered(&covers), verdicts, behind })
    }

    /// Tells a member what it lacks; `read` reads the body.
    ///
    /// # Errors
    /// As [`Federation::judge`].
    pub async fn tell(
        &self,
        question: &SyncQuestion,
        read: impl FnOnce(&[u8]) -> Result<Asking, Reject>,
    ) -> Result<SyncTold, Reject> {
        let members = self.members();
        let from = self.asker(&members, question, SyncPurpose::Since)?;
        let Asking { since, after_ms } = read(&question.body)?;
        let header = since.header.as_ref();
        let heard = self.heed(&question.nonce, header, SyncPurpose::Since, from.node)?;
        self.0.starts.asks(from.node, heard.start).await;
        let exchange = &self.0.exchange;
        exchange.once(heard.once).await?;
        let covers = convert::covered(&exchange.covers().await?);
        let items_max = since.operations_max.clamp(1, OPERATIONS_MAX);
        let vector = heard.asked.covers;
        let mut has = vector.clone();
        if let Some(after_ms) = after_ms {
            // Its clock and this one may have been that far apart when it asked before.
            let before_ms = after_ms.saturating_sub(CLOCK_SKEW_MAX_MS);
            has.join(&exchange.store.covered_at(before_ms).await.map_err(refused)?);
        }
        let Telling { operations, proofs, more, is_cut } =
            exchange.tell(&members, from, has, items_max).await?;
        self.happened(Input::Heard { peer: from.node, vector }).await;
        Ok(SyncTold { covers, operations, proofs, more, is_cut })
    }

    /// Tells a member what is held here; `read` reads the body.
    ///
    /// # Errors
    /// As [`Federation::judge`].
    pub async fn state(
        &self,
        question: &SyncQuestion,
        read: impl FnOnce(&[u8]) -> Result<SyncState, Reject>,
    ) -> Result<SyncStated, Reject> {
        let members = self.members();
        let from = self.asker(&members, question, SyncPurpose::State)?;
        let state = read(&question.body)?;
        let header = state.header.as_ref();
        let heard = self.heed(&question.nonce, header, SyncPurpose::State, from.node)?;
        let exchange = &self.0.exchange;
        exchange.once(heard.once).await?;
        let stated = exchange.stated(from, state).await?;
        let vector = heard.asked.covers;
        self.happened(Input::Heard { peer: from.node, vector }).await;
        Ok(stated)
    }

    /// This node's word that this body answers the question of this purpose with this nonce.
    pub fn seal(&self, purpose: SyncPurpose, nonce: &str, body: Vec<u8>) -> SyncAnswer {
        self.0.traffic.passed(purpose, Direction::Sent, body.len());
        sealed::answer(&*self.0.exchange.identity, nonce, body)
    }
}
