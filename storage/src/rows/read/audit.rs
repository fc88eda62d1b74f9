//! The audit chain as it is shown: rows as they are, without checking them.
//!
//! Not here: whether the chain holds (`verify`), and who may look (the node's service).

use std::collections::BTreeMap;

use types::{NodeId, OpId, audit::EventBody};

use crate::{
    answer::AuditRow,
    rows::{fault::SqlFault, row::unsigned},
    sql::Connection,
};

/// Rows behind `after`, oldest first.
pub(crate) fn rows(
    connection: &Connection,
    after: i64,
    type_prefix: Option<&str>,
    limit: u32,
) -> Result<Vec<AuditRow>, SqlFault> {
    let mut statement = connection.prepare_cached(
        "SELECT e.sequence, n.node, e.seq, e.name, a.name, e.event_type, e.timestamp_ms, p.bytes
         FROM signed_events e JOIN names a ON a.id = e.agent
         LEFT JOIN nodes n ON n.id = e.origin LEFT JOIN event_payloads p ON p.sequence = e.sequence
         WHERE e.sequence > ?1 AND (?2 IS NULL OR substr(e.event_type, 1, length(?2)) = ?2)
         ORDER BY e.sequence LIMIT ?3",
    )?;
    let mut found = statement.query((after, type_prefix, limit))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let op = match (row.get::<Option<[u8; 16]>>(1)?, row.get::<Option<i64>>(2)?) {
            (Some(node), Some(seq)) => {
                let origin = NodeId(uuid::Uuid::from_bytes(node));
                Some(EventBody::op_event_id(OpId { origin, seq: unsigned(seq) }))
            }
            _ => None,
        };
        rows.push(AuditRow {
            sequence: row.get(0)?,
            id: op.map_or_else(|| row.get(3), Ok)?,
            agent: row.get(4)?,
            event_type: row.get(5)?,
            at_ms: unsigned(row.get(6)?),
            payload: row.get(7)?,
        });
    }
    Ok(rows)
}

/// The logs whose events are kept, and how far.
pub(crate) fn event_logs(connection: &Connection) -> Result<BTreeMap<String, u64>, SqlFault> {
    let mut statement = connection.prepare_cached("SELECT log, through FROM event_logs")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
