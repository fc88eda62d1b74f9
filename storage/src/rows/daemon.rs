//! The node whose rows these are.
//!
//! Invariants: `DMN-1` a daemon's number is given once and stands in each of its audit rows; `DMN-2` each start counts, so
//! that who was started before is known to be over.
//!
//! Not here: under which name it speaks (`write::head`).

use types::NodeId;

use super::row::{signed, unsigned};
use crate::{
    port::Signer,
    sql::{Connection, OptionalExtension, Result},
};

/// Chain head of a daemon that has no audit row: sequence 0, and the genesis hash.
const NO_ROW: [u8; 40] = [0; 40];

/// A node that has its rows in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Daemon {
    /// Its number there.
    pub(crate) number: i64,
    /// Its identity.
    pub(crate) node: NodeId,
    /// How often it was started with these rows, this time included.
    pub(crate) boots: u64,
}

/// The one daemon that a file has, if it was started before.
pub(crate) fn only(connection: &Connection) -> Result<Option<NodeId>> {
    let read = |bytes: [u8; 16]| NodeId(uuid::Uuid::from_bytes(bytes));
    let text = "SELECT node FROM daemons ORDER BY id LIMIT 1";
    Ok(connection.query_row(text, [], |row| row.get(0)).optional()?.map(read))
}

/// Counts a start of a node, which gets a number at its first, and notes the key that it signs with.
pub(crate) fn start(
    connection: &Connection,
    node: NodeId,
    signer: &dyn Signer,
    now_ms: u64,
) -> Result<Daemon> {
    let transaction = connection.begin()?;
    let daemon = note(connection, node, signer, now_ms)?;
    transaction.commit()?;
    Ok(daemon)
}

/// The same, within a transaction that is open.
pub(crate) fn note(
    connection: &Connection,
    node: NodeId,
    signer: &dyn Signer,
    now_ms: u64,
) -> Result<Daemon> {
    let (number, boots): (i64, i64) = connection.query_row(
        "INSERT INTO daemons (id, node, boots, chain_head)
         VALUES ((SELECT coalesce(max(id), 0) + 1 FROM daemons), ?1, 1, ?2)
         ON CONFLICT (node) DO UPDATE SET boots = daemons.boots + 1 RETURNING id, boots",
        (node.as_bytes(), NO_ROW),
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let (key_id, public_key) = (signer.key_id(), signer.public_key());
    connection.execute(
        "UPDATE signing_keys SET until_ms = ?1 WHERE until_ms IS NULL AND daemon = ?2 AND key_id <> ?3",
        (signed(now_ms), number, key_id),
    )?;
    connection.execute(
        "INSERT INTO signing_keys (key_id, public_key, from_ms, daemon) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (key_id) DO UPDATE SET until_ms = NULL",
        (key_id, public_key, signed(now_ms), number),
    )?;
    Ok(Daemon { number, node, boots: unsigned(boots) })
}
