//! Values, and how Rust's types become them and come back.
//!
//! Invariants: `SQL-6`; an integer that does not fit the type it is read as is an error, never cut off.
//!
//! Not here: unsigned 64-bit numbers, whose spelling is a decision of the rows (`rows::row::signed`).

use super::{Error, Result};

/// A value that is owned.
///
/// Ordered as both databases order a column that has one kind of them: texts and bytes byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number.
    Integer(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// A value where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueRef<'a> {
    /// Nothing.
    Null,
    /// A number.
    Integer(i64),
    /// A text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

impl ValueRef<'_> {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            ValueRef::Null => "nothing",
            ValueRef::Integer(_) => "a number",
            ValueRef::Text(_) => "a text",
            ValueRef::Blob(_) => "bytes",
        }
    }
}

/// What can be given to a statement.
pub trait ToSql {
    /// The value.
    fn to_sql(&self) -> ValueRef<'_>;
}

/// What can be read from a column.
pub trait FromSql<'a>: Sized {
    /// What it is read from, for messages.
    const WANTED: &'static str;
    /// Reads it; `None` when the value is of another kind, or does not fit.
    fn from_sql(value: ValueRef<'a>) -> Option<Self>;
}

/// Reads the value of a column.
pub(super) fn read<'a, T: FromSql<'a>>(column: usize, value: ValueRef<'a>) -> Result<T> {
    let found = value.kind();
    T::from_sql(value).ok_or(Error::Column { column, wanted: T::WANTED, found })
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl ToSql for $type {
            fn to_sql(&self) -> ValueRef<'_> {
                ValueRef::Integer(i64::from(*self))
            }
        }

        impl FromSql<'_> for $type {
            const WANTED: &'static str = concat!("a number that fits ", stringify!($type));

            fn from_sql(value: ValueRef<'_>) -> Option<Self> {
                match value {
                    ValueRef::Integer(number) => number.try_into().ok(),
                    _ => None,
                }
            }
        }

        impl From<$type> for Value {
            fn from(number: $type) -> Self {
                Value::Integer(i64::from(number))
            }
        }
    )*};
}
integers!(i64, i32, u32, u16, u8);

impl ToSql for bool {
    fn to_sql(&self) -> ValueRef<'_> {
        ValueRef::Integer(i64::from(*self))
    }
}

impl FromSql<'_> for bool {
    const WANTED: &'static str = "0 or 1";

    fn from_sql(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Integer(number) => Some(number != 0),
            _ => None,
        }
    }
}

impl ToSql for str {
    fn to_sql(&self) -> ValueRef<'_> {
        ValueRef::Text(self)
    }
}

impl ToSql for String {
    fn to_sql(&self) -> ValueRef<'_> {
        ValueRef::Text(self)
    }
}

impl ToSql for [u8] {
    fn to_sql(&self) -> ValueRef<'_> {
        ValueRef::Blob(self)
    }
}

impl ToSql for Vec<u8> {
    fn to_sql(&self) -> ValueRef<'_> {
        ValueRef::Blob(self)
    }
}

impl<const N: usize> ToSql for [u8; N] {
    fn to_sql(&self) -> ValueRef<'_> {
        ValueRef::Blob(self)
    }
}

impl<T: ToSql + ?Sized> ToSql for &T {
    fn to_sql(&self) -> ValueRef<'_> {
        (**self).to_sql()
    }
}

impl<T: ToSql> ToSql for Option<T> {
    fn to_sql(&self) -> ValueRef<'_> {
        self.as_ref().map_or(ValueRef::Null, ToSql::to_sql)
    }
}

impl ToSql for ValueRef<'_> {
    fn to_sql(&self) -> ValueRef<'_> {
        *self
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }
}

impl<'a> FromSql<'a> for &'a str {
    const WANTED: &'static str = "a text";

    fn from_sql(value: ValueRef<'a>) -> Option<Self> {
        match value {
            ValueRef::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'a> FromSql<'a> for &'a [u8] {
    const WANTED: &'static str = "bytes";

    fn from_sql(value: ValueRef<'a>) -> Option<Self> {
        match value {
            ValueRef::Blob(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl FromSql<'_> for String {
    const WANTED: &'static str = "a text";

    fn from_sql(value: ValueRef<'_>) -> Option<Self> {
        <&str>::from_sql(value).map(str::to_owned)
    }
}

impl FromSql<'_> for Vec<u8> {
    const WANTED: &'static str = "bytes";

    fn from_sql(value: ValueRef<'_>) -> Option<Self> {
        <&[u8]>::from_sql(value).map(<[u8]>::to_vec)
    }
}

impl<const N: usize> FromSql<'_> for [u8; N] {
    const WANTED: &'static str = "bytes of a fixed length";

    fn from_sql(value: ValueRef<'_>) -> Option<Self> {
        <&[u8]>::from_sql(value)?.try_into().ok()
    }
}

impl FromSql<'_> for Value {
    const WANTED: &'static str = "anything";

    fn from_sql(value: ValueRef<'_>) -> Option<Self> {
        Some(value.into())
    }
}

impl<'a, T: FromSql<'a>> FromSql<'a> for Option<T> {
    const WANTED: &'static str = T::WANTED;

    fn from_sql(value: ValueRef<'a>) -> Option<Self> {
        match value {
            ValueRef::Null => Some(None),
            other => T::from_sql(other).map(Some),
        }
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Integer(number),
            ValueRef::Text(text) => Value::Text(text.to_owned()),
            ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
        }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value::Blob(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_does_not_fit_is_not_cut_off() {
        assert_eq!(u8::from_sql(ValueRef::Integer(255)), Some(255));
        assert_eq!(u8::from_sql(ValueRef::Integer(256)), None);
        assert_eq!(u32::from_sql(ValueRef::Integer(-1)), None);
    }

    #[test]
    fn absence_is_read_by_an_option_only() {
        assert_eq!(Option::<i64>::from_sql(ValueRef::Null), Some(None));
        assert_eq!(i64::from_sql(ValueRef::Null), None);
        let error = read::<i64>(3, ValueRef::Text("x")).unwrap_err();
        assert_eq!(error.to_string(), "column 3 holds a text, not a number that fits i64");
    }
}
