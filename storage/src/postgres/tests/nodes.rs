//! Nodes on one database: each has its chain and sees what the others wrote; what does not fit is refused.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use types::{AgentRecord, Hlc};

use super::*;
use crate::request::Event;

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_have_a_chain_each_and_see_what_the_other_wrote() {
    if !can_have_a_server() {
        return;
    }
    let database = database().await;
    let (one, two) =
        (Daemon::new(&database, signing(7)).await, Daemon::new(&database, signing(8)).await);
    let writes = (0..40).map(|number| put(if number % 2 == 0 { &one } else { &two }, number));
    for written in futures::future::join_all(writes).await {
        assert!(written.unwrap().results[0].is_ok());
    }
    for number in 0..40 {
        assert!(has(&one, number).await && has(&two, number).await, "{number}");
    }
    for store in [&one, &two] {
        let report = store.verify_chain(0).await.unwrap();
        assert!(report.holds() && report.rows_checked == 40, "{report:?}");
        assert!(store.check().await.unwrap().is_empty());
    }
    let feeds = one.feeds().await.unwrap();
    assert_eq!(feeds.values().map(|feed| feed.seq).collect::<Vec<_>>(), [20, 20]);
    let again = one.again(&database, signing(9)).await;
    assert!(put(&again, 40).await.unwrap().results[0].is_ok());
    let report = again.verify_chain(20).await.unwrap();
    assert!(report.holds() && report.rows_checked == 21, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_fit_is_refused_with_the_fix() {
    if !can_have_a_server() {
        return;
    }
    let refused = |postgres: PostgresConfig| async move {
        let folder = TempDir::new().unwrap();
        open(folder.path(), &postgres, config()).await.map(drop).unwrap_err().to_string()
    };
    let told = refused(PostgresConfig::new("mysql://nobody@localhost/x")).await;
    assert!(told.contains("storage.url"), "{told}");
    let away = PostgresConfig {
        acquire_timeout: Duration::from_millis(300),
        ..PostgresConfig::new("postgres://nobody:secret@127.0.0.1:1/x")
    };
    let told = refused(away).await;
    assert!(told.contains("127.0.0.1:1/x cannot be reached") && told.contains("refused"), "{told}");
    assert!(!told.contains("secret"), "{told}");

    let newer = database().await;
    let store = Daemon::new(&newer, config()).await;
    store.close().await.unwrap();
    ask(&newer.url, &["UPDATE hivemem_schema SET version = 99"]).await;
    let told = refused(newer).await;
    let expected = format!(
        "has schema 99, this build knows up to {}; use the newer build",
        crate::postgres::schema::VERSION
    );
    assert!(told.contains(&expected), "{told}");

    let bare = database().await;
    let name = bare.url.rsplit_once('/').unwrap().1;
    let without = format!("{name}_bare");
    let drop = format!("DROP DATABASE IF EXISTS {without}");
    let create = format!("CREATE DATABASE {without} TEMPLATE template0");
    ask(&bare.url, &[&drop, &create]).await;
    let told = refused(PostgresConfig::new(bare.url.replace(name, &without))).await;
    assert!(told.contains("pgvector") && told.contains("CREATE EXTENSION vector"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_hears_of_what_another_wrote() {
    if !can_have_a_server() {
        return;
    }
    let database = database().await;
    let (one, two) =
        (Daemon::new(&database, signing(7)).await, Daemon::new(&database, signing(8)).await);
    let (mut position, mut agents) = (two.position(), two.agents_changed());
    let written = put(&one, 1).await.unwrap().position;
    position.wait_for(|position| *position >= written).await.unwrap();
    assert!(has(&two, 1).await && !agents.has_changed().unwrap());
    let record = Intent::Agent(Box::new(AgentRecord {
        agent_id: "bob".parse().unwrap(),
        affiliation: Affiliation::default(),
        token_sha256: None,
        public_key: None,
        revoked: true,
        changed: Hlc::default(),
    }));
    let viewer = Viewer { operator: true, ..ann() };
    let request =
        WriteRequest { viewer, intents: vec![record], idempotency: None, ..storing(2, 0) };
    assert!(one.write(request).await.unwrap().results[0].is_ok());
    agents.changed().await.unwrap();
    assert!(two.agents().await.unwrap().iter().any(|agent| agent.revoked));
}

/// A statement is prepared at its first use, and what has nothing in a column then has a number in it later.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_may_be_the_first_thing_written() {
    if !can_have_a_server() {
        return;
    }
    let node = Daemon::new(&database().await, config()).await;
    let event = Intent::Event(Box::new(Event {
        name: "root:1".into(),
        agent: "node".parse().unwrap(),
        event_type: "lock.acquired".into(),
        at_ms: NOW_MS,
        payload: vec![1, 2, 3],
    }));
    let viewer = Viewer { operator: true, ..ann() };
    let request = WriteRequest { viewer, intents: vec![event], idempotency: None, ..storing(0, 0) };
    assert!(node.write(request).await.unwrap().results[0].is_ok());
    assert!(put(&node, 1).await.unwrap().results[0].is_ok());
    is_whole(&node).await;
}

/// Set where this test runs itself again, to the folder and the URL of the node that is started twice.
const TWICE: &str = "HIVEMEM_TEST_STARTED_TWICE";

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_started_elsewhere_ends() {
    if let Ok(told) = env::var(TWICE) {
        let (folder, url) = told.split_once(' ').unwrap();
        let store = open(Path::new(folder), &PostgresConfig::new(url), config()).await.unwrap();
        assert!(put(&store, 1).await.unwrap().results[0].is_ok());
        println!("started");
        soon("another start", async || put(&store, 2).await.is_err()).await;
        panic!("it goes on");
    }
    if !can_have_a_server() {
        return;
    }
    let database = database().await;
    let (first, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let name = "postgres::tests::nodes::a_node_that_was_started_elsewhere_ends";
    let mut child = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(TWICE, format!("{} {}", first.path().display(), database.url))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("started")));
    // A copy of its folder, as of a machine that was cloned.
    std::fs::copy(first.path().join("node"), copy.path().join("node")).unwrap();
    let other = open(copy.path(), &database, config()).await.unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("was started elsewhere"), "PGS-2: {told}");
    assert!(put(&other, 3).await.unwrap().results[0].is_ok());
    is_whole(&other).await;
}
