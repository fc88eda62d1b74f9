//! The one encoding of operations and of record state: protobuf, written by hand.
//!
//! Layout: `memory` (a new memory and a patch), `op` (an operation), `state` (a record without the
//! columns that storage keeps beside it), `edges` (links and agents), `parts` (what they share),
//! `fields` (the vocabulary of the root, written straight from its types), `reject` (refusals).
//!
//! Invariants: `COD-1` equal values have equal bytes, and bytes that decode are the bytes that
//! encoding gives back: there is no second spelling of anything, so a hash of the bytes is a hash of
//! the value. `COD-2` decoding never guesses: an unknown number, a wrong length, a value over its
//! limit, an unknown field or trailing bytes are errors. `COD-3` field tags are never reused and
//! never change meaning.
//!
//! How the format grows: a new kind of operation is a new payload tag, which older nodes report as
//! [`CodecError::UnknownPayload`] and keep as bytes; any change to what exists raises the version.
//! A new optional field without a new version is not possible on purpose: a node that skipped it
//! would apply half an operation and drift from its peers.
//!
//! Not here: framing and transport (`wire`), rows and columns (`storage`).

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{Invalid, OpId};

mod edges;
pub mod fields;
mod memory;
mod op;
mod parts;
pub mod reject;
mod state;

#[cfg(test)]
mod tests;

pub use edges::{decode_agent, decode_link, encode_agent, encode_link};
pub use op::{decode_op, encode_op};
pub use state::{Columns, decode_state, encode_state};

/// Version of the encoding, the first field of every message.
pub const FORMAT_VERSION: u32 = 1;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    /// The bytes are not protobuf of this message.
    #[error("{message}: not readable: {source}")]
    Malformed {
        /// Which message.
        message: &'static str,
        /// What the reader stumbled over.
        source: prost::DecodeError,
    },
    /// The bytes were written in another version of the format.
    #[error("{message}: format version {found} is not {FORMAT_VERSION}: use a newer hivemem")]
    Version {
        /// Which message.
        message: &'static str,
        /// The version found.
        found: u32,
    },
    /// The operation is of a kind that this build does not know; a newer one does.
    #[error("op {id}: unknown kind of operation (tag {tag}): use a newer hivemem")]
    UnknownPayload {
        /// The operation.
        id: OpId,
        /// Tag of its payload.
        tag: u32,
    },
    /// A field is missing, over its limit or otherwise not valid.
    #[error("{message}.{field}: {problem}")]
    Field {
        /// Which message.
        message: &'static str,
        /// Which field.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The bytes say something valid in another spelling than the one allowed, or have more in them
    /// than this build knows: an unknown field, trailing bytes, a set out of order.
    #[error("{message}: {bytes} bytes are not the one encoding of what they say")]
    NotCanonical {
        /// Which message.
        message: &'static str,
        /// How many bytes were given.
        bytes: u64,
    },
    /// The message is larger than any can be.
    #[error("{message}: {bytes} bytes, at most {max_bytes} are read")]
    TooLarge {
        /// Which message.
        message: &'static str,
        /// How many bytes were given.
        bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
}

impl CodecError {
    fn invalid(message: &'static str, invalid: Invalid) -> Self {
        Self::Field { message, field: invalid.field, problem: invalid.problem }
    }
}

/// SHA-256 of an operation's bytes: the payload hash of its audit row.
pub fn op_hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Reads a message and checks its size.
fn read<M: prost::Message + Default>(
    message: &'static str,
    bytes: &[u8],
    max_bytes: usize,
) -> Result<M, CodecError> {
    if bytes.len() > max_bytes {
        return Err(CodecError::TooLarge {
            message,
            bytes: bytes.len() as u64,
            max_bytes: max_bytes as u64,
        });
    }
    M::decode(bytes).map_err(|source| CodecError::Malformed { message, source })
}

fn check_version(message: &'static str, found: u32) -> Result<(), CodecError> {
    if found == FORMAT_VERSION { Ok(()) } else { Err(CodecError::Version { message, found }) }
}

/// Checks `COD-1`: `again` is the encoding of what was read from `bytes`.
fn check_canonical(message: &'static str, bytes: &[u8], again: &[u8]) -> Result<(), CodecError> {
    if bytes == again {
        return Ok(());
    }
    Err(CodecError::NotCanonical { message, bytes: bytes.len() as u64 })
}
