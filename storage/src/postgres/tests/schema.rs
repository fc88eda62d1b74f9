//! What is in a database when a newer build first opens it.
//!
//! Not here: a schema that is too new (`nodes`).

use super::{
    super::{
        engine::{LOCK, MIGRATION},
        schema::{VERSION, migrate, version},
    },
    *,
};
use crate::sql::Error;

/// How long a statement may take.
const HASTE: Duration = Duration::from_millis(50);

/// Of each row its terms with their impacts, in the order of their numbers.
async fn words(url: &str) -> Vec<(i64, Vec<(i64, u8)>)> {
    let mut asking = PgConnection::connect(url).await.unwrap();
    let text = "SELECT row, terms, impacts FROM texts ORDER BY row";
    let rows: Vec<(i64, Vec<i64>, Vec<u8>)> =
        sqlx::query_as(text).fetch_all(&mut asking).await.unwrap();
    let sorted = |(row, terms, impacts): (i64, Vec<i64>, Vec<u8>)| {
        assert_eq!(terms.len(), impacts.len());
        let mut words: Vec<(i64, u8)> = terms.into_iter().zip(impacts).collect();
        words.sort_unstable();
        (row, words)
    };
    rows.into_iter().map(sorted).collect()
}

/// A term as schema 3 had it: eleven digits of six bits, the lowest first.
fn lexeme(number: i64) -> String {
    const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-";
    let term = number.cast_unsigned();
    (0..11).map(|at| char::from(DIGITS[(term >> (6 * at) & 63) as usize])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_schema_3_become_numbers() {
    if !can_have_a_server() {
        return;
    }
    let database = database().await;
    let node = Daemon::new(&database, signing(7)).await;
    for number in 0..40 {
        assert!(put(&node, number).await.unwrap().results[0].is_ok());
    }
    node.store.close().await.unwrap();
    let now = words(&database.url).await;
    assert_eq!(now.len(), 40);
    let mut back = vec![
        "DROP TABLE texts".to_owned(),
        "CREATE TABLE texts (row bigint PRIMARY KEY, words tsvector NOT NULL)".to_owned(),
        "CREATE INDEX texts_words ON texts USING gin (words)".to_owned(),
        "WITH moved AS (DELETE FROM vectors_unindexed RETURNING *)
         INSERT INTO vectors SELECT * FROM moved"
            .to_owned(),
        "DROP TABLE vectors_unindexed".to_owned(),
        "UPDATE hivemem_schema SET version = 3".to_owned(),
    ];
    for (row, words) in &now {
        let known = words.iter().filter(|(_, impact)| *impact > 0);
        let written: Vec<String> =
            known.map(|(number, impact)| format!("'{}':{impact}", lexeme(*number))).collect();
        let written = written.join(" ").replace('\'', "''");
        back.push(format!("INSERT INTO texts VALUES ({row}, '{written}')"));
    }
    let back: Vec<&str> = back.iter().map(String::as_str).collect();
    ask(&database.url, &back).await;
    let node = node.again(&database, signing(8)).await;
    assert_eq!(words(&database.url).await, now);
    assert!(now.iter().flat_map(|(_, words)| words).any(|(_, impact)| *impact == 0), "great ones");
    assert!(node.check().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_may_take_longer_than_a_request() {
    if !can_have_a_server() {
        return;
    }
    let database = database().await;
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    let taken = format!("SELECT pg_advisory_lock({LOCK}, {MIGRATION})");
    sqlx::raw_sql(AssertSqlSafe(taken)).execute(&mut other).await.unwrap();
    let (connection, began) = (session(&database.url, HASTE).await, Instant::now());
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
