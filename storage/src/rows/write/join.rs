//! State of other stores, joined without the operations that made it.
//!
//! Invariants: `JOI-1` a record is joined, never replaced, so that nothing is lost by taking an old one; `JOI-2`
//! what this node refused of a record does not come in with it; `JOI-3` a feed is covered up to a head
//! that its origin has signed, and never back; `JOI-4` the position of every such change is noted, because the
//! log does not tell of it; `JOI-5` what this node has seen all of and forgotten does not come back as state; `JOI-6`
//! what comes as state is charged to its author's quota, and what that is too small for stays out.
//!
//! Not here: from whom to take state, and the event that says so (`federation`).

use types::{AgentRecord, Link, MemoryId, NodeId, OpId, Reason, Record, Reject, VersionVector};

use super::{
    group::{Done, Group, Terms},
    overlay::{AliasEntry, Entry},
};
use crate::{
    answer::Applied,
    rows::{
        fault::SqlFault,
        read::states::{gone, note_position},
        row::{alias_key, key_of, signed, unsigned},
        work,
    },
    sql::{Connection, OptionalExtension},
    state::{Alias, CoveredFeed, Holding, Item, ItemKey, Table},
};

/// What a group took as state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Joined {
    /// Whether anything changed.
    pub(crate) any: bool,
    /// Feeds that are covered further, with what may be missing of them.
    covered: Vec<(NodeId, u64)>,
    /// What is dropped.
    gone: Vec<ItemKey>,
}

impl Joined {
    /// Up to where something of a feed may be missing that is covered in this group.
    pub(super) fn unseen_of(&self, origin: NodeId) -> Option<u64> {
        self.covered.iter().filter(|(node, _)| *node == origin).map(|(_, unseen)| *unseen).max()
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        !self.any && self.covered.is_empty() && self.gone.is_empty()
    }
}

impl Group<'_> {
    /// Joins an item.
    pub(crate) fn join(&mut self, terms: &Terms, item: Item) -> Done<Applied> {
        let joined = match item {
            Item::Memory(record) => self.join_record(terms, *record),
            Item::Link(link) => self.join_link(terms, *link),
            Item::Alias(alias) => self.join_alias(alias),
            Item::Agent(agent) => self.join_agent(*agent),
        };
        match joined {
            // One item that is not paid for keeps no other out.
            Err(SqlFault::Rejected(reject)) if reject.reason == Reason::QuotaExceeded => {
                Ok(Applied::Refused(reject))
            }
            joined => joined,
        }
    }

    fn join_record(&mut self, terms: &Terms, record: Record) -> Done<Applied> {
        if let Some(refused) = self.refused_part(&record)? {
            let detail =
                format!("memory {} has an operation in it that was refused here", record.id);
            let reject = Reject::new(Reason::FailedPrecondition, detail).with("refused", refused);
            return Ok(Applied::Refused(reject));
        }
        self.head.clock.pass(record.updated.hlc);
        let (id, position) = (record.id, self.head.position);
        let Some(known) = self.overlay.memory(self.connection, id)? else {
            let (vector, created) = (record.vector.clone(), record.created);
            let holding = Holding { key: ItemKey::memory(id), vector, created };
            if self.is_gone(holding)? {
                return Ok(Applied::Known);
            }
            self.charge_record(terms, None, &record)?;
            let title_key = key_of(&record);
            self.head.row += 1;
            let entry = Entry::fresh(self.head.row, position, record);
            self.overlay.create(title_key, entry);
            self.joined.any = true;
            return Ok(Applied::Other);
        };
        let known = known.record.clone();
        let mut merged = known.clone();
        merged.join(record);
        if merged == known {
            return Ok(Applied::Known);
        }
        self.charge_record(terms, Some(&known), &merged)?;
        if let Some(entry) = self.overlay.edit(id) {
            entry.record = merged;
            entry.position = position;
            entry.text_changed = true;
            entry.indexed = None;
        }
        self.retitle(id);
        self.joined.any = true;
        Ok(Applied::Other)
    }

    /// Whether this store has seen all of it, and has forgotten it (`JOI-5`).
    fn is_gone(&self, holding: Holding) -> Done<bool> {
        Ok(!gone(self.connection, &[holding])?.is_empty())
    }

    /// An operation in the record that this node refused, by its reason. What was refused because something was not
    /// here, or not paid for, may come: whether it is now is seen anew.
    fn refused_part(&self, record: &Record) -> Done<Option<String>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT u.seq, u.reason, n.node FROM unheld u JOIN nodes n ON n.id = u.origin
             WHERE u.memory = ?1 AND u.reason NOT IN (?2, ?3)",
        )?;
        let id = record.id.as_bytes().as_slice();
        let mut rows =
            statement.query((id, Reason::NotFound.code(), Reason::QuotaExceeded.code()))?;
        while let Some(row) = rows.next()? {
            let origin = NodeId(uuid::Uuid::from_bytes(row.get(2)?));
            let seq = unsigned(row.get(0)?);
            if record.vector.contains(OpId { origin, seq }) {
                return Ok(Some(row.get(1)?));
            }
        }
        Ok(None)
    }

    fn join_link(&mut self, terms: &Terms, link: Link) -> Done<Applied> {
        self.head.clock.pass(link.created.hlc.max(link.validity.stamp.hlc));
        let key = ItemKey { table: Table::Link, id: *link.id.0.as_bytes() };
        let merged = match self.find_link(link.id)? {
            None => {
                let (vector, created) = (VersionVector::default(), link.created);
                if self.is_gone(Holding { key, vector, created })? {
                    return Ok(Applied::Known);
                }
                self.charge_link(terms, &link)?;
                link
            }
            Some(known) => {
                let mut merged = known.clone();
                merged.join(link);
                if merged == known {
                    return Ok(Applied::Known);
                }
                merged
            }
        };
        self.overlay.set_link(merged, self.head.position);
        self.joined.any = true;
        Ok(Applied::Other)
    }

    fn join_alias(&mut self, alias: Alias) -> Done<Applied> {
        let Alias { memory, alias, removed, stamp } = alias;
        self.head.clock.pass(stamp.hlc);
        let key = (alias_key(&alias), memory);
        let entry = AliasEntry { alias, removed, stamp };
        if self.find_alias(&key)?.is_some_and(|known| entry.stamp <= known.stamp) {
            return Ok(Applied::Known);
        }
        self.overlay.set_alias(key, entry);
        self.joined.any = true;
        Ok(Applied::Other)
    }

    fn join_agent(&mut self, agent: AgentRecord) -> Done<Applied> {
        self.head.clock.pass(agent.changed);
        self.merge_agent(&agent)?;
        self.joined.any = true;
        Ok(Applied::Other)
    }

    /// Drops what another store has seen all of and does not hold.
    pub(crate) fn drop_item(&mut self, terms: &Terms, key: ItemKey) -> Done<Applied> {
        match key.table {
            Table::Memory => {
                let id = MemoryId(uuid::Uuid::from_bytes(key.id));
                let Some(entry) = self.overlay.memory(self.connection, id)? else {
                    return Ok(Applied::Known);
                };
                let dropped = entry.record.clone();
                let (stamp, position) = (dropped.updated, self.head.position);
                self.discharge(terms, &dropped)?;
                // The indexes learn of it as of a deletion; the row goes when the group is written.
                if let Some(entry) = self.overlay.edit(id) {
                    entry.record.deleted = Some(stamp);
                    entry.position = position;
                }
            }
            Table::Link => {}
            // A name goes with its memory; agents stay.
            Table::Alias | Table::Agent => return Ok(Applied::Known),
        }
        self.joined.gone.push(key);
        self.joined.any = true;
        Ok(Applied::Other)
    }

    /// Covers a feed up to a head (`JOI-3`).
    pub(crate) fn cover_feed(&mut self, covered: &CoveredFeed) -> Done<Applied> {
        let CoveredFeed { word, unseen_seq } = covered;
        let feed = self.head.feed(word.head.origin);
        let is_own = word.head.origin == self.head.own.origin;
        if is_own || word.head.seq <= feed.seq {
            return Ok(Applied::Known);
        }
        self.head.covers(word.head);
        self.joined.covered.push((word.head.origin, *unseen_seq));
        self.vouch(*word)
    }

    /// Writes what was covered and dropped by way of state.
    pub(crate) fn write_joined(&mut self) -> crate::sql::Result<()> {
        let Joined { any, covered, gone } = std::mem::take(&mut self.joined);
        let mut covers = self.connection.prepare_cached(
            "INSERT INTO feeds (origin, seq, hlc, chain, unseen) VALUES (?1, ?2, 0, ?3, ?4)
             ON CONFLICT (origin) DO UPDATE SET seq = excluded.seq, chain = excluded.chain,
                whole = CASE WHEN feeds.unseen = 0 AND excluded.unseen > 0 THEN feeds.seq ELSE feeds.whole END,
                whole_hlc = CASE WHEN feeds.unseen = 0 AND excluded.unseen > 0 THEN feeds.hlc ELSE feeds.whole_hlc END,
                unseen = max(feeds.unseen, excluded.unseen)",
        )?;
        for (origin, unseen_seq) in covered {
            let feed = self.head.feed(origin);
            let number = self.words.node(origin);
            covers.execute((number, signed(feed.seq), feed.chain, signed(unseen_seq)))?;
        }
        for key in gone {
            match key.table {
                Table::Memory => forget_memory(self.connection, key.id.as_slice())?,
                _ => forget_link(self.connection, key.id.as_slice())?,
            }
        }
        if any {
            note_position(self.connection, "joined_at", self.head.position)?;
        }
        Ok(())
    }
}

/// Removes a memory with everything that hangs on it.
pub(super) fn forget_memory(connection: &Connection, id: &[u8]) -> crate::sql::Result<()> {
    // On a server nobody moves its vector meanwhile.
    let locked = if connection.is_shared() { " FOR UPDATE" } else { "" };
    let row: Option<i64> = connection
        .prepare_cached(&format!("SELECT row FROM memories WHERE id = ?1{locked}"))?
        .query_row([id], |row| row.get(0))
        .optional()?;
    let Some(row) = row else { return Ok(()) };
    for text in [
        "DELETE FROM memory_tags WHERE row = ?1",
        "DELETE FROM vectors WHERE row = ?1",
        work::DEQUEUE,
    ] {
        connection.prepare_cached(text)?.execute([row])?;
    }
    for text in [
        // Removed ones go by themselves.
        "DELETE FROM links WHERE source = ?1 AND removed = 0",
        "DELETE FROM links WHERE target = ?1 AND removed = 0",
        "DELETE FROM aliases WHERE memory = ?1",
        "DELETE FROM memories WHERE id = ?1",
    ] {
        connection.prepare_cached(text)?.execute([id])?;
    }
    Ok(())
}

/// Removes a link.
pub(super) fn forget_link(connection: &Connection, id: &[u8]) -> crate::sql::Result<()> {
    connection.prepare_cached("DELETE FROM links WHERE id = ?1")?.execute([id])?;
    Ok(())
}
