//! Housekeeping: recalls are written down, expired memories archived, and it is known who is registered.
//!
//! Invariants: housekeeping goes through the same write path as everything else, under the node's
//! own name; it holds no lock between steps and stops between any two.
//!
//! Not here: what a request waits for, vectors that a model computes (`vectors`), and the upkeep of
//! indexes (the store's own).

use std::{sync::Arc, time::Duration};

use runtime::{
    clock,
    task::{self, Shutdown},
};
use storage::request::Intent;
use types::{ids::IdRef, limits::BULK_MAX};

use super::{
    service::{Service, reject},
    vectors,
};
use crate::peers::Peers;

/// Time between two reports of recalls.
const ACCESS_PERIOD: Duration = Duration::from_secs(5);
/// Time between two tries to read the registered agents.
const AGENTS_PAUSE: Duration = Duration::from_secs(1);
/// Time between two looks for expired memories.
const EXPIRY_PERIOD: Duration = Duration::from_secs(30);
/// How much longer each node waits than the one before it, so that one archives for all while it is there.
const EXPIRY_TURN: Duration = Duration::from_secs(600);

/// Starts the background work of a node.
pub(super) fn start(service: &Arc<Service>, shutdown: &Shutdown) -> Vec<task::JoinHandle<()>> {
    let mut tasks = vec![
        task::spawn_named("accesses", accesses(service.clone(), shutdown.clone())),
        task::spawn_named("agents", agents(service.clone(), shutdown.clone())),
        task::spawn_named("expiry", expiry(service.clone(), shutdown.clone())),
    ];
    if service.embedder.space().vectorizer.is_none() {
        tasks.push(task::spawn_named("vectors", vectors::run(service.clone(), shutdown.clone())));
    }
    tasks
}

/// Waits; says whether to go on.
pub(super) async fn pause(shutdown: &Shutdown, period: Duration) -> bool {
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

/// Keeps up with agents that peers, or other nodes on the same database, register and revoke.
async fn agents(service: Arc<Service>, shutdown: Shutdown) {
    let mut changed = service.store.agents_changed();
    // Some may have changed since the start has read them.
    changed.mark_changed();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            told = changed.changed() => if told.is_err() { return },
        }
        while let Err(refusal) = service.reload_agents().await {
            tracing::warn!(%refusal, "the registered agents could not be read");
            if !pause(&shutdown, AGENTS_PAUSE).await {
                return;
            }
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
        let turn = service.peers().map_or(0, Peers::turn);
        let waits_ms = u64::try_from((EXPIRY_TURN * turn).as_millis()).unwrap_or(u64::MAX);
        let before_ms = clock::now_unix_ms().saturating_sub(waits_ms);
        let expired = service.store.expired(before_ms, BULK_MAX as u32).await.map_err(reject)?;
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
