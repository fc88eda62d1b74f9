//! A database on a server beside a file: the same memories, questions and clients on one machine in one run.
//!
//! ```text
//! cargo bench --bench database
//! HIVEMEM_BENCH_MEMORIES=1000000 HIVEMEM_BENCH_KILLS=60,120,200 cargo bench --bench database
//! ```
//!
//! Fills a file, and moves one of two copies to a PostgreSQL of its own, synced to disk, with PgBouncer before it
//! (`deploy/postgres`). Then 1, 8 and 32 clients recall, and store, in the file, in the database, and through PgBouncer,
//! which take turns, after all was read into memory once; last the memories of the database go back into a file. Every move
//! compares both sides to the byte.
//!
//! | variable | default | |
//! |---|---|---|
//! | `HIVEMEM_BENCH_MEMORIES` | 100000 | how many |
//! | `HIVEMEM_BENCH_DIMENSION` | 384 | components of a vector |
//! | `HIVEMEM_BENCH_SECONDS` | 5 | length of one measurement |
//! | `HIVEMEM_BENCH_ROUNDS` | 1 | measurements, of which the table shows medians |
//! | `HIVEMEM_BENCH_KILLS` | | seconds after which the move is killed and begun again, `60,120` |
//! | `HIVEMEM_BENCH_FOLDER` | a temporary one | where; what was filled there is taken, all else is made anew and left |
//! | `SHARED_BUFFERS` | 4GB | of the server |
//!
//! Not here: graph queries (`storage/examples/graph_bench.rs`), the measurement itself (`hivemem bench`).

mod figures;
mod moving;
mod place;

use std::{env, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use self::{
    figures::Table,
    place::{DATABASE, FILE, FILLED, Place},
};

/// How much is measured.
pub struct Sizes {
    memories: u64,
    dimension: u64,
    seconds: u64,
    rounds: u64,
    kills_s: Vec<u64>,
}

fn number(variable: &str, default: u64) -> Result<u64> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text} is not a number")),
        Err(_) => Ok(default),
    }
}

impl Sizes {
    fn read() -> Result<Self> {
        let kills = env::var("HIVEMEM_BENCH_KILLS").unwrap_or_default();
        let kills = kills.split(',').filter(|text| !text.is_empty());
        let sizes = Self {
            memories: number("HIVEMEM_BENCH_MEMORIES", 100_000)?,
            dimension: number("HIVEMEM_BENCH_DIMENSION", 384)?,
            seconds: number("HIVEMEM_BENCH_SECONDS", 5)?,
            rounds: number("HIVEMEM_BENCH_ROUNDS", 1)?,
            kills_s: kills
                .map(|text| text.parse().with_context(|| format!("{text} is no time in seconds")))
                .collect::<Result<_>>()?,
        };
        if sizes.memories * sizes.seconds * sizes.rounds == 0 {
            bail!("without memories, seconds or rounds nothing is measured");
        }
        Ok(sizes)
    }

    /// A command of the daemon's binary, to which this run's variables would be settings it does not know.
    fn hivemem(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hivemem"));
        command.env_clear().arg("--set").arg(format!("embedder.dimension={}", self.dimension));
        command
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(std::fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}

async fn measure() -> Result<()> {
    let sizes = Sizes::read()?;
    let place = Place::new()?;
    figures::fill(&place, &sizes)?;
    for node in [FILE, DATABASE] {
        let folder = place.path(node);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        copy(&place.path(FILLED), &folder)?;
    }
    let direct = place.direct.as_str();
    let moved = (format!("sqlite:{}", place.path(DATABASE).display()), direct.to_owned());
    println!("{}", moving::run("file to database", &moved, &sizes, &sizes.kills_s).await?);
    place.warm()?;
    let mut table = Table::default();
    for round in 0..sizes.rounds {
        figures::round(&place, &sizes, round, &mut table)?;
    }
    print!("{table}");
    let back = (direct.to_owned(), format!("sqlite:{}", place.path(DATABASE).display()));
    println!("{}", moving::run("database to file", &back, &sizes, &[]).await?);
    Ok(())
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure())
}
