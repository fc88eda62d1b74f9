//! The one way from the service to the store's write path.
//!
//! Invariant: every client write passes through [`Service::commit`], so idempotency, quota, limits
//! and time are applied in one place.
//!
//! Not here: what is written.

use runtime::clock;
use serde::Serialize;
use sha2::{Digest, Sha256};
use storage::{
    answer::{Applied, WriteReceipt},
    request::{Idempotency, Intent, WriteRequest},
};
use types::{Invalid, Reason, Reject, limits::IDEMPOTENCY_KEY_BYTES_MAX};

use super::{Caller, Reply, Service, reject};
use crate::node::model::{
    Written,
    write::{LinkRef, MemoryRef},
};

/// A write whose precondition on idempotency is settled, before it is committed.
pub(crate) struct Wish {
    /// What to do.
    pub intents: Vec<Intent>,
    /// All or none.
    pub atomic: bool,
    /// At-most-once key with the digest of the request.
    pub idempotency: Option<Idempotency>,
}

impl Wish {
    /// One intent.
    pub fn one(intent: Intent) -> Self {
        Self { intents: vec![intent], atomic: true, idempotency: None }
    }
}

/// Digest of an operation's name and its input in canonical JSON: what "the same body" means.
pub(crate) fn body_sha256(operation: &str, input: &impl Serialize) -> Reply<[u8; 32]> {
    let body = serde_json_canonicalizer::to_vec(input)
        .map_err(|e| Invalid::new("body", format!("cannot be put into canonical form: {e}")))?;
    let mut hash = Sha256::new();
    hash.update(operation.as_bytes());
    hash.update([0]);
    hash.update(body);
    Ok(hash.finalize().into())
}

/// The at-most-once key of a request, bound to its body.
pub(crate) fn idempotency(
    caller: &Caller,
    operation: &str,
    input: &impl Serialize,
) -> Reply<Option<Idempotency>> {
    let Some(key) = &caller.idempotency_key else { return Ok(None) };
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(Invalid::new(
            "idempotency_key",
            format!("needs 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes, got {}", key.len()),
        )
        .into());
    }
    Ok(Some(Idempotency { key: key.clone(), body_sha256: body_sha256(operation, input)? }))
}

/// The memory that the first intent of a receipt created or changed.
pub(crate) fn memory_of(receipt: &WriteReceipt) -> Reply<MemoryRef> {
    memory_ref(receipt.results.first())
}

/// The memory an applied intent created or changed, or the refusal.
pub(crate) fn memory_ref(result: Option<&Result<Applied, Reject>>) -> Reply<MemoryRef> {
    match result {
        Some(Ok(Applied::Memory { id, version, merged })) => {
            Ok(MemoryRef { id: id.to_string(), version: *version, merged: *merged })
        }
        Some(Err(refusal)) => Err(refusal.clone()),
        other => Err(unexpected(other)),
    }
}

/// The link that the first intent of a receipt created or changed.
pub(crate) fn link_of(receipt: &WriteReceipt) -> Reply<LinkRef> {
    match receipt.results.first() {
        Some(Ok(Applied::Link { id })) => Ok(LinkRef { id: id.to_string() }),
        Some(Err(refusal)) => Err(refusal.clone()),
        other => Err(unexpected(other)),
    }
}

fn unexpected(result: Option<&Result<Applied, Reject>>) -> Reject {
    tracing::error!(?result, "the store answered another kind of result than it was asked for");
    Reject::new(Reason::StorageFailed, "the store's answer does not fit the request")
}

impl Service {
    /// Commits a wish; the receipt comes after the fsync.
    pub(crate) async fn commit(&self, caller: &Caller, wish: Wish) -> Reply<WriteReceipt> {
        // Before anything is queued the outcome is known: nothing happened.
        if caller.deadline.is_some_and(|deadline| deadline <= clock::Instant::now()) {
            let detail = "the deadline passed before the write began; nothing was written";
            return Err(Reject::new(Reason::Overloaded, detail));
        }
        let request = WriteRequest {
            viewer: caller.viewer.clone(),
            now_ms: clock::now_unix_ms(),
            fence: caller.fence,
            idempotency: wish.idempotency,
            intents: wish.intents,
            atomic: wish.atomic,
            quota: Some(self.settings.quota),
            reflection_depth_max: self.settings.reflection_depth_max,
        };
        let answer = self.store.write(request);
        match caller.deadline {
            None => answer.await.map_err(reject),
            // Giving up waiting does not take the write back: it is queued, so the outcome is unknown.
            Some(deadline) => match clock::timeout_at(deadline, answer).await {
                Ok(answer) => answer.map_err(reject),
                Err(_) => Err(Reject::new(
                    Reason::DeadlineExceeded,
                    "the deadline passed while the write was in progress; retry with the same idempotency key to learn what became of it",
                )),
            },
        }
    }

    /// Adds the durability of a receipt to a result.
    pub(crate) fn written<T>(receipt: &WriteReceipt, result: T) -> Written<T> {
        Written {
            result,
            durability: Self::durability(receipt.position).into(),
            replayed: receipt.replayed,
        }
    }
}
