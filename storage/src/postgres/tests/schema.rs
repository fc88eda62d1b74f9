//! What is in a database when a newer build first opens it.
//!
//! Not here: a schema that is too new (`nodes`).

use sqlx::PgPool;
use tokio::runtime::Handle;

use super::{
    super::{
        engine::{LOCK, MIGRATION},
        schema::{VERSION, migrate, version},
    },
    *,
};
use crate::{
    postgres::Graph,
    sql::{
        Connection, Error,
        session::{Session, Settings},
    },
};

/// A session whose statements may take a twentieth of a second.
async fn hasty(url: &str) -> Connection {
    let settings = Settings {
        begin: "BEGIN".into(),
        begin_reading: "BEGIN".into(),
        limit: HASTE,
        graph: Graph::Layers.into(),
        texts: Default::default(),
    };
    let connection = PgPool::connect(url).await.unwrap().acquire().await.unwrap();
    Connection::postgres(Session::new(Handle::current(), connection, settings.into()))
}

const HASTE: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn a_step_may_take_longer_than_a_request() {
    if !can_have_a_server() {
        return;
    }
    let database = database().await;
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    let taken = format!("SELECT pg_advisory_lock({LOCK}, {MIGRATION})");
    sqlx::raw_sql(AssertSqlSafe(taken)).execute(&mut other).await.unwrap();
    let (connection, began) = (hasty(&database.url).await, Instant::now());
    let migrating = runtime::task::spawn(blocking::run(move || {
        let session = connection.as_postgres().unwrap();
        session.batch("SET statement_timeout = 50; SET lock_timeout = 50").unwrap();
        migrate(&connection).unwrap();
        assert_eq!(version(&connection).unwrap(), VERSION);
        session.batch("SET statement_timeout = 0").unwrap();
        let late = session.batch("SELECT pg_sleep(60)").unwrap_err();
        assert!(matches!(late, Error::Late { limit } if limit == HASTE), "{late:?}");
    }));
    soon("it waits for its turn, longer than a statement may take", async || {
        let text = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let waiting: i64 = sqlx::query_scalar(text).fetch_one(&mut other).await.unwrap();
        waiting == 1 && began.elapsed() > 4 * HASTE
    })
    .await;
    other.close().await.unwrap();
    migrating.await.unwrap();
}
