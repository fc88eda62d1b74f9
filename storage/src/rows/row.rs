//! A memory as the table keeps it, against [`Record`] and [`MemoryView`].
//!
//! Invariants: `ROW-1` state, title, content and embedding are the truth: every other column can be
//! computed from them, and their checksum is verified whenever they are read; `ROW-2` a tombstone keeps no text.
//!
//! Not here: which statements read and write rows.

use sha2::{Digest, Sha256};
use types::{
    AgentId, Audience, Invalid, Life, MemoryId, Namespace, Record, Title,
    codec::{self, Columns},
};

use super::fault::SqlFault;
use crate::{
    answer::MemoryView,
    sql::{self, Row},
};

/// [`STORED_COLUMNS`] as a literal, for `concat!`.
macro_rules! stored_columns {
    () => {
        "row, position, checksum, title, state, content, embedding, life, others, title_key"
    };
}
pub(crate) use stored_columns;

/// Columns that [`stored`] reads, in its order; append `FROM memories …`.
pub const STORED_COLUMNS: &str = stored_columns!();

/// `memories.life` of a live memory.
pub const LIVE: i64 = 0;
/// `memories.life` of an archived memory.
pub const ARCHIVED: i64 = 1;
/// `memories.life` of a tombstone.
pub const DELETED: i64 = 2;
/// `memories.life` of a live memory that is shown as part of another one.
pub const BEHIND: i64 = 3;

/// A row of `memories`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Local row number, which the indexes use.
    pub row: i64,
    /// Change position of its last change.
    pub position: u64,
    /// The record.
    pub record: Record,
    /// `memories.life`.
    pub life: i64,
    /// With how many other records it is shown as one.
    pub others: u32,
    /// Key of the title that it has.
    pub title_key: i64,
}

/// Reads a row whose columns are [`STORED_COLUMNS`].
///
/// # Errors
/// [`SqlFault::Damaged`] when the checksum does not fit or the state does not decode.
pub(crate) fn stored(row: Row<'_>) -> Result<Stored, SqlFault> {
    let number: i64 = row.get(0)?;
    let damaged = |problem: String| SqlFault::Damaged {
        table: "memories",
        key: format!("row {number}"),
        problem,
    };
    let unreadable = |e: sql::Error| damaged(e.to_string());
    let title = row.get::<&str>(3).map_err(unreadable)?;
    let state = row.get::<&[u8]>(4).map_err(unreadable)?;
    let content = row.get::<&str>(5).map_err(unreadable)?;
    let embedding = row.get::<Option<&[u8]>>(6).map_err(unreadable)?.unwrap_or(&[]);
    if checksum(title, state, content, embedding) != row.get::<i64>(2)? {
        return Err(damaged("its checksum does not fit its content".into()));
    }
    let columns = Columns {
        title: title.parse().map_err(|e: Invalid| damaged(e.to_string()))?,
        content: content.parse().map_err(|e: Invalid| damaged(e.to_string()))?,
        embedding_values: floats(embedding),
    };
    let record = codec::decode_state(state, columns).map_err(|e| damaged(e.to_string()))?;
    Ok(Stored {
        row: number,
        position: unsigned(row.get(1)?),
        record,
        life: row.get(7)?,
        others: row.get(8)?,
        title_key: row.get(9)?,
    })
}

/// What a reader sees of a record, or of several that are shown as one, whose last change is at `position`.
pub fn view(record: Record, position: u64, other_ids: Vec<MemoryId>) -> MemoryView {
    let archived_reason = match &record.life.value {
        Life::Live => None,
        Life::Archived { reason } => Some(reason.clone()),
    };
    let (version, access_count) = (record.version(), record.accesses.total());
    MemoryView {
        id: record.id,
        content_sha256: record.content.value.sha256(),
        title: record.title.value.as_str().to_owned(),
        content: record.content.value.as_str().to_owned(),
        tier: record.tier.value(),
        tags: record.tags.iter().cloned().collect(),
        priority: record.priority.value,
        confidence_permille: record.confidence_permille.value,
        source: record.source.value,
        kind: record.kind.value,
        scope: record.scope.value.0,
        author: record.author,
        metadata: record.metadata.value,
        version,
        access_count,
        created_at_ms: record.created.hlc.wall_ms(),
        updated_at_ms: record.updated.hlc.wall_ms(),
        last_accessed_at_ms: record.last_accessed_ms,
        expires_at_ms: record.expiry.value().0,
        validity: record.validity.value,
        legal_hold: record.legal_hold.value,
        pii_flags: record.pii_flags.value.into_iter().collect(),
        fence: record.updated.fence,
        hlc: record.updated.hlc,
        vector: record.vector,
        reflection_depth: record.reflection_depth,
        sources: record.sources.into_iter().collect(),
        persona_version: record.persona_version,
        namespace: record.namespace,
        archived_reason,
        position,
        other_ids,
    }
}

/// `memories.life` of a record.
pub fn life(record: &Record) -> i64 {
    match (&record.deleted, &record.life.value) {
        (Some(_), _) => DELETED,
        (None, Life::Archived { .. }) => ARCHIVED,
        (None, Life::Live) => LIVE,
    }
}

/// [`title_key`] of the title that a record has.
pub fn key_of(record: &Record) -> i64 {
    title_key(&record.namespace, &record.author, &record.scope.value.1, &record.title.value)
}

/// First 8 bytes of SHA-256 of a row's truth, each part preceded by its length.
pub fn checksum(title: &str, state: &[u8], content: &str, embedding: &[u8]) -> i64 {
    let parts = [title.as_bytes(), state, content.as_bytes(), embedding];
    head(parts.iter().fold(Sha256::new(), |hash, part| {
        hash.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
    }))
}

/// The components in an `embedding` column.
pub fn floats(bytes: &[u8]) -> Vec<f32> {
    let four = bytes.chunks_exact(4);
    four.map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
}

/// The inverse of [`floats`].
pub fn float_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// What two memories of one author share when a store of one means the other: first 8 bytes of SHA-256 of
/// the four, each ended by a NUL, which none of them can contain. Equal keys still need comparing.
pub fn title_key(
    namespace: &Namespace,
    author: &AgentId,
    audience: &Audience,
    title: &Title,
) -> i64 {
    let parts = [namespace.as_str(), author.as_str(), audience.as_str(), title.as_str()];
    head(parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part).chain_update([0])))
}

fn head(hash: Sha256) -> i64 {
    let digest: [u8; 32] = hash.finalize().into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

/// How an alias is compared: lower case, white space collapsed.
pub fn alias_key(alias: &str) -> String {
    alias.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The text a memory's vector is computed from.
pub fn embedded_text(title: &str, content: &str) -> String {
    format!("{title}\n{content}")
}

/// SHA-256 of [`embedded_text`], which `vectors.text_sha256` is compared with.
pub fn text_sha256(title: &str, content: &str) -> [u8; 32] {
    Sha256::new().chain_update(title).chain_update("\n").chain_update(content).finalize().into()
}

/// An unsigned number as SQLite keeps it, bit for bit. Times, counts and stamps stay below 2^63 until the
/// year 6429, so their order is SQLite's order.
pub fn signed(number: u64) -> i64 {
    number as i64
}

/// The inverse of [`signed`].
pub fn unsigned(number: i64) -> u64 {
    number as u64
}

/// The id in a 16-byte column.
///
/// # Errors
/// [`SqlFault::Damaged`] when it has another length.
pub fn memory_id(table: &'static str, bytes: &[u8]) -> Result<MemoryId, SqlFault> {
    MemoryId::from_slice(bytes).map_err(|e| SqlFault::Damaged {
        table,
        key: hex::encode(bytes),
        problem: e.to_string(),
    })
}
