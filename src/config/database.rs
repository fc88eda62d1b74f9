//! The settings of a store whose rows are in a database on a server.
//!
//! Invariant: the address has a password in it, so it is not shown, and it is read from a file only its owner can read
//! where it is not given directly.
//!
//! Not here: what the settings do (`storage::postgres`).

use std::{fmt, path::PathBuf, time::Duration};

use storage::postgres::Graph;

use super::{
    layers::{ConfigError, Layers},
    settings::Reader,
};

/// A database.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// Its address.
    pub url: DatabaseUrl,
    /// Connections that are kept open, at least.
    pub pool_min: u32,
    /// Connections at most.
    pub pool_max: u32,
    /// Longest wait for one.
    pub acquire_timeout: Duration,
    /// Longest time for a statement.
    pub statement_timeout: Duration,
    /// Longest wait for a lock.
    pub lock_timeout: Duration,
    /// Neighbours of each vector in its index.
    pub hnsw_m: u32,
    /// Candidates for neighbours when a vector is added.
    pub hnsw_ef_construction: u32,
    /// Candidates when vectors are searched.
    pub hnsw_ef_search: u32,
    /// Most memory asked of the server while that index is made, MiB.
    pub index_memory_mib: u32,
    /// Standbys that reads may go to, `host:port`, the nearest first.
    pub replicas: Vec<String>,
    /// How links are followed; `None` is by what is there.
    pub graph: Option<Graph>,
    /// Memories up to which all vectors that pass a filter are compared.
    pub exact_rows_max: u32,
}

/// Where the address of a database is written.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// In the configuration.
    Here(String),
    /// In a file.
    File(PathBuf),
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig").field("pool_max", &self.pool_max).finish_non_exhaustive()
    }
}

pub(super) fn read(
    layers: &Layers,
    reader: &Reader<'_>,
) -> Result<Option<DatabaseConfig>, ConfigError> {
    let (here, file) = (
        reader.optional("storage.url", |text| match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => Ok(text.to_owned()),
            // What it is instead may have a password in it.
            _ => Err("is no postgres://user:password@host:port/database".to_owned()),
        })?,
        reader.path("storage.url_file")?,
    );
    let refused = |key: &'static str, problem: &str| {
        let problem = problem.to_owned();
        Err(ConfigError::Value { origin: layers.get(key).1, key, problem })
    };
    let url = match (here, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return refused("storage.url_file", "is given beside storage.url"),
        (Some(url), None) => DatabaseUrl::Here(url),
        (None, Some(file)) => DatabaseUrl::File(file),
    };
    let number = |key, low, high| reader.count(key, low, high).map(|number| number as u32);
    let (pool_min, pool_max) =
        (number("storage.pool_min", 0, 1000)?, number("storage.pool_max", 2, 1000)?);
    if pool_min > pool_max {
        return refused("storage.pool_min", "is more than storage.pool_max");
    }
    let (hnsw_m, hnsw_ef_construction) =
        (number("storage.hnsw_m", 2, 100)?, number("storage.hnsw_ef_construction", 4, 1000)?);
    if hnsw_ef_construction < 2 * hnsw_m {
        return refused("storage.hnsw_ef_construction", "needs twice storage.hnsw_m at least");
    }
    Ok(Some(DatabaseConfig {
        url,
        pool_min,
        pool_max,
        acquire_timeout: reader.timeout("storage.acquire_timeout")?,
        statement_timeout: reader.timeout("storage.statement_timeout")?,
        lock_timeout: reader.timeout("storage.lock_timeout")?,
        hnsw_m,
        hnsw_ef_construction,
        hnsw_ef_search: number("storage.hnsw_ef_search", 1, 1000)?,
        index_memory_mib: number("storage.index_memory_mib", 64, 1 << 20)?,
        replicas: reader.parse("storage.replicas", |text| {
            let all = text.split(',').map(str::trim).filter(|host| !host.is_empty());
            all.map(|host| match host.rsplit_once(':') {
                Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() => {
                    Ok(host.to_owned())
                }
                _ => Err(format!("{host:?} is no host:port")),
            })
            .collect()
        })?,
        graph: reader.parse("storage.graph", |text| match text {
            "auto" => Ok(None),
            "age" => Ok(Some(Graph::Age)),
            "recursive" => Ok(Some(Graph::Recursive)),
            "layers" => Ok(Some(Graph::Layers)),
            other => Err(format!("{other:?} is neither auto, age, recursive nor layers")),
        })?,
        exact_rows_max: number("storage.exact_rows", 0, 1 << 20)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Origin};
    use super::*;

    fn build(settings: &[(&str, &str)]) -> Result<Option<DatabaseConfig>, ConfigError> {
        let mut layers = Layers::default();
        for (key, value) in settings {
            layers.add(key, (*value).to_owned(), Origin::Flag).expect("a known key");
        }
        Config::build(&layers, "data".into()).map(|config| config.database)
    }

    const URL: (&str, &str) = ("storage.url", "postgres://a:secret@h/d");

    #[test]
    fn an_address_makes_a_database() {
        assert_eq!(build(&[]).expect("a file"), None);
        let with = build(&[URL]).expect("complete").expect("a database");
        assert_eq!((with.pool_min, with.pool_max, with.hnsw_m), (1, 10, 16));
        assert!(!format!("{with:?}").contains("secret"));
        let file = build(&[("storage.url_file", "u")]).expect("complete").expect("a database");
        assert!(file.url == DatabaseUrl::File("u".into()));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (key, value) in [
            ("storage.url_file", "u"),
            ("storage.pool_min", "11"),
            ("storage.pool_max", "1"),
            ("storage.hnsw_m", "64"),
            ("storage.lock_timeout", "never"),
            ("storage.graph", "neo4j"),
            ("storage.replicas", "db2"),
        ] {
            assert!(build(&[URL, (key, value)]).is_err(), "{key}");
        }
        let wrong = build(&[("storage.url", "mysql://a:secret@h/d")]).expect_err("another kind");
        assert!(!wrong.to_string().contains("secret"), "{wrong}");
    }
}
