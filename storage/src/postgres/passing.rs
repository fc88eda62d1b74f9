//! Which memories a question may find, as conditions of statements.
//!
//! Invariants: `STO-2` the reader's sight is one of them.
//!
//! Not here: finding and ranking them (`ranking`, `recall`).

use crate::{
    request::MemoryFilter,
    rows::{
        fault::SqlFault,
        read::{
            conditions::Conditions,
            sight::{Sight, usable},
        },
        row::unsigned,
    },
    sql::{Connection, params_from_iter},
};

/// The memories that a question may find.
pub(super) struct Passing {
    /// Who asks, and with which filter.
    pub(super) question: String,
    pub(super) conditions: Conditions,
}

impl Passing {
    pub(super) fn new(
        connection: &Connection,
        sight: &Sight,
        filter: &MemoryFilter,
        now_ms: u64,
    ) -> Result<Self, SqlFault> {
        let mut conditions = Conditions::new(sight, now_ms, usable!());
        conditions.filter_all(connection, filter, now_ms)?;
        Ok(Self { question: format!("{sight:?} {filter:?}"), conditions })
    }

    /// How many there are, up to `most`.
    pub(super) fn count(&self, connection: &Connection, most: u64) -> Result<u64, SqlFault> {
        let text = format!(
            "SELECT count(*) FROM (SELECT 1 FROM memories WHERE {} LIMIT {most}) e",
            self.conditions.text()
        );
        let values = params_from_iter(self.conditions.values());
        Ok(unsigned(connection.query_row(&text, values, |row| row.get(0))?))
    }
}

/// A bound text as a value of another type, read once for the statement.
///
/// A mere cast in a plan that is kept would be made for each row that is compared with it: for vectors that is nearly all the work.
pub(super) fn once(bound: &str, kind: &str) -> String {
    format!("(SELECT CAST(CAST({bound} AS text) AS {kind}))")
}
