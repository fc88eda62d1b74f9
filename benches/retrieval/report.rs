//! What is printed: cosines of known sentences, one table of fusions, one by kind of question, one of
//! the factors.
//!
//! Invariant: every row is labelled with what was run; no row is left out because it looks bad.
//!
//! Not here: choosing. The choice and its reasons are in `docs/adr/0002-fusion.md`.

use anyhow::Result;
use hivemem::node::{model::recall::Mode, recall::Ranking};
use runtime::clock;

use super::{
    collection::{Asked as Kind, Question},
    fusion::{Asked, Order, ask, judge, with_random_features},
    metrics::Figures,
    world::World,
};

/// Sentences whose cosines are published for all-MiniLM-L6-v2 (first with second 0.6660, with third 0.1046,
/// second with third 0.1411), so that a model that was loaded wrongly shows.
const SENTENCES: [&str; 3] =
    ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."];

const KINDS: [Kind; 5] =
    [Kind::Paraphrase, Kind::Inflection, Kind::Typo, Kind::Partial, Kind::Neighbour];

fn hybrid(lexical_share: f32) -> Order {
    Order::Product(Ranking { lexical_share, ..Ranking::default() }, Mode::Hybrid)
}

fn orders(default_share: f32) -> Vec<(String, Order)> {
    let product = |mode| Order::Product(Ranking::default(), mode);
    let mut all = vec![
        ("BM25 only".to_owned(), product(Mode::Lexical)),
        ("dense only".to_owned(), product(Mode::Dense)),
        ("RRF, k = 60".to_owned(), Order::Reciprocal),
    ];
    for step in 0..=20u8 {
        let share = f32::from(step) / 20.0;
        let mark = if (share - default_share).abs() < 0.001 { " (default)" } else { "" };
        all.push((format!("hybrid, lexical share {share:.2}{mark}"), hybrid(share)));
    }
    all
}

async fn cosines(world: &World) -> Result<()> {
    let vectors = world.embedder.embed(SENTENCES.map(str::to_owned).to_vec()).await?;
    let cosine = |a: usize, b: usize| match (&vectors[a], &vectors[b]) {
        (Some(a), Some(b)) => a.iter().zip(b).map(|(x, y)| x * y).sum(),
        _ => f32::NAN,
    };
    let of = [cosine(0, 1), cosine(0, 2), cosine(1, 2)].map(|x| format!("{x:.4}"));
    println!("cosines of known sentences: {}\n", of.join(", "));
    Ok(())
}

/// The service itself, end to end, with its default settings.
async fn served(world: &World, questions: &[Question], mode: &str) -> Result<Figures> {
    let mut figures = Figures::default();
    for question in questions {
        figures.add(&world.recall(&question.question, mode).await?, &question.relevant);
    }
    Ok(figures)
}

fn row(name: &str, figures: &Figures, halves: Option<[f64; 2]>) {
    let means: Vec<String> = figures.means().iter().map(|mean| format!("{mean:.4}")).collect();
    let halves = halves.map(|h| h.map(|mean| format!("{mean:.4}")).join(" | "));
    println!("| {name} | {} | {} |", means.join(" | "), halves.unwrap_or(" | ".into()));
}

/// Measures one embedder and prints its tables.
///
/// # Errors
/// A refused question.
pub async fn print(world: &World, questions: &[Question], seed: u64) -> Result<()> {
    let space = world.embedder.space();
    println!("## {} {} ({} dimensions)\n", space.model, space.version, space.dimension);
    cosines(world).await?;
    println!("| ranking | nDCG@10 | R@1 | R@5 | R@10 | MRR@10 | nDCG odd | nDCG even |");
    println!("|---|---|---|---|---|---|---|---|");
    let now_ms = clock::now_unix_ms();
    let asked = ask(world, questions, now_ms).await?;
    let share = world.embedder.lexical_share();
    for (name, order) in orders(share) {
        let all = judge(world, &asked, order, now_ms, |_, _| true)?;
        let half = |rest| {
            judge(world, &asked, order, now_ms, move |at, _| at % 2 == rest).map(|f| f.ndcg())
        };
        row(&name, &all, Some([half(1)?, half(0)?]));
    }
    for mode in ["lexical", "hybrid"] {
        row(&format!("service, {mode}"), &served(world, questions, mode).await?, None);
    }
    by_kind(world, &asked, share, now_ms)?;
    factors(world, &asked, share, seed, now_ms)
}

fn by_kind(world: &World, asked: &[Asked<'_>], share: f32, now_ms: u64) -> Result<()> {
    println!("\n| nDCG@10 by kind | questions | BM25 | dense | hybrid {share:.2} |");
    println!("|---|---|---|---|---|");
    for kind in KINDS {
        let of = |order| judge(world, asked, order, now_ms, |_, q| q.kind == kind);
        let words = of(Order::Product(Ranking::default(), Mode::Lexical))?;
        let dense = of(Order::Product(Ranking::default(), Mode::Dense))?.ndcg();
        let both = of(hybrid(share))?.ndcg();
        let count = words.questions;
        println!("| {kind:?} | {count} | {:.4} | {dense:.4} | {both:.4} |", words.ndcg());
    }
    Ok(())
}

/// What the factors cost when age, tier and priority are random.
fn factors(world: &World, asked: &[Asked<'_>], share: f32, seed: u64, now_ms: u64) -> Result<()> {
    println!("\n| random age, tier, priority | nDCG@10 | MRR@10 |");
    println!("|---|---|---|");
    let asked = with_random_features(asked, seed, now_ms);
    for times in [0u8, 1, 2, 4, 8] {
        let (default, times) = (Ranking::default(), f32::from(times));
        let ranking = Ranking {
            lexical_share: share,
            tier_step: default.tier_step * times,
            recency_gain: default.recency_gain * times,
            priority_step: default.priority_step * times,
            ..default
        };
        let order = Order::Product(ranking, Mode::Hybrid);
        let figures = judge(world, &asked, order, now_ms, |_, _| true)?;
        println!("| factors × {times} | {:.4} | {:.4} |", figures.ndcg(), figures.mrr());
    }
    println!();
    Ok(())
}
