//! A connection to PostgreSQL, as `connection` uses it.
//!
//! The rows are read and written on threads that may block, so each statement is driven to its end there. What a statement
//! answers is read whole: rows that belong together are few, and what goes through a table does so in pages.
//!
//! Invariants: `SES-1` a connection whose last statement failed, or was given up, is closed and not given back; `SES-2` no
//! statement is waited for longer than its limit: a server that says nothing is one that is not there.
//!
//! Not here: which connection (`postgres::pool`).

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use sqlx::{
    Arguments, AssertSqlSafe, Encode, Postgres, Row as _, Type, TypeInfo, ValueRef as _,
    encode::IsNull,
    error::BoxDynError,
    pool::PoolConnection,
    postgres::{PgArgumentBuffer, PgArguments, PgRow, PgTypeInfo, types::Oid},
};
use tokio::runtime::Handle;

use super::{Error, Params, Result, ValueRef, dialect};
use crate::postgres::Graph;

/// Most statements that are kept in PostgreSQL's words.
const TEXTS_MAX: usize = 2048;

/// What a statement may take that is about all rows: a step of the schema, the index of some million vectors.
pub(crate) const LONG_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// What connections to one database have in common.
pub(crate) struct Settings {
    /// Begins a transaction that writes, when no other node is in one.
    pub(crate) begin: Arc<str>,
    /// Begins a transaction that reads one snapshot.
    pub(crate) begin_reading: Arc<str>,
    /// Longest time for one statement.
    pub(crate) limit: Duration,
    /// How links are followed, as far as is known yet.
    pub(crate) graph: Mutex<Graph>,
    /// Statements in PostgreSQL's words.
    pub(crate) texts: RwLock<HashMap<String, Arc<str>>>,
}

/// A connection that is in use.
pub struct Session {
    runtime: Handle,
    /// Absent while it is given back.
    connection: RefCell<Option<PoolConnection<Postgres>>>,
    settings: Arc<Settings>,
    /// Longest time for one statement, now.
    limit: Cell<Duration>,
    /// Whether it failed and will be closed.
    spoiled: Cell<bool>,
}

/// Absence, of whatever type the server takes it for.
struct Absent;

impl Type<Postgres> for Absent {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Absent {
    fn encode_by_ref(&self, _buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}

impl Session {
    /// A connection from a pool, to be used on threads that may block.
    pub(crate) fn new(
        runtime: Handle,
        connection: PoolConnection<Postgres>,
        settings: Arc<Settings>,
    ) -> Self {
        let (connection, limit) = (RefCell::new(Some(connection)), Cell::new(settings.limit));
        Self { runtime, connection, settings, limit, spoiled: Cell::new(false) }
    }

    /// The rows that a statement answers, which is in PostgreSQL's words already.
    pub(crate) fn query<P: Params>(&self, text: &Arc<str>, params: P) -> Result<Vec<PgRow>> {
        let (text, arguments) = (text.clone(), arguments(params)?);
        self.drive(async move |connection: &mut PoolConnection<Postgres>| {
            sqlx::query_with(AssertSqlSafe(text), arguments).fetch_all(&mut **connection).await
        })
    }

    /// Does a statement, which is in PostgreSQL's words already, and gives the number of rows it changed.
    pub(crate) fn execute<P: Params>(&self, text: &Arc<str>, params: P) -> Result<usize> {
        let (text, arguments) = (text.clone(), arguments(params)?);
        let done = self.drive(async move |connection: &mut PoolConnection<Postgres>| {
            sqlx::query_with(AssertSqlSafe(text), arguments).execute(&mut **connection).await
        })?;
        Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
    }

    /// Begins a transaction that writes, when no other daemon is in one.
    pub(crate) fn begin(&self) -> Result<()> {
        self.batch(&self.settings.begin)
    }

    /// Begins a transaction that reads one snapshot.
    pub(crate) fn begin_reading(&self) -> Result<()> {
        self.batch(&self.settings.begin_reading)
    }

    /// Gives a transaction back. Where that fails the connection is closed, which does the same.
    pub(crate) fn roll_back(&self) {
        if !self.spoiled.get() {
            // Its failure has spoiled the connection.
            let _ = self.batch("ROLLBACK");
        }
    }

    /// Does statements without parameters, as they are.
    pub(crate) fn batch(&self, text: &str) -> Result<()> {
        let text: Arc<str> = text.into();
        self.drive(async move |connection: &mut PoolConnection<Postgres>| {
            sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut **connection).await
        })
        .map(drop)
    }

    /// Has statements take as long as what is about all rows may ([`LONG_LIMIT`]), as long as this work goes on.
    pub(crate) fn patiently<T>(&self, work: impl FnOnce() -> T) -> T {
        self.limit.set(LONG_LIMIT);
        let done = work();
        self.limit.set(self.settings.limit);
        done
    }

    /// How links are followed.
    pub(crate) fn graph(&self) -> Graph {
        *self.settings.graph.lock()
    }

    /// From now on links are followed like this, on all connections.
    pub(crate) fn follow_by(&self, graph: Graph) {
        *self.settings.graph.lock() = graph;
    }

    /// The first columns of the rows that statements without parameters answer, as texts.
    pub(crate) fn texts(&self, text: &str) -> Result<Vec<String>> {
        let text: Arc<str> = text.into();
        let rows = self.drive(async move |connection: &mut PoolConnection<Postgres>| {
            sqlx::raw_sql(AssertSqlSafe(text)).fetch_all(&mut **connection).await
        })?;
        let read = |row: &PgRow| row.try_get::<String, _>(0).map_err(Error::Postgres);
        rows.iter().map(read).collect()
    }

    /// Has the connection closed when it goes out of scope, with whatever was begun on it.
    pub(crate) fn give_up(&self) {
        if let Some(connection) = self.connection.borrow_mut().as_mut() {
            self.spoil(connection);
        }
    }

    fn drive<T>(
        &self,
        work: impl AsyncFnOnce(&mut PoolConnection<Postgres>) -> Result<T, sqlx::Error>,
    ) -> Result<T> {
        let mut held = self.connection.borrow_mut();
        let Some(connection) = held.as_mut() else { return Err(Error::Elsewhere) };
        let done = self.runtime.block_on(within(self.limit.get(), work(connection)));
        match done {
            Some(Ok(done)) => Ok(done),
            Some(Err(error)) => {
                self.spoil(connection);
                Err(Error::Postgres(error))
            }
            None => {
                self.spoil(connection);
                Err(Error::Late { limit: self.limit.get() })
            }
        }
    }

    /// Has the connection closed when it is given back (`SES-1`).
    fn spoil(&self, connection: &mut PoolConnection<Postgres>) {
        self.spoiled.set(true);
        connection.close_on_drop();
    }

    /// A statement in PostgreSQL's words.
    pub(crate) fn translated(&self, text: &str) -> Arc<str> {
        self.kept(text, || dialect::postgres(text))
    }

    /// A statement that inserts so many rows, in PostgreSQL's words, from one that inserts one.
    pub(crate) fn wide(&self, text: &str, rows: usize) -> Arc<str> {
        match rows {
            1 => self.translated(text),
            _ => self.kept(&format!("{rows} x {text}"), || {
                dialect::postgres(&dialect::of_rows(text, rows))
            }),
        }
    }

    fn kept(&self, key: &str, translate: impl FnOnce() -> String) -> Arc<str> {
        if let Some(known) = self.settings.texts.read().get(key) {
            return known.clone();
        }
        let translated: Arc<str> = translate().into();
        let mut texts = self.settings.texts.write();
        if texts.len() >= TEXTS_MAX {
            texts.clear();
        }
        texts.insert(key.to_owned(), translated.clone());
        translated
    }
}

/// What a piece of work gives, if it does so in time.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = runtime::clock::sleep(limit) => None,
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Giving it back is work for the runtime, and this thread is none of its own.
        let _within = self.runtime.enter();
        drop(self.connection.take());
    }
}

fn arguments<P: Params>(params: P) -> Result<PgArguments> {
    let (mut arguments, mut failed) = (PgArguments::default(), None);
    params.each(&mut |value| {
        let added = match value {
            ValueRef::Null => arguments.add(Absent),
            ValueRef::Integer(number) => arguments.add(number),
            ValueRef::Text(text) => arguments.add(text),
            ValueRef::Blob(bytes) => arguments.add(bytes),
        };
        failed = failed.take().or(added.err());
    });
    match failed {
        None => Ok(arguments),
        Some(error) => Err(Error::Postgres(sqlx::Error::Encode(error))),
    }
}

/// A column as it lies in a row.
pub(crate) fn column(row: &PgRow, column: usize) -> Result<ValueRef<'_>> {
    let raw = row.try_get_raw(column).map_err(Error::Postgres)?;
    if raw.is_null() {
        return Ok(ValueRef::Null);
    }
    let odd = |found| Error::Column { column, wanted: "a number, a text or bytes", found };
    let bytes = raw.as_bytes().map_err(|_| odd("something unreadable"))?;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| odd("a text that is not UTF-8"));
    Ok(match (raw.type_info().name(), bytes) {
        ("INT8", &[a, b, c, d, e, f, g, h]) => {
            ValueRef::Integer(i64::from_be_bytes([a, b, c, d, e, f, g, h]))
        }
        ("INT4", &[a, b, c, d]) => ValueRef::Integer(i32::from_be_bytes([a, b, c, d]).into()),
        ("INT2", &[a, b]) => ValueRef::Integer(i16::from_be_bytes([a, b]).into()),
        ("BOOL", &[bit]) => ValueRef::Integer(bit.into()),
        ("BYTEA", bytes) => ValueRef::Blob(bytes),
        ("TEXT" | "VARCHAR" | "NAME", bytes) => ValueRef::Text(text(bytes)?),
        _ => return Err(odd("a value of another type")),
    })
}
