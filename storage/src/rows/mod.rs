//! The rows that a store keeps, in whichever database: what is written, what readers may ask, what is checked.
//!
//! | module | what |
//! |---|---|
//! | [`store`], [`config`] | the port, settings |
//! | [`engine`] | what the rows ask of the database beside statements |
//! | [`daemon`] | the node whose rows these are |
//! | [`write`] | the writer: groups, rules, audit rows |
//! | [`recall`], [`indexes`] | where recall looks; the recall indexes as the writer feeds them |
//! | [`moves`], [`follow`] | who is told when something changes; what other nodes write to the same database |
//! | [`settle`] | moving into an index what was kept without it |
//! | [`row`] | columns against records and views |
//! | [`pool`] | bounded set of read-only connections |
//! | [`read`] | everything a reader can ask |
//! | [`verify`], [`check`], [`digest`] | the audit chain, the rows, one number for all content |
//! | [`fault`] | what an error of the database means for the node |
//!
//! Invariants: `SQL-1` one connection of a node writes, and only the writer's thread uses it; those of `write` and `read`.
//!
//! Not here: opening, settings and the files of a database (`sqlite`), and the recall indexes themselves (`index`).

pub(crate) mod check;
pub mod config;
pub(crate) mod counters;
pub(crate) mod daemon;
pub(crate) mod digest;
pub(crate) mod engine;
pub(crate) mod fault;
pub(crate) mod follow;
pub(crate) mod indexes;
pub(crate) mod moves;
pub mod pool;
pub(crate) mod read;
pub(crate) mod recall;
pub mod row;
pub(crate) mod settle;
pub mod store;
pub(crate) mod vectors;
pub(crate) mod verify;
pub(crate) mod work;
pub(crate) mod write;

pub use config::StoreConfig;
pub use store::RowStore;
