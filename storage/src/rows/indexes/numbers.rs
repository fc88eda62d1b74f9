//! Where the numbers of names come from when a row is indexed: the writer gives them out, everybody else looks them up.
//!
//! Invariant: a row that was committed has only names with numbers, so looking up never gives one out.
//!
//! Not here: giving numbers out (`write::vocabulary`).

use std::collections::BTreeMap;

use crate::{
    rows::{fault::SqlFault, write::vocabulary::Vocabulary},
    sql::{Connection, OptionalExtension},
};

/// A kind of name with numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Namespace,
    Audience,
    Agent,
    Tag,
}

/// Gives the numbers of names.
pub(crate) trait Numbers {
    /// The number of a name.
    ///
    /// # Errors
    /// The table could not be read, or lacks the name.
    fn number(&mut self, kind: Kind, name: &str) -> Result<u32, SqlFault>;
}

impl Numbers for Vocabulary {
    fn number(&mut self, kind: Kind, name: &str) -> Result<u32, SqlFault> {
        Ok(match kind {
            Kind::Namespace => self.namespace(name),
            Kind::Audience => self.audience(name),
            Kind::Agent => self.agent(name),
            Kind::Tag => self.tag(name),
        })
    }
}

/// Names kept after they were looked up; beyond this many all are looked up anew.
const KEPT: usize = 10_000;

/// Numbers looked up through a connection, and kept: they never change.
pub(crate) struct Looked<'c> {
    connection: &'c Connection,
    kept: &'c mut Known,
}

/// What was looked up before.
pub(crate) type Known = BTreeMap<(Kind, String), u32>;

impl<'c> Looked<'c> {
    /// Looks up through `connection`.
    pub(crate) fn new(connection: &'c Connection, kept: &'c mut Known) -> Self {
        if kept.len() > KEPT {
            kept.clear();
        }
        Self { connection, kept }
    }
}

impl Numbers for Looked<'_> {
    fn number(&mut self, kind: Kind, name: &str) -> Result<u32, SqlFault> {
        let key = (kind, name.to_owned());
        if let Some(number) = self.kept.get(&key) {
            return Ok(*number);
        }
        let (table, text) = match kind {
            Kind::Namespace => ("namespaces", "SELECT id FROM namespaces WHERE name = ?1"),
            Kind::Audience => ("audiences", "SELECT id FROM audiences WHERE name = ?1"),
            Kind::Agent => ("names", "SELECT id FROM names WHERE name = ?1"),
            Kind::Tag => ("tags", "SELECT id FROM tags WHERE name = ?1"),
        };
        let mut statement = self.connection.prepare_cached(text)?;
        let found: Option<u32> = statement.query_row([name], |row| row.get(0)).optional()?;
        let number = found.ok_or_else(|| SqlFault::Damaged {
            table,
            key: name.to_owned(),
            problem: "a memory names it, and it is not there".to_owned(),
        })?;
        self.kept.insert(key, number);
        Ok(number)
    }
}
