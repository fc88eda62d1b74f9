//! What the owner of a PostgreSQL database decides about it.
//!
//! Invariant: every wait has an end.
//!
//! Not here: what every store has (`rows::config`).

use std::{fmt, time::Duration};

/// How links are followed in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Graph {
    /// One layer after the other, each by two statements.
    Layers,
    /// By one recursive statement.
    Recursive,
    /// By Apache AGE, where it is installed.
    Age,
}

/// How a database is reached and used.
#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=…`.
    pub url: String,
    /// Connections that are kept open, at least.
    pub connections_min: u32,
    /// Connections at most, the writer's included; at least 2.
    pub connections_max: u32,
    /// Longest wait for a connection.
    pub acquire_timeout: Duration,
    /// Longest time for one statement.
    pub statement_timeout: Duration,
    /// Longest wait for a lock.
    pub lock_timeout: Duration,
    /// Neighbours of each vector in the index of vectors (`m` of HNSW), 2 to 100.
    pub hnsw_m: u32,
    /// Candidates for neighbours when a vector is added (`ef_construction`), at least twice `m`.
    pub hnsw_ef_construction: u32,
    /// Candidates when vectors are searched (`ef_search`), 1 to 1000.
    pub hnsw_ef_search: u32,
    /// Most memory asked of the server while the index of all vectors is made, MiB.
    pub index_memory_mib: u32,
    /// Memories up to which a search compares all vectors that pass its filter.
    pub exact_rows_max: u32,
    /// Standbys that reads may go to, `host:port`, the nearest first; all else is as in the URL.
    pub replicas: Vec<String>,
    /// How links are followed; `None`: by AGE where it is installed, else by a recursive statement.
    pub graph: Option<Graph>,
}

impl PostgresConfig {
    /// The defaults, for this database.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections_min: 1,
            connections_max: 10,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
            hnsw_m: 16,
            hnsw_ef_construction: 64,
            hnsw_ef_search: 100,
            index_memory_mib: 2048,
            exact_rows_max: 5_000,
            replicas: Vec::new(),
            graph: None,
        }
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address has a password in it.
        f.debug_struct("PostgresConfig")
            .field("connections_max", &self.connections_max)
            .field("statement_timeout", &self.statement_timeout)
            .finish_non_exhaustive()
    }
}
