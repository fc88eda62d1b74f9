//! Messages that only their sender can have written, that only their receiver reads, and that count once.
//!
//! A question is signed over `body ‖ 0x00 ‖ nonce`; its body names the receiver, the purpose and the time. An answer is
//! signed over `domain ‖ nonce ‖ 0x00 ‖ body`, so it answers that question and no other.
//!
//! Invariants: `SEA-1` what is not signed by a member, for this node, for this purpose, within the bound of
//! the clocks, is not read any further; `SEA-2` a nonce has to be remembered until the bound refuses the
//! message anyway ([`Asked::until_ms`]).
//!
//! Not here: remembering nonces (`storage`), who is a member (`members`).

use sha2::{Digest, Sha256};
use types::{NodeId, Reason, Reject, VersionVector, limits::CLOCK_SKEW_MAX_MS};
use wire::v1::{SyncAnswer, SyncHeader, SyncPurpose, SyncQuestion};

use crate::{
    convert,
    members::{Member, Members},
};

/// Version of the messages and of the operations in them. A node reads its own and the one before.
pub const VERSION: u32 = 1;
/// Version of this node's store, as it tells others.
pub const SCHEMA: u32 = storage::sqlite::schema::VERSION as u32;
/// What this node offers besides what [`VERSION`] says, in order.
pub const CAPABILITIES: &[&str] = &["sync-http"];
/// Longest nonce, in bytes.
const NONCE_BYTES_MAX: usize = 128;
const ANSWER: &[u8] = b"hivemem sync answer v1\0";

/// Signs for this node.
pub trait Identity: Send + Sync {
    /// Ed25519 over the bytes.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// What is signed of a question.
fn signed_part(body: &[u8], nonce: &str) -> Vec<u8> {
    [body, &[0], nonce.as_bytes()].concat()
}

/// What is signed of an answer.
fn answered_part(nonce: &str, body: &[u8]) -> Vec<u8> {
    [ANSWER, nonce.as_bytes(), &[0], body].concat()
}

/// A question by `me`.
pub fn question(identity: &dyn Identity, me: NodeId, body: Vec<u8>, nonce: String) -> SyncQuestion {
    let signature = identity.sign(&signed_part(&body, &nonce)).to_vec();
    SyncQuestion { peer: me.as_bytes().to_vec(), body, nonce, signature }
}

/// The answer to the question with this nonce.
pub fn answer(identity: &dyn Identity, nonce: &str, body: Vec<u8>) -> SyncAnswer {
    let signature = identity.sign(&answered_part(nonce, &body)).to_vec();
    SyncAnswer { body, signature }
}

/// The head of every question.
pub fn header(
    purpose: SyncPurpose,
    to: NodeId,
    sent_ms: u64,
    covers: &VersionVector,
) -> SyncHeader {
    SyncHeader {
        purpose: purpose.into(),
        to: to.as_bytes().to_vec(),
        sent_ms,
        version: VERSION,
        covers: convert::covered(covers),
        schema: SCHEMA,
        capabilities: CAPABILITIES.iter().map(|word| (*word).to_owned()).collect(),
        start: 0,
    }
}

/// Who asks: the member whose question this is.
///
/// # Errors
/// [`Reason::Unauthenticated`] when it is not signed by the node it names; [`Reason::Forbidden`] when that
/// one is no member; [`Reason::Malformed`].
pub fn asker<'m>(members: &'m Members, question: &SyncQuestion) -> Result<&'m Member, Reject> {
    let node = convert::node(&question.peer, "peer")?;
    let visible = question.nonce.bytes().all(|byte| byte.is_ascii_graphic());
    if question.nonce.is_empty() || question.nonce.len() > NONCE_BYTES_MAX || !visible {
        let detail = "nonce: needs 1 to 128 visible ASCII characters";
        return Err(Reject::new(Reason::Malformed, detail).with("field", "nonce"));
    }
    let member = members.get(node)?;
    if question.signature.is_empty() {
        let detail = "signature: is missing; sign the body, a zero byte and the nonce";
        return Err(Reject::new(Reason::Unauthenticated, detail).with("field", "signature"));
    }
    let signature = convert::bytes::<64>(&question.signature, "signature")?;
    if !member.signed(&signed_part(&question.body, &question.nonce), &signature) {
        let detail =
            format!("the signature is not that of {} over this body and nonce", member.name);
        return Err(Reject::new(Reason::Unauthenticated, detail).with("field", "signature"));
    }
    Ok(member)
}

/// What a header says, once it may be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What the asker covers.
    pub covers: VersionVector,
    /// When its nonce may be forgotten, Unix milliseconds of this node's clock.
    pub until_ms: u64,
}

/// Checks that a question is for this node, this purpose and this time.
///
/// # Errors
/// [`Reason::Forbidden`]: for somebody else, or something else. [`Reason::ClockSkew`].
/// [`Reason::Unimplemented`]: of a version that is not read here.
pub fn heed(
    header: Option<&SyncHeader>,
    purpose: SyncPurpose,
    me: NodeId,
    now_ms: u64,
) -> Result<Asked, Reject> {
    let absent = || Reject::new(Reason::Malformed, "header: is missing").with("field", "header");
    let header = header.ok_or_else(absent)?;
    if header.version != VERSION {
        let detail = format!(
            "version: {} is not read here, which is {VERSION}; upgrade the older node",
            header.version
        );
        return Err(Reject::new(Reason::Unimplemented, detail).with("version", VERSION));
    }
    let to = convert::node(&header.to, "to")?;
    if to != me || header.purpose() != purpose {
        let detail =
            format!("this question is for node {to}, which is not this one, or not of this kind");
        return Err(Reject::new(Reason::Forbidden, detail));
    }
    let apart_ms = now_ms.abs_diff(header.sent_ms);
    if apart_ms > CLOCK_SKEW_MAX_MS {
        let detail = format!(
            "the asker's clock and this node's are {apart_ms} ms apart; at most {CLOCK_SKEW_MAX_MS} ms is \
             accepted: set the clocks"
        );
        return Err(Reject::new(Reason::ClockSkew, detail).with("apart_ms", apart_ms));
    }
    // This node's clock may be set back by as much as it is trusted, so the message could come again.
    let until_ms = now_ms.max(header.sent_ms).saturating_add(2 * CLOCK_SKEW_MAX_MS);
    Ok(Asked { covers: convert::vector(&header.covers)?, until_ms })
}

/// The body of an answer that this member gave to the question with this nonce.
///
/// # Errors
/// [`Reason::Unauthenticated`] when it did not.
pub fn answered(member: &Member, nonce: &str, answer: SyncAnswer) -> Result<Vec<u8>, Reject> {
    let signature = convert::bytes::<64>(&answer.signature, "signature")?;
    if member.signed(&answered_part(nonce, &answer.body), &signature) {
        return Ok(answer.body);
    }
    let detail = format!("the answer is not signed by {}", member.name);
    Err(Reject::new(Reason::Unauthenticated, detail).with("peer", member.node))
}

/// What stands for a nonce where it is remembered.
pub fn nonce_key(nonce: &str) -> [u8; 16] {
    let digest = Sha256::digest(nonce.as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};
    use prost::Message;
    use uuid::Uuid;
    use wire::v1::SyncSince;

    use super::*;
    use crate::admit::Scope;

    struct Key(SigningKey);

    impl Identity for Key {
        fn sign(&self, message: &[u8]) -> [u8; 64] {
            self.0.sign(message).to_bytes()
        }
    }

    const NOW_MS: u64 = 1_800_000_000_000;

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn key(number: u8) -> Key {
        Key(SigningKey::from_bytes(&[number; 32]))
    }

    fn members() -> Members {
        Members::new((1..=2).map(|number| Member {
            node: node(u128::from(number)),
            name: format!("n{number}"),
            endpoint: None,
            keys: vec![key(number).0.verifying_key()],
            scope: Scope::default(),
        }))
    }

    fn asked() -> SyncQuestion {
        let header = header(SyncPurpose::Since, node(2), NOW_MS, &VersionVector::default());
        let body = SyncSince { header: Some(header), operations_max: 9 }.encode_to_vec();
        question(&key(1), node(1), body, "nonce".to_owned())
    }

    fn reason<T>(result: Result<T, Reject>) -> Option<Reason> {
        result.err().map(|reject| reject.reason)
    }

    #[test]
    fn a_question_is_its_askers_and_nobody_elses() {
        let members = members();
        assert_eq!(asker(&members, &asked()).map(|member| member.node), Ok(node(1)));
        let mut changed = asked();
        changed.body.push(0);
        assert_eq!(reason(asker(&members, &changed)), Some(Reason::Unauthenticated), "SEA-1");
        let renamed = SyncQuestion { nonce: "another".to_owned(), ..asked() };
        assert_eq!(reason(asker(&members, &renamed)), Some(Reason::Unauthenticated), "SEA-1");
        let anothers = SyncQuestion { peer: node(2).as_bytes().to_vec(), ..asked() };
        assert_eq!(reason(asker(&members, &anothers)), Some(Reason::Unauthenticated), "SEA-1");
        let stranger = SyncQuestion { peer: node(3).as_bytes().to_vec(), ..asked() };
        assert_eq!(reason(asker(&members, &stranger)), Some(Reason::Forbidden), "MEM-1");
        for nonce in ["", "a b", &"x".repeat(129)] {
            let odd = SyncQuestion { nonce: nonce.to_owned(), ..asked() };
            assert_eq!(reason(asker(&members, &odd)), Some(Reason::Malformed), "{nonce:?}");
        }
        let unsigned = SyncQuestion { signature: Vec::new(), ..asked() };
        assert_eq!(reason(asker(&members, &unsigned)), Some(Reason::Unauthenticated), "SEA-1");
        let cut = SyncQuestion { signature: vec![1; 63], ..asked() };
        assert_eq!(reason(asker(&members, &cut)), Some(Reason::Malformed), "SEA-1");
    }

    #[test]
    fn a_question_is_for_one_node_one_purpose_and_one_time() {
        let header = |purpose, to, sent_ms| header(purpose, to, sent_ms, &VersionVector::default());
        let since = |to, sent_ms| header(SyncPurpose::Since, to, sent_ms);
        let heed = |header: &SyncHeader| heed(Some(header), SyncPurpose::Since, node(2), NOW_MS);
        let heard = heed(&since(node(2), NOW_MS)).expect("for this node, now");
        assert!(heard.until_ms > NOW_MS + CLOCK_SKEW_MAX_MS, "SEA-2");
        assert_eq!(reason(heed(&since(node(1), NOW_MS))), Some(Reason::Forbidden), "SEA-1");
        let push = header(SyncPurpose::Push, node(2), NOW_MS);
        assert_eq!(reason(heed(&push)), Some(Reason::Forbidden), "SEA-1");
        for sent_ms in [NOW_MS - CLOCK_SKEW_MAX_MS - 1, NOW_MS + CLOCK_SKEW_MAX_MS + 1] {
            let skewed = heed(&since(node(2), sent_ms)).expect_err("SEA-1");
            assert_eq!(skewed.reason, Reason::ClockSkew);
            assert!(skewed.detail.contains("300001 ms apart"), "{skewed}");
        }
        let newer = SyncHeader { version: VERSION + 1, ..since(node(2), NOW_MS) };
        assert_eq!(reason(heed(&newer)), Some(Reason::Unimplemented));
        assert_eq!(
            reason(super::heed(None, SyncPurpose::Since, node(2), NOW_MS)),
            Some(Reason::Malformed)
        );
    }

    #[test]
    fn an_answer_is_of_one_node_to_one_question() {
        let members = members();
        let two = members.get(node(2)).expect("a member");
        let told = answer(&key(2), "nonce", vec![1, 2, 3]);
        assert_eq!(answered(two, "nonce", told.clone()), Ok(vec![1, 2, 3]));
        let other = answered(two, "another", told.clone());
        assert_eq!(reason(other), Some(Reason::Unauthenticated), "SEA-1");
        let changed = SyncAnswer { body: vec![1, 2], ..told };
        assert_eq!(reason(answered(two, "nonce", changed)), Some(Reason::Unauthenticated));
        let forged = answer(&key(1), "nonce", vec![]);
        assert_eq!(reason(answered(two, "nonce", forged)), Some(Reason::Unauthenticated));
        // What was said as an answer cannot be passed off as a question.
        let said = answer(&key(1), "nonce", asked().body);
        let question = SyncQuestion { signature: said.signature, ..asked() };
        assert_eq!(reason(asker(&members, &question)), Some(Reason::Unauthenticated));
    }
}
