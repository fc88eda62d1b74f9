//! What the rows ask of the database beside statements.
//!
//! Invariant: an engine decides how a connection is opened and what its database wants done between groups; it never
//! decides what rows mean.
//!
//! Not here: statements (`sql`).

use std::{path::Path, time::Duration};

use runtime::disk::DiskRef;

use super::{
    counters::Counters,
    fault::SqlFault,
    write::{head::Head, vocabulary::Vocabulary},
};
use crate::{
    answer::Finding,
    sql::{self, Connection},
};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The one writer.
    Writer,
    /// One of many readers.
    Reader,
}

/// What is left of a store when a group has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survival {
    /// Nothing that can be trusted: the node stops.
    Nothing,
    /// Everything but room: nothing of the group was kept.
    NoRoom,
    /// The database is elsewhere, and may come back.
    #[cfg_attr(madsim, allow(dead_code, reason = "the simulator has no server"))]
    Away,
}

/// A database.
pub(crate) trait Engine: Send + Sync {
    /// Another connection.
    fn open(&self, role: Role) -> sql::Result<Connection>;

    /// A connection for reading to a copy of the database that has everything up to a position, if there is one.
    fn open_copy(&self, _position: u64) -> Option<Connection> {
        None
    }

    /// The disk that the node stands on; blocking work belongs to it.
    fn disk(&self) -> DiskRef;

    /// Whether so little room is left that only what frees some is done.
    fn is_short_of_space(&self, reserve_bytes: u64) -> bool;

    /// Whether connections are kept by something else when they are not in use.
    fn is_pooled(&self) -> bool {
        false
    }

    /// How often to look whether others have written to the database; `None` when nobody else can.
    fn follows_every(&self) -> Option<Duration> {
        None
    }

    /// Takes note of what others have written to the database since, at the beginning of a transaction.
    fn catch_up(
        &self,
        _writer: &Connection,
        _words: &mut Vocabulary,
        _head: &mut Head,
    ) -> Result<(), SqlFault> {
        Ok(())
    }

    /// What is left of a store after this.
    fn survival(&self, fault: &SqlFault) -> Survival;

    /// Does what the database wants done between groups, when it is due.
    fn tend(&self, writer: &Connection, counters: &Counters) -> Result<(), SqlFault>;

    /// Does what it wants done before the last connection is closed.
    fn settle(&self, writer: &Connection, counters: &Counters) -> Result<(), SqlFault>;

    /// How large the database is.
    fn bytes(&self, reader: &Connection) -> Result<u64, SqlFault>;

    /// What is wrong with the database itself, below the rows.
    fn structure(&self, reader: &Connection) -> Result<Vec<Finding>, SqlFault>;

    /// Writes a consistent copy into an empty folder.
    ///
    /// # Errors
    /// In words.
    fn backup(&self, reader: &Connection, folder: &Path, now_ms: u64) -> Result<(), String>;
}
