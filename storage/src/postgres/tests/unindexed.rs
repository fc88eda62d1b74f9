//! Vectors that are acknowledged before they are in the index.

use sqlx::Row as _;
use types::Patch;

use super::{super::recall::PostgresRecall, *};
use crate::{
    port::Vectorizer,
    request::{CandidateQuery, MemoryFilter},
    rows::{read::sight::Sight, recall::DatabaseRecall},
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

/// A question for what is nearest to a text.
fn asking(text: &str, depth: u32) -> CandidateQuery {
    CandidateQuery {
        text: String::new(),
        vector: Letters.vector(text),
        filter: MemoryFilter::default(),
        depth,
        now_ms: NOW_MS,
        explain: false,
    }
}

/// The memories that are nearest to a text, nearest first.
async fn nearest(store: &RowStore, text: &str, depth: u32) -> Vec<MemoryId> {
    let query = asking(text, depth);
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

#[tokio::test(flavor = "multi_thread")]
async fn for_the_few_that_wait_not_all_memories_are_looked_at() {
    if !can_have_a_server() {
        return;
    }
    let database = PostgresConfig { exact_rows_max: 0, ..database().await };
    let node = Daemon::new(&database, config()).await;
    put(&node, 1).await.unwrap();
    soon("it is indexed", async || counts(&database).await == (1, 0)).await;
    node.close().await.unwrap();
    // Nobody moves them on. The server knows how many there are, and would rather join than look each of them up.
    let more = "INSERT INTO memories SELECT (jsonb_populate_record(m, jsonb_build_object(
            'row', 1000 + n, 'id', '\\x' || md5(CAST(n AS text))))).*
        FROM memories m, generate_series(1, 5000) n";
    let waiting = "INSERT INTO vectors_unindexed SELECT m.row, v.space, v.text_sha256, v.vector
        FROM memories m, ONLY vectors v WHERE m.row BETWEEN 1001 AND 3000";
    ask(&database.url, &[more, waiting, "ANALYZE memories, vectors, vectors_unindexed"]).await;
    let connection = session(&database.url, Duration::from_secs(30)).await;
    let looked_at = move || {
        let (viewer, space) = (ann(), config().space);
        let number = "SELECT space FROM ONLY vectors";
        let number = connection.query_row(number, [], |row| row.get(0)).unwrap();
        let recall = PostgresRecall::new(&database, &space, number);
        connection.as_postgres().unwrap().batch("BEGIN").unwrap();
        let sight = Sight::of(Reader::Agent(&viewer));
        let found = recall.candidates(&connection, &sight, &asking("note 1", 3)).unwrap();
        assert_eq!(found.vector_plan, "hnsw");
        let text = "SELECT CAST(seq_tup_read + idx_tup_fetch AS bigint)
            FROM pg_stat_xact_user_tables WHERE relname = 'memories'";
        connection.query_row(text, [], |row| row.get::<i64>(0)).unwrap()
    };
    let looked_at = blocking::run(looked_at).await;
    assert!((3..100).contains(&looked_at), "{looked_at} rows of memories were read");
}
