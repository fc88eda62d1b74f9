//! Every bound in one place, related to one another by assertions that the compiler checks.
//!
//! Invariant: nothing a client sends is unbounded. A limit that protects storage is at least as
//! small as the limit that protects the wire carrying it.
//!
//! Not here: limits that an operator sets (quotas, pools), which are configuration.

/// Longest title, in Unicode scalar values.
pub const TITLE_CHARS_MAX: usize = 512;
/// Largest content of one memory, in bytes of UTF-8.
pub const CONTENT_BYTES_MAX: usize = 64 * 1024;
/// Most tags on one memory.
pub const TAGS_MAX: usize = 64;
/// Longest tag, in bytes of UTF-8.
pub const TAG_BYTES_MAX: usize = 64;
/// Largest metadata object of one memory, in bytes of canonical JSON.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
/// Deepest nesting of a metadata object.
pub const METADATA_DEPTH_MAX: usize = 16;
/// Longest namespace, in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 256;
/// Most segments in a namespace.
pub const NAMESPACE_DEPTH_MAX: usize = 12;
/// Longest agent id, in bytes.
pub const AGENT_BYTES_MAX: usize = 128;
/// Longest `source` field, in bytes.
pub const SOURCE_BYTES_MAX: usize = 512;
/// Longest free-text reason given for an archive, a force-release or a rejection, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;
/// Most memories in one bulk request.
pub const BULK_MAX: usize = 1000;
/// Largest request body at any door, in bytes.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// How long an idempotency key is remembered, in milliseconds (24 h).
pub const IDEMPOTENCY_TTL_MS: u64 = 24 * 60 * 60 * 1000;
/// Largest page of a listing.
pub const PAGE_MAX: u32 = 1000;
/// Default page of a listing.
pub const PAGE_DEFAULT: u32 = 50;
/// Most memories one recall returns.
pub const RECALL_LIMIT_MAX: u32 = 200;
/// Longest recall query, in bytes.
pub const QUERY_BYTES_MAX: usize = 4096;
/// Deepest graph traversal.
pub const GRAPH_DEPTH_MAX: u32 = 5;
/// Most paths one path search returns.
pub const PATHS_MAX: u32 = 16;
/// Most nodes one graph query returns.
pub const GRAPH_NODES_MAX: usize = 2000;
/// Largest embedding dimension accepted.
pub const EMBEDDING_DIMENSION_MAX: usize = 4096;
/// Longest name and longest version of an embedding model, in bytes.
pub const MODEL_BYTES_MAX: usize = 128;
/// Most sources of one reflection.
pub const SOURCES_MAX: usize = 1000;
/// Largest operation, in bytes of its encoding.
pub const OP_BYTES_MAX: usize = 1024 * 1024;
/// Largest state of a record, in bytes of its encoding: room for a long history of tags.
pub const STATE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Lowest and highest priority.
pub const PRIORITY_RANGE: (u8, u8) = (1, 10);
/// Priority of a memory that names none.
pub const PRIORITY_DEFAULT: u8 = 5;
/// Shortest id prefix that `get` resolves, in hexadecimal digits.
pub const ID_PREFIX_MIN: usize = 4;
/// Reflection depth cap where no rule names another.
pub const REFLECTION_DEPTH_DEFAULT: u8 = 3;
/// Furthest a remote clock may run ahead before its operations are refused, in milliseconds.
pub const CLOCK_SKEW_MAX_MS: u64 = 5 * 60 * 1000;
/// Longest alias of an entity, in bytes.
pub const ALIAS_BYTES_MAX: usize = 256;

const _: () =
    assert!(TITLE_CHARS_MAX * 4 + CONTENT_BYTES_MAX + METADATA_BYTES_MAX < BODY_BYTES_MAX);
const _: () = assert!(
    TITLE_CHARS_MAX * 4
        + CONTENT_BYTES_MAX
        + METADATA_BYTES_MAX
        + EMBEDDING_DIMENSION_MAX * 4
        + SOURCES_MAX * 18
        + TAGS_MAX * TAG_BYTES_MAX * 3
        < OP_BYTES_MAX
);
const _: () = assert!(OP_BYTES_MAX < BODY_BYTES_MAX);
const _: () = assert!(TAGS_MAX * TAG_BYTES_MAX < CONTENT_BYTES_MAX);
const _: () = assert!(PAGE_DEFAULT <= PAGE_MAX);
const _: () = assert!(IDEMPOTENCY_TTL_MS > CLOCK_SKEW_MAX_MS);
const _: () = assert!(PRIORITY_RANGE.0 <= PRIORITY_DEFAULT && PRIORITY_DEFAULT <= PRIORITY_RANGE.1);
