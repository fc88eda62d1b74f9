//! The view of a key: live records that share namespace, author, audience and title, shown as one.
//!
//! Two nodes that have not heard of each other may each create a memory that one node would have folded into the other's.
//! Both records are kept as they are; what readers see is worked out of all of them, so it does not matter in
//! which order they came, nor how often.
//!
//! | field | what is seen |
//! |---|---|
//! | tier, priority, expiry | what was set after a creation, the newest; without that, the creations together: greatest tier, latest expiry, priorities added up to 10 |
//! | tags | all that no removal names |
//! | metadata, flags, legal hold | the writes one after the other: a creation adds, a later change replaces |
//! | content with its vector, kind, confidence, source, validity | the newest |
//! | version, access count | the sum |
//!
//! One node would have shown the same, but for priorities: its second store has seen the first, and takes the greater;
//! two that have not seen each other are added.
//!
//! Invariants: `VIW-1` a view is a function of the set of its records; `VIW-2` the view of one record is that
//! record; `VIW-3` a change of the record with the smallest id that has seen all of a view is what the view shows, field by
//! field; `VIW-4` in what creations add up to, one that comes late brings nothing back that was lowered, shortened
//! or taken away before.
//!
//! Not here: finding the records of a key (`storage`).

use std::collections::{BTreeMap, BTreeSet};

use super::{Expiry, Record, merge_metadata};
use crate::{
    AgentId, Audience, Kind, MemoryId, Namespace, Register, Stamp, Tag, Title,
    counter::Counter,
    limits::PRIORITY_RANGE,
    memory::{Embedding, Validity},
    planted,
    ratchet::Ratchet,
};

/// What the records of a view have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key<'r> {
    /// Where they belong.
    pub namespace: &'r Namespace,
    /// Who wrote them.
    pub author: &'r AgentId,
    /// Who may see them.
    pub audience: &'r Audience,
    /// What they are about.
    pub title: &'r Title,
}

/// Whether memories of this kind are folded into one another. A reflection's sources and a persona's version never
/// change, so each of those is a memory of its own.
pub fn folds(kind: Kind) -> bool {
    !matches!(kind, Kind::Reflection | Kind::Persona)
}

impl Record {
    /// The key under which the record is shown together with others; `None` where it is shown by itself.
    pub fn key(&self) -> Option<Key<'_>> {
        let together = self.is_live() && !self.apart && folds(self.kind.value);
        together.then_some(Key {
            namespace: &self.namespace,
            author: &self.author,
            audience: &self.scope.value.1,
            title: &self.title.value,
        })
    }
}

/// What readers see of records that share a key; `None` of none. Its id is the smallest of theirs.
pub fn fold(records: impl IntoIterator<Item = Record>) -> Option<Record> {
    let mut all: BTreeMap<MemoryId, Record> = BTreeMap::new();
    for record in records {
        match all.get_mut(&record.id) {
            Some(known) => known.join(record),
            None => drop(all.insert(record.id, record)),
        }
    }
    let all: Vec<&Record> = all.values().collect();
    let face = *all.first()?;
    let text = newest(&all, |record| record.content.stamp, |_| true).unwrap_or(face);
    Some(Record {
        created: all.iter().map(|record| record.created).min().unwrap_or(face.created),
        title: newest_of(&all, |record| &record.title, |_| true),
        content: text.content.clone(),
        embedding: embedding(&all, text),
        tier: together(&all, |record| &record.tier),
        expiry: together(&all, |record| &record.expiry),
        tags: tags(&all),
        priority: priority(&all),
        confidence_permille: newest_of(&all, |record| &record.confidence_permille, |_| true),
        source: newest_of(&all, |record| &record.source, |source| !source.is_empty()),
        kind: newest_of(&all, |record| &record.kind, |_| true),
        scope: newest_of(&all, |record| &record.scope, |_| true),
        metadata: in_turn(&all, |record| &record.metadata, merge_metadata),
        validity: newest_of(&all, |record| &record.validity, |at| *at != Validity::default()),
        legal_hold: in_turn(&all, |record| &record.legal_hold, |older, newer| *older || *newer),
        pii_flags: in_turn(
            &all,
            |record| &record.pii_flags,
            |older: &BTreeSet<Tag>, newer| older.union(newer).cloned().collect(),
        ),
        life: newest_of(&all, |record| &record.life, |_| true),
        accesses: sum(all.iter().map(|record| &record.accesses)),
        last_accessed_ms: all.iter().map(|record| record.last_accessed_ms).max().unwrap_or(0),
        edits: sum(all.iter().map(|record| &record.edits)),
        vector: all.iter().skip(1).fold(face.vector.clone(), |mut vector, record| {
            vector.join(&record.vector);
            vector
        }),
        updated: all.iter().map(|record| record.updated).max().unwrap_or(face.updated),
        ..face.clone()
    })
}

/// Whether a write came after the record's creation.
fn is_set(record: &Record, stamp: Stamp) -> bool {
    stamp != record.created
}

/// The record with the newest of these writes, ties by id; creations count only if they say something.
fn newest<'r>(
    all: &[&'r Record],
    stamp: impl Fn(&Record) -> Stamp,
    says: impl Fn(&Record) -> bool,
) -> Option<&'r Record> {
    let counts = |record: &&&Record| is_set(record, stamp(record)) || says(record);
    all.iter().filter(counts).max_by_key(|record| (stamp(record), record.id)).copied()
}

fn newest_of<T: Clone>(
    all: &[&Record],
    field: impl Fn(&Record) -> &Register<T>,
    says: impl Fn(&T) -> bool,
) -> Register<T> {
    let said = newest(all, |record| field(record).stamp, |record| says(&field(record).value));
    // Where no creation says anything, they all say the same.
    field(said.or_else(|| newest(all, |r| field(r).stamp, |_| true)).unwrap_or(all[0])).clone()
}

/// The writes of a field in their order: a creation adds to what is there, a later change replaces it.
fn in_turn<T: Clone>(
    all: &[&Record],
    field: impl Fn(&Record) -> &Register<T>,
    add: impl Fn(&T, &T) -> T,
) -> Register<T> {
    let mut writes: Vec<&&Record> = all.iter().collect();
    writes.sort_by_key(|record| (field(record).stamp, record.id));
    let mut folded: Option<Register<T>> = None;
    for record in writes {
        let write = field(record);
        folded = Some(match &folded {
            Some(before) if !is_set(record, write.stamp) => {
                Register::new(add(&before.value, &write.value), write.stamp)
            }
            _ => write.clone(),
        });
    }
    folded.unwrap_or_else(|| field(all[0]).clone())
}

/// The newest explicit change, else the greatest creation; and the raises that stand (`VIW-4`).
fn together<T: Ord + Copy>(all: &[&Record], field: impl Fn(&Record) -> &Ratchet<T>) -> Ratchet<T> {
    let set = |record: &Record| field(record).parts().0.clone();
    let changed = all.iter().filter(|record| is_set(record, set(record).stamp));
    let changed = changed.max_by_key(|record| (set(record).stamp, record.id));
    let base = match changed {
        Some(record) => set(record),
        None => {
            let value = all.iter().map(|record| set(record).value).max();
            let stamp = all.iter().map(|record| record.created).min();
            let own = set(all[0]);
            Register::new(value.unwrap_or(own.value), stamp.unwrap_or(own.stamp))
        }
    };
    let raises = all.iter().flat_map(|record| field(record).parts().1);
    Ratchet::from_parts(base, raises.map(|(value, stamp)| (*value, *stamp)))
}

/// The newest change, else the sum of the creations, up to the greatest priority (`VIW-4`).
fn priority(all: &[&Record]) -> Register<u8> {
    let counts = |record: &&&Record| {
        is_set(record, record.priority.stamp) && !planted::is_on("creations-overrule")
    };
    let changed = all.iter().filter(counts);
    if let Some(record) = changed.max_by_key(|record| (record.priority.stamp, record.id)) {
        return record.priority.clone();
    }
    let sum = all.iter().fold(0u8, |sum, record| sum.saturating_add(record.priority.value));
    let stamp = all.iter().map(|record| record.created).min().unwrap_or(all[0].created);
    Register::new(sum.min(PRIORITY_RANGE.1), stamp)
}

fn tags(all: &[&Record]) -> crate::tags::Tags {
    all.iter().skip(1).fold(all[0].tags.clone(), |mut tags, record| {
        tags.join(&record.tags);
        tags
    })
}

/// The vector of the text that is seen: one that came with it, or was set for it later.
fn embedding(all: &[&Record], text: &Record) -> Register<Option<Embedding>> {
    let content = &text.content;
    let describes = |record: &&&Record| {
        let stamp = record.embedding.stamp;
        let later = is_set(record, stamp) && stamp >= content.stamp;
        later || record.content.value == content.value
    };
    let describing: Vec<&Record> = all.iter().filter(describes).copied().collect();
    newest_of(&describing, |record| &record.embedding, Option::is_some)
}

/// Each record counts for itself, whoever counted.
fn sum<'c>(counters: impl Iterator<Item = &'c Counter>) -> Counter {
    counters.flat_map(Counter::iter).collect()
}

/// Names of the fields in which records of one key differ, in order.
pub fn differing(records: &[&Record]) -> Vec<&'static str> {
    let Some((first, rest)) = records.split_first() else { return Vec::new() };
    let tags = |record: &Record| record.tags.iter().cloned().collect::<BTreeSet<Tag>>();
    let expiry = |record: &Record| -> Expiry { record.expiry.value() };
    let any = |differs: &dyn Fn(&Record) -> bool| rest.iter().any(|record| differs(record));
    let fields = [
        ("confidence", any(&|r| r.confidence_permille.value != first.confidence_permille.value)),
        ("content", any(&|r| r.content.value != first.content.value)),
        ("expires_at", any(&|r| expiry(r) != expiry(first))),
        ("kind", any(&|r| r.kind.value != first.kind.value)),
        ("legal_hold", any(&|r| r.legal_hold.value != first.legal_hold.value)),
        ("metadata", any(&|r| r.metadata.value != first.metadata.value)),
        ("pii_flags", any(&|r| r.pii_flags.value != first.pii_flags.value)),
        ("priority", any(&|r| r.priority.value != first.priority.value)),
        ("source", any(&|r| r.source.value != first.source.value)),
        ("tags", any(&|r| tags(r) != tags(first))),
        ("tier", any(&|r| r.tier() != first.tier())),
        ("validity", any(&|r| r.validity.value != first.validity.value)),
    ];
    fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests;
