//! Links and agents as bytes: inside operations, and as rows keep them.
//!
//! Invariant: a link's ends are stored in its one direction; a symmetric link the other way round
//! is refused.
//!
//! Not here: memories (`memory`, `state`).

use prost::Message;

use super::{
    CodecError, FORMAT_VERSION, check_canonical, check_version,
    parts::{StampMessage, ValidityMessage, key32, required, validity, validity_message},
    read,
};
use crate::{
    AgentRecord, Hlc, Invalid, Link, LinkId, MemoryId, Register, Relation, Stamp,
    limits::OP_BYTES_MAX, link::NewLink,
};

/// A link as it is made.
#[derive(Clone, PartialEq, Message)]
pub(super) struct NewLinkMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    source: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    target: Vec<u8>,
    #[prost(uint32, tag = "4")]
    relation: u32,
    #[prost(message, optional, tag = "5")]
    validity: Option<ValidityMessage>,
}

impl From<&NewLink> for NewLinkMessage {
    fn from(link: &NewLink) -> Self {
        Self {
            id: link.id.as_bytes().to_vec(),
            source: link.source.as_bytes().to_vec(),
            target: link.target.as_bytes().to_vec(),
            relation: link.relation.number().into(),
            validity: validity_message(link.validity),
        }
    }
}

impl TryFrom<NewLinkMessage> for NewLink {
    type Error = Invalid;

    fn try_from(message: NewLinkMessage) -> Result<Self, Invalid> {
        Ok(Self {
            id: LinkId::from_slice(&message.id)?,
            source: MemoryId::from_slice(&message.source)?,
            target: MemoryId::from_slice(&message.target)?,
            relation: Relation::from_number(message.relation)?,
            validity: validity(message.validity),
        })
    }
}

/// A link as it is kept.
#[derive(Clone, PartialEq, Message)]
struct LinkMessage {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(message, optional, tag = "2")]
    link: Option<NewLinkMessage>,
    #[prost(string, tag = "3")]
    author: String,
    #[prost(message, optional, tag = "4")]
    created: Option<StampMessage>,
    /// Absent while nobody has changed the validity.
    #[prost(message, optional, tag = "5")]
    validity_stamp: Option<StampMessage>,
    #[prost(bool, tag = "6")]
    removed: bool,
}

/// The bytes of a link as it is kept.
pub fn encode_link(link: &Link) -> Vec<u8> {
    let ends = NewLink {
        id: link.id,
        source: link.source,
        target: link.target,
        relation: link.relation,
        validity: link.validity.value,
    };
    LinkMessage {
        version: FORMAT_VERSION,
        link: Some((&ends).into()),
        author: link.author.as_str().to_owned(),
        created: Some((&link.created).into()),
        validity_stamp: (link.validity.stamp != link.created)
            .then(|| (&link.validity.stamp).into()),
        removed: link.removed,
    }
    .encode_to_vec()
}

/// Reads a link as it is kept.
///
/// # Errors
/// [`CodecError`] naming the field.
pub fn decode_link(bytes: &[u8]) -> Result<Link, CodecError> {
    const MESSAGE: &str = "link";
    let message: LinkMessage = read(MESSAGE, bytes, OP_BYTES_MAX)?;
    check_version(MESSAGE, message.version)?;
    let link = link_value(message).map_err(|invalid| CodecError::invalid(MESSAGE, invalid))?;
    check_canonical(MESSAGE, bytes, &encode_link(&link))?;
    Ok(link)
}

fn link_value(message: LinkMessage) -> Result<Link, Invalid> {
    let ends: NewLink = required("link", message.link)?.try_into()?;
    ends.check()?;
    let created: Stamp = required("created", message.created)?.try_into()?;
    let changed = message.validity_stamp.map(Stamp::try_from).transpose()?;
    Ok(Link {
        id: ends.id,
        source: ends.source,
        target: ends.target,
        relation: ends.relation,
        author: message.author.parse()?,
        created,
        validity: Register::new(ends.validity, changed.unwrap_or(created)),
        removed: message.removed,
    })
}

/// A registered agent.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AgentMessage {
    /// Set where the agent stands alone; 0 inside an operation, which has its own.
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    agent_id: String,
    #[prost(string, tag = "3")]
    affiliation: String,
    #[prost(bytes = "vec", optional, tag = "4")]
    token_sha256: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    public_key: Option<Vec<u8>>,
    #[prost(bool, tag = "6")]
    revoked: bool,
    #[prost(fixed64, tag = "7")]
    changed: u64,
}

impl From<&AgentRecord> for AgentMessage {
    fn from(agent: &AgentRecord) -> Self {
        Self {
            version: 0,
            agent_id: agent.agent_id.as_str().to_owned(),
            affiliation: agent.affiliation.as_str().to_owned(),
            token_sha256: agent.token_sha256.map(|hash| hash.to_vec()),
            public_key: agent.public_key.map(|key| key.to_vec()),
            revoked: agent.revoked,
            changed: agent.changed.as_u64(),
        }
    }
}

impl TryFrom<AgentMessage> for AgentRecord {
    type Error = Invalid;

    fn try_from(message: AgentMessage) -> Result<Self, Invalid> {
        let key = |field, bytes: Option<Vec<u8>>| bytes.map(|b| key32(field, &b)).transpose();
        Ok(Self {
            agent_id: message.agent_id.parse()?,
            affiliation: message.affiliation.parse()?,
            token_sha256: key("token_sha256", message.token_sha256)?,
            public_key: key("public_key", message.public_key)?,
            revoked: message.revoked,
            changed: Hlc::from_u64(message.changed),
        })
    }
}

/// The bytes of a registered agent as it is kept.
pub fn encode_agent(agent: &AgentRecord) -> Vec<u8> {
    AgentMessage { version: FORMAT_VERSION, ..agent.into() }.encode_to_vec()
}

/// Reads a registered agent as it is kept.
///
/// # Errors
/// [`CodecError`] naming the field.
pub fn decode_agent(bytes: &[u8]) -> Result<AgentRecord, CodecError> {
    const MESSAGE: &str = "agent";
    let message: AgentMessage = read(MESSAGE, bytes, OP_BYTES_MAX)?;
    check_version(MESSAGE, message.version)?;
    let agent =
        message.try_into().map_err(|invalid: Invalid| CodecError::invalid(MESSAGE, invalid))?;
    check_canonical(MESSAGE, bytes, &encode_agent(&agent))?;
    Ok(agent)
}
