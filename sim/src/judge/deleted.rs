//! Judge 7, second part: what is deleted stays deleted.
//!
//! A peer that has not heard of a delete may still show the memory; one that has shown it as deleted may
//! not.
//!
//! Not here: when a tombstone may be forgotten (the product's business, as long as nothing comes back).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Case, Findings, Rule, Violation,
    history::{Answer, Call, Operation, Seen},
    replicas::Replicas,
};

/// In the end a deleted memory is nowhere, nor is a link that was removed.
pub const NOWHERE: Rule = Rule {
    judge: "deleted",
    name: "nowhere",
    source: "requirement C5: tombstones, never resurrected by catch-up",
};
/// A peer that has shown it as deleted never shows it again.
pub const NEVER_BACK: Rule = Rule {
    judge: "deleted",
    name: "never-back",
    source: "REC-3: a deleted record stays deleted whatever arrives",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&NOWHERE, &NEVER_BACK];

/// Reads by which a peer showed a memory, by the peer and each id that was shown.
type Looks<'c, 'h> = BTreeMap<(&'h str, &'h str), Vec<(&'c Operation<'h>, &'h Seen)>>;

fn looks<'c, 'h>(case: &'c Case<'h>) -> Looks<'c, 'h> {
    let mut looks = Looks::new();
    for read in &case.operations {
        if let (
            Call::Read { .. } | Call::ReadQuorum { .. },
            Some(Answer::Memory { seen: Some(seen) }),
        ) = (read.call, read.answer())
        {
            for id in seen.ids() {
                looks.entry((read.node, id)).or_default().push((read, seen));
            }
        }
    }
    looks
}

/// Ids under which a peer had shown a memory before it was asked to delete it, the one that was named among them.
fn shown_as<'h>(
    case: &Case<'h>,
    looks: &Looks<'_, 'h>,
    delete: &Operation<'h>,
    id: &'h str,
) -> BTreeSet<&'h str> {
    let at = looks.get(&(delete.node, id)).into_iter().flatten();
    let known =
        at.filter(|(read, _)| read.precedes(delete) && !case.forgot(delete.node, read, delete));
    known.flat_map(|(_, seen)| seen.ids()).chain([id]).collect()
}

/// Judges the last looks and every read.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    let Some(replicas) = Replicas::of(case) else { return };
    nowhere(case, &replicas, findings);
    never_back(case, findings);
}

fn nowhere(case: &Case<'_>, replicas: &Replicas<'_>, findings: &mut Findings) {
    let looks = looks(case);
    for operation in case.requests.iter().filter(|operation| operation.done().is_some()) {
        let shows: Vec<&str> = match operation.call {
            Call::Delete { id } => {
                let ids = shown_as(case, &looks, operation, id);
                let all = replicas.shown.iter();
                let shows = all.filter(|(_, shown)| ids.iter().any(|id| shown.contains_key(id)));
                shows.map(|(peer, _)| *peer).collect()
            }
            Call::Unlink { link } => {
                let all = replicas.shown.iter();
                let shows = all.filter(|(_, s)| s.values().any(|seen| seen.links.contains(link)));
                shows.map(|(peer, _)| *peer).collect()
            }
            _ => continue,
        };
        if !shows.is_empty() {
            let detail = format!("after {} it is on {}", operation.describe(), shows.join(", "));
            findings.violated(Violation::of(&NOWHERE, detail).by([operation.id]).on(shows));
        }
    }
}

/// Operations by which a peer had shown a memory as deleted.
type Gone<'h> = BTreeMap<(&'h str, &'h str), &'h Operation<'h>>;

fn never_back<'h>(case: &'h Case<'h>, findings: &mut Findings) {
    let (mut present, mut gone): (Gone<'h>, Gone<'h>) = Default::default();
    let mut ended: Vec<_> = case.operations.iter().filter(|o| o.done().is_some()).collect();
    ended.sort_by_key(|operation| operation.ended);
    for operation in ended {
        let id = match operation.call {
            Call::Read { id } | Call::ReadQuorum { id } | Call::Delete { id } => id.as_str(),
            _ => continue,
        };
        let key = (operation.node, id);
        let had = |before: &Gone<'_>| {
            let earlier = *before.get(&key)?;
            let knows = earlier.precedes(operation) && !case.forgot(key.0, earlier, operation);
            knows.then_some(earlier.id)
        };
        // The first is known by the most that follow, until the peer forgets it.
        let note = |known: &mut Gone<'h>| {
            let first = known.entry(key).or_insert(operation);
            if case.forgot(key.0, first, operation) {
                *first = operation;
            }
        };
        match (operation.call, operation.answer()) {
            (Call::Delete { .. }, _) => note(&mut gone),
            (_, Some(Answer::Memory { seen: Some(_) })) => {
                if let Some(by) = had(&gone) {
                    let detail = format!("{} shows {id} again: {}", key.0, operation.describe());
                    let violation = Violation::of(&NEVER_BACK, detail).by([by, operation.id]);
                    findings.violated(violation.on([operation.node]));
                }
                note(&mut present);
            }
            // That it is not there means that it is deleted where it was there before.
            (_, Some(Answer::Memory { seen: None })) if had(&present).is_some() => note(&mut gone),
            _ => {}
        }
    }
}
