//! The messages of peers as JSON: `sync/push` and `sync/since`.
//!
//! Operations travel as the bytes that their origins signed, so they are base64 here and not objects. Origins
//! are UUIDs, hashes hexadecimal, signatures base64.
//!
//! Invariant: what is written here reads back as the same message, and what does not fit is refused with the
//! name of its field.
//!
//! Not here: signatures over whole messages, and what they mean (`federation`).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use types::{Invalid, Reason, Reject};
use utoipa::ToSchema;
use uuid::Uuid;
use wire::v1::{
    SyncCovered, SyncHeader, SyncJudged, SyncOperation, SyncProof, SyncPurpose, SyncPush,
    SyncResult, SyncTold, SyncVerdict, sync_operation::Said,
};

/// A feed up to here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncFeed {
    /// The node whose feed it is, a UUID.
    pub origin: String,
    /// Sequence of the last operation that is covered.
    #[schema(minimum = 0)]
    pub seq: u64,
}

/// One operation of a feed: either `whole` or `hash`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncItem {
    /// The node that made it, a UUID.
    pub origin: String,
    /// Its place in that node's feed.
    #[schema(minimum = 1)]
    pub seq: u64,
    /// As its origin made it, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<String>,
    /// Its SHA-256, hexadecimal: the receiver may not see it, or the sender does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// What shows that the operations told of a feed are all there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncHead {
    /// The node whose feed it is, a UUID.
    pub origin: String,
    /// Sequence of the last operation that the signature covers.
    #[schema(minimum = 0)]
    pub seq: u64,
    /// The feed's chain there, hexadecimal.
    pub chain: String,
    /// Ed25519 of the origin, base64.
    pub signature: String,
    /// Hashes of the operations between the last one told and this one, hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tail: Vec<String>,
}

/// What a peer pushes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncPushInput {
    /// The node that it is for, a UUID.
    pub to: String,
    /// The sender's clock, Unix milliseconds: at most five minutes from the receiver's.
    #[schema(minimum = 0)]
    pub sent_ms: u64,
    /// Version of the messages and operations that the sender writes.
    #[schema(minimum = 0)]
    pub version: u32,
    /// What the sender covers.
    #[serde(default)]
    pub covers: Vec<SyncFeed>,
    /// Version of its store; 0 is not said.
    #[serde(default)]
    #[schema(minimum = 0)]
    pub schema: u32,
    /// What it offers besides what its version says, in order.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// In an order in which they can be applied.
    pub operations: Vec<SyncItem>,
    /// One for each feed of which there are operations.
    #[serde(default)]
    pub proofs: Vec<SyncHead>,
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncItemOut {
    /// The node that made it, a UUID.
    pub origin: String,
    /// Its place in that node's feed.
    #[schema(minimum = 1)]
    pub seq: u64,
    /// `applied` and durable; `known` already; `hidden`, because only its hash came; `refused`, for a reason.
    #[schema(pattern = "^(applied|known|hidden|refused)$")]
    pub result: String,
    /// Why it was refused: a code of the error table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same as one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncPushOut {
    /// What the receiver covers now.
    pub covers: Vec<SyncFeed>,
    /// One for each operation that was taken up, in their order.
    pub verdicts: Vec<SyncItemOut>,
    /// The rest was not taken up, because something before it is missing: send that first.
    pub behind: bool,
}

/// What a peer is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncSinceOut {
    /// What the teller covers.
    pub covers: Vec<SyncFeed>,
    /// In an order in which they can be applied.
    pub operations: Vec<SyncItem>,
    /// One for each feed of which there are operations.
    pub proofs: Vec<SyncHead>,
    /// Whether there is more to be told.
    pub more: bool,
    /// Whether the log does not reach back to where the asker is: it has to compare what is held instead.
    pub is_cut: bool,
}

fn invalid(field: &'static str, problem: &str) -> Invalid {
    Invalid::new(field, problem.to_owned())
}

/// The 16 bytes of a node.
pub(crate) fn node_bytes(field: &'static str, text: &str) -> Result<Vec<u8>, Invalid> {
    let node = Uuid::try_parse(text).map_err(|_| invalid(field, "needs the UUID of a node"))?;
    Ok(node.as_bytes().to_vec())
}

fn node_text(bytes: &[u8]) -> String {
    Uuid::from_slice(bytes).map(|node| node.to_string()).unwrap_or_default()
}

fn from_hex(field: &'static str, text: &str) -> Result<Vec<u8>, Invalid> {
    hex::decode(text).map_err(|_| invalid(field, "needs hexadecimal digits"))
}

fn from_base64(field: &'static str, text: &str) -> Result<Vec<u8>, Invalid> {
    STANDARD.decode(text).map_err(|_| invalid(field, "needs base64 with padding"))
}

impl SyncFeed {
    pub(crate) fn message(self) -> Result<SyncCovered, Invalid> {
        Ok(SyncCovered { origin: node_bytes("covers.origin", &self.origin)?, seq: self.seq })
    }

    fn of(feed: SyncCovered) -> Self {
        Self { origin: node_text(&feed.origin), seq: feed.seq }
    }
}

impl SyncItem {
    fn message(self) -> Result<SyncOperation, Invalid> {
        let said = match (self.whole, self.hash) {
            (Some(whole), None) => Said::Whole(from_base64("operations.whole", &whole)?),
            (None, Some(hash)) => Said::Hash(from_hex("operations.hash", &hash)?),
            _ => return Err(invalid("operations", "needs either whole or hash")),
        };
        let origin = node_bytes("operations.origin", &self.origin)?;
        Ok(SyncOperation { origin, seq: self.seq, said: Some(said) })
    }

    fn of(operation: SyncOperation) -> Self {
        let (whole, hash) = match operation.said {
            Some(Said::Whole(bytes)) => (Some(STANDARD.encode(bytes)), None),
            Some(Said::Hash(hash)) => (None, Some(hex::encode(hash))),
            None => (None, None),
        };
        Self { origin: node_text(&operation.origin), seq: operation.seq, whole, hash }
    }
}

impl SyncHead {
    fn message(self) -> Result<SyncProof, Invalid> {
        let tail = self.tail.iter().map(|hash| from_hex("proofs.tail", hash));
        Ok(SyncProof {
            origin: node_bytes("proofs.origin", &self.origin)?,
            seq: self.seq,
            chain: from_hex("proofs.chain", &self.chain)?,
            signature: from_base64("proofs.signature", &self.signature)?,
            tail: tail.collect::<Result<_, _>>()?,
        })
    }

    fn of(proof: SyncProof) -> Self {
        Self {
            origin: node_text(&proof.origin),
            seq: proof.seq,
            chain: hex::encode(&proof.chain),
            signature: STANDARD.encode(&proof.signature),
            tail: proof.tail.iter().map(hex::encode).collect(),
        }
    }
}

fn all<A, B, E>(items: Vec<A>, each: impl Fn(A) -> Result<B, E>) -> Result<Vec<B>, E> {
    items.into_iter().map(each).collect()
}

/// The head of a question of this kind.
pub(crate) fn header(
    purpose: SyncPurpose,
    to: &str,
    sent_ms: u64,
    version: u32,
    covers: Vec<SyncFeed>,
) -> Result<SyncHeader, Invalid> {
    Ok(SyncHeader {
        purpose: purpose.into(),
        to: node_bytes("to", to)?,
        sent_ms,
        version,
        covers: all(covers, SyncFeed::message)?,
        ..SyncHeader::default()
    })
}

impl SyncPushInput {
    /// The message.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`] naming the field.
    pub fn message(self) -> Result<SyncPush, Reject> {
        let Self { to, sent_ms, version, covers, schema, capabilities, operations, proofs } = self;
        let header = header(SyncPurpose::Push, &to, sent_ms, version, covers)?;
        Ok(SyncPush {
            header: Some(SyncHeader { schema, capabilities, ..header }),
            operations: all(operations, SyncItem::message)?,
            proofs: all(proofs, SyncHead::message)?,
        })
    }
}

fn result_name(result: SyncResult) -> &'static str {
    match result {
        SyncResult::Applied => "applied",
        SyncResult::Known => "known",
        SyncResult::Hidden => "hidden",
        SyncResult::Refused | SyncResult::Unspecified => "refused",
    }
}

impl SyncItemOut {
    fn of(verdict: SyncVerdict) -> Self {
        let result = verdict.result();
        let refused = result == SyncResult::Refused;
        let reason = Reason::from_code(&verdict.reason).unwrap_or(Reason::Internal);
        Self {
            origin: node_text(&verdict.origin),
            seq: verdict.seq,
            result: result_name(result).to_owned(),
            reason: refused.then(|| reason.code().to_owned()),
            detail: refused.then_some(verdict.detail),
        }
    }
}

impl From<SyncJudged> for SyncPushOut {
    fn from(judged: SyncJudged) -> Self {
        Self {
            covers: judged.covers.into_iter().map(SyncFeed::of).collect(),
            verdicts: judged.verdicts.into_iter().map(SyncItemOut::of).collect(),
            behind: judged.behind,
        }
    }
}

impl From<SyncTold> for SyncSinceOut {
    fn from(told: SyncTold) -> Self {
        Self {
            covers: told.covers.into_iter().map(SyncFeed::of).collect(),
            operations: told.operations.into_iter().map(SyncItem::of).collect(),
            proofs: told.proofs.into_iter().map(SyncHead::of).collect(),
            more: told.more,
            is_cut: told.is_cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push() -> SyncPushInput {
        let origin = Uuid::from_u128(7).to_string();
        let item = |seq| SyncItem { origin: origin.clone(), seq, whole: None, hash: None };
        SyncPushInput {
            to: Uuid::from_u128(9).to_string(),
            sent_ms: 5,
            version: 1,
            covers: vec![SyncFeed { origin: origin.clone(), seq: 2 }],
            schema: 4,
            capabilities: vec!["x".to_owned()],
            operations: vec![
                SyncItem { whole: Some(STANDARD.encode([1, 2, 3])), ..item(1) },
                SyncItem { hash: Some("ab".repeat(32)), ..item(2) },
            ],
            proofs: vec![SyncHead {
                origin: origin.clone(),
                seq: 2,
                chain: "cd".repeat(32),
                signature: STANDARD.encode([4; 64]),
                tail: vec!["ef".repeat(32)],
            }],
        }
    }

    #[test]
    fn a_message_reads_back_as_itself() {
        let message = push().message().expect("it fits");
        let header = message.header.clone().expect("a header");
        assert_eq!((header.purpose(), header.sent_ms, header.version), (SyncPurpose::Push, 5, 1));
        assert_eq!((header.schema, header.capabilities), (4, vec!["x".to_owned()]));
        let told = SyncTold {
            covers: header.covers,
            operations: message.operations,
            proofs: message.proofs,
            more: true,
            is_cut: false,
        };
        let out = SyncSinceOut::from(told);
        let SyncPushInput { covers, operations, proofs, .. } = push();
        assert_eq!(out, SyncSinceOut { covers, operations, proofs, more: true, is_cut: false });
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let field = |change: &dyn Fn(&mut SyncPushInput)| {
            let mut input = push();
            change(&mut input);
            let refused = input.message().expect_err("it does not fit");
            assert_eq!(refused.reason, Reason::InvalidArgument);
            refused.fact("field").map(str::to_owned).unwrap_or_default()
        };
        assert_eq!(field(&|push| push.to = "b".to_owned()), "to");
        assert_eq!(field(&|push| push.covers[0].origin.clear()), "covers.origin");
        assert_eq!(field(&|push| push.operations[0].whole = Some("?".into())), "operations.whole");
        assert_eq!(field(&|push| push.operations[0].whole = None), "operations");
        assert_eq!(field(&|push| push.operations[1].whole = Some(String::new())), "operations");
        assert_eq!(field(&|push| push.operations[1].hash = Some("0".into())), "operations.hash");
        assert_eq!(field(&|push| push.proofs[0].chain = "xx".into()), "proofs.chain");
        assert_eq!(field(&|push| push.proofs[0].signature = "=".into()), "proofs.signature");
        assert_eq!(field(&|push| push.proofs[0].tail = vec!["0".into()]), "proofs.tail");
    }
}
