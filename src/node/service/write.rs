//! The one way from the service to the store's write path.
//!
//! Invariants: `SVC-4` every write of a caller passes through [`Service::mutate`], which cannot be
//! called without the name and the body of what was asked, so an idempotency key is honoured by
//! every operation in the same way; quota, limits and time are applied in one place.
//!
//! Not here: what is written.

use runtime::clock;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use storage::{
    answer::{Applied, WriteReceipt},
    request::{Idempotency, Intent, WriteRequest},
};
use types::{Invalid, Reason, Reject, limits::IDEMPOTENCY_KEY_BYTES_MAX};

use super::{Caller, Reply, Service, govern::Governed, reject};
use crate::node::model::{
    Written,
    write::{LinkRef, MemoryRef},
};

/// A mutation that a caller asks for, bound to its key before anything is worked out: working it
/// out may depend on what the first attempt changed.
pub(crate) struct Asked<'a> {
    caller: &'a Caller,
    key: Option<Idempotency>,
}

impl<'a> Asked<'a> {
    /// `operation` and `input` together are what "the same body" means.
    ///
    /// # Errors
    /// `invalid_argument` for a key that is empty or too long.
    pub fn new(caller: &'a Caller, operation: &str, input: &impl Serialize) -> Reply<Self> {
        let Some(key) = &caller.idempotency_key else { return Ok(Self { caller, key: None }) };
        if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
            return Err(Invalid::new(
                "idempotency_key",
                format!("needs 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes, got {}", key.len()),
            )
            .into());
        }
        let body_sha256 = body_sha256(operation, input)?;
        let key = Idempotency { key: key.clone(), body_sha256, note: Vec::new() };
        Ok(Self { caller, key: Some(key) })
    }
}

/// What a mutation comes down to.
pub(crate) struct Plan<N = ()> {
    /// What to do; nothing is a plan too.
    pub intents: Vec<Intent>,
    /// All or none.
    pub atomic: bool,
    /// What the answer needs besides the results. It is kept with them, so that a repeated request
    /// gets the first answer and not one made from what it would find now.
    pub note: N,
}

impl Plan {
    /// All of these or none.
    pub fn all(intents: Vec<Intent>) -> Self {
        Self { intents, atomic: true, note: () }
    }

    /// One intent.
    pub fn one(intent: Intent) -> Self {
        Self::all(vec![intent])
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
    Reject::new(Reason::Internal, "the store's answer does not fit the request")
}

fn unreadable(error: &serde_json::Error) -> Reject {
    tracing::error!(%error, "the note of a remembered answer does not fit its operation");
    Reject::new(Reason::Internal, "the remembered answer cannot be read")
}

impl Service {
    /// Works a mutation out, commits it, and answers after the fsync; under a key that was used
    /// before, gives the first answer again without doing anything.
    pub(crate) async fn mutate<N: Serialize + DeserializeOwned, T>(
        &self,
        asked: Asked<'_>,
        plan: impl Future<Output = Reply<Plan<N>>>,
        answer: impl FnOnce(N, &WriteReceipt) -> Reply<T>,
    ) -> Reply<Written<T>> {
        let Asked { caller, key } = asked;
        let ((receipt, warnings), note) = match (plan.await, key) {
            (Ok(plan), Some(mut key)) => {
                key.note = serde_json::to_vec(&plan.note).map_err(|e| unreadable(&e))?;
                let receipt = self.commit(caller, Some(key), plan.intents, plan.atomic).await?;
                (receipt, Some(plan.note))
            }
            (Ok(plan), None) if plan.intents.is_empty() => {
                let position = *self.position.borrow();
                let results = Vec::new();
                let nothing = WriteReceipt {
                    results,
                    position,
                    operations: None,
                    replayed: false,
                    note: Vec::new(),
                };
                ((nothing, Vec::new()), Some(plan.note))
            }
            (Ok(plan), None) => {
                let receipt = self.commit(caller, None, plan.intents, plan.atomic).await?;
                (receipt, Some(plan.note))
            }
            (Err(refusal), None) => return Err(refusal),
            (Err(refusal), Some(key)) => (self.remembered_or(caller, key, refusal).await?, None),
        };
        let note = match note {
            Some(note) if !receipt.replayed => note,
            _ => serde_json::from_slice(&receipt.note).map_err(|e| unreadable(&e))?,
        };
        let result = answer(note, &receipt)?;
        let durability = self.durable(caller, &receipt).await?;
        Ok(Written::new(result, durability, receipt.replayed, warnings))
    }

    /// A mutation that answers with the memory its first intent created or changed.
    pub(crate) async fn change(
        &self,
        asked: Asked<'_>,
        plan: impl Future<Output = Reply<Plan>>,
    ) -> Reply<Written<MemoryRef>> {
        self.mutate(asked, plan, |(), receipt| memory_ref(receipt.results.first())).await
    }

    /// The answer given before under this key, else the refusal.
    async fn remembered_or(
        &self,
        caller: &Caller,
        key: Idempotency,
        refusal: Reject,
    ) -> Reply<(WriteReceipt, Vec<String>)> {
        let refuse = Intent::Refuse(Box::new(refusal.clone()));
        let found = self.commit(caller, Some(key), vec![refuse], true).await;
        // Another reason says that the key was used otherwise, or that nobody could look.
        found.map_err(|other| if other.reason == refusal.reason { refusal } else { other })
    }

    /// Housekeeping under the node's own name: without a key, and outside anybody's quota.
    pub(crate) async fn keep_house(
        &self,
        intents: Vec<Intent>,
        atomic: bool,
    ) -> Reply<WriteReceipt> {
        let request = WriteRequest {
            viewer: self.own_viewer(),
            now_ms: self.time_to_write(None).await?,
            fence: 0,
            idempotency: None,
            intents,
            atomic,
            quota: None,
            reflection_depth_max: self.settings.reflection_depth_max,
        };
        self.store.write(request).await.map_err(reject)
    }

    /// The time to write with, once this node may.
    async fn time_to_write(&self, deadline: Option<clock::Instant>) -> Reply<u64> {
        match &self.peers {
            Some(peers) => peers.may_write(deadline).await,
            None => Ok(clock::now_unix_ms()),
        }
    }

    async fn commit(
        &self,
        caller: &Caller,
        idempotency: Option<Idempotency>,
        intents: Vec<Intent>,
        atomic: bool,
    ) -> Reply<(WriteReceipt, Vec<String>)> {
        // Before anything is queued the outcome is known: nothing happened.
        if caller.deadline.is_some_and(|deadline| deadline <= clock::Instant::now()) {
            let detail = "the deadline passed before the write began; nothing was written";
            return Err(Reject::new(Reason::Overloaded, detail));
        }
        self.check_reaches_peers()?;
        let Governed { intents, reflection_depth_max, warnings } =
            self.govern(caller, intents).await?;
        let request = WriteRequest {
            viewer: caller.viewer.clone(),
            now_ms: self.time_to_write(caller.deadline).await?,
            fence: caller.fence,
            idempotency,
            intents,
            atomic,
            quota: Some(self.settings.quota),
            reflection_depth_max,
        };
        let answer = self.store.write(request);
        let receipt = match caller.deadline {
            None => answer.await.map_err(reject),
            // Giving up waiting does not take the write back: it is queued, so the outcome is unknown.
            Some(deadline) => match clock::timeout_at(deadline, answer).await {
                Ok(answer) => answer.map_err(reject),
                Err(_) => Err(Reject::new(
                    Reason::OutcomeUnknown,
                    "the deadline passed while the write was in progress; retry with the same idempotency key to learn what became of it",
                )),
            },
        }?;
        Ok((receipt, warnings))
    }
}
