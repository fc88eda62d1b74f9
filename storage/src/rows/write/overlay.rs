//! What a group has changed so far, in memory, on top of what the database holds.
//!
//! Requests read through it and change only it; SQL sees the result once, when the group is written. So a
//! memory that is touched ten times in a group costs one row, and a refused request leaves no trace.
//!
//! Invariants: `OVL-1` [`Overlay::undo_to`] restores every entry to what it was at the mark;
//! `OVL-2` an entry that is not dirty equals its row.
//!
//! Not here: what may change (`store_memory`, `change_memory`, `links`), and SQL that writes (`flush`).

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry as MapEntry};

use types::{AgentRecord, Link, LinkId, MemoryId, Record, Stamp, Tag};

use super::prepare::Indexed;
use crate::{
    rows::{
        fault::SqlFault,
        row::{self, Stored, stored_columns},
    },
    sql::{Connection, OptionalExtension},
};

/// What the table holds of a memory, as far as changing it needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// `memories.life`.
    pub(crate) life: i64,
    /// Tags in `memory_tags`.
    pub(crate) tags: BTreeSet<Tag>,
    /// With how many others it is shown as one.
    pub(crate) others: u32,
    /// Key of its title.
    pub(crate) title_key: i64,
}

/// What several records show as one.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// What is shown, under the smallest id.
    pub(crate) record: Record,
    /// How many records there are beside one of them.
    pub(crate) others: usize,
}

/// A memory in use by the group.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its row.
    pub(crate) row: i64,
    /// The record as the group leaves it.
    pub(crate) record: Record,
    /// What it is shown as together with others; known when the group is written.
    pub(crate) shown: Option<Box<Shown>>,
    /// Whether nobody had its title when it was created by the group.
    pub(crate) lone: bool,
    /// Position of its last change.
    pub(crate) position: u64,
    /// The row before the group; `None` when there is none.
    pub(crate) kept: Option<Kept>,
    /// Whether the row must be written.
    pub(crate) dirty: bool,
    /// Whether words, tags or vector differ from what the indexes have.
    pub(crate) text_changed: bool,
    /// What the caller worked out for the indexes; only for the record as it was stored.
    pub(crate) indexed: Option<Box<Indexed>>,
}

impl Entry {
    fn of(stored: Stored, tags: BTreeSet<Tag>) -> Self {
        let Stored { row, position, record, life, others, title_key } = stored;
        let kept = Kept { life, tags, others, title_key };
        Self {
            kept: Some(kept),
            dirty: false,
            text_changed: false,
            ..Self::fresh(row, position, record)
        }
    }

    /// A memory that the group creates.
    pub(crate) fn fresh(row: i64, position: u64, record: Record) -> Self {
        Self {
            row,
            record,
            shown: None,
            lone: false,
            position,
            kept: None,
            dirty: true,
            text_changed: true,
            indexed: None,
        }
    }
}

/// Tags that the table has of a row.
fn tags_of(connection: &Connection, row: i64) -> Result<BTreeSet<Tag>, SqlFault> {
    let mut statement = connection.prepare_cached(
        "SELECT t.name FROM memory_tags m JOIN tags t ON t.id = m.tag WHERE m.row = ?1",
    )?;
    let mut rows = statement.query([row])?;
    let mut tags = BTreeSet::new();
    while let Some(found) = rows.next()? {
        let name: String = found.get(0)?;
        tags.insert(name.parse().map_err(|error: types::Invalid| SqlFault::Damaged {
            table: "tags",
            key: name.clone(),
            problem: error.to_string(),
        })?);
    }
    Ok(tags)
}

/// One name of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AliasEntry {
    /// As it was written.
    pub(crate) alias: String,
    /// Whether it was taken away.
    pub(crate) removed: bool,
    /// The write that decided.
    pub(crate) stamp: Stamp,
}

/// Key of a quota: numbers of agent and namespace.
pub(crate) type QuotaKey = (u32, u32);

/// Use of a quota; see the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QuotaEntry {
    /// The UTC day that the two counts are of.
    pub(crate) day: u64,
    /// New memories that day.
    pub(crate) memories: u64,
    /// New links that day.
    pub(crate) links: u64,
    /// Bytes kept.
    pub(crate) bytes: u64,
}

/// A remembered answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnswerEntry {
    /// SHA-256 of the request's body.
    pub(crate) body_sha256: [u8; 32],
    /// The receipt, encoded.
    pub(crate) answer: Vec<u8>,
    /// When it is forgotten, Unix milliseconds.
    pub(crate) expires_ms: u64,
}

/// A change that can be taken back: what was there before.
#[derive(Debug)]
enum Undo {
    Memory(MemoryId, Option<Box<Entry>>),
    Link(LinkId, Option<(Link, u64)>),
    Alias((String, MemoryId), Option<AliasEntry>),
    Agent(String, Option<AgentRecord>),
    Quota(QuotaKey, Option<QuotaEntry>),
    EventLog(String, Option<u64>),
    KeyFence(String, Option<u64>),
}

/// A place in the history of the overlay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(usize);

/// Everything a group has read and changed.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    memories: BTreeMap<MemoryId, Entry>,
    /// Memories that got this title key in the group. A hint: entries are checked before they count.
    pub(super) titles: BTreeMap<i64, Vec<MemoryId>>,
    /// Links changed by the group, with the position of the change.
    pub(crate) links: BTreeMap<LinkId, (Link, u64)>,
    /// Aliases changed by the group.
    pub(crate) aliases: BTreeMap<(String, MemoryId), AliasEntry>,
    /// Agents changed by the group.
    pub(crate) agents: BTreeMap<String, AgentRecord>,
    /// Quotas read or changed by the group.
    pub(crate) quotas: BTreeMap<QuotaKey, QuotaEntry>,
    /// Answers to remember.
    pub(crate) answers: BTreeMap<(String, String), AnswerEntry>,
    /// How far logs of events are kept, where that changed.
    pub(crate) event_logs: BTreeMap<String, u64>,
    /// Fences of guarded keys, where they grew.
    pub(crate) key_fences: BTreeMap<String, u64>,
    journal: Vec<Undo>,
}

impl Overlay {
    /// A place to come back to.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.journal.len())
    }

    /// Nothing before this point will be taken back any more.
    pub(crate) fn settle(&mut self) {
        self.journal.clear();
    }

    /// Takes back everything since `mark` (`OVL-1`).
    pub(crate) fn undo_to(&mut self, mark: Mark) {
        fn put_back<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, old: Option<V>) {
            match old {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        while self.journal.len() > mark.0 {
            match self.journal.pop() {
                Some(Undo::Memory(id, old)) => {
                    put_back(&mut self.memories, id, old.map(|entry| *entry));
                }
                Some(Undo::Link(id, old)) => put_back(&mut self.links, id, old),
                Some(Undo::Alias(key, old)) => put_back(&mut self.aliases, key, old),
                Some(Undo::Agent(key, old)) => put_back(&mut self.agents, key, old),
                Some(Undo::Quota(key, old)) => put_back(&mut self.quotas, key, old),
                Some(Undo::KeyFence(key, old)) => put_back(&mut self.key_fences, key, old),
                Some(Undo::EventLog(log, old)) => put_back(&mut self.event_logs, log, old),
                None => break,
            }
        }
    }

    /// The memory with this id, deleted or not, from the group or the database.
    pub(crate) fn memory(
        &mut self,
        connection: &Connection,
        id: MemoryId,
    ) -> Result<Option<&Entry>, SqlFault> {
        match self.memories.entry(id) {
            MapEntry::Occupied(known) => Ok(Some(known.into_mut())),
            MapEntry::Vacant(place) => {
                let mut statement = connection.prepare_cached(concat!(
                    "SELECT ",
                    stored_columns!(),
                    " FROM memories WHERE id = ?1"
                ))?;
                let mut rows = statement.query([id.as_bytes().as_slice()])?;
                let Some(found) = rows.next()? else { return Ok(None) };
                let stored = row::stored(found)?;
                let tags = match stored.others {
                    0 => stored.record.tags.iter().cloned().collect(),
                    _ => tags_of(connection, stored.row)?,
                };
                Ok(Some(place.insert(Entry::of(stored, tags))))
            }
        }
    }

    /// Whether the id is taken, by a tombstone too. Cheaper than reading the memory.
    pub(crate) fn is_taken(&self, connection: &Connection, id: MemoryId) -> Result<bool, SqlFault> {
        if self.memories.contains_key(&id) {
            return Ok(true);
        }
        let found: Option<i64> = connection
            .prepare_cached("SELECT row FROM memories WHERE id = ?1")?
            .query_row([id.as_bytes().as_slice()], |row| row.get(0))
            .optional()?;
        Ok(found.is_some())
    }

    /// Adds a new memory.
    pub(crate) fn create(&mut self, title_key: i64, entry: Entry) {
        let id = entry.record.id;
        self.titles.entry(title_key).or_default().push(id);
        self.memories.insert(id, entry);
        self.journal.push(Undo::Memory(id, None));
    }

    /// An entry that [`Overlay::memory`] has loaded, to be changed; it becomes dirty.
    pub(crate) fn edit(&mut self, id: MemoryId) -> Option<&mut Entry> {
        let entry = self.memories.get_mut(&id)?;
        self.journal.push(Undo::Memory(id, Some(Box::new(entry.clone()))));
        entry.dirty = true;
        Some(entry)
    }

    /// Notes that `id` has a title with this key now.
    pub(crate) fn retitled(&mut self, title_key: i64, id: MemoryId) {
        self.titles.entry(title_key).or_default().push(id);
    }

    /// Ids of memories that may have a title with this key, those of the database first.
    pub(crate) fn titled(
        &self,
        connection: &Connection,
        title_key: i64,
    ) -> Result<Vec<MemoryId>, SqlFault> {
        let mut ids = Vec::new();
        let mut statement = connection
            .prepare_cached("SELECT id FROM memories WHERE title_key = ?1 AND life IN (0, 3)")?;
        let mut rows = statement.query([title_key])?;
        while let Some(found) = rows.next()? {
            let id: [u8; 16] = found.get(0)?;
            ids.push(row::memory_id("memories", &id)?);
        }
        ids.extend(self.titles.get(&title_key).into_iter().flatten());
        Ok(ids)
    }

    /// An entry that was read or made before.
    pub(super) fn known(&self, id: MemoryId) -> Option<&Entry> {
        self.memories.get(&id)
    }

    /// Sets what an entry is shown as, when the group is written; says whether it was in a view that is over, and
    /// nothing else changed about it.
    pub(super) fn show(&mut self, id: MemoryId, shown: Option<Shown>) -> bool {
        let Some(entry) = self.memories.get_mut(&id) else { return false };
        let was_shown = entry.kept.as_ref().is_some_and(|kept| kept.others > 0);
        if shown.is_none() && !was_shown {
            return false;
        }
        let is_left = shown.is_none() && !entry.dirty;
        entry.shown = shown.map(Box::new);
        (entry.dirty, entry.text_changed, entry.indexed) = (true, true, None);
        is_left
    }

    /// Entries to write, in order of row.
    pub(crate) fn dirty(&self) -> Vec<&Entry> {
        let mut dirty: Vec<&Entry> = self.memories.values().filter(|entry| entry.dirty).collect();
        dirty.sort_unstable_by_key(|entry| entry.row);
        dirty
    }

    /// Gives the entries away, in order of row.
    pub(crate) fn take_dirty(&mut self) -> Vec<Entry> {
        let all = std::mem::take(&mut self.memories).into_values();
        let mut dirty: Vec<Entry> = all.filter(|entry| entry.dirty).collect();
        dirty.sort_unstable_by_key(|entry| entry.row);
        dirty
    }

    /// Memories of the group, changed or only read.
    pub(crate) fn memories(&self) -> impl Iterator<Item = &Entry> {
        self.memories.values()
    }

    /// Sets a link.
    pub(crate) fn set_link(&mut self, link: Link, position: u64) {
        let id = link.id;
        let old = self.links.insert(id, (link, position));
        self.journal.push(Undo::Link(id, old));
    }

    /// Sets a name of an entity.
    pub(crate) fn set_alias(&mut self, key: (String, MemoryId), alias: AliasEntry) {
        let old = self.aliases.insert(key.clone(), alias);
        self.journal.push(Undo::Alias(key, old));
    }

    /// Sets an agent.
    pub(crate) fn set_agent(&mut self, agent: AgentRecord) {
        let key = agent.agent_id.as_str().to_owned();
        let old = self.agents.insert(key.clone(), agent);
        self.journal.push(Undo::Agent(key, old));
    }

    /// Sets the fence of a guarded key.
    pub(crate) fn set_key_fence(&mut self, key: String, fence: u64) {
        let old = self.key_fences.insert(key.clone(), fence);
        self.journal.push(Undo::KeyFence(key, old));
    }

    /// Sets how far a log of events is kept.
    pub(crate) fn set_event_log(&mut self, log: String, through: u64) {
        let old = self.event_logs.insert(log.clone(), through);
        self.journal.push(Undo::EventLog(log, old));
    }

    /// Sets the use of a quota.
    pub(crate) fn set_quota(&mut self, key: QuotaKey, usage: QuotaEntry) {
        let old = self.quotas.insert(key, usage);
        self.journal.push(Undo::Quota(key, old));
    }
}
