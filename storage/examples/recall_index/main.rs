//! Measures the recall index: `cargo run --release -p storage --example recall_index -- 100000 [FOLDER]`.
//!
//! Prints CPU time per operation (threads' own clocks, so that a busy machine disturbs less), sizes, and how long
//! readers and the writer wait for each other. With a folder, the index is also stored there and opened again.

mod corpus;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use corpus::{Corpus, Rng, filter};
use runtime::clock::Instant;
use runtime::disk::OsDisk;
use storage::index::{IndexFolder, Opened, Query, RecallIndex, Scratch};

const QUESTIONS: usize = 400;
const BATCH: usize = 64;
const TOP: usize = 50;

/// CPU time of this thread in microseconds.
fn cpu_us() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock id is valid and `time` lives for the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

fn rss_mb() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = |at: usize| statm.split(' ').nth(at).and_then(|n| n.parse::<f64>().ok());
    (pages(1).unwrap_or(0.0) - pages(2).unwrap_or(0.0)) * 4096.0 / 1e6
}

fn summary(mut all: Vec<f64>) -> String {
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all[((all.len() as f64 * share) as usize).min(all.len() - 1)];
    format!("p50 {:.1} p95 {:.1} p99 {:.1} max {:.1}", at(0.5), at(0.95), at(0.99), at(1.0))
}

fn timed<T>(into: &mut Vec<f64>, work: impl FnOnce() -> T) -> T {
    let start = cpu_us();
    let result = work();
    into.push(cpu_us() - start);
    result
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let memories: i64 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let corpus = Corpus::new();
    println!(
        "memories {memories}, batches of {BATCH}, top {TOP}, {QUESTIONS} questions; CPU in microseconds"
    );
    let index = build(&corpus, memories);
    searches(&corpus, &index, memories);
    together(&corpus, &index, memories);
    if let Some(folder) = arguments.next() {
        store(&corpus, &index, memories, PathBuf::from(folder));
    }
}

fn build(corpus: &Corpus, memories: i64) -> RecallIndex {
    let index = RecallIndex::new(1);
    let before_mb = rss_mb();
    let (mut prepares, mut applies, mut walls) = (Vec::new(), Vec::new(), Vec::new());
    let mut position = 0;
    for first in (0..memories).step_by(BATCH) {
        let rows = first..(first + BATCH as i64).min(memories);
        let count = (rows.end - rows.start) as f64;
        let texts: Vec<_> = rows.clone().map(|rowid| corpus.memory(rowid)).collect();
        let start = cpu_us();
        for memory in &texts {
            std::hint::black_box(storage::index::prepare(&memory.title, &memory.content, []));
        }
        prepares.push((cpu_us() - start) / count);
        let changes = rows.map(|rowid| corpus.change(rowid)).collect();
        position += 1;
        let (start, wall) = (cpu_us(), Instant::now());
        index.apply(position, changes).expect("positions rise");
        applies.push((cpu_us() - start) / count);
        walls.push(wall.elapsed().as_secs_f64() * 1e3);
    }
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
    println!("prepare per memory   mean {:.1} {}", mean(&prepares), summary(prepares.clone()));
    println!("apply per memory     mean {:.2} {}", mean(&applies), summary(applies.clone()));
    println!("apply per batch, wall ms  {}", summary(walls));
    let (attributes, postings) = index.snapshot().bytes();
    let mb = |bytes: usize| bytes as f64 / 1e6;
    println!(
        "attributes {:.1} MB, postings {:.1} MB, private RSS grew {:.0} MB",
        mb(attributes),
        mb(postings),
        rss_mb() - before_mb
    );
    let mut singles = Vec::new();
    for rowid in memories..memories + 2000 {
        let change = vec![corpus.change(rowid)];
        position += 1;
        timed(&mut singles, || index.apply(position, change)).expect("positions rise");
    }
    println!("apply of one memory       {}", summary(singles));
    index
}

fn searches(corpus: &Corpus, index: &RecallIndex, memories: i64) {
    let snapshot = index.snapshot();
    let mut scratch = Scratch::default();
    for level in 0..3 {
        let mut rng = Rng::new(42);
        let (mut parse, mut whole, mut prefilter, mut among) = (vec![], vec![], vec![], vec![]);
        let mut seen = 0u64;
        for _ in 0..QUESTIONS {
            let text = corpus.question(&mut rng, memories);
            let filter = filter(level, &mut rng, memories);
            let query = timed(&mut parse, || Query::parse(&text));
            let one = timed(&mut whole, || snapshot.search(&query, &filter, TOP, &mut scratch));
            let allowed = timed(&mut prefilter, || snapshot.prefilter(&filter));
            let two =
                timed(&mut among, || snapshot.search_among(&query, &allowed, TOP, &mut scratch));
            assert_eq!(one, two, "both ways of searching agree");
            seen += u64::from(allowed.count());
        }
        let share = seen as f64 / QUESTIONS as f64 / f64::from(snapshot.slots());
        println!("f{level} sees {:.2} %", share * 100.0);
        println!("  parse                   {}", summary(parse));
        println!("  search                  {}", summary(whole));
        println!("  visible set             {}", summary(prefilter));
        println!("  search among the set    {}", summary(among));
    }
}

/// Writes and searches at the same time, on two threads: wall time of each.
fn together(corpus: &Corpus, index: &RecallIndex, memories: i64) {
    let stop = AtomicBool::new(false);
    let mut writes = Vec::new();
    let batches: Vec<Vec<_>> = (0..600)
        .map(|batch| {
            let first = memories + 10_000 + batch * BATCH as i64;
            (first..first + BATCH as i64).map(|rowid| corpus.change(rowid)).collect()
        })
        .collect();
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut walls, mut rng) = (Vec::new(), Rng::new(7));
            while !stop.load(Ordering::Relaxed) {
                let query = Query::parse(&corpus.question(&mut rng, memories));
                let filter = filter(1, &mut rng, memories);
                let start = Instant::now();
                index.search(&query, &filter, TOP);
                walls.push(start.elapsed().as_secs_f64() * 1e3);
            }
            walls
        });
        for batch in batches {
            let position = index.position() + 1;
            let start = Instant::now();
            index.apply(position, batch).expect("positions rise");
            writes.push(start.elapsed().as_secs_f64() * 1e3);
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap_or_default()
    });
    println!("together, wall ms: {} batches {}", writes.len(), summary(writes));
    println!("together, wall ms: {} searches {}", reads.len(), summary(reads));
}

fn store(corpus: &Corpus, index: &RecallIndex, memories: i64, dir: PathBuf) {
    let folder = || IndexFolder::new(Arc::new(OsDisk), dir.clone(), [1; 16]);
    let start = Instant::now();
    let mut save = folder().begin_save(index.snapshot()).expect("the folder can be made");
    let mut steps = Vec::new();
    let saved = loop {
        let step = Instant::now();
        let done = save.step().expect("the disk works");
        steps.push(step.elapsed().as_secs_f64() * 1e3);
        if let Some(saved) = done {
            break saved;
        }
    };
    let mb = saved.written_bytes as f64 / 1e6;
    println!(
        "stored {mb:.1} MB in {:.2} s; steps, wall ms {}",
        start.elapsed().as_secs_f64(),
        summary(steps)
    );
    let (start, cpu) = (Instant::now(), cpu_us());
    let Opened::Loaded(loaded) = folder().open(index.position()) else {
        panic!("what was just stored opens")
    };
    let opened = start.elapsed().as_secs_f64();
    let mut rng = Rng::new(3);
    let query = Query::parse(&corpus.question(&mut rng, memories));
    let hits = loaded.index.search(&query, &filter(1, &mut rng, memories), TOP).len();
    let first = start.elapsed().as_secs_f64();
    println!(
        "opened in {opened:.3} s, first recall ({hits} hits) after {first:.3} s, {:.3} s CPU",
        (cpu_us() - cpu) / 1e6
    );
}
