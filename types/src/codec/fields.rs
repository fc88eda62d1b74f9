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
use crate::{
    Affiliation, AgentId, Invalid, Kind, MemoryId, Namespace, NamespaceGlob, NodeId, Scope, Tier,
};

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
        super::parts::key32("", bytes(wire)?)
    }
}

/// Makes types that are written as text fields: they need `as_str` and a strict `FromStr`.
#[macro_export]
macro_rules! proto_text {
    ($($type:ty),+ $(,)?) => {$(
        impl $crate::codec::fields::Element for $type {
            fn put(&self, tag: u32, out: &mut Vec<u8>) {
                $crate::codec::fields::put_bytes(tag, self.as_str().as_bytes(), out);
            }

            fn get(wire: $crate::codec::fields::Wire<'_>) -> Result<Self, $crate::Invalid> {
                $crate::codec::fields::text(wire)?.parse()
            }
        }
    )+};
}

/// Makes types that are written as 16 bytes: they need `as_bytes` and `from_slice`.
#[macro_export]
macro_rules! proto_id {
    ($($type:ty),+ $(,)?) => {$(
        impl $crate::codec::fields::Element for $type {
            fn put(&self, tag: u32, out: &mut Vec<u8>) {
                $crate::codec::fields::put_bytes(tag, self.as_bytes(), out);
            }

            fn get(wire: $crate::codec::fields::Wire<'_>) -> Result<Self, $crate::Invalid> {
                Self::from_slice($crate::codec::fields::bytes(wire)?)
            }
        }
    )+};
}

/// Makes closed vocabularies that are written by their numbers: they need `number` and
/// `from_number`.
#[macro_export]
macro_rules! proto_vocabulary {
    ($($type:ty),+ $(,)?) => {$(
        impl $crate::codec::fields::Element for $type {
            fn put(&self, tag: u32, out: &mut Vec<u8>) {
                $crate::codec::fields::put_number(tag, self.number().into(), out);
            }

            fn get(wire: $crate::codec::fields::Wire<'_>) -> Result<Self, $crate::Invalid> {
                Self::from_number($crate::codec::fields::number(wire)?)
            }
        }
    )+};
}

proto_text!(AgentId, Affiliation, Namespace, NamespaceGlob);
proto_id!(NodeId, MemoryId);
proto_vocabulary!(Tier, Kind, Scope);

/// Makes a struct a message. `proto_message!(Name { 1 => field, 2 => other; derived })`: the fields
/// after the semicolon are not written, and are their type's default when read.
#[macro_export]
macro_rules! proto_message {
    ($type:ident { $($tag:literal => $field:tt),* $(; $($derived:ident),+)? $(,)? }) => {
        impl $crate::codec::fields::Message for $type {
            #[allow(unused_variables)]
            fn write(&self, out: &mut Vec<u8>) {
                $($crate::codec::fields::Field::write_field(&self.$field, $tag, out);)*
            }

            #[allow(unused_variables)]
            fn read(
                fields: &mut $crate::codec::fields::Fields<'_>,
            ) -> Result<Self, $crate::Invalid> {
                Ok(Self {
                    $($field: $crate::codec::fields::Field::read_field($tag, fields)
                        .map_err(|invalid| $crate::codec::fields::within(stringify!($field), invalid))?,)*
                    $($($derived: Default::default(),)+)?
                })
            }
        }

        $crate::proto_element!($type);
    };
}

/// Makes an enum a message of which exactly one field is there. Every variant holds one message or
/// one element: `proto_oneof!(Name { 1 => First, 2 => Second })`.
#[macro_export]
macro_rules! proto_oneof {
    ($type:ident { $($tag:literal => $variant:ident),+ $(,)? }) => {
        impl $crate::codec::fields::Message for $type {
            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(value) => {
                        $crate::codec::fields::Element::put(value, $tag, out);
                    })+
                }
            }

            fn read(
                fields: &mut $crate::codec::fields::Fields<'_>,
            ) -> Result<Self, $crate::Invalid> {
                match fields.next_tag()? {
                    $($tag => {
                        $crate::codec::fields::present(fields.take($tag)?).map(Self::$variant)
                    })+
                    tag => Err($crate::Invalid::new(
                        stringify!($type),
                        format!("is of unknown kind {tag}: use a newer hivemem"),
                    )),
                }
            }
        }

        $crate::proto_element!($type);
    };
}

/// Makes a message usable as the value of a field.
#[macro_export]
macro_rules! proto_element {
    ($type:ty) => {
        impl $crate::codec::fields::Element for $type {
            fn put(&self, tag: u32, out: &mut Vec<u8>) {
                let mut inner = Vec::new();
                $crate::codec::fields::Message::write(self, &mut inner);
                $crate::codec::fields::put_bytes(tag, &inner, out);
            }

            fn get(wire: $crate::codec::fields::Wire<'_>) -> Result<Self, $crate::Invalid> {
                let mut fields =
                    $crate::codec::fields::Fields::new($crate::codec::fields::bytes(wire)?);
                let value = $crate::codec::fields::Message::read(&mut fields)?;
                fields.finish()?;
                Ok(value)
            }
        }
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Everything {
        number: u64,
        text: String,
        maybe: Option<u32>,
        list: Vec<u64>,
        set: BTreeSet<u32>,
        map: BTreeMap<u64, String>,
        yes: bool,
        inner: Option<Inner>,
        derived: u64,
    }

    #[derive(Clone, Debug, PartialEq)]
    struct Inner {
        agent: AgentId,
    }

    #[derive(Clone, Debug, PartialEq)]
    enum Either {
        Inner(Inner),
        Number(u64),
    }

    proto_message!(Everything {
        1 => number, 2 => text, 3 => maybe, 4 => list, 5 => set, 6 => map, 7 => yes, 8 => inner;
        derived
    });
    proto_message!(Inner { 1 => agent });
    proto_oneof!(Either { 1 => Inner, 2 => Number });

    fn full() -> Everything {
        Everything {
            number: u64::MAX,
            text: "täxt".to_owned(),
            maybe: Some(0),
            list: vec![0, 300, 1],
            set: [7, 5].into(),
            map: [(0, String::new()), (9, "nine".to_owned())].into(),
            yes: true,
            inner: Some(Inner { agent: "ann".parse().expect("an agent") }),
            derived: 0,
        }
    }

    fn read(bytes: &[u8]) -> Result<Everything, CodecError> {
        decode("everything", bytes, 1000)
    }

    #[test]
    fn values_round_trip_and_derived_parts_are_left_out() {
        assert_eq!(read(&encode(&full())), Ok(full()), "COD-1");
        assert_eq!(read(&encode(&Everything::default())), Ok(Everything::default()));
        let derived = Everything { derived: 5, ..full() };
        assert_eq!(read(&encode(&derived)), Ok(full()));
        for either in [Either::Number(0), Either::Inner(full().inner.expect("one"))] {
            assert_eq!(decode("either", &encode(&either), 100), Ok(either));
        }
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_another_value_or_an_error() {
        let bytes = encode(&full());
        for at in 0..bytes.len() {
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
            for flip in [1u8, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                if let Ok(value) = read(&changed) {
                    assert_eq!(encode(&value), changed, "COD-1 at {at}");
                    assert_ne!(value, full());
                }
            }
        }
    }

    #[test]
    fn second_spellings_are_refused() {
        let spelled = |body: &[u8]| {
            let mut bytes = vec![8, FORMAT_VERSION as u8];
            put_bytes(2, body, &mut bytes);
            read(&bytes)
        };
        assert!(spelled(&[8, 5]).is_ok());
        assert!(matches!(spelled(&[8, 0]), Err(CodecError::NotCanonical { .. })), "a default");
        assert!(matches!(spelled(&[8, 0x85, 0]), Err(CodecError::NotCanonical { .. })), "a pad");
        assert!(matches!(spelled(&[40, 7, 40, 5]), Err(CodecError::NotCanonical { .. })), "a set");
        assert!(matches!(spelled(&[40, 7, 8, 5]), Err(CodecError::Field { .. })), "out of order");
        assert!(matches!(spelled(&[120, 1]), Err(CodecError::Field { .. })), "unknown");
        assert!(matches!(spelled(&[56, 2]), Err(CodecError::Field { field: "yes", .. })));
        assert!(matches!(spelled(&[10, 1, 65]), Err(CodecError::Field { field: "number", .. })));
    }

    #[test]
    fn other_versions_and_sizes_are_named() {
        let mut bytes = encode(&full());
        bytes[1] = 9;
        assert!(matches!(read(&bytes), Err(CodecError::Version { found: 9, .. })));
        let long = Everything { text: "x".repeat(1000), ..full() };
        assert!(matches!(read(&encode(&long)), Err(CodecError::TooLarge { .. })));
        let none: Result<Either, _> = decode("either", &[8, 1, 18, 2, 48, 1], 100);
        assert!(none.expect_err("no such variant").to_string().contains("use a newer hivemem"));
    }
}
