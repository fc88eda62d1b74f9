//! Rows that are inserted together.
//!
//! A statement costs a journey to a server and back, whatever it does there, so rows of one table go in statements of many
//! rows. A file is at hand: there each row goes by itself.
//!
//! Invariants: `BAT-1` rows are there when [`Batch::finish`] has returned; a batch that is dropped before may have inserted
//! some of them, in a transaction that is not committed then. No row may come twice where the statement changes the one that
//! is there.
//!
//! Not here: how a statement of one row becomes one of many (`dialect`).

use super::{Params, Result, Statement};
#[cfg(not(madsim))]
use super::{Value, params_from_iter, session::Session};

/// Rows per statement, the largest first: few statements to prepare, and few to send.
#[cfg(not(madsim))]
const WIDTHS: [usize; 3] = [64, 8, 1];

/// Rows on their way into a table.
#[must_use = "rows are there when it is finished"]
pub struct Batch<'c>(Way<'c>);

enum Way<'c> {
    Each(Statement<'c>),
    #[cfg(not(madsim))]
    Together {
        session: &'c Session,
        text: &'c str,
        rows: Vec<Vec<Value>>,
    },
}

impl<'c> Batch<'c> {
    /// Rows that go by themselves.
    pub(super) fn each(statement: Statement<'c>) -> Self {
        Self(Way::Each(statement))
    }

    /// Rows that go in statements of many.
    #[cfg(not(madsim))]
    pub(super) fn together(session: &'c Session, text: &'c str) -> Self {
        Self(Way::Together { session, text, rows: Vec::new() })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When the database refuses it, or one before it.
    pub fn add<P: Params>(&mut self, params: P) -> Result<()> {
        match &mut self.0 {
            Way::Each(statement) => statement.execute(params).map(drop),
            #[cfg(not(madsim))]
            Way::Together { session, text, rows } => {
                let mut row = Vec::with_capacity(rows.last().map_or(8, Vec::len));
                params.each(&mut |value| row.push(Value::from(value)));
                rows.push(row);
                if rows.len() < WIDTHS[0] {
                    return Ok(());
                }
                insert(session, text, rows)
            }
        }
    }

    /// Inserts what is left.
    ///
    /// # Errors
    /// When the database refuses a row.
    pub fn finish(self) -> Result<()> {
        match self.0 {
            Way::Each(_) => Ok(()),
            #[cfg(not(madsim))]
            Way::Together { session, text, mut rows } => insert(session, text, &mut rows),
        }
    }
}

#[cfg(not(madsim))]
fn insert(session: &Session, text: &str, rows: &mut Vec<Vec<Value>>) -> Result<()> {
    let mut rest = rows.as_slice();
    for width in WIDTHS {
        while rest.len() >= width {
            let (now, later) = rest.split_at(width);
            session.execute(&session.wide(text, width), params_from_iter(now.iter().flatten()))?;
            rest = later;
        }
    }
    rows.clear();
    Ok(())
}
