//! Which records are shown as one, while a group is made and when it is written.
//!
//! Requests speak of what readers see: [`Group::seen`](super::group::Group::seen) gives the id under which a memory is
//! shown, [`Group::shown`] what it shows. When the group is written, every key that it touched is looked at once, and the
//! rows of its records are brought up to date together.
//!
//! Invariants: `VWW-1` after every commit all live records of a key are marked as shown together, in each row what all of
//! them show; `VWW-2` a memory whose title nobody else has costs no look at others, unless it is new or was renamed.
//!
//! Not here: what is shown of several (`types::record::view`).

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use types::{MemoryId, Record, record::view::fold};

use super::{
    group::{Done, Group},
    overlay::{Entry, Overlay, Shown},
};
use crate::{
    rows::{
        fault::SqlFault,
        read::states::note_position,
        row::{BEHIND, LIVE, key_of},
    },
    sql::Connection,
};

/// Owned parts of a record's key, to tell records apart whose hashed keys are equal.
type Parts = (String, String, String, String);

fn parts(record: &Record) -> Option<Parts> {
    let key = record.key()?;
    Some((
        key.namespace.as_str().to_owned(),
        key.author.as_str().to_owned(),
        key.audience.as_str().to_owned(),
        key.title.as_str().to_owned(),
    ))
}

impl Entry {
    /// Whether it is shown as part of another one, as the group leaves it.
    pub(crate) fn is_behind(&self) -> bool {
        self.shown.as_ref().is_some_and(|shown| shown.record.id != self.record.id)
    }

    /// What its row repeats: the view that it belongs to, or its record.
    pub(crate) fn repeated(&self) -> &Record {
        self.shown.as_ref().map_or(&self.record, |shown| &shown.record)
    }

    /// `memories.life` of its row.
    pub(crate) fn life(&self) -> i64 {
        if self.is_behind() { BEHIND } else { crate::rows::row::life(&self.record) }
    }

    /// Whether its row says that nobody shares the key that it still has.
    fn was_alone(&self, key: i64) -> bool {
        self.kept
            .as_ref()
            .is_some_and(|kept| kept.others == 0 && kept.life == LIVE && kept.title_key == key)
    }
}

impl Overlay {
    /// Whether no other memory got this key in the group.
    fn nobody_came(&self, key: i64, id: MemoryId) -> bool {
        self.titles.get(&key).is_none_or(|ids| ids.iter().all(|other| *other == id))
    }

    /// Whether no other live record can have its key.
    fn is_alone(&self, entry: &Entry, key: i64) -> bool {
        (entry.lone || entry.was_alone(key)) && self.nobody_came(key, entry.record.id)
    }

    /// Live records that may be shown as one with others under this key, those alike together, ids ascending.
    fn clusters(
        &mut self,
        connection: &Connection,
        key: i64,
    ) -> Result<BTreeMap<Parts, BTreeSet<MemoryId>>, SqlFault> {
        let mut clusters: BTreeMap<Parts, BTreeSet<MemoryId>> = BTreeMap::new();
        for id in self.titled(connection, key)? {
            let entry = match self.memory(connection, id) {
                Ok(entry) => entry,
                // It concerns who asks for it; what is shown without it is told by the check.
                Err(SqlFault::Damaged { .. }) => continue,
                Err(fault) => return Err(fault),
            };
            if let Some(entry) = entry
                && key_of(&entry.record) == key
                && let Some(parts) = parts(&entry.record)
            {
                clusters.entry(parts).or_default().insert(id);
            }
        }
        Ok(clusters)
    }
}

impl Group<'_> {
    /// Ids of the records that are shown as one with this one, itself among them, ascending.
    pub(crate) fn members(&mut self, id: MemoryId) -> Done<Vec<MemoryId>> {
        let connection = self.connection;
        let Some(entry) = self.overlay.memory(connection, id)? else { return Ok(vec![id]) };
        if entry.record.key().is_none() {
            return Ok(vec![id]);
        }
        let key = match &entry.kept {
            Some(kept) if !entry.dirty => kept.title_key,
            _ => key_of(&entry.record),
        };
        if self.overlay.known(id).is_some_and(|entry| self.overlay.is_alone(entry, key)) {
            return Ok(vec![id]);
        }
        let clusters = self.overlay.clusters(connection, key)?;
        let own = clusters.into_values().find(|ids| ids.contains(&id));
        Ok(own.map_or_else(|| vec![id], |ids| ids.into_iter().collect()))
    }

    /// The id under which a memory is shown; of one that is not here, its own.
    pub(crate) fn face(&mut self, id: MemoryId) -> Done<MemoryId> {
        Ok(self.members(id)?.first().copied().unwrap_or(id))
    }

    /// What is shown of a memory that [`Group::seen`](super::group::Group::seen) found.
    pub(crate) fn shown(&mut self, id: MemoryId) -> Done<Cow<'_, Record>> {
        let members = self.members(id)?;
        if members.len() <= 1 {
            return Ok(Cow::Borrowed(&self.entry(id)?.record));
        }
        let mut records = Vec::with_capacity(members.len());
        for member in members {
            records.push(self.entry(member)?.record.clone());
        }
        match fold(records) {
            Some(record) => Ok(Cow::Owned(record)),
            None => Ok(Cow::Borrowed(&self.entry(id)?.record)),
        }
    }

    /// Brings everything up to date that is shown together with what the group changed (`VWW-1`).
    pub(crate) fn regroup(&mut self) -> Result<(), SqlFault> {
        let mut keys: BTreeSet<i64> = BTreeSet::new();
        for entry in self.overlay.memories().filter(|entry| entry.dirty) {
            let now = entry.record.key().map(|_| key_of(&entry.record));
            if let Some(kept) = entry.kept.as_ref().filter(|kept| kept.others > 0) {
                keys.insert(kept.title_key);
            }
            keys.extend(now.filter(|key| !self.overlay.is_alone(entry, *key)));
        }
        for key in keys {
            self.regroup_key(key)?;
        }
        Ok(())
    }

    fn regroup_key(&mut self, key: i64) -> Result<(), SqlFault> {
        let connection = self.connection;
        for ids in self.overlay.clusters(connection, key)?.into_values() {
            let mut records = Vec::with_capacity(ids.len());
            for id in &ids {
                records.extend(self.overlay.known(*id).map(|entry| entry.record.clone()));
            }
            let others = ids.len() - 1;
            let view = if others > 0 { fold(records) } else { None };
            for id in ids {
                let shown = view.clone().map(|record| Shown { record, others });
                if self.overlay.show(id, shown) {
                    // No operation tells of what is left by itself.
                    note_position(connection, "regrouped_at", self.head.position)?;
                }
            }
        }
        Ok(())
    }

    /// Looks once at all titles that a store from before views has more than once.
    pub(crate) fn look_at_old_titles(&mut self) -> Result<(), SqlFault> {
        let mut statement = self.connection.prepare_cached(
            "SELECT title_key FROM memories WHERE life IN (0, 3) GROUP BY title_key
             HAVING count(*) > 1",
        )?;
        let keys: Vec<i64> =
            statement.query_map([], |row| row.get(0))?.collect::<crate::sql::Result<_>>()?;
        let any = !keys.is_empty();
        for key in keys {
            self.regroup_key(key)?;
        }
        if any {
            // Images of the indexes do not know of it, whatever position they have.
            note_position(self.connection, "regrouped_at", self.head.position + 1)?;
        }
        self.write_memories()?;
        self.words.write(self.connection)?;
        self.connection.execute("DELETE FROM meta WHERE key = 'views_due'", [])?;
        Ok(())
    }
}
