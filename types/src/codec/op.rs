//! Operations as bytes.
//!
//! The fields of an operation's head have tags below 16, its kinds of payload tags from 16 up: that
//! is how a payload made by a newer build is told from a missing one.
//!
//! Invariant: `OP-3` these bytes are made once, by the origin; everyone else passes them on as they
//! came.
//!
//! Not here: signatures over the bytes.

use prost::{
    Message, Oneof,
    encoding::{DecodeContext, decode_key, skip_field},
};

use super::{
    CodecError, FORMAT_VERSION, check_canonical, check_version,
    edges::{AgentMessage, NewLinkMessage},
    memory::{StoreMessage, UpdateMessage},
    parts::{EntryMessage, ValidityMessage, validity, validity_message, vector, vector_message},
    read,
};
use crate::{
    Hlc, Invalid, LinkId, MemoryId, NodeId, Op, OpId, Payload, Tier, limits::OP_BYTES_MAX,
    op::Accessed,
};

const MESSAGE: &str = "op";

/// Smallest tag of a payload.
const PAYLOAD_TAG_MIN: u32 = 16;

#[derive(Clone, PartialEq, Message)]
struct OpMessage {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "vec", tag = "2")]
    origin: Vec<u8>,
    #[prost(uint64, tag = "3")]
    seq: u64,
    #[prost(fixed64, tag = "4")]
    hlc: u64,
    #[prost(string, tag = "5")]
    author: String,
    #[prost(uint64, tag = "6")]
    fence: u64,
    #[prost(message, repeated, tag = "7")]
    context: Vec<EntryMessage>,
    #[prost(oneof = "PayloadMessage", tags = "16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27")]
    payload: Option<PayloadMessage>,
}

#[derive(Clone, PartialEq, Oneof)]
enum PayloadMessage {
    #[prost(message, tag = "16")]
    Store(Box<StoreMessage>),
    #[prost(message, tag = "17")]
    Update(Box<UpdateMessage>),
    #[prost(message, tag = "18")]
    Promote(PromoteMessage),
    #[prost(message, tag = "19")]
    Delete(ReasonMessage),
    #[prost(message, tag = "20")]
    Archive(ReasonMessage),
    #[prost(message, tag = "21")]
    Restore(IdMessage),
    #[prost(message, tag = "22")]
    Access(AccessMessage),
    #[prost(message, tag = "23")]
    Link(NewLinkMessage),
    #[prost(message, tag = "24")]
    Unlink(IdMessage),
    #[prost(message, tag = "25")]
    LinkValidity(LinkValidityMessage),
    #[prost(message, tag = "26")]
    Alias(AliasMessage),
    #[prost(message, tag = "27")]
    Agent(Box<AgentMessage>),
}

#[derive(Clone, PartialEq, Message)]
struct PromoteMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    tier: u32,
    #[prost(bool, tag = "3")]
    automatic: bool,
    #[prost(uint64, optional, tag = "4")]
    expires_at_ms: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct ReasonMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(string, tag = "2")]
    reason: String,
}

#[derive(Clone, PartialEq, Message)]
struct IdMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct AccessMessage {
    #[prost(message, repeated, tag = "1")]
    accessed: Vec<AccessedMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct AccessedMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    count: u32,
    #[prost(uint64, tag = "3")]
    at_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
struct LinkValidityMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    validity: Option<ValidityMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct AliasMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(string, tag = "2")]
    alias: String,
    #[prost(bool, tag = "3")]
    remove: bool,
}

/// The bytes of an operation. `op` is one that passes [`Payload::check`]; the bytes of any other
/// will be refused by every reader.
pub fn encode_op(op: &Op) -> Vec<u8> {
    OpMessage {
        version: FORMAT_VERSION,
        origin: op.id.origin.as_bytes().to_vec(),
        seq: op.id.seq,
        hlc: op.hlc.as_u64(),
        author: op.author.as_str().to_owned(),
        fence: op.fence,
        context: vector_message(&op.context),
        payload: Some(payload_message(&op.payload)),
    }
    .encode_to_vec()
}

fn payload_message(payload: &Payload) -> PayloadMessage {
    let memory = |id: &MemoryId| id.as_bytes().to_vec();
    match payload {
        Payload::Store(new) => PayloadMessage::Store(Box::new(new.as_ref().into())),
        Payload::Update(body) => PayloadMessage::Update(Box::new(body.as_ref().into())),
        Payload::Promote { id, tier, automatic, expires_at_ms } => {
            PayloadMessage::Promote(PromoteMessage {
                id: memory(id),
                tier: tier.number().into(),
                automatic: *automatic,
                expires_at_ms: *expires_at_ms,
            })
        }
        Payload::Delete { id, reason } => {
            PayloadMessage::Delete(ReasonMessage { id: memory(id), reason: reason.clone() })
        }
        Payload::Archive { id, reason } => {
            PayloadMessage::Archive(ReasonMessage { id: memory(id), reason: reason.clone() })
        }
        Payload::Restore { id } => PayloadMessage::Restore(IdMessage { id: memory(id) }),
        Payload::Access(accessed) => {
            let entry = |entry: &Accessed| AccessedMessage {
                id: memory(&entry.id),
                count: entry.count,
                at_ms: entry.at_ms,
            };
            PayloadMessage::Access(AccessMessage { accessed: accessed.iter().map(entry).collect() })
        }
        Payload::Link(link) => PayloadMessage::Link(link.into()),
        Payload::Unlink { id } => PayloadMessage::Unlink(IdMessage { id: id.as_bytes().to_vec() }),
        Payload::LinkValidity { id, validity } => {
            PayloadMessage::LinkValidity(LinkValidityMessage {
                id: id.as_bytes().to_vec(),
                validity: validity_message(*validity),
            })
        }
        Payload::Alias { id, alias, remove } => PayloadMessage::Alias(AliasMessage {
            id: memory(id),
            alias: alias.clone(),
            remove: *remove,
        }),
        Payload::Agent(agent) => PayloadMessage::Agent(Box::new(agent.as_ref().into())),
    }
}

/// Reads an operation.
///
/// # Errors
/// [`CodecError`]; the bytes are refused as a whole. [`CodecError::UnknownPayload`] when a newer
/// build made them: they may be kept and passed on, not applied.
pub fn decode_op(bytes: &[u8]) -> Result<Op, CodecError> {
    let message: OpMessage = read(MESSAGE, bytes, OP_BYTES_MAX)?;
    check_version(MESSAGE, message.version)?;
    let invalid = |invalid| CodecError::invalid(MESSAGE, invalid);
    let origin = NodeId::from_slice(&message.origin).map_err(invalid)?;
    let id = OpId { origin, seq: message.seq };
    if id.seq == 0 {
        return Err(invalid(Invalid::new("seq", "counts from 1, got 0")));
    }
    let Some(payload) = message.payload else {
        return Err(match unknown_payload(bytes) {
            Some(tag) => CodecError::UnknownPayload { id, tag },
            None => invalid(Invalid::new("payload", "is missing")),
        });
    };
    let op = Op {
        id,
        hlc: Hlc::from_u64(message.hlc),
        author: message.author.parse().map_err(invalid)?,
        fence: message.fence,
        context: vector(message.context).map_err(invalid)?,
        payload: payload_value(payload).map_err(invalid)?,
    };
    op.payload.check().map_err(invalid)?;
    check_canonical(MESSAGE, bytes, &encode_op(&op))?;
    Ok(op)
}

/// The tag of the first payload that this build does not know, in bytes that decoded as a message.
fn unknown_payload(mut bytes: &[u8]) -> Option<u32> {
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes).ok()?;
        if tag >= PAYLOAD_TAG_MIN {
            return Some(tag);
        }
        skip_field(wire_type, tag, &mut bytes, DecodeContext::default()).ok()?;
    }
    None
}

fn payload_value(payload: PayloadMessage) -> Result<Payload, Invalid> {
    let memory = |bytes: &[u8]| MemoryId::from_slice(bytes);
    Ok(match payload {
        PayloadMessage::Store(message) => Payload::Store(Box::new((*message).try_into()?)),
        PayloadMessage::Update(message) => Payload::Update(Box::new((*message).try_into()?)),
        PayloadMessage::Promote(message) => Payload::Promote {
            id: memory(&message.id)?,
            tier: Tier::from_number(message.tier)?,
            automatic: message.automatic,
            expires_at_ms: message.expires_at_ms,
        },
        PayloadMessage::Delete(message) => {
            Payload::Delete { id: memory(&message.id)?, reason: message.reason }
        }
        PayloadMessage::Archive(message) => {
            Payload::Archive { id: memory(&message.id)?, reason: message.reason }
        }
        PayloadMessage::Restore(message) => Payload::Restore { id: memory(&message.id)? },
        PayloadMessage::Access(message) => Payload::Access(
            message
                .accessed
                .into_iter()
                .map(|entry| {
                    let id = memory(&entry.id)?;
                    Ok(Accessed { id, count: entry.count, at_ms: entry.at_ms })
                })
                .collect::<Result<_, Invalid>>()?,
        ),
        PayloadMessage::Link(message) => Payload::Link(message.try_into()?),
        PayloadMessage::Unlink(message) => Payload::Unlink { id: LinkId::from_slice(&message.id)? },
        PayloadMessage::LinkValidity(message) => Payload::LinkValidity {
            id: LinkId::from_slice(&message.id)?,
            validity: validity(message.validity),
        },
        PayloadMessage::Alias(message) => Payload::Alias {
            id: memory(&message.id)?,
            alias: message.alias,
            remove: message.remove,
        },
        PayloadMessage::Agent(message) => Payload::Agent(Box::new((*message).try_into()?)),
    })
}
