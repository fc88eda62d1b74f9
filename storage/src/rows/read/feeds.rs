//! Feeds, as other nodes are told of them.
//!
//! Invariants: `FDR-1` what is told is a prefix of what is lacking, in an order in which it can be
//! applied: this store's own, and in front of each operation what its author had seen and is not kept here;
//! `FDR-2` within it, each feed goes on without a gap from where the asker is; `FDR-3` what is told of
//! another node's feed is told with what that node has signed, or not at all; `FDR-4` an operation that is
//! not kept here is told of by its hash only if it was refused for a reason that is the same
//! everywhere: whoever heard of one that is merely hidden here, or was refused for now, would pass over it. Of what
//! a node said that has left for good, or that asks or answers, every hash is told: nobody can bring the rest, and whoever waited for
//! it would never take up what was said after it; `FDR-5` where
//! the log does not reach back to where the asker is, the answer says so; `FDR-6` an operation on a memory that was
//! forgotten, or that makes a link that was, is told of by its hash.
//!
//! Not here: what a peer may see of it (`federation`).

use std::collections::{BTreeMap, BTreeSet};

use types::{
    DeadLetter, FeedHead, Namespace, NodeId, Op, OpId, Payload, Reason, VersionVector, codec,
    planted,
};

use crate::{
    answer::{FeedItem, Lacking, Proof, Said},
    request::LackingQuery,
    rows::{
        fault::SqlFault,
        row::{signed, unsigned},
    },
    sql::{Connection, OptionalExtension},
};

/// The feeds of all origins, as far as they are covered.
pub(crate) fn feeds(connection: &Connection) -> Result<BTreeMap<NodeId, FeedHead>, SqlFault> {
    let mut statement = connection.prepare_cached(
        "SELECT n.node, f.seq, f.chain FROM feeds f JOIN nodes n ON n.id = f.origin",
    )?;
    let rows = statement.query_map([], |row| {
        let origin = NodeId(uuid::Uuid::from_bytes(row.get(0)?));
        Ok((origin, FeedHead { origin, seq: unsigned(row.get(1)?), chain: row.get(2)? }))
    })?;
    Ok(rows.collect::<crate::sql::Result<_>>()?)
}

/// The origins of whose feeds an asker lacks something: their numbers, and what it has.
fn lacking_of(
    connection: &Connection,
    has: &VersionVector,
) -> Result<BTreeMap<u32, (NodeId, u64, u64)>, SqlFault> {
    let mut statement = connection.prepare_cached(
        "SELECT f.origin, n.node, f.seq FROM feeds f JOIN nodes n ON n.id = f.origin",
    )?;
    let mut rows = statement.query([])?;
    let mut lacking = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let node = NodeId(uuid::Uuid::from_bytes(row.get(1)?));
        let covered = unsigned(row.get(2)?);
        if covered > has.get(node) {
            lacking.insert(row.get(0)?, (node, has.get(node), covered));
        }
    }
    Ok(lacking)
}

/// Position of the first kept operation behind `seq` of an origin.
fn first_behind(connection: &Connection, origin: u32, seq: u64) -> Result<Option<i64>, SqlFault> {
    let found = connection
        .prepare_cached(
            "SELECT position FROM ops WHERE origin = ?1 AND seq > ?2 ORDER BY seq LIMIT 1",
        )?
        .query_row((origin, signed(seq)), |row| row.get(0))
        .optional()?;
    Ok(found)
}

/// Reasons to refuse an operation that are the same everywhere, as a list of SQL. Whom a peer may send for is
/// each node's own affair.
const REFUSED_EVERYWHERE: &str = "('malformed', 'invalid_argument')";

/// Whether anything of these feeds is not kept here.
fn has_unheld(
    connection: &Connection,
    lacking: &BTreeMap<u32, (NodeId, u64, u64)>,
) -> Result<bool, SqlFault> {
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM unheld WHERE origin = ?1 AND seq > ?2 LIMIT 1")?;
    for (origin, (_, has, _)) in lacking {
        if statement.exists((origin, signed(*has)))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is being put together.
struct Telling<'c> {
    connection: &'c Connection,
    items: Vec<FeedItem>,
    items_max: usize,
    bytes: u64,
    /// Whether something of what is lacking is not kept here.
    has_unheld: bool,
    /// Origins of whose words every hash is told, by number.
    lost: BTreeSet<u32>,
    /// By number of origin: its name, and up to where it was told.
    told: BTreeMap<u32, (NodeId, u64)>,
}

impl Telling<'_> {
    fn is_full(&self) -> bool {
        self.items.len() >= self.items_max
    }

    /// Tells of what is not kept between what was told of a feed and `before`, as far as there is room.
    fn pass(&mut self, origin: u32, before: u64) -> Result<(), SqlFault> {
        let Some((node, told)) = self.told.get_mut(&origin) else { return Ok(()) };
        if *told + 1 >= before {
            return Ok(());
        }
        let told_on = match planted::is_on("hidden-served-as-held") || self.lost.contains(&origin) {
            true => String::new(),
            false => format!("AND reason IN {REFUSED_EVERYWHERE}"),
        };
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT seq, hash FROM unheld
             WHERE origin = ?1 AND seq > ?2 AND seq < ?3 {told_on} ORDER BY seq"
        ))?;
        let mut rows = statement.query((origin, signed(*told), signed(before)))?;
        while let Some(row) = rows.next()? {
            let seq = unsigned(row.get(0)?);
            if seq != *told + 1 || self.items.len() >= self.items_max {
                break;
            }
            let id = OpId { origin: *node, seq };
            self.items.push(FeedItem { id, said: Said::Hash(row.get(1)?) });
            *told = seq;
        }
        Ok(())
    }

    /// Tells of what an operation's author had seen and is not kept here: no kept operation stands where it
    /// stood.
    fn pass_before(&mut self, bytes: &[u8]) -> Result<(), SqlFault> {
        if !self.has_unheld {
            return Ok(());
        }
        // What cannot be read is judged by whoever hears it.
        let Ok(op) = codec::decode_op(bytes) else { return Ok(()) };
        let seen: Vec<(u32, u64)> = self
            .told
            .iter()
            .filter(|(_, (node, told))| op.context.get(*node) > *told)
            .map(|(origin, (node, _))| (*origin, op.context.get(*node)))
            .collect();
        seen.into_iter().try_for_each(|(origin, seq)| self.pass(origin, seq + 1))
    }

    /// Tells an operation; says whether it goes on without a gap.
    fn tell(&mut self, origin: u32, seq: u64, said: Said) -> Result<bool, SqlFault> {
        if let Said::Whole { bytes, .. } = &said {
            self.pass_before(bytes)?;
        }
        self.pass(origin, seq)?;
        let Some((node, told)) = self.told.get_mut(&origin) else { return Ok(false) };
        if seq != *told + 1 {
            return Ok(false);
        }
        *told = seq;
        if let Said::Whole { bytes, .. } = &said {
            self.bytes += bytes.len() as u64;
        }
        self.items.push(FeedItem { id: OpId { origin: *node, seq }, said });
        Ok(true)
    }
}

impl Telling<'_> {
    /// Whether what comes next in a feed is not kept, not even as a hash.
    fn is_cut(&self, lacking: &BTreeMap<u32, (NodeId, u64, u64)>) -> Result<bool, SqlFault> {
        let mut statement = self.connection.prepare_cached(
            "SELECT 1 FROM ops WHERE origin = ?1 AND seq = ?2
             UNION ALL SELECT 1 FROM unheld WHERE origin = ?1 AND seq = ?2 LIMIT 1",
        )?;
        for (origin, (_, told)) in &self.told {
            let covered = lacking.get(origin).map_or(0, |(_, _, covered)| *covered);
            if *told < covered && !statement.exists((origin, signed(*told + 1)))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What proves what was told, and the origins for which there is no proof yet.
    fn proofs(
        &self,
        lacking: &BTreeMap<u32, (NodeId, u64, u64)>,
        me: NodeId,
    ) -> Result<(Vec<Proof>, BTreeSet<NodeId>), SqlFault> {
        let (mut proofs, mut unproven) = (Vec::new(), BTreeSet::new());
        for (origin, (node, told)) in &self.told {
            if lacking.get(origin).is_none_or(|(_, has, _)| has == told) {
                continue;
            }
            let signed = match *node == me {
                true => self.chain_at(*origin, *told)?.map(|chain| {
                    let head = FeedHead { origin: *node, seq: *told, chain };
                    Proof { head, signature: None, tail: Vec::new() }
                }),
                false => self.signed_from(*origin, *node, *told)?,
            };
            match signed {
                Some(proof) => proofs.push(proof),
                None => drop(unproven.insert(*node)),
            }
        }
        Ok((proofs, unproven))
    }

    fn chain_at(&self, origin: u32, seq: u64) -> Result<Option<[u8; 32]>, SqlFault> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT chain FROM ops WHERE origin = ?1 AND seq = ?2")?;
        Ok(statement.query_row((origin, signed(seq)), |row| row.get(0)).optional()?)
    }

    /// The first head that an origin has signed at `seq` or behind it, with the way there.
    fn signed_from(&self, origin: u32, node: NodeId, seq: u64) -> Result<Option<Proof>, SqlFault> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, chain, signature FROM feed_heads
             WHERE origin = ?1 AND seq >= ?2 ORDER BY seq LIMIT 1",
        )?;
        let word = statement
            .query_row((origin, signed(seq)), |row| {
                let head =
                    FeedHead { origin: node, seq: unsigned(row.get(0)?), chain: row.get(1)? };
                Ok((head, row.get(2)?))
            })
            .optional()?;
        let Some((head, signature)) = word else { return Ok(None) };
        let tail = self.hashes(origin, seq, head.seq)?;
        let whole = tail.len() as u64 == head.seq - seq;
        Ok(whole.then_some(Proof { head, signature: Some(signature), tail }))
    }

    /// Hashes of the operations of an origin behind `after`, up to `last`.
    fn hashes(&self, origin: u32, after: u64, last: u64) -> Result<Vec<[u8; 32]>, SqlFault> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, bytes, NULL FROM ops WHERE origin = ?1 AND seq > ?2 AND seq <= ?3
             UNION ALL SELECT seq, NULL, hash FROM unheld
             WHERE origin = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY 1",
        )?;
        let rows = statement.query_map((origin, signed(after), signed(last)), |row| {
            let (bytes, hash): (Option<Vec<u8>>, Option<[u8; 32]>) = (row.get(1)?, row.get(2)?);
            Ok(hash.unwrap_or_else(|| codec::op_hash(&bytes.unwrap_or_default())))
        })?;
        Ok(rows.collect::<crate::sql::Result<_>>()?)
    }
}

/// What may be told of an operation that is kept. Of a memory that is not here any more nobody can say who may see
/// it; a link that is not here any more was removed, and who forgot that cannot tell it (`FDR-6`).
fn said(
    connection: &Connection,
    bytes: Vec<u8>,
    memory: Option<Vec<u8>>,
    namespace: Option<String>,
) -> crate::sql::Result<Said> {
    let namespace = namespace.and_then(|name| name.parse::<Namespace>().ok());
    let is_gone = match (&memory, &namespace) {
        (Some(_), None) => true,
        (None, _) => makes_gone_link(connection, &bytes)?,
        _ => false,
    };
    Ok(match is_gone {
        true => Said::Hash(codec::op_hash(&bytes)),
        false => Said::Whole { bytes, namespace },
    })
}

/// Whether an operation makes a link of which not even the tombstone is here.
fn makes_gone_link(connection: &Connection, bytes: &[u8]) -> crate::sql::Result<bool> {
    // What cannot be read makes none.
    let Ok(Op { payload: Payload::Link(link), .. }) = codec::decode_op(bytes) else {
        return Ok(false);
    };
    let mut statement = connection.prepare_cached("SELECT 1 FROM links WHERE id = ?1")?;
    Ok(!statement.exists([link.id.0.as_bytes().as_slice()])?)
}

/// These operations, as far as they are kept.
pub(crate) fn operations(connection: &Connection, ids: &[OpId]) -> Result<Vec<FeedItem>, SqlFault> {
    let mut statement = connection.prepare_cached(
        "SELECT o.bytes, o.memory, s.name FROM nodes n JOIN ops o ON o.origin = n.id
         LEFT JOIN memories m ON m.id = o.memory LEFT JOIN namespaces s ON s.id = m.namespace
         WHERE n.node = ?1 AND o.seq = ?2",
    )?;
    let mut items = Vec::with_capacity(ids.len());
    for id in ids {
        let found = statement
            .query_row((id.origin.as_bytes(), signed(id.seq)), |row| {
                said(connection, row.get(0)?, row.get(1)?, row.get(2)?)
            })
            .optional()?;
        items.extend(found.map(|said| FeedItem { id: *id, said }));
    }
    Ok(items)
}

/// What peers have refused.
pub(crate) fn letters(connection: &Connection) -> Result<Vec<(NodeId, DeadLetter)>, SqlFault> {
    let mut statement = connection.prepare_cached(
        "SELECT peer, origin, seq, reason, detail, tries, first_ms, next_ms FROM dead_letters
         ORDER BY peer, origin, seq",
    )?;
    let rows = statement.query_map([], |row| {
        let origin = NodeId(uuid::Uuid::from_bytes(row.get(1)?));
        let code: String = row.get(3)?;
        let letter = DeadLetter {
            id: OpId { origin, seq: unsigned(row.get(2)?) },
            // A reason of a later version, after a downgrade.
            reason: Reason::from_code(&code).unwrap_or(Reason::Internal),
            detail: row.get(4)?,
            tries: row.get(5)?,
            first_ms: unsigned(row.get(6)?),
            next_ms: row.get::<Option<i64>>(7)?.map(unsigned),
        };
        Ok((NodeId(uuid::Uuid::from_bytes(row.get(0)?)), letter))
    })?;
    Ok(rows.collect::<crate::sql::Result<_>>()?)
}

/// What an asker lacks that has this much.
pub(crate) fn lacking(
    connection: &Connection,
    query: &LackingQuery,
    me: NodeId,
) -> Result<Lacking, SqlFault> {
    let lacking = lacking_of(connection, &query.has)?;
    let mut start: Option<i64> = None;
    for (origin, (_, has, _)) in &lacking {
        let first = first_behind(connection, *origin, *has)?;
        start = start.into_iter().chain(first).min();
    }
    let told = lacking.iter().map(|(origin, (node, has, _))| (*origin, (*node, *has))).collect();
    let has_unheld = has_unheld(connection, &lacking)?;
    let items_max = query.items_max as usize;
    let items = Vec::new();
    let is_lost = |node: NodeId| query.lost.iter().any(|lost| lost.speaks_as(node));
    let lost = lacking.iter().filter(|(_, (node, _, _))| is_lost(*node));
    let lost = lost.map(|(origin, _)| *origin).collect();
    let mut telling = Telling { connection, items, items_max, bytes: 0, has_unheld, lost, told };
    let (mut full, mut gaps) = (false, false);
    let mut statement = connection.prepare_cached(
        "SELECT o.origin, o.seq, o.bytes, o.memory, s.name FROM ops o
         LEFT JOIN memories m ON m.id = o.memory LEFT JOIN namespaces s ON s.id = m.namespace
         WHERE o.position >= ?1 ORDER BY o.position",
    )?;
    let mut rows = statement.query([start.unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        let (origin, seq): (u32, u64) = (row.get(0)?, unsigned(row.get(1)?));
        if lacking.get(&origin).is_none_or(|(_, has, _)| seq <= *has) {
            continue;
        }
        if telling.is_full() || telling.bytes >= query.bytes_max {
            full = true;
            break;
        }
        let said = said(connection, row.get(2)?, row.get(3)?, row.get(4)?)?;
        let goes_on = telling.tell(origin, seq, said)?;
        // What was taken late stands behind what follows it, which is told the next time.
        gaps |= !goes_on;
    }
    if !full {
        for (origin, (_, _, covered)) in &lacking {
            telling.pass(*origin, covered + 1)?;
        }
        // What had no room is told the next time.
        full = telling.is_full();
    }
    let is_cut = telling.is_cut(&lacking)?;
    let (proofs, unproven) = telling.proofs(&lacking, me)?;
    let mut items = telling.items;
    items.retain(|item| !unproven.contains(&item.id.origin));
    let more = (full || gaps) && !items.is_empty();
    Ok(Lacking { items, proofs, more, is_cut })
}
