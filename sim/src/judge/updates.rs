//! Judge 7, third part: of two changes of which the later had seen the earlier, the later counts.
//!
//! One change is known to have been seen by another when both were made at the same peer, one after the
//! other; when a read at that peer had shown its value before, and nobody else writes that value; or when it
//! made the memory. Memories that are shown as one are one here: what is stored under its title is a change of it.
//!
//! Invariant: a value is condemned only if every change that can have written it is overwritten by one that
//! was acknowledged and had seen it.
//!
//! Not here: changes that had not seen each other; any order of those will do. What is left of several memories once
//! somebody deletes one of them: the deletion takes what its peer knew.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Case, Findings, Rule, Violation,
    history::{Answer, Call, Operation, Seen},
    replicas::Replicas,
    views::{Subject, Views, of_title},
};

/// The value that is left was not overwritten.
pub const KEPT: Rule = Rule {
    judge: "updates",
    name: "kept",
    source: "requirement C4: what was changed sticks; simulation, judge 7: no lost update",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&KEPT];

/// A change of a field.
#[derive(Clone, Copy)]
struct Write<'h> {
    operation: &'h Operation<'h>,
    value: Option<&'h str>,
    kind: Kind<'h>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind<'h> {
    /// It changed a memory.
    Change(&'h str),
    /// It made a memory, this one if that is known.
    Made(Option<&'h str>),
    /// It went into a memory that was there.
    Merged,
}

/// What was written, and what was looked at.
struct Ledger<'h> {
    case: &'h Case<'h>,
    views: Views<'h>,
    writes: BTreeMap<(Subject<'h>, &'h str), Vec<Write<'h>>>,
    fields: BTreeMap<Subject<'h>, BTreeSet<&'h str>>,
    /// Stores that may have made a memory of their own.
    makers: BTreeMap<Subject<'h>, usize>,
    reads: BTreeMap<Subject<'h>, Vec<(&'h Operation<'h>, &'h Seen)>>,
    /// Somebody asked to delete one of its memories.
    deleted: BTreeSet<Subject<'h>>,
}

/// Judges every field of every memory that is left.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    let Some(replicas) = Replicas::of(case) else { return };
    let ledger = Ledger::of(case);
    let mut told = BTreeSet::new();
    for (peer, shown) in &replicas.shown {
        for seen in shown.values() {
            let subject = ledger.views.subject_of(seen);
            for field in ledger.fields.get(&subject).into_iter().flatten() {
                if told.contains(&(subject, *field)) {
                    continue;
                }
                if let Some(violation) = ledger.lost(seen, subject, field) {
                    told.insert((subject, *field));
                    findings.violated(violation.on([*peer]));
                }
            }
        }
    }
}

impl<'h> Ledger<'h> {
    fn of(case: &'h Case<'h>) -> Self {
        let views = Views::of(case);
        let mut ledger = Self {
            case,
            views,
            writes: BTreeMap::new(),
            fields: BTreeMap::new(),
            makers: BTreeMap::new(),
            reads: BTreeMap::new(),
            deleted: BTreeSet::new(),
        };
        let effective = || case.requests.iter().filter(|operation| !operation.rejected());
        for operation in effective() {
            ledger.change(operation);
        }
        let stores: Vec<_> = effective().filter_map(|store| ledger.name(store)).collect();
        for (operation, subject) in stores {
            ledger.store(operation, subject);
        }
        for read in &case.operations {
            if let (
                Call::Read { id } | Call::ReadQuorum { id },
                Some(Answer::Memory { seen: Some(seen) }),
            ) = (read.call, read.answer())
            {
                let subject = ledger.views.subject(id);
                ledger.reads.entry(subject).or_default().push((read, seen));
            }
        }
        // Whoever made it may have asked for more than anybody knows.
        ledger.fields.retain(|subject, _| ledger.makers.contains_key(subject));
        ledger
    }

    fn write(&mut self, subject: Subject<'h>, field: &'h str, write: Write<'h>) {
        self.writes.entry((subject, field)).or_default().push(write);
        self.fields.entry(subject).or_default().insert(field);
    }

    fn change(&mut self, operation: &'h Operation<'h>) {
        match operation.call {
            Call::Change { id, field, value } => {
                let write = Write { operation, value: value.as_deref(), kind: Kind::Change(id) };
                self.write(self.views.subject(id), field, write);
            }
            Call::Delete { id } => drop(self.deleted.insert(self.views.subject(id))),
            _ => {}
        }
    }

    /// Notes what a store writes; gives what it belongs to.
    fn name(&mut self, operation: &'h Operation<'h>) -> Option<(&'h Operation<'h>, Subject<'h>)> {
        let Call::Store { fields: made, .. } = operation.call else { return None };
        let of_id = match operation.answer() {
            Some(Answer::Stored { id, .. }) => Some(self.views.subject(id)),
            _ => None,
        };
        let subject = of_title(operation.call).or(of_id)?;
        self.fields.entry(subject).or_default().extend(made.keys().map(String::as_str));
        Some((operation, subject))
    }

    /// A store writes what it names; one that makes a memory also writes that it has no other tags.
    fn store(&mut self, operation: &'h Operation<'h>, subject: Subject<'h>) {
        let Call::Store { fields: made, .. } = operation.call else { return };
        let (id, merged) = match operation.answer() {
            Some(Answer::Stored { id, merged, .. }) => (Some(id.as_str()), *merged),
            _ => (None, false),
        };
        let kind = if merged { Kind::Merged } else { Kind::Made(id) };
        for (field, value) in made {
            self.write(subject, field, Write { operation, value: Some(value), kind });
        }
        if !merged {
            *self.makers.entry(subject).or_default() += 1;
            let others = self.fields.get(&subject).cloned().unwrap_or_default();
            for field in others.into_iter().filter(|field| !made.contains_key(*field)) {
                self.write(subject, field, Write { operation, value: None, kind });
            }
        }
    }

    /// Whether `later` came to a peer that knew what `earlier` did or showed there.
    fn follows(&self, later: &Operation<'_>, earlier: &Operation<'_>) -> bool {
        later.node == earlier.node
            && earlier.precedes(later)
            && !self.case.forgot(later.node, earlier, later)
    }

    fn reads_before(
        &self,
        subject: Subject<'h>,
        later: &Operation<'h>,
    ) -> impl Iterator<Item = &'h Seen> {
        let reads = self.reads.get(&subject).into_iter().flatten();
        reads.filter(|(read, _)| self.follows(later, read)).map(|(_, seen)| *seen)
    }

    /// Whether `later` is known to have seen `earlier`.
    fn had_seen(&self, later: &Write<'h>, earlier: &Write<'h>, subject: Subject<'h>) -> bool {
        if self.follows(later.operation, earlier.operation) {
            return true;
        }
        if let (Kind::Made(made), Kind::Change(changed)) = (earlier.kind, later.kind) {
            let all = self.makers.get(&subject).copied().unwrap_or(0);
            let shows_all = |seen: &Seen| seen.ids().count() >= all;
            if made == Some(changed) || self.reads_before(subject, later.operation).any(shows_all) {
                return true;
            }
        }
        // Only contents are unique.
        let content = match earlier.operation.call {
            Call::Change { field, value, .. } if field == "content" => value.as_ref(),
            Call::Store { fields, .. } => fields.get("content"),
            _ => None,
        };
        let shows = |seen: &Seen| seen.fields.get("content") == content;
        content.is_some() && self.reads_before(subject, later.operation).any(shows)
    }

    fn lost(&self, seen: &Seen, subject: Subject<'h>, field: &'h str) -> Option<Violation> {
        let writes = self.writes.get(&(subject, field)).map(Vec::as_slice).unwrap_or_default();
        let left = seen.fields.get(field).map(String::as_str);
        let several = matches!(subject, Subject::Title { .. });
        if several && self.deleted.contains(&subject) {
            return None;
        }
        // What several creations and stores add up to, nobody wrote.
        if several && matches!(field, "priority" | "expires") {
            return self.unsettled(seen, subject, field, writes);
        }
        let authors = writes.iter().filter(|write| write.value == left);
        let (mut by, mut later) = (Vec::new(), Vec::new());
        for write in authors {
            let over = writes.iter().find(|other| {
                let replaces = field == "content" || matches!(other.kind, Kind::Change(_));
                replaces
                    && other.value != left
                    && other.operation.done().is_some()
                    && self.had_seen(other, write, subject)
            })?;
            by.push(write.operation.id);
            later.push(over.operation.id);
        }
        let (id, value) = (&seen.id, left.unwrap_or("∅"));
        let detail = match by.is_empty() {
            true => format!("{field} of {id} is {value}, which nobody wrote"),
            false => {
                format!("{field} of {id} is {value}, though it was overwritten by who had seen it")
            }
        };
        Some(Violation::of(&KEPT, detail).by(by).by(later))
    }

    /// A change that had seen all other changes is what is left, whatever creations it had not seen.
    fn unsettled(
        &self,
        seen: &Seen,
        subject: Subject<'h>,
        field: &'h str,
        writes: &[Write<'h>],
    ) -> Option<Violation> {
        let is_last = |last: &&Write<'h>| {
            matches!(last.kind, Kind::Change(_))
                && last.operation.done().is_some()
                && writes.iter().all(|other| {
                    let apart = other.operation.id != last.operation.id;
                    let counts = apart && !matches!(other.kind, Kind::Made(Some(_)));
                    !counts || self.had_seen(last, other, subject)
                })
        };
        let last = writes.iter().find(is_last)?;
        let left = seen.fields.get(field).map(String::as_str);
        let (id, value) = (&seen.id, left.unwrap_or("∅"));
        let detail = format!("{field} of {id} is {value}, not what was changed last");
        (left != last.value).then(|| Violation::of(&KEPT, detail).by([last.operation.id]))
    }
}
