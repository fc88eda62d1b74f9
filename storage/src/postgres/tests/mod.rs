//! PostgreSQL, tried on real servers, which `deploy/postgres/server.sh` starts. Where `HIVEMEM_TEST_POSTGRES_URL` names one, it is
//! used by the tests that break none. Each test has a database of its own.
//!
//! | module | what is tried |
//! |---|---|
//! | [`promises`] | the suite of every backend |
//! | [`alike`], [`steps`] | the same answers as SQLite's, to random requests |
//! | [`nodes`], [`schema`] | several nodes on one database, starts, refusals, older schemas |
//! | [`faults`] | locks, pools, commits whose answer is lost |
//! | [`counts`] | in how many memories words are |
//! | [`queue`], [`unindexed`] | texts that wait for vectors, vectors that wait for the index |
//! | [`moving`] | from a file into a database and back |
//! | [`losses`], [`replicas`] | a server that is killed, promoted, full; reads on a standby |

mod alike;
mod counts;
mod faults;
mod losses;
mod moving;
mod nodes;
mod promises;
mod proxy;
mod queue;
mod replicas;
mod schema;
mod steps;
mod unindexed;

use std::{
    collections::BTreeMap,
    env,
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ed25519_dalek::SigningKey;
use runtime::{
    blocking,
    clock::{self, Instant},
    disk::OsDisk,
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tempfile::TempDir;
use tokio::runtime::Handle;
use types::{Affiliation, MemoryId, NewMemory, Scope, audit::AttestLevel, ids::IdRef};

use super::{Graph, PostgresConfig, open_store};
use crate::{
    OpenError, ReadStore, StoreError, WriteStore,
    answer::WriteReceipt,
    request::{Idempotency, Intent, OnConflict, Reader, Viewer, WriteRequest},
    rows::{RowStore, StoreConfig},
    sql::{
        Connection,
        session::{Session, Settings},
    },
    sqlite::tests::{NOW_MS, TestSigner, config},
};

/// Whether there is a server, or can be one; says so where not. Only a machine without Debian's packages lacks it.
fn can_have_a_server() -> bool {
    let is_named = env::var_os("HIVEMEM_TEST_POSTGRES_URL").is_some();
    is_named || can_start_a_server()
}

/// The same, of a server that is a test's own.
fn can_start_a_server() -> bool {
    let can = Command::new("apt-get").arg("--version").output().is_ok();
    if !can {
        eprintln!("skipped: no PostgreSQL: neither apt-get nor HIVEMEM_TEST_POSTGRES_URL");
    }
    can
}

/// The server of this run: its URL without the database's name.
fn server() -> &'static str {
    static SERVER: OnceLock<String> = OnceLock::new();
    SERVER.get_or_init(|| {
        let url = env::var("HIVEMEM_TEST_POSTGRES_URL").unwrap_or_else(|_| {
            // It goes on for the next run, which finds it in the same folder.
            let folder = env::temp_dir().join("hivemem-postgres-for-tests");
            script("install.sh", &[]);
            settings(&script("server.sh", &["start", &folder.to_string_lossy()]))["URL"].clone()
        });
        url.rsplit_once('/').expect("a URL with a database").0.to_owned()
    })
}

/// Runs one of the scripts, which give up durability where nobody pulls a plug.
fn script(name: &str, words: &[&str]) -> String {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/postgres");
    let mut command = Command::new(scripts.join(name));
    let output = command.args(words).env("FSYNC", "off").output().expect("bash");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name} {words:?}: {told}");
    String::from_utf8(output.stdout).expect("text")
}

/// What a server says of how it is reached, by the end of each name.
fn settings(told: &str) -> BTreeMap<String, String> {
    let lines = told.lines().filter_map(|l| l.strip_prefix("HIVEMEM_TEST_POSTGRES_"));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, url)| (name.to_owned(), url.trim_matches(['\'', '"']).to_owned()))
        .collect()
}

/// A server of a test's own, destroyed with it.
struct Server {
    folder: TempDir,
}

impl Server {
    fn new() -> Self {
        script("install.sh", &[]);
        let server = Self { folder: TempDir::new().unwrap() };
        server.does("start");
        server
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("pg")
    }

    fn does(&self, command: &str) -> BTreeMap<String, String> {
        settings(&script("server.sh", &[command, &self.path().to_string_lossy()]))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        script("server.sh", &["destroy", &self.path().to_string_lossy()]);
    }
}

/// Does statements on a connection of its own.
async fn ask(url: &str, statements: &[&str]) {
    let mut admin = PgConnection::connect(url).await.unwrap();
    for text in statements {
        let text = AssertSqlSafe((*text).to_owned());
        sqlx::raw_sql(text).execute(&mut admin).await.unwrap();
    }
    admin.close().await.unwrap();
}

/// A session of a test's own whose statements may take so long.
async fn session(url: &str, limit: Duration) -> Connection {
    let settings = Settings {
        begin: "BEGIN".into(),
        begin_reading: "BEGIN".into(),
        limit,
        graph: Graph::Layers.into(),
        texts: Default::default(),
    };
    let connection = PgPool::connect(url).await.unwrap().acquire().await.unwrap();
    Connection::postgres(Session::new(Handle::current(), connection, settings.into()))
}

/// A new database, and how it is reached.
async fn database() -> PostgresConfig {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let server = blocking::run(server).await;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("t{}_{number}", std::process::id());
    let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    let create = format!("CREATE DATABASE {name} TEMPLATE hivemem_template");
    ask(&format!("{server}/hivemem"), &[&drop, &create]).await;
    PostgresConfig::new(format!("{server}/{name}"))
}

/// A node: its data folder, and its store.
struct Daemon {
    folder: TempDir,
    store: RowStore,
}

impl Deref for Daemon {
    type Target = RowStore;

    fn deref(&self) -> &RowStore {
        &self.store
    }
}

impl Daemon {
    async fn new(postgres: &PostgresConfig, config: StoreConfig) -> Self {
        let folder = TempDir::new().unwrap();
        let store = open(folder.path(), postgres, config).await.unwrap();
        Self { folder, store }
    }

    /// Stops, and starts again in the same folder.
    async fn again(self, postgres: &PostgresConfig, config: StoreConfig) -> Self {
        self.store.close().await.unwrap();
        drop(self.store);
        let store = open(self.folder.path(), postgres, config).await.unwrap();
        Self { folder: self.folder, store }
    }
}

async fn open(
    folder: &Path,
    postgres: &PostgresConfig,
    config: StoreConfig,
) -> Result<RowStore, OpenError> {
    let (folder, postgres) = (folder.to_path_buf(), postgres.clone());
    blocking::run(move || open_store(OsDisk::shared(), &folder, &postgres, config)).await
}

fn ann() -> Viewer {
    let (agent, affiliation) = ("ann".parse().unwrap(), Affiliation::default());
    let audiences = affiliation.audiences(&agent);
    Viewer { agent, audiences, attest: AttestLevel::Asserted, operator: false }
}

fn id(number: u128) -> MemoryId {
    MemoryId(uuid::Uuid::from_u128((u128::from(NOW_MS) << 80) | (7 << 76) | (0b10 << 62) | number))
}

/// Stores a memory of this number and length, at most once.
fn storing(number: u128, bytes: usize) -> WriteRequest {
    let viewer = ann();
    let audience = Affiliation::default().audience(&viewer.agent, Scope::Private).unwrap();
    let title = format!("note {number}").parse().unwrap();
    let content = format!("what is to be said about number {number}");
    // What is kept must not be made short.
    let mut state = number | 1;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(1);
        char::from(b' ' + (state >> 120) as u8 % 95)
    });
    let content: String = content.chars().chain(noise.take(bytes)).collect();
    let content = content.trim().parse().unwrap();
    let memory = Box::new(NewMemory::new(id(number), title, content, audience));
    let mut body_sha256 = [0; 32];
    body_sha256[..16].copy_from_slice(&number.to_be_bytes());
    WriteRequest {
        viewer,
        now_ms: NOW_MS,
        fence: 0,
        idempotency: Some(Idempotency {
            key: format!("note {number}"),
            body_sha256,
            note: Vec::new(),
        }),
        intents: vec![Intent::Store { memory, on_conflict: OnConflict::Error }],
        atomic: true,
        quota: None,
        reflection_depth_max: 3,
    }
}

async fn put(store: &RowStore, number: u128) -> Result<WriteReceipt, StoreError> {
    store.write(storing(number, 0)).await
}

async fn has(store: &RowStore, number: u128) -> bool {
    let viewer = ann();
    store.get(Reader::Agent(&viewer), IdRef::Full(id(number)), NOW_MS).await.is_ok()
}

fn signing(with: u8) -> StoreConfig {
    let signer = Arc::new(TestSigner(SigningKey::from_bytes(&[with; 32])));
    StoreConfig { signer, ..config() }
}

/// Tries until it is so, for a minute at most.
async fn soon(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        clock::sleep(Duration::from_millis(20)).await;
    }
}

/// What is stored is whole, with its evidence.
async fn is_whole(store: &RowStore) {
    let report = store.verify_chain(0).await.unwrap();
    assert!(report.holds(), "{report:?}");
    let findings = store.check().await.unwrap();
    assert!(findings.is_empty(), "{findings:?}");
}
