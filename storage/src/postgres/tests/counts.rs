//! In how many memories a word is: counted, or as the server's statistics say.

use super::{super::counts::Counts, *};
use crate::index::Query;

const LIMIT: Duration = Duration::from_secs(30);
/// Where the log is, which matters only when it moves.
const POSITION: u64 = 20;

/// All memories, and those that have each of two words, where statistics are trusted from so many on.
async fn counted(database: &PostgresConfig, sampled_rows_min: u64) -> (u64, Vec<u64>) {
    let connection = session(&database.url, LIMIT).await;
    let count = move || {
        let words = Query::parse("number 7");
        let terms = words.terms().iter().map(|term| term.term);
        Counts::new(sampled_rows_min).of(&connection, POSITION, terms).unwrap()
    };
    blocking::run(count).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_memories_have_is_not_counted_one_by_one() {
    if !can_have_a_server() {
        return;
    }
    let database = database().await;
    let node = Daemon::new(&database, config()).await;
    for number in 0..20 {
        put(&node, number).await.unwrap();
    }
    let analyze = ["ALTER TABLE texts SET (autovacuum_enabled = off)", "ANALYZE texts"];
    ask(&database.url, &analyze).await;
    // Another text than the server has counted, which is not seen as long as its statistics are trusted.
    let nothing = |rows: u32| {
        format!(
            "UPDATE texts SET terms = '{{}}' WHERE row IN (SELECT row FROM texts WHERE terms <> '{{}}' ORDER BY row LIMIT {rows})"
        )
    };
    ask(&database.url, &[&nothing(4)]).await;
    assert_eq!(counted(&database, 20).await, (20, vec![20, 1]));
    assert_eq!(counted(&database, 21).await, (20, vec![16, 1]), "too few to trust");
    ask(&database.url, &[&nothing(1)]).await;
    soon("too much has changed since the server looked", async || {
        counted(&database, 20).await == (20, vec![15, 1])
    })
    .await;
}
