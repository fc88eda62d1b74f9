//! A connection, its statements and their rows.
//!
//! Invariants: `SQL-5`; a statement is prepared once per connection and kept; what a statement answers is read to its end or
//! given up, never left half-read for the next use.
//!
//! Not here: opening (`sqlite::connection`, `postgres::engine`); PostgreSQL in the simulator, which has no such server.

#[cfg(not(madsim))]
use std::sync::Arc;

#[cfg(not(madsim))]
use sqlx::postgres::PgRow;

#[cfg(not(madsim))]
use super::session::{self, Session};
use super::{Batch, Error, FromSql, Params, Result, ValueRef, value};
#[cfg(not(madsim))]
use crate::postgres::graph;
use crate::{postgres::Graph, rows::fault::SqlFault};
use types::MemoryId;

/// A connection to the database.
pub struct Connection {
    engine: Engine,
}

enum Engine {
    Sqlite(rusqlite::Connection),
    #[cfg(not(madsim))]
    Postgres(Session),
}

/// A statement that was prepared.
pub enum Statement<'c> {
    /// One of SQLite's.
    Sqlite(rusqlite::CachedStatement<'c>),
    /// A text, which the session keeps prepared.
    #[cfg(not(madsim))]
    Postgres(&'c Session, Arc<str>),
}

/// The rows that a statement answers.
pub enum Rows<'s> {
    /// As SQLite steps to them.
    Sqlite(rusqlite::Rows<'s>),
    /// All of them: those to come, and the one that is looked at.
    #[cfg(not(madsim))]
    Postgres(std::vec::IntoIter<PgRow>, Option<PgRow>),
}

/// A row.
#[derive(Clone, Copy)]
pub enum Row<'r> {
    /// One of SQLite's.
    Sqlite(&'r rusqlite::Row<'r>),
    /// One of PostgreSQL's.
    #[cfg(not(madsim))]
    Postgres(&'r PgRow),
}

impl Connection {
    /// A connection to a SQLite file.
    pub fn sqlite(engine: rusqlite::Connection) -> Self {
        Self { engine: Engine::Sqlite(engine) }
    }

    /// A connection to a PostgreSQL server.
    #[cfg(not(madsim))]
    pub(crate) fn postgres(session: Session) -> Self {
        Self { engine: Engine::Postgres(session) }
    }

    /// The connection as SQLite knows it.
    ///
    /// # Errors
    /// [`Error::Elsewhere`] when it is to another database.
    pub fn as_sqlite(&self) -> Result<&rusqlite::Connection> {
        match &self.engine {
            Engine::Sqlite(connection) => Ok(connection),
            #[cfg(not(madsim))]
            Engine::Postgres(_) => Err(Error::Elsewhere),
        }
    }

    /// The same, to be changed.
    ///
    /// # Errors
    /// [`Error::Elsewhere`] when it is to another database.
    pub fn as_sqlite_mut(&mut self) -> Result<&mut rusqlite::Connection> {
        match &mut self.engine {
            Engine::Sqlite(connection) => Ok(connection),
            #[cfg(not(madsim))]
            Engine::Postgres(_) => Err(Error::Elsewhere),
        }
    }

    /// The connection as PostgreSQL knows it.
    ///
    /// # Errors
    /// [`Error::Elsewhere`] when it is to another database.
    #[cfg(not(madsim))]
    pub(crate) fn as_postgres(&self) -> Result<&Session> {
        match &self.engine {
            Engine::Sqlite(_) => Err(Error::Elsewhere),
            Engine::Postgres(session) => Ok(session),
        }
    }

    /// How links are followed.
    pub(crate) fn graph(&self) -> Graph {
        match &self.engine {
            Engine::Sqlite(_) => Graph::Layers,
            #[cfg(not(madsim))]
            Engine::Postgres(session) => session.graph(),
        }
    }

    /// Memories fewer than so many steps from one, where the database has a graph beside its tables; `None` where it has none,
    /// or there are more than `most`.
    pub(crate) fn reached(
        &self,
        _start: MemoryId,
        _depth: u32,
        _most: usize,
    ) -> Result<Option<Vec<MemoryId>>, SqlFault> {
        match &self.engine {
            Engine::Sqlite(_) => Ok(None),
            #[cfg(not(madsim))]
            Engine::Postgres(_) => graph::reached(self, _start, _depth, _most),
        }
    }

    /// Whether others may be changing rows at the same time.
    pub(crate) fn is_shared(&self) -> bool {
        !matches!(self.engine, Engine::Sqlite(_))
    }

    /// A statement, which is prepared at its first use.
    ///
    /// # Errors
    /// When the text is not understood.
    pub fn prepare_cached(&self, text: &str) -> Result<Statement<'_>> {
        match &self.engine {
            Engine::Sqlite(connection) => Ok(Statement::Sqlite(connection.prepare_cached(text)?)),
            #[cfg(not(madsim))]
            Engine::Postgres(session) => Ok(Statement::Postgres(session, session.translated(text))),
        }
    }

    /// What one row says.
    ///
    /// # Errors
    /// [`Error::NoRow`], and whatever reading the row fails with.
    pub fn query_row<T, P: Params>(
        &self,
        text: &str,
        params: P,
        read: impl FnOnce(Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.prepare_cached(text)?.query_row(params, read)
    }

    /// Does a statement and gives the number of rows it changed.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn execute<P: Params>(&self, text: &str, params: P) -> Result<usize> {
        self.prepare_cached(text)?.execute(params)
    }

    /// Rows to be inserted by a statement `INSERT INTO … VALUES (?1, …)` of one row, with or without what to do about a conflict;
    /// nothing behind the values has a parameter.
    ///
    /// # Errors
    /// When the text is not understood.
    pub fn batch<'c>(&'c self, text: &'c str) -> Result<Batch<'c>> {
        match &self.engine {
            Engine::Sqlite(_) => Ok(Batch::each(self.prepare_cached(text)?)),
            #[cfg(not(madsim))]
            Engine::Postgres(session) => Ok(Batch::together(session, text)),
        }
    }

    /// Begins a transaction that writes. Given back unless it is committed.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn begin(&self) -> Result<Transaction<'_>> {
        match &self.engine {
            Engine::Sqlite(_) => drop(self.execute("BEGIN IMMEDIATE", [])?),
            #[cfg(not(madsim))]
            Engine::Postgres(session) => session.begin()?,
        }
        Ok(Transaction { connection: self, open: true })
    }

    /// Does `work` on one snapshot of the database, in which nothing can be changed.
    ///
    /// # Errors
    /// Those of `work`, and of the database.
    pub fn snapshot<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        match &self.engine {
            Engine::Sqlite(connection) => {
                // Given back when it goes out of scope, with an error too.
                let transaction = connection.unchecked_transaction().map_err(Error::from)?;
                let answer = work(self)?;
                transaction.finish().map_err(Error::from)?;
                Ok(answer)
            }
            #[cfg(not(madsim))]
            Engine::Postgres(session) => {
                session.begin_reading()?;
                let answer = work(self);
                session.roll_back();
                answer
            }
        }
    }
}

/// A transaction that writes.
pub struct Transaction<'c> {
    connection: &'c Connection,
    open: bool,
}

impl Transaction<'_> {
    /// Keeps what was done.
    ///
    /// # Errors
    /// When the database refuses; then nothing was kept, unless the connection was lost meanwhile.
    pub fn commit(mut self) -> Result<()> {
        self.open = false;
        match &self.connection.engine {
            Engine::Sqlite(_) => self.connection.execute("COMMIT", []).map(drop),
            #[cfg(not(madsim))]
            Engine::Postgres(session) => session.batch("COMMIT"),
        }
    }

    /// Leaves it as it is: the connection is not used any more.
    pub fn abandon(mut self) {
        self.open = false;
        #[cfg(not(madsim))]
        if let Engine::Postgres(session) = &self.connection.engine {
            session.give_up();
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        match &self.connection.engine {
            // Some failures have given it back already. What fails here has failed before, and was told.
            Engine::Sqlite(connection) if connection.is_autocommit() => {}
            Engine::Sqlite(_) => drop(self.connection.execute("ROLLBACK", [])),
            #[cfg(not(madsim))]
            Engine::Postgres(session) => session.roll_back(),
        }
    }
}

impl Statement<'_> {
    /// Does it and gives the number of rows it changed.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn execute<P: Params>(&mut self, params: P) -> Result<usize> {
        match self {
            Statement::Sqlite(statement) => {
                bind(statement, params)?;
                Ok(statement.raw_execute()?)
            }
            #[cfg(not(madsim))]
            Statement::Postgres(session, text) => session.execute(text, params),
        }
    }

    /// The rows that it answers.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn query<P: Params>(&mut self, params: P) -> Result<Rows<'_>> {
        match self {
            Statement::Sqlite(statement) => {
                bind(statement, params)?;
                Ok(Rows::Sqlite(statement.raw_query()))
            }
            #[cfg(not(madsim))]
            Statement::Postgres(session, text) => {
                Ok(Rows::Postgres(session.query(text, params)?.into_iter(), None))
            }
        }
    }

    /// What the first row says; further rows are given up.
    ///
    /// # Errors
    /// [`Error::NoRow`], and whatever reading the row fails with.
    pub fn query_row<T, P: Params>(
        &mut self,
        params: P,
        read: impl FnOnce(Row<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut rows = self.query(params)?;
        let row = rows.next()?.ok_or(Error::NoRow)?;
        read(row)
    }

    /// Whether it answers any row.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn exists<P: Params>(&mut self, params: P) -> Result<bool> {
        Ok(self.query(params)?.next()?.is_some())
    }

    /// What each row says.
    ///
    /// # Errors
    /// When the database refuses; what reading a row fails with comes in its place.
    pub fn query_map<T, P: Params, F: FnMut(Row<'_>) -> Result<T>>(
        &mut self,
        params: P,
        read: F,
    ) -> Result<Mapped<'_, F>> {
        Ok(Mapped { rows: self.query(params)?, read })
    }
}

/// Gives a statement its parameters (`SQL-5`).
fn bind<P: Params>(statement: &mut rusqlite::CachedStatement<'_>, params: P) -> Result<()> {
    let (mut given, mut failed) = (0, None);
    params.each(&mut |value| {
        given += 1;
        if let Err(error) = statement.raw_bind_parameter(given, Bound(value)) {
            failed.get_or_insert(error);
        }
    });
    let named = statement.parameter_count();
    match failed {
        _ if named != given => Err(Error::Parameters { named, given }),
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// A value on its way to SQLite.
struct Bound<'a>(ValueRef<'a>);

impl rusqlite::ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::ValueRef as Sqlite;
        Ok(rusqlite::types::ToSqlOutput::Borrowed(match self.0 {
            ValueRef::Null => Sqlite::Null,
            ValueRef::Integer(number) => Sqlite::Integer(number),
            ValueRef::Text(text) => Sqlite::Text(text.as_bytes()),
            ValueRef::Blob(bytes) => Sqlite::Blob(bytes),
        }))
    }
}

impl Rows<'_> {
    /// The next row.
    ///
    /// # Errors
    /// When the database fails.
    #[allow(clippy::should_implement_trait, reason = "a row borrows from its statement")]
    pub fn next(&mut self) -> Result<Option<Row<'_>>> {
        match self {
            Rows::Sqlite(rows) => Ok(rows.next()?.map(Row::Sqlite)),
            #[cfg(not(madsim))]
            Rows::Postgres(rows, looked_at) => {
                *looked_at = rows.next();
                Ok(looked_at.as_ref().map(Row::Postgres))
            }
        }
    }
}

/// What each row of a statement says.
pub struct Mapped<'s, F> {
    rows: Rows<'s>,
    read: F,
}

impl<T, F: FnMut(Row<'_>) -> Result<T>> Iterator for Mapped<'_, F> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        match self.rows.next() {
            Ok(row) => row.map(&mut self.read),
            Err(error) => Some(Err(error)),
        }
    }
}

impl<'r> Row<'r> {
    /// A column, from 0.
    ///
    /// # Errors
    /// [`Error::Column`] when it holds something else.
    pub fn get<T: FromSql<'r>>(self, column: usize) -> Result<T> {
        value::read(column, self.get_ref(column)?)
    }

    /// How many columns it has.
    pub fn column_count(self) -> usize {
        match self {
            Row::Sqlite(row) => row.as_ref().column_count(),
            #[cfg(not(madsim))]
            Row::Postgres(row) => sqlx::Row::len(row),
        }
    }

    /// A column as it lies there.
    ///
    /// # Errors
    /// When there is no such column; [`Error::Column`] for a float, or a text that is none.
    pub fn get_ref(self, column: usize) -> Result<ValueRef<'r>> {
        match self {
            Row::Sqlite(row) => sqlite_column(row, column),
            #[cfg(not(madsim))]
            Row::Postgres(row) => session::column(row, column),
        }
    }
}

fn sqlite_column<'r>(row: &'r rusqlite::Row<'_>, column: usize) -> Result<ValueRef<'r>> {
    use rusqlite::types::ValueRef as Sqlite;
    Ok(match row.get_ref(column)? {
        Sqlite::Null => ValueRef::Null,
        Sqlite::Integer(number) => ValueRef::Integer(number),
        Sqlite::Blob(bytes) => ValueRef::Blob(bytes),
        Sqlite::Real(_) => {
            return Err(Error::Column { column, wanted: "no float", found: "a float" });
        }
        Sqlite::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => ValueRef::Text(text),
            Err(_) => {
                let (wanted, found) = ("a text", "bytes that are not UTF-8");
                return Err(Error::Column { column, wanted, found });
            }
        },
    })
}
