//! Audit rows: what they contain, how they are hashed into a chain, and what is signed.
//!
//! Encoding of a row: the fields `id`, `agent_id`, `event_type`, `payload_hash`, `signature`,
//! `attest_level`, `timestamp`, each preceded by its length as an unsigned 64-bit big-endian
//! integer; then the sequence as a signed 64-bit big-endian integer; then the cause hash with its
//! length, when there is one. `prev_hash` of row n is SHA-256 of the encoding of row n−1 followed by that
//! row's own `prev_hash`, and 32 zero bytes for row 1.
//!
//! Invariants: `AUD-1` changing, dropping, adding or reordering rows changes every later
//! `prev_hash`; `AUD-2` the signed digest is domain-separated and covers everything but the row's place
//! in the chain, so a signature made for an operation stays valid on every node that keeps it.
//!
//! Not here: keys and signing (the node's identity), and where rows are kept (`storage`).

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::{
    AgentId, OpId,
    codec::{CodecError, fields},
};

/// Most bytes of an event's details.
pub const EVENT_DETAILS_BYTES_MAX: usize = 1 << 20;

/// Domain separator of the digest that is signed.
const SIGN_DOMAIN: &[u8] = b"hivemem/signed-event/v1";

/// `prev_hash` of the first row.
pub const GENESIS: [u8; 32] = [0; 32];

/// How the row's author was established.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AttestLevel {
    /// The caller's word, on a node that asks for no credentials.
    Asserted = 0,
    /// A shared key vouches for the caller.
    ApiKey = 1,
    /// The agent's own token.
    AgentToken = 2,
    /// The node itself.
    Node = 3,
}

impl AttestLevel {
    /// The level with this stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Asserted, Self::ApiKey, Self::AgentToken, Self::Node]
            .into_iter()
            .find(|l| *l as u8 == number)
    }
}

/// The part of a row that its signature covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBody {
    /// The operation's name, `origin:seq`, or another unique name for an event without one.
    pub id: String,
    /// Who caused it.
    pub agent_id: AgentId,
    /// What happened, e.g. `memory.store`.
    pub event_type: String,
    /// SHA-256 of the operation's bytes.
    pub payload_hash: [u8; 32],
    /// How the agent was established.
    pub attest_level: AttestLevel,
    /// When, Unix milliseconds.
    pub timestamp_ms: u64,
    /// Hash of the event that caused this one, if any.
    pub cause_hash: Option<[u8; 32]>,
}

/// What the row of an event says that is no operation; its bytes are the row's payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventDetails {
    /// What it happened to.
    pub subject: String,
    /// More about it, by name.
    pub facts: BTreeMap<String, String>,
}

crate::proto_message!(EventDetails { 1 => subject, 2 => facts });

impl EventDetails {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        fields::encode(self)
    }

    /// Reads them back.
    ///
    /// # Errors
    /// [`CodecError`] for anything that [`EventDetails::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        fields::decode("event details", bytes, EVENT_DETAILS_BYTES_MAX)
    }
}

/// A row of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Its place, from 1 without gaps.
    pub sequence: i64,
    /// What is signed.
    pub body: EventBody,
    /// Ed25519 signature over [`EventBody::digest`].
    pub signature: [u8; 64],
    /// First 8 bytes of SHA-256 of the signer's public key.
    pub key_id: [u8; 8],
    /// Hash of the row before.
    pub prev_hash: [u8; 32],
}

fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

impl EventBody {
    /// The name of an operation's event.
    pub fn op_event_id(op: OpId) -> String {
        op.to_string()
    }

    /// The 32 bytes that are signed.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        field(&mut hash, SIGN_DOMAIN);
        field(&mut hash, self.id.as_bytes());
        field(&mut hash, self.agent_id.as_str().as_bytes());
        field(&mut hash, self.event_type.as_bytes());
        field(&mut hash, &self.payload_hash);
        field(&mut hash, &[self.attest_level as u8]);
        field(&mut hash, &self.timestamp_ms.to_be_bytes());
        if let Some(cause) = &self.cause_hash {
            field(&mut hash, cause);
        }
        hash.finalize().into()
    }
}

impl EventRow {
    /// The `prev_hash` that the next row must carry.
    pub fn chain_hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        field(&mut hash, self.body.id.as_bytes());
        field(&mut hash, self.body.agent_id.as_str().as_bytes());
        field(&mut hash, self.body.event_type.as_bytes());
        field(&mut hash, &self.body.payload_hash);
        field(&mut hash, &self.signature);
        field(&mut hash, &[self.body.attest_level as u8]);
        field(&mut hash, &self.body.timestamp_ms.to_be_bytes());
        hash.update(self.sequence.to_be_bytes());
        if let Some(cause) = &self.body.cause_hash {
            field(&mut hash, cause);
        }
        hash.update(self.prev_hash);
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(sequence: i64, prev_hash: [u8; 32]) -> EventRow {
        EventRow {
            sequence,
            body: EventBody {
                id: format!("op-{sequence}"),
                agent_id: AgentId::local(),
                event_type: "memory.store".into(),
                payload_hash: [7; 32],
                attest_level: AttestLevel::Asserted,
                timestamp_ms: 1,
                cause_hash: None,
            },
            signature: [9; 64],
            key_id: [1; 8],
            prev_hash,
        }
    }

    #[test]
    fn every_field_is_part_of_the_chain() {
        let base = row(1, GENESIS);
        let mut variants: Vec<EventRow> = (0..9).map(|_| base.clone()).collect();
        variants[0].sequence = 2;
        variants[1].body.id.push('x');
        variants[2].body.agent_id = "other".parse().expect("an agent");
        variants[3].body.event_type.push('x');
        variants[4].body.payload_hash[0] ^= 1;
        variants[5].body.attest_level = AttestLevel::Node;
        variants[6].body.timestamp_ms += 1;
        variants[7].body.cause_hash = Some([0; 32]);
        variants[8].prev_hash[31] ^= 1;
        for (n, variant) in variants.iter().enumerate() {
            assert_ne!(variant.chain_hash(), base.chain_hash(), "AUD-1, variant {n}");
        }
    }

    #[test]
    fn details_of_an_event_come_back() {
        let details = EventDetails {
            subject: "deploy".to_owned(),
            facts: [("reason".to_owned(), "stuck".to_owned())].into(),
        };
        for details in [details, EventDetails::default()] {
            assert_eq!(EventDetails::decode(&details.encode()), Ok(details));
        }
        assert!(EventDetails::decode(b"x").is_err());
    }

    #[test]
    fn moving_bytes_between_fields_changes_the_digest() {
        let mut a = row(1, GENESIS).body;
        let mut b = a.clone();
        (a.id, a.event_type) = ("ab".into(), "c".into());
        (b.id, b.event_type) = ("a".into(), "bc".into());
        assert_ne!(a.digest(), b.digest(), "AUD-2");
    }
}
