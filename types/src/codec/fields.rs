//! Protobuf straight from the vocabulary: a message is a type and its field tags, without a second
//! struct beside it.
//!
//! What the root keeps, sends and hashes is made with this. The macros [`proto_message!`] and
//! [`proto_oneof!`] take a type's fields or variants with their tags; the traits say how one field
//! looks. A whole value stands in an envelope: field 1 the version of the format, field 2 the value.
//!
//! Invariants: `COD-1`, `COD-2` and `COD-3` of [`codec`](crate::codec) hold here too. Fields are
//! written in the order of their tags, and read in that order; what differs in any way from what
//! writing gives back is refused by [`decode`].
//!
//! Not here: the operations and records of a memory, which have encodings of their own.
//!
//! [`proto_message!`]: crate::proto_message
//! [`proto_oneof!`]: crate::proto_oneof

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{CodecError, FORMAT_VERSION, check_canonical, check_version};
use crate::Invalid;

mod elements;
mod macros;
#[cfg(test)]
mod tests;

pub use elements::Opaque;

/// The value of one field as it stands in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire<'a> {
    /// A varint.
    Number(u64),
    /// A length and so many bytes.
    Bytes(&'a [u8]),
}

/// The fields of one message that have not been read yet.
#[derive(Debug)]
pub struct Fields<'a>(&'a [u8]);

fn broken(problem: &str) -> Invalid {
    Invalid::new("bytes", problem)
}

fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), Invalid> {
    let mut number = 0u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok((number, &bytes[at + 1..]));
        }
    }
    Err(broken("end within a number"))
}

impl<'a> Fields<'a> {
    /// All fields in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The tag of the next field; 0 at the end.
    ///
    /// # Errors
    /// [`Invalid`] when the bytes are cut short.
    pub fn next_tag(&self) -> Result<u32, Invalid> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let (key, _) = varint(self.0)?;
        u32::try_from(key >> 3).map_err(|_| broken("have a tag that is too large"))
    }

    /// The next field, if its tag is `tag`.
    ///
    /// # Errors
    /// [`Invalid`] when the bytes are cut short or use a kind of field that nothing here has.
    pub fn take(&mut self, tag: u32) -> Result<Option<Wire<'a>>, Invalid> {
        if self.0.is_empty() || self.next_tag()? != tag {
            return Ok(None);
        }
        let (key, rest) = varint(self.0)?;
        let (number, rest) = varint(rest)?;
        match key & 7 {
            0 => {
                self.0 = rest;
                Ok(Some(Wire::Number(number)))
            }
            2 => {
                let length = usize::try_from(number).unwrap_or(usize::MAX);
                let Some((bytes, rest)) = rest.split_at_checked(length) else {
                    return Err(broken("end within a field"));
                };
                self.0 = rest;
                Ok(Some(Wire::Bytes(bytes)))
            }
            _ => Err(broken("have a field of an unknown kind")),
        }
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`Invalid`] naming the first tag that was not expected here.
    pub fn finish(self) -> Result<(), Invalid> {
        match self.next_tag()? {
            0 => Ok(()),
            tag => Err(broken(&format!("have an unknown or misplaced field {tag}"))),
        }
    }
}

fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Writes a number field, 0 too.
pub fn put_number(tag: u32, number: u64, out: &mut Vec<u8>) {
    put_varint(u64::from(tag) << 3, out);
    put_varint(number, out);
}

/// Writes a field of bytes, empty ones too.
pub fn put_bytes(tag: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(u64::from(tag) << 3 | 2, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A type that is a message: fields with tags.
pub trait Message: Sized {
    /// Writes all fields in the order of their tags.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads all fields.
    ///
    /// # Errors
    /// [`Invalid`] naming the field that is missing or not valid.
    fn read(fields: &mut Fields<'_>) -> Result<Self, Invalid>;
}

/// A type that is the value of one field.
pub trait Element: Sized {
    /// Writes the field.
    fn put(&self, tag: u32, out: &mut Vec<u8>);

    /// Reads the field.
    ///
    /// # Errors
    /// [`Invalid`] when the value does not fit the type.
    fn get(wire: Wire<'_>) -> Result<Self, Invalid>;

    /// Whether the field is left out.
    fn is_absent(&self) -> bool {
        false
    }

    /// What a field that was left out stands for.
    ///
    /// # Errors
    /// [`Invalid`] when it may not be left out.
    fn absent() -> Result<Self, Invalid> {
        Err(Invalid::new("", "is missing"))
    }
}

/// A type that takes one tag of a message: one value, an optional one, or many.
pub trait Field: Sized {
    /// Writes it, however many fields that takes.
    fn write_field(&self, tag: u32, out: &mut Vec<u8>);

    /// Reads it.
    ///
    /// # Errors
    /// [`Invalid`] when a value does not fit.
    fn read_field(tag: u32, fields: &mut Fields<'_>) -> Result<Self, Invalid>;
}

impl<T: Element> Field for T {
    fn write_field(&self, tag: u32, out: &mut Vec<u8>) {
        if !self.is_absent() {
            self.put(tag, out);
        }
    }

    fn read_field(tag: u32, fields: &mut Fields<'_>) -> Result<Self, Invalid> {
        fields.take(tag)?.map_or_else(T::absent, T::get)
    }
}

impl<T: Element> Field for Option<T> {
    fn write_field(&self, tag: u32, out: &mut Vec<u8>) {
        if let Some(value) = self {
            value.put(tag, out);
        }
    }

    fn read_field(tag: u32, fields: &mut Fields<'_>) -> Result<Self, Invalid> {
        fields.take(tag)?.map(T::get).transpose()
    }
}

macro_rules! many {
    ($($collection:ident $(: $bound:ident)?),+) => {$(
        impl<T: Element $(+ $bound)?> Field for $collection<T> {
            fn write_field(&self, tag: u32, out: &mut Vec<u8>) {
                for value in self {
                    value.put(tag, out);
                }
            }

            fn read_field(tag: u32, fields: &mut Fields<'_>) -> Result<Self, Invalid> {
                std::iter::from_fn(|| fields.take(tag).transpose())
                    .map(|wire| T::get(wire?))
                    .collect()
            }
        }
    )+};
}

many!(Vec, VecDeque, BTreeSet: Ord);

impl<K: Element + Ord, V: Element> Field for BTreeMap<K, V> {
    fn write_field(&self, tag: u32, out: &mut Vec<u8>) {
        for (key, value) in self {
            let mut entry = Vec::new();
            key.put(1, &mut entry);
            value.put(2, &mut entry);
            put_bytes(tag, &entry, out);
        }
    }

    fn read_field(tag: u32, fields: &mut Fields<'_>) -> Result<Self, Invalid> {
        let mut map = BTreeMap::new();
        while let Some(wire) = fields.take(tag)? {
            let mut entry = Fields::new(bytes(wire)?);
            let half = || Invalid::new("", "has half an entry");
            let key = K::get(entry.take(1)?.ok_or_else(half)?)?;
            let value = V::get(entry.take(2)?.ok_or_else(half)?)?;
            entry.finish()?;
            map.insert(key, value);
        }
        Ok(map)
    }
}

/// The bytes of a field of bytes.
///
/// # Errors
/// [`Invalid`] for a number.
pub fn bytes(wire: Wire<'_>) -> Result<&[u8], Invalid> {
    match wire {
        Wire::Bytes(bytes) => Ok(bytes),
        Wire::Number(_) => Err(Invalid::new("", "is a number where bytes belong")),
    }
}

/// The number of a field that is one.
///
/// # Errors
/// [`Invalid`] for bytes, and for a number that `T` can't hold.
pub fn number<T: TryFrom<u64>>(wire: Wire<'_>) -> Result<T, Invalid> {
    match wire {
        Wire::Number(number) => {
            T::try_from(number).map_err(|_| Invalid::new("", format!("{number} is out of range")))
        }
        Wire::Bytes(_) => Err(Invalid::new("", "is bytes where a number belongs")),
    }
}

/// The text of a field that is text.
///
/// # Errors
/// [`Invalid`] when it is not UTF-8.
pub fn text(wire: Wire<'_>) -> Result<&str, Invalid> {
    std::str::from_utf8(bytes(wire)?).map_err(|_| Invalid::new("", "is not UTF-8"))
}

/// Names the field of an error that does not name one yet.
pub fn within(field: &'static str, invalid: Invalid) -> Invalid {
    if invalid.field.is_empty() { Invalid { field, ..invalid } } else { invalid }
}

/// A field that is there.
///
/// # Errors
/// [`Invalid`] when it is not, or does not fit.
pub fn present<T: Element>(wire: Option<Wire<'_>>) -> Result<T, Invalid> {
    wire.map_or_else(T::absent, T::get)
}

/// The bytes of a whole value, in its envelope.
pub fn encode<T: Element>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(1, FORMAT_VERSION.into(), &mut out);
    value.put(2, &mut out);
    out
}

/// Reads a whole value of at most `max_bytes`.
///
/// # Errors
/// [`CodecError`] naming the field; nothing is guessed.
pub fn decode<T: Element>(
    message: &'static str,
    bytes: &[u8],
    max_bytes: usize,
) -> Result<T, CodecError> {
    if bytes.len() > max_bytes {
        return Err(CodecError::TooLarge {
            message,
            bytes: bytes.len() as u64,
            max_bytes: max_bytes as u64,
        });
    }
    let invalid = |invalid| CodecError::invalid(message, invalid);
    let mut fields = Fields::new(bytes);
    let version = u32::read_field(1, &mut fields).map_err(invalid)?;
    check_version(message, version)?;
    let value = T::read_field(2, &mut fields).map_err(|e| invalid(within("value", e)))?;
    fields.finish().map_err(invalid)?;
    check_canonical(message, bytes, &encode(&value))?;
    Ok(value)
}
