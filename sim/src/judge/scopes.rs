//! Judge 13: not one byte of what a peer may not see is there.
//!
//! Invariant: text that is in every memory of a namespace was found where it may not be; that it was not
//! found proves nothing about what else is there.
//!
//! Not here: looking for it (the worlds and the clients do).

use super::{Case, Findings, Rule, Violation, history::What, replicas::Replicas};

/// Nothing of a hidden namespace is on a disk, or in an answer.
pub const HIDDEN: Rule = Rule {
    judge: "scopes",
    name: "hidden",
    source: "requirements C7 and C12: filtered before a row leaves; EXC-3",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&HIDDEN];

/// Judges what was found, and the last looks.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    let Some(replicas) = Replicas::of(case) else { return };
    for event in case.history.events() {
        let What::Trace { node, namespace, place } = &event.what else { continue };
        if !replicas.federation.sees(node, namespace) {
            let detail = format!("something of {namespace} is at {node}: {place}");
            findings.violated(Violation::of(&HIDDEN, detail).on([node.as_str()]).at(event.at_us));
        }
    }
    for (peer, shown) in &replicas.shown {
        let hidden = shown.values().find(|s| !replicas.federation.sees(peer, &s.namespace));
        if let Some(seen) = hidden {
            let detail = format!("{peer} shows {} of {}", seen.id, seen.namespace);
            findings.violated(Violation::of(&HIDDEN, detail).on([*peer]));
        }
    }
}
