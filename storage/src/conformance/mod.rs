//! The suite that every backend passes: what [`crate::port`] promises, tried on an empty store.
//!
//! | module | what is tried |
//! |---|---|
//! | [`writing`] | read-your-write, conflicts, idempotency, merge on title, batches |
//! | [`life`] | archive, restore, purge, expiry, legal hold, promotion |
//! | [`visibility`] | nothing crosses a scope, by any way of reading |
//! | [`listing`] | pages, filters, patterns, prefixes |
//! | [`graph`] | links, supersession, neighbourhoods, paths, entities |
//! | [`stream`] | positions, changes, timelines |
//! | [`recalling`] | words, phrases, filters, duplicates |
//! | [`counting`] | quotas, agents, figures |
//!
//! A case says what it tried and what it got; it never panics, so one run names every rule a
//! backend breaks. After each case the audit chain must hold and the check must find nothing.
//!
//! Not here: anything about one backend: files, crashes, tampering, speed.

mod counting;
mod graph;
mod life;
mod listing;
mod recalling;
mod stream;
mod visibility;
mod world;
mod writing;

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::Store;
use world::{Outcome, World};

/// Makes an empty store for each case. Its signer and space are the backend's choice; the space has a
/// vectorizer, so that every memory has a vector at once.
pub trait Factory: Send + Sync {
    /// The vector of a text in the space of the stores; never `None` for a text with a letter in it.
    fn vector(&self, text: &str) -> Option<Vec<f32>>;

    /// A new, empty store.
    fn fresh(&self) -> BoxFuture<'_, Arc<dyn Store>>;
}

/// A rule that a backend breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Name of the case.
    pub case: &'static str,
    /// What was expected and what was found.
    pub problem: String,
}

/// A case: its name and what it does.
type Case = (&'static str, for<'a> fn(&'a World<'a>) -> BoxFuture<'a, Outcome>);

/// Wraps async functions over a world into [`Case`]s.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        /// The cases of this module.
        pub(super) const CASES: &[super::Case] =
            &[$((stringify!($name), |world| Box::pin($name(world)))),+];
    };
}
use cases;

/// All of them.
const MODULES: [&[Case]; 8] = [
    writing::CASES,
    life::CASES,
    visibility::CASES,
    listing::CASES,
    graph::CASES,
    stream::CASES,
    recalling::CASES,
    counting::CASES,
];

/// How many cases the suite has.
pub fn count() -> usize {
    MODULES.into_iter().map(<[Case]>::len).sum()
}

/// Runs every case, each on a store of its own, and gives what failed.
pub async fn run(factory: &dyn Factory) -> Vec<Failure> {
    let mut failures = Vec::new();
    for (name, case) in MODULES.into_iter().flatten() {
        let world = World::new(factory, factory.fresh().await);
        let mut outcome = case(&world).await;
        if outcome.is_ok() {
            outcome = world.evidence_holds().await;
        }
        if let Err(problem) = outcome {
            failures.push(Failure { case: name, problem: problem.to_string() });
        }
    }
    failures
}
