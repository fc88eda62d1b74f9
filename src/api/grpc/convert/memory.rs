//! A memory as it is written and read.
//!
//! Invariant: a field that was not set takes the node's default, as at every other door.
//!
//! Not here: changes to a memory (`patch`).

use types::{Invalid, Kind, Scope, Tier};
use wire::{
    convert::{object_to_struct, struct_to_value},
    v1,
};

use super::{
    known, number, optional_time_out, some_text, time_in, time_out, validity_in, validity_out, word,
};
use crate::node::model::{MemoryDraft, MemoryOut, memory::EmbeddingInput};

/// A vector computed by the client.
pub(super) fn embedding(embedding: v1::Embedding) -> EmbeddingInput {
    let v1::Embedding { model, version, values } = embedding;
    EmbeddingInput { model, version, values }
}

/// A priority, which the model bounds.
pub(super) fn priority(field: &'static str, priority: u32) -> Result<u8, Invalid> {
    u8::try_from(priority)
        .map_err(|_| Invalid::new(field, format!("needs 1 to 10, got {priority}")))
}

/// What to do when the title exists, as the model's word.
///
/// # Errors
/// [`Invalid`] for an unknown number.
pub(in crate::api::grpc) fn on_conflict(number: i32) -> Result<Option<String>, Invalid> {
    let word = match known("on_conflict", number)? {
        v1::OnConflict::Unspecified => return Ok(None),
        v1::OnConflict::Merge => "merge",
        v1::OnConflict::New => "new",
        v1::OnConflict::Error => "error",
    };
    Ok(Some(word.to_owned()))
}

/// A memory to store.
///
/// # Errors
/// [`Invalid`] naming the field that has no meaning.
pub(in crate::api::grpc) fn draft(
    memory: Option<v1::NewMemory>,
    on_conflict: Option<String>,
) -> Result<MemoryDraft, Invalid> {
    let memory = memory.ok_or_else(|| Invalid::new("memory", "is required"))?;
    if !memory.id.is_empty() {
        return Err(Invalid::new("id", "is drawn by the node; leave it empty"));
    }
    let (valid_from, valid_until) = validity_in(memory.validity.as_ref())?;
    Ok(MemoryDraft {
        namespace: some_text(memory.namespace),
        title: memory.title,
        content: memory.content,
        tier: word::<Tier>(memory.tier)?,
        tags: memory.tags,
        priority: memory.priority.map(|p| priority("priority", p)).transpose()?,
        confidence: memory.confidence,
        source: some_text(memory.source),
        kind: word::<Kind>(memory.kind)?,
        scope: word::<Scope>(memory.scope)?,
        metadata: memory.metadata.as_ref().map(struct_to_value).transpose()?,
        expires_at: time_in("expires_at", memory.expires_at.as_ref())?,
        valid_from,
        valid_until,
        legal_hold: memory.legal_hold.then_some(true),
        pii_flags: memory.pii_flags,
        sources: memory.sources,
        persona_version: (memory.persona_version > 0).then_some(memory.persona_version),
        embedding: memory.embedding.map(embedding),
        on_conflict,
    })
}

/// `milliseconds.counter`, as the model writes a stamp.
fn hlc(text: &str) -> Option<v1::Hlc> {
    let (wall, counter) = text.split_once('.')?;
    Some(v1::Hlc { wall_ms: wall.parse().ok()?, counter: counter.parse().ok()? })
}

/// A memory as a client reads it.
pub(in crate::api::grpc) fn memory(memory: MemoryOut) -> v1::Memory {
    let metadata = match memory.metadata {
        serde_json::Value::Object(fields) => object_to_struct(fields),
        _ => prost_types::Struct::default(),
    };
    v1::Memory {
        id: memory.id,
        namespace: memory.namespace,
        title: memory.title,
        content: memory.content,
        tier: number::<Tier>(&memory.tier),
        tags: memory.tags,
        priority: u32::from(memory.priority),
        confidence: memory.confidence,
        source: memory.source,
        kind: number::<Kind>(&memory.kind),
        scope: number::<Scope>(&memory.scope),
        agent_id: memory.agent_id,
        metadata: Some(metadata),
        version: memory.version,
        access_count: memory.access_count,
        created_at: time_out(&memory.created_at),
        updated_at: time_out(&memory.updated_at),
        last_accessed_at: optional_time_out(memory.last_accessed_at),
        expires_at: optional_time_out(memory.expires_at),
        validity: validity_out(memory.valid_from, memory.valid_until),
        content_sha256: hex::decode(memory.content_sha256).unwrap_or_default(),
        legal_hold: memory.legal_hold,
        pii_flags: memory.pii_flags,
        fence: memory.fence,
        hlc: hlc(&memory.hlc),
        version_vector: memory
            .version_vector
            .into_iter()
            .map(|(origin, seq)| v1::VersionVectorEntry { origin, seq })
            .collect(),
        reflection_depth: u32::from(memory.reflection_depth),
        sources: memory.sources,
        persona_version: memory.persona_version,
        archived_reason: memory.archived_reason,
        position: memory.position,
        other_ids: memory.other_ids,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wire::convert::timestamp;

    use super::*;

    #[test]
    fn what_is_not_set_stays_unsaid() {
        let bare = v1::NewMemory { title: "t".into(), content: "c".into(), ..Default::default() };
        let expected =
            MemoryDraft { title: "t".into(), content: "c".into(), ..MemoryDraft::default() };
        assert_eq!(draft(Some(bare), None), Ok(expected));
        assert_eq!(draft(None, None).expect_err("no memory").field, "memory");
    }

    #[test]
    fn what_is_set_is_said() {
        let metadata = json!({"n": 3, "deep": {"list": [null, 0.5]}});
        let serde_json::Value::Object(fields) = metadata.clone() else { panic!("an object") };
        let full = v1::NewMemory {
            namespace: "acme/eng".into(),
            title: "t".into(),
            content: "c".into(),
            tier: v1::Tier::Long.into(),
            priority: Some(9),
            confidence: Some(0.5),
            kind: v1::Kind::Decision.into(),
            scope: v1::Scope::Team.into(),
            metadata: Some(object_to_struct(fields)),
            expires_at: Some(timestamp(1_772_366_400_123)),
            validity: Some(v1::Validity { valid_from: Some(timestamp(0)), valid_until: None }),
            legal_hold: true,
            ..Default::default()
        };
        let draft = draft(Some(full), Some("new".into())).expect("a draft");
        assert_eq!(draft.tier.as_deref(), Some("long"));
        assert_eq!(draft.kind.as_deref(), Some("decision"));
        assert_eq!(draft.scope.as_deref(), Some("team"));
        assert_eq!((draft.priority, draft.confidence), (Some(9), Some(0.5)));
        assert_eq!(draft.metadata, Some(metadata));
        assert_eq!(draft.expires_at.as_deref(), Some("2026-03-01T12:00:00.123Z"));
        assert_eq!(draft.valid_from.as_deref(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!((draft.valid_until, draft.legal_hold), (None, Some(true)));
        assert_eq!(draft.on_conflict.as_deref(), Some("new"));
    }

    #[test]
    fn what_has_no_meaning_is_named() {
        let field = |change: fn(&mut v1::NewMemory)| {
            let mut memory = v1::NewMemory::default();
            change(&mut memory);
            draft(Some(memory), None).expect_err("no meaning").field
        };
        assert_eq!(field(|m| m.tier = 9), "tier");
        assert_eq!(field(|m| m.kind = -1), "kind");
        assert_eq!(field(|m| m.scope = 77), "scope");
        assert_eq!(field(|m| m.priority = Some(300)), "priority");
        assert_eq!(field(|m| m.id = "0192".into()), "id");
        assert_eq!(on_conflict(4).expect_err("unknown").field, "on_conflict");
    }

    #[test]
    fn stamps_are_read_back() {
        assert_eq!(
            hlc("1700000000123.7"),
            Some(v1::Hlc { wall_ms: 1_700_000_000_123, counter: 7 })
        );
        assert_eq!(hlc("nonsense"), None);
    }
}
