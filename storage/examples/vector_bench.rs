//! Measures the vector index: search by plan and filter, recall against the exact plan, add, graph, memory, open.
//!
//! ```text
//! cargo run --release -p storage --example vector_bench -- DIR [ROWS]... [--no-graph]
//! ```
//!
//! Vectors are synthetic and seeded: 5,000 clusters in 32 latent dimensions, projected to 384, with noise in both and a
//! common direction that all share (as embeddings of one model do). Filters pick slots at random with probability 0.76,
//! 0.078 and 0.005. Search and add are measured in CPU time of the thread, files and graph in both. Prints one JSON
//! object per line. DIR is emptied of the index's own files at the end.

use std::error::Error;
use std::path::{Path, PathBuf};

use runtime::clock::Instant;
use runtime::disk::{DiskRef, OsDisk};
use serde_json::{Value, json};
use storage::index::bitmap::{Allowed, Bitmap};
use storage::index::vector::{PlanKind, SearchMode, Space, VectorConfig, VectorIndex};

const DIMENSION: u16 = 384;
const LATENT: usize = 32;
const CLUSTERS: u64 = 5_000;
const QUERIES: u64 = 200;
const K: u32 = 50;
const FILTERS: [f64; 4] = [1.0, 0.76, 0.078, 0.005];
const MAINTAIN_BUDGET: u32 = 4_096;

/// SplitMix64: enough for test data, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Roughly normal: the sum of three uniform numbers, centred.
    fn bell(&mut self) -> f32 {
        (0..3).map(|_| self.unit() as f32).sum::<f32>() - 1.5
    }
}

struct Data {
    projection: Vec<f32>,
    common: Vec<f32>,
}

impl Data {
    fn new() -> Self {
        let mut dice = Dice(99);
        let dimension = usize::from(DIMENSION);
        let projection = (0..dimension * LATENT).map(|_| dice.bell()).collect();
        let common = (0..dimension).map(|_| 2.0 * dice.bell()).collect();
        Self { projection, common }
    }

    fn vector(&self, seed: u64, cluster: u64, spread: f32) -> Vec<f32> {
        let (mut centre, mut noise) = (Dice(cluster * 31 + 7), Dice(seed * 17 + 3));
        let latent: Vec<f32> = (0..LATENT).map(|_| centre.bell() + spread * noise.bell()).collect();
        let rows = self.projection.chunks(LATENT).zip(&self.common);
        rows.map(|(row, common)| {
            let projected: f32 = row.iter().zip(&latent).map(|(a, b)| a * b).sum();
            projected + common + 0.5 * noise.bell()
        })
        .collect()
    }

    fn document(&self, slot: u32) -> Vec<f32> {
        self.vector(u64::from(slot), u64::from(slot) % CLUSTERS, 0.8)
    }

    fn query(&self, number: u64) -> Vec<f32> {
        let cluster = Dice(number).next() % CLUSTERS;
        self.vector(1 << 40 | number, cluster, 0.9)
    }
}

/// CPU time of this thread in milliseconds.
fn cpu_ms() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer leads to a timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// A line of /proc/self/status in MB.
fn status_mb(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok());
    kilobytes.unwrap_or_default() / 1024.0
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted.get(((sorted.len() as f64 - 1.0) * share).round() as usize).copied().unwrap_or(0.0)
}

fn timing(mut samples: Vec<f64>) -> Value {
    samples.sort_by(f64::total_cmp);
    json!({"p50": round(percentile(&samples, 0.5)), "p95": round(percentile(&samples, 0.95)),
           "max": round(percentile(&samples, 1.0))})
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn print(value: &Value) {
    println!("{value}");
}

fn open(rows: u32, graph: bool, dir: &Path) -> Result<VectorIndex, Box<dyn Error>> {
    let space = Space { model: "synthetic".into(), version: "1".into(), dimension: DIMENSION };
    let graph_min_rows = if graph { rows / 10 * 9 } else { u32::MAX };
    let config = VectorConfig { graph_min_rows, ..VectorConfig::default() };
    let disk: DiskRef = OsDisk::shared();
    Ok(VectorIndex::open(space, config, disk, dir.to_owned())?)
}

fn fill(index: &VectorIndex, data: &Data, rows: u32) -> Result<(), Box<dyn Error>> {
    let (mut adds, mut chores) = (Vec::with_capacity(rows as usize), Vec::new());
    for slot in 0..rows {
        let vector = data.document(slot);
        let start = cpu_ms();
        index.add(slot, &vector)?;
        adds.push((cpu_ms() - start) * 1e3);
        // Upkeep as an owner would drive it; graph insertions are left for later.
        if slot % 4_096 == 4_095 && index.stats().writable_segments > 1 {
            let start = cpu_ms();
            index.maintain(1)?;
            chores.push(cpu_ms() - start);
        }
    }
    let total: f64 = chores.iter().sum();
    print(&json!({"rows": rows, "add_us": timing(adds), "chore_step_ms": timing(chores),
        "chores_us_per_row": round(total * 1e3 / f64::from(rows)),
        "anonymous_mb": round(status_mb("RssAnon"))}));
    Ok(())
}

fn finish(index: &VectorIndex, rows: u32) -> Result<(), Box<dyn Error>> {
    let (cpu, wall) = (cpu_ms(), Instant::now());
    let mut peak_mb = 0f64;
    while index.maintain(MAINTAIN_BUDGET)? {
        peak_mb = peak_mb.max(status_mb("RssAnon"));
    }
    let stats = index.stats();
    index.flush()?;
    print(&json!({"rows": rows, "graph_rows": stats.graph_rows,
        "graph_bytes_per_row": stats.graph_bytes / u64::from(stats.graph_rows.max(1)),
        "finish_cpu_us_per_row": round((cpu_ms() - cpu) * 1e3 / f64::from(rows)),
        "finish_wall_s": round(wall.elapsed().as_secs_f64()),
        "peak_anonymous_mb": round(peak_mb), "anonymous_mb": round(status_mb("RssAnon"))}));
    Ok(())
}

fn allowed(rows: u32, share: f64) -> Allowed {
    let mut dice = Dice(5);
    let mut bits = Bitmap::new(rows);
    (0..rows).filter(|_| dice.unit() < share).for_each(|slot| bits.insert(slot));
    Allowed::new(bits)
}

fn overlap(exact: &[u32], other: &[u32], k: usize) -> f64 {
    let wanted = exact.iter().take(k);
    let found = wanted.clone().filter(|slot| other.iter().take(k).any(|got| got == *slot)).count();
    found as f64 / wanted.len().max(1) as f64
}

fn search(index: &VectorIndex, data: &Data, rows: u32) -> Result<(), Box<dyn Error>> {
    for share in FILTERS {
        let allowed = allowed(rows, share);
        let mut exact: Vec<Vec<u32>> = Vec::new();
        for mode in [SearchMode::Exact, SearchMode::SignBits, SearchMode::Graph, SearchMode::Auto] {
            let (mut times, mut at10, mut at50, mut kind) = (Vec::new(), 0.0, 0.0, None);
            for number in 0..QUERIES {
                let query = data.query(number);
                let start = cpu_ms();
                let answer = index.search(&query, K, &allowed, mode)?;
                times.push(cpu_ms() - start);
                let slots: Vec<u32> = answer.hits.iter().map(|hit| hit.slot).collect();
                if mode == SearchMode::Exact {
                    exact.push(slots.clone());
                }
                at10 += overlap(&exact[number as usize], &slots, 10) / QUERIES as f64;
                at50 += overlap(&exact[number as usize], &slots, 50) / QUERIES as f64;
                kind = Some(answer.plan);
            }
            let plan = kind.ok_or("no queries")?;
            if mode == SearchMode::Graph && plan.kind != PlanKind::Graph {
                continue;
            }
            print(&json!({"rows": rows, "allowed": share, "mode": format!("{mode:?}"),
                "plan": format!("{:?}", plan.kind), "selected": plan.selected, "tail": plan.tail,
                "scored": plan.scored, "cpu_ms": timing(times),
                "recall_at_10": round(at10), "recall_at_50": round(at50)}));
        }
    }
    Ok(())
}

fn reopen(data: &Data, rows: u32, graph: bool, dir: &Path) -> Result<(), Box<dyn Error>> {
    let (cpu, wall) = (cpu_ms(), Instant::now());
    let index = open(rows, graph, dir)?;
    let (open_cpu, open_wall) = (cpu_ms() - cpu, wall.elapsed());
    let allowed = allowed(rows, 0.76);
    index.search(&data.query(1), K, &allowed, SearchMode::Auto)?;
    let first = wall.elapsed();
    let (cpu, background) = (cpu_ms(), Instant::now());
    while index.maintain(1)? {}
    print(&json!({"rows": rows, "open_cpu_ms": round(open_cpu),
        "open_wall_ms": round(open_wall.as_secs_f64() * 1e3),
        "open_to_first_search_ms": round(first.as_secs_f64() * 1e3),
        "verify_cpu_ms": round(cpu_ms() - cpu),
        "verify_wall_ms": round(background.elapsed().as_secs_f64() * 1e3),
        "graph_rows": index.stats().graph_rows, "anonymous_mb": round(status_mb("RssAnon")),
        "missing": index.missing(&Bitmap::full(rows)).count()}));
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let graph = !arguments.iter().any(|argument| argument == "--no-graph");
    let mut plain = arguments.iter().filter(|argument| !argument.starts_with("--"));
    let dir = PathBuf::from(plain.next().ok_or("usage: vector_bench DIR [ROWS]... [--no-graph]")?);
    let mut sizes: Vec<u32> = plain.map(|rows| rows.parse()).collect::<Result<_, _>>()?;
    if sizes.is_empty() {
        sizes = vec![100_000, 1_000_000];
    }
    let data = Data::new();
    for rows in sizes {
        let dir = dir.join(format!("vectors-{rows}"));
        let index = open(rows, graph, &dir)?;
        fill(&index, &data, rows)?;
        finish(&index, rows)?;
        search(&index, &data, rows)?;
        drop(index);
        reopen(&data, rows, graph, &dir)?;
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}
