//! Query parameters as a strict deserialiser.
//!
//! Invariants: a list is written with commas, or by repeating the parameter; anything else given
//! twice is refused; an empty list is written as nothing after the `=`.
//!
//! Not here: paths and headers.

use std::collections::BTreeMap;

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, Visitor,
        value::{SeqDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};
use types::{Reason, Reject};

use super::Mismatch;

/// The parameters of a request that nobody has taken yet.
#[derive(Debug, Default)]
pub(in super::super) struct Query(BTreeMap<String, Vec<String>>);

fn malformed(problem: String) -> Reject {
    Reject::new(Reason::Malformed, format!("query: {problem}")).with("field", "query")
}

/// Undoes percent-encoding and `+` for a space.
fn percent_decode(text: &str) -> Result<String, Reject> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |at: usize| tail.get(at).and_then(|b| char::from(*b).to_digit(16));
                let (Some(high), Some(low)) = (digit(0), digit(1)) else {
                    return Err(malformed(format!(
                        "`%` in {text:?} is not followed by two digits"
                    )));
                };
                bytes.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| malformed(format!("{text:?} is not UTF-8")))
}

impl Query {
    /// Parses what follows the `?`.
    ///
    /// # Errors
    /// `malformed` when it is not percent-encoded UTF-8.
    pub(in super::super) fn parse(text: &str) -> Result<Self, Reject> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            all.entry(percent_decode(name)?).or_default().push(percent_decode(value)?);
        }
        Ok(Self(all))
    }

    /// Takes one parameter out; `None` when it is absent.
    ///
    /// # Errors
    /// `invalid_argument` naming the parameter.
    pub(in super::super) fn take<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, Reject> {
        let Some(values) = self.0.remove(name) else { return Ok(None) };
        T::deserialize(Text(&values)).map(Some).map_err(|e| e.within(name).refuse(name))
    }

    /// Takes all that is left into a struct; a parameter that it does not know is refused.
    ///
    /// # Errors
    /// `invalid_argument` naming the parameter.
    pub(in super::super) fn rest<T: DeserializeOwned>(&mut self) -> Result<T, Reject> {
        let all = std::mem::take(&mut self.0);
        T::deserialize(All(&all)).map_err(|e| e.refuse("query"))
    }

    /// Refuses whatever is left.
    ///
    /// # Errors
    /// `invalid_argument` naming the first parameter nobody took.
    pub(in super::super) fn done(self) -> Result<(), Reject> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(Mismatch::custom("is not known here").within(name).refuse("query")),
        }
    }
}

struct All<'de>(&'de BTreeMap<String, Vec<String>>);

impl<'de> Deserializer<'de> for All<'de> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_map(Pairs { rest: self.0.iter(), current: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Pairs<'de> {
    rest: std::collections::btree_map::Iter<'de, String, Vec<String>>,
    current: Option<(&'de String, &'de Vec<String>)>,
}

impl<'de> MapAccess<'de> for Pairs<'de> {
    type Error = Mismatch;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Mismatch> {
        self.current = self.rest.next();
        let Some((name, _)) = self.current else { return Ok(None) };
        seed.deserialize(StrDeserializer::<Mismatch>::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Mismatch> {
        let Some((name, values)) = self.current.take() else {
            return Err(Mismatch::custom("a value was asked for before its name"));
        };
        seed.deserialize(Text(values)).map_err(|e| e.within(name))
    }
}

/// The values of one parameter, read as whatever is asked for.
struct Text<'de>(&'de [String]);

impl<'de> Text<'de> {
    fn single(&self) -> Result<&'de str, Mismatch> {
        match self.0 {
            [one] => Ok(one),
            _ => Err(Mismatch::custom("was given more than once")),
        }
    }

    fn parsed<T: std::str::FromStr>(&self, what: &str) -> Result<T, Mismatch> {
        let text = self.single()?;
        text.parse().map_err(|_| Mismatch::custom(format!("needs {what}, got {text:?}")))
    }
}

macro_rules! unsigned {
    ($($method:ident $visit:ident $type:ty),+ $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            visitor.$visit(self.parsed::<$type>(concat!("a whole number that fits ", stringify!($type)))?)
        })+
    };
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_borrowed_str(self.single()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_bool(self.parsed("true or false")?)
    }

    unsigned! {
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_i64 visit_i64 i64,
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let number: f64 = self.parsed("a number")?;
        if !number.is_finite() {
            return Err(Mismatch::custom("needs a finite number"));
        }
        visitor.visit_f64(number)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let items: Vec<&str> = self
            .0
            .iter()
            .filter(|value| !value.is_empty())
            .flat_map(|value| value.split(','))
            .collect();
        let items = items.into_iter().map(IntoDeserializer::<Mismatch>::into_deserializer);
        visitor.visit_seq(SeqDeserializer::new(items))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u128 f32 char str string bytes byte_buf unit unit_struct newtype_struct
        tuple tuple_struct map struct enum identifier ignored_any
    }
}
