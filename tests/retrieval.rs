//! Recall with its defaults is not worse than words alone, on the shipped test collection.
//!
//! Not here: the figures behind the defaults (`cargo bench --bench retrieval`, `docs/adr/0002-fusion.md`).

#[path = "../benches/retrieval/collection.rs"]
mod collection;
#[path = "../benches/retrieval/distractors.rs"]
mod distractors;
#[path = "../benches/retrieval/metrics.rs"]
mod metrics;
#[path = "../benches/retrieval/world.rs"]
mod world;

use std::sync::Arc;

use hivemem::embed::LexicalEmbedder;

use self::{
    collection::{Asked, Collection},
    distractors::{SplitMix, distractors},
    metrics::Figures,
    world::World,
};

/// Distractors: enough to hide the answers among, few enough for an ordinary test.
const DISTRACTORS: usize = 400;
const SEED: u64 = 7;
/// How much worse hybrid may be before it counts as worse.
const TOLERANCE: f64 = 0.005;

async fn figures(world: &World, collection: &Collection, mode: &str) -> Figures {
    let mut figures = Figures::default();
    for question in &collection.questions {
        let ranked = world.recall(&question.question, mode).await.expect("answered");
        figures.add(&ranked, &question.relevant);
    }
    figures
}

#[tokio::test]
async fn the_default_hybrid_is_not_worse_than_words_alone() {
    let collection = collection::load().expect("the collection");
    let mut entries = collection.memories.clone();
    entries.extend(distractors(SEED, DISTRACTORS));
    let world =
        World::filled(Arc::new(LexicalEmbedder::default()), &entries).await.expect("filled");
    let words = figures(&world, &collection, "lexical").await;
    let hybrid = figures(&world, &collection, "hybrid").await;
    assert!(hybrid.ndcg() >= words.ndcg() - TOLERANCE, "nDCG@10 {hybrid:?} against {words:?}");
    assert!(hybrid.mrr() >= words.mrr() - TOLERANCE, "MRR {hybrid:?} against {words:?}");
    // A collection that nothing is found in would pass the comparison.
    assert!(words.ndcg() > 0.3, "{words:?}");
}

#[test]
fn the_collection_is_whole() {
    let collection = collection::load().expect("the collection");
    assert_eq!(collection.sha256.len(), 64);
    let known = |key: &String| collection.memories.iter().any(|memory| memory.key == *key);
    for question in &collection.questions {
        assert!(
            !question.relevant.is_empty() && question.relevant.iter().all(known),
            "{question:?}"
        );
        let answers = if question.kind == Asked::Neighbour { 2 } else { 1 };
        assert_eq!(question.relevant.len(), answers, "{question:?}");
    }
}

#[test]
fn distractors_are_a_function_of_their_seed() {
    let texts = |seed| distractors(seed, 50).into_iter().map(|e| e.content).collect::<Vec<_>>();
    assert_eq!(texts(1), texts(1));
    assert_ne!(texts(1), texts(2));
    assert_eq!(SplitMix::new(0).below(u64::MAX), 0xe220_a839_7b1d_cdaf);
}

#[test]
fn figures_of_known_rankings() {
    let judged = |ranked: &[&str], relevant: &[&str]| {
        let mut figures = Figures::default();
        let ranked: Vec<String> = ranked.iter().map(|key| (*key).to_owned()).collect();
        figures.add(&ranked, &relevant.iter().map(|key| (*key).to_owned()).collect());
        figures.means()
    };
    assert_eq!(judged(&["a", "b"], &["a"]), [1.0; 5]);
    assert_eq!(judged(&["b", "c"], &["a"]), [0.0; 5]);
    let third = judged(&["x", "y", "a"], &["a"]);
    assert_eq!(third[..4], [0.5, 0.0, 1.0, 1.0]);
    assert!((third[4] - 1.0 / 3.0).abs() < 1e-12);
    let half = judged(&["a", "x"], &["a", "b"]);
    assert!((half[0] - 1.0 / (1.0 + 1.0 / 3f64.log2())).abs() < 1e-12);
    assert_eq!(half[1..], [0.5, 0.5, 0.5, 1.0]);
}
