//! Housekeeping: recalls are written down, expired memories archived, missing vectors computed.
//!
//! Invariants: housekeeping goes through the same write path as everything else, under the node's
//! own name; it holds no lock between steps and stops between any two.
//!
//! Not here: what a request waits for, and the upkeep of indexes (the store's own).

use std::{sync::Arc, time::Duration};

use runtime::{
    clock,
    task::{self, Shutdown},
};
use storage::request::{ComputedVector, Intent};
use types::{ids::IdRef, limits::BULK_MAX};

use super::service::{Service, reject};

/// Time between two reports of recalls.
const ACCESS_PERIOD: Duration = Duration::from_secs(5);
/// Time between two looks for expired memories.
const EXPIRY_PERIOD: Duration = Duration::from_secs(30);
/// Time between two looks for memories without a vector.
const VECTOR_PERIOD: Duration = Duration::from_secs(1);
/// Longest pause after an embedder's failures.
const VECTOR_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Memories embedded in one call.
const VECTOR_BATCH: u32 = 32;

/// Starts the background work of a node.
pub(super) fn start(service: &Arc<Service>, shutdown: &Shutdown) -> Vec<task::JoinHandle<()>> {
    let mut tasks = vec![
        task::spawn_named("accesses", accesses(service.clone(), shutdown.clone())),
        task::spawn_named("expiry", expiry(service.clone(), shutdown.clone())),
    ];
    if service.embedder.space().vectorizer.is_none() {
        tasks.push(task::spawn_named("vectors", vectors(service.clone(), shutdown.clone())));
    }
    tasks
}

/// Waits; says whether to go on.
async fn pause(shutdown: &Shutdown, period: Duration) -> bool {
    tokio::select! {
        () = shutdown.cancelled() => false,
        () = clock::sleep(period) => true,
    }
}

async fn accesses(service: Arc<Service>, shutdown: Shutdown) {
    while pause(&shutdown, ACCESS_PERIOD).await {
        flush_accesses(&service).await;
    }
}

/// Writes down the recalls counted so far.
pub(super) async fn flush_accesses(service: &Service) {
    let counted = service.accesses.take();
    for part in counted.chunks(BULK_MAX) {
        let count = vec![Intent::Access(part.to_vec())];
        if let Err(refusal) = service.keep_house(count, true).await {
            tracing::debug!(%refusal, "recalls were not counted");
        }
    }
}

async fn expiry(service: Arc<Service>, shutdown: Shutdown) {
    while pause(&shutdown, EXPIRY_PERIOD).await {
        if let Err(refusal) = archive_expired(&service, &shutdown).await {
            tracing::warn!(%refusal, "expired memories were not archived");
        }
    }
}

async fn archive_expired(service: &Service, shutdown: &Shutdown) -> Result<(), types::Reject> {
    while !shutdown.is_cancelled() {
        let now_ms = clock::now_unix_ms();
        let expired = service.store.expired(now_ms, BULK_MAX as u32).await.map_err(reject)?;
        if expired.is_empty() {
            break;
        }
        let archive = |id| Intent::Archive { id: IdRef::Full(id), reason: "expired".to_owned() };
        let intents = expired.into_iter().map(archive).collect();
        let receipt = service.keep_house(intents, false).await?;
        if receipt.results.iter().all(Result::is_err) {
            break;
        }
    }
    Ok(())
}

async fn vectors(service: Arc<Service>, shutdown: Shutdown) {
    let mut wait = VECTOR_PERIOD;
    while pause(&shutdown, wait).await {
        wait = match embed_pending(&service).await {
            Ok(0) => VECTOR_PERIOD,
            Ok(_) => Duration::ZERO,
            Err(problem) => {
                tracing::warn!(problem, "memories wait for their vectors; words still find them");
                (wait.max(VECTOR_PERIOD) * 2).min(VECTOR_PAUSE_MAX)
            }
        };
    }
}

/// Embeds some memories; says how many. Resumable: what is missing is asked for anew each time.
async fn embed_pending(service: &Service) -> Result<usize, String> {
    let pending = service.store.pending_vectors(VECTOR_BATCH).await.map_err(|e| e.to_string())?;
    if pending.is_empty() {
        return Ok(0);
    }
    let texts = pending.iter().map(|p| p.text.clone()).collect();
    let embedded = service.embedder.embed(texts).await.map_err(|e| e.to_string())?;
    let computed: Vec<ComputedVector> = pending
        .iter()
        .zip(embedded)
        .filter_map(|(p, values)| {
            values.map(|values| ComputedVector { id: p.id, text_sha256: p.text_sha256, values })
        })
        .collect();
    let done = computed.len();
    service.store.put_vectors(computed).await.map_err(|e| e.to_string())?;
    Ok(done)
}
