//! PostgreSQL below the rows: one database for several nodes, on another machine.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | settings |
//! | [`engine`] | what the rows ask for: connections, transactions one after the other, coming back after a loss |
//! | [`schema`] | tables and migrations, and what the server must have |
//! | [`store`] | what happens before the first request |
//! | [`recall`], [`words`] | searching by words and vectors in the database |
//!
//! Invariants: `PGS-1` groups of all nodes are committed one after the other, and each begins with what the others have
//! written; `PGS-2` a chain has one writer: a node that was started again elsewhere ends the writing of the one before;
//! `PGS-3` a commit whose answer was lost is looked up when the server can be reached, and is told as unknown otherwise;
//! `PGS-4` a schema of a newer build is refused before anything is changed.
//!
//! Not here: the rows (`rows`), and the simulator, which has no such server.

pub mod config;
pub(crate) mod engine;
pub(crate) mod recall;
pub(crate) mod schema;
pub(crate) mod store;
#[cfg(test)]
mod tests;
pub(crate) mod words;

pub use config::PostgresConfig;
pub use store::open_store;
