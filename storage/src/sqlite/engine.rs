//! SQLite as the rows use it.
//!
//! Invariants: `SQL-3` a checkpoint's result is read to the end, and its failure, but for a full disk, stops the node.
//!
//! Not here: opening a store (`open`).

use std::path::{Path, PathBuf};

use runtime::disk::DiskRef;

use super::{backup, checkpoint, connection, schema};
use crate::{
    answer::Finding,
    rows::{
        StoreConfig,
        check::FIX,
        counters::Counters,
        engine::{Engine, Role, Survival},
        fault::SqlFault,
        row::unsigned,
    },
    sql::{self, Connection},
};

/// A database file.
pub(crate) struct SqliteEngine {
    disk: DiskRef,
    path: PathBuf,
    read_cache_kib: u32,
    write_cache_kib: u32,
    checkpoint_pages: u32,
}

impl SqliteEngine {
    /// The file at `path`, which has been opened before.
    pub(crate) fn new(disk: DiskRef, path: PathBuf, config: &StoreConfig) -> Self {
        let StoreConfig { read_cache_kib, write_cache_kib, checkpoint_pages, .. } = *config;
        Self { disk, path, read_cache_kib, write_cache_kib, checkpoint_pages }
    }

    fn checkpoint(
        &self,
        writer: &Connection,
        counters: &Counters,
        extent: checkpoint::Extent,
    ) -> Result<(), SqlFault> {
        match checkpoint::run(writer.as_sqlite()?, extent) {
            Ok(left) => {
                counters.checkpointed(left);
                Ok(())
            }
            Err(error) => {
                let fault = SqlFault::Sql(error.into());
                if !fault.is_full() {
                    runtime::fatal::stop_node(&format!("a checkpoint failed: {fault}"));
                }
                Err(fault)
            }
        }
    }
}

impl Engine for SqliteEngine {
    fn open(&self, role: Role) -> sql::Result<Connection> {
        let vfs = self.disk.sqlite_vfs();
        let cache_kib = match role {
            Role::Writer => self.write_cache_kib,
            Role::Reader => self.read_cache_kib,
        };
        Ok(connection::open(&self.path, vfs.as_deref(), role, cache_kib)?)
    }

    fn disk(&self) -> DiskRef {
        self.disk.clone()
    }

    fn is_short_of_space(&self, reserve_bytes: u64) -> bool {
        let folder = self.path.parent().unwrap_or(&self.path);
        match self.disk.free_bytes(folder) {
            Ok(free_bytes) => free_bytes < reserve_bytes,
            // The commit itself will say.
            Err(_) => false,
        }
    }

    fn survival(&self, fault: &SqlFault) -> Survival {
        if fault.is_full() { Survival::NoRoom } else { Survival::Nothing }
    }

    fn tend(&self, writer: &Connection, counters: &Counters) -> Result<(), SqlFault> {
        counters.wrote_pages(checkpoint::pages_written(writer.as_sqlite()?));
        if counters.wal_pages() < u64::from(self.checkpoint_pages) {
            return Ok(());
        }
        self.checkpoint(writer, counters, checkpoint::Extent::WhatIsFree)
    }

    fn settle(&self, writer: &Connection, counters: &Counters) -> Result<(), SqlFault> {
        self.checkpoint(writer, counters, checkpoint::Extent::Everything)
    }

    fn bytes(&self, reader: &Connection) -> Result<u64, SqlFault> {
        let count = |text| reader.query_row(text, [], |row| row.get(0)).map(unsigned);
        Ok(count("PRAGMA page_count")? * count("PRAGMA page_size")?)
    }

    fn structure(&self, reader: &Connection) -> Result<Vec<Finding>, SqlFault> {
        structure(reader)
    }

    fn backup(&self, reader: &Connection, folder: &Path, now_ms: u64) -> Result<(), String> {
        let written = backup::write_backup(reader, self.disk.as_ref(), folder, now_ms);
        written.map(drop).map_err(|error| error.to_string())
    }
}

/// Structure of the file.
pub(crate) fn structure(connection: &Connection) -> Result<Vec<Finding>, SqlFault> {
    let mut findings = Vec::new();
    let mut statement = connection.prepare_cached("PRAGMA integrity_check")?;
    let mut rows = statement.query([])?;
    while let Some(found) = rows.next()? {
        let text: String = found.get(0)?;
        if text != "ok" {
            findings.push(Finding { check: "integrity", problem: format!("{text}; {FIX}") });
        }
    }
    let version = schema::version(connection)?;
    if version != schema::VERSION {
        let problem = format!(
            "schema {version} instead of {}; open the store once with this build",
            schema::VERSION
        );
        findings.push(Finding { check: "schema", problem });
    }
    Ok(findings)
}
