//! PostgreSQL below the rows: one database for several nodes, on another machine.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | settings |
//! | `absent` | what stands for all of it in the simulator |
//! | [`engine`] | what the rows ask for: connections, transactions one after the other, coming back after a loss |
//! | [`servers`] | which server, when a URL names several |
//! | [`schema`] | tables and migrations, and what the server must have |
//! | [`store`] | what happens before the first request |
//! | [`graph`] | AGE's graph beside the tables |
//! | [`recall`], `passing`, `ranking`, `counts`, [`words`], [`unindexed`] | searching by words and vectors in the database |
//!
//! Invariants: `PGS-1` groups of all nodes are committed one after the other, and each begins with what the others have
//! written; `PGS-2` a chain has one writer: a node that was started again elsewhere ends the writing of the one before;
//! `PGS-3` a commit whose answer was lost is looked up when the server can be reached, and is told as unknown otherwise;
//! `PGS-4` a schema of a newer build is refused before anything is changed.
//!
//! Not here: the rows (`rows`), and the simulator, which has no such server.

#[cfg(madsim)]
mod absent;
mod config;
#[cfg(not(madsim))]
mod counts;
#[cfg(not(madsim))]
pub(crate) mod engine;
#[cfg(not(madsim))]
pub(crate) mod graph;
#[cfg(not(madsim))]
mod passing;
#[cfg(not(madsim))]
mod ranking;
#[cfg(not(madsim))]
pub(crate) mod recall;
#[cfg(not(madsim))]
pub(crate) mod schema;
#[cfg(not(madsim))]
mod servers;
#[cfg(not(madsim))]
pub(crate) mod store;
#[cfg(test)]
mod tests;
#[cfg(not(madsim))]
pub(crate) mod unindexed;
#[cfg(not(madsim))]
pub(crate) mod words;

#[cfg(madsim)]
pub use absent::{init, open_store};
pub use config::{Graph, PostgresConfig};
#[cfg(not(madsim))]
pub use store::{init, open_store};

/// What a database had and has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initialised {
    /// Where it is, without the password.
    pub place: String,
    /// The schema that was found; 0 for none.
    pub found: i64,
    /// The schema that is there now.
    pub version: i64,
    /// Version of the server, and of its extensions that are used.
    pub server: Vec<(String, String)>,
}
