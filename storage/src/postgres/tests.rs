//! PostgreSQL, tried on a real server, which `deploy/postgres/server.sh` starts where no other is named by
//! `HIVEMEM_TEST_POSTGRES_URL`. Each test has a database of its own.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ed25519_dalek::SigningKey;
use futures::{FutureExt, future::BoxFuture};
use runtime::{blocking, disk::OsDisk};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use types::{Affiliation, MemoryId, NewMemory, NodeId, Scope, audit::AttestLevel, ids::IdRef};

use super::{PostgresConfig, open_store};
use crate::{
    ReadStore, Store, StoreError, WriteStore,
    answer::WriteReceipt,
    conformance,
    port::Vectorizer,
    request::{Intent, OnConflict, Reader, Viewer, WriteRequest},
    rows::{RowStore, StoreConfig},
    sqlite::tests::{Letters, NOW_MS, TestSigner, config},
};

/// Whether there is a server, or can be one; says so where not. Only a machine without Debian's packages lacks it.
fn can_have_a_server() -> bool {
    let is_named = env::var_os("HIVEMEM_TEST_POSTGRES_URL").is_some();
    let can = is_named || Command::new("apt-get").arg("--version").output().is_ok();
    if !can {
        eprintln!("skipped: no PostgreSQL: neither apt-get nor HIVEMEM_TEST_POSTGRES_URL");
    }
    can
}

/// The server of this run: its URL without the database's name.
fn server() -> &'static str {
    static SERVER: OnceLock<String> = OnceLock::new();
    SERVER.get_or_init(|| {
        let url = env::var("HIVEMEM_TEST_POSTGRES_URL").unwrap_or_else(|_| started());
        url.rsplit_once('/').expect("a URL with a database").0.to_owned()
    })
}

/// Starts one, which goes on for the next run: it is found in the same folder.
fn started() -> String {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/postgres");
    let folder: PathBuf = env::temp_dir().join("hivemem-postgres-for-tests");
    let run = |script: &str, words: &[&str]| {
        let mut command = Command::new(scripts.join(script));
        let output = command.args(words).env("FSYNC", "off").output().expect("bash");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script} {words:?}: {told}");
        String::from_utf8(output.stdout).expect("text")
    };
    run("install.sh", &[]);
    let told = run("server.sh", &["start", folder.to_str().expect("a path")]);
    let line = told.lines().find_map(|line| line.strip_prefix("HIVEMEM_TEST_POSTGRES_URL="));
    line.expect("a URL").trim_matches(['\'', '"']).to_owned()
}

/// A new database, and how it is reached.
async fn database() -> PostgresConfig {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let server = blocking::run(server).await;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("t{}_{number}", std::process::id());
    let mut admin = PgConnection::connect(&format!("{server}/hivemem")).await.unwrap();
    for text in [
        format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
        format!("CREATE DATABASE {name} TEMPLATE hivemem_template"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut admin).await.unwrap();
    }
    PostgresConfig::new(format!("{server}/{name}"))
}

async fn open(postgres: &PostgresConfig, node: u128, config: StoreConfig) -> RowStore {
    let postgres = postgres.clone();
    let node = NodeId(uuid::Uuid::from_u128(node));
    blocking::run(move || open_store(OsDisk::shared(), &postgres, node, config).unwrap()).await
}

struct Databases;

impl conformance::Factory for Databases {
    fn vector(&self, text: &str) -> Option<Vec<f32>> {
        Letters.vector(text)
    }

    fn fresh(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        async {
            let database = database().await;
            Arc::new(open(&database, 1, config()).await) as Arc<dyn Store>
        }
        .boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_every_promise() {
    if !can_have_a_server() {
        return;
    }
    let failures = conformance::run(&Databases).await;
    let all: Vec<String> = failures.iter().map(|f| format!("{}: {}", f.case, f.problem)).collect();
    assert!(all.is_empty(), "{} cases failed:\n{}", all.len(), all.join("\n"));
}

fn ann() -> Viewer {
    let (agent, affiliation) = ("ann".parse().unwrap(), Affiliation::default());
    let audiences = affiliation.audiences(&agent);
    Viewer { agent, audiences, attest: AttestLevel::Asserted, operator: false }
}

fn id(number: u128) -> MemoryId {
    MemoryId(uuid::Uuid::from_u128((u128::from(NOW_MS) << 80) | (7 << 76) | (0b10 << 62) | number))
}

async fn put(store: &RowStore, number: u128) -> Result<WriteReceipt, StoreError> {
    let viewer = ann();
    let audience = Affiliation::default().audience(&viewer.agent, Scope::Private).unwrap();
    let title = format!("note {number}").parse().unwrap();
    let content = format!("what is to be said about number {number}").parse().unwrap();
    let memory = Box::new(NewMemory::new(id(number), title, content, audience));
    let intents = vec![Intent::Store { memory, on_conflict: OnConflict::Error }];
    let request = WriteRequest {
        viewer,
        now_ms: NOW_MS,
        fence: 0,
        idempotency: None,
        intents,
        atomic: true,
        quota: None,
        reflection_depth_max: 3,
    };
    store.write(request).await
}

async fn has(store: &RowStore, number: u128) -> bool {
    let viewer = ann();
    store.get(Reader::Agent(&viewer), IdRef::Full(id(number)), NOW_MS).await.is_ok()
}

fn signing(with: u8) -> StoreConfig {
    let signer = Arc::new(TestSigner(SigningKey::from_bytes(&[with; 32])));
    StoreConfig { signer, ..config() }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_have_a_chain_each_and_see_what_the_other_wrote() {
    if !can_have_a_server() {
        return;
    }
    let database = database().await;
    let (one, two) = (open(&database, 1, signing(7)).await, open(&database, 2, signing(8)).await);
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
    one.close().await.unwrap();
    drop(one);
    let again = open(&database, 1, signing(9)).await;
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
        let node = NodeId(uuid::Uuid::from_u128(1));
        let opened = blocking::run(move || {
            open_store(OsDisk::shared(), &postgres, node, config()).map(drop)
        });
        opened.await.unwrap_err().to_string()
    };
    let told = refused(PostgresConfig::new("mysql://nobody@localhost/x")).await;
    assert!(told.contains("store.url"), "{told}");
    let away = PostgresConfig {
        acquire_timeout: Duration::from_millis(300),
        ..PostgresConfig::new("postgres://nobody:secret@127.0.0.1:1/x")
    };
    let told = refused(away).await;
    assert!(told.contains("127.0.0.1:1/x cannot be reached") && told.contains("refused"), "{told}");
    assert!(!told.contains("secret"), "{told}");

    let newer = database().await;
    let store = open(&newer, 1, config()).await;
    store.close().await.unwrap();
    let mut behind = PgConnection::connect(&newer.url).await.unwrap();
    sqlx::raw_sql("UPDATE hivemem_schema SET version = 99").execute(&mut behind).await.unwrap();
    let told = refused(newer).await;
    assert!(
        told.contains("has schema 99, this build knows up to 1; use the newer build"),
        "{told}"
    );

    let bare = database().await;
    let mut behind = PgConnection::connect(&bare.url).await.unwrap();
    let name = bare.url.rsplit_once('/').unwrap().1;
    let without = format!("{name}_bare");
    for text in [
        format!("DROP DATABASE IF EXISTS {without}"),
        format!("CREATE DATABASE {without} TEMPLATE template0"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut behind).await.unwrap();
    }
    let told = refused(PostgresConfig::new(bare.url.replace(name, &without))).await;
    assert!(told.contains("pgvector") && told.contains("CREATE EXTENSION vector"), "{told}");
}
