//! PostgreSQL as the rows use it.
//!
//! Settings are given with each transaction, in the message that begins it: a pooler between may give every transaction
//! another connection.
//!
//! Invariants: `PGS-1`, `PGS-2`; a statement that is wrong, or a row that breaks a rule of the schema, stops the node like a
//! failing disk, because trying again would not help; all else is taken for a server that may come back.
//!
//! Not here: what is done when it has come back (`rows::write::writer`).

use std::{path::Path, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use runtime::disk::DiskRef;
use tokio::runtime::Handle;

use super::{
    Graph, PostgresConfig, graph,
    schema::{self, Unfit},
    servers::Servers,
};
use crate::{
    answer::Finding,
    rows::{
        counters::Counters,
        daemon::Daemon,
        engine::{Engine, Role, Survival},
        fault::SqlFault,
        row::unsigned,
        write::{head::Head, vocabulary::Vocabulary},
    },
    sql::{
        self, Connection,
        session::{Session, Settings},
    },
};

/// What a statement may take beyond the server's own limit, until the server is taken for lost.
const GRACE: Duration = Duration::from_secs(5);

/// How often it is looked for what others have written.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A database on a server.
pub(crate) struct PostgresEngine {
    runtime: Handle,
    servers: Servers,
    settings: Arc<Settings>,
    disk: DiskRef,
    daemon: Option<Daemon>,
    has_peers: bool,
}

impl PostgresEngine {
    /// Reaches no server yet. To be called within the runtime that drives its connections.
    ///
    /// # Errors
    /// What is wrong with the URL, in words.
    pub(crate) fn new(config: &PostgresConfig, disk: DiskRef) -> Result<Self, String> {
        let servers = Servers::new(config)?;
        let settings = Arc::new(settings(config));
        Ok(Self {
            runtime: Handle::current(),
            servers,
            settings,
            disk,
            daemon: None,
            has_peers: false,
        })
    }

    /// Has one connection made, and says why if that cannot be: a pool only says that there was none in time.
    pub(crate) fn reach(&self) -> Result<(), Unfit> {
        self.servers.seek()
    }

    /// Where the database is, without the password.
    pub(crate) fn place(&self) -> String {
        self.servers.place()
    }

    /// The same, for a daemon that has been started.
    pub(crate) fn of(self, daemon: Daemon, has_peers: bool) -> Self {
        Self { daemon: Some(daemon), has_peers, ..self }
    }
}

impl PostgresEngine {
    /// The database has lost what was acknowledged: a standby was promoted that did not have it yet.
    fn went_back(&self, last: u64, head: &Head) {
        let had = head.position;
        if self.has_peers {
            // They know what this node had said, and it must not say another thing under the same number.
            runtime::fatal::stop_node(&format!(
                "the database went back from position {had} to {last}; started again, this node asks its peers what it had said"
            ));
        }
        tracing::error!(
            had,
            last,
            "the database went back: what was written between is lost; replicate synchronously"
        );
    }
}

fn settings(config: &PostgresConfig) -> Settings {
    let (statement, lock) = (config.statement_timeout.as_millis(), config.lock_timeout.as_millis());
    let limits = format!(
        "SET LOCAL statement_timeout = {statement}; SET LOCAL lock_timeout = {lock}; \
         SET LOCAL idle_in_transaction_session_timeout = {};",
        4 * statement
    );
    Settings {
        begin: format!("BEGIN; {limits} SELECT pg_advisory_xact_lock({LOCK}, {GROUPS})").into(),
        begin_reading: format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; {limits} \
             SET LOCAL hnsw.ef_search = {}; SET LOCAL hnsw.iterative_scan = strict_order",
            config.hnsw_ef_search
        )
        .into(),
        limit: config.statement_timeout + GRACE,
        graph: Mutex::new(Graph::Layers),
        texts: RwLock::default(),
    }
}

/// First key of the locks that are the project's: the first four letters of its name.
pub(super) const LOCK: i32 = 1_751_742_053;
/// Second key of the lock that a group holds.
const GROUPS: i32 = 1;
/// Second key of the lock that a migration holds.
pub(super) const MIGRATION: i32 = 2;

impl Engine for PostgresEngine {
    fn open(&self, role: Role) -> sql::Result<Connection> {
        if role == Role::Writer {
            // The one that failed may have become a standby.
            self.servers.seek().map_err(|unfit| match unfit {
                Unfit::Fault(SqlFault::Sql(error)) => error,
                other => sql::Error::Away { problem: other.to_string() },
            })?;
        }
        let connection = self.servers.acquire()?;
        let session = Session::new(self.runtime.clone(), connection, self.settings.clone());
        Ok(Connection::postgres(session))
    }

    fn open_copy(&self, position: u64) -> Option<Connection> {
        let connection = self.servers.acquire_copy(position)?;
        let session = Session::new(self.runtime.clone(), connection, self.settings.clone());
        Some(Connection::postgres(session))
    }

    fn disk(&self) -> DiskRef {
        self.disk.clone()
    }

    fn is_pooled(&self) -> bool {
        true
    }

    fn follows_every(&self) -> Option<Duration> {
        Some(LOOK_EVERY)
    }

    fn is_short_of_space(&self, _reserve_bytes: u64) -> bool {
        // The server says so when it is.
        false
    }

    fn catch_up(
        &self,
        writer: &Connection,
        words: &mut Vocabulary,
        head: &mut Head,
    ) -> Result<(), SqlFault> {
        let Some(daemon) = &self.daemon else { return Ok(()) };
        let (boots, last): (i64, i64) = writer.query_row(
            "SELECT boots, (SELECT coalesce(max(sequence), 0) FROM signed_events) FROM daemons WHERE id = ?1",
            [daemon.number],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        if unsigned(boots) != daemon.boots {
            // Whatever it wrote would fork the chain.
            runtime::fatal::stop_node(&format!(
                "node {} was started elsewhere with the same identity; this one ends",
                daemon.node
            ));
        }
        if unsigned(last) < head.position {
            self.went_back(unsigned(last), head);
        }
        if unsigned(last) != head.position {
            words.catch_up(writer)?;
            head.catch_up(writer, daemon)?;
        }
        Ok(())
    }

    fn survival(&self, fault: &SqlFault) -> Survival {
        match fault {
            full if full.is_full() => Survival::NoRoom,
            SqlFault::Sql(error) if error.is_away() => Survival::Away,
            _ => Survival::Nothing,
        }
    }

    fn tend(&self, _writer: &Connection, _counters: &Counters) -> Result<(), SqlFault> {
        Ok(())
    }

    fn settle(&self, _writer: &Connection, _counters: &Counters) -> Result<(), SqlFault> {
        Ok(())
    }

    fn bytes(&self, reader: &Connection) -> Result<u64, SqlFault> {
        let text = "SELECT pg_database_size(current_database())";
        Ok(reader.query_row(text, [], |row| row.get(0)).map(unsigned)?)
    }

    fn structure(&self, reader: &Connection) -> Result<Vec<Finding>, SqlFault> {
        let mut findings = schema::check(reader)?;
        findings.extend(graph::check(reader)?);
        Ok(findings)
    }

    fn backup(&self, _reader: &Connection, _folder: &Path, _now_ms: u64) -> Result<(), String> {
        Err("the store is in PostgreSQL; make a copy of the database with pg_dump or pg_basebackup"
            .to_owned())
    }
}
