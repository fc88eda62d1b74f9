//! What is moved: the tables, and how they are spelled on either side.
//!
//! Invariants: every table of the schema is here or in [`DERIVED`] (a test compares); rows are ordered by their key, which both
//! sides order alike.
//!
//! Not here: what the columns mean (`migrations/*.sql`).

use std::fmt::Write as _;

use half::f16;

use crate::sql::Value;

/// A table with its key in front.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// How many of the columns are the key.
    pub(super) key: usize,
    pub(crate) columns: &'static [&'static str],
    /// The column that says at which position a row came, where rows only come.
    pub(super) grows_by: Option<&'static str>,
}

const fn table(name: &'static str, key: usize, columns: &'static [&'static str]) -> Table {
    Table { name, key, columns, grows_by: None }
}

const fn growing(name: &'static str, columns: &'static [&'static str]) -> Table {
    Table { name, key: 1, columns, grows_by: Some(columns[0]) }
}

/// Tables that one side has and the other makes for itself.
#[cfg(test)]
pub(crate) const DERIVED: &[&str] = &["texts", "vectors_unindexed", "hivemem_schema"];

/// Keys of `meta` that one side has for itself.
pub(super) const OWN_META: &str = "'has_peers', 'moving_in', 'moved_away', 'views_due'";

/// The column of vectors, which is a type of its own on a server.
const HALVES: &str = "halves";

/// All that is moved.
pub(crate) const TABLES: &[Table] = &[
    table("namespaces", 1, &["id", "name"]),
    table("audiences", 1, &["id", "name"]),
    table("names", 1, &["id", "name"]),
    table("tags", 1, &["id", "name"]),
    table("nodes", 1, &["id", "node"]),
    table("spaces", 1, &["id", "model", "version", "dimension"]),
    table("daemons", 1, &["id", "node", "origin", "boots", "chain_head"]),
    table("signing_keys", 1, &["key_id", "public_key", "from_ms", "until_ms", "daemon"]),
    table("meta", 1, &["key", "value"]),
    growing("ops", &["position", "origin", "seq", "hlc", "memory", "bytes", "chain"]),
    growing(
        "signed_events",
        &[
            "sequence",
            "daemon",
            "origin",
            "seq",
            "name",
            "agent",
            "event_type",
            "payload_hash",
            "attest_level",
            "timestamp_ms",
            "cause_hash",
            "signature",
            "key_id",
            "prev_hash",
        ],
    ),
    growing("event_payloads", &["sequence", "bytes"]),
    table(
        "memories",
        1,
        &[
            "row",
            "id",
            "namespace",
            "audience",
            "author",
            "life",
            "kind",
            "tier",
            "scope",
            "priority",
            "confidence_permille",
            "created_ms",
            "updated_ms",
            "expires_ms",
            "valid_from_ms",
            "valid_until_ms",
            "legal_hold",
            "version",
            "access_count",
            "last_accessed_ms",
            "position",
            "title_key",
            "checksum",
            "title",
            "state",
            "content",
            "embedding",
            "others",
        ],
    ),
    table("memory_tags", 2, &["tag", "row"]),
    table(
        "links",
        1,
        &[
            "id",
            "source",
            "target",
            "relation",
            "author",
            "created_fence",
            "created_hlc",
            "created_node",
            "valid_from_ms",
            "valid_until_ms",
            "validity_fence",
            "validity_hlc",
            "validity_node",
            "removed",
            "position",
        ],
    ),
    table("aliases", 2, &["alias_key", "memory", "alias", "removed", "fence", "hlc", "node"]),
    table(
        "agents",
        1,
        &["agent", "affiliation", "token_sha256", "public_key", "revoked", "changed_hlc"],
    ),
    table("idempotency", 2, &["agent", "key", "body_sha256", "answer", "expires_ms"]),
    table("quota", 2, &["agent", "namespace", "day", "memories", "links", "bytes"]),
    table("key_fences", 1, &["key", "fence"]),
    table("event_logs", 1, &["log", "through"]),
    table("feeds", 1, &["origin", "seq", "hlc", "chain", "unseen", "whole", "whole_hlc"]),
    table("feed_heads", 2, &["origin", "seq", "chain", "signature"]),
    table("unheld", 2, &["origin", "seq", "hash", "chain", "reason", "memory", "after_hlc"]),
    table("nonces", 2, &["peer", "nonce", "until_ms"]),
    table(
        "dead_letters",
        3,
        &["peer", "origin", "seq", "reason", "detail", "tries", "first_ms", "next_ms"],
    ),
    table("vectors", 1, &["row", "space", "text_sha256", HALVES]),
    table("vector_work", 1, &["row", "due_ms", "tries", "problem", "is_dead"]),
];

/// Which spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// SQLite's.
    File,
    /// PostgreSQL's.
    Server {
        /// Number of the node's space of vectors there.
        space: i64,
        /// Whether those are made from texts.
        is_made: bool,
    },
}

/// Number of a space that a server has and a file has not: beyond those that files give.
pub(super) const OWN_SPACE: i64 = 1 << 16;

impl Table {
    /// Names of the key's columns.
    pub(super) fn keys(&self) -> &[&'static str] {
        &self.columns[..self.key]
    }

    /// A page of rows, of `limit`, behind a key if one is given: `?1` to the number of keys, then the limit.
    pub(super) fn page(&self, side: Side, is_behind: bool, up_to: Option<u64>) -> String {
        let read = |column: &&'static str| match (side, *column) {
            (Side::Server { .. }, HALVES) => "halfvec_send(vector)",
            (_, column) => column,
        };
        let columns: Vec<&str> = self.columns.iter().map(read).collect();
        let (name, keys) = (self.name, self.keys().join(", "));
        let mut text =
            format!("SELECT {} FROM {name} WHERE {}", columns.join(", "), self.moves(side));
        if let (Some(column), Some(last)) = (self.grows_by, up_to) {
            let _ = write!(text, " AND {column} <= {last}");
        }
        let mut limit = 1;
        if is_behind {
            limit += self.key;
            let _ = write!(text, " AND ({keys}) > ({})", numbered(1, self.key));
        }
        let _ = write!(text, " ORDER BY {keys} LIMIT ?{limit}");
        text
    }

    /// The last key there is.
    pub(super) fn last(&self, side: Side) -> String {
        let (name, keys) = (self.name, self.keys());
        let order: Vec<String> = keys.iter().map(|key| format!("{key} DESC")).collect();
        let moves = self.moves(side);
        format!(
            "SELECT {} FROM {name} WHERE {moves} ORDER BY {} LIMIT 1",
            keys.join(", "),
            order.join(", ")
        )
    }

    /// How many rows there are to look at.
    pub(super) fn count(&self, side: Side) -> String {
        format!("SELECT count(*) FROM {} WHERE {}", self.name, self.moves(side))
    }

    /// Inserts a row.
    pub(super) fn insert(&self, side: Side) -> String {
        let is_vector = |column: &str| column == HALVES && side != Side::File;
        let written = |column: &&'static str| if is_vector(column) { "vector" } else { *column };
        let names: Vec<&str> = self.columns.iter().map(written).collect();
        let given = self.columns.iter().enumerate().map(|(at, column)| match is_vector(column) {
            true => format!("CAST(CAST(?{} AS text) AS halfvec)", at + 1),
            false => format!("?{}", at + 1),
        });
        let given: Vec<String> = given.collect();
        format!("INSERT INTO {} ({}) VALUES ({})", self.name, names.join(", "), given.join(", "))
    }

    /// Removes a row by its key.
    pub(super) fn remove(&self) -> String {
        let keys = self.keys().iter().enumerate();
        let equal: Vec<String> = keys.map(|(at, key)| format!("{key} = ?{}", at + 1)).collect();
        format!("DELETE FROM {} WHERE {}", self.name, equal.join(" AND "))
    }

    /// Which of its rows are moved.
    fn moves(&self, side: Side) -> String {
        match (self.name, side) {
            ("meta", _) => format!("key NOT IN ({OWN_META})"),
            ("spaces", Side::Server { .. }) => format!("id < {OWN_SPACE}"),
            ("vectors", Side::Server { space, is_made }) => {
                let made = if is_made { space } else { 0 };
                format!(
                    "space <> {made} AND NOT EXISTS (SELECT 1 FROM memories m \
                     WHERE m.row = vectors.row AND m.embedding IS NOT NULL)"
                )
            }
            _ => "1 = 1".to_owned(),
        }
    }

    /// A row as it is compared and kept, from how a side answers it.
    pub(super) fn read(&self, side: Side, mut row: Vec<Value>) -> Vec<Value> {
        if self.columns.last() == Some(&HALVES)
            && side != Side::File
            && let Some(Value::Blob(sent)) = row.last_mut()
        {
            // As the server sends it: two numbers of 16 bits, then the components, all big-endian.
            let halves = sent.get(4..).unwrap_or_default().chunks_exact(2);
            *sent = halves.flat_map(|half| [half[1], half[0]]).collect();
        }
        row
    }

    /// The inverse: a row as a side takes it.
    pub(super) fn written(&self, side: Side, mut row: Vec<Value>) -> Vec<Value> {
        if self.columns.last() == Some(&HALVES)
            && side != Side::File
            && let Some(value) = row.last_mut()
            && let Value::Blob(halves) = value
        {
            let halves = halves.chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]]));
            let mut text = String::new();
            for half in halves {
                text.push(if text.is_empty() { '[' } else { ',' });
                let _ = write!(text, "{}", half.to_f32());
            }
            text.push(']');
            *value = Value::Text(text);
        }
        row
    }
}

fn numbered(first: usize, count: usize) -> String {
    let all: Vec<String> = (first..first + count).map(|number| format!("?{number}")).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Side = Side::Server { space: 3, is_made: true };

    fn of(name: &str) -> &'static Table {
        TABLES.iter().find(|table| table.name == name).expect("a table")
    }

    #[test]
    fn a_vector_is_the_same_on_both_sides() {
        let halves: Vec<u8> = [0.5_f32, -1.25, 65504.0, 6e-8]
            .iter()
            .flat_map(|value| f16::from_f32(*value).to_le_bytes())
            .collect();
        let row = vec![Value::Integer(1), Value::Blob(halves.clone())];
        let written = of("vectors").written(SERVER, row.clone());
        let Some(Value::Text(text)) = written.last() else { panic!("{written:?}") };
        assert!(text.starts_with("[0.5,-1.25,65504,"), "{text}");
        let mut sent = vec![0, 4, 0, 0];
        sent.extend(halves.chunks_exact(2).flat_map(|pair| [pair[1], pair[0]]));
        let read = of("vectors").read(SERVER, vec![Value::Integer(1), Value::Blob(sent)]);
        assert_eq!(read, row);
        assert_eq!(of("vectors").read(Side::File, row.clone()), row);
    }

    #[test]
    fn statements_are_spelled_for_a_side() {
        let tags = of("memory_tags");
        assert_eq!(
            tags.page(Side::File, true, Some(9)),
            "SELECT tag, row FROM memory_tags WHERE 1 = 1 AND (tag, row) > (?1, ?2) ORDER BY tag, row LIMIT ?3"
        );
        let ops = of("event_payloads");
        assert_eq!(
            ops.page(SERVER, false, Some(9)),
            "SELECT sequence, bytes FROM event_payloads WHERE 1 = 1 AND sequence <= 9 ORDER BY sequence LIMIT ?1"
        );
        assert_eq!(tags.remove(), "DELETE FROM memory_tags WHERE tag = ?1 AND row = ?2");
        let vectors = of("vectors");
        assert!(
            vectors
                .insert(SERVER)
                .ends_with("VALUES (?1, ?2, ?3, CAST(CAST(?4 AS text) AS halfvec))")
        );
        assert!(vectors.insert(Side::File).contains("halves) VALUES (?1, ?2, ?3, ?4)"));
    }
}
