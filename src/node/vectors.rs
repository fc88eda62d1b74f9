//! Memories get the vectors that a model elsewhere computes, after they were acknowledged.
//!
//! What is missing is asked of the store anew each time, so this resumes wherever a process ended,
//! and a new model starts over by itself.
//!
//! Invariants: `VEC-1` a text that the embedder does not take keeps no other from its vector;
//! `VEC-2` failures are tried again, later and later, or when the embedder says; `VEC-3` the end of
//! the node waits for no embedder.
//!
//! Not here: embedding (`embed`), and keeping vectors (the store).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use runtime::task::Shutdown;
use storage::{answer::PendingVector, request::ComputedVector};
use types::MemoryId;

use super::{service::Service, upkeep::pause};
use crate::embed::EmbedError;

/// Time between two looks for memories without a vector.
const PERIOD: Duration = Duration::from_secs(1);
/// Longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Longest pause that an embedder may ask for.
const ASKED_PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// Memories embedded in one call.
const BATCH: usize = 32;
/// Most texts passed over; with more, the oldest of them are tried again.
const PASSED_OVER_MAX: usize = 10_000;
/// A text that every model takes.
const PROBE: &str = "a word";

/// Why a round ended without vectors.
enum Problem {
    Store(String),
    Embedder(EmbedError),
}

/// Texts that cannot have a vector: the embedder does not take them, or finds nothing in them. They
/// are tried again when they change, and by the next process.
#[derive(Default)]
struct PassedOver(BTreeMap<MemoryId, [u8; 32]>);

impl PassedOver {
    fn has(&self, text: &PendingVector) -> bool {
        self.0.get(&text.id) == Some(&text.text_sha256)
    }

    fn add(&mut self, text: &PendingVector) {
        if self.0.len() >= PASSED_OVER_MAX {
            self.0.pop_first();
        }
        self.0.insert(text.id, text.text_sha256);
    }
}

/// Computes missing vectors until the node stops.
pub(super) async fn run(service: Arc<Service>, shutdown: Shutdown) {
    let mut passed_over = PassedOver::default();
    let mut wait = PERIOD;
    while pause(&shutdown, wait).await {
        let round = tokio::select! {
            () = shutdown.cancelled() => return,
            round = round(&service, &mut passed_over) => round,
        };
        wait = match round {
            Ok(0) => PERIOD,
            Ok(_) => Duration::ZERO,
            Err(problem) => {
                let next = next_wait(wait, &problem);
                let cause = match problem {
                    Problem::Store(cause) => cause,
                    Problem::Embedder(error) => error.to_string(),
                };
                tracing::warn!(
                    cause,
                    retry_in_seconds = next.as_secs(),
                    "memories wait for their vectors; words still find them"
                );
                next
            }
        };
    }
}

/// `VEC-2`.
fn next_wait(last: Duration, problem: &Problem) -> Duration {
    match problem {
        Problem::Embedder(EmbedError::Busy { retry_after: Some(asked), .. }) => {
            (*asked).clamp(PERIOD, ASKED_PAUSE_MAX)
        }
        _ => (last.max(PERIOD) * 2).min(PAUSE_MAX),
    }
}

/// Embeds some memories; says how many were dealt with.
async fn round(service: &Service, passed_over: &mut PassedOver) -> Result<usize, Problem> {
    let limit = u32::try_from(BATCH + passed_over.0.len()).unwrap_or(u32::MAX);
    let pending = service.store.pending_vectors(limit).await;
    let pending = pending.map_err(|e| Problem::Store(e.to_string()))?;
    let batch: Vec<PendingVector> =
        pending.into_iter().filter(|text| !passed_over.has(text)).take(BATCH).collect();
    if batch.is_empty() {
        return Ok(0);
    }
    match embed(service, &batch, passed_over).await {
        Err(Problem::Embedder(refused @ EmbedError::Refused { .. })) => {
            // Is it one of these texts, or would it be any?
            let probe = service.embedder.embed(vec![PROBE.to_owned()]).await;
            probe.map_err(|_| Problem::Embedder(refused))?;
            for text in &batch {
                match embed(service, std::slice::from_ref(text), passed_over).await {
                    Err(Problem::Embedder(error @ EmbedError::Refused { .. })) => {
                        tracing::warn!(id = %text.id, %error, "words alone find this memory");
                        passed_over.add(text);
                    }
                    embedded => embedded?,
                }
            }
        }
        embedded => embedded?,
    }
    Ok(batch.len())
}

/// Embeds these texts and has their vectors kept.
async fn embed(
    service: &Service,
    texts: &[PendingVector],
    passed_over: &mut PassedOver,
) -> Result<(), Problem> {
    let words = texts.iter().map(|text| text.text.clone()).collect();
    let embedded = service.embedder.embed(words).await.map_err(Problem::Embedder)?;
    let mut computed = Vec::with_capacity(texts.len());
    for (text, values) in texts.iter().zip(embedded) {
        match values {
            Some(values) => {
                computed.push(ComputedVector {
                    id: text.id,
                    text_sha256: text.text_sha256,
                    values,
                });
            }
            None => passed_over.add(text),
        }
    }
    let kept = service.store.put_vectors(computed).await;
    kept.map(drop).map_err(|e| Problem::Store(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_unless_the_embedder_says_how_long() {
        let busy = |asked: Option<u64>| {
            let retry_after = asked.map(Duration::from_secs);
            Problem::Embedder(EmbedError::Busy {
                endpoint: String::new(),
                status: 429,
                retry_after,
            })
        };
        let mut wait = Duration::ZERO;
        let mut waits = Vec::new();
        for _ in 0..7 {
            wait = next_wait(wait, &busy(None));
            waits.push(wait.as_secs());
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60]);
        for (asked, waited) in [(0, 1), (7, 7), (86_400, 900)] {
            assert_eq!(next_wait(wait, &busy(Some(asked))).as_secs(), waited);
        }
    }
}
