//! The retrieval benchmark: how well recall finds what was meant, by signal and by fusion.
//!
//! ```text
//! cargo bench --bench retrieval
//! HIVEMEM_BENCH_MODEL=folder cargo bench --features minilm --bench retrieval
//! ```
//!
//! `HIVEMEM_BENCH_DISTRACTORS` (2000) and `HIVEMEM_BENCH_SEED` (7) change the collection. Figures are of
//! quality and do not depend on the machine; `--profile dev` gives the same ones.
//!
//! Not here: speed (`hivemem bench`).

mod collection;
mod distractors;
mod fusion;
mod metrics;
mod report;
mod world;

use std::{env, sync::Arc};

use anyhow::{Context, Result};
use hivemem::embed::{Embedder, LexicalEmbedder};

use self::{collection::Collection, world::World};

fn number(variable: &str, default: u64) -> Result<u64> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text} is not a number")),
        Err(_) => Ok(default),
    }
}

/// The transformer, when one was asked for.
#[cfg(feature = "minilm")]
fn transformer() -> Result<Option<Arc<dyn Embedder>>> {
    let Some(folder) = env::var_os("HIVEMEM_BENCH_MODEL") else { return Ok(None) };
    let disk = runtime::disk::OsDisk::shared();
    let model = hivemem::embed::MiniLmEmbedder::load(&disk, folder.as_ref())?;
    Ok(Some(Arc::new(model)))
}

#[cfg(not(feature = "minilm"))]
fn transformer() -> Result<Option<Arc<dyn Embedder>>> {
    anyhow::ensure!(
        env::var_os("HIVEMEM_BENCH_MODEL").is_none(),
        "HIVEMEM_BENCH_MODEL needs the feature minilm: cargo bench --features minilm --bench retrieval"
    );
    Ok(None)
}

async fn measure(collection: &Collection, count: u64, seed: u64) -> Result<()> {
    let mut entries = collection.memories.clone();
    entries.extend(distractors::distractors(seed, count as usize));
    println!("data sha256 {}", collection.sha256);
    println!(
        "{} memories, {count} distractors (seed {seed}), {} questions\n",
        collection.memories.len(),
        collection.questions.len()
    );
    let embedders =
        [Some(Arc::new(LexicalEmbedder::default()) as Arc<dyn Embedder>), transformer()?];
    for embedder in embedders.into_iter().flatten() {
        let world = World::filled(embedder, &entries).await?;
        report::print(&world, &collection.questions, seed).await?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let collection = collection::load().context("the collection's files")?;
    let (count, seed) =
        (number("HIVEMEM_BENCH_DISTRACTORS", 2000)?, number("HIVEMEM_BENCH_SEED", 7)?);
    tokio::runtime::Runtime::new()?.block_on(measure(&collection, count, seed))
}
