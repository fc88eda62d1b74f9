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

use crate::sql::{Connection, ValueRef};
use sha2::{Digest, Sha256};

use super::fault::SqlFault;

/// Name and query of each section. A query selects everything that matters, and orders by id.
const SECTIONS: &[(&str, &str)] = &[
    ("memories", "SELECT id, life, title, state, content, embedding FROM memories ORDER BY id"),
    (
        "links",
        "SELECT l.id, l.source, l.target, l.relation, a.name, l.created_fence, l.created_hlc, cn.node, \
         l.valid_from_ms, l.valid_until_ms, l.validity_fence, l.validity_hlc, vn.node, l.removed \
         FROM links l LEFT JOIN names a ON a.id = l.author LEFT JOIN nodes cn ON cn.id = l.created_node \
         LEFT JOIN nodes vn ON vn.id = l.validity_node ORDER BY l.id",
    ),
    (
        "aliases",
        "SELECT l.memory, l.alias_key, l.alias, l.removed, l.fence, l.hlc, n.node FROM aliases l \
         LEFT JOIN nodes n ON n.id = l.node ORDER BY l.memory, l.alias_key",
    ),
    (
        "agents",
        "SELECT agent, affiliation, token_sha256, public_key, revoked, changed_hlc FROM agents \
         ORDER BY agent",
    ),
    (
        "ops",
        "SELECT n.node, o.seq, o.bytes FROM nodes n CROSS JOIN ops o ON o.origin = n.id \
         ORDER BY n.node, o.seq",
    ),
];

/// The digest of the store as this connection's snapshot shows it.
pub(crate) fn content_digest(connection: &Connection) -> Result<[u8; 32], SqlFault> {
    let mut hash = Sha256::new();
    for (name, query) in SECTIONS {
        field(&mut hash, b's', name.as_bytes());
        let mut statement = connection.prepare_cached(query)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for at in 0..row.column_count() {
                match row.get_ref(at)? {
                    ValueRef::Null => field(&mut hash, b'n', b""),
                    ValueRef::Integer(number) => field(&mut hash, b'i', &number.to_be_bytes()),
                    ValueRef::Text(text) => field(&mut hash, b't', text.as_bytes()),
                    ValueRef::Blob(bytes) => field(&mut hash, b'b', bytes),
                }
            }
        }
    }
    Ok(hash.finalize().into())
}

fn field(hash: &mut Sha256, kind: u8, bytes: &[u8]) {
    hash.update([kind]);
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}
