//! Locks, pools and commits whose answer is lost: who asks is told what is known, and the node goes on.

use types::Reason;

use super::{
    proxy::{Proxy, Way},
    *,
};

fn port(url: &str) -> u16 {
    url.rsplit_once(':').unwrap().1.split_once('/').unwrap().0.parse().unwrap()
}

/// A node that reaches its database by a way that can be cut.
async fn behind_a_proxy() -> (PostgresConfig, Proxy, Daemon) {
    let direct = database().await;
    let proxy = Proxy::to(port(&direct.url)).await;
    let by_proxy = PostgresConfig {
        acquire_timeout: Duration::from_millis(500),
        ..PostgresConfig::new(proxy.url(&direct.url))
    };
    let daemon = Daemon::new(&by_proxy, signing(7)).await;
    (direct, proxy, daemon)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_looked_up() {
    if !can_have_a_server() {
        return;
    }
    let (_, proxy, node) = behind_a_proxy().await;
    assert!(put(&node, 1).await.unwrap().results[0].is_ok());
    proxy.becomes(Way::LosesAnswer);
    let receipt = put(&node, 2).await.unwrap();
    assert!(receipt.results[0].is_ok() && receipt.position == 2, "PGS-3: it was kept: {receipt:?}");
    assert_eq!((proxy.way(), *node.position().borrow()), (Way::Open, 2));
    proxy.becomes(Way::LosesCommit);
    let error = put(&node, 3).await.unwrap_err();
    assert_eq!(error.reason(), Reason::StorageUnavailable, "PGS-3: it was not kept: {error}");
    assert_eq!(proxy.way(), Way::Open);
    assert!(has(&node, 2).await && !has(&node, 3).await);
    let receipt = put(&node, 3).await.unwrap();
    assert!(receipt.results[0].is_ok() && !receipt.replayed && receipt.position == 3);
    is_whole(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_known_is_told_as_unknown() {
    if !can_have_a_server() {
        return;
    }
    let (direct, proxy, node) = behind_a_proxy().await;
    assert!(put(&node, 1).await.unwrap().results[0].is_ok());
    proxy.becomes(Way::LosesAnswerAndShuts);
    let error = put(&node, 2).await.unwrap_err();
    assert_eq!(error.reason(), Reason::OutcomeUnknown, "PGS-3: {error}");
    let error = put(&node, 3).await.unwrap_err();
    assert_eq!(error.reason(), Reason::StorageUnavailable, "{error}");
    let viewer = ann();
    let read = node.get(Reader::Agent(&viewer), IdRef::Full(id(1)), NOW_MS).await;
    assert_eq!(read.unwrap_err().reason(), Reason::StorageUnavailable);
    // Another node writes meanwhile.
    let other = Daemon::new(&direct, signing(8)).await;
    assert!(put(&other, 4).await.unwrap().results[0].is_ok());
    proxy.becomes(Way::Open);
    let receipt = put(&node, 2).await.unwrap();
    assert!(receipt.replayed, "under its key it is done once: {receipt:?}");
    assert!(put(&node, 5).await.unwrap().results[0].is_ok());
    for number in [1, 2, 4, 5] {
        assert!(has(&node, number).await && has(&other, number).await, "{number}");
    }
    is_whole(&node).await;
    is_whole(&other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_lock_and_for_a_statement_ends() {
    if !can_have_a_server() {
        return;
    }
    let database = database().await;
    let hasty = PostgresConfig { lock_timeout: Duration::from_millis(200), ..database.clone() };
    let node = Daemon::new(&hasty, signing(7)).await;
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    let lock = "BEGIN; LOCK TABLE memories IN SHARE MODE";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let error = put(&node, 1).await.unwrap_err();
    assert_eq!(error.reason(), Reason::StorageUnavailable, "{error}");
    assert!(error.to_string().contains("storage.lock_timeout"), "{error}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert!(put(&node, 1).await.unwrap().results[0].is_ok());

    let node = node
        .again(
            &PostgresConfig { statement_timeout: Duration::from_millis(200), ..database.clone() },
            signing(7),
        )
        .await;
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let error = put(&node, 2).await.unwrap_err();
    assert!(error.to_string().contains("storage.statement_timeout"), "{error}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert!(put(&node, 2).await.unwrap().results[0].is_ok());
    is_whole(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_used_up_is_said_to_be() {
    if !can_have_a_server() {
        return;
    }
    let database = database().await;
    let narrow = PostgresConfig {
        connections_max: 2,
        acquire_timeout: Duration::from_millis(200),
        ..database.clone()
    };
    let node = Daemon::new(&narrow, signing(7)).await;
    assert!(put(&node, 1).await.unwrap().results[0].is_ok());
    // Then nobody but the reader needs a connection.
    soon("all is indexed", async || unindexed::counts(&database).await.1 == 0).await;
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    let lock = "BEGIN; LOCK TABLE memories IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let viewer = ann();
    let read = || node.get(Reader::Agent(&viewer), IdRef::Full(id(1)), NOW_MS);
    // One waits for the lock, the other finds that the pool has no more.
    let (one, two) = tokio::join!(read(), async {
        soon("a read that waits", async || waiting(&database).await == 1).await;
        let refused = read().await;
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
        refused
    });
    assert!(one.is_ok());
    let error = two.unwrap_err();
    assert!(error.to_string().contains("storage.pool_max"), "{error}");
    assert!(read().await.is_ok());
}

/// How many sessions wait for a lock on a table.
async fn waiting(database: &PostgresConfig) -> i64 {
    let mut asking = PgConnection::connect(&database.url).await.unwrap();
    let text = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'";
    sqlx::query_scalar(text).fetch_one(&mut asking).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_ended_costs_one_answer_at_most() {
    if !can_have_a_server() {
        return;
    }
    let database = database().await;
    let node = Daemon::new(&database, signing(7)).await;
    let mut kept = Vec::new();
    for number in 0..30 {
        if number % 10 == 5 {
            // The server's own workers are not ours to end.
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid()
                       AND backend_type = 'client backend'";
            ask(&database.url, &[end]).await;
        }
        match put(&node, number).await {
            Ok(receipt) if receipt.results[0].is_ok() => kept.push(number),
            Ok(receipt) => panic!("{receipt:?}"),
            Err(error) => assert_eq!(error.reason(), Reason::StorageUnavailable, "{error}"),
        }
    }
    assert!(kept.len() >= 27, "{kept:?}");
    for number in 0..30 {
        assert_eq!(has(&node, number).await, kept.contains(&number), "{number}");
    }
    is_whole(&node).await;
}
