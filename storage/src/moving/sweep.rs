//! Making one table equal to the other.
//!
//! Both are read in order of their key, a page at a time, and merged: what only the one has is copied, what only the other has
//! is removed, and what differs is copied again.
//!
//! Invariants: after a sweep with nobody writing to either, both tables have the same rows, whatever there was before; no more
//! than some pages are held in memory.
//!
//! Not here: which tables (`tables`), and what is derived from them (`derived`).

use std::{cmp::Ordering, collections::VecDeque};

use super::{MoveError, ends::End, tables::Table};
use crate::sql::{self, Connection, Value, params_from_iter};

/// Bytes of a page, about.
const PAGE_BYTES: u64 = 2 << 20;
/// Rows of a page.
const PAGE_ROWS: (u64, u64) = (16, 4096);
/// Rows that are changed in one transaction.
const GROUP_ROWS: usize = 2048;

type Key = [Value];
type Row = Vec<Value>;

/// How much of a table there is to look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Whether to go on behind the last row that was copied, as if those before were the same.
    pub(super) goes_on: bool,
    /// The last position to be copied of what only grows.
    pub(super) up_to: Option<u64>,
}

/// Sweeps a table; gives how many rows were copied. `looked` hears how many were looked at.
pub(super) fn sweep(
    (from, to): (&End, &End),
    table: &Table,
    extent: Extent,
    looked: &mut dyn FnMut(u64),
) -> Result<u64, MoveError> {
    let behind = if extent.goes_on { last(to, table)? } else { None };
    let mut source = Pages::new(from, table, behind.clone(), extent.up_to);
    let mut copy = Pages::new(to, table, behind, extent.up_to);
    let (mut changes, mut seen, mut copied) = (Changes::default(), 0, 0);
    loop {
        let order = match (source.peek()?, copy.peek()?) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(row), Some(found)) => row[..table.key].cmp(&found[..table.key]),
        };
        let (row, found) = (
            order.is_le().then(|| source.take()).flatten(),
            order.is_ge().then(|| copy.take()).flatten(),
        );
        seen += u64::from(row.is_some());
        if row != found {
            changes.removed.extend(found.map(|mut found| {
                found.truncate(table.key);
                found
            }));
            changes.added.extend(row);
        }
        if changes.is_group() {
            copied += changes.make(to, table)?;
        }
        if seen % PAGE_ROWS.1 == 0 {
            looked(seen);
        }
    }
    copied += changes.make(to, table)?;
    looked(seen);
    Ok(copied)
}

fn last(end: &End, table: &Table) -> sql::Result<Option<Row>> {
    let reader = end.reader()?;
    let mut statement = reader.prepare_cached(&table.last(end.side))?;
    let mut rows = statement.query([])?;
    rows.next()?.map(values).transpose()
}

fn values(row: sql::Row<'_>) -> sql::Result<Row> {
    (0..row.column_count()).map(|at| row.get(at)).collect()
}

/// The rows of a table in order, read as they are needed.
struct Pages<'e> {
    end: &'e End,
    table: &'e Table,
    behind: Option<Row>,
    up_to: Option<u64>,
    page: VecDeque<Row>,
    is_last: bool,
    rows: u64,
}

impl<'e> Pages<'e> {
    fn new(end: &'e End, table: &'e Table, behind: Option<Row>, up_to: Option<u64>) -> Self {
        let page = VecDeque::new();
        Self { end, table, behind, up_to, page, is_last: false, rows: PAGE_ROWS.0 }
    }

    fn peek(&mut self) -> sql::Result<Option<&Row>> {
        if self.page.is_empty() && !self.is_last {
            self.turn()?;
        }
        Ok(self.page.front())
    }

    fn take(&mut self) -> Option<Row> {
        self.page.pop_front()
    }

    /// Reads the next page.
    fn turn(&mut self) -> sql::Result<()> {
        let reader = self.end.reader()?;
        let side = self.end.side;
        let text = self.table.page(side, self.behind.is_some(), self.up_to);
        let limit = Value::Integer(self.rows.cast_signed());
        let given = self.behind.iter().flatten().chain([&limit]);
        let mut statement = reader.prepare_cached(&text)?;
        let mut rows = statement.query(params_from_iter(given))?;
        while let Some(row) = rows.next()? {
            self.page.push_back(self.table.read(side, values(row)?));
        }
        let read = self.page.len() as u64;
        self.is_last = read < self.rows;
        let bytes: u64 = self.page.iter().flatten().map(size).sum();
        let fit = PAGE_BYTES * read / bytes.max(1);
        self.rows = fit.clamp(PAGE_ROWS.0, PAGE_ROWS.1);
        if let Some(last) = self.page.back() {
            self.behind = Some(last[..self.table.key].to_vec());
        }
        Ok(())
    }
}

fn size(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Integer(_) => 8,
        Value::Text(text) => text.len() as u64,
        Value::Blob(bytes) => bytes.len() as u64,
    }
}

/// What is to be changed in the copy.
#[derive(Default)]
struct Changes {
    removed: Vec<Row>,
    added: Vec<Row>,
}

impl Changes {
    fn is_group(&self) -> bool {
        self.removed.len() + self.added.len() >= GROUP_ROWS
    }

    /// Makes them in one transaction; gives how many rows were added.
    fn make(&mut self, to: &End, table: &Table) -> Result<u64, MoveError> {
        let (removed, added) = (std::mem::take(&mut self.removed), std::mem::take(&mut self.added));
        if removed.is_empty() && added.is_empty() {
            return Ok(0);
        }
        let count = added.len() as u64;
        let writer = to.writer()?;
        let transaction = writer.begin()?;
        to.need_unfinished()?;
        for key in &removed {
            remove(writer, to, table, key)?;
        }
        let insert = table.insert(to.side);
        let mut batch = writer.batch(&insert)?;
        for row in added {
            batch.add(params_from_iter(table.written(to.side, row)))?;
        }
        batch.finish()?;
        transaction.commit()?;
        Ok(count)
    }
}

fn remove(writer: &Connection, to: &End, table: &Table, key: &Key) -> sql::Result<()> {
    writer.execute(&table.remove(), params_from_iter(key))?;
    if table.name == "memories" && to.side != super::tables::Side::File {
        // Made again from what comes in its place.
        writer.execute("DELETE FROM texts WHERE row = ?1", params_from_iter(key))?;
        writer.execute("DELETE FROM vectors WHERE row = ?1", params_from_iter(key))?;
    }
    Ok(())
}
