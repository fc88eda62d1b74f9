//! The servers that a URL names, and connections to the one of them that takes writes.
//!
//! A URL may name several, `postgres://name:password@one:5432,two:5432/database`, as libpq has it: a primary and those that
//! may be promoted in its place.
//!
//! Invariants: `SRV-1` all connections that are given out lead to one server, which was no standby when it was chosen; another
//! one is chosen only when no connection to it was to be had, or it has become a standby, and no connection from before is given
//! out then; `SRV-2` of many that look for a
//! server at once one does, and the others take what it has found; `SRV-3` reads go to a copy only if it has everything that
//! this node knows of, so nobody misses what was acknowledged.
//!
//! Not here: promoting a standby, and keeping a former primary from coming back as one: that is for whoever runs them.

use std::{
    str::FromStr,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use runtime::clock::Instant;
use sqlx::{
    ConnectOptions as _, Connection as _, PgPool, Postgres, Row as _,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::runtime::Handle;

use super::{PostgresConfig, schema::Unfit};
use crate::{
    rows::row::unsigned,
    sql::{self, session::within},
};

/// How long a connection may have been idle and still be used without asking whether it lives.
const FRESH: Duration = Duration::from_secs(1);
/// How long a copy may take to say how far it is.
const COPY_PATIENCE: Duration = Duration::from_millis(250);
/// How long one that did not say so is left alone.
const COPY_REST: Duration = Duration::from_secs(5);
/// Statements that are kept prepared on each connection.
const STATEMENTS: usize = 256;

/// Where a database may be.
pub(super) struct Servers {
    runtime: Handle,
    all: Vec<PgConnectOptions>,
    pools: PgPoolOptions,
    timeout: Duration,
    /// Connections to the one that was chosen.
    pool: RwLock<PgPool>,
    chosen: AtomicUsize,
    /// Standbys that reads may go to, the nearest first.
    copies: Vec<Copy>,
    /// Held by who looks for one.
    seeking: Mutex<()>,
    /// How often one was found.
    found: AtomicU64,
}

impl Servers {
    /// Reaches none yet. To be called within the runtime that drives the connections.
    ///
    /// # Errors
    /// What is wrong with the URL, in words.
    pub(super) fn new(config: &PostgresConfig) -> Result<Self, String> {
        let all = parse(&config.url, None)?;
        let first = all.first().cloned().ok_or("names no server")?;
        let pools = PgPoolOptions::new()
            .min_connections(config.connections_min)
            .max_connections(config.connections_max.max(2))
            .acquire_timeout(config.acquire_timeout)
            .test_before_acquire(false)
            .before_acquire(|connection, told| {
                Box::pin(
                    async move { Ok(told.idle_for < FRESH || connection.ping().await.is_ok()) },
                )
            });
        let copies = config.replicas.iter().map(|host| {
            let options = parse(&config.url, Some(host))?.into_iter().next();
            let options = options.ok_or_else(|| format!("{host:?} is no host:port"))?;
            let place = format!("{}:{}", options.get_host(), options.get_port());
            let pool = pools.clone().min_connections(0).connect_lazy_with(options);
            Ok(Copy { place, pool, rests_until: Mutex::new(None) })
        });
        let copies = copies.collect::<Result<_, String>>()?;
        Ok(Self {
            runtime: Handle::current(),
            copies,
            pool: RwLock::new(pools.clone().connect_lazy_with(first)),
            all,
            pools,
            timeout: config.acquire_timeout,
            chosen: AtomicUsize::new(0),
            seeking: Mutex::new(()),
            found: AtomicU64::new(0),
        })
    }

    /// Where they are, without the password.
    pub(super) fn place(&self) -> String {
        let hosts = self.all.iter().map(|o| format!("{}:{}", o.get_host(), o.get_port()));
        let database = self.all.first().and_then(|options| options.get_database());
        let hosts: Vec<String> = hosts.collect();
        format!("{}/{}", hosts.join(","), database.unwrap_or("its default database"))
    }

    /// Chooses one that is reached and is no standby, the last one first. Blocks.
    ///
    /// # Errors
    /// [`Unfit::Away`] with what each of them said.
    pub(super) fn seek(&self) -> Result<(), Unfit> {
        let before = self.found.load(Ordering::Acquire);
        let _alone = self.seeking.lock();
        if self.found.load(Ordering::Acquire) != before {
            return Ok(());
        }
        let first = self.chosen.load(Ordering::Acquire);
        let mut problems = Vec::new();
        for turn in 0..self.all.len() {
            let at = (first + turn) % self.all.len();
            let Some(options) = self.all.get(at) else { continue };
            match self.runtime.block_on(within(self.timeout, is_standby(options))) {
                Some(Ok(false)) => {
                    self.choose(at, options);
                    return Ok(());
                }
                Some(Ok(true)) => problems.push(format!("{} is a standby", options.get_host())),
                Some(Err(error)) => problems.push(error.to_string()),
                None => problems.push(format!("no answer in {} ms", self.timeout.as_millis())),
            }
        }
        Err(Unfit::Away { problem: problems.join("; ") })
    }

    fn choose(&self, at: usize, options: &PgConnectOptions) {
        if self.chosen.swap(at, Ordering::AcqRel) != at {
            tracing::warn!(host = options.get_host(), port = options.get_port(), "another server");
        }
        // Whoever looks for a server has lost one: what else leads there may be as dead.
        let _within = self.runtime.enter();
        let next = self.pools.clone().connect_lazy_with(options.clone());
        let former = std::mem::replace(&mut *self.pool.write(), next);
        drop(self.runtime.spawn(async move { former.close().await }));
        self.found.fetch_add(1, Ordering::AcqRel);
    }

    /// A connection. Blocks for the configured time at most, and as long again when another server must be found.
    ///
    /// # Errors
    /// When there is none to be had.
    pub(super) fn acquire(&self) -> sql::Result<PoolConnection<Postgres>> {
        match self.acquire_here() {
            Err(error) if error.is_gone() && self.seek().is_ok() => self.acquire_here(),
            done => done,
        }
    }

    /// A connection to the nearest copy that has everything up to a position. A copy that does not answer is left alone for a while;
    /// one that is behind is asked again the next time.
    pub(super) fn acquire_copy(&self, position: u64) -> Option<PoolConnection<Postgres>> {
        self.copies.iter().filter(|copy| !copy.rests()).find_map(|copy| {
            let has = async {
                let mut connection = copy.pool.acquire().await?;
                let text = "SELECT coalesce(max(sequence), 0) FROM signed_events";
                let row = sqlx::query(text).fetch_one(&mut *connection).await?;
                Ok::<_, sqlx::Error>((connection, row.try_get::<i64, _>(0)?))
            };
            match self.runtime.block_on(within(COPY_PATIENCE, has)) {
                Some(Ok((connection, last))) => (unsigned(last) >= position).then_some(connection),
                failed => {
                    let problem = failed.and_then(Result::err).map(|error| error.to_string());
                    copy.rest(problem.as_deref().unwrap_or("no answer"));
                    None
                }
            }
        })
    }

    fn acquire_here(&self) -> sql::Result<PoolConnection<Postgres>> {
        let pool = self.pool.read().clone();
        self.runtime.block_on(pool.acquire()).map_err(|error| match error {
            sqlx::Error::PoolTimedOut if pool.size() >= pool.options().get_max_connections() => {
                sql::Error::Exhausted { connections: pool.size() }
            }
            error => sql::Error::Postgres(error),
        })
    }
}

/// A standby that reads may go to.
struct Copy {
    place: String,
    pool: PgPool,
    rests_until: Mutex<Option<Instant>>,
}

impl Copy {
    fn rests(&self) -> bool {
        self.rests_until.lock().is_some_and(|until| Instant::now() < until)
    }

    fn rest(&self, problem: &str) {
        tracing::warn!(place = self.place, problem, "reads go elsewhere for a while");
        *self.rests_until.lock() = Some(Instant::now() + COPY_REST);
    }
}

async fn is_standby(options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    let mut connection = options.connect().await?;
    let row = sqlx::query("SELECT pg_is_in_recovery()").fetch_one(&mut connection).await?;
    connection.close().await?;
    row.try_get(0)
}

/// The options that a URL stands for, one for each host; with another host instead if one is given.
fn parse(url: &str, other: Option<&str>) -> Result<Vec<PgConnectOptions>, String> {
    // The library takes any scheme for its own.
    let scheme = ["postgres://", "postgresql://"].into_iter().find(|s| url.starts_with(s));
    let Some(scheme) = scheme else { return Err("must begin with postgres://".to_owned()) };
    let after = &url[scheme.len()..];
    let end = after.find(['/', '?']).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    let (who, hosts) = match authority.rfind('@') {
        Some(at) => authority.split_at(at + 1),
        None => ("", authority),
    };
    let one = |host: &str| {
        let options = PgConnectOptions::from_str(&format!("{scheme}{who}{host}{rest}"))
            .map_err(|error| error.to_string())?;
        Ok(options
            .application_name("hivemem")
            .statement_cache_capacity(STATEMENTS)
            .disable_statement_logging())
    };
    other.unwrap_or(hosts).split(',').map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_one_server_or_several() {
        let of = |url: &str| {
            let all = parse(url, None)?;
            let told = all.iter().map(|o| {
                let database = o.get_database().unwrap_or_default();
                format!("{}@{}:{}/{database}", o.get_username(), o.get_host(), o.get_port())
            });
            Ok::<_, String>(told.collect::<Vec<_>>())
        };
        assert_eq!(of("postgres://a:b@one:1/x?sslmode=disable").unwrap(), ["a@one:1/x"]);
        let several = of("postgresql://a:b%40c@one:1,two:2,three/x").unwrap();
        assert_eq!(several, ["a@one:1/x", "a@two:2/x", "a@three:5432/x"]);
        assert!(of("mysql://a@b/c").unwrap_err().contains("postgres://"));
        assert!(of("postgres://a:b@one:port/x").is_err());
    }
}
