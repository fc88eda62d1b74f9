//! From a time to what was covered then.
//!
//! Invariant: `TIM-1` never more than what was covered at that time by this node's clock: only what stands before
//! an operation of this node's own counts, because an operation of another may have come long after
//! it was made.
//!
//! Not here: how far clocks may be apart (`federation`).

use types::{Hlc, NodeId, VersionVector};

use crate::{
    rows::{
        fault::SqlFault,
        row::{signed, unsigned},
    },
    sql::{Connection, OptionalExtension},
};

/// What was covered here before a time.
pub(crate) fn covered_at(
    connection: &Connection,
    me: NodeId,
    before_ms: u64,
) -> Result<VersionVector, SqlFault> {
    let before = signed(Hlc::new(before_ms, 0).as_u64());
    let position: Option<i64> = connection
        .prepare_cached(
            "SELECT o.position FROM nodes n JOIN ops o ON o.origin = n.id
             WHERE n.node = ?1 AND o.hlc < ?2 ORDER BY o.seq DESC LIMIT 1",
        )?
        .query_row((me.as_bytes(), before), |row| row.get(0))
        .optional()?;
    let Some(position) = position else { return Ok(VersionVector::default()) };
    let mut origins = connection
        .prepare_cached("SELECT f.origin, n.node FROM feeds f JOIN nodes n ON n.id = f.origin")?;
    let origins = origins
        .query_map([], |row| Ok((row.get(0)?, NodeId(uuid::Uuid::from_bytes(row.get(1)?)))))?
        .collect::<crate::sql::Result<Vec<(u32, NodeId)>>>()?;
    let mut covered = VersionVector::default();
    let mut last = connection.prepare_cached(
        "SELECT seq FROM ops WHERE origin = ?1 AND position <= ?2 ORDER BY seq DESC LIMIT 1",
    )?;
    for (number, origin) in origins {
        let seq: Option<i64> = last.query_row((number, position), |row| row.get(0)).optional()?;
        if let Some(seq) = seq {
            covered.raise(origin, unsigned(seq));
        }
    }
    Ok(covered)
}
