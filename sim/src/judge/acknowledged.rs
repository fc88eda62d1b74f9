//! Judge 6: what enough nodes had is never lost while fewer than those are lost.
//!
//! Invariant: a memory that somebody asked to delete may be gone; what nobody acknowledged may be there or
//! not.
//!
//! Not here: which of several values is left (`updates`).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Case, Findings, Rule, Violation,
    history::{Answer, Call, Federation, Operation, Request, What},
    replicas::{Replicas, doomed},
    views::Views,
};

/// An acknowledged memory or link is on every peer that must have it.
pub const SURVIVES: Rule = Rule {
    judge: "acknowledged",
    name: "survives",
    source: "requirement C1; simulation, judge 6: W-of-N writes survive any W-1 permanent losses",
};
/// An acknowledgement says that enough nodes have it.
pub const ENOUGH: Rule =
    Rule { judge: "acknowledged", name: "enough", source: "requirement C1: answer when W have it" };
/// A read of a quorum sees what was acknowledged before it began.
pub const FRESH: Rule = Rule {
    judge: "acknowledged",
    name: "fresh",
    source: "PRS-3: of N nodes, any N - W + 1 have one that has an acknowledged write",
};
/// What is asked again under its key is done once.
pub const ONCE: Rule = Rule {
    judge: "acknowledged",
    name: "once",
    source: "requirement A5: a request under a key is done at most once",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&SURVIVES, &ENOUGH, &FRESH, &ONCE];

/// Judges every acknowledged store and link against the last looks.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    let Some(replicas) = Replicas::of(case) else { return };
    enough(case, replicas.federation, findings);
    fresh(case, replicas.federation, findings);
    if !replicas.were_seen() {
        return;
    }
    let views = Views::of(case);
    let (doomed, unlinked) = (doomed(case, &views), unlinked(case));
    for operation in &case.requests {
        match (operation.call, operation.answer()) {
            (Call::Store { agent, namespace, .. }, Some(Answer::Stored { id, .. }))
                if !doomed.contains(id.as_str())
                    && !replicas.federation.refused_agents.contains(agent) =>
            {
                stored(operation, namespace, id, &replicas, findings);
            }
            (Call::Link { source, target }, Some(Answer::Linked { link })) => {
                let ends = [source.as_str(), target.as_str()];
                // A link between two ids of one memory is not seen.
                let one = views.subject(source) == views.subject(target);
                let ended =
                    ends.iter().any(|end| doomed.contains(end)) || unlinked.contains(link.as_str());
                if !one && !ended {
                    linked(operation, ends, link, &replicas, findings);
                }
            }
            _ => {}
        }
    }
    once(case, &replicas, findings);
}

/// The rank at which somebody left for good, or lost a part of what it had.
fn somebody_left(case: &Case<'_>) -> u64 {
    let mut events = case.history.events().iter().enumerate();
    let left =
        events.find(|(_, event)| matches!(event.what, What::Lost { .. } | What::SetBack { .. }));
    left.map_or(u64::MAX, |(position, _)| case.history.rank(position))
}

/// Where nobody has left yet, whoever asks a quorum sees what a quorum has and nobody asked to delete.
fn fresh(case: &Case<'_>, federation: &Federation, findings: &mut Findings) {
    let (left, doomed) = (somebody_left(case), doomed(case, &Views::of(case)));
    let mut stores: BTreeMap<&str, (&Operation<'_>, &str)> = BTreeMap::new();
    for operation in &case.operations {
        if let (Call::Store { namespace, .. }, Some(Answer::Stored { id, .. })) =
            (operation.call, operation.answer())
        {
            let first = stores.entry(id).or_insert((operation, namespace));
            if operation.effective() < first.0.effective() {
                *first = (operation, namespace);
            }
        }
    }
    for read in case.operations.iter().filter(|operation| operation.effective() < left) {
        let (Call::ReadQuorum { id }, Some(Answer::Memory { seen: None })) =
            (read.call, read.answer())
        else {
            continue;
        };
        let Some((store, namespace)) = stores.get(id.as_str()) else { continue };
        if store.precedes(read)
            && federation.sees(read.node, namespace)
            && !doomed.contains(id.as_str())
        {
            let detail = format!("{} does not see {}", read.describe(), store.describe());
            let violation = Violation::of(&FRESH, detail).by([store.id, read.id]);
            findings.violated(violation.on([read.node]));
        }
    }
}

/// Where nobody has left yet, a quorum has it; nobody counts who refuses it.
fn enough(case: &Case<'_>, federation: &Federation, findings: &mut Findings) {
    let left = somebody_left(case);
    for operation in case.operations.iter().filter(|operation| operation.effective() < left) {
        let (Call::Store { agent, .. }, Some(Answer::Stored { acks, .. })) =
            (operation.call, operation.answer())
        else {
            continue;
        };
        let refused = federation.refused_agents.contains(agent) && federation.quorum > 1;
        if *acks < federation.quorum || refused {
            let detail = match refused {
                true => format!("{}, though every peer refuses {agent}", operation.describe()),
                false => format!("{}, of {} needed", operation.describe(), federation.quorum),
            };
            let violation = Violation::of(&ENOUGH, detail).by([operation.id]);
            findings.violated(violation.on([operation.node]));
        }
    }
    copies(case, left, federation, findings);
}

/// What is on disks does not become less, so fewer copies than needed are too few whenever they are counted.
fn copies(case: &Case<'_>, left: u64, federation: &Federation, findings: &mut Findings) {
    for (position, event) in case.history.events().iter().enumerate() {
        let What::Copies { op, nodes } = &event.what else { continue };
        if case.history.rank(position) < left && (nodes.len() as u64) < federation.quorum {
            let detail = format!(
                "what o{op} stored is on the disks of {}, of {} needed",
                nodes.join(", "),
                federation.quorum
            );
            let violation = Violation::of(&ENOUGH, detail).by([*op]).at(event.at_us);
            findings.violated(violation.on(nodes.iter().map(String::as_str)));
        }
    }
}

/// Links that somebody asked to remove, so that they may be gone.
fn unlinked<'h>(case: &Case<'h>) -> BTreeSet<&'h str> {
    let unlinks = case.requests.iter().filter(|operation| !operation.rejected());
    let of = unlinks.filter_map(|operation| match operation.call {
        Call::Unlink { link } => Some(link.as_str()),
        _ => None,
    });
    of.collect()
}

fn stored(
    operation: &Operation<'_>,
    namespace: &str,
    id: &str,
    replicas: &Replicas<'_>,
    findings: &mut Findings,
) {
    let lacks = replicas.shown.iter().filter(|(peer, shown)| {
        replicas.federation.sees(peer, namespace) && !shown.contains_key(id)
    });
    let lacks: Vec<&str> = lacks.map(|(peer, _)| *peer).collect();
    if !lacks.is_empty() {
        let detail = format!("{} is not on {}", operation.describe(), lacks.join(", "));
        findings.violated(Violation::of(&SURVIVES, detail).by([operation.id]).on(lacks));
    }
}

fn linked(
    operation: &Operation<'_>,
    [source, target]: [&str; 2],
    link: &str,
    replicas: &Replicas<'_>,
    findings: &mut Findings,
) {
    // A link is seen where both of its ends are.
    let lacks = replicas.shown.iter().filter(|(_, shown)| {
        shown.contains_key(target)
            && shown.get(source).is_some_and(|seen| !seen.links.contains(link))
    });
    let lacks: Vec<&str> = lacks.map(|(peer, _)| *peer).collect();
    if !lacks.is_empty() {
        let detail = format!("{} is not on {}", operation.describe(), lacks.join(", "));
        findings.violated(Violation::of(&SURVIVES, detail).by([operation.id]).on(lacks));
    }
}

/// Contents are unique, so two memories with one content were made by one request, unless several asked.
fn once(case: &Case<'_>, replicas: &Replicas<'_>, findings: &mut Findings) {
    let mut asked: BTreeMap<&str, BTreeSet<Option<Request>>> = BTreeMap::new();
    let mut operations: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for operation in &case.operations {
        let Call::Store { fields, .. } = operation.call else { continue };
        let Some(content) = fields.get("content") else { continue };
        asked.entry(content).or_default().insert(operation.request);
        operations.entry(content).or_default().push(operation.id);
    }
    let mut stored: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for seen in replicas.shown.values().flat_map(|shown| shown.values()) {
        if let Some(content) = seen.fields.get("content") {
            stored.entry(content).or_default().insert(&seen.id);
        }
    }
    for (content, ids) in stored {
        let Some(requests) = asked.get(content) else { continue };
        if ids.len() > requests.len() {
            let ids: Vec<&str> = ids.into_iter().collect();
            let detail = format!("{content:?} is stored as {}", ids.join(" and "));
            let by = operations.get(content).cloned().unwrap_or_default();
            findings.violated(Violation::of(&ONCE, detail).by(by));
        }
    }
}
