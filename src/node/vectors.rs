//! Memories get the vectors that a model elsewhere computes, after they were acknowledged.
//!
//! The store has a queue of texts that wait, so this resumes wherever a process ended, and several nodes on one database share
//! the work. A new model starts over by itself.
//!
//! Invariants: `VEC-1` a text that the embedder does not take keeps no other from its vector: it becomes a dead letter of the
//! queue; `VEC-2` failures are tried again, later and later, or when the embedder says; `VEC-3` the end of the node waits for no
//! embedder.
//!
//! Not here: embedding (`embed`), the queue and the vectors (the store).

use std::{sync::Arc, time::Duration};

use runtime::{clock, task::Shutdown};
use storage::{
    StoreError,
    answer::PendingVector,
    request::{ComputedVector, ReturnedText},
};

use super::{service::Service, upkeep::pause};
use crate::embed::EmbedError;

/// Time between two looks for texts that wait.
const PERIOD: Duration = Duration::from_secs(1);
/// Longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Longest pause that an embedder may ask for.
const ASKED_PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// Texts embedded in one call.
const BATCH: u32 = 32;
/// How long texts are taken for, ms: what an embedder may need for a batch, and more.
const LEASE_MS: u64 = 5 * 60 * 1000;
/// A text that every model takes.
const PROBE: &str = "a word";
/// Why a text has no vector although it was taken.
const NOTHING: &str = "the embedder finds nothing in it";

/// Why a round ended without vectors.
enum Problem {
    Store(StoreError),
    Embedder(EmbedError),
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Computes missing vectors until the node stops.
pub(super) async fn run(service: Arc<Service>, shutdown: Shutdown) {
    let (mut reviewed, mut wait) = (false, PERIOD);
    while pause(&shutdown, wait).await {
        let round = tokio::select! {
            () = shutdown.cancelled() => return,
            round = round(&service, &mut reviewed, wait) => round,
        };
        wait = match round {
            Ok(0) => PERIOD,
            Ok(_) => Duration::ZERO,
            Err(problem) => {
                let next = next_wait(wait, &problem);
                let cause = match problem {
                    Problem::Store(error) => error.to_string(),
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

/// Embeds some texts; says how many were dealt with.
async fn round(service: &Service, reviewed: &mut bool, wait: Duration) -> Result<usize, Problem> {
    if !*reviewed {
        let added = service.store.review_texts().await?;
        if added > 0 {
            tracing::info!(added, "memories without a vector wait for one now");
        }
        *reviewed = true;
    }
    let taken = service.store.take_texts(BATCH, clock::now_unix_ms(), LEASE_MS).await?;
    if taken.is_empty() {
        return Ok(0);
    }
    match embed_all(service, &taken).await {
        Ok(()) => Ok(taken.len()),
        Err(problem) => {
            // They are tried again when this node does, or by another one.
            let pause_ms = next_wait(wait, &problem).as_millis() as u64;
            if let Problem::Embedder(error) = &problem {
                let at_ms = Some(clock::now_unix_ms() + pause_ms);
                let back = taken.iter().map(|text| returned(text, error.to_string(), at_ms));
                service.store.return_texts(back.collect()).await?;
            }
            Err(problem)
        }
    }
}

fn returned(text: &PendingVector, problem: String, again_at_ms: Option<u64>) -> ReturnedText {
    ReturnedText { id: text.id, text_sha256: text.text_sha256, problem, again_at_ms }
}

async fn embed_all(service: &Service, taken: &[PendingVector]) -> Result<(), Problem> {
    let refused = match embed(service, taken).await {
        Err(Problem::Embedder(refused @ EmbedError::Refused { .. })) => refused,
        embedded => return embedded,
    };
    // Is it one of these texts, or would it be any?
    let probe = service.embedder.embed(vec![PROBE.to_owned()]).await;
    probe.map_err(|_| Problem::Embedder(refused))?;
    for text in taken {
        match embed(service, std::slice::from_ref(text)).await {
            Err(Problem::Embedder(error @ EmbedError::Refused { .. })) => {
                tracing::warn!(id = %text.id, %error, "words alone find this memory");
                let back = vec![returned(text, error.to_string(), None)];
                service.store.return_texts(back).await?;
            }
            embedded => embedded?,
        }
    }
    Ok(())
}

/// Embeds these texts and has their vectors kept.
async fn embed(service: &Service, texts: &[PendingVector]) -> Result<(), Problem> {
    let words = texts.iter().map(|text| text.text.clone()).collect();
    let embedded = service.embedder.embed(words).await.map_err(Problem::Embedder)?;
    let (mut computed, mut without) = (Vec::with_capacity(texts.len()), Vec::new());
    for (text, values) in texts.iter().zip(embedded) {
        let (id, text_sha256) = (text.id, text.text_sha256);
        match values {
            Some(values) => computed.push(ComputedVector { id, text_sha256, values }),
            None => without.push(returned(text, NOTHING.to_owned(), None)),
        }
    }
    service.store.put_vectors(computed).await?;
    if !without.is_empty() {
        service.store.return_texts(without).await?;
    }
    Ok(())
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
