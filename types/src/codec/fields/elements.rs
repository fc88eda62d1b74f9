//! The basic values of a field: numbers, text, bytes, ids and vocabularies.
//!
//! Invariant: 0, no and the empty text are left out where they stand alone; everything else is written.
//!
//! Not here: messages, which their own types describe.

use super::{Element, Wire, bytes, number, put_bytes, put_number, text};
use crate::{
    Affiliation, AgentId, Invalid, Kind, MemoryId, Namespace, NamespaceGlob, NodeId, Scope, Tier,
    proto_id, proto_text, proto_vocabulary,
};

macro_rules! numbers {
    ($($type:ty),+) => {$(
        impl Element for $type {
            fn put(&self, tag: u32, out: &mut Vec<u8>) {
                put_number(tag, u64::from(*self), out);
            }

            fn get(wire: Wire<'_>) -> Result<Self, Invalid> {
                number(wire)
            }

            fn is_absent(&self) -> bool {
                *self == 0
            }

            fn absent() -> Result<Self, Invalid> {
                Ok(0)
            }
        }
    )+};
}

numbers!(u8, u32, u64);

impl Element for bool {
    fn put(&self, tag: u32, out: &mut Vec<u8>) {
        put_number(tag, u64::from(*self), out);
    }

    fn get(wire: Wire<'_>) -> Result<Self, Invalid> {
        match number::<u64>(wire)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Invalid::new("", "is neither yes nor no")),
        }
    }

    fn is_absent(&self) -> bool {
        !*self
    }

    fn absent() -> Result<Self, Invalid> {
        Ok(false)
    }
}

impl Element for String {
    fn put(&self, tag: u32, out: &mut Vec<u8>) {
        put_bytes(tag, self.as_bytes(), out);
    }

    fn get(wire: Wire<'_>) -> Result<Self, Invalid> {
        text(wire).map(str::to_owned)
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    fn absent() -> Result<Self, Invalid> {
        Ok(String::new())
    }
}

/// Bytes that mean something to others only.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opaque(pub Vec<u8>);

impl std::fmt::Debug for Opaque {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Element for Opaque {
    fn put(&self, tag: u32, out: &mut Vec<u8>) {
        put_bytes(tag, &self.0, out);
    }

    fn get(wire: Wire<'_>) -> Result<Self, Invalid> {
        bytes(wire).map(|bytes| Self(bytes.to_vec()))
    }

    fn is_absent(&self) -> bool {
        self.0.is_empty()
    }

    fn absent() -> Result<Self, Invalid> {
        Ok(Self::default())
    }
}

impl Element for [u8; 32] {
    fn put(&self, tag: u32, out: &mut Vec<u8>) {
        put_bytes(tag, self, out);
    }

    fn get(wire: Wire<'_>) -> Result<Self, Invalid> {
        crate::codec::parts::key32("", bytes(wire)?)
    }
}

proto_text!(AgentId, Affiliation, Namespace, NamespaceGlob);
proto_id!(NodeId, MemoryId);
proto_vocabulary!(Tier, Kind, Scope);
