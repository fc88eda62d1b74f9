//! Vectors that are acknowledged before they are in the index.

use sqlx::Row as _;
use types::Patch;

use super::*;
use crate::{
    port::Vectorizer,
    request::{CandidateQuery, MemoryFilter},
    sqlite::tests::Letters,
};

/// How many are in the index, and how many wait.
pub(super) async fn counts(database: &PostgresConfig) -> (i64, i64) {
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let text =
        "SELECT (SELECT count(*) FROM ONLY vectors), (SELECT count(*) FROM vectors_unindexed)";
    let row = sqlx::raw_sql(text).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    (row.get(0), row.get(1))
}

/// The memories that are nearest to a text, nearest first.
async fn nearest(store: &RowStore, text: &str, depth: u32) -> Vec<MemoryId> {
    let query = CandidateQuery {
        text: String::new(),
        vector: Letters.vector(text),
        filter: MemoryFilter::default(),
        depth,
        now_ms: NOW_MS,
        explain: false,
    };
    let viewer = ann();
    let mut found = store.candidates(Reader::Agent(&viewer), query).await.unwrap().items;
    found.sort_by(|one, other| other.dense.partial_cmp(&one.dense).unwrap());
    found.into_iter().map(|item| item.memory.id).collect()
}

#[tokio::test]
async fn what_waits_for_the_index_is_found_and_no_writer_waits_for_it() {
    if !can_have_a_server() {
        return;
    }
    for exact_rows_max in [0, 1_000] {
        let database = PostgresConfig { exact_rows_max, ..database().await };
        let node = Daemon::new(&database, config()).await;
        for number in 0..10 {
            put(&node, number).await.unwrap();
        }
        soon("what is stored is indexed", async || counts(&database).await == (10, 0)).await;
        let mut other = PgConnection::connect(&database.url).await.unwrap();
        for text in ["BEGIN", "LOCK TABLE ONLY vectors IN SHARE MODE"] {
            sqlx::raw_sql(text).execute(&mut other).await.unwrap();
        }
        for number in 10..14 {
            put(&node, number).await.unwrap();
        }
        assert_eq!(counts(&database).await, (10, 4), "the index takes nothing now");
        let all = nearest(&node, "note 12", 14).await;
        assert_eq!(all.len(), 14, "those in the index, and those that wait: {exact_rows_max}");
        assert_eq!(nearest(&node, "note 12", 3).await.len(), 3);
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
        soon("what waited is indexed", async || counts(&database).await == (14, 0)).await;
        assert_eq!(nearest(&node, "note 12", 14).await.len(), 14);
        is_whole(&node).await;
    }
}

#[tokio::test]
async fn what_changes_while_it_is_indexed_has_one_vector() {
    if !can_have_a_server() {
        return;
    }
    let database = database().await;
    let node = Daemon::new(&database, config()).await;
    // More than may wait, so that writers use the index, too.
    for number in 0..20 {
        put(&node, number).await.unwrap();
    }
    for round in 0..10 {
        for number in 0..20 {
            let content = Some(format!("round {round} of number {number}").parse().unwrap());
            let patch = Box::new(Patch { content, ..Patch::default() });
            let of = IdRef::Full(id(number));
            let intent = Intent::Update { id: of, patch, expected_version: None };
            let changed =
                WriteRequest { idempotency: None, intents: vec![intent], ..storing(0, 0) };
            node.write(changed).await.unwrap();
        }
    }
    let gone =
        Intent::Delete { id: IdRef::Full(id(7)), reason: String::new(), expected_version: None };
    let deleted = WriteRequest { idempotency: None, intents: vec![gone], ..storing(0, 0) };
    node.write(deleted).await.unwrap();
    soon("all are indexed", async || counts(&database).await == (19, 0)).await;
    assert_eq!(nearest(&node, "round 9 of number 3", 20).await.len(), 19);
    is_whole(&node).await;
}
