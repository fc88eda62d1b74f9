//! Remembered answers: a request with a key is done at most once in 24 hours.
//!
//! Invariants: `IDE-1` the answer is kept in the transaction of the write it answers, so after a
//! crash either both are there or neither; `IDE-2` a refused request is not remembered: it changed nothing and
//! may be tried again.
//!
//! Not here: choosing keys and hashing bodies (the doors).

use prost::Message;
use types::{AgentId, LinkId, MemoryId, NodeId, Reason, Reject, limits::IDEMPOTENCY_TTL_MS};

use super::{
    group::{Done, Group, Terms},
    overlay::AnswerEntry,
};
use crate::{
    answer::{Applied, Made, WriteReceipt},
    request::Idempotency,
    rows::{
        fault::SqlFault,
        row::{signed, unsigned},
    },
    sql::OptionalExtension,
};

/// Facts a refusal may carry; others are not remembered.
const FACTS: &[&str] = &[
    "current_fence",
    "current_version",
    "depth",
    "dimension",
    "field",
    "id",
    "index",
    "limit",
    "model",
    "reset_at_ms",
    "used",
    "version",
];

#[derive(Clone, PartialEq, Message)]
struct ReceiptMessage {
    #[prost(message, repeated, tag = "1")]
    results: Vec<ResultMessage>,
    #[prost(uint64, tag = "2")]
    position: u64,
    #[prost(bytes = "vec", tag = "3")]
    note: Vec<u8>,
    #[prost(uint64, tag = "4")]
    first_operation: u64,
    #[prost(uint64, tag = "5")]
    last_operation: u64,
    #[prost(bytes = "vec", tag = "6")]
    origin: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ResultMessage {
    #[prost(bytes = "vec", tag = "1")]
    memory: Vec<u8>,
    #[prost(uint64, tag = "2")]
    version: u64,
    #[prost(bool, tag = "3")]
    merged: bool,
    #[prost(bytes = "vec", tag = "4")]
    link: Vec<u8>,
    #[prost(string, tag = "5")]
    reason: String,
    #[prost(string, tag = "6")]
    detail: String,
    #[prost(message, repeated, tag = "7")]
    facts: Vec<FactMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct FactMessage {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// The bytes of a receipt.
fn encode(receipt: &WriteReceipt) -> Vec<u8> {
    let results = receipt.results.iter().map(|result| match result {
        Ok(Applied::Memory { id, version, merged }) => ResultMessage {
            memory: id.as_bytes().to_vec(),
            version: *version,
            merged: *merged,
            ..ResultMessage::default()
        },
        Ok(Applied::Link { id }) => {
            ResultMessage { link: id.as_bytes().to_vec(), ..ResultMessage::default() }
        }
        // What peers send is not done under a key.
        Ok(Applied::Other | Applied::Known | Applied::Passed | Applied::Forgot(_)) => {
            ResultMessage::default()
        }
        Ok(Applied::Refused(reject)) | Err(reject) => ResultMessage {
            reason: reject.reason.code().to_owned(),
            detail: reject.detail.clone(),
            facts: reject
                .facts
                .iter()
                .map(|(key, value)| FactMessage { key: (*key).to_owned(), value: value.clone() })
                .collect(),
            ..ResultMessage::default()
        },
    });
    let made = receipt.operations;
    let message = ReceiptMessage {
        results: results.collect(),
        position: receipt.position,
        note: receipt.note.clone(),
        first_operation: made.map_or(0, |made| made.first),
        last_operation: made.map_or(0, |made| made.last),
        origin: made.map(|made| made.origin.as_bytes().to_vec()).unwrap_or_default(),
    };
    message.encode_to_vec()
}

/// The inverse of [`encode`], marked as replayed; `None` for bytes it did not make.
fn decode(bytes: &[u8], node: NodeId) -> Option<WriteReceipt> {
    let message = ReceiptMessage::decode(bytes).ok()?;
    let result = |result: ResultMessage| {
        if !result.reason.is_empty() {
            let mut reject = Reject::new(Reason::from_code(&result.reason)?, result.detail);
            for fact in result.facts {
                if let Some(key) = FACTS.iter().find(|key| **key == fact.key) {
                    reject = reject.with(key, fact.value);
                }
            }
            return Some(Err(reject));
        }
        if !result.memory.is_empty() {
            let id = MemoryId::from_slice(&result.memory).ok()?;
            return Some(Ok(Applied::Memory {
                id,
                version: result.version,
                merged: result.merged,
            }));
        }
        if !result.link.is_empty() {
            return Some(Ok(Applied::Link { id: LinkId::from_slice(&result.link).ok()? }));
        }
        Some(Ok(Applied::Other))
    };
    let results = message.results.into_iter().map(result).collect::<Option<Vec<_>>>()?;
    let origin = NodeId::from_slice(&message.origin).unwrap_or(node);
    let made = Made { origin, first: message.first_operation, last: message.last_operation };
    Some(WriteReceipt {
        results,
        position: message.position,
        operations: (made.last > 0).then_some(made),
        replayed: true,
        note: message.note,
    })
}

impl Group<'_> {
    /// The answer given to this key before, if any.
    ///
    /// # Errors
    /// [`Reason::IdempotencyMismatch`] when the key was used with another body.
    pub(crate) fn remembered(
        &self,
        agent: &AgentId,
        idempotency: &Idempotency,
        now_ms: u64,
    ) -> Done<Option<WriteReceipt>> {
        let key = (agent.as_str().to_owned(), idempotency.key.clone());
        let entry = match self.overlay.answers.get(&key) {
            Some(entry) => Some(entry.clone()),
            None => self
                .connection
                .prepare_cached(
                    "SELECT body_sha256, answer, expires_ms FROM idempotency
                     WHERE agent = ?1 AND key = ?2",
                )?
                .query_row((&key.0, &key.1), |row| {
                    Ok(AnswerEntry {
                        body_sha256: row.get(0)?,
                        answer: row.get(1)?,
                        expires_ms: unsigned(row.get(2)?),
                    })
                })
                .optional()?,
        };
        let Some(entry) = entry.filter(|entry| entry.expires_ms > now_ms) else { return Ok(None) };
        if entry.body_sha256 != idempotency.body_sha256 {
            let detail = format!(
                "idempotency key {:?} was used with another body; use a new key for a new request",
                idempotency.key
            );
            return Err(Reject::new(Reason::IdempotencyMismatch, detail).into());
        }
        let damaged = || SqlFault::Damaged {
            table: "idempotency",
            key: idempotency.key.clone(),
            problem: "the remembered answer cannot be read".into(),
        };
        decode(&entry.answer, self.head.node).map(Some).ok_or_else(damaged)
    }

    /// Remembers an answer.
    pub(crate) fn remember(
        &mut self,
        terms: &Terms,
        idempotency: Idempotency,
        receipt: &WriteReceipt,
    ) {
        let entry = AnswerEntry {
            body_sha256: idempotency.body_sha256,
            answer: encode(receipt),
            expires_ms: terms.now_ms.saturating_add(IDEMPOTENCY_TTL_MS),
        };
        let key = (terms.viewer.agent.as_str().to_owned(), idempotency.key);
        self.overlay.answers.insert(key, entry);
    }

    /// Writes the answers and forgets some that are too old, as many as are new and a few more.
    pub(crate) fn write_answers(&self, now_ms: u64) -> crate::sql::Result<()> {
        if self.overlay.answers.is_empty() {
            return Ok(());
        }
        let mut batch = self.connection.batch(
            "INSERT INTO idempotency (agent, key, body_sha256, answer, expires_ms)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (agent, key) DO UPDATE SET body_sha256 = excluded.body_sha256,
                answer = excluded.answer, expires_ms = excluded.expires_ms",
        )?;
        for ((agent, key), entry) in &self.overlay.answers {
            let AnswerEntry { body_sha256, answer, expires_ms } = entry;
            batch.add((agent, key, body_sha256, answer, signed(*expires_ms)))?;
        }
        batch.finish()?;
        let few = signed(self.overlay.answers.len() as u64 + 8);
        self.connection
            .prepare_cached(
                "DELETE FROM idempotency WHERE (agent, key) IN
                   (SELECT agent, key FROM idempotency WHERE expires_ms <= ?1 LIMIT ?2)",
            )?
            .execute((signed(now_ms), few))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_survive_being_kept() {
        let id = MemoryId(uuid::Uuid::from_u128(7));
        let link = LinkId(uuid::Uuid::from_u128(8));
        let reject = Reject::new(Reason::VersionConflict, "no").with("current_version", 4);
        let receipt = WriteReceipt {
            results: vec![
                Ok(Applied::Memory { id, version: 3, merged: true }),
                Ok(Applied::Link { id: link }),
                Ok(Applied::Other),
                Err(reject),
            ],
            position: 12,
            operations: Some(Made { origin: NodeId(uuid::Uuid::from_u128(9)), first: 3, last: 7 }),
            replayed: false,
            note: b"as it was".to_vec(),
        };
        let again = decode(&encode(&receipt), NodeId(uuid::Uuid::nil())).unwrap();
        assert_eq!(again, WriteReceipt { replayed: true, ..receipt });
    }
}
