//! Measures the writer: single stores by many callers, and bulk, on an empty and on a filled store.
//!
//! `cargo run --release -p storage --example write_bench -- [FOLDER] [ROWS_BEFORE] [SECONDS]`
//!
//! Prints one line of JSON per phase, with the fsync latency of the disk measured beside it, because a
//! figure on a shared machine means nothing without.
//!
//! Not here: recall, replication, the doors.

mod signer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use runtime::{
    clock::{Instant, now_unix_ms},
    disk::{Disk, OpenMode, OsDisk},
    random,
};
use storage::{
    RowStore, StoreConfig, WriteStore,
    port::{EmbeddingSpace, Vectorizer},
    request::{Intent, OnConflict, Viewer, WriteRequest},
    sqlite::open_store,
};
use types::{Affiliation, AgentId, MemoryId, NewMemory, Scope, audit::AttestLevel};

const CALLERS: usize = 32;
const BULK_ROWS: usize = 1000;
const DIMENSION: usize = 256;

/// Feature hashing of words: about what a lexical embedder costs.
struct Hashing;

impl Vectorizer for Hashing {
    fn vector(&self, text: &str) -> Option<Vec<f32>> {
        let mut vector = vec![0f32; DIMENSION];
        for word in text.split_whitespace() {
            let hash = word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
            vector[(hash % DIMENSION as u64) as usize] += sign;
        }
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        (length > 0.0).then(|| vector.iter().map(|x| x / length).collect())
    }
}

const WORDS: &[&str] = &[
    "deploy",
    "database",
    "index",
    "replica",
    "timeout",
    "session",
    "vector",
    "lease",
    "region",
    "operator",
    "rollback",
    "metric",
    "latency",
    "queue",
    "payload",
    "token",
    "schema",
    "snapshot",
    "cluster",
    "gateway",
    "retry",
    "budget",
    "incident",
    "review",
    "merge",
    "branch",
    "secret",
    "policy",
    "agent",
    "memory",
    "recall",
    "namespace",
];

fn sentence(words: usize) -> String {
    let pick = |_| WORDS[random::below(WORDS.len() as u64) as usize];
    (0..words).map(pick).collect::<Vec<_>>().join(" ")
}

fn viewer() -> Viewer {
    let agent = AgentId::local();
    let audiences = Affiliation::default().audiences(&agent);
    Viewer { agent, audiences, attest: AttestLevel::AgentToken, operator: false }
}

fn store_intent(viewer: &Viewer) -> Intent {
    let id = MemoryId(random::uuid_v7(now_unix_ms()));
    let title = format!("{} {:x}", sentence(5), random::u64());
    let audience = Affiliation::default()
        .audience(&viewer.agent, Scope::Private)
        .expect("everyone has a private audience");
    let memory = NewMemory {
        tags: ["bench", "write"].iter().filter_map(|tag| tag.parse().ok()).collect(),
        ..NewMemory::new(
            id,
            title.parse().expect("a short line"),
            sentence(60).parse().expect("a short text"),
            audience,
        )
    };
    Intent::Store { memory: Box::new(memory), on_conflict: OnConflict::Merge }
}

fn request(viewer: &Viewer, rows: usize) -> WriteRequest {
    WriteRequest {
        viewer: viewer.clone(),
        now_ms: now_unix_ms(),
        fence: 0,
        idempotency: None,
        intents: (0..rows).map(|_| store_intent(viewer)).collect(),
        atomic: false,
        quota: None,
        reflection_depth_max: 3,
    }
}

/// Median time of a 4 KiB write with its sync, in the store's folder.
fn fsync_micros(folder: &Path) -> u128 {
    let disk = OsDisk;
    let path = folder.join("fsync-probe");
    let file = disk.open(&path, OpenMode::OpenOrCreate).expect("the folder is writable");
    let mut took: Vec<Duration> = (0..64)
        .map(|at| {
            let started = Instant::now();
            file.write_at(at * 4096, &[at as u8; 4096]).expect("the disk takes a page");
            file.sync().expect("the disk syncs");
            started.elapsed()
        })
        .collect();
    took.sort_unstable();
    disk.remove(&path).expect("the probe can go");
    took[took.len() / 2].as_micros()
}

/// CPU time of the thread called `store-writer`, in microseconds.
fn writer_cpu_micros() -> u64 {
    let read = |entry: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
        let folder = entry.ok()?.path();
        let name = std::fs::read_to_string(folder.join("comm")).ok()?;
        let stat = std::fs::read_to_string(folder.join("schedstat")).ok()?;
        let nanos: u64 = stat.split(' ').next()?.parse().ok()?;
        name.starts_with("store-writer").then_some(nanos / 1000)
    };
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    tasks.filter_map(read).sum()
}

async fn phase(
    name: &str,
    store: &Arc<RowStore>,
    folder: &Path,
    callers: usize,
    rows: usize,
    length: Duration,
) {
    let fsync_before_micros = fsync_micros(folder);
    let position = store.position();
    let before = (*position.borrow(), writer_cpu_micros());
    let slowest = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (store, slowest) = (store.clone(), slowest.clone());
            runtime::task::spawn(async move {
                let viewer = viewer();
                let mut took = Vec::new();
                while started.elapsed() < length {
                    let request = request(&viewer, rows);
                    let asked = Instant::now();
                    store.write(request).await.expect("the store takes the write");
                    took.push(asked.elapsed());
                }
                let worst = took.iter().max().map_or(0, |worst| worst.as_micros() as u64);
                slowest.fetch_max(worst, Relaxed);
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("the caller does not panic"));
    }
    let elapsed = started.elapsed();
    took.sort_unstable();
    let after = (*position.borrow(), writer_cpu_micros());
    let written = after.0 - before.0;
    let at = |permille: usize| took[(took.len() - 1) * permille / 1000].as_micros();
    println!(
        "{}",
        serde_json::json!({
            "phase": name,
            "callers": callers,
            "rows_per_request": rows,
            "rows": written,
            "rows_per_second": (written as f64 / elapsed.as_secs_f64()).round(),
            "writer_cpu_micros_per_row": (after.1 - before.1) as f64 / written.max(1) as f64,
            "p50_micros": at(500) as u64,
            "p99_micros": at(990) as u64,
            "worst_micros": slowest.load(Relaxed),
            "fsync_median_micros": [fsync_before_micros as u64, fsync_micros(folder) as u64],
        })
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.first().map_or_else(|| PathBuf::from("write-bench"), PathBuf::from);
    let number = |at: usize, otherwise: u64| {
        arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let (before, seconds) = (number(1, 0), number(2, 5));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("the system gives threads");
    runtime.block_on(async move {
        let space = EmbeddingSpace {
            model: "hashing".into(),
            version: "1".into(),
            dimension: DIMENSION as u16,
            vectorizer: Some(Arc::new(Hashing)),
        };
        let signer = signer::known();
        let opening = Instant::now();
        let store = open_store(OsDisk::shared(), &folder, StoreConfig::new(signer, space))
            .expect("the folder can hold a store");
        let store = Arc::new(store);
        println!("{}", serde_json::json!({ "open_micros": opening.elapsed().as_micros() as u64 }));
        let viewer = viewer();
        while *store.position().borrow() < before {
            store.write(request(&viewer, BULK_ROWS)).await.expect("the store takes the write");
        }
        let length = Duration::from_secs(seconds);
        phase("single", &store, &folder, CALLERS, 1, length).await;
        phase("bulk", &store, &folder, 2, BULK_ROWS, length).await;
        let closing = Instant::now();
        store.close().await.expect("the store closes");
        println!("{}", serde_json::json!({ "close_micros": closing.elapsed().as_micros() as u64 }));
    });
}
