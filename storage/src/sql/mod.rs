//! SQL as the rows speak it, whichever database is below.
//!
//! One text serves both databases. It is written as SQLite reads it, without what PostgreSQL has no word for; `dialect`
//! puts the rest into PostgreSQL's words. What only one of them can do (copies, checkpoints, locks of others) stays with it.
//!
//! | module | what |
//! |---|---|
//! | [`batch`] | rows that are inserted together |
//! | [`connection`] | a connection, its statements and their rows |
//! | `session`, `dialect` | what of it is PostgreSQL's |
//! | [`value`] | values, how Rust's types become them and come back |
//! | [`params`] | what a statement is given |
//! | [`error`] | why a statement failed, as far as callers must know |
//!
//! Invariants: `SQL-5` a statement is given exactly as many parameters as it names, so one that lacks the reader's sight
//! fails and never answers more; `SQL-6` values are 64-bit integers, texts and bytes: no floats, no dates.
//!
//! Not here: which statements there are (`rows`).

pub(crate) mod batch;
pub(crate) mod connection;
#[cfg(not(madsim))]
pub(crate) mod dialect;
pub(crate) mod error;
pub(crate) mod params;
#[cfg(not(madsim))]
pub(crate) mod session;
pub(crate) mod value;

pub(crate) use batch::Batch;
pub(crate) use connection::{Connection, Row, Statement};
pub(crate) use error::{Error, OptionalExtension, Result};
pub(crate) use params::{Params, params, params_from_iter};
pub(crate) use value::{FromSql, ToSql, Value, ValueRef};
