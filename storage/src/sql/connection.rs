//! A connection, its statements and their rows.
//!
//! Invariants: `SQL-5`; a statement is prepared once per connection and kept; what a statement answers is read to its end or
//! given up, never left half-read for the next use.
//!
//! Not here: opening (`sqlite::connection`).

use super::{Error, FromSql, Params, Result, ValueRef, value};

/// A connection to the database.
pub struct Connection {
    engine: rusqlite::Connection,
}

/// A statement that was prepared.
pub struct Statement<'c>(rusqlite::CachedStatement<'c>);

/// The rows that a statement answers.
pub struct Rows<'s>(rusqlite::Rows<'s>);

/// A row.
#[derive(Clone, Copy)]
pub struct Row<'r>(&'r rusqlite::Row<'r>);

impl Connection {
    /// A connection to a SQLite file.
    pub fn sqlite(engine: rusqlite::Connection) -> Self {
        Self { engine }
    }

    /// The connection as SQLite knows it.
    pub fn as_sqlite(&self) -> &rusqlite::Connection {
        &self.engine
    }

    /// The same, to be changed.
    pub fn as_sqlite_mut(&mut self) -> &mut rusqlite::Connection {
        &mut self.engine
    }

    /// Begins a transaction that writes. Given back unless it is committed.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn begin(&self) -> Result<Transaction<'_>> {
        self.execute("BEGIN IMMEDIATE", [])?;
        Ok(Transaction { connection: self, open: true })
    }

    /// A statement, which is prepared at its first use.
    ///
    /// # Errors
    /// When the text is not understood.
    pub fn prepare_cached(&self, text: &str) -> Result<Statement<'_>> {
        Ok(Statement(self.engine.prepare_cached(text)?))
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

    /// Does `work` on one snapshot of the database, in which nothing can be changed.
    ///
    /// # Errors
    /// Those of `work`, and of the database.
    pub fn snapshot<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        // Given back when it goes out of scope, with an error too.
        let transaction = self.engine.unchecked_transaction().map_err(Error::from)?;
        let answer = work(self)?;
        transaction.finish().map_err(Error::from)?;
        Ok(answer)
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
    /// When the database refuses; then nothing was kept.
    pub fn commit(mut self) -> Result<()> {
        self.connection.execute("COMMIT", [])?;
        self.open = false;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Some failures have given it back already.
        if self.open && !self.connection.engine.is_autocommit() {
            // What fails here has failed before, and was told.
            let _ = self.connection.execute("ROLLBACK", []);
        }
    }
}

impl Statement<'_> {
    /// Does it and gives the number of rows it changed.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn execute<P: Params>(&mut self, params: P) -> Result<usize> {
        self.bind(params)?;
        Ok(self.0.raw_execute()?)
    }

    /// The rows that it answers.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn query<P: Params>(&mut self, params: P) -> Result<Rows<'_>> {
        self.bind(params)?;
        Ok(Rows(self.0.raw_query()))
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

    /// How many columns its rows have.
    pub fn column_count(&self) -> usize {
        self.0.column_count()
    }

    fn bind<P: Params>(&mut self, params: P) -> Result<()> {
        let (mut given, mut failed) = (0, None);
        params.each(&mut |value| {
            given += 1;
            if let Err(error) = self.0.raw_bind_parameter(given, Bound(value)) {
                failed.get_or_insert(error);
            }
        });
        let named = self.0.parameter_count();
        match failed {
            _ if named != given => Err(Error::Parameters { named, given }),
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
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
        Ok(self.0.next()?.map(Row))
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

    /// A column as it lies there.
    ///
    /// # Errors
    /// When there is no such column; [`Error::Column`] for a float, or a text that is none.
    pub fn get_ref(self, column: usize) -> Result<ValueRef<'r>> {
        use rusqlite::types::ValueRef as Sqlite;
        Ok(match self.0.get_ref(column)? {
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
}
