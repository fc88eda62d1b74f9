//! The store of one machine: a SQLite file in WAL mode, one writer, many readers.
//!
//! | module | what |
//! |---|---|
//! | [`store`], [`open`], [`config`] | the port, what happens before the first request, settings |
//! | [`write`] | the writer: groups, rules, audit rows |
//! | [`indexes`] | the recall indexes as the writer feeds them |
//! | [`schema`] | tables and migrations |
//! | [`row`] | columns against records and views |
//! | [`connection`] | how a connection is opened, on which disk, with which settings |
//! | [`pool`] | bounded set of read-only connections |
//! | [`read`] | everything a reader can ask |
//! | [`verify`], [`check`], [`digest`] | the audit chain, the rows, one number for all content |
//! | [`backup`] | consistent copies, verified before they are installed |
//! | [`fault`] | what an error of SQLite means for the node |
//! | `vfs` | SQLite on the disk that fails on purpose; for tests and the simulator |
//!
//! Invariants: `SQL-1` one connection writes, and only the writer's thread uses it; `SQL-2` an I/O
//! error anywhere stops the node without closing a connection; `SQL-3` checkpoints are the writer's
//! own and their result is read to the end; `SQL-4` the write-ahead log is a freshly synced file
//! before SQLite opens it.
//!
//! Sources: the behaviour of SQLite 3.51 on failing disks was measured with a fault-injecting VFS;
//! see also Rebello et al., "Can Applications Recover from fsync Failures?" (2020).
//!
//! Not here: what a request means to a client, other nodes, and the recall indexes themselves.

pub mod backup;
pub(crate) mod check;
pub(crate) mod checkpoint;
pub mod config;
pub(crate) mod connection;
pub(crate) mod counters;
pub(crate) mod digest;
pub(crate) mod fault;
pub(crate) mod indexes;
pub(crate) mod open;
pub mod pool;
pub(crate) mod read;
pub mod row;
pub mod schema;
pub mod store;
#[cfg(test)]
mod tests;
pub(crate) mod vectors;
pub(crate) mod verify;
#[cfg(any(test, feature = "faulty-disk"))]
pub mod vfs;
pub(crate) mod write;

pub use config::StoreConfig;
pub use open::hold;
pub use store::SqliteStore;
