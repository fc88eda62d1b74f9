//! Which memories may be shown as one: those that one agent stored in one namespace under one title, when it did not ask
//! for memories of their own.
//!
//! Invariant: memories of different subjects are never one.
//!
//! Not here: what is to be seen of them (`updates`, `deleted`).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Case,
    history::{Answer, Call, Operation, Seen, What},
};

/// What a memory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject<'h> {
    /// It is shown by itself.
    One(&'h str),
    /// It may be shown with others of this title.
    Title {
        /// Who stored it.
        agent: &'h str,
        /// Where.
        namespace: &'h str,
        /// Its title.
        title: &'h str,
    },
}

/// What the memories of a run belong to.
pub struct Views<'h>(BTreeMap<&'h str, Subject<'h>>);

impl<'h> Views<'h> {
    /// Those of a run.
    pub fn of(case: &Case<'h>) -> Self {
        let titled =
            |operation: &Operation<'h>| match (operation.answer(), of_title(operation.call)) {
                (Some(Answer::Stored { id, .. }), Some(subject)) => Some((id.as_str(), subject)),
                _ => None,
            };
        let mut views = Self(case.operations.iter().filter_map(titled).collect());
        for operation in &case.operations {
            if let Some(Answer::Memory { seen: Some(seen) }) = operation.answer() {
                views.learn(seen);
            }
        }
        for event in case.history.events() {
            if let What::Memories { memories, .. } = &event.what {
                memories.iter().for_each(|seen| views.learn(seen));
            }
        }
        views
    }

    /// What is shown as one belongs together: nobody may have heard the id of a store that was not acknowledged.
    fn learn(&mut self, seen: &'h Seen) {
        if seen.other_ids.is_empty() {
            return;
        }
        let subject = self.subject_of(seen);
        self.0.extend(seen.ids().map(|id| (id, subject)));
    }

    /// What a memory belongs to.
    pub fn subject(&self, id: &'h str) -> Subject<'h> {
        self.0.get(id).copied().unwrap_or(Subject::One(id))
    }

    /// What a memory that is shown belongs to.
    pub fn subject_of(&self, seen: &'h Seen) -> Subject<'h> {
        let known = seen.ids().find_map(|id| self.0.get(id));
        known.copied().unwrap_or(Subject::One(&seen.id))
    }

    /// These ids, and all known ones of what they belong to.
    pub fn with_others(&self, mut ids: BTreeSet<&'h str>) -> BTreeSet<&'h str> {
        let subjects: BTreeSet<Subject<'h>> = ids.iter().map(|id| self.subject(id)).collect();
        let others = self.0.iter().filter(|(_, subject)| subjects.contains(subject));
        ids.extend(others.map(|(id, _)| *id));
        ids
    }
}

/// What a store belongs to that is folded into others.
pub fn of_title(call: &Call) -> Option<Subject<'_>> {
    match call {
        Call::Store { agent, namespace, title, together: true, .. } => {
            Some(Subject::Title { agent, namespace, title })
        }
        _ => None,
    }
}
