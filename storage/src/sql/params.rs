//! What a statement is given.
//!
//! Invariant: parameters are given in the order of their numbers, from 1.
//!
//! Not here: counting them (`connection`).

use super::{ToSql, ValueRef};

/// Values for the parameters of a statement.
pub trait Params {
    /// Gives each value, in order.
    fn each(self, to: &mut dyn FnMut(ValueRef<'_>));
}

macro_rules! arrays {
    ($($length:literal),*) => {$(
        impl<T: ToSql> Params for [T; $length] {
            fn each(self, to: &mut dyn FnMut(ValueRef<'_>)) {
                self.iter().for_each(|value| to(value.to_sql()));
            }
        }
    )*};
}
arrays!(1, 2, 3, 4);

/// The only empty array, so that `[]` needs no type.
impl Params for [&dyn ToSql; 0] {
    fn each(self, _to: &mut dyn FnMut(ValueRef<'_>)) {}
}

impl Params for &[&dyn ToSql] {
    fn each(self, to: &mut dyn FnMut(ValueRef<'_>)) {
        self.iter().for_each(|value| to(value.to_sql()));
    }
}

macro_rules! tuples {
    ($($name:ident),+) => {
        impl<$($name: ToSql),+> Params for ($($name,)+) {
            fn each(self, to: &mut dyn FnMut(ValueRef<'_>)) {
                #[allow(non_snake_case)]
                let ($($name,)+) = &self;
                $(to($name.to_sql());)+
            }
        }
    };
}
tuples!(A, B);
tuples!(A, B, C);
tuples!(A, B, C, D);
tuples!(A, B, C, D, E);
tuples!(A, B, C, D, E, F);

/// Values of many types as [`Params`].
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &dyn $crate::sql::ToSql),*] as &[&dyn $crate::sql::ToSql]
    };
}
pub(crate) use params;

/// Values whose number is known when they are there.
pub struct Many<I>(I);

/// The values of an iterator.
pub fn params_from_iter<I: IntoIterator<Item: ToSql>>(values: I) -> Many<I> {
    Many(values)
}

impl<I: IntoIterator<Item: ToSql>> Params for Many<I> {
    fn each(self, to: &mut dyn FnMut(ValueRef<'_>)) {
        self.0.into_iter().for_each(|value| to(value.to_sql()));
    }
}
