//! Judge 7, third part: of two changes of which the later had seen the earlier, the later counts.
//!
//! One change is known to have been seen by another when both were made at the same peer, one after the
//! other; when a read at that peer had shown its value before, and nobody else writes that value; or when it
//! made the memory.
//!
//! Invariant: a value is condemned only if every change that can have written it is overwritten by one that
//! was acknowledged and had seen it.
//!
//! Not here: changes that had not seen each other; any order of those will do.

use std::collections::BTreeMap;

use super::{
    Case, Findings, Rule, Violation,
    history::{Answer, Call, Operation, Seen},
    replicas::Replicas,
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
    /// Whether it made the memory.
    first: bool,
}

/// Changes by memory and field.
type Writes<'h> = BTreeMap<(&'h str, &'h str), Vec<Write<'h>>>;

/// Judges every field of every memory that is left.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    let Some(replicas) = Replicas::of(case) else { return };
    let (writes, fields) = writes(case);
    let mut told = std::collections::BTreeSet::new();
    for (peer, shown) in &replicas.shown {
        for seen in shown.values() {
            for field in fields.get(seen.id.as_str()).into_iter().flatten() {
                if told.contains(&(seen.id.as_str(), *field)) {
                    continue;
                }
                let of_field = writes.get(&(seen.id.as_str(), *field));
                let of_field = of_field.map(Vec::as_slice).unwrap_or_default();
                if let Some(violation) = lost(case, seen, field, of_field) {
                    told.insert((seen.id.as_str(), *field));
                    findings.violated(violation.on([*peer]));
                }
            }
        }
    }
}

/// Fields that were written of each memory whose making is known.
type Fields<'h> = BTreeMap<&'h str, std::collections::BTreeSet<&'h str>>;

fn writes<'h>(case: &'h Case<'h>) -> (Writes<'h>, Fields<'h>) {
    let (mut writes, mut fields): (Writes<'_>, Fields<'_>) = Default::default();
    let mut makers: BTreeMap<&str, (&Operation<'_>, &BTreeMap<String, String>)> = BTreeMap::new();
    for operation in case.requests.iter().filter(|operation| !operation.rejected()) {
        match (operation.call, operation.answer()) {
            (Call::Store { fields: made, .. }, Some(Answer::Stored { id, .. })) => {
                makers.insert(id, (operation, made));
                let names = fields.entry(id).or_default();
                names.extend(made.keys().map(String::as_str));
            }
            (Call::Change { id, field, value }, _) => {
                let write = Write { operation, value: value.as_deref(), first: false };
                writes.entry((id, field)).or_default().push(write);
                fields.entry(id).or_default().insert(field);
            }
            _ => {}
        }
    }
    fields.retain(|id, _| makers.contains_key(id));
    for (id, (operation, made)) in makers {
        for field in fields.get(id).into_iter().flatten() {
            let value = made.get(*field).map(String::as_str);
            writes.entry((id, field)).or_default().push(Write { operation, value, first: true });
        }
    }
    (writes, fields)
}

/// Whether `later` is known to have seen `earlier`.
fn had_seen(
    case: &Case<'_>,
    later: &Write<'_>,
    earlier: &Write<'_>,
    field: &str,
    id: &str,
) -> bool {
    if earlier.first {
        return !later.first;
    }
    if later.operation.node == earlier.operation.node && earlier.operation.precedes(later.operation)
    {
        return true;
    }
    // Only contents are unique.
    field == "content"
        && case.operations.iter().any(|read| {
            let shows = match (read.call, read.answer()) {
                (
                    Call::Read { id: of } | Call::ReadQuorum { id: of },
                    Some(Answer::Memory { seen: Some(seen) }),
                ) => of == id && seen.fields.get(field).map(String::as_str) == earlier.value,
                _ => false,
            };
            shows && read.node == later.operation.node && read.precedes(later.operation)
        })
}

fn lost(case: &Case<'_>, seen: &Seen, field: &str, writes: &[Write<'_>]) -> Option<Violation> {
    let left = seen.fields.get(field).map(String::as_str);
    let authors = writes.iter().filter(|write| write.value == left);
    let (mut by, mut later) = (Vec::new(), Vec::new());
    for write in authors {
        let over = writes.iter().find(|other| {
            other.value != left
                && other.operation.done().is_some()
                && had_seen(case, other, write, field, &seen.id)
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
