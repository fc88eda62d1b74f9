//! State, as another store compares and takes it.
//!
//! Invariants: `STT-1` what may not be seen is neither listed nor given; a link is seen by whoever may see both its
//! ends; `STT-2` a store says that something is gone only if it has seen every operation in it, and nothing
//! was hidden from it that could have been about it.
//!
//! Not here: which ranges are worth comparing (`federation`).

use std::collections::{BTreeMap, BTreeSet};

use types::{FeedHead, Hlc, MemoryId, Namespace, NodeId, Reason, SignedHead, Stamp, codec};

use super::{links, registry};
use crate::{
    rows::{
        fault::SqlFault,
        row::{self, signed, stored_columns, unsigned},
    },
    sql::{Connection, OptionalExtension},
    state::{
        Alias, CoveredFeed, Holding, Item, ItemDigest, ItemKey, KeyRange, Table, Visible, digest,
    },
};

/// Numbers of the namespaces that may be seen.
struct Seen {
    numbers: BTreeSet<u32>,
    everything: bool,
}

impl Seen {
    fn load(connection: &Connection, visible: &Visible) -> Result<Self, SqlFault> {
        let mut statement = connection.prepare_cached("SELECT id, name FROM namespaces")?;
        let mut rows = statement.query([])?;
        let mut numbers = BTreeSet::new();
        while let Some(row) = rows.next()? {
            let name: String = row.get(1)?;
            if name.parse::<Namespace>().is_ok_and(|namespace| visible.sees(&namespace)) {
                numbers.insert(row.get(0)?);
            }
        }
        Ok(Self { numbers, everything: visible.is_everything() })
    }

    fn sees(&self, namespace: u32) -> bool {
        self.everything || self.numbers.contains(&namespace)
    }

    fn sees_memory(&self, connection: &Connection, id: MemoryId) -> Result<bool, SqlFault> {
        if self.everything {
            return Ok(true);
        }
        let number: Option<u32> = connection
            .prepare_cached("SELECT namespace FROM memories WHERE id = ?1")?
            .query_row([id.as_bytes().as_slice()], |row| row.get(0))
            .optional()?;
        Ok(number.is_some_and(|number| self.sees(number)))
    }
}

/// Bounds of the ids of one table within a range; `None` when the range has none of them.
fn bounds(range: &KeyRange, table: Table) -> Option<([u8; 16], Option<[u8; 16]>)> {
    let from = match range.from.table.cmp(&table) {
        std::cmp::Ordering::Less => [0; 16],
        std::cmp::Ordering::Equal => range.from.id,
        std::cmp::Ordering::Greater => return None,
    };
    match range.to {
        None => Some((from, None)),
        Some(to) => match to.table.cmp(&table) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some((from, Some(to.id))),
            std::cmp::Ordering::Greater => Some((from, None)),
        },
    }
}

/// Keys and digests of what is in a range, in order.
pub(crate) fn items(
    connection: &Connection,
    range: &KeyRange,
    visible: &Visible,
) -> Result<Vec<ItemDigest>, SqlFault> {
    let mut items = Vec::new();
    if visible.is_nothing() {
        return Ok(items);
    }
    let seen = Seen::load(connection, visible)?;
    if let Some((from, to)) = bounds(range, Table::Memory) {
        memory_items(connection, &seen, &from, to.as_ref(), &mut items)?;
    }
    if let Some((from, to)) = bounds(range, Table::Link) {
        for link in links_between(connection, &from, to.as_ref())? {
            if seen.sees_memory(connection, link.source)?
                && seen.sees_memory(connection, link.target)?
            {
                items.push(link_digest(&link));
            }
        }
    }
    if bounds(range, Table::Alias).is_some() {
        let mut names = BTreeMap::new();
        for alias in aliases(connection)? {
            if seen.sees_memory(connection, alias.memory)? {
                names.insert(alias_key(&alias), alias_digest(&alias));
            }
        }
        items.extend(names.into_values().filter(|item| range.contains(&item.key)));
    }
    if bounds(range, Table::Agent).is_some() {
        let agents = registry::agents(connection)?;
        let digests: BTreeMap<ItemKey, u64> = agents
            .iter()
            .map(|agent| (agent_key(agent.agent_id.as_str()), head(&codec::encode_agent(agent))))
            .collect();
        let digests = digests.into_iter().map(|(key, digest)| ItemDigest { key, digest });
        items.extend(digests.filter(|item| range.contains(&item.key)));
    }
    Ok(items)
}

fn memory_items(
    connection: &Connection,
    seen: &Seen,
    from: &[u8; 16],
    to: Option<&[u8; 16]>,
    items: &mut Vec<ItemDigest>,
) -> Result<(), SqlFault> {
    let mut statement = connection.prepare_cached(
        "SELECT id, namespace, checksum FROM memories INDEXED BY memories_digest
         WHERE id >= ?1 AND (id < ?2 OR ?2 IS NULL) ORDER BY id",
    )?;
    let mut rows = statement.query((from, to))?;
    while let Some(row) = rows.next()? {
        if seen.sees(row.get(1)?) {
            let key = ItemKey { table: Table::Memory, id: row.get(0)? };
            items.push(ItemDigest { key, digest: unsigned(row.get(2)?) });
        }
    }
    Ok(())
}

fn links_between(
    connection: &Connection,
    from: &[u8; 16],
    to: Option<&[u8; 16]>,
) -> Result<Vec<types::Link>, SqlFault> {
    let mut statement = connection.prepare_cached(concat!(
        links::select_links!(),
        "WHERE l.id >= ?1 AND (l.id < ?2 OR ?2 IS NULL) ORDER BY l.id"
    ))?;
    let mut rows = statement.query((from, to))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(links::link(row)?);
    }
    Ok(found)
}

fn head(bytes: &[u8]) -> u64 {
    let hash = digest(&[bytes]);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first)
}

fn link_digest(link: &types::Link) -> ItemDigest {
    let key = ItemKey { table: Table::Link, id: *link.id.0.as_bytes() };
    ItemDigest { key, digest: head(&codec::encode_link(link)) }
}

fn alias_key(alias: &Alias) -> ItemKey {
    let folded = row::alias_key(&alias.alias);
    ItemKey::named(Table::Alias, &[folded.as_bytes(), alias.memory.as_bytes()])
}

fn alias_digest(alias: &Alias) -> ItemDigest {
    let Stamp { fence, hlc, origin } = alias.stamp;
    let parts: [&[u8]; 5] = [
        alias.alias.as_bytes(),
        &[u8::from(alias.removed)],
        &fence.to_be_bytes(),
        &hlc.as_u64().to_be_bytes(),
        origin.as_bytes(),
    ];
    let hash = digest(&parts);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    ItemDigest { key: alias_key(alias), digest: u64::from_be_bytes(first) }
}

fn agent_key(name: &str) -> ItemKey {
    ItemKey::named(Table::Agent, &[name.as_bytes()])
}

fn aliases(connection: &Connection) -> Result<Vec<Alias>, SqlFault> {
    let mut statement = connection.prepare_cached(
        "SELECT x.memory, x.alias, x.removed, x.fence, x.hlc, n.node FROM aliases x
         JOIN nodes n ON n.id = x.node ORDER BY x.alias_key, x.memory",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Alias {
            memory: row::memory_id("aliases", &row.get::<[u8; 16]>(0)?)?,
            alias: row.get(1)?,
            removed: row.get(2)?,
            stamp: Stamp {
                fence: unsigned(row.get(3)?),
                hlc: Hlc::from_u64(unsigned(row.get(4)?)),
                origin: NodeId(uuid::Uuid::from_bytes(row.get(5)?)),
            },
        });
    }
    Ok(found)
}

/// All that is known of these items, in the order asked for, until so many bytes are reached; and how many keys were
/// looked at.
pub(crate) fn states(
    connection: &Connection,
    keys: &[ItemKey],
    visible: &Visible,
    bytes_max: u64,
) -> Result<(Vec<Item>, u64), SqlFault> {
    let seen = Seen::load(connection, visible)?;
    let wants = |table| keys.iter().any(|key| key.table == table);
    // Both tables are small, and are known by the hash of a name.
    let aliases: BTreeMap<ItemKey, Alias> = match wants(Table::Alias) {
        true => aliases(connection)?.into_iter().map(|a| (alias_key(&a), a)).collect(),
        false => BTreeMap::new(),
    };
    let agents: BTreeMap<ItemKey, types::AgentRecord> = match wants(Table::Agent) {
        true => registry::agents(connection)?
            .into_iter()
            .map(|agent| (agent_key(agent.agent_id.as_str()), agent))
            .collect(),
        false => BTreeMap::new(),
    };
    let (mut found, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
    for key in keys {
        if bytes >= bytes_max {
            break;
        }
        looked_at += 1;
        let item = match key.table {
            Table::Memory => memory_state(connection, &seen, &key.id, &mut bytes)?,
            Table::Link => link_state(connection, &seen, &key.id)?,
            Table::Alias => match aliases.get(key) {
                Some(alias) if seen.sees_memory(connection, alias.memory)? => {
                    Some(Item::Alias(alias.clone()))
                }
                _ => None,
            },
            Table::Agent => agents.get(key).cloned().map(|agent| Item::Agent(Box::new(agent))),
        };
        bytes += 256;
        found.extend(item);
    }
    Ok((found, looked_at))
}

fn memory_state(
    connection: &Connection,
    seen: &Seen,
    id: &[u8; 16],
    bytes: &mut u64,
) -> Result<Option<Item>, SqlFault> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        stored_columns!(),
        ", namespace FROM memories WHERE id = ?1"
    ))?;
    let mut rows = statement.query([id.as_slice()])?;
    let Some(found) = rows.next()? else { return Ok(None) };
    if !seen.sees(found.get(10)?) {
        return Ok(None);
    }
    let record = row::stored(found)?.record;
    *bytes += record.content.value.as_str().len() as u64 + 1024;
    Ok(Some(Item::Memory(Box::new(record))))
}

fn link_of(connection: &Connection, id: &[u8; 16]) -> Result<Option<types::Link>, SqlFault> {
    let mut statement =
        connection.prepare_cached(concat!(links::select_links!(), "WHERE l.id = ?1"))?;
    let mut rows = statement.query([id.as_slice()])?;
    rows.next()?.map(links::link).transpose()
}

fn link_state(
    connection: &Connection,
    seen: &Seen,
    id: &[u8; 16],
) -> Result<Option<Item>, SqlFault> {
    let Some(link) = link_of(connection, id)? else { return Ok(None) };
    let may =
        seen.sees_memory(connection, link.source)? && seen.sees_memory(connection, link.target)?;
    Ok(may.then(|| Item::Link(Box::new(link))))
}

/// What is here of these, as far as another store needs to know it to say what became of them. Tombstones go by
/// themselves, once the log does not need them any more.
pub(crate) fn holdings(
    connection: &Connection,
    keys: &[ItemKey],
) -> Result<Vec<Holding>, SqlFault> {
    let everything = Seen { numbers: BTreeSet::new(), everything: true };
    let mut held = Vec::new();
    for key in keys {
        match key.table {
            Table::Memory => {
                let found = memory_state(connection, &everything, &key.id, &mut 0)?;
                if let Some(Item::Memory(record)) = found
                    && record.deleted.is_none()
                {
                    let (vector, created) = (record.vector, record.created);
                    held.push(Holding { key: *key, vector, created });
                }
            }
            Table::Link => {
                let link = link_of(connection, &key.id)?.filter(|link| !link.removed);
                held.extend(link.map(|link| Holding {
                    key: *key,
                    vector: types::VersionVector::default(),
                    created: link.created,
                }));
            }
            // A name goes with its memory; agents stay.
            Table::Alias | Table::Agent => {}
        }
    }
    Ok(held)
}

/// What is known of one feed.
struct Known {
    /// Up to where it is covered.
    seq: u64,
    /// The first operation that may be about anything; [`u64::MAX`] if there is none.
    hidden_from: u64,
    /// Everything that was stamped up to here was heard.
    heard: Hlc,
}

fn known(connection: &Connection, origin: NodeId) -> Result<Option<Known>, SqlFault> {
    let found = connection
        .prepare_cached(
            "SELECT f.seq, f.hlc, f.unseen, f.whole, f.whole_hlc,
                min(u.seq), min(u.after_hlc)
             FROM feeds f JOIN nodes n ON n.id = f.origin
             LEFT JOIN unheld u ON u.origin = f.origin AND u.memory IS NULL
             WHERE n.node = ?1 GROUP BY f.origin",
        )?
        .query_row([origin.as_bytes()], |row| {
            let number = |at: usize| row.get(at).map(unsigned);
            let (behind, heard) = match number(2)? {
                0 => (u64::MAX, number(1)?),
                _ => (number(3)? + 1, number(4)?),
            };
            let hashes = row.get::<Option<i64>>(5)?.zip(row.get::<Option<i64>>(6)?);
            let (hidden_from, heard) = match hashes {
                Some((first, after)) => (unsigned(first).min(behind), unsigned(after).min(heard)),
                None => (behind, heard),
            };
            Ok(Known { seq: number(0)?, hidden_from, heard: Hlc::from_u64(heard) })
        })
        .optional()?;
    Ok(found)
}

/// Those of which everything was seen here, and which are not here.
pub(crate) fn gone(connection: &Connection, held: &[Holding]) -> Result<Vec<ItemKey>, SqlFault> {
    let mut gone = Vec::new();
    for holding in held {
        let is_gone = match holding.key.table {
            Table::Memory => memory_is_gone(connection, holding)?,
            Table::Link => link_is_gone(connection, holding)?,
            Table::Alias | Table::Agent => false,
        };
        if is_gone {
            gone.push(holding.key);
        }
    }
    Ok(gone)
}

fn memory_is_gone(connection: &Connection, holding: &Holding) -> Result<bool, SqlFault> {
    let id = holding.key.id.as_slice();
    let here: Option<i64> = connection
        .prepare_cached("SELECT row FROM memories WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    if here.is_some() {
        return Ok(false);
    }
    let refused: Option<i64> = connection
        .prepare_cached("SELECT 1 FROM unheld WHERE memory = ?1 AND reason <> ?2 LIMIT 1")?
        .query_row((id, Reason::NotFound.code()), |row| row.get(0))
        .optional()?;
    if refused.is_some() {
        return Ok(false);
    }
    for (origin, seq) in holding.vector.iter() {
        let Some(known) = known(connection, origin)? else { return Ok(false) };
        if known.seq < seq || known.hidden_from <= seq {
            return Ok(false);
        }
    }
    Ok(true)
}

fn link_is_gone(connection: &Connection, holding: &Holding) -> Result<bool, SqlFault> {
    if link_of(connection, &holding.key.id)?.is_some() {
        return Ok(false);
    }
    let Stamp { hlc, origin, .. } = holding.created;
    let Some(known) = known(connection, origin)? else { return Ok(false) };
    // Stamps of one origin grow with its feed.
    Ok(known.heard >= hlc)
}

/// The heads up to which this store's state stands for the feeds.
pub(crate) fn covered_feeds(
    connection: &Connection,
    me: NodeId,
) -> Result<Vec<CoveredFeed>, SqlFault> {
    let mut statement = connection.prepare_cached(
        "SELECT n.node, f.seq, f.chain, f.unseen, h.seq, h.chain, h.signature,
            (SELECT max(u.seq) FROM unheld u WHERE u.origin = f.origin AND u.reason IS NULL)
         FROM feeds f JOIN nodes n ON n.id = f.origin LEFT JOIN feed_heads h
            ON h.origin = f.origin AND h.seq = (SELECT max(seq) FROM feed_heads x
                WHERE x.origin = f.origin AND x.seq <= f.seq)",
    )?;
    let mut rows = statement.query([])?;
    let mut feeds = Vec::new();
    while let Some(row) = rows.next()? {
        let origin = NodeId(uuid::Uuid::from_bytes(row.get(0)?));
        let missed = row.get::<Option<i64>>(7)?.map_or(0, unsigned);
        let unseen_seq = unsigned(row.get(3)?).max(missed);
        let word = if origin == me {
            let head = FeedHead { origin, seq: unsigned(row.get(1)?), chain: row.get(2)? };
            SignedHead { head, signature: [0; 64] }
        } else {
            let (Some(seq), Some(chain), Some(signature)) =
                (row.get::<Option<i64>>(4)?, row.get(5)?, row.get(6)?)
            else {
                continue;
            };
            SignedHead { head: FeedHead { origin, seq: unsigned(seq), chain }, signature }
        };
        feeds.push(CoveredFeed { word, unseen_seq: unseen_seq.min(word.head.seq) });
    }
    Ok(feeds)
}

/// Up to where the log may be gone.
pub(crate) fn log_begins(connection: &Connection) -> Result<u64, SqlFault> {
    position_noted(connection, "log_begins")
}

/// Position of the last change that no operation tells of.
pub(crate) fn joined_at(connection: &Connection) -> Result<u64, SqlFault> {
    position_noted(connection, "joined_at")
}

/// Position of the last view that ended without an operation on what is left of it.
pub(crate) fn regrouped_at(connection: &Connection) -> Result<u64, SqlFault> {
    position_noted(connection, "regrouped_at")
}

fn position_noted(connection: &Connection, key: &str) -> Result<u64, SqlFault> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    let found: Option<i64> = statement.query_row([key], |row| row.get(0)).optional()?;
    Ok(found.map_or(0, unsigned))
}

/// Notes a position that only grows.
pub(crate) fn note_position(connection: &Connection, key: &str, at: u64) -> crate::sql::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = max(meta.value, excluded.value)",
        )?
        .execute((key, signed(at)))?;
    Ok(())
}
