//! The digest of everything a store holds (used to compare stores and to prove a restore).
//!
//! Encoding: SHA-256 over sections in a fixed order, each a name followed by its rows in order of id;
//! every field is preceded by its length as an unsigned 64-bit big-endian integer, and an absent one
//! is marked. Rows speak of names, never of the numbers under which one file interns them, and
//! positions are left out, because both differ between stores that hold the same.
//!
//! Invariant: `DIG-1` two stores have the same digest exactly when their memories, links, aliases,
//! agents and operations are the same.
//!
//! Not here: audit rows. Each node signs its own chain.

use crate::sql::{Connection, Row, Value, ValueRef, params_from_iter};
use sha2::{Digest, Sha256};

use super::fault::SqlFault;

/// Rows that are read at once.
const PAGE_ROWS: u32 = 512;

/// A section: the digest of a table's rows in order.
struct Section {
    name: &'static str,
    /// What is hashed of a row, the key first.
    columns: &'static str,
    from: &'static str,
    key: &'static [&'static str],
}

const SECTIONS: &[Section] = &[
    Section {
        name: "memories",
        columns: "id, life, title, state, content, embedding",
        from: "memories",
        key: &["id"],
    },
    Section {
        name: "links",
        columns: "l.id, l.source, l.target, l.relation, a.name, l.created_fence, l.created_hlc, cn.node, \
                  l.valid_from_ms, l.valid_until_ms, l.validity_fence, l.validity_hlc, vn.node, l.removed",
        from: "links l LEFT JOIN names a ON a.id = l.author LEFT JOIN nodes cn ON cn.id = l.created_node \
               LEFT JOIN nodes vn ON vn.id = l.validity_node",
        key: &["l.id"],
    },
    Section {
        name: "aliases",
        columns: "l.memory, l.alias_key, l.alias, l.removed, l.fence, l.hlc, n.node",
        from: "aliases l LEFT JOIN nodes n ON n.id = l.node",
        key: &["l.memory", "l.alias_key"],
    },
    Section {
        name: "agents",
        columns: "agent, affiliation, token_sha256, public_key, revoked, changed_hlc",
        from: "agents",
        key: &["agent"],
    },
];

/// The digest of the store as this connection's snapshot shows it.
pub(crate) fn content_digest(connection: &Connection) -> Result<[u8; 32], SqlFault> {
    let mut hash = Sha256::new();
    for section in SECTIONS {
        field(&mut hash, b's', section.name.as_bytes());
        section.add(connection, &mut hash)?;
    }
    field(&mut hash, b's', b"ops");
    operations(connection, &mut hash)?;
    Ok(hash.finalize().into())
}

impl Section {
    /// Adds its rows. They are read in pages: a server's answer is held as a whole.
    fn add(&self, connection: &Connection, hash: &mut Sha256) -> Result<(), SqlFault> {
        let Self { columns, from, key, .. } = self;
        let key = key.join(", ");
        let given: Vec<String> = (1..=self.key.len()).map(|number| format!("?{number}")).collect();
        let first = format!("SELECT {columns} FROM {from} ORDER BY {key} LIMIT {PAGE_ROWS}");
        let next = format!(
            "SELECT {columns} FROM {from} WHERE ({key}) > ({}) ORDER BY {key} LIMIT {PAGE_ROWS}",
            given.join(", ")
        );
        let mut behind: Option<Vec<Value>> = None;
        loop {
            let mut statement =
                connection.prepare_cached(if behind.is_some() { &next } else { &first })?;
            let mut rows = statement.query(params_from_iter(behind.iter().flatten()))?;
            let (mut read, mut last) = (0, Vec::new());
            while let Some(row) = rows.next()? {
                read += 1;
                add_row(hash, row)?;
                if read == PAGE_ROWS {
                    last = (0..self.key.len()).map(|at| row.get(at)).collect::<Result<_, _>>()?;
                }
            }
            if read < PAGE_ROWS {
                return Ok(());
            }
            behind = Some(last);
        }
    }
}

/// Adds the operations of all nodes.
fn operations(connection: &Connection, hash: &mut Sha256) -> Result<(), SqlFault> {
    let mut statement = connection.prepare_cached("SELECT id, node FROM nodes ORDER BY node")?;
    let read = |row: Row<'_>| Ok((row.get::<i64>(0)?, row.get::<Vec<u8>>(1)?));
    let nodes = statement.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
    let text = format!(
        "SELECT seq, bytes FROM ops WHERE origin = ?1 AND seq > ?2 ORDER BY seq LIMIT {PAGE_ROWS}"
    );
    let mut statement = connection.prepare_cached(&text)?;
    for (id, node) in nodes {
        let (mut behind, mut read) = (-1_i64, PAGE_ROWS);
        while read == PAGE_ROWS {
            let mut rows = statement.query((id, behind))?;
            read = 0;
            while let Some(row) = rows.next()? {
                read += 1;
                behind = row.get(0)?;
                field(hash, b'b', &node);
                add_row(hash, row)?;
            }
        }
    }
    Ok(())
}

fn add_row(hash: &mut Sha256, row: Row<'_>) -> Result<(), SqlFault> {
    for at in 0..row.column_count() {
        match row.get_ref(at)? {
            ValueRef::Null => field(hash, b'n', b""),
            ValueRef::Integer(number) => field(hash, b'i', &number.to_be_bytes()),
            ValueRef::Text(text) => field(hash, b't', text.as_bytes()),
            ValueRef::Blob(bytes) => field(hash, b'b', bytes),
        }
    }
    Ok(())
}

fn field(hash: &mut Sha256, kind: u8, bytes: &[u8]) {
    hash.update([kind]);
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}
