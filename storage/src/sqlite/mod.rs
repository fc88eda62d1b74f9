//! SQLite below the rows: a file in WAL mode, for one machine.
//!
//! | module | what |
//! |---|---|
//! | [`store`], [`open`], [`schema`] | what happens before the first request, tables and migrations |
//! | [`engine`], [`connection`], [`checkpoint`] | what the rows ask for: connections, on which disk, with which settings; upkeep |
//! | [`backup`] | consistent copies, verified before they are installed |
//! | `vfs` | SQLite on the disk that fails on purpose; for tests and the simulator |
//!
//! Invariants: `SQL-2` an I/O error anywhere stops the node without closing a connection; `SQL-3` checkpoints are the
//! writer's own and their result is read to the end; `SQL-4` the write-ahead log is a freshly synced file before SQLite opens
//! it.
//!
//! Sources: the behaviour of SQLite 3.51 on failing disks was measured with a fault-injecting VFS;
//! see also Rebello et al., "Can Applications Recover from fsync Failures?" (2020).
//!
//! Not here: the rows (`rows`).

pub mod backup;
pub(crate) mod checkpoint;
pub(crate) mod connection;
pub(crate) mod engine;
pub(crate) mod open;
pub mod schema;
pub(crate) mod store;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(any(test, feature = "faulty-disk"))]
pub mod vfs;

pub(crate) use open::DATABASE_FILE;
pub use store::open_store;
